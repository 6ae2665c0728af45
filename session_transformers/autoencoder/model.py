"""The auto-encoder of sessions, and the rule for skips that its track vectors give.

Khan, Cui, Arora (2020): a session as the set of its tracks goes through a code of 32 numbers and back,

    code = relu(sum of the rows W[track] + b)            of the distinct tracks
    p(track in the session) = sigmoid(code . U[track] + c)          loss: binary cross-entropy over all tracks

and a row of W is a track's vector. The rule: a track of the second half that is similar to the last track of the first
half is skipped if that one was, any other is skipped if that one was not.

A session is a list of ids and never a vector of 104,000 bits. The tracks it does not hold are sampled, by plays, each
counting for as many as it stands for, so that the loss is right on average; or all count, some sessions at a time.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from session_transformers.kinds import PAD


class AutoEncoder(keras.Model):
    """The weights; W and U have a row for each id.

    Args:
        vocabulary: V.
        code: numbers in a code.
        seed: of W, N(0, 0.01), and U, N(0, 1 / code). W starts small because training moves the sum of the rows that
            a session holds and leaves the differences they start with.
        features: columns of features beside the vectors, for the released rule.
    """

    def __init__(self, vocabulary: int, code: int = 32, seed: int = 1, features: int = 0) -> None:
        super().__init__(name="autoencoder")
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape, scale in (
            ("encoder", (vocabulary, code), 0.01),
            ("code_bias", (code,), 0.0),
            ("decoder", (vocabulary, code), code**-0.5),
            ("bias", (vocabulary,), 0.0),
        ):
            self.named[name] = self.add_weight(shape=shape, initializer="zeros", name=name)
            self.named[name].assign((scale * rng.standard_normal(shape)).astype(np.float32))
        fixed: dict[str, Any] = {"initializer": "zeros", "trainable": False}
        self.threshold = self.add_weight(shape=(), name="threshold", **fixed)
        """Of the rule for skips; of the released one -0.3."""
        self.features = self.add_weight(shape=(vocabulary, features), name="features", **fixed) if features else None
        self.built = True

    @property
    def vectors(self) -> np.ndarray:
        """(V, code) the tracks' vectors; for the released rule with their features beside them."""
        parts = [self.named["encoder"], *([] if self.features is None else [self.features])]
        return np.concatenate([np.asarray(part) for part in parts], axis=1)

    def call(self, tracks: Any) -> Any:
        """Codes (B, code) of sessions (B, T) of ids."""
        rows = ops.take(ops.convert_to_tensor(self.named["encoder"]), tracks, axis=0)
        return encode(rows, self.named["code_bias"], once(tracks))


def once(tracks: Any) -> Any:
    """(B, T) float32: 1 where an id that is no padding stands for the first time in its session."""
    same = ops.equal(tracks[:, :, None], tracks[:, None, :])
    earlier = np.tril(np.ones((tracks.shape[1],) * 2, bool), -1)
    again = ops.any(ops.logical_and(same, earlier), axis=-1)
    return ops.cast(ops.logical_and(ops.logical_not(again), tracks != PAD), "float32")


def encode(rows: Any, code_bias: Any, counts: Any) -> Any:
    """Codes (B, code) from rows of W (B, T, code) that count (B, T)."""
    return ops.relu(ops.sum(rows * counts[..., None], axis=1) + code_bias)


def held_logits(codes: Any, rows: Any, bias: Any) -> Any:
    """(B, T) of the tracks that the sessions hold, from rows of U (B, T, code) and c (B, T)."""
    return ops.sum(codes[:, None] * rows, axis=-1) + bias


def exact_loss(held: Any, counts: Any, logits: Any, possible: Any) -> Any:
    """Cross-entropy over all tracks, summed: sum_v log(1 + e^z_v) minus the z of the tracks held.

    Args:
        held: (B, T) z of the tracks held, which count (B, T).
        counts: see :func:`once`.
        logits: (B, V) z.
        possible: (V,) 1, or 0 for ids that are no tracks.
    """
    there = ops.max(counts, axis=1, keepdims=True)  # nothing is told of a session without tracks
    return ops.sum(there * possible * ops.softplus(logits)) - ops.sum(counts * held)


def sampled_loss(held: Any, counts: Any, logits: Any, drawn: Any, weights: Any, tokens: Any) -> Any:
    """An estimate of :func:`exact_loss` that is right on average.

    Args:
        held: (B, T) z of the tracks held, which count (B, T).
        counts: see :func:`once`.
        logits: (B, n) z of the tracks drawn.
        drawn: (n,) ids.
        weights: (n,) for how many tracks each stands: 1 / the expected number of its draws.
        tokens: (B, T) ids of the sessions: a track that a session holds is not absent from it.
    """
    present = ops.any(ops.equal(tokens[:, :, None], drawn), axis=1)
    absent = ops.cast(ops.logical_not(present), "float32") * ops.max(counts, axis=1, keepdims=True)
    return ops.sum(counts * ops.softplus(-held)) + ops.sum(absent * weights * ops.softplus(logits))
