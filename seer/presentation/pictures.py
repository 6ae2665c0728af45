"""One picture per explained song: the piano roll of the whole song below the ratings of its sections."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pretty_midi
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from common.console import counted
from seer.presentation.lettering import draw_line
from seer.presentation.notes import clock

WIDTH, HEIGHT = 1120, 480
"""Pixels of a picture."""
_dpi = 100
_left, _right, _top = 0.072, 0.982, 0.88  # of the axes, as shares of the picture
_legend_columns = 5

# Okabe and Ito, then Tol: told apart with any colour vision. What is chosen has a colour that no instrument has.
_palette = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#332288", "#999933", "#882255")
_other, _drums, _ink, _faint, _chosen = "#9a9a9a", "#4d4d4d", "#22252b", "#6b7078", "#e6a100"
_time_steps = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 3600)


@dataclass(frozen=True)
class Picture:
    """A picture as it stands on the page."""

    png: bytes
    """WIDTH x HEIGHT pixels, on white."""
    text: str
    """The same in words."""
    section: tuple[float, float] | None
    """Where the chosen section starts and ends, as shares of the width."""


@dataclass(frozen=True)
class _Part:
    """The notes of all instruments of one name: starts, ends, pitches and velocities, each (n,)."""

    name: str
    colour: str
    notes: NDArray[np.float64]


def piano_roll(
    midi: pretty_midi.PrettyMIDI,
    starts_s: Sequence[float] | NDArray[Any],
    scores: Sequence[float] | NDArray[Any],
    chosen: tuple[float, float] | None,
    seen_s: float | None,
    title: str,
) -> Picture:
    """Draw a song: above the predicted rating of each section, below its notes over time, drums in a strip.

    Args:
        midi: the song.
        starts_s: (w,) where each candidate section starts, in seconds; ascending.
        scores: (w,) predicted rating of each section; NaN is a gap.
        chosen: start and end of the section that explains the recommendation, in seconds; None if there is none.
            The released rule may choose an empty one, whose start is not before its end.
        seen_s: the model read the song up to here, in seconds; None if it read all.
        title: any text; cut to the width; letters that no installed font has become a box.
    """
    parts, drums = _parts(midi)
    starts, ratings = np.asarray(starts_s, np.float64), np.asarray(scores, np.float64)
    end = max([1.0, *(float(p.notes[1].max()) for p in [*parts, *drums]), *starts[-1:], *(chosen or ())])
    legend_rows = -(-len(parts) // _legend_columns)
    figure = Figure(figsize=(WIDTH / _dpi, HEIGHT / _dpi), dpi=_dpi, facecolor="white")
    grid = figure.add_gridspec(
        3 if drums else 2,
        height_ratios=[1, 2.1, 0.32] if drums else [1, 2.3],
        hspace=0.1,
        left=_left,
        right=_right,
        top=_top,
        bottom=0.07 + 0.048 * legend_rows,
    )
    curve = figure.add_subplot(grid[0])
    roll = figure.add_subplot(grid[1], sharex=curve)
    strip = [figure.add_subplot(grid[2], sharex=curve)] if drums else []
    axes = [curve, roll, *strip]
    for axis in axes:
        _frame(axis, end, chosen, seen_s, last=axis is axes[-1])
    _draw_scores(curve, starts, ratings, chosen)
    _draw_notes(roll, parts)
    for axis in strip:
        _draw_drums(axis, drums[0])
    if chosen:
        _label(curve, f"{clock(chosen[0])}–{clock(chosen[1])}", sum(chosen) / 2 / end)
    if seen_s is not None and seen_s < 0.8 * end:
        unread: dict[str, Any] = {"ha": "center", "va": "bottom", "color": _faint, "fontsize": 9}
        curve.text((1 + seen_s / end) / 2, 1.03, "not read by the model", transform=curve.transAxes, **unread)
    draw_line(figure, title, (_left, 0.955), _right, fontsize=12, fontweight="bold", color=_ink)
    if parts:
        handles = [Patch(color=part.colour, label=part.name) for part in parts]
        style: dict[str, Any] = {"fontsize": 8.5, "frameon": False, "labelcolor": _faint, "columnspacing": 2.2}
        figure.legend(handles=handles, loc="lower center", ncols=_legend_columns, handlelength=1.1, **style)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=_dpi)
    width = _right - _left
    place = (float(_left + width * chosen[0] / end), float(_left + width * chosen[1] / end)) if chosen else None
    return Picture(png.getvalue(), _words([*parts, *drums], ratings, chosen, seen_s, end), place)


def _parts(midi: pretty_midi.PrettyMIDI) -> tuple[list[_Part], list[_Part]]:
    """Instruments by name, the one with most notes first; and the drums, if any. Rare instruments are one part."""
    found: dict[str, list[tuple[float, float, int, int]]] = {}
    beats: list[tuple[float, float, int, int]] = []
    for instrument in midi.instruments:
        notes = [(note.start, note.end, note.pitch, note.velocity) for note in instrument.notes]
        if instrument.is_drum:
            beats += notes
        elif notes:
            found.setdefault(pretty_midi.program_to_instrument_name(instrument.program), []).extend(notes)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    kept = ordered[: len(_palette)]
    if rest := ordered[len(_palette) :]:
        kept.append(
            (rest[0][0] if len(rest) == 1 else f"{len(rest)} more", [note for _, notes in rest for note in notes])
        )
    parts = [_Part(n, c, np.array(v, float).T) for (n, v), c in zip(kept, (*_palette, _other), strict=False)]
    return parts, [_Part("Drums", _drums, np.array(beats, float).T)] if beats else []


def _frame(axis: Axes, end: float, chosen: tuple[float, float] | None, seen_s: float | None, last: bool) -> None:
    """Time axis, shading of the chosen section, grey over what the model did not read."""
    axis.set_xlim(0, end)
    step = next((s for s in _time_steps if end / s <= 13), math.ceil(end / 13))
    axis.xaxis.set_major_locator(MultipleLocator(step))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)[:-2]))
    axis.tick_params(labelsize=8.5, labelcolor=_faint, color="#c8cbd0", length=3, labelbottom=last, bottom=last)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.spines["bottom"].set_color("#c8cbd0")
    axis.grid(axis="x", color="#eceef0", linewidth=0.8)
    axis.set_axisbelow(True)
    if chosen:
        axis.axvspan(*chosen, color=_chosen, alpha=0.26, linewidth=0, zorder=0.5)
        for edge in chosen:
            axis.axvline(edge, color=_chosen, linewidth=1, zorder=0.6)
    if seen_s is not None and seen_s < end:
        # Above the notes, which stay visible but pale.
        axis.axvspan(max(seen_s, 0), end, color="#f1f2f4", alpha=0.72, linewidth=0, zorder=4)


def _draw_scores(
    axis: Axes, starts: NDArray[np.float64], ratings: NDArray[np.float64], chosen: tuple[float, float] | None
) -> None:
    """The curve, broken between starts twice as far apart as usual; a candidate all alone is a dot."""
    axis.set_ylabel("rating of\nthe section", fontsize=8.5, color=_faint)
    axis.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2, steps=[1, 2, 5, 10]))
    known = np.isfinite(ratings)
    if not known.any():
        axis.set_yticks([])
        axis.text(0.5, 0.5, "no section to rate", transform=axis.transAxes, ha="center", va="center", color=_faint)
        return
    starts, ratings = starts[known], ratings[known]
    usual = float(np.median(np.diff(starts))) if len(starts) > 1 else 1.0
    runs = np.split(np.arange(len(starts)), np.flatnonzero(np.diff(starts) > 2 * usual) + 1)
    axis.add_collection(
        LineCollection([np.column_stack([starts[run], ratings[run]]) for run in runs], colors=_ink, linewidths=1.4)
    )
    lone = [run[0] for run in runs if len(run) == 1]
    axis.plot(starts[lone], ratings[lone], "o", color=_ink, markersize=2.5)
    low, high = float(ratings.min()), float(ratings.max())
    room = max(high - low, 0.01)
    axis.set_ylim(low - 0.12 * room, high + 0.3 * room)
    if chosen:
        best = int(np.argmin(np.abs(starts - chosen[0])))
        axis.plot(starts[best], ratings[best], "o", color=_chosen, markeredgecolor=_ink, markersize=7, zorder=5)


def _draw_notes(axis: Axes, parts: list[_Part]) -> None:
    axis.set_ylabel("pitch", fontsize=8.5, color=_faint)
    if not parts:
        axis.set_yticks([])
        axis.text(0.5, 0.5, "no notes", transform=axis.transAxes, ha="center", va="center", color=_faint)
        return
    low = min(float(part.notes[2].min()) for part in parts)
    high = max(float(part.notes[2].max()) for part in parts)
    middle, half = (low + high) / 2, max((high - low) / 2 + 2, 12)
    axis.set_ylim(middle - half, middle + half)
    octaves = [pitch for pitch in range(0, 128, 12) if abs(pitch - middle) <= half]
    axis.set_yticks(octaves, [f"C{pitch // 12 - 1}" for pitch in octaves])
    axis.grid(axis="y", color="#eceef0", linewidth=0.8)
    for part in parts[::-1]:  # the instrument with fewest notes lies on top
        axis.add_collection(_bars(axis, part, part.notes[2], min(0.85 * _pixels(axis) / (2 * half), 5)))


def _draw_drums(axis: Axes, drums: _Part) -> None:
    """A row for each drum, the lowest at the bottom; every stroke is a tick of the same length."""
    kinds, rows = np.unique(drums.notes[2], return_inverse=True)
    axis.set_ylim(-0.8, len(kinds) - 0.2)
    axis.set_yticks([])
    axis.set_ylabel("drums", fontsize=8.5, color=_faint, rotation=0, ha="right", va="center")
    axis.add_collection(_bars(axis, drums, rows, min(0.85 * _pixels(axis) / len(kinds), 5), longest_pixels=2.5))


def _bars(
    axis: Axes, part: _Part, heights: NDArray[Any], thickness: float, longest_pixels: float = math.inf
) -> LineCollection:
    """Notes as horizontal lines at ``heights``, at least a pixel long; soft notes are paler."""
    start, end, _, velocity = part.notes
    pixel = float(axis.get_xlim()[1]) / ((_right - _left) * WIDTH)
    end = start + np.clip(end - start, 1.2 * pixel, longest_pixels * pixel)
    lines = np.stack([np.column_stack([start, heights]), np.column_stack([end, heights])], axis=1)
    alpha = 0.45 + 0.5 * np.clip(velocity / 127, 0, 1)
    width = max(thickness, 1.2) * 72 / _dpi
    return LineCollection(list(lines), colors=part.colour, alpha=alpha, linewidths=width, capstyle="butt")


def _pixels(axis: Axes) -> float:
    return float(axis.get_position().height) * HEIGHT


def _label(axis: Axes, text: str, share: float) -> None:
    """The times of the chosen section above its shading, kept inside the picture."""
    axis.text(
        min(max(share, 0.05), 0.95),
        1.03,
        text,
        transform=axis.transAxes,
        ha="center",
        va="bottom",
        fontsize=9,
        fontweight="bold",
        color="#7a5200",
    )


def _words(
    parts: list[_Part],
    ratings: NDArray[np.float64],
    chosen: tuple[float, float] | None,
    seen_s: float | None,
    end: float,
) -> str:
    count = sum(part.notes.shape[1] for part in parts)
    if not count:
        return "Piano roll without notes."
    names = ", ".join(part.name.lower() if part.name == "Drums" else part.name for part in parts)
    words = [f"Piano roll of the whole song, {clock(end)} long: {counted(count, 'note')} ({names})."]
    known = ratings[np.isfinite(ratings)]
    if known.size:
        words.append(f"Above it the predicted ratings of its sections, from {known.min():.2f} to {known.max():.2f}.")
    if chosen:
        words.append(f"The section from {clock(chosen[0])} to {clock(chosen[1])} is shaded.")
    if seen_s is not None and seen_s < end:
        words.append(f"What follows after {clock(seen_s)} was not read by the model and is greyed out.")
    return " ".join(words)
