"""Networks of DTNMR: the next song of a user, from metadata of songs and users and what was heard long ago and of late.

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

The networks are functional Keras models over one set of weights: the four parts and the whole. Training and ranking
call the same layers from the products of the multi-hot inputs on, which they have a faster way to.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from dtnmr.options import Architecture, Rating


def lstm(x: Any, kernel: Any, live: Any) -> Any:
    """Hidden states of one LSTM layer at every step, from h_0 = c_0 = 0; differentiable in ``x`` and ``kernel``.

    The gradient is written out: automatic differentiation adds up that of the kernel step by step, which is where a
    training step spent its time; here it is one product over all steps.

    ==============================================================  ======================================
    z = x_t + h_{t-1} W                                             four blocks of columns: i, f, g, o
    c_t = live_t (s(z_f) c_{t-1} + s(z_i) tanh(z_g))                s: the sigmoid
    h_t = live_t s(z_o) tanh(c_t)
    ==============================================================  ======================================

    Args:
        x: (T, B, 4 H) the input of each step times its kernel, biases included.
        kernel: W (H, 4 H).
        live: (T, B, 1); 0 keeps the state at zero: the sequence has not begun yet.

    Returns:
        h (T, B, H).
    """
    units = kernel.shape[0]

    @ops.custom_gradient
    def run(x: Any, kernel: Any) -> Any:
        def forward(state: Any, step: Any) -> Any:
            (h, c, *_), (x_t, on) = state, step
            i, f, g, o = ops.split(x_t + ops.matmul(h, kernel), 4, axis=-1)
            i, f, g, o = ops.sigmoid(i), ops.sigmoid(f), ops.tanh(g), ops.sigmoid(o)
            c = on * (f * c + i * g)
            # The gates ride along in the state because the TensorFlow backend's scan gives what it collects the
            # shapes of the state.
            after = (on * o * ops.tanh(c), c, i, f, g, o)
            return after, after

        zero = ops.zeros_like(x[0, :, :units])
        _, (h, c, i, f, g, o) = ops.scan(forward, (zero,) * 6, (x, live))

        def before(states: Any) -> Any:
            return ops.concatenate([zero[None], states[:-1]])

        def gradient(*upstream: Any, **named: Any) -> tuple[Any, Any]:
            backwards = ops.transpose(kernel)

            def backward(state: Any, step: Any) -> Any:
                (dh, dc, *_), (d_out, on, c_t, c_before, i, f, g, o) = state, step
                tanh_c = ops.tanh(c_t)
                dh = on * (dh + d_out)
                dc = on * (dc + dh * o * (1.0 - tanh_c * tanh_c))
                di, df = dc * g * i * (1.0 - i), dc * c_before * f * (1.0 - f)
                dg, do = dc * i * (1.0 - g * g), dh * tanh_c * o * (1.0 - o)
                dh = ops.matmul(ops.concatenate([di, df, dg, do], axis=-1), backwards)
                after = (dh, dc * f, di, df, dg, do)
                return after, after

            d_h = named.get("upstream", upstream[0])
            steps = (d_h, live, c, before(c), i, f, g, o)
            _, (_, _, *gates) = ops.scan(backward, (zero,) * 6, steps, reverse=True)
            dz = ops.concatenate(gates, axis=-1)
            flat = ops.reshape(before(h), (-1, units))
            return dz, ops.matmul(ops.transpose(flat), ops.reshape(dz, (-1, 4 * units)))

        return h, gradient

    return run(ops.convert_to_tensor(x), ops.add(kernel, 0.0))  # a tensor: TensorFlow would miss a variable's gradient


PACKAGE = "encore.dtnmr"
"""Of the layers here, in files of Keras."""
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


def summed_rows(kernel: Any, bits: Any, rows: Any, count: Any) -> Any:
    """(count, H): multi-hot vectors, given as ``bits`` (N,) of the vectors ``rows`` (N,), times ``kernel``."""
    return ops.segment_sum(ops.take(kernel, bits, axis=0), rows, num_segments=count)


@keras.saving.register_keras_serializable(PACKAGE)
class MultiHot(keras.layers.Layer):
    """The product of multi-hot vectors with a kernel, which stays in float32.

    Args:
        width: columns of the vectors.
        units: of the product.
    """

    def __init__(self, width: int, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.width, self.units = width, units

    def build(self, bits_shape: Any, rows_shape: Any, like_shape: Any) -> None:
        """Make the weights."""
        self.kernel = self.add_weight((self.width, self.units), "zeros", name="kernel", autocast=False)

    def call(self, bits: Any, rows: Any, like: Any) -> Any:
        """(n, units) of vectors whose columns are ``bits`` (N,) of the vectors ``rows`` (N,); ``like`` is (n, ...)."""
        return ops.cast(summed_rows(self.kernel, bits, rows, ops.shape(like)[0]), self.compute_dtype)

    def compute_output_shape(self, bits_shape: Any, rows_shape: Any, like_shape: Any) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return (like_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"width": self.width, "units": self.units}


@keras.saving.register_keras_serializable(PACKAGE)
class FirstLayer(keras.layers.Layer):
    """What the first dense layer of a tower adds to the product of its multi-hot input: a bias, and of songs length.

    Args:
        units: of the layer.
        reads_length: whether the input has a length, too, with a row of the kernel of its own.
    """

    def __init__(self, units: int, reads_length: bool, **options: Any) -> None:
        super().__init__(**options)
        self.units, self.reads_length = units, reads_length

    def build(self, product_shape: Any, lengths_shape: Any = None) -> None:
        """Make the weights."""
        self.bias = self.add_weight((self.units,), "zeros", name="bias")
        self.length = self.add_weight((1, self.units), "zeros", name="length") if self.reads_length else None

    def call(self, product: Any, lengths: Any = None) -> Any:
        """relu of the product (n, units) + length (n,) times its row + bias."""
        if self.length is not None:
            product = product + ops.expand_dims(lengths, 1) * self.length
        return ops.relu(product + self.bias)

    def compute_output_shape(self, product_shape: Any, lengths_shape: Any = None) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return tuple(product_shape)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"units": self.units, "reads_length": self.reads_length}


@keras.saving.register_keras_serializable(PACKAGE)
class SongsAt(keras.layers.Layer):
    """The vectors of the songs at places of a batch's distinct songs."""

    def call(self, songs: Any, places: Any) -> Any:
        """(..., E) of songs (S, E) and places (...)."""
        return ops.take(songs, places, axis=0)

    def compute_output_shape(self, songs_shape: Any, places_shape: Any) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return (*places_shape, songs_shape[-1])


@keras.saving.register_keras_serializable(PACKAGE)
class History(keras.layers.Layer):
    """The last songs that were heard, each with how it was come by, as a sequence of steps.

    Args:
        length: how many songs.
        behaviours: ways to come by a song.
    """

    def __init__(self, length: int, behaviours: int, **options: Any) -> None:
        super().__init__(**options)
        self.length, self.behaviours = length, behaviours

    def call(self, songs: Any, behaviours: Any, live: Any) -> tuple[Any, Any]:
        """(T, B, E + behaviours) and live (T, B, 1) of songs (B, L, E), behaviours (B, L) and live (B, L)."""
        how = ops.one_hot(behaviours, self.behaviours, dtype=songs.dtype)  # (B, L, behaviours); -1: zeros
        x = ops.transpose(ops.concatenate([songs, how], axis=-1), (1, 0, 2))  # (L, B, E + behaviours)
        live = ops.expand_dims(ops.transpose(live), -1)  # (L, B, 1)
        return x[-self.length :], live[-self.length :]

    def compute_output_shape(self, songs_shape: Any, behaviours_shape: Any, live_shape: Any) -> tuple[Any, Any]:
        """See :meth:`call`."""
        steps, rows = self.length, songs_shape[0]
        return (steps, rows, songs_shape[-1] + self.behaviours), (steps, rows, 1)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"length": self.length, "behaviours": self.behaviours}


@keras.saving.register_keras_serializable(PACKAGE)
class HistoryLSTM(keras.layers.Layer):
    """An LSTM layer over sequences that begin late, see :func:`dtnmr.model.lstm`; with two biases, as PyTorch's has.

    Args:
        units: H.
    """

    def __init__(self, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.units = units

    def build(self, x_shape: Any, live_shape: Any) -> None:
        """Make the weights."""
        width = 4 * self.units
        self.input_kernel = self.add_weight((x_shape[-1], width), "zeros", name="input")
        self.recurrent = self.add_weight((self.units, width), "zeros", name="recurrent")
        self.input_bias = self.add_weight((width,), "zeros", name="input_bias")
        self.recurrent_bias = self.add_weight((width,), "zeros", name="recurrent_bias")

    def call(self, x: Any, live: Any) -> Any:
        """Hidden states (T, B, H) of x (T, B, inputs) and live (T, B, 1)."""
        steps, _, inputs = x.shape
        flat = ops.matmul(ops.reshape(x, (-1, inputs)), self.input_kernel) + (self.input_bias + self.recurrent_bias)
        return lstm(ops.reshape(flat, (steps, -1, 4 * self.units)), self.recurrent, live)

    def compute_output_shape(self, x_shape: Any, live_shape: Any) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return (*x_shape[:2], self.units)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"units": self.units}


@keras.saving.register_keras_serializable(PACKAGE)
class Last(keras.layers.Layer):
    """The last step of a sequence."""

    def call(self, states: Any) -> Any:
        """(B, H) of (T, B, H)."""
        return states[-1]

    def compute_output_shape(self, states_shape: Any) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return tuple(states_shape[1:])


@keras.saving.register_keras_serializable(PACKAGE)
class Rate(keras.layers.Layer):
    """RC: the scores of songs for users.

    Args:
        rating: how the two meet, see the module.
    """

    def __init__(self, rating: Rating, **options: Any) -> None:
        super().__init__(**options)
        self.rating = rating

    def build(self, user_shape: Any, songs_shape: Any) -> None:
        """Make the weights."""
        size = user_shape[-1]
        units = 1 if self.rating == "linear" else 2 * size
        shapes = {"user": (size, units), "song": (size, units), "bias": (units,)} if self.rating != "dot" else {}
        shapes |= {"kernel": (units, 1), "out": (1,)} if self.rating == "mlp" else {}
        self.named = {name: self.add_weight(shape, "zeros", name=name) for name, shape in shapes.items()}

    def call(self, user: Any, songs: Any) -> Any:
        """(B, C) of users (B, E) and the candidates of each (B, C, E); or (B, S) of users and all songs (S, E)."""
        w, every = self.named, len(songs.shape) == 2
        if self.rating == "dot":
            if every:
                return ops.matmul(user, ops.transpose(songs))
            return ops.squeeze(ops.matmul(songs, ops.expand_dims(user, -1)), -1)
        of_user = ops.expand_dims(ops.matmul(user, w["user"]) + w["bias"], 1)  # (B, 1, units)
        of_songs = ops.matmul(songs, w["song"])
        x = of_user + (of_songs[None] if every else of_songs)  # (B, C, units)
        if self.rating == "mlp":
            x = ops.matmul(ops.relu(x), w["kernel"]) + w["out"]  # (B, C, 1)
        return ops.squeeze(x, -1)

    def compute_output_shape(self, user_shape: Any, songs_shape: Any) -> tuple[Any, ...]:
        """See :meth:`call`."""
        return (user_shape[0], songs_shape[-2])

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"rating": self.rating}


class Networks:
    """The networks over one set of weights.

    Args:
        architecture: see there.
        seed: of the initial weights: uniform in +-1 / sqrt(inputs) for dense layers, +-1 / sqrt(H) for the LSTM, both
            with their biases, as PyTorch draws them.

    Attributes:
        named: weight name -> variable, see :meth:`Architecture.shapes`.
        whole: functional model of a dict with the arrays of :class:`Inputs`, of the scores (B, C): the one that is
            saved and exported.
    """

    def __init__(self, architecture: Architecture, seed: int = 1) -> None:
        self.architecture = a = architecture
        self.columns = {
            "user": MultiHot(a.user_width + a.song_width, a.mlp[0], name="user_columns"),
            "song": MultiHot(a.song_width, a.mlp[0], name="song_columns"),
        }
        self.tower = {name: self._dense_layers(name) for name in ("user", "song")}
        self.songs_at = SongsAt(name="songs_at")
        lengths = {"long_history": a.long_length, "short_history": a.short_length}
        self.histories = [History(length, a.behaviours, name=name) for name, length in lengths.items()]
        self.lstm = [HistoryLSTM(a.lstm, name=f"lstm_{i}") for i in range(1, a.lstm_layers + 1)]
        self.last = Last(name="last")
        self.head = [
            _dense(a.lstm, None, "head_1"),
            _dense(a.embedding, "relu" if a.final_relu else None, "head_2"),
        ]
        self.rating = Rate(a.rating, name="rating")
        self._inputs = {
            name: keras.Input(shape, dtype=dtype, name=name)
            for name, shape, dtype in (
                ("song_bits", (), "int32"),
                ("song_rows", (), "int32"),
                ("lengths", (), "float32"),
                ("user_bits", (), "int32"),
                ("user_rows", (), "int32"),
                ("history", (a.long_length,), "int32"),
                ("behaviours", (a.long_length,), "int32"),
                ("live", (a.long_length,), "float32"),
                ("candidates", (None,), "int32"),
            )
        }
        given = Inputs(**self._inputs)
        product = self.columns["song"](given.song_bits, given.song_rows, given.lengths)
        self._songs = self.music(product, given.lengths)
        self._static = self.static(self.columns["user"](given.user_bits, given.user_rows, given.history))
        dynamic = self.dynamic(self.songs_at(self._songs, given.history), given.behaviours, given.live)
        user = keras.layers.Add(name="user")([self._static, dynamic])
        scores = self.rating(user, self.songs_at(self._songs, given.candidates))
        self.whole = keras.Model(self._inputs, scores, name="dtnmr")
        named = self._variables()
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape in a.shapes().items():
            bound = 1.0 / np.sqrt(_inputs(a, name))
            self.named[name] = named[name]
            named[name].assign(rng.uniform(-bound, bound, shape).astype(np.float32))

    def _dense_layers(self, name: str) -> list[Any]:
        """The layers of USFC ("user") or MFC ("song") above the product of the multi-hot input."""
        a = self.architecture
        layers = [FirstLayer(a.mlp[0], name == "song", name=f"{name}_1")]
        for i, units in enumerate((*a.mlp[1:], a.embedding), 2):
            last = i == len(a.mlp) + 1
            activation = "relu" if a.final_relu or not last else None
            layers.append(_dense(units, activation, f"{name}_{i}"))
        return layers

    def _variables(self) -> dict[str, keras.Variable]:
        found: dict[str, keras.Variable] = {"song.length": self.tower["song"][0].length}
        for name, (_, *layers) in self.tower.items():
            found |= {f"{name}.0.kernel": self.columns[name].kernel, f"{name}.0.bias": self.tower[name][0].bias}
            for i, layer in enumerate(layers, 1):
                found |= {f"{name}.{i}.kernel": layer.kernel, f"{name}.{i}.bias": layer.bias}
        for i, layer in enumerate(self.lstm):
            found |= {f"lstm.{i}.input": layer.input_kernel, f"lstm.{i}.recurrent": layer.recurrent}
            found |= {f"lstm.{i}.input_bias": layer.input_bias, f"lstm.{i}.recurrent_bias": layer.recurrent_bias}
        for i, layer in enumerate(self.head):
            found |= {f"head.{i}.kernel": layer.kernel, f"head.{i}.bias": layer.bias}
        return found | {f"rating.{name}": variable for name, variable in self.rating.named.items()}

    @cached_property
    def parts(self) -> dict[str, keras.Model]:
        """The functional models MFC, USFC, UDFC and RC. Of ``history`` USFC reads only how many users there are."""
        a, of = self.architecture, self._inputs
        songs = keras.Input((a.long_length, a.embedding), name="songs")
        dynamic = self.dynamic(songs, of["behaviours"], of["live"])
        user, candidates = keras.Input((a.embedding,), name="user"), keras.Input((None, a.embedding), name="songs")
        models = {
            "MFC": (("song_bits", "song_rows", "lengths"), {}, self._songs),
            "USFC": (("user_bits", "user_rows", "history"), {}, self._static),
            "UDFC": (("behaviours", "live"), {"songs": songs}, dynamic),
            "RC": ((), {"user": user, "songs": candidates}, self.rating(user, candidates)),
        }
        return {
            name: keras.Model({name: of[name] for name in names} | own, output, name=name.lower())
            for name, (names, own, output) in models.items()
        }

    def music(self, product: Any, lengths: Any) -> Any:
        """MFC: vectors (S, E) of songs from the product (S, 512) of their bits and their lengths (S,)."""
        first, *others = self.tower["song"]
        return _through(others, first(product, lengths))

    def static(self, product: Any) -> Any:
        """USFC: vectors (B, E) of users from the product (B, 512) of their bits."""
        return _through(self.tower["user"], product)

    def dynamic(self, songs: Any, behaviours: Any, live: Any, masks: Sequence[Masks] | None = None) -> Any:
        """UDFC: long plus short preference (B, E) from songs (B, L, E), behaviours (B, L) and live (B, L)."""
        preferences = []
        for number, history in enumerate(self.histories):
            x, on = history(songs, behaviours, live)
            for i, layer in enumerate(self.lstm):
                x = layer(x, on)  # (T, B, H)
                if masks and layer is not self.lstm[-1]:
                    x = x * ops.cast(masks[number].between[i], x.dtype)
            x = self.head[0](self.last(x))  # (B, H); there is no ReLU between the two
            preferences.append(self.head[1](x * ops.cast(masks[number].head, x.dtype) if masks else x))  # (B, E)
        return preferences[0] + preferences[1]

    def users(self, product: Any, songs: Any, inputs: Inputs, masks: Sequence[Masks] | None = None) -> Any:
        """USFC + UDFC: vectors (B, E) of users from the product (B, 512) of their bits and the songs' (S, E)."""
        heard = self.songs_at(songs, inputs.history)  # (B, L, E)
        return self.static(product) + self.dynamic(heard, inputs.behaviours, inputs.live, masks)

    def __call__(self, inputs: Inputs) -> Any:
        """Scores (B, C) of the candidates of a batch."""
        return self.whole({name: ops.convert_to_tensor(array) for name, array in inputs._asdict().items()})


def _dense(units: int, activation: str | None, name: str) -> Any:
    """A dense layer whose weights are zero at first: Keras's own initial ones would draw from the process's seeds."""
    return keras.layers.Dense(units, activation, kernel_initializer="zeros", name=name)


def _through(layers: Sequence[Any], x: Any) -> Any:
    for layer in layers:
        x = layer(x)
    return x


def _inputs(architecture: Architecture, name: str) -> int:
    """Number of inputs of the layer that a weight belongs to, which PyTorch scales its initial values by."""
    if name.startswith("lstm."):
        return architecture.lstm  # by the hidden units, also those of the input
    if name.startswith("rating."):
        return 2 * architecture.embedding  # of [user | song], and of the mlp's hidden layer
    if name in ("song.length", "song.0.kernel", "song.0.bias"):
        return 1 + architecture.song_width
    return architecture.shapes()[name.rsplit(".", 1)[0] + ".kernel"][0]
