"""Train every model with several seeds, and print the whole comparison: models, baselines, the paper's figures."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import csv
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from common import console
from common.command import run_script
from common.mssd.sample import SessionSampleOptions
from common.options import PROJECT, OptionalInt, OptionalPath, UserError, replacing, require, write_json
from common.reporting.charts import plot_histories
from common.reporting.schema import check
from session_transformers.baselines.ceiling import ceiling_figures
from session_transformers.kinds import AnyModel, Task
from session_transformers.paper import CANDIDATE_COLUMNS, NOTE, PAPER, SKIP_COLUMNS, TRACK_COLUMNS
from session_transformers.preprocess import SAMPLE_TRACKS, load_dataset
from session_transformers.settings import defaults

MODELS: dict[Task, tuple[AnyModel, ...]] = {
    "skip": (
        "transformer", "bert-finetuned", "bert-augmented", "bert-augmented-dropnet", "lstm", "lstm-padding", "lstm-w2v",
        "bigru", "autoencoder", "ddpg",
    ),
    "seq": ("transformer", "bert-finetuned", "bert-augmented", "bert-augmented-dropnet", "lstm", "lstm-w2v", "ddpg"),
}  # fmt: skip


@dataclass(frozen=True)
class CompareOptions:
    """What to compare."""

    out: Path = PROJECT / "runs" / "session_transformers" / "comparison"
    """Folder of the runs, one for each model, task and seed; finished ones are not trained again."""
    data_dir: OptionalPath = None
    """Folder with the logs of MSSD. Default: as for train.py."""
    tasks: tuple[Literal["skip", "seq"], ...] = ("skip", "seq")
    """Tasks to compare."""
    models: Annotated[tuple[AnyModel, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """Models to compare. Default: all."""
    seeds: int = 3
    """Seeds 1, 2, ... of each model."""
    epochs: OptionalInt = None
    """Epochs of each model. Default: its own."""

    def __post_init__(self) -> None:
        require(1 <= self.seeds <= 100, f"--seeds is {self.seeds}; it must lie in 1..100")
        require(self.epochs is None or self.epochs >= 1, f"--epochs is {self.epochs}; it must be 1 or more")
        require(bool(self.tasks), "--tasks names no task")
        for task in self.tasks:
            require(bool(self.models_of(task)), f"--models: none of them has --task {task}; choose others, or --tasks")

    def models_of(self, task: Task) -> tuple[AnyModel, ...]:
        """The models to compare on a task."""
        return tuple(model for model in MODELS[task] if not self.models or model in self.models)


def main(options: CompareOptions) -> dict[str, Any]:
    """Train every model with several seeds and print one table for each task: ours, baselines, paper."""
    found: dict[str, Any] = {}
    for task in options.tasks:
        runs = [
            (model, [finished(options, model, task, seed) for seed in range(1, options.seeds + 1)])
            for model in options.models_of(task)
        ]
        found[task] = tabulate(task, runs)
        if task == "skip":
            found[task]["ceiling"] = ceiling(options, found[task]["dataset"])
        write_json(options.out / f"{task}.json", found[task])
        show(options.out / f"{task}.md", task, found[task])
        for model in options.models_of(task):
            draw_curves(options, model, task, found[task]["dataset"]["synthetic"])
    return found


def draw_curves(options: CompareOptions, model: AnyModel, task: Task, synthetic: bool) -> None:
    """``<model>-<task>.png``: what each seed's run measured after each epoch (or round of ``ddpg``), if it has any."""
    histories: dict[str, list[dict[str, float]]] = {}
    for seed in range(1, options.seeds + 1):
        file = options.out / f"{model}-{task}-{seed}" / "history.csv"
        if file.is_file():
            with file.open(encoding="utf-8") as lines:
                rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
            histories |= {f"seed {seed}": rows} if rows else {}
    if histories:
        title = f"{model}, {task}{' (synthetic data)' if synthetic else ''}"
        plot_histories(options.out / f"{model}-{task}.png", title, histories)


def ceiling(options: CompareOptions, described: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What no model can be better than: known of the synthetic sample, else empty."""
    if options.data_dir is not None or not described["synthetic"] or described["name"] != "sample":
        return {}
    _, data = load_dataset(None)
    if data.fingerprint != described["fingerprint"]:
        return {}  # runs with other options of the data
    return {"ceiling of the sample": ceiling_figures(data, SAMPLE_TRACKS, SessionSampleOptions.seed)}


def finished(options: CompareOptions, model: AnyModel, task: Task, seed: int) -> dict[str, Any]:
    """The ``metrics.json`` of a run, which is made if it is not there.

    Raises:
        UserError: the training ended in an error, which is repeated; or it was another one, of other epochs or data.
    """
    bert = None
    if model.startswith("bert-"):
        finished(options, "bert", "seq", seed)
        bert = options.out / f"bert-seq-{seed}"
    folder = options.out / f"{model}-{task}-{seed}"
    file = folder / "metrics.json"
    if not file.is_file():
        command = [sys.executable, str(PROJECT / "session_transformers" / "train.py")]
        command += ["--model", model, "--task", task, "--seed", str(seed), "--run-dir", str(folder)]
        command += ["--data-dir", str(options.data_dir)] if options.data_dir else []
        command += ["--epochs", str(options.epochs)] if options.epochs else []
        command += ["--bert", str(bert)] if bert else []
        command += ["--resume"] if (folder / "options.json").is_file() else []
        started = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True)
        last = done.stderr.strip().splitlines()[-1:] or ["no message"]
        require(done.returncode == 0, f"{' '.join(command[1:])}: {last[0]}")
        console.say(f"{model}, {task}, seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    try:
        found = dict(json.loads(file.read_text("utf-8")))
        check(found, str(file))
        made, synthetic = found["settings"], found["dataset"]["synthetic"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); delete its folder to train the model again") from None
    wanted = {"epochs": options.epochs or defaults(model, task, synthetic)["epochs"]}
    wanted["data_dir"] = str(options.data_dir) if options.data_dir else None
    for name, value in wanted.items():
        was = f"was trained with --{name.replace('_', '-')} {made.get(name)}, not {value}"
        require(made.get(name) == value, f"{folder}: {was}; choose another --out")
    return found


def tabulate(task: Task, runs: Sequence[tuple[str, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Figures of every row: those of a model for each seed, of a baseline once."""
    first = runs[0][1][0]
    maa = (SKIP_COLUMNS if task == "skip" else TRACK_COLUMNS)[0]
    fingerprints = {run["dataset"]["fingerprint"] for _, seeds in runs for run in seeds}
    require(len(fingerprints) == 1, "the runs are of different data; choose another --out")
    models = {
        model: {
            "figures": {name: [figures_of(run)[name] for run in seeds] for name in figures_of(seeds[0])},
            "maa_95": [run["intervals"].get(run["model"], {}).get(maa) for run in seeds],
            "against_best_baseline": [run["tests"].get(maa) for run in seeds],
            "train_seconds": [run["train_seconds"] for run in seeds],
            "best_epoch": [run["best_epoch"] for run in seeds],
        }
        for model, seeds in runs
    }
    return {
        "task": task,
        "dataset": first["dataset"],
        "seeds": len(runs[0][1]),
        "models": models,
        "baselines": baselines_of(runs),
        "paper": PAPER[task],
        "versions": first["versions"],
    }


def baselines_of(runs: Sequence[tuple[str, list[dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """Figures of all baselines of the runs, each from the first model that has it; a list where seeds differ in it."""
    found: dict[str, dict[str, Any]] = {}
    for _, seeds in runs:
        for name, row in seeds[0]["baselines"].items():
            known = found.setdefault(name, {})
            for figure in [figure for figure in row if figure not in known]:
                values = [run["baselines"][name][figure] for run in seeds]
                known[figure] = values[0] if len(set(values)) == 1 else values
    return found


def figures_of(run: dict[str, Any]) -> dict[str, float]:
    """The metrics of a run, and its details: ``name/1`` at the first position, ``name/0`` for sessions with 0 right."""
    found = dict(run["metrics"])
    for name, values in run["details"]["by_position"].items():
        found |= {f"{name}/{place}": value for place, value in enumerate(values, int("number_right" not in name))}
    return found


def show(file: Path, task: Task, found: dict[str, Any]) -> None:
    """Write the table as Markdown and print it."""
    usual = SKIP_COLUMNS if task == "skip" else TRACK_COLUMNS
    known = {name for model in found["models"].values() for name in model["figures"]}
    columns = [*usual, *(name for name in CANDIDATE_COLUMNS if name in known and name not in usual)]
    maa = columns[0]
    rows = [
        [name, *(_text(model["figures"].get(column)) for column in columns), _interval(model["maa_95"][0])]
        for name, model in sorted(found["models"].items(), key=lambda item: -np.mean(item[1]["figures"][maa]))
    ]
    for kind in ("baselines", "ceiling", "paper"):
        rows += [
            [name, *(_text(row.get(column)) for column in columns), ""] for name, row in found.get(kind, {}).items()
        ]
    synthetic = " (synthetic data)" if found["dataset"]["synthetic"] else ""
    seeds = "1 seed" if found["seeds"] == 1 else f"{found['seeds']} seeds, mean ± standard deviation"
    title = f"{task}: {found['dataset']['name']}{synthetic}, {seeds}"
    header = ["", *columns, "95 % interval of the MAA, seed 1"]
    with replacing(file, "w") as out:
        out.write(f"{console.markdown(title)}\n\n{console.markdown_table(header, rows)}\n{console.markdown(NOTE)}\n")
    console.print_table(title, header, rows)
    console.say(NOTE)


def _text(values: list[float] | float | None) -> str:
    if values is None:
        return "–"
    if isinstance(values, list) and len(values) > 1:
        return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"
    return f"{values[0] if isinstance(values, list) else values:.3f}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


if __name__ == "__main__":
    run_script(main, CompareOptions)
