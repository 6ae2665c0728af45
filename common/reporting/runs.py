"""Finished runs of any papers: read, grouped by paper, task and dataset, and summed up over seeds."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.options import PROJECT, UserError, require
from common.reporting.figures import Figure, summary
from common.reporting.run_metrics import deviation_words, run_figures
from common.reporting.schema import check
from common.rundir import read_run

APART = {"seed", "run_dir", "resume", "data_dir"}
"""Options in which runs of one row may differ."""


@dataclass(frozen=True)
class Run:
    """A finished run; of one that evaluated several weight files, one of them."""

    name: str
    """Of the folder without the seed, or of the weight file."""
    folder: Path
    metrics: Mapping[str, Any]
    options: Mapping[str, Any]
    """Those that are set in ``options.json``, without :data:`APART`."""
    seed: int
    row: str = ""
    """Its name among the intervals of ``metrics.json``."""
    predictions: str = "predictions.npz"
    """Its file of predictions, if there is one."""

    @property
    def intervals(self) -> Mapping[str, Sequence[float]]:
        """Figure -> [low, high], the 95 % interval."""
        found: Mapping[str, Sequence[float]] = self.metrics["intervals"].get(self.row, {})
        return found

    @property
    def tests(self) -> Mapping[str, Mapping[str, Any]]:
        """Figure -> paired test against the best baseline; of several weight files, only the first one has any."""
        found: Mapping[str, Mapping[str, Any]] = self.metrics["tests"] if self.row == self.metrics["model"] else {}
        return found

    @property
    def inputs(self) -> Mapping[str, str]:
        """What it read besides the items and their plays, such as texts -> SHA-256 of that."""
        found: Mapping[str, str] = self.metrics["dataset"]["inputs"]
        return found

    @property
    def deviates(self) -> str:
        """In what it deviates from the corrected protocol, in words."""
        return deviation_words(self.metrics)


@dataclass
class Group:
    """Runs of one paper, task and dataset."""

    name: str
    about: Mapping[str, Any]
    rows: dict[str, list[Run]] = field(default_factory=dict)
    """Name -> runs that differ in nothing but the seed."""

    @property
    def title(self) -> str:
        """The name, and in what all of its runs deviate from the corrected protocol."""
        words = {run.deviates for runs in self.rows.values() for run in runs}
        return ", ".join([self.name, *filter(None, words if len(words) == 1 else ())])

    @property
    def columns(self) -> list[str]:
        """The figures that some run has."""
        known = {name for runs in self.rows.values() for run in runs for name in run.metrics["metrics"]}
        return [column for column in self.about["columns"] if column in known]


def read_runs(path: Path) -> Iterator[Run]:
    """The run in a folder, or else all finished runs below it; a run that is a part of another one is left out.

    Raises:
        UserError: there is none, or a file of it is damaged.
    """
    alone = (path / "metrics.json").is_file()
    files = [path / "metrics.json"] if alone else sorted(path.rglob("metrics.json"))
    own = {file.parent for file in files}
    files = [file for file in files if not own & set(file.parent.parents)]
    require(bool(files), f"{path}: no finished run (no metrics.json) is in it")
    runs = 0
    for file in files:
        try:
            found = json.loads(file.read_text("utf-8"))
            if "experiment" in found:
                require(not alone, "an experiment compares by itself: see its report.md")
                continue
            require("metrics" in found and "dataset" in found, "it is of no run")
            check(found, "its schema")
            runs += 1
            yield from _models(file.parent, found, read_run(file.parent)["options"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError) as error:
            raise UserError(f"{file}: cannot be read as the figures of a run ({error})") from None
    require(runs > 0, f"{path}: holds experiments only, which compare by themselves: see their report.md")


def _models(folder: Path, found: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[Run]:
    seed, compared = int(found["seed"]), found["details"].get("comparison", {})
    options = {name: value for name, value in given.items() if name not in APART and value is not None}
    for name, value in options.items():  # the run of the same seed that this one starts from
        options[name] = value.removesuffix(f"-{seed}") if isinstance(value, str) and "/" in value else value
    if not compared:
        yield Run(folder.name.removesuffix(f"-{seed}"), folder, found, options, seed, found["model"])
    for number, (name, figures) in enumerate(compared.items(), 1):
        file = f"predictions_{number}.npz" if number > 1 else "predictions.npz"
        yield Run(name, folder, {**found, "metrics": figures}, {**options, "weights": name}, seed, name, file)


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Runs by paper, task and dataset, and in each group by their options.

    Raises:
        UserError: a run is of no paper of this project, or is given twice.
    """
    papers = [
        tomllib.loads(path.read_text("utf-8")).get("report", {}) for path in sorted(PROJECT.glob("*/results.toml"))
    ]
    groups: dict[tuple[str, ...], Group] = {}
    for run in runs:
        paper, data = str(run.metrics.get("paper")), run.metrics["dataset"]
        about = next((found for found in papers if found and paper.startswith(found["paper"])), None)
        if about is None:
            raise UserError(f"{run.folder}: of no paper of this project ({paper})")
        task = run.metrics["task"] or ""
        words = [about["title"], task, f"{data['name']}{' (synthetic data)' if data['synthetic'] else ''}"]
        key = (about["paper"], task, data["fingerprint"])
        group = groups.setdefault(key, Group(", ".join(word for word in words if word), about))
        named = f"{run.name} ({run.deviates})" if run.deviates else run.name
        same = next((row for row, others in group.rows.items() if _alike(others[0], run)), named)
        while same in group.rows and not _alike(group.rows[same][0], run):  # another folder of the same name
            same += "'"
        row = group.rows.setdefault(same, [])
        require(run.seed not in {other.seed for other in row}, f"{run.folder}: there are two runs of these options")
        row.append(run)
    return list(groups.values())


def _alike(one: Run, other: Run) -> bool:
    return (one.options, one.inputs) == (other.options, other.inputs)


def means(group: Group) -> dict[str, dict[str, float]]:
    """Mean figures of our rows and the baselines, as the picture shows them."""
    rows = {name: figures_of(runs) for name, runs in group.rows.items()} | baselines_of(group)
    return {name: {column: figure.mean for column, figure in row.items()} for name, row in rows.items()}


def intervals_of(group: Group) -> dict[str, Mapping[str, Sequence[float]]]:
    """Row -> figure -> interval, of rows of one run, and of baselines that one run measured."""
    found = {name: runs[0].intervals for name, runs in group.rows.items() if len(runs) == 1}
    for runs in group.rows.values():
        for name, row in runs[0].metrics["intervals"].items():
            if len(runs) == 1 and name in runs[0].metrics["baselines"]:
                found.setdefault(name, row)
    return found


def figures_of(runs: Sequence[Run], baseline: str = "") -> dict[str, Figure]:
    """Figures of a row, or of one of its baselines, over its seeds."""
    each = [run_figures(run.metrics, (), baseline) for run in runs]
    found = {name: summary([figures[name] for figures in each if name in figures]) for name in each[0]}
    return {name: figure for name, figure in found.items() if isinstance(figure, Figure)}


def baselines_of(group: Group) -> dict[str, dict[str, Figure]]:
    """Baselines once: those of the first row that has them."""
    found: dict[str, dict[str, Figure]] = {}
    for runs in group.rows.values():
        having = [run for run in runs if run.metrics["baselines"]]
        for name in having[0].metrics["baselines"] if having else ():
            with_it = [run for run in having if name in run.metrics["baselines"]]
            found.setdefault(name, figures_of(with_it, name))
    return found


def published(group: Group) -> dict[str, dict[str, float]]:
    """Figures that the paper or the released code reports, of the columns that are shown."""
    if "published" not in group.about:
        return {}
    module, name = group.about["published"].split(":")
    found = getattr(importlib.import_module(module), name)
    task = next(iter(group.rows.values()))[0].metrics["task"]
    shown = {row: {c: v for c, v in of.items() if c in group.columns} for row, of in found.get(task, found).items()}
    return {row: figures for row, figures in shown.items() if figures}
