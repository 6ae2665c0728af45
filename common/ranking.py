"""Ranking of whole catalogues, a block of users at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.metrics import Ranking
from common.metrics._arrays import comparable, require

Scores = Callable[[np.ndarray], np.ndarray]
"""User ids (u,) -> score of every item for each of them (u, items); higher is better."""
CELLS = 2**15
"""Scores compared at a time: they stay in the processor's cache."""


def catalogue_ranking(
    scores: Scores,
    users: np.ndarray,
    relevant: tuple[np.ndarray, np.ndarray, np.ndarray],
    seen: tuple[np.ndarray, np.ndarray],
    items: int,
    block: int = 512,
) -> Ranking:
    """Where each user's relevant items stand among all items that the user has not seen.

    Scores that are NaN or infinite, gains and numbers are treated as :mod:`common.metrics.ranking` says.

    Args:
        scores: the recommender.
        users: ids of the users to evaluate, distinct, sorted (u,).
        relevant: user ids, items and gains of the pairs to find, (n,) each. A pair must not occur twice; one whose
            gain is 0 or less is a candidate like any other.
        seen: user ids and items of the pairs that are no candidates (training data), (m,) each; no relevant pair.
        items: size of the catalogue.
        block: users per call of ``scores``; memory grows with block * items.

    Returns:
        The ranking of ``users``, numbered by their place in ``users``.

    Raises:
        ValueError: users that are not distinct and sorted; an item outside 0..items-1; a gain that is not finite;
            a relevant pair that occurs twice or is also in ``seen``; scores of another shape.
    """
    users = np.asarray(users)
    require(bool((users[1:] > users[:-1]).all()), "users must be distinct and sorted")
    pairs_user, pairs_item, gain = _sorted_by_user(users, *relevant)
    require(bool(np.isfinite(gain).all()), "gain must be finite")
    pairs_user, pairs_item, gain = (column[gain > 0] for column in (pairs_user, pairs_item, gain))
    seen_user, seen_item = _sorted_by_user(users, *seen)
    for item in (pairs_item, seen_item):
        require(not len(item) or 0 <= item.min() <= item.max() < items, f"items must lie in 0..{items - 1}")
    pairs = pairs_user * items + pairs_item
    require(len(np.unique(pairs)) == len(pairs), "a relevant pair occurs twice")
    above = np.zeros(len(pairs), np.float64)
    tied = np.zeros(len(pairs), np.float64)
    candidates = np.full(len(users), items, np.int64)
    for start in range(0, len(users), block):
        stop = min(start + block, len(users))
        table = _without_nan(comparable(scores(users[start:stop])))
        require(table.shape == (stop - start, items), f"scores {table.shape}; expected {(stop - start, items)}")
        low, high = np.searchsorted(seen_user, [start, stop])
        known = np.unique((seen_user[low:high] - start) * items + seen_item[low:high])
        table.reshape(-1)[known] = np.nan  # neither above nor equal
        candidates[start:stop] -= np.bincount(known // items, minlength=stop - start)
        low, high = np.searchsorted(pairs_user, [start, stop])
        part = slice(low, high)
        above[part], tied[part] = _counts(table, pairs_user[part] - start, pairs_item[part])
    return Ranking(len(users), pairs_user, above, tied, gain.astype(np.float64), candidates)


def _counts(table: NDArray[Any], row: np.ndarray, item: np.ndarray) -> np.ndarray:
    """(2, n): how many scores of its row of ``table`` are above that of each item, and how many equal it."""
    own = table[row, item][:, None]
    require(not np.isnan(own).any(), "a relevant pair is also in seen")
    found = np.zeros((2, len(row)), np.int64)
    step = CELLS // table.shape[1]
    if step <= 8:  # of long rows none is copied
        for pair, number in enumerate(row):
            scores = table[number]
            found[:, pair] = np.count_nonzero(scores > own[pair]), np.count_nonzero(scores == own[pair])
        return found
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        scores = table[row[part]]
        found[:, part] = (scores > own[part]).sum(axis=1), (scores == own[part]).sum(axis=1)
    return found


def _without_nan(table: NDArray[Any]) -> NDArray[Any]:
    """A copy of scores in which NaN, which stands below every number, has become a number: rows with NaN are ranked."""
    table = np.array(table, order="C")
    for row in np.flatnonzero(np.isnan(table).any(axis=1)):
        nan = np.isnan(table[row])
        ranks = np.unique(table[row], return_inverse=True)[1].reshape(-1)
        table[row] = np.where(nan, -1, ranks)
    return table


def _sorted_by_user(users: np.ndarray, user: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows whose user is in ``users``, with the user's place in it, sorted by that place."""
    place = np.searchsorted(users, user)
    known = np.append(users, 0)[place] == user if len(users) else np.zeros(len(place), bool)
    known &= place < len(users)
    place, others = place[known], tuple(np.asarray(other)[known] for other in others)
    order = np.argsort(place, kind="stable")
    return place[order], *(other[order] for other in others)
