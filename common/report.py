"""Tables and pictures of results: on the console, as Markdown and as PNG.

``python -m common.report RUN_DIR ...`` compares finished runs: see :mod:`common.reporting.comparison`.
"""

from __future__ import annotations

import math
import re
import sys
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from common import console
from common.options import PROJECT, TrainingOptions, replacing, write_json
from common.reporting.run_metrics import deviation_words
from common.row_counts import RowCounts
from common.rundir import release

plt.rcParams["text.parse_math"] = False  # a dollar sign in a name is one
_LOWER = {"rmse", "mae", "loss", "perplexity"}
_HIGHER = {"map", "ndcg", "mrr", "recall", "precision", "hit", "f", "auc", "coverage", "accuracy", "maa", "r"}
"""Words in the names of figures that say which is better."""
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
    words = {column: set(re.split(r"[^a-z]+", column.lower())) for column in columns}
    lower = [column for column in columns if words[column] & _LOWER]
    higher = [column for column in columns if words[column] & _HIGHER and column not in lower]
    if not higher:
        return "Lower is better." if lower else ""
    return f"Higher is better; of {', '.join(lower)} lower." if lower else "Higher is better."


def plot_comparison(path: Path, title: str, rows: Rows, columns: Sequence[str], ours: Collection[str] = ()) -> None:
    """A bar chart per figure, one bar per row, those named in ``ours`` in a colour of their own; saved as PNG."""
    across = min(len(columns), 4)
    down = -(-len(columns) // across)
    size = (3.2 * across + 1.6, (0.34 * len(rows) + 0.9) * down + 0.5)
    figure, axes = plt.subplots(down, across, figsize=size, squeeze=False, sharey=True, layout="constrained")
    names, ours = list(rows)[::-1], set(ours)
    for axis in axes.flat[len(columns) :]:
        axis.set_visible(False)
    for axis, column in zip(axes.flat, columns, strict=False):
        values = [rows[name].get(column, math.nan) for name in names]
        colours = ["#e45756" if name in ours else "#4c78a8" for name in names]
        bars = axis.barh(
            [console.visible(name) for name in names], [0 if math.isnan(v) else v for v in values], color=colours
        )
        axis.bar_label(bars, [_text(v) for v in values], padding=3, fontsize=8)
        axis.set_title(column, fontsize=10)
        axis.margins(x=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
    figure.suptitle(console.visible(title), fontsize=11)
    _save(figure, path)


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

    rows: Rows
    columns: Sequence[str]
    title: str = ""
    """Beneath the headline; empty for a report of one table."""
    notes: Sequence[str] = ()
    """Paragraphs below the table."""


def finish(
    folder: Path,
    headline: str,
    result: Mapping[str, Any],
    parts: Sequence[Part],
    picture: Part | None = None,
    ours: Collection[str] = (),
    appendix: str = "",
    warned: Sequence[str] = (),
    following: Sequence[object] = (),
) -> dict[str, Any]:
    """End a run: write ``report.md``, ``comparison.png`` and, last, ``metrics.json``; then print its tables.

    Whoever finds ``metrics.json`` may take the run for finished.

    Args:
        folder: of the run.
        headline: of the tables; deviations from the corrected protocol, and that the data are synthetic, are added.
        result: what ``metrics.json`` is to hold.
        parts: the tables; their titles and notes are plain text.
        picture: the rows and columns to draw; None for no picture.
        ours: rows of the picture that are no baselines.
        appendix: Markdown that is not printed, behind the tables of ``report.md``.
        warned: why the figures say little, such as :meth:`common.row_counts.RowCounts.warnings`: a line each on the
            console and in ``report.md``, and ``warnings`` in ``metrics.json``.
        following: the command that is of use next, if the run keeps a model: a script and its arguments.

    Returns:
        ``result``.
    """
    words = deviation_words(result)
    headline += f", {words}" if words and words not in headline else ""
    headline += " (synthetic data)" if result["dataset"]["synthetic"] else ""
    result = {**result, "warnings": list(warned)}
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
        plot_comparison(folder / "comparison.png", headline, picture.rows, picture.columns, ours)
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
    places = (result["dataset"].get("rows"), result.get("rows"))
    rows = next((found for found in places if isinstance(found, Mapping) and "files" in found), {})
    return [*result["dataset"].get("notes", ()), *RowCounts.of_json(rows).lines()]


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
