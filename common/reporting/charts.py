"""Tables and charts of results: on the console, as Markdown and as PNG."""

from __future__ import annotations

import math
import textwrap
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator

from common import console
from common.evaluation import Figures, better
from common.options import replacing

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


def _save(figure: plt.Figure, path: Path) -> None:
    with replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # it is drawn as a box
        figure.savefig(file, format="png", dpi=120)
    plt.close(figure)
