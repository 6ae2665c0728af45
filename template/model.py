"""Matrix factorisation: scores of users and songs from vectors learnt for each, s(u, i) = p_u' q_i + b_i.

Here stands the paper: authors, title, venue, year; and its equations, each beside the lines that compute it.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops


def build(users: int, songs: int, factors: int, seed: int = 1) -> keras.Model:
    """The model: inputs ``user`` and ``item`` (B,) numbers, output (B,) scores."""
    normal = keras.initializers.RandomNormal(stddev=0.1, seed=seed)
    user, item = keras.Input((), dtype="int32", name="user"), keras.Input((), dtype="int32", name="item")
    p = layers.Embedding(users, factors, embeddings_initializer=normal, name="p")(user)  # (B, factors)
    q = layers.Embedding(songs, factors, embeddings_initializer=normal.clone(), name="q")(item)  # (B, factors)
    b = layers.Embedding(songs, 1, embeddings_initializer="zeros", name="b")(item)  # (B, 1)
    return keras.Model({"user": user, "item": item}, ops.sum(p * q, axis=-1) + ops.squeeze(b, -1))


def score_matrix(model: keras.Model, users: np.ndarray) -> np.ndarray:
    """Scores of all songs for ``users`` (u,), as (u, songs)."""
    p, q, b = (np.asarray(model.get_layer(name).embeddings, np.float32) for name in "pqb")
    return p[users] @ q.T + b[:, 0]


def logistic(targets: Any, scores: Any, weights: Any) -> Any:
    """sum(weight * loss) of -log sigmoid(s) for played songs (target 1), -log(1 - sigmoid(s)) for others (0)."""
    scores = ops.cast(scores, "float32")
    return ops.sum(weights * (ops.softplus(scores) - targets * scores))
