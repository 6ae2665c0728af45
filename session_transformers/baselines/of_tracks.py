"""What sequence models have to beat, learned from the training part alone.

Each is asked twice: for the whole second half, going on from its own predictions, and for the rank of every true track
when it knows the true ones before it. Most are those of :mod:`common.session_baselines`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common.session_baselines import (
    ByLastItem,
    BySession,
    Counts,
    ItemKnn,
    Markov,
    MostPopular,
    Prefixes,
    SessionBaseline,
    SessionKnn,
    SessionPopular,
    score_table,
)
from common.sessions import Sessions
from session_transformers.kinds import HALF
from session_transformers.sessions.halves import Halves

Integers = NDArray[np.int64]
NONE = -1
"""In a history: no track."""
WINDOW = 10
"""Last tracks of a session that the sequential session-kNN compares."""
NEIGHBOURS = 300
"""Places where a training session goes on from the last track that it reads at most: those of the newest."""
SIMILARITY_POWER = 5
"""A neighbour with n of the last ten tracks has the weight n ** 5. Of 0, 1, 3, 5 and 8, the more the better on the
validation part of the sample; 8 would overflow 64 bits in large vocabularies."""
SCORES = 2**22
"""Scores at a time where every track has one."""


class TrackBaseline(Protocol):
    """Tells the track that continues a session; see :class:`common.session_baselines.SessionBaseline`."""

    def best(self, prefixes: Prefixes) -> Integers:
        """(n,) the most likely next track."""
        ...

    def ranks(self, prefixes: Prefixes, targets: Integers) -> Counts:
        """(n,) tracks above each target, and level with it, itself included."""
        ...

    def scores(self, prefixes: Prefixes, items: Integers) -> NDArray[Any]:
        """(n, C) numbers in the order of some tracks (n, C): the higher the likelier, equal where level."""
        ...


def sessions_of(halves: Halves, first_track: int) -> Sessions:
    """Both halves one after the other, tracks numbered from 0; their order stands for the times, which are not kept."""
    history = histories(halves, first_track)
    there = history != NONE
    offsets = np.append(0, np.cumsum(there.sum(axis=1)))
    return Sessions(history[there].astype(np.int32), offsets, np.arange(len(halves), dtype=np.float64))


def histories(halves: Halves, first_track: int) -> Integers:
    """(sessions, 20) tracks numbered from 0: the first half moved to the right, so that the second one follows it."""
    source, target = halves.source.astype(np.int64), halves.target.astype(np.int64)
    place = np.arange(HALF) - (HALF - halves.source_mask.sum(axis=1))[:, None]
    moved = np.where(place >= 0, np.take_along_axis(source, np.maximum(place, 0), axis=1), 0)
    together = np.concatenate([moved, target], axis=1)
    return np.where(together >= first_track, together - first_track, NONE)


def known_before(history: Integers, row: Integers, column: Integers) -> Prefixes:
    """What was played in sessions (n,) before each of some columns (n,) of ``history`` (sessions, width)."""
    width = history.shape[1]
    first = (history != NONE).argmax(axis=1)
    return Prefixes(history.ravel(), row * width + first[row], row * width + column)


def free_running(baseline: TrackBaseline, source: Integers) -> Integers:
    """(sessions, 10) the tracks that follow ``source`` (sessions, 10), each told from its own predictions before."""
    history, rows = source, np.arange(len(source))
    for _ in range(HALF):
        before = known_before(history, rows, np.full(len(rows), history.shape[1]))
        history = np.concatenate([history, baseline.best(before)[:, None]], axis=1)
    return history[:, -HALF:]


def forced_ranks(baseline: TrackBaseline, history: Integers) -> tuple[Integers, Integers]:
    """(sessions, 10) above and level with each track of the second half, told from the true ones before it.

    Args:
        history: (sessions, 20) as :func:`histories` makes it; where it ends early, both are 1 of no meaning.
    """
    above, level = np.ones((2, len(history), HALF), np.int64)
    row, step = np.nonzero(history[:, HALF:] != NONE)
    before = known_before(history, row, step + HALF)
    above[row, step], level[row, step] = baseline.ranks(before, history[row, step + HALF])
    return above, level


def last_items(prefixes: Prefixes, width: int) -> Integers:
    """(n, width) the last items of each prefix, NONE on the left where it is shorter."""
    place = prefixes.ends[:, None] + np.arange(-width, 0)
    return np.where(place >= prefixes.starts[:, None], prefixes.items[np.maximum(place, 0)], NONE)


class RepeatLast(ByLastItem):
    """The last track again, then the others by popularity."""

    name = "repeat last track"

    def _after(self, items: Integers) -> sparse.csr_array:
        ones = np.ones(len(items), np.int64)
        return score_table(np.arange(len(items)), items, ones, len(items), len(self.popularity))

    def _cost(self) -> Integers:
        return np.ones(len(self.popularity), np.int64)


class SequentialKnn(BySession):
    """Sequential session-kNN: what followed the last track in the training sessions that have most of the last ten.

    A neighbour that shares n of them votes for the track after the last one with weight n ** 5: session-kNN with the
    sequential filter of Ludewig and Jannach (SF-SKNN, arXiv 1803.09587), with a power in place of a cut-off. Where no
    training session goes on from the last track, the most popular one comes next.
    """

    name = "sequential session-kNN"

    def __init__(self, train: Sessions, items: int) -> None:
        super().__init__(train, items)
        session = np.repeat(np.arange(len(train)), np.diff(train.offsets))
        self._sets = _distinct(train.items.astype(np.int64), session, len(train), items)  # (width, sessions)
        before, after = Prefixes.of(train)
        order = np.argsort(before.last, kind="stable")
        self._session, self._after = session[before.ends - 1][order], after[order]
        counts = np.bincount(before.last, minlength=items)
        self._ends = np.cumsum(counts)
        self._counts = np.minimum(counts, NEIGHBOURS)

    def _table(self, prefixes: Prefixes) -> sparse.csr_array:
        last, tracks = prefixes.last, len(self.popularity)
        counts = self._counts[last]
        row = np.repeat(np.arange(len(prefixes)), counts)
        back = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        neighbour = self._ends[last[row]] - back
        heard = np.zeros((len(prefixes), tracks + 1), bool)
        heard[np.arange(len(prefixes))[:, None], last_items(prefixes, WINDOW)] = True
        heard[:, NONE] = False
        shared = np.zeros(len(row), np.int64)
        for of_session in self._sets:
            shared += heard[row, of_session[self._session[neighbour]]]
        return score_table(row, self._after[neighbour], shared**SIMILARITY_POWER, len(prefixes), tracks)

    def _cost(self, prefixes: Prefixes) -> Integers:
        return self._counts[prefixes.last] + len(self.popularity) // 16 + WINDOW


BASELINES: tuple[type[SessionBaseline], ...] = (
    MostPopular, SessionPopular, RepeatLast, ItemKnn, Markov, SessionKnn, SequentialKnn,
)  # fmt: skip


class VectorSum:
    """The track whose vector has the largest product with the sum of the vectors of the last ``memory`` tracks.

    It is the reinforcement learner's rule before it has learned anything: its state's memory for the action.

    Args:
        vectors: (tracks, E)
        memory: tracks that are added up.
    """

    def __init__(self, vectors: NDArray[np.floating], memory: int) -> None:
        self._vectors, self._memory = np.concatenate([vectors, np.zeros_like(vectors[:1])]), memory  # NONE is the last

    def best(self, prefixes: Prefixes) -> Integers:
        """See :class:`TrackBaseline`."""
        found = [every.argmax(axis=1) for _, _, every in self._scored(prefixes)]
        return np.concatenate(found) if found else np.zeros(0, np.int64)

    def ranks(self, prefixes: Prefixes, targets: Integers) -> Counts:
        """See :class:`TrackBaseline`."""
        above, level = np.zeros((2, len(targets)), np.int64)
        for low, high, every in self._scored(prefixes):
            own = np.take_along_axis(every, targets[low:high, None], axis=1)
            above[low:high], level[low:high] = (every > own).sum(axis=1), (every == own).sum(axis=1)
        return above, level

    def scores(self, prefixes: Prefixes, items: Integers) -> NDArray[Any]:
        """See :class:`TrackBaseline`."""
        return np.einsum("ne,nce->nc", self._sums(prefixes), self._vectors[items])

    def _sums(self, prefixes: Prefixes) -> NDArray[np.floating]:
        return self._vectors[last_items(prefixes, self._memory)].sum(axis=1)

    def _scored(self, prefixes: Prefixes) -> Iterator[tuple[int, int, NDArray[np.floating]]]:
        """Blocks of prefixes, ``prefixes[low:high]``, and the scores of all tracks after them."""
        block = max(SCORES // len(self._vectors), 1)
        for low in range(0, len(prefixes), block):
            high = min(low + block, len(prefixes))
            yield low, high, self._sums(prefixes[low:high]) @ self._vectors[:-1].T


def _distinct(items: Integers, session: Integers, sessions: int, none: int) -> Integers:
    """(most tracks of a session, sessions) each track of a session (n,) once, ``none`` in all other places."""
    pairs = np.unique(session * (none + 1) + items)
    session, items = np.divmod(pairs, none + 1)
    counts = np.bincount(session, minlength=sessions)
    found = np.full((counts.max(initial=0), sessions), none)
    found[np.arange(len(session)) - (np.cumsum(counts) - counts)[session], session] = items
    return found
