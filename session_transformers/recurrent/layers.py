"""Layers of the recurrent models: the table of tracks, and an LSTM or GRU with torch's equations and gate order.

Letters: B sessions, T steps, I inputs, H units, G gates (4 of an LSTM, 3 of a GRU). Sums, gates and states are float32
whatever the precision. Halves are ten steps long, so loops over steps are unrolled. That takes the time of Keras's own
layers, with XLA (which compiles long) and without; states and both biases are at hand for decoding and for old weights.
All weights start at zero: :func:`session_transformers.recurrent.model.initialise` fills them.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from session_transformers.recurrent.architecture import Cell

State = tuple[Any, ...]
"""(h, c) of an LSTM, (h,) of a GRU, (B, H) each."""


class TrackTable(keras.layers.Layer):
    """What is known of a track: its vector beside its features.

    Args:
        vocabulary: rows.
        vectors: columns of the vectors.
        features: columns of the features, which are not trained.
        train_vectors: whether the vectors are.
        name: name of the layer.
    """

    def __init__(self, vocabulary: int, vectors: int, features: int, train_vectors: bool, name: str) -> None:
        super().__init__(name=name)
        self.vectors = self._table("vectors", vocabulary, vectors, train_vectors) if vectors else None
        self.features = self._table("features", vocabulary, features, False) if features else None
        self.built = True

    def _table(self, name: str, rows: int, columns: int, trainable: bool) -> Any:
        # Not cast as a whole in mixed precision: only the rows that are read are.
        return self.add_weight(
            shape=(rows, columns), initializer="zeros", name=name, trainable=trainable, autocast=False
        )

    def call(self, tokens: Any) -> Any:
        """Ids of any shape -> (..., columns)."""
        parts = [ops.take(table, tokens, axis=0) for table in (self.vectors, self.features) if table is not None]
        return ops.cast(ops.concatenate(parts, axis=-1), self.compute_dtype)


class Recurrent(keras.layers.Layer):
    """A layer of LSTM or GRU cells; s is the sigmoid, W x + b and U h + b' are computed for all gates at once.

    ======  ===============================================================================================
    lstm    i, f, o = s(W x + b + U h + b');  g = tanh(...);  c' = f c + i g;  h' = o tanh(c')
    gru     r, z = s(W x + b + U h + b');  n = tanh(W x + b + r (U h + b'));  h' = (1 - z) n + z h
    ======  ===============================================================================================

    Both biases of torch are kept: those of the GRU's n differ, and an optimizer moves the sum of two faster than one.

    Args:
        cell: which of the two.
        inputs: I.
        units: H.
        name: name of the layer.
    """

    def __init__(self, cell: Cell, inputs: int, units: int, name: str) -> None:
        super().__init__(name=name, autocast=False)  # states are float32
        self.kind, self.units = cell, units
        columns = (4 if cell == "lstm" else 3) * units
        self.kernel = self._weight("kernel", inputs, columns)
        self.recurrent_kernel = self._weight("recurrent_kernel", units, columns)
        self.bias = self._weight("bias", columns)
        self.recurrent_bias = self._weight("recurrent_bias", columns)
        self.built = True

    def _weight(self, name: str, *shape: int) -> Any:
        return self.add_weight(shape=shape, initializer="zeros", name=name, autocast=False)

    def project(self, x: Any) -> Any:
        """W x + b, (..., I) -> (..., G H)."""
        return self._product(x, self.kernel) + self.bias

    def _product(self, x: Any, kernel: Any) -> Any:
        product = ops.matmul(ops.cast(x, self.compute_dtype), ops.cast(kernel, self.compute_dtype))
        return ops.cast(product, "float32")

    def step(self, projected: Any, state: State) -> State:
        """The state after one more step, from W x + b (B, G H)."""
        recurrent = self._product(state[0], self.recurrent_kernel) + self.recurrent_bias  # (B, G H)
        if self.kind == "lstm":
            i, f, g, o = ops.split(projected + recurrent, 4, axis=-1)
            c = ops.sigmoid(f) * state[1] + ops.sigmoid(i) * ops.tanh(g)
            return ops.sigmoid(o) * ops.tanh(c), c
        (x_r, x_z, x_n), (h_r, h_z, h_n) = ops.split(projected, 3, axis=-1), ops.split(recurrent, 3, axis=-1)
        z = ops.sigmoid(x_z + h_z)
        n = ops.tanh(x_n + ops.sigmoid(x_r + h_r) * h_n)
        return ((1.0 - z) * n + z * state[0],)

    def start(self, rows: Any) -> State:
        """The state before the first step: zeros."""
        return tuple(ops.zeros((rows, self.units)) for _ in range(2 if self.kind == "lstm" else 1))

    def call(
        self, x: Any, state: State | None = None, there: Any = None, backwards: bool = False
    ) -> tuple[list[Any], State]:
        """Read a sequence.

        Args:
            x: (B, T, I).
            state: before the first step; None for zeros.
            there: (B, T) whether there is a step; where there is none the state stays. None: everywhere.
            backwards: read from the end.

        Returns:
            h after each step read, T times (B, H), and the last state.
        """
        # Unstacked, because the gradient of a slice is as large as the whole.
        projected = ops.unstack(self.project(x), axis=1)  # T times (B, G H)
        state = self.start(ops.shape(x)[0]) if state is None else state
        after = []
        for t in reversed(range(x.shape[1])) if backwards else range(x.shape[1]):
            new = self.step(projected[t], state)
            if there is not None:
                new = tuple(ops.where(there[:, t, None], n, old) for n, old in zip(new, state, strict=True))
            state = new
            after.append(state[0])
        return after, state
