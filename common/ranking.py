"""Rank whole catalogues, a block of users at a time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from common.metrics import Ranking

Scores = Callable[[np.ndarray], np.ndarray]
"""User ids (u,) -> score of every item for each of them (u, items); higher is better."""


def catalogue_ranking(
    scores: Scores,
    users: np.ndarray,
    relevant: tuple[np.ndarray, np.ndarray, np.ndarray],
    seen: tuple[np.ndarray, np.ndarray],
    items: int,
    block: int = 512,
) -> Ranking:
    """Where each user's relevant items stand among all items that the user has not seen.

    Args:
        scores: the recommender.
        users: ids of the users to evaluate, distinct, sorted (u,).
        relevant: user ids, items and gains (> 0) of the relevant pairs, (n,) each; no pair may also be in ``seen``.
        seen: user ids and items of the pairs that are no candidates (training data), (m,) each.
        items: size of the catalogue.
        block: users per call of ``scores``; memory grows with block * items.

    Returns:
        The ranking of ``users``, numbered by their place in ``users``. A NaN score ranks last.
    """
    pairs_user, pairs_item, gain = _sorted_by_user(users, *relevant)
    seen_user, seen_item = _sorted_by_user(users, *seen)
    above = np.zeros(len(pairs_user), np.float64)
    tied = np.zeros(len(pairs_user), np.float64)
    candidates = np.zeros(len(users), np.int64)
    for start in range(0, len(users), block):
        stop = min(start + block, len(users))
        table = np.array(scores(users[start:stop]), np.float64 if items < 2000 else np.float32)
        table[np.isnan(table)] = -np.inf
        low, high = np.searchsorted(seen_user, [start, stop])
        table[seen_user[low:high] - start, seen_item[low:high]] = np.nan  # NaN compares as neither above nor equal
        candidates[start:stop] = items - np.isnan(table).sum(axis=1)
        low, high = np.searchsorted(pairs_user, [start, stop])
        for first in range(low, high, 4 * block):  # (pairs, items) comparisons in bounded memory
            part = slice(first, min(first + 4 * block, high))
            rows = table[pairs_user[part] - start]
            own = rows[np.arange(len(rows)), pairs_item[part]][:, None]
            if np.isnan(own).any():
                raise ValueError("a relevant pair is also in seen")
            above[part] = (rows > own).sum(axis=1)
            tied[part] = (rows == own).sum(axis=1)
    return Ranking(len(users), pairs_user.astype(np.int64), above, tied, gain.astype(np.float64), candidates)


def _sorted_by_user(users: np.ndarray, user: np.ndarray, *others: np.ndarray) -> tuple[np.ndarray, ...]:
    """Rows whose user is in ``users``, with the user's place in it, sorted by that place."""
    place = np.searchsorted(users, user)
    known = (place < len(users)) & (users[np.minimum(place, len(users) - 1)] == user)
    place, others = place[known], tuple(other[known] for other in others)
    order = np.argsort(place, kind="stable")
    return place[order], *(other[order] for other in others)
