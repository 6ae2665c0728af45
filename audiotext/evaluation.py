"""Evaluation: how well predicted item vectors rank the songs, or artists, that nobody has played yet.

A user's score of an item is (user factor as it is) . (item vector of norm 1). All test items are ranked for every user;
a test item is relevant to the users who played it. The figures of the released code (tartarus: eval.py) have names of
their own, ``map@500_released``: its users without a relevant item count as zero, and its tied items stand as NumPy's
sort of the time leaves them (:mod:`common.metrics.old_numpy`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common import metrics
from common.evaluation import Measured, Sample
from common.metrics import Floats, Integers, Ranking, old_numpy

Scores = Callable[[Integers], NDArray[Any]]
"""Numbers of users (u,) -> the score of every item for each of them (u, items)."""
TOP = 10
"""Length of the list that the catalogue coverage looks at."""
BLOCK = 256
"""Users that are scored at a time: 66 MB of scores for 64,477 items."""
LISTED = 500
"""Length of the longest list that the released code looks at."""
SMALL = 2000
"""Catalogues below it are scored in float64, which costs nothing there; others in the precision of the factors."""


@dataclass(frozen=True, eq=False)
class Ranked:
    """Where the relevant items of each user stand among all test items; arrays (n,) have an entry for each of these."""

    users: int
    items: int
    user: Integers
    """(n,) 0..users-1, ascending."""
    item: Integers
    """(n,)"""
    plays: Floats
    """(n,) > 0."""
    above: Integers
    """(n,) items with a higher score."""
    tied: Integers
    """(n,) items with the same score, the item itself included."""
    released_rank: Integers
    """(n,) rank, from 1, by the released rule; beyond :data:`LISTED` only that it lies beyond."""
    top: Integers
    """(users, up to 10) the first items by the released rule, the best first."""
    never: Floats
    """(items,) chance that the item is in nobody's top 10, all orders of tied items being equally likely."""

    @cached_property
    def ranking(self) -> Ranking:
        """The same for :mod:`common.metrics`: tied items have their expected rank; relevance is binary."""
        counts = np.full(self.users, self.items)
        above, tied = self.above.astype(float), self.tied.astype(float)
        return Ranking(self.users, self.user, above, tied, np.ones(len(self.user)), counts)

    @cached_property
    def relevant(self) -> Integers:
        """(users,) relevant items of each user."""
        return np.bincount(self.user, minlength=self.users)


def unit_rows(vectors: NDArray[Any]) -> NDArray[Any]:
    """Rows of norm 1; NaN counts as 0 and a zero row stays zero, as in the released code."""
    clean = np.nan_to_num(np.asarray(vectors), nan=0.0)
    norms = np.linalg.norm(clean.astype(np.float64), axis=1, keepdims=True)
    return (clean / np.where(norms > 0, norms, 1)).astype(clean.dtype)


def factor_scores(user_factors: NDArray[Any], item_vectors: NDArray[Any]) -> Scores:
    """Scores by user factors (users, f) and item vectors (items, f), which are brought to norm 1.

    Equal vectors, such as those of one artist's songs, are multiplied once: their scores are equal to the last bit.
    """
    dtype = np.result_type(user_factors, item_vectors, np.float64 if len(item_vectors) < SMALL else np.float32)
    distinct, place = np.unique(np.asarray(item_vectors), axis=0, return_inverse=True)
    repeated = len(distinct) < len(item_vectors)
    columns = np.ascontiguousarray(unit_rows(distinct if repeated else item_vectors).astype(dtype).T)
    place = place.ravel()

    def scores(users: Integers) -> NDArray[Any]:
        products = user_factors[users].astype(dtype) @ columns
        return products[:, place] if repeated else products

    return scores


def rank_items(
    scores: Scores, plays: sparse.csr_matrix, users: slice = slice(None), block: int = BLOCK, threads: int | None = None
) -> Ranked:
    """Rank all test items for users, a block at a time, by the scores as they come: none is rounded.

    Args:
        scores: see :func:`factor_scores`; NaN counts as 0, and is made so in the array that it returns.
        plays: (test items, users) play counts; above 0 is relevant.
        users: which of them, as numbers cut at the end; the released code takes the first 10,000.
        block: users per call of ``scores``; memory grows with block * items.
        threads: that sort; the cores by default.

    Raises:
        ValueError: a play count is negative or not finite.
    """
    items, numbers = plays.shape[0], np.arange(plays.shape[1])[users]
    known = sparse.csr_matrix(plays.T)[numbers]
    if not (np.isfinite(known.data) & (known.data >= 0)).all():
        raise ValueError("play counts must be finite, and 0 or more")
    known.eliminate_zeros()
    known.sort_indices()
    counts = np.zeros((3, known.nnz), np.int64)
    top, never = np.zeros((len(numbers), min(TOP, items)), np.int64), np.ones(items)
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:  # NumPy's sort lets other threads run
        for start in range(0, len(numbers), block):
            rows = range(start, min(start + block, len(numbers)))
            parts = [slice(known.indptr[row], known.indptr[row + 1]) for row in rows]
            table = np.nan_to_num(scores(numbers[start : start + block]), copy=False)
            for row, part, found in zip(
                rows, parts, pool.map(_place, table, (known.indices[p] for p in parts)), strict=True
            ):
                counts[:, part], top[row], chances = found
                for candidates, chance in chances:
                    never[candidates] *= 1 - chance
    user, item = np.repeat(np.arange(len(numbers)), np.diff(known.indptr)), known.indices.astype(np.int64)
    above, tied, rank = counts
    return Ranked(len(numbers), items, user, item, known.data.astype(float), above, tied, rank, top, never)


def _place(scores: NDArray[Any], relevant: Integers) -> tuple[Integers, Integers, list[tuple[Integers, float]]]:
    """Of one user: above, tied, released rank of the relevant items; the top 10; the chances of items to be in one."""
    ordered, own, size = np.sort(scores), scores[relevant], len(scores)
    first, after = np.searchsorted(ordered, own, "left"), np.searchsorted(ordered, own, "right")
    least = ordered[-min(TOP, size)]
    better, equal = np.flatnonzero(scores > least), np.flatnonzero(scores == least)
    chances = [(better, 1.0), (equal, (min(TOP, size) - len(better)) / len(equal))]
    rank, end = 1 + size - after, ordered[-min(LISTED + 1, size) :]
    if (end[1:] > end[:-1]).all():
        top = better[np.argsort(-scores[better])].tolist() + equal.tolist()
    else:  # of the whole list in descending order: reversed, as the released code does
        listed = old_numpy.argsort(scores, LISTED)[::-1][:LISTED]
        place = np.zeros(size, np.int64)
        place[listed] = np.arange(1, len(listed) + 1)
        rank = np.where(place[relevant] > 0, place[relevant], np.maximum(rank, len(listed) + 1))
        top = listed.tolist()
    return np.stack([size - after, after - first, rank]), np.array(top[:TOP], np.int64), chances


def measured(ranked: Ranked) -> Measured:
    """All figures, the means over users with the values of each."""
    values = Sample(per_user(ranked) | released_per_user(ranked), "users")
    return Measured([values], catalogue_coverage(ranked) | released_coverage(ranked))


def figures(ranked: Ranked) -> dict[str, float]:
    """The suite's figures, means over the users with a relevant item; tied items have their expected rank."""
    return Sample(per_user(ranked), "users").figures() | catalogue_coverage(ranked)


def catalogue_coverage(ranked: Ranked) -> dict[str, float]:
    """``catalogue_coverage@10``: the share of the test items that are in anybody's top 10, in expectation over the
    orders of tied items.

    It is of all users together, and tells nothing of how different the items of one list are. The released code calls
    the share for a top K ``ADiv@K``; see :func:`released_figures`.
    """
    return {f"catalogue_coverage@{TOP}": float(np.mean(1 - ranked.never))}


def per_user(ranked: Ranked) -> dict[str, Any]:
    """The suite's figures of each user: (users,), NaN for users without a relevant item."""
    ranking = ranked.ranking
    found: dict[str, Any] = {}
    for k in (10, 500):
        found[f"map@{k}"] = metrics.average_precision_at(ranking, k, per_user=True)
        found[f"ndcg@{k}"] = metrics.ndcg_at(ranking, k, per_user=True)
    found["precision@10"] = metrics.precision_at(ranking, 10, per_user=True)
    found["recall@500"] = metrics.recall_at(ranking, 500, per_user=True)
    return found | {"auc": metrics.auc(ranking, per_user=True)}


def released_average_precision(ranked: Ranked, k: int) -> Floats:
    """(users,) AP@K of the released code, K up to 500: 0 for users without a relevant item."""
    order = np.lexsort((ranked.released_rank, ranked.user))
    rank, user = ranked.released_rank[order], ranked.user[order]
    hits = np.arange(1, len(rank) + 1) - (np.cumsum(ranked.relevant) - ranked.relevant)[user]
    found = np.bincount(user, np.where(rank <= k, hits / rank, 0), ranked.users)
    return found / np.maximum(np.minimum(ranked.relevant, k), 1)


def list_average_precision(relevant: Sequence[int], predicted: Sequence[int], k: int) -> float:
    """AP@K of one list by the released code: a repeated item counts once, but still takes up a place.

    >>> list_average_precision([1, 2], [1, 1, 2, 2], 10)  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    wanted, seen, total = set(relevant), set[int](), 0.0
    for place, item in enumerate(predicted[:k], 1):
        if item in wanted and item not in seen:
            seen.add(item)
            total += len(seen) / place
    return total / min(len(wanted), k) if wanted else 0.0


def released_figures(ranked: Ranked) -> dict[str, float]:
    """The figures that the released code prints; means over all users but for both areas (users with items only)."""
    return Sample(released_per_user(ranked), "users").figures() | released_coverage(ranked)


def released_per_user(ranked: Ranked) -> dict[str, Any]:
    """The released code's figures of each user, (users,)."""
    found: dict[str, Any] = {f"map@{k}_released": released_average_precision(ranked, k) for k in (10, 100, 500)}
    found["roc_auc_released"] = metrics.auc(ranked.ranking, per_user=True)
    found["pr_auc_released"] = _precision_recall_area(ranked)
    gains = np.zeros((ranked.users, 5))
    listed = ranked.released_rank <= 5
    gains[ranked.user[listed], ranked.released_rank[listed] - 1] = ranked.plays[listed]
    discount, best = 1 / np.log2(np.arange(2, 7)), -np.sort(-gains, axis=1)  # the best order of the five retrieved
    for k in (1, 3, 5):
        gain, most = gains[:, :k] @ discount[:k], best[:, :k] @ discount[:k]
        found[f"precision@{k}_released"] = (gains[:, :k] > 0).mean(axis=1)
        found[f"ndcg@{k}_released"] = np.divide(gain, most, out=np.zeros(ranked.users), where=most > 0)
    return found


def released_coverage(ranked: Ranked) -> dict[str, float]:
    """``adiv@k_released``, the released code's "aggregate diversity": share of the test items in anybody's top k."""
    return {f"adiv@{k}_released": len(np.unique(ranked.top[:, :k])) / ranked.items for k in (1, 3, 5)}


def _precision_recall_area(ranked: Ranked) -> Floats:
    """(users,) sum, over the distinct scores from the top, of precision * gain of recall; NaN without an item."""
    group = ranked.ranking.groups
    precision = (group.relevant_above + group.relevant) / (group.above + group.tied)
    total = ranked.ranking.per_user_sum(group.user, precision * group.relevant)
    return np.divide(total, ranked.relevant, out=np.full(ranked.users, np.nan), where=ranked.relevant > 0)
