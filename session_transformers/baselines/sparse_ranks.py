"""Order a whole catalogue by a few scores in each row; the tracks without a score follow by popularity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Integers = NDArray[np.int64]


class Popularity:
    """A catalogue in the order of how often its tracks are played.

    Args:
        plays: (tracks,)
    """

    def __init__(self, plays: Integers) -> None:
        levels, level = np.unique(plays, return_inverse=True)
        self.level, self.levels = level.astype(np.int64), len(levels)
        """(tracks,) 0 for the least number of plays, 1 for the next, ...; and how many there are."""
        self.size = np.bincount(level)
        """(levels,) tracks of each."""
        self.above = len(plays) - np.cumsum(self.size)
        """(levels,) tracks of higher ones."""
        self.best = int(plays.argmax())
        """The most played track."""

    def __len__(self) -> int:
        return len(self.level)


class ScoreRows:
    """Rows of scores of a catalogue: tracks are ordered by score, then by plays.

    Args:
        rows: rows; a row without a score is ordered by plays alone.
        row: (n,) row of each score.
        track: (n,) its track; the scores of the same track in a row are added up.
        score: (n,) whole numbers, 1 or more.
        popularity: of the catalogue.
    """

    def __init__(self, rows: int, row: Integers, track: Integers, score: Integers, popularity: Popularity) -> None:
        table = sparse.csr_array((score.astype(np.int64), (row, track)), shape=(rows, len(popularity)))
        table.sum_duplicates()
        level = popularity.level[table.indices]
        of = np.repeat(np.arange(rows), np.diff(table.indptr))
        # One whole number for score and plays: a track without a score is below all that have one.
        value = table.data * popularity.levels + level
        self._table, self._starts, self._popularity = table, table.indptr.astype(np.int64), popularity
        self._span = int(value.max(initial=0)) + popularity.levels + 1
        self._keys = np.sort(of * self._span + value)
        self._level_keys = np.sort(of * popularity.levels + level)
        order = np.lexsort((-table.indices, value, of))
        self._top = table.indices[order[np.maximum(self._starts[1:] - 1, 0)]] if len(order) else None

    def best(self) -> Integers:
        """(rows,) the first track of each row; of those level with it the one of the lowest number."""
        if self._top is None:
            return np.full(len(self._starts) - 1, self._popularity.best)
        return np.where(np.diff(self._starts) > 0, self._top, self._popularity.best).astype(np.int64)

    def values(self, row: Integers, tracks: Integers) -> Integers:
        """(n, C) numbers in the order of the tracks (n, C) of each row: of score, then plays; equal where level."""
        rows = np.broadcast_to(row[:, None], tracks.shape).ravel()
        score = np.asarray(self._table[rows, tracks.ravel()]).reshape(tracks.shape)
        return score * self._popularity.levels + self._popularity.level[tracks]

    def ranks(self, row: Integers, target: Integers) -> tuple[Integers, Integers]:
        """(n,) tracks above each target in its row, and level with it, itself included."""
        popularity = self._popularity
        level, end = popularity.level[target], self._starts[row + 1]
        score = np.asarray(self._table[row, target]).ravel()
        low, high = _places(self._keys, row * self._span + score * popularity.levels + level)
        above, same = end - high, high - low
        # The other tracks have no score: they count for a target that has none either.
        low, high = _places(self._level_keys, row * popularity.levels + level)
        others_above = popularity.above[level] - (end - high)
        others_same = popularity.size[level] - (high - low)
        scored = score > 0
        return above + np.where(scored, 0, others_above), same + np.where(scored, 0, others_same)


def _places(ordered: Integers, wanted: Integers) -> tuple[Integers, Integers]:
    return np.searchsorted(ordered, wanted), np.searchsorted(ordered, wanted, side="right")
