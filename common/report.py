"""Report of a run: ``report.md``, ``comparison.png`` and ``metrics.json``, and its tables on the console.

``python -m common.report RUN_DIR ...`` compares finished runs: see :mod:`common.reporting.comparison`.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from common import console
from common.checkpoint import Progress
from common.evaluation import BASELINE, DIFFERENCE, INTERVAL, Evaluation
from common.options import PROJECT, TrainingOptions, replacing, write_json
from common.reporting.charts import Cells, Intervals, markdown_table, plot_comparison, print_table, which_is_better
from common.reporting.run_metrics import deviation_words
from common.reporting.schema import SCHEMA, versions
from common.row_counts import RowCounts
from common.rundir import release


@dataclass(frozen=True)
class Part:
    """A table of a run's report."""

    rows: Cells
    columns: Sequence[str]
    title: str = ""
    """Beneath the headline; empty for a report of one table."""
    notes: Sequence[str] = ()
    """Paragraphs below the table."""


@dataclass(frozen=True)
class About:
    """What a paper says of a run, in words and by name; the keys of :mod:`common.reporting.schema`."""

    paper: str
    dataset: Mapping[str, Any]
    """Made by :func:`common.reporting.schema.dataset_facts`."""
    split: str
    ranking: str
    ties: str
    protocol: str = ""
    """Default: that of the options."""
    deviations: Sequence[str] = ()
    task: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    """What is particular to the paper."""


def finish(
    folder: Path,
    headline: str,
    options: TrainingOptions,
    about: About,
    found: Evaluation,
    parts: Sequence[Part],
    *,
    progress: Progress,
    started: float,
    picture: Sequence[str] = (),
    warned: Sequence[str] = (),
    following: Sequence[object] = (),
) -> dict[str, Any]:
    """End a run: write ``report.md``, ``comparison.png`` and, last, ``metrics.json``; then print its tables.

    To the paper's own tables comes one with the intervals of the model's figures, and the test against the best
    baseline in words.

    Args:
        folder: of the run.
        headline: of the tables; deviations from the corrected protocol, and that the data are synthetic, are added.
        options: of the run, complete.
        about: what the paper says of it.
        found: what was measured.
        parts: the tables; their titles and notes are plain text.
        progress: of the training; none if weights were given.
        started: when the command began, by ``time.perf_counter``.
        picture: the figures to draw; none for no picture.
        warned: why the figures say little, such as :meth:`common.row_counts.RowCounts.warnings`: a line each on the
            console and in ``report.md``, and ``warnings`` in ``metrics.json``.
        following: the command that is of use next, if the run keeps a model: a script and its arguments.

    Returns:
        What ``metrics.json`` holds.
    """
    result = {
        "schema": SCHEMA,
        "paper": about.paper,
        "model": found.model,
        "task": about.task,
        "protocol": about.protocol or options.protocol,
        "deviations": list(about.deviations),
        "dataset": dict(about.dataset),
        "split": about.split,
        "ranking": about.ranking,
        "ties": about.ties,
        "metrics": found.metrics,
        "baselines": found.baselines,
        "intervals": found.intervals,
        "resampled": found.resampled,
        "best_baseline": found.best_baseline,
        "tests": found.tests,
        "settings": {name: value for name, value in asdict(options).items() if value is not None},
        "epochs": progress.epochs,
        "best_epoch": progress.best_epoch or progress.epochs,
        "train_seconds": progress.seconds,
        "seconds": time.perf_counter() - started,
        "seed": options.seed,
        "versions": versions(),
        "warnings": list(warned),
        "details": dict(about.details),
    }
    beside, every = found.beside(), {name: _with_intervals(found, name) for name in found.intervals}
    if beside:
        columns = [INTERVAL, *([DIFFERENCE] if found.tests else [])]
        columns += [BASELINE] if len({test["baseline"] for test in found.tests.values()}) > 1 else []
        notes = [note for note in (found.sentence(), _drawn(found)) if note]
        parts = [*parts, Part(beside, columns, f"{found.model}: 95 % intervals", notes)]
    appendix = ""
    if len(every) > 1:
        shown = [column for column in found.columns if any(column in row for row in every.values())]
        appendix = f"## All intervals\n\n{markdown_table(every, shown)}"
    drawn = Part(found.rows, picture) if picture else None
    return publish(
        folder,
        headline,
        result,
        parts,
        drawn,
        found.models,
        intervals=found.intervals,
        appendix=appendix,
        following=following,
    )


def _with_intervals(found: Evaluation, name: str) -> dict[str, str]:
    """Figure -> value and interval, of a row."""
    ends = found.intervals[name].items()
    return {figure: f"{found.rows[name][figure]:.4f} [{low:.4f}, {high:.4f}]" for figure, (low, high) in ends}


def _drawn(found: Evaluation) -> str:
    """What the intervals are of, in a sentence."""
    units: dict[str, list[str]] = {}
    for figure in found.columns:
        if figure in found.resampled and figure in found.intervals.get(found.model, {}):
            units.setdefault(found.resampled[figure], []).append(figure)
    if len(units) < 2:
        return "".join(f"95 % intervals: bootstrap over {of}." for of in units)
    told = "; over ".join(f"{of} ({', '.join(names)})" for of, names in units.items())
    return f"95 % intervals: bootstrap over {told}."


def publish(
    folder: Path,
    headline: str,
    result: Mapping[str, Any],
    parts: Sequence[Part],
    picture: Part | None = None,
    ours: Collection[str] = (),
    *,
    intervals: Intervals | None = None,
    appendix: str = "",
    following: Sequence[object] = (),
) -> dict[str, Any]:
    """Write ``report.md``, ``comparison.png`` and, last, ``metrics.json``; then print the tables.

    Whoever finds ``metrics.json`` may take the run for finished.

    Args:
        folder: of the run.
        headline: see :func:`finish`.
        result: what ``metrics.json`` is to hold.
        parts: the tables; their titles and notes are plain text.
        picture: the rows and columns to draw; None for no picture.
        ours: rows of the picture that are no baselines.
        intervals: of the figures of the picture.
        appendix: Markdown that is not printed, behind the tables of ``report.md``.
        following: see :func:`finish`.

    Returns:
        ``result``.
    """
    words = deviation_words(result)
    headline += f", {words}" if words and words not in headline else ""
    headline += " (synthetic data)" if result["dataset"]["synthetic"] else ""
    warned = result.get("warnings", ())
    blocks = [f"# {console.markdown(headline)}", "\n".join(f"- {console.markdown(fact)}" for fact in facts_of(result))]
    blocks += [f"**Warning:** {console.markdown(why)}." for why in warned]
    for part in parts:
        blocks += [f"## {console.markdown(part.title)}"] if part.title else []
        blocks += [markdown_table(part.rows, part.columns), which_is_better(part.columns)]
        blocks += map(console.markdown, part.notes)
    without, prepared = without_value(parts), told_of_files(result)
    blocks += [console.markdown(without), "\n".join(f"- {console.markdown(line)}" for line in prepared)]
    goes_on = bool(following) and any(folder.glob("model.weights.*"))
    pictures = ["comparison.png"] * (picture is not None) + ["curves.png"] * (folder / "curves.png").is_file()
    blocks += [appendix, *(f"![{name.split('.')[0]}]({name})" for name in pictures)]
    if goes_on:
        blocks += [f"Next: {console.markdown(console.command('python', *following))}"]
    with replacing(folder / "report.md", "w") as file:
        file.write("\n\n".join(block.strip("\n") for block in blocks if block) + "\n")
    if picture:
        rows = {name: {c: v for c, v in row.items() if not isinstance(v, str)} for name, row in picture.rows.items()}
        plot_comparison(folder / "comparison.png", headline, rows, picture.columns, ours, intervals)
    write_json(folder / "metrics.json", result)
    release(folder)
    for part in parts:  # last of all: what is printed may find nobody who reads it
        print_table(f"{headline}. {part.title}" if part.title else headline, part.rows, part.columns)
        console.say(*filter(None, [which_is_better(part.columns), *part.notes]))
    console.say(*filter(None, [without]), *prepared, *(f"Warning: {why}." for why in warned))
    console.say(f"Written to {folder}")
    if goes_on:
        console.next_step("python", *following)
    return dict(result)


def data_dir(options: TrainingOptions) -> list[object]:
    """The option that names a run's data, for a command that needs them again."""
    return ["--data-dir", options.data_dir] if options.data_dir else []


def facts_of(result: Mapping[str, Any]) -> list[str]:
    """What a run was started by and with: the command, if a script of the checkout was, the data, split and seed."""
    script, facts = Path(sys.argv[0]).absolute(), []
    if script.suffix == ".py" and script.is_relative_to(PROJECT):
        facts.append(f"command: {console.command('python', script.relative_to(PROJECT), *sys.argv[1:])}")
    dataset = result["dataset"]
    facts.append(f"data: {dataset['name']}{' (synthetic)' if dataset['synthetic'] else ''}")
    return facts + [f"{name}: {result[name]}" for name in ("split", "seed") if result.get(name) is not None]


def told_of_files(result: Mapping[str, Any]) -> list[str]:
    """What a run's preparation recognised in the files, and what became of the rows of each, a sentence each."""
    dataset = result["dataset"]
    return [*dataset["notes"], *RowCounts.of_json(dataset["rows"]).lines()]


def without_value(parts: Sequence[Part]) -> str:
    """A sentence that names the figures that are NaN in some row; empty if none is."""
    found = {
        name: None
        for part in parts
        for row in part.rows.values()
        for name, value in row.items()
        if isinstance(value, float) and math.isnan(value)
    }
    return f"No value (null in metrics.json): {', '.join(found)}; nothing in the test tells them." if found else ""


if __name__ == "__main__":
    from common.command import run_script
    from common.reporting.comparison import ReportOptions, main

    run_script(main, ReportOptions)
