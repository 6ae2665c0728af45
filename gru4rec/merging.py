"""Sessions written piece by piece, each in order, are merged into one order by ranges of their starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd.tasks import BLOCK, Tasks, join_arrays, join_offsets, save_array
from common.sessions import Events
from gru4rec.built import ARRAYS
from gru4rec.edges import Starts


@dataclass(frozen=True)
class Piece:
    """The sessions of one part of the logs that belong to train, validation or test, written in order."""

    stem: Path
    before: int
    """Events before the items unknown in training and the sessions too short were dropped."""
    starts: NDArray[np.float64]
    """(times,) distinct, ascending."""
    events: NDArray[np.int64]
    """(times,) of the sessions that start then."""


def write_piece(events: Events, before: int, stem: Path) -> Piece:
    """Write the sessions in the order of (start, session id) to files whose names begin with ``stem``.

    Args:
        before: see :class:`Piece`.
    """
    save_array(_array(stem, "ids"), events.ids[np.lexsort((events.ids, events.starts))])
    sessions = events.sessions()
    for array in ARRAYS:
        save_array(_array(stem, array), getattr(sessions, array))
    times, places = np.unique(events.starts, return_inverse=True)
    return Piece(stem, before, times, np.bincount(places, events.lengths).astype(np.int64))


def merge(pieces: Sequence[Piece], tasks: Tasks, scratch: Path, out: Path) -> None:
    """Write the sessions of all ``pieces`` in their order to files whose names begin with ``out``.

    Args:
        scratch: an empty folder for the sessions of each range of starts.
    """
    events = Starts.of(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("starts", "events")))
    ranges = np.cumsum(events.sessions) // BLOCK
    edges = np.flatnonzero(np.diff(ranges, prepend=-1, append=-1)) if len(ranges) else np.array([0, 0])
    jobs: list[tuple[list[Path], float, float, Path]] = []
    for first, last in pairwise(edges):
        times = events.times[first:last]
        stems = [
            piece.stem
            for piece in pieces
            if not len(times) or (len(piece.starts) and piece.starts[0] <= times[-1] and piece.starts[-1] >= times[0])
        ]
        bounds = (times[0], times[-1]) if len(times) else (0.0, 0.0)
        jobs.append((stems, *bounds, scratch / f"{len(jobs):06}"))
    tasks.map(_merge_range, jobs)
    for array in ARRAYS:
        join = join_offsets if array == "offsets" else join_arrays
        join([_array(job[3], array) for job in jobs], _array(out, array))


def _array(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}_{name}.npy")


def _merge_range(stems: Sequence[Path], low: float, high: float, out: Path) -> None:
    """All sessions that start in ``low..high``, in order; the lengths of the sessions in place of the offsets."""
    items, lengths, starts, ids = [], [], [], []
    for stem in stems:
        times = np.load(_array(stem, "starts"), mmap_mode="r")
        first, last = np.searchsorted(times, low, "left"), np.searchsorted(times, high, "right")
        offsets = np.load(_array(stem, "offsets"), mmap_mode="r")[first : last + 1]
        items.append(np.load(_array(stem, "items"), mmap_mode="r")[offsets[0] : offsets[-1]])
        lengths.append(np.diff(offsets))
        starts.append(times[first:last])
        ids.append(np.load(_array(stem, "ids"), mmap_mode="r")[first:last])
    counts = np.concatenate(lengths)
    together = np.concatenate(items)
    times = np.repeat(np.concatenate(starts), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    sessions = Events(together, times, np.zeros(0, np.int64), offsets, np.concatenate(ids)).sessions()
    for name, array in (("items", sessions.items), ("offsets", np.diff(sessions.offsets)), ("starts", sessions.starts)):
        save_array(_array(out, name), array)
