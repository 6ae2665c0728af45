"""Songs to tell the label of an example from; those of an epoch follow from (seed, epoch) alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.negatives import cumulative, invert
from common.options import require
from dtnmr.dataset import Integers, KkboxData, Points

NegativesName = Literal["released", "uniform", "popularity"]
ROUNDS = 64
"""Rounds of replacing what may not be drawn before the few examples left are drawn from what they may be."""
BLOCK = 1 << 22
"""Random numbers held at once where every song of every example needs one."""


class Negatives:
    """Draws ``count`` distinct songs for each example.

    Args:
        data: songs, playlists and popularity.
        kind: ``released``: uniformly from all songs, the label and the history among them (deviation 8); ``uniform``:
            from the songs played in training but those of the history and the label; ``popularity``: of these, in
            proportion to plays^alpha. Songs that are new in the test part are no negatives in the latter two: they
            were not there yet, and drawn, but never a label, they would be learnt to be disliked.
        count: songs of each example.
        seed: of all draws.
        alpha: exponent of the popularity, between 0 (uniform) and 1 (plays).

    Raises:
        UserError: there are too few songs to draw from.
    """

    def __init__(self, data: KkboxData, kind: NegativesName, count: int, seed: int = 1, alpha: float = 0.75) -> None:
        require(count >= 1, f"{count} negatives: an example needs at least one (--subset-size of 2 or more)")
        require(count < data.songs, f"{count} negatives and a label need {count + 1} songs; there are {data.songs}")
        self.data, self.kind, self.count, self.seed = data, kind, count, seed
        self.songs = np.arange(data.songs) if kind == "released" else np.flatnonzero(data.plays)
        support = np.where(data.plays > 0, data.plays, 0)[self.songs]
        self._function = cumulative(support, alpha if kind == "popularity" else 0.0)
        self._first = None if kind == "released" else _first_places(data)

    def epoch(self, points: Points, epoch: int) -> Integers:
        """Negatives (n, count) of ``points`` in an epoch."""
        rng = np.random.default_rng((self.seed, epoch, 0x5041))  # a stream apart from that of the examples' order
        if self.kind == "released":
            return distinct(rng, self.data.songs, len(points), self.count)
        found = np.full((len(points), self.count), -1, np.int32)
        left = np.arange(len(points))
        for _ in range(ROUNDS):
            rows = found[left]
            empty = rows < 0
            rows[empty] = self.songs[invert(self._function, rng.random(int(empty.sum())))]
            rows[_repeated(rows) | self._heard(points, left, rows)] = -1
            found[left] = rows
            left = left[(rows < 0).any(axis=1)]
            if not len(left):
                break
        for row in left:
            found[row] = self._exact(rng, points, int(row))
        return found

    def _heard(self, points: Points, rows: NDArray[np.intp], songs: Integers) -> NDArray[np.bool_]:
        """Whether each of ``songs`` (n, count) is the label of its example or stands before it."""
        assert self._first is not None
        keys, places = self._first
        asked = points.playlists[rows].astype(np.int64)[:, None] * self.data.songs + songs
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return (keys[at] == asked) & (places[at] <= points.positions[rows][:, None])

    def _exact(self, rng: np.random.Generator, points: Points, row: int) -> Integers:
        """Negatives of one example that has heard nearly all there is to draw."""
        playlist = self.data.songs_played[int(points.playlists[row])]
        allowed = ~np.isin(self.songs, playlist[: points.positions[row] + 1])
        weights = np.diff(self._function, prepend=0.0) * allowed
        left = int(np.count_nonzero(weights))
        require(
            left >= self.count,
            f"playlist {points.playlists[row]} leaves only {left} of {len(self.songs)} songs to "
            f"draw {self.count} negatives from; lower --subset-size or --max-playlist-len",
        )
        drawn = rng.choice(self.songs, self.count, replace=False, p=weights / weights.sum())
        return drawn.astype(np.int32)


def distinct(rng: np.random.Generator, songs: int, rows: int, count: int) -> Integers:
    """(rows, count): distinct numbers below ``songs``, each row drawn uniformly without replacement."""
    drawn: Integers
    if count * count > songs:  # rows without a repetition would be rare
        block = max(BLOCK // songs, 1)
        parts = [
            np.argpartition(rng.random((min(block, rows - start), songs)), count - 1, axis=1)[:, :count]
            for start in range(0, rows, block)
        ]
        drawn = np.concatenate([np.empty((0, count), np.int32), *parts]).astype(np.int32)
        return rng.permuted(drawn, axis=1)
    drawn = rng.integers(0, songs, (rows, count), dtype=np.int32)
    left = np.arange(rows)
    while len(left):
        ordered = np.sort(drawn[left], axis=1)
        left = left[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        drawn[left] = rng.integers(0, songs, (len(left), count), dtype=np.int32)
    return drawn


def _repeated(rows: Integers) -> NDArray[np.bool_]:
    """(n, count) whether a song of (n, count) stands further to the left in its row, too."""
    found = np.zeros(rows.shape, bool)
    for column in range(1, rows.shape[1]):  # not all pairs at once: n x count^2 would not fit into memory
        found[:, column] = (rows[:, :column] == rows[:, column, None]).any(axis=1)
    return found


def _first_places(data: KkboxData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """playlist * songs + song of all songs played, ascending, and the first place of each in its playlist."""
    played = data.songs_played
    rows = np.repeat(np.arange(len(played)), played.lengths)
    keys, first = np.unique(rows * data.songs + played.values, return_index=True)
    return keys, first - played.indptr[:-1][keys // data.songs]
