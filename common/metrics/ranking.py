"""Ranking with ties: where relevant items stand among the candidates of each user, which all metrics work on.

There are two ways to one, from rows of candidates (:meth:`Ranking.from_rows`) and from scores of a whole catalogue
(:func:`common.ranking.catalogue_ranking`), with one rule for odd values:

- Scores are compared in the precision in which they come. Infinities are numbers: +inf stands first, -inf below every
  finite score. NaN stands below -inf. Equal scores are tied, and so are all NaN.
- A gain above 0 makes a candidate relevant; with 0 or less it is a candidate only; NaN and infinite gains are refused.
- Users are any integers, negative ones too. Items are numbers 0, 1, ... of the catalogue; others are refused.

What is refused raises ValueError.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common.metrics._arrays import (
    Floats,
    Integers,
    changes,
    comparable,
    float_columns,
    require,
    sort_rows,
    user_rows,
)


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
        user, above, tied, gain = float_columns(self.user, self.above, self.tied, self.gain)
        order = np.lexsort((above, user))
        for name, values in (("user", user.astype(int)), ("above", above), ("tied", tied), ("gain", gain)):
            object.__setattr__(self, name, values[order])
        object.__setattr__(self, "candidates", np.asarray(self.candidates, int))
        require(self.candidates.shape == (self.users,), f"candidates must have the shape ({self.users},)")
        require(not user.size or 0 <= user.min() <= user.max() < self.users, "user must lie in 0..users-1")
        require(bool((np.isfinite(gain) & (gain > 0)).all()), "gain must be positive and finite")
        inside = (self.above >= 0) & (self.tied >= 1) & (self.above + self.tied <= self.candidates[self.user])
        require(bool(inside.all()), "above >= 0, tied >= 1 and above + tied <= candidates must hold")
        fits = self.groups.relevant <= self.groups.tied
        require(bool(fits.all()), "more relevant items of a user tied than candidates")

    @classmethod
    def from_rows(cls, user: ArrayLike, score: ArrayLike, gain: ArrayLike) -> Ranking:
        """Rank the rows of each user among themselves; users are numbered in ascending order.

        Args:
            user: (n,) any integers.
            score: (n,) higher is better.
            gain: (n,) how relevant; 0 or less: a candidate that is not relevant.

        Raises:
            ValueError: no rows, lengths that differ, a gain that is not finite.
        """
        scores = comparable(score)
        number, gains = user_rows(user, gain)
        require(scores.shape == number.shape, f"arrays of one length needed, got {scores.shape} and {number.shape}")
        require(bool(np.isfinite(gains).all()), "gain must be finite")
        rows, counts = sort_rows(number, scores), np.bincount(number)
        tied = np.bincount(rows.tie_start, minlength=len(number))[rows.tie_start]
        columns = (number[rows.order], rows.tie_start - rows.user_start, tied, gains[rows.order])
        here, above, tied, gains = (column[gains[rows.order] > 0] for column in columns)
        return cls(len(counts), here, above, tied, gains, counts)

    def with_ties(self, mode: Literal["expected", "standard", "conservative", "median"]) -> Ranking:
        """Break ties as the official GRU4Rec code does instead of by expectation.

        standard: rank = 1 + above; conservative: above + tied; median: the mean of both, which may be
        fractional and is then compared with K as it is.

        >>> from common.metrics import reciprocal_rank_at
        >>> tied = Ranking.from_rows([0, 0], [0.5, 0.5], [1, 0])
        >>> [reciprocal_rank_at(tied.with_ties(mode), 2) for mode in ("expected", "standard", "conservative")]
        [0.75, 1.0, 0.5]

        Raises:
            ValueError: two relevant items of a user are tied; a rank that both share has no meaning.
        """
        if mode == "expected":
            return self
        shifts = {"standard": 0.0, "conservative": 1.0, "median": 0.5}
        require(mode in shifts, f"ties {mode!r}: must be expected, standard, conservative or median")
        require(bool((self.groups.relevant == 1).all()), f"ties {mode!r}: relevant items of a user are tied")
        return replace(self, above=self.above + shifts[mode] * (self.tied - 1), tied=np.ones_like(self.tied))

    @cached_property
    def relevant(self) -> Integers:
        """(users,) relevant items of each user, R."""
        return np.bincount(self.user, minlength=self.users)

    @cached_property
    def groups(self) -> TieGroups:
        """The tie groups that hold a relevant item."""
        new = changes(self.user) | changes(self.above)
        first = np.flatnonzero(new)
        user, relevant = self.user[first], np.diff(np.append(first, len(new))).astype(float)
        before = (first - (np.cumsum(self.relevant) - self.relevant)[user]).astype(float)
        return TieGroups(user, self.above[first], self.tied[first], relevant, before)

    @cached_property
    def top_groups(self) -> tuple[Integers, Floats, Integers]:
        """Users with relevant items, the (above, tied, relevant) of first groups, and which is whose."""
        group, top = self.groups, changes(self.groups.user)
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
