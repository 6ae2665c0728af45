"""Metrics of rankings, exact under ties: each is its expectation over all orders of the tied candidates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.metrics._arrays import Floats, Score, check_k, gain_discount, mean, ratio
from common.metrics.ranking import Ranking


def recall_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """Recall@K = relevant items in the top K / R.

    >>> ranking = Ranking.from_rows([0, 0, 0, 0], [0.9, 0.5, 0.5, 0.1], [0, 1, 0, 1])
    >>> recall_at(ranking, 2)  # the item at rank 2 or 3 is in the top 2 half of the time
    0.25
    """
    return mean(ratio(_hits(ranking, k), ranking.relevant), per_user)


def precision_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """Precision@K = relevant items in the top K / K, also where a user has fewer than K candidates.

    >>> precision_at(Ranking.from_rows([0, 0, 0], [0.9, 0.5, 0.1], [1, 0, 1]), 2)
    0.5
    """
    return mean(ratio(_hits(ranking, k), np.where(ranking.relevant > 0, k, 0)), per_user)


def hit_rate_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """HR@K = share of the users with a relevant item that have one in the top K.

    >>> hit_rate_at(Ranking.from_rows([0, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], [1, 0, 1, 0]), 1)
    0.5
    """
    return mean(_first_hit(ranking, k)[0], per_user)


def user_coverage_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """User coverage = share of all users evaluated that have a relevant item in the top K.

    It differs from the hit rate in the users without a relevant item, who count here as not covered.

    >>> user_coverage_at(Ranking.from_rows([0, 0, 1], [0.9, 0.5, 0.5], [1, 0, 0]), 1)
    0.5
    """
    return mean(np.nan_to_num(_first_hit(ranking, k)[0]), per_user)


def reciprocal_rank_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """MRR@K: 1 / rank of the first relevant item, 0 below rank K.

    >>> reciprocal_rank_at(Ranking.from_rows([0, 0, 0], [0.5, 0.5, 0.1], [1, 0, 1]), 10)  # (1 + 1/2) / 2
    0.75
    """
    return mean(_first_hit(ranking, k)[1], per_user)


def average_precision_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """MAP@K: sum over the relevant items in the top K of the precision at their rank, / min(K, R).

    >>> average_precision_at(Ranking.from_rows([0] * 4, [4, 3, 2, 1], [1, 0, 1, 0]), 3)  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    user, above, tied, relevant, before = ranking.groups
    # Down to a relevant item at place j of its group, 1 + before + slope (j - 1) relevant ones are expected.
    # With j - 1 = rank - (above + 1) its precision is (1 + before - slope (above + 1)) / rank + slope.
    slope = (relevant - 1) / np.maximum(tied - 1, 1)
    inverse = _expected(above, tied, k, lambda rank: 1 / rank)
    inside = _expected(above, tied, k, np.ones_like)
    precision = relevant * ((1 + before - slope * (above + 1)) * inverse + slope * inside)
    return mean(ratio(ranking.per_user_sum(user, precision), np.minimum(ranking.relevant, k)), per_user)


def ndcg_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """NDCG@K = DCG / ideal DCG, with DCG = sum over the top K of gain / log2(1 + rank).

    The gain is linear: give 1 for binary relevance, the rating or 2**rating - 1 for graded relevance.

    >>> ndcg_at(Ranking.from_rows([0, 0, 0], [3, 2, 1], [0, 0, 1]), 3)  # 1 / log2(4)
    0.5
    """
    gains = ranking.gain * _expected(ranking.above, ranking.tied, k, gain_discount)
    user, gain, rank = ranking.ideal
    ideal = ranking.per_user_sum(user, gain * (rank <= k) * gain_discount(rank))
    return mean(ratio(ranking.per_user_sum(ranking.user, gains), ideal), per_user)


def auc(ranking: Ranking, *, per_user: bool = False) -> Score:
    """AUC = share of the pairs (relevant, other candidate) with the relevant one higher; ties count half.

    Undefined, so NaN, for users without a relevant item or without another candidate.

    >>> auc(Ranking.from_rows([0, 0, 0], [0.9, 0.5, 0.5], [0, 1, 0]))
    0.25
    """
    count = ranking.relevant
    above = ranking.per_user_sum(ranking.user, ranking.above + (ranking.tied - 1) / 2)
    above -= count * (count - 1) / 2  # less the relevant ones above one another
    return mean(1 - ratio(above, count * (ranking.candidates - count)), per_user)


def _hits(ranking: Ranking, k: int) -> Floats:
    return ranking.per_user_sum(ranking.user, _expected(ranking.above, ranking.tied, k, np.ones_like))


def _expected(above: Floats, tied: Floats, k: int, weight: Callable[[Floats], Floats]) -> Floats:
    """Mean of ``weight(rank)``, 0 below rank K, over the ranks above + 1 .. above + tied of each item."""
    check_k(k)
    value = np.where(above + 1 <= k, weight(above + 1), 0.0)
    several = tied > 1
    if several.any():
        first, last = above[several], (above + tied)[several]
        deepest = int(min(k, last.max()))
        total = np.append(0.0, np.cumsum(weight(np.arange(1.0, deepest + 1))))  # total[r]: ranks 1..r
        until = [total[np.minimum(end, deepest).astype(int)] for end in (first, last)]
        value[several] = (until[1] - until[0]) / tied[several]
    return value


def _first_hit(ranking: Ranking, k: int) -> tuple[Floats, Floats]:
    """Chance that the first relevant item is in the top K; mean of its 1 / rank, else 0; both (users,)."""
    check_k(k)
    user, distinct, which = ranking.top_groups
    above, tied, relevant = distinct.T
    none, inverse = np.ones(len(distinct)), np.zeros(len(distinct))  # none: chance of no hit so far
    active, place = np.flatnonzero(above + 1 <= k), 0
    while active.size:
        left = tied[active] - place
        inverse[active] += none[active] * relevant[active] / left / (above[active] + place + 1)
        none[active] *= (left - relevant[active]) / left
        place += 1
        active = active[(above[active] + place + 1 <= k) & (none[active] > 0)]
    result = np.full((2, ranking.users), np.nan)
    result[:, user] = np.stack([1 - none, inverse])[:, which]
    return result[0], result[1]
