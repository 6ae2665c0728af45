"""Work in independent tasks on files: one after the other, or on a cluster (:mod:`common.mssd.dask_engine`).

A task is a function of a module with small arguments and a small result; what is large it reads from and writes to
files, in full or not at all. It may therefore run twice, on any machine that sees the files, with the same outcome.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.npyfile import write_blocks

Result = TypeVar("Result")
BLOCK = 2**22
"""Elements of a large array that are handled at a time."""


class Tasks(Protocol):
    """Whatever runs tasks."""

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> list[Result]:
        """``function(*job)`` for each job, in the order of the jobs.

        Raises:
            UserError: as the first job, in this order, that fails.
        """


class InTurn:
    """Runs tasks in this process, one after the other: no more than one has its data in memory."""

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> list[Result]:
        """See :class:`Tasks`."""
        return [function(*job) for job in jobs]


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write ``array`` to ``path`` (.npy) in full or not at all; unlike :func:`common.options.replacing` not to last."""
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with beside.open("wb") as file:
            np.save(file, array)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def join_arrays(pieces: Sequence[Path], path: Path) -> NDArray[Any]:
    """Write the arrays of one or several files one after the other to ``path``; returns it, mapped for reading."""
    maps = [np.load(piece, mmap_mode="r") for piece in pieces]
    shape = (sum(len(array) for array in maps), *maps[0].shape[1:])
    write_blocks(path, maps[0].dtype, shape, maps)
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


def join_offsets(pieces: Sequence[Path], path: Path) -> NDArray[np.int64]:
    """As :func:`join_arrays`, of files of lengths: where each begins in the whole, and last where the whole ends."""
    maps = [np.load(piece, mmap_mode="r") for piece in pieces]

    def blocks() -> Iterator[NDArray[np.int64]]:
        last = np.zeros(1, np.int64)
        yield last
        for lengths in maps:
            ends = last[-1] + np.cumsum(lengths, dtype=np.int64)
            yield ends
            last = ends if len(ends) else last

    write_blocks(path, np.int64, (1 + sum(len(lengths) for lengths in maps),), blocks())
    return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Tally:
    """How often each of several keys occurs."""

    keys: NDArray[Any]
    """(keys,) integers or bytes, distinct, in the order of their first appearance."""
    counts: NDArray[np.int64]
    """(keys,)"""

    def save(self, stem: Path) -> None:
        """Write it to two files whose names begin with ``stem``."""
        save_array(stem.with_suffix(".keys.npy"), self.keys)
        save_array(stem.with_suffix(".counts.npy"), self.counts)

    @classmethod
    def load(cls, stem: Path) -> Tally:
        """Read what :meth:`save` wrote."""
        return cls(np.load(stem.with_suffix(".keys.npy")), np.load(stem.with_suffix(".counts.npy")))

    def __add__(self, later: Tally) -> Tally:
        """Both together: first the keys of this one, then the new ones of ``later``."""
        places = _index(self.keys).get_indexer(_index(later.keys))
        new = places < 0
        counts = self.counts.copy()
        counts[places[~new]] += later.counts[~new]  # the keys of a tally are distinct
        return Tally(np.concatenate([self.keys, later.keys[new]]), np.concatenate([counts, later.counts[new]]))


def _index(keys: NDArray[Any]) -> pd.Index:
    return pd.Index(keys.astype(object) if keys.dtype.kind == "S" else keys)


def add_tallies(tasks: Tasks, stems: Sequence[Path]) -> Tally:
    """The sum of tallies on disk, of neighbours two by two: the order of the keys is that of the whole."""
    while len(stems) > 1:
        sums = [one.with_name(f"{one.name}+") for one in stems[::2]]
        pairs = [(stems[first : first + 2], out) for first, out in zip(range(0, len(stems), 2), sums, strict=True)]
        tasks.map(_add, pairs)
        stems = sums
    return Tally.load(stems[0])


def _add(stems: Sequence[Path], out: Path) -> None:
    first, *others = (Tally.load(stem) for stem in stems)
    (first + others[0] if others else first).save(out)
