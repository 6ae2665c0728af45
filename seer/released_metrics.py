"""Released metrics: MAP and NDCG of the released SeER code, kept for comparison, faults included."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.metrics import old_numpy
from common.metrics._arrays import (
    Cutoffs,
    Flags,
    Floats,
    Integers,
    Score,
    SortedRows,
    for_each,
    gain_discount,
    mean,
    sort_rows,
    user_rows,
)


def map_released(
    user: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    k: Cutoffs,
    threshold: float = 3,
    *,
    per_user: bool = False,
) -> Score:
    """MAP@K of the released SeER code: over test rows (n,) only, relevant where ``true`` >= ``threshold``.

    The sum of the precisions is divided by R, not min(K, R), and users without a relevant row count as 0.
    Ties stand in the order in which the release leaves them. Several K give a list.

    >>> map_released([0, 0, 1], [5, 4, 1], [2.0, 1.0, 3.0], k=[1, 2])  # (1/2 + 0) / 2, (1 + 0) / 2
    [0.25, 0.5]
    """
    number, rating, score = user_rows(user, true, predicted)
    return _released_map(number, score, rating >= threshold, rating >= threshold, k, by_row=False, per_user=per_user)


def map_v2(
    user: ArrayLike,
    true: ArrayLike,
    predicted: ArrayLike,
    k: Cutoffs,
    threshold: float = 3,
    *,
    per_user: bool = False,
) -> Score:
    """MAP@K of the SeER code behind the second version of its paper (commit ada112f).

    As :func:`map_released`, but a row only counts as found if also ``predicted`` >= ``threshold``, while R
    still counts all truly relevant rows: predictions that are all below the threshold score 0.

    >>> map_v2([0, 0, 1], [5, 4, 1], [3.5, 2.5, 3.0], k=2)  # the second row is not found: (1/2 + 0) / 2
    0.25
    """
    number, rating, score = user_rows(user, true, predicted)
    found = (rating >= threshold) & (score >= threshold)
    return _released_map(number, score, rating >= threshold, found, k, by_row=True, per_user=per_user)


def ndcg_released(
    user: ArrayLike, true: ArrayLike, predicted: ArrayLike, k: Cutoffs, *, per_user: bool = False
) -> Score:
    """NDCG@K of the released SeER code: gain 1 for the rows in a user's true top K, whatever their rating.

    Both rankings break ties by row order. A user with at most K rows always scores 1. Several K give a list.

    >>> ndcg_released([0, 0, 0], [5, 4, 3], [1.0, 3.0, 2.0], k=[1, 3])
    [0.0, 1.0]
    """
    number, *values = user_rows(user, true, predicted)
    true_rank, rank = np.empty((2, len(number)))
    for ranks, value in zip((true_rank, rank), values, strict=True):
        rows = sort_rows(number, value)
        ranks[rows.order] = np.arange(1, len(number) + 1) - rows.user_start
    discount, true_discount = gain_discount(rank), gain_discount(true_rank)

    def at(k: int) -> Score:
        gains = np.bincount(number, discount * ((rank <= k) & (true_rank <= k)))
        return mean(gains / np.bincount(number, true_discount * (true_rank <= k)), per_user)

    return for_each(k, at)


def _released_order(rows: SortedRows, by_row: bool) -> Integers:
    """Order of the rows after pandas' descending sort of each user's rows with NumPy's unstable quicksort.

    That is the stable order unless a user has ties and more than 16 rows. There the sort is done again as
    NumPy 1.18 does it, from the rows in their own order (``by_row``) or in the stable one.
    """
    order = rows.order.copy()
    starts, sizes = np.unique(rows.user_start, return_counts=True)
    unstable = (sizes > 16) & np.logical_or.reduceat(rows.tie_start != np.arange(len(order)), starts)
    for start, size in zip(starts[unstable], sizes[unstable], strict=True):
        here = slice(start, start + size)
        first = np.argsort(rows.order[here]) if by_row else np.arange(size)
        # pandas sorts the reversed values in ascending order and reverses the result
        again = old_numpy.argsort(-rows.tie_start[here][first][::-1])
        order[here] = rows.order[here][first][::-1][again][::-1]
    return order


def _released_map(
    user: Integers,
    score: Floats,
    relevant: Flags,
    found: Flags,
    k: Cutoffs,
    by_row: bool,
    per_user: bool = False,
) -> Score:
    rows = sort_rows(user, score)
    order = _released_order(rows, by_row)
    hit = found[order].astype(float)
    hits = np.cumsum(hit)
    rank = np.arange(1, len(order) + 1) - rows.user_start
    precision = hit * (hits - (hits - hit)[rows.user_start]) / rank
    count = np.bincount(user, relevant)

    def at(k: int) -> Score:
        return mean(np.bincount(user[order], precision * (rank <= k)) / np.maximum(count, 1), per_user)

    return for_each(k, at)
