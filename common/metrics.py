"""Metrics of ratings, rankings and sessions, in float64 NumPy.

Ranking metrics work on a :class:`Ranking`. They are exact under ties: each is its expectation over all orders
of the tied candidates, equally likely, so a constant model scores as random and row order never matters.
The mean runs over the users for which the metric is defined (at least one relevant item) and is NaN if there
are none; ``per_user=True`` returns the array (users,), NaN where undefined. Arguments that do not fit raise
ValueError. The metrics of the released SeER code stand last; they are kept for comparison, faults included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Cutoffs: TypeAlias = int | Sequence[int]
Score: TypeAlias = Any
"""A float; with ``per_user=True`` the array of values; a list of floats where several K are given."""


class TieGroups(NamedTuple):
    """Groups of tied candidates that hold a relevant item, by user and from the top; arrays (groups,).

    A group has ``tied`` candidates, ``relevant`` of them relevant; ``above`` candidates of the user stand
    above it, ``relevant_above`` of them relevant.
    """

    user: Integers
    above: Floats
    tied: Floats
    relevant: Floats
    relevant_above: Floats


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the relevant items stand among the candidates of each user; kept sorted by user and ``above``.

    >>> ranking = Ranking.from_rows(user=[7, 7, 7, 7], score=[0.9, 0.5, 0.5, 0.1], gain=[0, 1, 0, 1])
    >>> ranking.above, ranking.tied, ranking.candidates
    (array([1., 3.]), array([2., 1.]), array([4]))
    """

    users: int
    """Users evaluated, with or without a relevant item."""
    user: Integers
    """(n,) 0..users-1: the user of each relevant item."""
    above: Floats
    """(n,) candidates of that user with a strictly higher score."""
    tied: Floats
    """(n,) candidates of that user with the same score, the item itself included."""
    gain: Floats
    """(n,) how relevant the item is, above 0; 1 for binary relevance."""
    candidates: Integers
    """(users,) candidates of each user."""

    def __post_init__(self) -> None:
        user, above, tied, gain = _columns(self.user, self.above, self.tied, self.gain)
        order = np.lexsort((above, user))
        for name, values in (("user", user.astype(int)), ("above", above), ("tied", tied), ("gain", gain)):
            object.__setattr__(self, name, values[order])
        object.__setattr__(self, "candidates", np.asarray(self.candidates, int))
        _require(self.candidates.shape == (self.users,), f"candidates must have the shape ({self.users},)")
        _require(not user.size or 0 <= user.min() <= user.max() < self.users, "user must lie in 0..users-1")
        _require(bool((np.isfinite(gain) & (gain > 0)).all()), "gain must be positive and finite")
        inside = (self.above >= 0) & (self.tied >= 1) & (self.above + self.tied <= self.candidates[self.user])
        _require(bool(inside.all()), "above >= 0, tied >= 1 and above + tied <= candidates must hold")
        fits = self.groups.relevant <= self.groups.tied
        _require(bool(fits.all()), "more relevant items of a user tied than candidates")

    @classmethod
    def from_rows(cls, user: ArrayLike, score: ArrayLike, gain: ArrayLike) -> Ranking:
        """Rank the rows of each user among themselves; rows with ``gain`` <= 0 are candidates, not relevant.

        Users are any integers, numbered in ascending order. NaN scores stand last, tied with one another.
        """
        number, scores, gains = _user_rows(user, score, gain)
        rows, counts = _sort_rows(number, scores), np.bincount(number)
        tied = np.bincount(rows.tie_start, minlength=len(number))[rows.tie_start]
        columns = (number[rows.order], rows.tie_start - rows.user_start, tied, gains[rows.order])
        here, above, tied, gains = (column[gains[rows.order] > 0] for column in columns)
        return cls(len(counts), here, above, tied, gains, counts)

    def with_ties(self, mode: Literal["expected", "standard", "conservative", "median"]) -> Ranking:
        """Break ties as the official GRU4Rec code does instead of by expectation.

        standard: rank = 1 + above; conservative: above + tied; median: the mean of both, which may be
        fractional and is then compared with K as it is.

        >>> tied = Ranking.from_rows([0, 0], [0.5, 0.5], [1, 0])
        >>> [reciprocal_rank_at(tied.with_ties(mode), 2) for mode in ("expected", "standard", "conservative")]
        [0.75, 1.0, 0.5]

        Raises:
            ValueError: two relevant items of a user are tied; a rank that both share has no meaning.
        """
        if mode == "expected":
            return self
        shifts = {"standard": 0.0, "conservative": 1.0, "median": 0.5}
        _require(mode in shifts, f"ties {mode!r}: must be expected, standard, conservative or median")
        _require(bool((self.groups.relevant == 1).all()), f"ties {mode!r}: relevant items of a user are tied")
        return replace(self, above=self.above + shifts[mode] * (self.tied - 1), tied=np.ones_like(self.tied))

    @cached_property
    def relevant(self) -> Integers:
        """(users,) relevant items of each user, R."""
        return np.bincount(self.user, minlength=self.users)

    @cached_property
    def groups(self) -> TieGroups:
        """The tie groups that hold a relevant item."""
        new = _changes(self.user) | _changes(self.above)
        first = np.flatnonzero(new)
        user, relevant = self.user[first], np.diff(np.append(first, len(new))).astype(float)
        before = (first - (np.cumsum(self.relevant) - self.relevant)[user]).astype(float)
        return TieGroups(user, self.above[first], self.tied[first], relevant, before)

    @cached_property
    def top_groups(self) -> tuple[Integers, Floats, Integers]:
        """Users with relevant items, the (above, tied, relevant) of first groups, and which is whose."""
        group, top = self.groups, _changes(self.groups.user)
        cases = np.stack([group.above, group.tied, group.relevant], 1)[top]
        distinct, which = np.unique(cases, axis=0, return_inverse=True)
        return group.user[top], distinct, which.ravel()

    @cached_property
    def ideal(self) -> tuple[Integers, Floats, Integers]:
        """User, gain and rank of the relevant items where each user's gains stand in descending order."""
        order = np.lexsort((-self.gain, self.user))
        rank = np.arange(1, len(order) + 1) - (np.cumsum(self.relevant) - self.relevant)[self.user]
        return self.user, self.gain[order], rank

    def per_user_sum(self, user: Integers, values: Floats) -> Floats:
        """(users,) sum of the values of each user."""
        return np.bincount(user, values, self.users).astype(float)


def recall_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """Recall@K = relevant items in the top K / R.

    >>> ranking = Ranking.from_rows([0, 0, 0, 0], [0.9, 0.5, 0.5, 0.1], [0, 1, 0, 1])
    >>> recall_at(ranking, 2)  # the item at rank 2 or 3 is in the top 2 half of the time
    0.25
    """
    return _mean(_ratio(_hits(ranking, k), ranking.relevant), per_user)


def precision_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """Precision@K = relevant items in the top K / K, also where a user has fewer than K candidates.

    >>> precision_at(Ranking.from_rows([0, 0, 0], [0.9, 0.5, 0.1], [1, 0, 1]), 2)
    0.5
    """
    return _mean(_ratio(_hits(ranking, k), np.where(ranking.relevant > 0, k, 0)), per_user)


def hit_rate_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """HR@K = share of the users with a relevant item that have one in the top K.

    >>> hit_rate_at(Ranking.from_rows([0, 0, 0, 1], [0.5, 0.5, 0.1, 0.9], [1, 0, 1, 0]), 1)
    0.5
    """
    return _mean(_first_hit(ranking, k)[0], per_user)


def user_coverage_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """User coverage = share of all users evaluated that have a relevant item in the top K.

    It differs from the hit rate in the users without a relevant item, who count here as not covered.

    >>> user_coverage_at(Ranking.from_rows([0, 0, 1], [0.9, 0.5, 0.5], [1, 0, 0]), 1)
    0.5
    """
    return _mean(np.nan_to_num(_first_hit(ranking, k)[0]), per_user)


def reciprocal_rank_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """MRR@K: 1 / rank of the first relevant item, 0 below rank K.

    >>> reciprocal_rank_at(Ranking.from_rows([0, 0, 0], [0.5, 0.5, 0.1], [1, 0, 1]), 10)  # (1 + 1/2) / 2
    0.75
    """
    return _mean(_first_hit(ranking, k)[1], per_user)


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
    return _mean(_ratio(ranking.per_user_sum(user, precision), np.minimum(ranking.relevant, k)), per_user)


def ndcg_at(ranking: Ranking, k: int, *, per_user: bool = False) -> Score:
    """NDCG@K = DCG / ideal DCG, with DCG = sum over the top K of gain / log2(1 + rank).

    The gain is linear: give 1 for binary relevance, the rating or 2**rating - 1 for graded relevance.

    >>> ndcg_at(Ranking.from_rows([0, 0, 0], [3, 2, 1], [0, 0, 1]), 3)  # 1 / log2(4)
    0.5
    """
    gains = ranking.gain * _expected(ranking.above, ranking.tied, k, _discount)
    user, gain, rank = ranking.ideal
    ideal = ranking.per_user_sum(user, gain * (rank <= k) * _discount(rank))
    return _mean(_ratio(ranking.per_user_sum(ranking.user, gains), ideal), per_user)


def auc(ranking: Ranking, *, per_user: bool = False) -> Score:
    """AUC = share of the pairs (relevant, other candidate) with the relevant one higher; ties count half.

    Undefined, so NaN, for users without a relevant item or without another candidate.

    >>> auc(Ranking.from_rows([0, 0, 0], [0.9, 0.5, 0.5], [0, 1, 0]))
    0.25
    """
    count = ranking.relevant
    above = ranking.per_user_sum(ranking.user, ranking.above + (ranking.tied - 1) / 2)
    above -= count * (count - 1) / 2  # less the relevant ones above one another
    return _mean(1 - _ratio(above, count * (ranking.candidates - count)), per_user)


def rmse(true: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error over the rows.

    >>> rmse([3, 5], [3, 3])
    1.4142135623730951
    """
    return float(np.sqrt(np.mean(np.square(_errors(true, predicted)))))


def mae(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error over the rows.

    >>> mae([3, 5], [3, 3])
    1.0
    """
    return float(np.mean(np.abs(_errors(true, predicted))))


def accuracy_by_position(true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Share of correct predictions at each position: arguments (sessions, positions), result (positions,).

    ``mask`` is true at the positions that exist; a position that no session has is NaN.

    >>> accuracy_by_position([[1, 0], [1, 1]], [[1, 1], [0, 1]], [[True, False], [True, True]])
    array([0.5, 1. ])
    """
    correct, valid = _sessions(true, predicted, mask)
    return _ratio(correct.sum(0), valid.sum(0))


def mean_average_accuracy(
    true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None = None, *, per_session: bool = False
) -> Score:
    """MAA of the Spotify skip challenge, the mean over sessions of AA = 1/T sum_i A(i) L(i).

    A(i) is the accuracy of the first i predictions and L(i) whether the i-th is correct. The arguments are
    (sessions, positions); positions where ``mask`` is false are left out. A session without positions is NaN.

    >>> mean_average_accuracy([[1, 0, 1, 1]], [[1, 1, 1, 1]])  # (1/1 + 0 + 2/3 + 3/4) / 4
    0.6041666666666666
    """
    correct, valid = _sessions(true, predicted, mask)
    accuracy = np.cumsum(correct, 1) / np.maximum(np.cumsum(valid, 1), 1)
    return _mean(_ratio((accuracy * correct).sum(1), valid.sum(1)), per_session)


def bootstrap_interval(per_user: ArrayLike, seed: int, level: float = 0.95, samples: int = 1000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over users, NaN left out; the seed determines the result.

    >>> low, high = bootstrap_interval([0, 1, 0, 1, float("nan")], seed=1)
    >>> 0 <= low < 0.5 < high <= 1
    True
    """
    _require(0 < level < 1, f"level is {level}; it must lie between 0 and 1")
    _require(samples >= 1, f"samples is {samples}; it must be 1 or more")
    values = np.asarray(per_user, float).ravel()
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def map_released(user: ArrayLike, true: ArrayLike, predicted: ArrayLike, k: Cutoffs, threshold: float = 3) -> Score:
    """MAP@K of the released SeER code: over test rows (n,) only, relevant where ``true`` >= ``threshold``.

    The sum of the precisions is divided by R, not min(K, R), and users without a relevant row count as 0.
    Ties stand in the order in which the release leaves them. Several K give a list.

    >>> map_released([0, 0, 1], [5, 4, 1], [2.0, 1.0, 3.0], k=[1, 2])  # (1/2 + 0) / 2, (1 + 0) / 2
    [0.25, 0.5]
    """
    number, rating, score = _user_rows(user, true, predicted)
    return _released_map(number, score, rating >= threshold, rating >= threshold, k, by_row=False)


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
    number, rating, score = _user_rows(user, true, predicted)
    found = (rating >= threshold) & (score >= threshold)
    return _released_map(number, score, rating >= threshold, found, k, by_row=True, per_user=per_user)


def ndcg_released(user: ArrayLike, true: ArrayLike, predicted: ArrayLike, k: Cutoffs) -> Score:
    """NDCG@K of the released SeER code: gain 1 for the rows in a user's true top K, whatever their rating.

    Both rankings break ties by row order. A user with at most K rows always scores 1. Several K give a list.

    >>> ndcg_released([0, 0, 0], [5, 4, 3], [1.0, 3.0, 2.0], k=[1, 3])
    [0.0, 1.0]
    """
    number, *values = _user_rows(user, true, predicted)
    true_rank, rank = np.empty((2, len(number)))
    for ranks, value in zip((true_rank, rank), values, strict=True):
        rows = _sort_rows(number, value)
        ranks[rows.order] = np.arange(1, len(number) + 1) - rows.user_start
    discount, true_discount = _discount(rank), _discount(true_rank)

    def at(k: int) -> float:
        gains = np.bincount(number, discount * ((rank <= k) & (true_rank <= k)))
        return float(np.mean(gains / np.bincount(number, true_discount * (true_rank <= k))))

    return _for_each(k, at)


class _SortedRows(NamedTuple):
    """Rows sorted by user and descending score, equal ones in row order; arrays (rows,).

    The starts are the places, in this order, of the first row of the user and of the user's tie group.
    """

    order: Integers
    user_start: Integers
    tie_start: Integers


def _sort_rows(user: Integers, score: Floats) -> _SortedRows:
    order = np.lexsort((-score, user))  # NumPy sorts NaN last
    new_user = _changes(user[order])
    new_score = new_user | _changes(score[order])
    place = np.arange(len(order))
    starts = [np.maximum.accumulate(np.where(new, place, 0)) for new in (new_user, new_score)]
    return _SortedRows(order, *starts)


def _released_order(rows: _SortedRows, by_row: bool) -> Integers:
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
        again = _quicksort((-rows.tie_start[here][first][::-1]).tolist())
        order[here] = rows.order[here][first][::-1][again][::-1]
    return order


def _quicksort(values: list[int]) -> list[int]:
    """Order that sorts the values as NumPy's introsort, but for its heapsort of inputs that split badly."""
    order, pending = list(range(len(values))), [(0, len(values) - 1)]
    while pending:
        low, high = pending.pop()
        while high - low > 15:
            middle = (low + high) // 2
            for a, b in ((low, middle), (middle, high), (low, middle)):
                if values[order[b]] < values[order[a]]:
                    order[a], order[b] = order[b], order[a]
            pivot = values[order[middle]]
            left, right = low, high - 1
            order[middle], order[right] = order[right], order[middle]
            while True:
                left, right = left + 1, right - 1
                while values[order[left]] < pivot:
                    left += 1
                while pivot < values[order[right]]:
                    right -= 1
                if left >= right:
                    break
                order[left], order[right] = order[right], order[left]
            order[left], order[high - 1] = order[high - 1], order[left]
            pending.append((left + 1, high))
            high = left - 1
        # stable, as NumPy's insertion sort
        order[low : high + 1] = sorted(order[low : high + 1], key=values.__getitem__)
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
    rows = _sort_rows(user, score)
    order = _released_order(rows, by_row)
    hit = found[order].astype(float)
    hits = np.cumsum(hit)
    rank = np.arange(1, len(order) + 1) - rows.user_start
    precision = hit * (hits - (hits - hit)[rows.user_start]) / rank
    count = np.bincount(user, relevant)

    def at(k: int) -> Score:
        return _mean(np.bincount(user[order], precision * (rank <= k)) / np.maximum(count, 1), per_user)

    return _for_each(k, at)


def _hits(ranking: Ranking, k: int) -> Floats:
    return ranking.per_user_sum(ranking.user, _expected(ranking.above, ranking.tied, k, np.ones_like))


def _discount(rank: Floats | Integers) -> Floats:
    return 1 / np.log2(1 + rank)


def _expected(above: Floats, tied: Floats, k: int, weight: Callable[[Floats], Floats]) -> Floats:
    """Mean of ``weight(rank)``, 0 below rank K, over the ranks above + 1 .. above + tied of each item."""
    _check_k(k)
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
    _check_k(k)
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


def _mean(values: Floats, per_user: bool) -> Score:
    if per_user:
        return values
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")


def _ratio(top: NDArray, bottom: NDArray) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def _changes(values: NDArray) -> Flags:
    """Where a value differs from the one before it; NaN equals NaN; the first always differs."""
    changed = np.ones(len(values), bool)
    changed[1:] = (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    return changed


def _for_each(k: Cutoffs, at: Callable[[int], Score]) -> Score:
    several = [k] if isinstance(k, int | np.integer) else list(k)
    for one in several:
        _check_k(one)
    values = [at(one) for one in several]
    return values[0] if isinstance(k, int | np.integer) else values


def _columns(*columns: ArrayLike) -> list[Any]:
    arrays = [np.asarray(column, float) for column in columns]
    shapes = [array.shape for array in arrays]
    fits = len(set(shapes)) == 1 and len(shapes[0]) == 1
    _require(fits, f"arrays of one length needed, got shapes {shapes}")
    return arrays


def _user_rows(user: ArrayLike, *columns: ArrayLike) -> list[Any]:
    """The columns as float arrays, after the users numbered 0, 1, ... in ascending order."""
    number = np.unique(np.asarray(user), return_inverse=True)[1]
    arrays = _columns(number, *columns)[1:]
    _require(number.size > 0, "no rows")
    return [number, *arrays]


def _errors(true: ArrayLike, predicted: ArrayLike) -> Floats:
    known, guess = _columns(true, predicted)
    _require(len(known) > 0, "no rows")
    return known - guess


def _sessions(true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None) -> tuple[NDArray, NDArray]:
    known, guess = np.asarray(true), np.asarray(predicted)
    valid = np.ones(known.shape, bool) if mask is None else np.asarray(mask, bool)
    shapes = (known.shape, guess.shape, valid.shape)
    fits = known.ndim == 2 and len(set(shapes)) == 1
    _require(fits, f"arrays (sessions, positions) needed, got shapes {shapes}")
    return (known == guess) & valid, valid


def _check_k(k: int) -> None:
    _require(isinstance(k, int | np.integer) and k >= 1, f"K is {k}; it must be a whole number, 1 or more")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
