"""Matrix factorisation by Bayesian personalised ranking (Rendle et al., UAI 2009, arXiv 1205.2618), in NumPy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

FACTORS = 32
EPOCHS = 60
RATE = 0.05
PENALTY = 0.01
BATCH = 1024
"""Pairs of an update; a user or song that occurs several times in it moves by the sum."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """score(user, song) = users[user] . songs[song] + bias[song]."""

    users: Floats
    """(users, factors); zeros for a user without plays."""
    songs: Floats
    """(songs, factors)"""
    bias: Floats
    """(songs,)"""


def train_bpr(plays: sparse.csr_array, seed: int, factors: int = FACTORS, epochs: int = EPOCHS) -> Factors:
    """Learn factors from a 0-1 matrix of plays (users, songs).

    Maximises sum ln sigmoid(score(u, i) - score(u, j)) - penalty |parameters|^2 over the plays (u, i), j being drawn
    uniformly from the songs that u has not played (a drawn song that u has played is drawn once more).
    """
    rng = np.random.default_rng((seed, 3))
    count, songs = plays.shape
    users = rng.normal(0, 0.1, (count, factors)).astype(np.float32)
    users[np.diff(plays.indptr) == 0] = 0
    items = rng.normal(0, 0.1, (songs, factors)).astype(np.float32)
    bias = np.zeros(songs, np.float32)
    user = np.repeat(np.arange(count), np.diff(plays.indptr))
    played = np.sort(user * songs + plays.indices)
    for _ in range(epochs):
        order = rng.permutation(len(user))
        other = rng.integers(0, songs, len(user))
        known = np.flatnonzero(_contains(played, user * songs + other))
        other[known] = rng.integers(0, songs, len(known))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            u, i, j = user[rows], plays.indices[rows], other[rows]
            difference = items[i] - items[j]
            margin = (users[u] * difference).sum(axis=1) + bias[i] - bias[j]
            pull = (RATE / (1 + np.exp(margin)))[:, None].astype(np.float32)
            shrink = np.float32(RATE * PENALTY)
            steps = (pull * difference - shrink * users[u], pull * users[u])
            np.add.at(users, u, steps[0])
            np.add.at(items, i, steps[1] - shrink * items[i])
            np.add.at(items, j, -steps[1] - shrink * items[j])
            np.add.at(bias, i, pull[:, 0] - shrink * bias[i])
            np.add.at(bias, j, -pull[:, 0] - shrink * bias[j])
    return Factors(users, items, bias)


def _contains(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    return ordered[places] == wanted if len(ordered) else np.zeros(len(wanted), bool)
