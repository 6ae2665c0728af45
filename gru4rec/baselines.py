"""What GRU4Rec has to beat, ranked on the same events with the same rule for ties.

Most popular, session popular and item-kNN are those of Hidasi et al., arXiv 1511.06939, section 4; the Markov chain
counts which item follows which. All but the first score few items per event, so they are ranked from sparse rows, never
from a whole catalogue of scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common.sessions import Sessions
from gru4rec.evaluation import NextItemRanks

PAIRS = 2**22
"""Scores of (event or item, item) pairs that are held at a time, about."""
REGULARISATION = 20.0
"""Sessions added to the support of each item in item-kNN, so that chance meetings of rare items count little."""
Integers = NDArray[np.int64]
Counts = tuple[Integers, Integers]
"""Items with a higher score than the target, and with the same one (itself included), (n,) each."""


def figures(train: Sessions, test: Sessions, items: int) -> dict[str, dict[str, float]]:
    """Name of the baseline -> its :meth:`NextItemRanks.figures`; arguments as for :func:`all_ranks`."""
    return {name: ranks.figures() for name, ranks in all_ranks(train, test, items).items()}


def all_ranks(train: Sessions, test: Sessions, items: int) -> dict[str, NextItemRanks]:
    """Rank the next items of ``test`` by every baseline.

    Args:
        train: sessions to learn from.
        test: sessions to rank the next items of.
        items: how many items there are, in either of them.

    Returns:
        Name of the baseline -> its ranks: the events, and their order, are those of
        :class:`gru4rec.evaluation.Evaluator`.
    """
    support = np.bincount(train.items, minlength=items)
    lengths = np.diff(test.offsets) - 1
    session = np.repeat(np.arange(len(lengths)), lengths)
    made: dict[str, Callable[[], Counts]] = {
        "most popular": lambda: most_popular(test, support),
        "session popular": lambda: session_popular(test, support),
        "item-kNN": lambda: item_knn(train, test, items),
        "Markov": lambda: markov(train, test, support),
    }
    return {name: NextItemRanks(session, *counts(), items) for name, counts in made.items()}


def most_popular(test: Sessions, support: Integers) -> Counts:
    """Score of an item: its training events."""
    _, targets = _events(test)
    above, tied = _in_order(support)
    return above[targets], tied[targets]


def session_popular(test: Sessions, support: Integers) -> Counts:
    """Score of an item (S-POP): its events in the session so far, those with equally many by popularity."""
    inputs, targets = _events(test)
    parts = []
    for low, high in _cut(inputs - test.offsets[_session_of(test, inputs)] + 1):
        last = inputs[low:high]
        first = test.offsets[_session_of(test, last)]
        so_far = last - first + 1
        rows = np.repeat(np.arange(high - low), so_far)
        places = np.arange(so_far.sum()) - np.repeat(np.cumsum(so_far) - so_far, so_far) + np.repeat(first, so_far)
        shape = (high - low, len(support))
        scores = sparse.csr_array((np.ones(len(rows)), (rows, test.items[places])), shape=shape)
        parts.append(ranks_in_rows(scores, np.arange(high - low), targets[low:high], support))
    return _joined(parts)


def item_knn(train: Sessions, test: Sessions, items: int) -> Counts:
    """Score of an item j after the item i: c_ij / sqrt((n_i + r) (n_j + r)); 0 for i itself.

    c_ij are the training sessions that both are in, n those of one, r is :data:`REGULARISATION`.
    """
    sessions = np.repeat(np.arange(len(train)), np.diff(train.offsets))
    shape = (len(train), items)
    within = sparse.csr_array((np.ones(len(train.items)), (sessions, train.items)), shape=shape)
    within.sum_duplicates()
    within.data[:] = 1.0
    inside = sparse.csr_array(within.T)  # (items, sessions)
    counts = np.diff(inside.indptr)
    weight = 1.0 / np.sqrt(counts + REGULARISATION)
    cost = np.asarray(inside @ np.diff(within.indptr))  # (items,) at least the items met

    def scores(wanted: Integers) -> sparse.csr_array:
        met = sparse.coo_array(inside[wanted] @ within)
        rows, others = met.coords
        value = met.data * weight[wanted[rows]] * weight[others] * (wanted[rows] != others)
        found = sparse.csr_array((value, (rows, others)), shape=met.shape)
        found.eliminate_zeros()
        return found

    return _after_last_item(test, scores, cost, np.zeros(items, np.int64))


def markov(train: Sessions, test: Sessions, support: Integers) -> Counts:
    """Score of an item j after the item i: how often it followed i in training; equally often: by popularity."""
    before, after = _events(train)
    shape = (len(support), len(support))
    follows = sparse.csr_array((np.ones(len(after)), (train.items[before], after)), shape=shape)
    follows.sum_duplicates()
    return _after_last_item(test, lambda wanted: follows[wanted], np.diff(follows.indptr), support)


def ranks_in_rows(scores: sparse.csr_array, rows: Integers, targets: Integers, popularity: Integers) -> Counts:
    """Count the items that stand above targets, and those level with them, in rows of sparse scores.

    Items are ordered by score, then by popularity; an item that is not stored scores 0.

    Args:
        scores: (r, items) scores, those stored above 0 and each stored once (duplicates are summed).
        rows: (n,) row that each target is ranked in.
        targets: (n,) items.
        popularity: (items,) settles ties; equal for all to leave them.
    """
    scores.sum_duplicates()
    row_of = np.repeat(np.arange(scores.shape[0]), np.diff(scores.indptr))
    distinct, level = np.unique(scores.data, return_inverse=True)
    kinds, kind = np.unique(popularity, return_inverse=True)
    # One number orders everything: the row, then the level of the score (0: not stored), then that of the popularity.
    span = (len(distinct) + 1) * len(kinds)
    keys = np.sort(row_of * span + (level + 1) * len(kinds) + kind[scores.indices])
    by_kind = np.sort(row_of * len(kinds) + kind[scores.indices])

    own = _stored(scores, row_of, rows, targets)
    mine = np.where(own > 0, np.searchsorted(distinct, own) + 1, 0)
    query = rows * span + mine * len(kinds) + kind[targets]
    end = scores.indptr[rows + 1]
    last = np.searchsorted(keys, query, side="right")
    greater, equal = end - last, last - np.searchsorted(keys, query)

    # A target that is not stored stands below all that are, among the rest of the items.
    above, tied = _in_order(popularity)
    query = rows * len(kinds) + kind[targets]
    last = np.searchsorted(by_kind, query, side="right")
    rest_above = above[targets] - (end - last)
    rest_tied = tied[targets] - (last - np.searchsorted(by_kind, query))
    greater = np.where(own > 0, greater, greater + rest_above)
    equal = np.where(own > 0, equal, rest_tied)
    return greater.astype(np.int64), equal.astype(np.int64)


def _stored(scores: sparse.csr_array, row_of: Integers, rows: Integers, targets: Integers) -> NDArray[np.float64]:
    """The stored scores of (row, target) pairs; 0 where none is stored."""
    places = row_of * scores.shape[1] + scores.indices  # in ascending order
    wanted = rows * scores.shape[1] + targets
    found = np.searchsorted(places, wanted)
    inside = np.minimum(found, max(len(places) - 1, 0))
    if not len(places):
        return np.zeros(len(wanted))
    return np.where(places[inside] == wanted, scores.data[inside], 0.0)


def _after_last_item(
    test: Sessions, scores: Callable[[Integers], sparse.csr_array], cost: Integers, popularity: Integers
) -> Counts:
    """Rank the next items by scores that depend on the last item alone.

    Args:
        test: sessions to rank the next items of.
        scores: distinct items (r,) -> scores of all items after each of them (r, items).
        cost: (items,) about how many scores each of them has.
        popularity: see :func:`ranks_in_rows`.
    """
    inputs, targets = _events(test)
    last = test.items[inputs].astype(np.int64)
    distinct, row = np.unique(last, return_inverse=True)
    order = np.argsort(row, kind="stable")
    parts = []
    for low, high in _cut(cost[distinct]):
        of_block = order[np.searchsorted(row[order], low) : np.searchsorted(row[order], high)]
        parts.append(ranks_in_rows(scores(distinct[low:high]), row[of_block] - low, targets[of_block], popularity))
    counts = _joined(parts)
    back = np.argsort(order, kind="stable")
    return counts[0][back], counts[1][back]


def _events(sessions: Sessions) -> Counts:
    """(n,) places of the events that have a next one in their session, and the items that come next."""
    inputs = np.delete(np.arange(len(sessions.items)), sessions.offsets[1:] - 1)
    return inputs, sessions.items[inputs + 1].astype(np.int64)


def _session_of(sessions: Sessions, places: Integers) -> Integers:
    return np.searchsorted(sessions.offsets, places, side="right") - 1


def _in_order(popularity: Integers) -> Counts:
    """For every item: how many are more popular, and how many are as popular as it."""
    ordered = np.sort(popularity)
    last = np.searchsorted(ordered, popularity, side="right")
    return len(ordered) - last, last - np.searchsorted(ordered, popularity)


def _cut(cost: Integers) -> Iterator[tuple[int, int]]:
    """Consecutive rows whose costs sum up to about ``PAIRS``."""
    total = np.append(0, np.cumsum(cost + 1))
    first = 0
    while first < len(cost):
        last = max(first + 1, int(np.searchsorted(total, total[first] + PAIRS, side="right")) - 1)
        yield first, last
        first = last


def _joined(parts: list[Counts]) -> Counts:
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
