"""Session-based recommendation baselines: most popular, session popular, Markov, item-kNN and session-kNN (VSKNN).

Each learns from training sessions and then tells the item that continues a session, from what has been played in it so
far (:class:`Prefixes`). All order the whole catalogue by a score, a whole number that few items have; those without one
stand below, and only scores that there are, are held (:class:`ScoreRows`). Items of the same score are ordered by
popularity, their events in training. Items level in that too are tied: ranks count them, and the caller decides what a
tie is worth. Only where one item must be named, it is the one of the lowest number. Otherwise numbers of items are
mere names: other numbers give the same ranks.

The definitions are the same in every paper here. Where papers differ is in what they ask: GRU4Rec the rank of each next
item (:meth:`SessionBaseline.ranks`), the session transformers also for ten tracks in a row, each told from those told
before it (:meth:`SessionBaseline.best`), and for the order of some drawn tracks (:meth:`SessionBaseline.scores`).

Sources: Hidasi et al., arXiv 1511.06939, section 4 (most popular, session popular, item-kNN); Ludewig, Jannach:
Evaluation of Session-based Recommendation Algorithms, UMUAI 28, 2018, arXiv 1803.09587, section 3 (Markov,
V-SKNN).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common.sessions import Sessions

Integers = NDArray[np.int64]
Counts = tuple[Integers, Integers]
"""Items above each target, and items level with it, the target itself included, (n,) each."""

PAIRS = 2**19
"""Scores, and pairs of a prefix and a training session, that are held at a time, about: some 60 MB."""
REGULARISATION = 20.0
"""Sessions added to the support of each item in item-kNN, so that chance meetings of rare items count little."""
NEIGHBOURS, SAMPLE = 100, 500
"""Of session-kNN: neighbours, and the newest sessions among which they are sought."""
UNIT = 720_720
"""Parts of one that the scores of session-kNN are counted in: it is divisible by all of 1..16."""


@dataclass(frozen=True, eq=False)
class Prefixes:
    """Sessions so far, each to be continued by one item: stretches of one array, which may overlap."""

    items: Integers
    """(events,) items of all sessions."""
    starts: Integers
    """(n,) place in ``items`` of the first item of each prefix."""
    ends: Integers
    """(n,) the place after its last one."""

    def __post_init__(self) -> None:
        inside = (self.starts >= 0) & (self.starts < self.ends) & (self.ends <= len(self.items))
        if not inside.all():
            raise ValueError("a prefix is empty or not within the items")

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, which: Any) -> Prefixes:
        return Prefixes(self.items, self.starts[which], self.ends[which])

    @classmethod
    def of(cls, sessions: Sessions) -> tuple[Prefixes, Integers]:
        """Every event of the sessions but the last of each, with what came before it, and the item that comes next."""
        lengths = np.diff(sessions.offsets)
        last = np.delete(np.arange(len(sessions.items)), sessions.offsets[1:][lengths > 0] - 1)
        starts = np.repeat(sessions.offsets[:-1], np.maximum(lengths - 1, 0))
        items = sessions.items.astype(np.int64)
        return cls(items, starts, last + 1), items[last + 1]

    @property
    def last(self) -> Integers:
        """(n,) the last item of each."""
        return self.items[self.ends - 1]

    @property
    def lengths(self) -> Integers:
        """(n,) events of each."""
        return self.ends - self.starts

    def events(self) -> tuple[Integers, Integers]:
        """(m,) prefix of each event of each prefix, and its place in ``items``."""
        row = np.repeat(np.arange(len(self)), self.lengths)
        first = np.cumsum(self.lengths) - self.lengths
        return row, np.arange(len(row)) + (self.starts - first)[row]


class Popularity:
    """A catalogue in the order of how often its items are played.

    Args:
        plays: (items,)
    """

    def __init__(self, plays: Integers) -> None:
        levels, level = np.unique(plays, return_inverse=True)
        self.level, self.levels = level.astype(np.int64), len(levels)
        """(items,) 0 for the least number of plays, 1 for the next, ...; and how many there are."""
        self.size = np.bincount(level, minlength=1)
        """(levels,) items of each."""
        self.above = len(plays) - np.cumsum(self.size)
        """(levels,) items of higher ones."""
        self.best = int(plays.argmax()) if len(plays) else 0
        """The most played item."""

    def __len__(self) -> int:
        return len(self.level)


class ScoreRows:
    """Rows of scores of a catalogue: items are ordered by score, then by popularity.

    Args:
        table: (rows, items) whole scores, those stored 1 or more and each stored once; any other item scores 0.
        popularity: of the catalogue.
    """

    def __init__(self, table: sparse.csr_array, popularity: Popularity) -> None:
        if (int(table.data.max(initial=0)) + 2) * popularity.levels * max(table.shape[0], 1) >= 2**62:
            places = np.unique(table.data, return_inverse=True)[1] + 1  # in the same order, but small
            table = sparse.csr_array((places, table.indices, table.indptr), shape=table.shape)
        self._table, self._popularity = table, popularity
        self._starts = table.indptr.astype(np.int64)
        self._of = np.repeat(np.arange(table.shape[0]), np.diff(self._starts))
        self._level = popularity.level[table.indices]
        # One whole number for score and popularity: an item without a score is below all that have one.
        self._value = table.data.astype(np.int64) * popularity.levels + self._level
        self._span = int(self._value.max(initial=0)) + popularity.levels + 1

    def best(self) -> Integers:
        """(rows,) the first item of each row; of those level with it the one of the lowest number."""
        found = np.full(len(self._starts) - 1, self._popularity.best, np.int64)
        order = np.lexsort((-self._table.indices, self._value, self._of))
        scored = np.diff(self._starts) > 0
        found[scored] = self._table.indices[order[self._starts[1:][scored] - 1]]
        return found

    def values(self, row: Integers, items: Integers) -> Integers:
        """(n, C) numbers in the order of the items (n, C) of rows (n,): equal where level, of no other meaning."""
        rows = np.broadcast_to(row[:, None], items.shape).ravel()
        return (
            self._score(rows, items.ravel()).reshape(items.shape) * self._popularity.levels
            + (self._popularity.level[items])
        )

    def ranks(self, row: Integers, target: Integers) -> Counts:
        """(n,) items above each target in its row, and level with it, itself included."""
        popularity, score = self._popularity, self._score(row, target)
        level, end = popularity.level[target], self._starts[row + 1]
        # The items of the row that have a score, ...
        low, high = _places(self._keys, row * self._span + score * popularity.levels + level)
        above, same = end - high, high - low
        # ... and those that have none: they count for a target that has none either.
        low, high = _places(self._level_keys, row * popularity.levels + level)
        scored = score > 0
        above += np.where(scored, 0, popularity.above[level] - (end - high))
        same += np.where(scored, 0, popularity.size[level] - (high - low))
        return above, same

    def _score(self, row: Integers, item: Integers) -> Integers:
        if not len(row):  # SciPy's answer is no array then
            return np.zeros(0, np.int64)
        return np.asarray(self._table[row, item]).ravel().astype(np.int64)

    @cached_property
    def _keys(self) -> Integers:
        """Row and value of every score as one number, ascending."""
        return np.sort(self._of * self._span + self._value)

    @cached_property
    def _level_keys(self) -> Integers:
        """Row and popularity of every score."""
        return np.sort(self._of * self._popularity.levels + self._level)


class SessionBaseline(ABC):
    """What has learned from training sessions how a session goes on.

    Args:
        train: sessions to learn from, the newest last.
        items: how many items there are, in training or to be ranked; their numbers are 0..items - 1.
    """

    name: str

    def __init__(self, train: Sessions, items: int) -> None:
        self.popularity = Popularity(np.bincount(train.items, minlength=items))

    @abstractmethod
    def blocks(self, prefixes: Prefixes) -> Iterator[tuple[Integers, Integers, ScoreRows]]:
        """Prefixes (m,) of a block, the row (m,) that each is continued by, and the rows; each prefix comes once."""

    def ranks(self, prefixes: Prefixes, targets: Integers) -> Counts:
        """(n,) items above each target (n,), the one that continues the prefix, and items level with it, itself too.

        Raises:
            ValueError: an item is not in 0..items - 1.
        """
        self._check(prefixes.last, targets)
        above, level = np.zeros((2, len(prefixes)), np.int64)
        for which, row, rows in self.blocks(prefixes):
            above[which], level[which] = rows.ranks(row, targets[which])
        return above, level

    def best(self, prefixes: Prefixes) -> Integers:
        """(n,) the most likely next item; of those level with it the one of the lowest number."""
        self._check(prefixes.last)
        found = np.zeros(len(prefixes), np.int64)
        for which, row, rows in self.blocks(prefixes):
            found[which] = rows.best()[row]
        return found

    def scores(self, prefixes: Prefixes, items: Integers) -> Integers:
        """(n, C) numbers in the order of some items (n, C): the higher the likelier, equal where level."""
        self._check(prefixes.last, items)
        found = np.zeros(items.shape, np.int64)
        for which, row, rows in self.blocks(prefixes):
            found[which] = rows.values(row, items[which])
        return found

    def _check(self, *items: Integers) -> None:
        for some in items:
            if some.size and not 0 <= some.min() <= some.max() < len(self.popularity):
                raise ValueError(f"an item is not in 0..{len(self.popularity) - 1}")


class MostPopular(SessionBaseline):
    """POP: the items by their events in training, whatever has been played."""

    name = "most popular"

    def blocks(self, prefixes: Prefixes) -> Iterator[tuple[Integers, Integers, ScoreRows]]:
        """See :meth:`SessionBaseline.blocks`."""
        nothing = sparse.csr_array((1, len(self.popularity)), dtype=np.int64)
        yield np.arange(len(prefixes)), np.zeros(len(prefixes), np.int64), ScoreRows(nothing, self.popularity)


class BySession(SessionBaseline):
    """A row of scores for each prefix."""

    def blocks(self, prefixes: Prefixes) -> Iterator[tuple[Integers, Integers, ScoreRows]]:
        """See :meth:`SessionBaseline.blocks`."""
        for low, high in cut(self._cost(prefixes)):
            rows = ScoreRows(self._table(prefixes[low:high]), self.popularity)
            yield np.arange(low, high), np.arange(high - low), rows

    @abstractmethod
    def _table(self, prefixes: Prefixes) -> sparse.csr_array:
        """(n, items) scores after each prefix."""

    @abstractmethod
    def _cost(self, prefixes: Prefixes) -> Integers:
        """(n,) about how many numbers are held for each."""


class SessionPopular(BySession):
    """S-POP: an item's score is how often it has been played in the session so far."""

    name = "session popular"

    def _table(self, prefixes: Prefixes) -> sparse.csr_array:
        row, place = prefixes.events()
        return score_table(row, prefixes.items[place], np.ones(len(row), np.int64), len(prefixes), len(self.popularity))

    def _cost(self, prefixes: Prefixes) -> Integers:
        return prefixes.lengths


class SessionKnn(BySession):
    """Session-kNN: V-SKNN of Ludewig and Jannach, the items of the training sessions that are most like this one.

    Of the :data:`SAMPLE` newest training sessions that share an item with the session so far, s, the
    :data:`NEIGHBOURS` n with the largest similarity count (of equally similar ones the newest)::

        sim(s, n) = sum of p / |s| over the items that s and n share
        score(i, s) = sum of sim(s, n) / q over the neighbours n that have i

    p is the place in s, from 1, where the item was played last, and |s| the length of s: a linear decay, in which the
    last item counts 1. q is how far back, from 1, the last of the shared items lies. Training sessions are sets. Items
    of s can be recommended again.

    sim is that of the paper. 1 / q is not in the paper, but in its authors' published code (rn5l/session-rec on GitHub,
    ``knn/vsknn.py``), whose defaults these are: ``weighting="div"``, which is p / |s|, and ``weighting_score="div"``.
    None of that code's further options (inverse frequency, reminders, time) is used. |s| is left out here, as it
    changes no order, and sim / q is rounded down to a multiple of 1 / :data:`UNIT`: so scores are whole numbers, their
    sums do not depend on the order of the sessions, and with q up to 16 equal scores are equal.
    """

    name = "session-kNN"

    def __init__(self, train: Sessions, items: int, neighbours: int = NEIGHBOURS, sample: int = SAMPLE) -> None:
        super().__init__(train, items)
        self.neighbours, self.sample = neighbours, sample
        self._count = max(len(train), 1)
        self._sets = _sets(train, items, newest_first=True)
        """(sessions, items) 1 for each item of a session; the newest session is the first row."""
        inside = sparse.csr_array(self._sets.T)  # (items, sessions)
        # Of each item the newest sessions will do: an older one has all of these before it.
        self._inside = _kept(inside, _rank(inside.indptr) < sample)

    def _table(self, prefixes: Prefixes) -> sparse.csr_array:
        row, session, similarity, back = self._candidates(prefixes)
        ends = np.append(0, np.cumsum(np.bincount(row, minlength=len(prefixes))))
        newest = _rank(ends) < self.sample
        row, session, similarity, back = (column[newest] for column in (row, session, similarity, back))
        ends = np.append(0, np.cumsum(np.bincount(row, minlength=len(prefixes))))
        largest = int(similarity.max(initial=0))
        order = np.argsort(row * (largest + 1) + largest - similarity, kind="stable")  # the newest of equals first
        most = np.zeros(len(row), bool)
        most[order] = _rank(ends) < self.neighbours
        table = sparse.csr_array(
            (np.maximum(similarity * UNIT // back, 1), session, ends), shape=(len(prefixes), self._count)
        )
        return _kept(table, most) @ self._sets

    def _candidates(self, prefixes: Prefixes) -> tuple[Integers, Integers, Integers, Integers]:
        """Prefixes and the sessions that share an item with them, the newest first: prefix, session, |s| sim, q."""
        row, place = prefixes.events()
        low, high = int(prefixes.starts.min()), int(prefixes.ends.max())
        # Of an item that a prefix has several times the last event counts.
        last = low + _next_same(prefixes.items[low:high])[place - low] >= prefixes.ends[row]
        row, place = row[last], place[last]
        item, position = prefixes.items[place], place - prefixes.starts[row] + 1
        counts = np.diff(self._inside.indptr)[item]
        first = self._inside.indptr[item] - np.cumsum(counts) + counts
        session = self._inside.indices[np.arange(counts.sum()) + np.repeat(first, counts)]
        # Prefix, session and position as one number: sorting those is the fastest way to sum up.
        span = int(prefixes.lengths.max(initial=0)) + 1
        key = np.repeat(row * self._count * span + position, counts) + session.astype(np.int64) * span
        key.sort()
        pair, position = np.divmod(key, span)
        group = np.flatnonzero(np.diff(pair, prepend=-1))
        similarity = np.add.reduceat(position, group) if len(group) else position
        latest = position[np.append(group[1:], len(pair)) - 1] if len(group) else position
        row, session = np.divmod(pair[group], self._count)
        return row, session, similarity, prefixes.lengths[row] - latest + 1

    def _cost(self, prefixes: Prefixes) -> Integers:
        total = np.append(0, np.cumsum(np.diff(self._inside.indptr)[prefixes.items]))
        met = total[prefixes.ends] - total[prefixes.starts]
        items = self._sets.nnz / max(self._count, 1)
        keys = self._count * (int(prefixes.lengths.max(initial=0)) + 1)  # of one prefix; a block has under 2**62
        return np.maximum(met + (np.minimum(met, self.neighbours) * items).astype(np.int64), keys * PAIRS >> 62)


class ByLastItem(SessionBaseline):
    """A row of scores for each item that a session so far may end in."""

    def blocks(self, prefixes: Prefixes) -> Iterator[tuple[Integers, Integers, ScoreRows]]:
        """See :meth:`SessionBaseline.blocks`."""
        distinct, row = np.unique(prefixes.last, return_inverse=True)
        order = np.argsort(row, kind="stable")
        for low, high in cut(self._cost()[distinct]):
            which = order[np.searchsorted(row[order], low) : np.searchsorted(row[order], high)]
            yield which, row[which] - low, ScoreRows(self._after(distinct[low:high]), self.popularity)

    @abstractmethod
    def _after(self, items: Integers) -> sparse.csr_array:
        """(n, items) scores after each of some distinct items (n,)."""

    @abstractmethod
    def _cost(self) -> Integers:
        """(items,) about how many scores there are after each."""


class Markov(ByLastItem):
    """A first-order Markov chain: the score of an item after another is how often it followed it in training."""

    name = "Markov"

    def __init__(self, train: Sessions, items: int) -> None:
        super().__init__(train, items)
        before, after = Prefixes.of(train)
        self._follows = score_table(before.last, after, np.ones(len(after), np.int64), items, items)

    def _after(self, items: Integers) -> sparse.csr_array:
        return self._follows[items]

    def _cost(self) -> Integers:
        return np.diff(self._follows.indptr).astype(np.int64)


class ItemKnn(ByLastItem):
    """Item-kNN: the score of an item j after the item i is c_ij / sqrt((n_i + r) (n_j + r)); none for i itself.

    c_ij are the training sessions that both are in, n those of one, r is :data:`REGULARISATION`. As in the official
    code, items that never met the last one are level, whatever their popularity.
    """

    name = "item-kNN"

    def __init__(self, train: Sessions, items: int) -> None:
        super().__init__(train, items)
        self.popularity = Popularity(np.zeros(items, np.int64))
        self._sets = _sets(train, items)
        self._inside = sparse.csr_array(self._sets.T)  # (items, sessions)
        self._weight = 1.0 / np.sqrt(np.diff(self._inside.indptr) + REGULARISATION)

    def _after(self, items: Integers) -> sparse.csr_array:
        met = sparse.coo_array(self._inside[items] @ self._sets)
        row, other = met.coords
        value = met.data * self._weight[items[row]] * self._weight[other]
        others = items[row] != other
        number = np.unique(value[others], return_inverse=True)[1] + 1
        return sparse.csr_array((number, (row[others], other[others])), shape=met.shape)

    def _cost(self) -> Integers:
        return np.asarray(self._inside @ np.diff(self._sets.indptr)).astype(np.int64)  # at least the items met


BASELINES: tuple[type[SessionBaseline], ...] = (MostPopular, SessionPopular, ItemKnn, Markov, SessionKnn)
"""What every recommender of next items is compared with."""


def cut(cost: Integers) -> Iterator[tuple[int, int]]:
    """Consecutive rows whose costs (n,) sum up to about :data:`PAIRS`, but at least one row."""
    total = np.append(0, np.cumsum(cost + 1))
    first = 0
    while first < len(cost):
        last = max(first + 1, int(np.searchsorted(total, total[first] + PAIRS, side="right")) - 1)
        yield first, last
        first = last


def _places(ordered: Integers, wanted: Integers) -> Counts:
    return np.searchsorted(ordered, wanted), np.searchsorted(ordered, wanted, side="right")


def score_table(row: Integers, item: Integers, score: Integers, rows: int, items: int) -> sparse.csr_array:
    """(rows, items) the scores (n,) of rows and items (n,), summed where an item has several in a row."""
    table = sparse.csr_array((score, (row, item)), shape=(rows, items))
    table.sum_duplicates()
    return table


def _sets(train: Sessions, items: int, newest_first: bool = False) -> sparse.csr_array:
    """(sessions, items) 1 for each item of a session."""
    session = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    session = len(train) - 1 - session if newest_first else session
    table = score_table(session, train.items.astype(np.int64), np.ones(len(session), np.int64), len(train), items)
    table.data[:] = 1
    return table


def _rank(ends: NDArray[np.integer[Any]]) -> Integers:
    """(m,) place of every entry in its row, of which row r has the entries ``ends[r]:ends[r + 1]``."""
    return np.arange(ends[-1]) - np.repeat(ends[:-1], np.diff(ends))


def _kept(table: sparse.csr_array, which: NDArray[np.bool_]) -> sparse.csr_array:
    """Only the stored values (nnz,) that are True."""
    before = np.append(0, np.cumsum(which))
    return sparse.csr_array((table.data[which], table.indices[which], before[table.indptr]), shape=table.shape)


def _next_same(items: Integers) -> Integers:
    """(events,) the next place that has the same item; the number of places where there is none."""
    order = np.argsort(items, kind="stable")
    following = np.full(len(items), len(items))
    same = items[order][1:] == items[order][:-1]
    following[order[:-1][same]] = order[1:][same]
    return following
