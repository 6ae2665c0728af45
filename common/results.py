"""``python -m common.results``: run what the tables of the pages are made of, and collect their figures.

A table in ``<paper>/results.toml`` (see :mod:`common.pages`) says how its figures are measured in one of two ways::

    [sample]
    script = "gru4rec/run.py"       # is run once for each seed and each of the rows that have args
    seeds = [1, 2, 3]
    also = ["apart"]                # sections of the details of metrics.json that are kept too, as name/of/a/figure
    data = "HetRec 2011 Last.fm"    # cannot be run without --data-dir: these data; absent: the sample will do
    [sample.rows]
    bpr-max = { args = "--loss bpr-max", seeds = [1] }      # own seeds; other_data = true: of data prepared otherwise
    Markov = {}                     # without args: a baseline of the first row's runs, or of the row named by "of"

    [skip]
    command = "session_transformers/compare.py --tasks skip --out {out}"     # is run once, and writes ...
    file = "skip.json"              # ... this file into the folder, of which are kept as rows ...
    figures = ["models.*.figures", "baselines.*"]       # ... these objects (a star is the row's name), ...
    intervals = ["intervals.*"]     # ... and these lists [mean, low, high] of figures with their 95 % interval
    out = "comparison"              # the folder's name; default: the table's

Runs are kept in ``runs/<paper>/results/<table>/``; finished ones are used again, interrupted ones are continued. They
read samples of their own in ``runs/results-data``, whatever is installed below ``data/``. The figures go to
``<paper>/results/<table>.json``, and from there into the pages.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import console, pages
from common.command import run_script
from common.options import PROJECT, OptionalPath, UserError, require, write_json
from common.reporting.figures import machine
from common.reporting.run_metrics import by_seed, run_figures
from common.reporting.schema import check

Spec = Mapping[str, Any]


@dataclass(frozen=True)
class ResultsOptions:
    """Options of this command."""

    only: tuple[str, ...] = ()
    """Papers, or tables as paper/table, to run. Default: all that the synthetic samples will do for."""
    data_dir: OptionalPath = None
    """Folder with the data of the one table named by --only that needs them."""
    runs: Path = PROJECT / "runs"
    """Folder of the runs; they lie in <paper>/results/<table>/ in it."""

    def __post_init__(self) -> None:
        one = len(self.only) == 1 and "/" in self.only[0]
        require(self.data_dir is None or one, "--data-dir belongs to one table; name it: --only paper/table")


def main(options: ResultsOptions, root: Path = PROJECT) -> list[str]:
    """Run what is missing of the results tables, collect their figures and write the pages anew.

    Returns the tables collected.
    """
    done, failed = [], []
    for paper, name, spec in chosen(options, root):
        table = f"{paper}/{name}"
        if spec.get("data") and options.data_dir is None:
            console.say(f"{table}: needs {spec['data']}: --only {table} --data-dir FOLDER")
            continue
        console.say(f"{table}:", flush=True)
        runs, data = options.runs.resolve(), options.data_dir and options.data_dir.resolve()
        folder = runs / paper / "results" / spec.get("out", name)
        # The sample even where the released files are installed: these tables are of the sample.
        environment = os.environ | ({} if spec.get("data") else {"ENCORE_DATA": str(runs / "results-data")})
        try:
            found = (rows_of if "script" in spec else output_of)(spec, folder, data, environment)
        except UserError as error:  # the others need not wait for it
            console.notify("", f"error: {table}: {error}")
            failed.append(table)
            continue
        write_json(root / paper / "results" / f"{name}.json", found)
        done.append(table)
    try:
        pages.main(pages.PagesOptions(), root)
    finally:  # a page that lacks a table's figures lacks them because of the failure
        require(not failed, f"no figures of {', '.join(failed)}, see above; what they finished is kept")
    return done


def chosen(options: ResultsOptions, root: Path) -> Iterator[tuple[str, str, Spec]]:
    """Paper, name and declaration of each table that can be run and is asked for.

    Raises:
        UserError: a name in ``--only`` is no such paper or table.
    """
    papers = sorted(path.parent.name for path in root.glob("*/results.toml"))
    tables = [
        (paper, name, spec)
        for paper in papers
        for name, spec in pages.declared(paper, root).items()
        if "script" in spec or "command" in spec
    ]
    known = {word for paper, name, _ in tables for word in (paper, f"{paper}/{name}")}
    for word in options.only:
        require(word in known, f"--only {word}: no such paper or table; there are {', '.join(sorted(known))}")
    for paper, name, spec in tables:
        if not options.only or paper in options.only or f"{paper}/{name}" in options.only:
            yield paper, name, spec


def finished(command: list[str], folder: Path, file: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """What ``command`` writes as ``file`` into ``folder``, which is run if it has not, and continued if it was stopped.

    Raises:
        UserError: the command ended in an error, which is repeated; or the folder is of another command.
    """
    path, note = folder / file, folder.with_name(f"{folder.name}-{Path(file).stem}.command.json")
    if path.is_file() or (folder / "options.json").is_file():
        before = json.loads(note.read_text("utf-8")) if note.is_file() else None
        old = folder if (folder / "options.json").is_file() else path  # a command may keep runs that are still good
        other = f"is of another command, {shlex.join(before or ['unknown'])}; delete it to run the new one"
        require(before == command, f"{old}: {other}")
    if not path.is_file():
        write_json(note, command)
        resume = ["--resume"] if (folder / "options.json").is_file() else []
        started = time.perf_counter()
        console.say(f"  {shlex.join(['python', *command, *resume])}", end=" ", flush=True)
        process = [sys.executable, str(PROJECT / command[0]), *command[1:], *resume]
        done = subprocess.run(process, capture_output=True, text=True, cwd=PROJECT, env=environment)
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        require(done.returncode == 0, f"{shlex.join(command)}: {last[0]}")
        console.say(f"({time.perf_counter() - started:.0f} s)", flush=True)
    try:
        return dict(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete its folder to run it again") from None


def shown(command: list[str], *places: Path | None) -> str:
    """A command as a reader would type it: without the folders of this machine."""
    words = []
    for word in command:
        inside = (Path(word).relative_to(place) for place in places if place and Path(word).is_relative_to(place))
        words.append(str(Path("FOLDER") / found) if (found := next(inside, None)) is not None else word)
    return shlex.join(["python", *words]).replace(f"{PROJECT}/", "")


def rows_of(spec: Spec, folder: Path, data: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Figures of a table that runs a script for each row and seed: a list for each figure, and those of baselines.

    Raises:
        UserError: as :func:`finished`; or two rows are of different data and do not say so (``other_data``).
    """
    runs: dict[str, list[dict[str, Any]]] = {}
    commands = {}
    for row, about in spec["rows"].items():
        if "args" not in about:
            continue
        for seed in about.get("seeds", spec["seeds"]):
            place = folder / f"{row}-{seed}"
            command = [spec["script"], *shlex.split(about["args"]), *(["--data-dir", str(data)] if data else [])]
            command += ["--seed", str(seed), "--run-dir", str(place)]
            found = finished(command, place, "metrics.json", environment)
            check(found, str(place / "metrics.json"))
            runs.setdefault(row, []).append(found)
            commands[f"{row}, seed {seed}"] = shown(command, place, data)
    first, *others = runs
    prints = {row: {run["dataset"]["fingerprint"] for run in found} for row, found in runs.items()}
    for row, of_row in runs.items():
        inputs = {json.dumps(run["dataset"]["inputs"]) for run in of_row}
        require(len(inputs) == 1, f"{folder}: the runs of {row} did not all read the same texts and sound")
    for row in others:
        same = prints[row] == prints[first] or spec["rows"][row].get("other_data")
        require(same, f"{folder}: the runs of {row} are of other data than those of {first}")
    figures = {row: by_seed([run_figures(run, spec.get("also", ())) for run in found]) for row, found in runs.items()}
    intervals = {row: ends for row, found in runs.items() if (ends := found[0]["intervals"].get(found[0]["model"]))}
    for row, about in spec["rows"].items():
        of = runs[about.get("of", first)]
        if row not in runs and row in of[0]["baselines"]:
            figures[row] = by_seed([run_figures(run, spec.get("also", ()), row) for run in of])
            if row in of[0]["intervals"]:
                intervals[row] = of[0]["intervals"][row]
    return {
        "commands": commands,
        "dataset": runs[first][0]["dataset"],
        "seconds": {row: [run["seconds"] for run in found] for row, found in runs.items()},
        **_about(runs[first][0]),
        "figures": figures,
        "intervals": intervals,
    }


def output_of(spec: Spec, folder: Path, data: Path | None, environment: Mapping[str, str]) -> dict[str, Any]:
    """Figures of a table that one command measures.

    Raises:
        UserError: as :func:`finished`.
    """
    command = [word.replace("{out}", str(folder)) for word in shlex.split(spec["command"])]
    command += ["--data-dir", str(data)] if data else []
    found = finished(command, folder, spec["file"], environment)
    figures = {row: part for path in spec["figures"] for row, part in _at(found, path.split("."))}
    intervals: dict[str, dict[str, Any]] = {}
    for path in spec.get("intervals", ()):
        for row, part in _at(found, path.split(".")):
            figures[row] = figures.get(row, {}) | {name: ends[0] for name, ends in part.items()}
            intervals[row] = {name: ends[1:] for name, ends in part.items()}
    facts = {"commands": {"all": shown(command, folder, data)}, "dataset": found["dataset"]}
    facts |= {"seconds": found["seconds"]} if "seconds" in found else {}
    return facts | _about(found) | {"figures": figures, "intervals": intervals}


def _at(tree: Any, path: list[str], row: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """(row, object) of all places that ``path`` leads to; a star goes to all, and names the row."""
    if not path:
        yield row, tree
    elif path[0] == "*":
        for name, below in tree.items():
            yield from _at(below, path[1:], name)
    else:
        yield from _at(tree.get(path[0], {}), path[1:], row or path[0])


def _about(run: Mapping[str, Any]) -> dict[str, Any]:
    return {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "versions": run["versions"]}


if __name__ == "__main__":
    run_script(main, ResultsOptions)
