"""What sequence models have to beat, learned from the training part alone.

Each is asked twice: for the whole second half, going on from its own predictions, and for the rank of every true track
when it knows the true ones before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from session_transformers.baselines.sparse_ranks import Popularity, ScoreRows
from session_transformers.kinds import HALF
from session_transformers.sessions.halves import Halves

Integers = NDArray[np.int64]
NONE = -1
"""In a history: no track."""
NEIGHBOURS = 300
"""Sessions compared at most: the newest that have the last track."""
SIMILARITY_POWER = 5
"""A neighbour with n of the last ten tracks has the weight n ** 5. Of 0, 1, 3, 5 and 8, the more the better on the
validation part of the sample; 8 would overflow 64 bits in large vocabularies."""
PAIRS, ROWS = 2**15, 256
"""Pairs of a history and a neighbour that are compared at a time, and histories at most."""
SCORES = 2**22
"""Scores at a time where every track has one."""


class TrackBaseline(Protocol):
    """Tells the next track from a history: the last ten tracks (n, 10), NONE on the left where it is shorter."""

    def best(self, history: Integers) -> Integers:
        """(n,) the most likely next track."""
        ...

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """(n,) tracks above each target, and level with it, itself included."""
        ...

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """(n, C) numbers in the order of some tracks (n, C): the higher the likelier, equal where level."""
        ...


def histories(halves: Halves, first_track: int) -> Integers:
    """(sessions, 20) tracks numbered from 0: the first half moved to the right, so that the second one follows it."""
    source, target = halves.source.astype(np.int64), halves.target.astype(np.int64)
    place = np.arange(HALF) - (HALF - halves.source_mask.sum(axis=1))[:, None]
    moved = np.where(place >= 0, np.take_along_axis(source, np.maximum(place, 0), axis=1), 0)
    together = np.concatenate([moved, target], axis=1)
    return np.where(together >= first_track, together - first_track, NONE)


def free_running(baseline: TrackBaseline, source: Integers) -> Integers:
    """(sessions, 10) the tracks that follow ``source`` (sessions, 10), each told from its own predictions before."""
    history = source
    for _ in range(HALF):
        history = np.concatenate([history, baseline.best(history[:, -HALF:])[:, None]], axis=1)
    return history[:, -HALF:]


def forced_ranks(baseline: TrackBaseline, history: Integers) -> tuple[Integers, Integers]:
    """(sessions, 10) above and level with each track of the second half, told from the true ones before it.

    Args:
        history: (sessions, 20) as :func:`histories` makes it; where it ends early, both are 1 of no meaning.
    """
    above, level = np.ones((2, len(history), HALF), np.int64)
    for step in range(HALF):
        there = history[:, HALF + step] != NONE
        before, target = history[there, step : HALF + step], history[there, HALF + step]
        above[there, step], level[there, step] = baseline.ranks(before, target)
    return above, level


@dataclass(frozen=True, eq=False)
class Popular:
    """The most played track, always."""

    popularity: Popularity

    def best(self, history: Integers) -> Integers:
        """See :class:`TrackBaseline`."""
        return np.full(len(history), self.popularity.best)

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """See :class:`TrackBaseline`."""
        nothing = np.zeros(0, np.int64)
        return ScoreRows(1, nothing, nothing, nothing, self.popularity).ranks(np.zeros(len(target), np.int64), target)

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        return self.popularity.level[tracks]


@dataclass(frozen=True, eq=False)
class RepeatLast:
    """The last track again, then the others by popularity."""

    popularity: Popularity

    def best(self, history: Integers) -> Integers:
        """See :class:`TrackBaseline`."""
        return history[:, -1]

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """See :class:`TrackBaseline`."""
        return self._rows(history).ranks(np.arange(len(target)), target)

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        return self._rows(history).values(np.arange(len(tracks)), tracks)

    def _rows(self, history: Integers) -> ScoreRows:
        count = len(history)
        return ScoreRows(count, np.arange(count), history[:, -1], np.ones(count, np.int64), self.popularity)


class Markov:
    """The track that most often followed the last one; the most popular one where none ever did."""

    def __init__(self, train: Integers, popularity: Popularity) -> None:
        """Count which track follows which in the histories ``train`` (sessions, 20)."""
        before, after = train[:, :-1].ravel(), train[:, 1:].ravel()
        both = (before != NONE) & (after != NONE)
        self._rows = ScoreRows(len(popularity), before[both], after[both], np.ones(both.sum(), np.int64), popularity)
        self._best = self._rows.best()

    def best(self, history: Integers) -> Integers:
        """See :class:`TrackBaseline`."""
        return self._best[history[:, -1]]

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """See :class:`TrackBaseline`."""
        return self._rows.ranks(history[:, -1], target)

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        return self._rows.values(history[:, -1], tracks)


class SessionKnn:
    """What followed the last track in the training sessions that have most of the last ten tracks.

    A neighbour that shares n of them votes for the track after the last one with weight n ** 5; session-kNN with the
    sequential filter of Ludewig and Jannach (arXiv 1803.09587), with a power in place of a cut-off. Where no training
    session goes on from the last track, the most popular one comes next.
    """

    def __init__(self, train: Integers, popularity: Popularity) -> None:
        """Learn the histories ``train`` (sessions, 20), the newest last."""
        self._sets = np.ascontiguousarray(_distinct(train, len(popularity)).T)  # (20, sessions)
        self._popularity = popularity
        session, place = np.nonzero((train[:, :-1] != NONE) & (train[:, 1:] != NONE))
        order = np.argsort(train[session, place], kind="stable")
        self._session, self._after = session[order], train[session, place + 1][order]
        counts = np.bincount(train[session, place], minlength=len(popularity))
        self._ends = np.cumsum(counts)
        self._counts = np.minimum(counts, NEIGHBOURS)

    def best(self, history: Integers) -> Integers:
        """See :class:`TrackBaseline`."""
        return np.concatenate([rows.best() for _, _, rows in self._scored(history)] or [np.zeros(0, np.int64)])

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """See :class:`TrackBaseline`."""
        found = [rows.ranks(np.arange(high - low), target[low:high]) for low, high, rows in self._scored(history)] or [
            (np.zeros(0, np.int64),) * 2
        ]
        return np.concatenate([above for above, _ in found]), np.concatenate([level for _, level in found])

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        found = [rows.values(np.arange(high - low), tracks[low:high]) for low, high, rows in self._scored(history)]
        return np.concatenate(found) if found else np.zeros(tracks.shape, np.int64)

    def _scored(self, history: Integers) -> Iterator[tuple[int, int, ScoreRows]]:
        """Blocks of histories, ``history[low:high]``, and the scores after them."""
        total = np.append(0, np.cumsum(self._counts[history[:, -1]] + PAIRS // ROWS))
        low = 0
        while low < len(history):
            high = max(low + 1, int(np.searchsorted(total, total[low] + PAIRS, side="right")) - 1)
            yield low, high, self._scores(history[low:high])
            low = high

    def _scores(self, history: Integers) -> ScoreRows:
        counts = self._counts[history[:, -1]]
        row = np.repeat(np.arange(len(history)), counts)
        back = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        neighbour = self._ends[history[row, -1]] - back
        heard = np.zeros((len(history), len(self._popularity) + 1), bool)
        heard[np.arange(len(history))[:, None], history] = True
        heard[:, NONE] = False
        shared = np.zeros(len(row), np.int64)
        for tracks in self._sets:
            shared += heard[row, tracks[self._session[neighbour]]]
        return ScoreRows(len(history), row, self._after[neighbour], shared**SIMILARITY_POWER, self._popularity)


class VectorSum:
    """The track whose vector has the largest product with the sum of the vectors of the last ``memory`` tracks.

    It is the reinforcement learner's rule before it has learned anything: its state's memory for the action.

    Args:
        vectors: (tracks, E)
        memory: tracks that are added up.
    """

    def __init__(self, vectors: NDArray[np.floating], memory: int) -> None:
        self._vectors, self._memory = np.concatenate([vectors, np.zeros_like(vectors[:1])]), memory  # NONE is the last

    def best(self, history: Integers) -> Integers:
        """See :class:`TrackBaseline`."""
        found = [every.argmax(axis=1) for _, _, every in self._scored(history)]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def ranks(self, history: Integers, target: Integers) -> tuple[Integers, Integers]:
        """See :class:`TrackBaseline`."""
        above, level = np.zeros((2, len(target)), np.int64)
        for low, high, every in self._scored(history):
            own = np.take_along_axis(every, target[low:high, None], axis=1)
            above[low:high], level[low:high] = (every > own).sum(axis=1), (every == own).sum(axis=1)
        return above, level

    def scores(self, history: Integers, tracks: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        return np.einsum("ne,nce->nc", self._sums(history), self._vectors[tracks])

    def _sums(self, history: Integers) -> NDArray[np.floating]:
        return self._vectors[history[:, -self._memory :]].sum(axis=1)

    def _scored(self, history: Integers) -> Iterator[tuple[int, int, NDArray[np.floating]]]:
        """Blocks of histories, ``history[low:high]``, and the scores of all tracks after them."""
        block = max(SCORES // len(self._vectors), 1)
        for low in range(0, len(history), block):
            high = min(low + block, len(history))
            yield low, high, self._sums(history[low:high]) @ self._vectors[:-1].T


def _distinct(train: Integers, none: int) -> Integers:
    """``train`` (sessions, 20) with each track of a session once, ``none`` in all other places."""
    ordered = np.sort(train, axis=1)
    again = np.zeros(train.shape, bool)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    return np.where(again | (ordered == NONE), none, ordered)
