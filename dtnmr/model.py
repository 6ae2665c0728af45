"""DTNMR: the next song of a user, from metadata of songs and users and what was heard long ago and of late.

Zheng, Chen, Liang, Sangaiah, Jiang, Zhao: "A Deep Temporal Neural Music Recommendation Model Utilizing Music and User
Metadata" (Appl. Sci. 2019, 9(4), 703). The text of the paper leaves sizes open; those here, and the names of the four
parts, are of the only public implementation, wonjunior/DTNMR (PyTorch).

    MFC    song   = tower([length | genres, artists, composers, language])           metadata of a song
    USFC   static = tower([age, gender, city | all bits of the songs heard so far])  metadata of a user
    UDFC   dynamic = head(LSTM(last 20 songs)) + head(LSTM(last 10 of them))         the same weights in both
    user   = static + dynamic
    RC     score(user, song): linear, dot or mlp

``linear`` is released: w_u user + w_s song + b. A softmax over candidates, or the difference of two scores, cancels
w_u user, so nothing on the user's side is ever trained and all users get one order of the songs. ``dot`` (user . song)
and ``mlp`` (v relu(W_u user + W_s song + b) + a) let the two meet.

Multi-hot inputs are lists of columns: their product with a kernel is the sum of those of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from dtnmr.architecture import Architecture
from dtnmr.lstm import lstm

Weights = Mapping[str, Any]
"""Weight name -> tensor, see :meth:`Architecture.shapes`."""
TABLES = ("user.0.kernel", "song.0.kernel")
"""Kernels with a row for each column of a multi-hot input: a step touches few of their rows."""


class Inputs(NamedTuple):
    """A batch of B examples over S distinct songs; "place" is a number from 0 to S - 1.

    Attributes:
        song_bits, song_rows: (N,) columns of the songs' multi-hot blocks and the place of the song, ascending.
        lengths: (S,) scaled lengths.
        user_bits, user_rows: (M,) columns of the users' input and the example, ascending.
        history: (B, L) places of the last songs, the latest last.
        behaviours: (B, L) of those songs, -1 for none.
        live: (B, L) float; 0 before the beginning of a shorter history.
        candidates: (B, C) places of the songs to score.
    """

    song_bits: Any
    song_rows: Any
    lengths: Any
    user_bits: Any
    user_rows: Any
    history: Any
    behaviours: Any
    live: Any
    candidates: Any


class Masks(NamedTuple):
    """Factors of dropout for the long and the short sequence, 1.0 for none.

    Attributes:
        between: of the outputs of each LSTM layer but the last, (layers - 1, T, B, H).
        head: (B, H).
    """

    between: Any
    head: Any


def summed_rows(kernel: Any, bits: Any, rows: Any, count: int) -> Any:
    """(count, H): multi-hot vectors, given as ``bits`` (N,) of the vectors ``rows`` (N,), times ``kernel``."""
    return ops.segment_sum(ops.take(kernel, bits, axis=0), rows, num_segments=count)


def tower(weights: Weights, name: str, first: Any, final_relu: bool) -> list[Any]:
    """The dense layers of USFC ("user") or MFC ("song") above the first product (n, 512); output of every layer."""
    outputs, x, depth = [], first + weights[f"{name}.0.bias"], 1
    while f"{name}.{depth}.kernel" in weights:
        outputs.append(ops.relu(x))  # (n, 512), (n, 64)
        x = ops.matmul(outputs[-1], weights[f"{name}.{depth}.kernel"]) + weights[f"{name}.{depth}.bias"]
        depth += 1
    return [*outputs, ops.relu(x) if final_relu else x]  # (n, E)


def music(architecture: Architecture, weights: Weights, first: Any, lengths: Any) -> Any:
    """MFC: vectors (S, E) of songs from the product (S, 512) of their bits and their lengths (S,)."""
    first = first + ops.expand_dims(lengths, 1) * weights["song.length"]  # (S, 512)
    return tower(weights, "song", first, architecture.final_relu)[-1]


def recurrent(weights: Weights, x: Any, live: Any, masks: Masks | None = None) -> list[Any]:
    """The hidden states (T, B, H) of every LSTM layer over x (T, B, inputs); ``live`` (T, B, 1)."""
    outputs: list[Any] = []
    while f"lstm.{len(outputs)}.input" in weights:
        i = len(outputs)
        bias = weights[f"lstm.{i}.input_bias"] + weights[f"lstm.{i}.recurrent_bias"]
        steps, rows, width = x.shape
        x = ops.matmul(ops.reshape(x, (-1, width)), weights[f"lstm.{i}.input"]) + bias  # (T B, 4 H)
        outputs.append(lstm(ops.reshape(x, (steps, rows, -1)), weights[f"lstm.{i}.recurrent"], live))
        x = outputs[-1] * masks.between[i] if masks and f"lstm.{i + 1}.input" in weights else outputs[-1]
    return outputs


def head(weights: Weights, hidden: Any, final_relu: bool, mask: Any = 1.0) -> list[Any]:
    """The two dense layers (B, H), (B, E) over the last hidden state (B, H); there is no ReLU between them."""
    x = ops.matmul(hidden, weights["head.0.kernel"]) + weights["head.0.bias"]  # (B, H)
    y = ops.matmul(x * mask, weights["head.1.kernel"]) + weights["head.1.bias"]  # (B, E)
    return [x, ops.relu(y) if final_relu else y]


def dynamic(
    architecture: Architecture,
    weights: Weights,
    songs: Any,
    behaviours: Any,
    live: Any,
    masks: Sequence[Masks] | None = None,
) -> Any:
    """UDFC: long plus short preference (B, E) from songs (B, L, E), behaviours (B, L) and live (B, L)."""
    how = ops.one_hot(behaviours, architecture.behaviours, dtype=songs.dtype)  # (B, L, behaviours); -1: zeros
    x = ops.transpose(ops.concatenate([songs, how], axis=-1), (1, 0, 2))  # (L, B, E + behaviours)
    live = ops.expand_dims(ops.transpose(live), -1)  # (L, B, 1)
    preferences = []
    for number, length in enumerate((architecture.long_length, architecture.short_length)):
        of_sequence = masks[number] if masks else None
        hidden = recurrent(weights, x[-length:], live[-length:], of_sequence)[-1]  # (T, B, H)
        mask = of_sequence.head if of_sequence else 1.0
        preferences.append(head(weights, hidden[-1], architecture.final_relu, mask)[-1])
    return preferences[0] + preferences[1]  # (B, E)


def users(
    architecture: Architecture, weights: Weights, first: Any, songs: Any, inputs: Inputs, masks: Any = None
) -> Any:
    """USFC + UDFC: vectors (B, E) of users from the product (B, 512) of their bits and the songs' vectors (S, E)."""
    static = tower(weights, "user", first, architecture.final_relu)[-1]  # (B, E)
    heard = ops.take(songs, inputs.history, axis=0)  # (B, L, E)
    return static + dynamic(architecture, weights, heard, inputs.behaviours, inputs.live, masks)


def rate(architecture: Architecture, weights: Weights, user: Any, songs: Any) -> Any:
    """RC: scores (B, C) of users (B, E) and the candidates (B, C, E) of each."""
    if architecture.rating == "dot":
        return ops.squeeze(ops.matmul(songs, ops.expand_dims(user, -1)), -1)
    of_user = ops.expand_dims(ops.matmul(user, weights["rating.user"]), 1)  # (B, 1, units)
    x = of_user + ops.matmul(songs, weights["rating.song"]) + weights["rating.bias"]  # (B, C, units)
    if architecture.rating == "mlp":
        x = ops.matmul(ops.relu(x), weights["rating.kernel"]) + weights["rating.out"]  # (B, C, 1)
    return ops.squeeze(x, -1)


def rate_all(architecture: Architecture, weights: Weights, user: Any, songs: Any) -> Any:
    """RC: scores (B, S) of users (B, E) and all songs (S, E)."""
    if architecture.rating == "dot":
        return ops.matmul(user, ops.transpose(songs))
    of_user = ops.expand_dims(ops.matmul(user, weights["rating.user"]) + weights["rating.bias"], 1)  # (B, 1, units)
    x = of_user + ops.matmul(songs, weights["rating.song"])[None]  # (B, S, units)
    if architecture.rating == "mlp":
        x = ops.matmul(ops.relu(x), weights["rating.kernel"]) + weights["rating.out"]  # (B, S, 1)
    return ops.squeeze(x, -1)


class DTNMR(keras.Model):
    """The weights of a model, and its scores in inference mode.

    Args:
        architecture: see there.
        seed: of the initial weights: uniform in +-1 / sqrt(inputs) for dense layers, +-1 / sqrt(H) for the LSTM, both
            with their biases, as PyTorch draws them.
    """

    def __init__(self, architecture: Architecture, seed: int = 1) -> None:
        super().__init__(name="dtnmr")
        self.architecture = architecture
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape in architecture.shapes().items():
            bound = 1.0 / np.sqrt(_inputs(architecture, name))
            values = rng.uniform(-bound, bound, shape).astype(np.float32)
            own = name.replace(".", "_")  # PyTorch's backend takes no dots
            self.named[name] = self.add_weight(shape=shape, initializer="zeros", dtype="float32", name=own)
            self.named[name].assign(values)
        self.built = True

    @property
    def weights_now(self) -> dict[str, Any]:
        """Name -> tensor of every weight."""
        return {name: ops.convert_to_tensor(variable) for name, variable in self.named.items()}

    def call(self, inputs: Inputs) -> Any:
        """Scores (B, C) of the candidates of a batch."""
        a, weights = self.architecture, self.weights_now
        first = summed_rows(weights["song.0.kernel"], inputs.song_bits, inputs.song_rows, len(inputs.lengths))
        songs = music(a, weights, first, inputs.lengths)  # (S, E)
        first = summed_rows(weights["user.0.kernel"], inputs.user_bits, inputs.user_rows, len(inputs.history))
        user = users(a, weights, first, songs, inputs)  # (B, E)
        return rate(a, weights, user, ops.take(songs, inputs.candidates, axis=0))  # (B, C)


def _inputs(architecture: Architecture, name: str) -> int:
    """Number of inputs of the layer that a weight belongs to, which PyTorch scales its initial values by."""
    if name.startswith("lstm."):
        return architecture.lstm  # by the hidden units, also those of the input
    if name.startswith("rating."):
        return 2 * architecture.embedding  # of [user | song], and of the mlp's hidden layer
    if name in ("song.length", "song.0.kernel", "song.0.bias"):
        return 1 + architecture.song_width
    return architecture.shapes()[name.rsplit(".", 1)[0] + ".kernel"][0]
