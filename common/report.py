"""Tables and pictures of results: on the console, as Markdown and as PNG.

``python -m common.report RUN_DIR ...`` compares finished runs: see :mod:`common.reporting.comparison`.
"""

from __future__ import annotations

import math
import sys
import textwrap
import time
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from common import console
from common.checkpoint import Progress
from common.evaluation import BASELINE, DIFFERENCE, INTERVAL, Evaluation, Figures, better
from common.options import PROJECT, TrainingOptions, replacing, write_json
from common.reporting.run_metrics import deviation_words
from common.reporting.schema import SCHEMA, versions
from common.row_counts import RowCounts
from common.rundir import release

plt.rcParams["text.parse_math"] = False  # a dollar sign in a name is one
Rows = Mapping[str, Mapping[str, float]]
"""Name of a model or source -> its figures; a missing figure or NaN is shown as a dash."""
Cells = Mapping[str, Mapping[str, float | str]]
"""The same where a cell may also be a text."""


def _text(value: float | str | None) -> str:
    if isinstance(value, str):
        return value or "–"
    if value is None or math.isnan(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:,.0f}"


def print_table(title: str, rows: Cells, columns: Sequence[str]) -> None:
    """Print ``rows`` on the console."""
    console.print_table(title, ["", *columns], _cells(rows, columns))


def markdown_table(rows: Cells, columns: Sequence[str]) -> str:
    """``rows`` as a Markdown table."""
    return console.markdown_table(["", *columns], _cells(rows, columns))


def _cells(rows: Cells, columns: Sequence[str]) -> list[list[str]]:
    return [[name, *(_text(figures.get(column)) for column in columns)] for name, figures in rows.items()]


def which_is_better(columns: Sequence[str]) -> str:
    """In words, of those columns whose names say what they measure; empty if none does.

    >>> which_is_better(["rmse", "map@10", "epoch"])
    'Higher is better; of rmse lower.'
    """
    lower = [column for column in columns if better(column) == "lower"]
    if not any(better(column) == "higher" for column in columns):
        return "Lower is better." if lower else ""
    return f"Higher is better; of {', '.join(lower)} lower." if lower else "Higher is better."


ACCENT, NEUTRAL = "#d55e00", "#56b4e9"
"""Of the colours that Okabe and Ito chose to be told apart by everybody: vermilion and sky blue."""
Intervals = Mapping[str, Mapping[str, Sequence[float]]]
"""Row -> figure -> lower and upper end."""


def plot_comparison(
    path: Path,
    title: str,
    rows: Rows,
    columns: Sequence[str],
    ours: Collection[str] = (),
    intervals: Intervals | None = None,
) -> None:
    """A bar chart per figure, the best row on top, those named in ``ours`` in a colour of their own; saved as PNG.

    Args:
        path: of the picture.
        title: above all.
        rows: what is drawn; a row without a value has a dash.
        columns: the figures that have a chart each.
        ours: rows that are no baselines.
        intervals: drawn as lines on the bars.
    """
    names = {name: textwrap.fill(console.visible(name), 30) for name in rows}
    label = 0.068 * max(len(line) for name in names.values() for line in name.splitlines())
    lines = sum(name.count("\n") + 1 for name in names.values())
    across = min(len(columns), 2 if label > 1.8 or len(columns) in (2, 4) else 3)
    down = -(-len(columns) // across)
    size = ((label + 2.9) * across + 0.2, (0.13 * lines + 0.12 * len(rows) + 0.55) * down + 0.8)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, columns, strict=False):
        ends = {name: found[column] for name, found in (intervals or {}).items() if column in found}
        _bars(
            axis,
            column,
            {names[name]: row.get(column, math.nan) for name, row in rows.items()},
            {names[name]: pair for name, pair in ends.items() if name in names},
            {names[name] for name in ours if name in names},
        )
    figure.suptitle("\n".join(textwrap.wrap(console.visible(title), int(size[0] * 12))), fontsize=11)
    told = ["vermilion: what was evaluated; blue: baselines"] * bool(set(ours) & set(rows))
    told += ["lines: 95 % intervals"] * bool(intervals)
    figure.supxlabel("; ".join(told), fontsize=8)
    _save(figure, path)


def _bars(axis: Any, column: str, values: Figures, ends: Mapping[str, Sequence[float]], ours: Collection[str]) -> None:
    """Draw the bars of a figure, sorted."""
    direction = better(column)
    sign = 1 if direction == "lower" else -1
    order = sorted(values, key=lambda name: math.inf if math.isnan(values[name]) else sign * values[name])[::-1]
    axis.barh(
        order,
        [0 if math.isnan(values[name]) else values[name] for name in order],
        color=[ACCENT if name in ours else NEUTRAL for name in order],
        height=0.7,
    )
    for place, name in enumerate(order):
        value, pair = values[name], ends.get(name)
        if pair is not None and not math.isnan(value):
            off = [[max(value - pair[0], 0)], [max(pair[1] - value, 0)]]
            axis.errorbar([value], [place], xerr=off, fmt="none", ecolor="black", elinewidth=1, capsize=2)
        right = max(0.0, *(end for end in (value, *(pair or ())) if not math.isnan(end)), 0.0)
        axis.annotate(
            _text(value), (right, place), (4, 0), textcoords="offset points", va="center", fontsize=8, color="#333333"
        )
    axis.set_title(f"{column} ({direction} is better)" if direction else column, fontsize=10)
    axis.margins(x=0.28, y=0.02)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_locator(MaxNLocator(4))


History = Sequence[Mapping[str, float]]
"""A row of figures for each epoch; one of them is its number, ``epoch``."""


def plot_curves(path: Path, title: str, history: History, marked_epoch: int = 0) -> None:
    """A small picture per figure of ``history`` over the epochs, saved as PNG; the chosen epoch is marked."""
    plot_histories(path, title, {"": history}, marked_epoch)


def plot_histories(path: Path, title: str, histories: Mapping[str, History], marked_epoch: int = 0) -> None:
    """As :func:`plot_curves` of several runs, such as the seeds of a model: a line for each, by name."""
    names = [name for name in next(iter(histories.values()))[0] if name != "epoch"]
    across = min(len(names), 3)
    down = -(-len(names) // across)
    size = (4 * across, 2.8 * down + 0.4)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(names) :]:
        axis.set_visible(False)
    for axis, name in zip(axes.flat, names, strict=False):
        for number, (run, history) in enumerate(histories.items()):
            epochs, values = [row["epoch"] for row in history], [row[name] for row in history]
            axis.plot(epochs, values, marker="o", markersize=3, color=f"C{number}", label=console.visible(run))
        if marked_epoch:
            axis.axvline(marked_epoch, color="#e45756", linestyle="--", linewidth=1, label="best epoch")
        if marked_epoch or len(histories) > 1:
            axis.legend(fontsize=7, frameon=False)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("epoch", fontsize=8)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(console.visible(title), fontsize=11)
    _save(figure, path)


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


def _save(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    from common.options import run_script
    from common.reporting.comparison import ReportOptions, main

    run_script(main, ReportOptions)
