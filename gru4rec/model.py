"""GRU4Rec: the next item of a session, from a GRU over the items so far.

Hidasi, Karatzoglou, Baltrunas, Tikk: "Session-based Recommendations with Recurrent Neural Networks" (ICLR 2016, arXiv
1511.06939); Hidasi, Karatzoglou: "Recurrent Neural Networks with Top-k Gains" (CIKM 2018, arXiv 1706.03847).

    input     x = E[item]                       a row of an embedding table, or the track's features
    GRU       h' = GRU(x, h)                    one or more layers, one step per event
    score     s_j = h' . Wy[j] + By[j]          of every item j asked for

Five kinds of input: ``shared`` (E is Wy itself: the constrained embedding), ``separate`` (E of its own), ``one-hot``
(the item's row of the first layer's input weights), ``content`` (features of the track) and ``content-mlp`` (two layers
of 64 over them), the last two from the Spotify project. Two GRUs: ``original`` (Cho et al. 2014, as in the Theano and
TensorFlow code) applies the reset gate before the recurrent product, ``cudnn`` (as in the PyTorch code) after it.

The networks are functional Keras models over one set of weights: ``step`` (item, states -> scores of all items, states)
and its middle, ``core`` (input row, states -> states), which training and evaluation call with rows of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from gru4rec.options import MLP_UNITS, Architecture, GruKind


@keras.saving.register_keras_serializable("encore")
class GRUStep(keras.layers.Layer):
    """One step of a GRU layer: input x, state h -> new state h'.

    ================  =======================================================================
    original          r, z = sigmoid(x_{r,z} + h W_rz);  c = tanh(x_c + (r h) W_h);  h' = (1 - z) h + z c
    cudnn             r, z = sigmoid(x_{r,z} + h_{r,z});  c = tanh(x_c + r h_c);     h' = (1 - z) c + z h
    ================  =======================================================================

    Note that z means the opposite in them. x_{c,r,z} = x W_x + B_x and, of ``cudnn``, h_{c,r,z} = h W_h + B_h: blocks
    of columns in this order.

    Args:
        units: H.
        gru: which of the two.
        projected: x is (B, 3 H), a row of W_x already (one-hot), so that the layer has no W_x.
    """

    def __init__(self, units: int, gru: GruKind = "original", projected: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.units, self.gru, self.projected = units, gru, projected

    def build(self, x_shape: tuple[int, ...], h_shape: tuple[int, ...]) -> None:
        """Make the weights."""
        units = self.units
        shapes: dict[str, tuple[int, ...]] = {} if self.projected else {"Wx": (x_shape[-1], 3 * units)}
        shapes |= {"Bx": (3 * units,)}
        shapes |= {"Wrz": (units, 2 * units)} if self.gru == "original" else {"Bh": (3 * units,)}
        shapes |= {"Wh": (units, units if self.gru == "original" else 3 * units)}
        self.named = {name: self.add_weight(shape, "zeros", name=name) for name, shape in shapes.items()}

    def call(self, x: Any, h: Any) -> Any:
        """New state (B, H)."""
        w = self.named
        x_c, x_r, x_z = ops.split((x if self.projected else ops.matmul(x, w["Wx"])) + w["Bx"], 3, axis=-1)
        if self.gru == "original":
            h_r, h_z = ops.split(ops.matmul(h, w["Wrz"]), 2, axis=-1)
            r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
            c = ops.tanh(x_c + ops.matmul(r * h, w["Wh"]))
            return (1.0 - z) * h + z * c
        h_c, h_r, h_z = ops.split(ops.matmul(h, w["Wh"]) + w["Bh"], 3, axis=-1)
        r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
        return (1.0 - z) * ops.tanh(x_c + r * h_c) + z * h

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"units": self.units, "gru": self.gru, "projected": self.projected}


@keras.saving.register_keras_serializable("encore")
class Items(keras.layers.Layer):
    """A row Wy[j] and a bias By[j] of every item j: its score after a state, and with shared inputs what the GRU reads.

    Args:
        num_items: number of items.
        units: numbers in a row.
    """

    def __init__(self, num_items: int, units: int, **options: Any) -> None:
        super().__init__(**options)
        self.num_items, self.units = num_items, units

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the weights."""
        shapes = {"Wy": (self.num_items, self.units), "By": (self.num_items, 1)}
        self.named = {
            name: self.add_weight(shape, "zeros", name=name, autocast=False) for name, shape in shapes.items()
        }

    def call(self, inputs: Any, scores: bool = False) -> Any:
        """Rows of items (B,); or, with ``scores``, those of all items (B, items) after states (B, H)."""
        if scores:
            return score(inputs, self.named["Wy"], self.named["By"])
        return ops.cast(ops.take(self.named["Wy"], inputs, axis=0), self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """What the constructor takes."""
        return super().get_config() | {"num_items": self.num_items, "units": self.units}


def score(states: Any, rows: Any, biases: Any) -> Any:
    """Scores (B, n) float32 of items with rows (n, H) and biases (n, 1) after states (B, H), whose precision counts."""
    product = ops.matmul(states, ops.transpose(ops.cast(rows, states.dtype)))
    return ops.cast(product, biases.dtype) + biases[:, 0]


class Core:
    """From an input row to the new state of each GRU layer: the layers, and the network that they make.

    Args:
        architecture: see there.
        dtype: of the layers; None is Keras's dtype policy.

    Attributes:
        named: weight name -> variable, see :meth:`Architecture.shapes`; the tables are not among them.
        network: functional model of a dict, ``x`` (B, width) and ``state_1`` ..., of a dict with the new states.
    """

    def __init__(self, architecture: Architecture, dtype: Any = None) -> None:
        self.architecture = a = architecture
        mlp = a.inputs == "content-mlp"
        self.mlp = [
            keras.layers.Dense(MLP_UNITS, "relu", dtype=dtype, name=f"mlp_{i}") for i in ((1, 2) if mlp else ())
        ]
        self.steps = [
            GRUStep(units, a.gru, a.inputs == "one-hot" and i == 1, dtype=dtype, name=f"gru_{i}")
            for i, units in enumerate(a.layers, 1)
        ]
        x = keras.Input((a.width,), dtype=dtype, name="x")
        states = self.state_inputs(dtype)
        after = self(x, list(states.values()))
        self.network = keras.Model({"x": x} | states, dict(zip(states, after, strict=True)), name="gru4rec_core")
        self.named: dict[str, keras.Variable] = {}
        for i, layer in enumerate(self.mlp):
            self.named |= {f"D{i}": layer.kernel, f"d{i}": layer.bias}
        for i, layer in enumerate(self.steps):
            self.named |= {f"{name}{i}": variable for name, variable in layer.named.items()}

    def state_inputs(self, dtype: Any = None) -> dict[str, Any]:
        """Inputs of a functional model for the states, by name."""
        names = [f"state_{i}" for i in range(1, 1 + len(self.steps))]
        return {n: keras.Input((s.units,), dtype=dtype, name=n) for n, s in zip(names, self.steps, strict=True)}

    def __call__(self, x: Any, hidden: Sequence[Any], masks: Sequence[Any] | None = None) -> list[Any]:
        """Take one event of every session in.

        Args:
            x: (B, width) rows of the input table, or features.
            hidden: (B, H) of each layer.
            masks: dropout in training: factors for x, then for the output of each layer, which is what is carried on.

        Returns:
            The new hidden states; the last one is scored against items.
        """
        for layer in self.mlp:
            x = layer(x)
        if masks and self.architecture.inputs != "one-hot":  # a row of Wx0 is no embedding, so nothing of it is dropped
            x = x * ops.cast(masks[0], x.dtype)
        after = []
        for i, (step, h) in enumerate(zip(self.steps, hidden, strict=True)):
            x = step(x, h)
            if masks:
                x = x * ops.cast(masks[i + 1], x.dtype)
            after.append(x)
        return after


class Networks:
    """The networks over one set of weights.

    Args:
        architecture: see there.
        features: (items, features) for the content inputs: part of the network, but not trained.
        seed: of the initial weights: uniform in +-sqrt(6 / (rows + columns)) of each gate's block; biases 0.

    Attributes:
        named: weight name -> variable, see :meth:`Architecture.shapes`.
        step: functional model of a dict, ``item`` (B,) and ``state_1`` ... (B, H), of a dict, ``scores`` (B, items)
            and the new states: the one that is saved and exported.
        core: its middle, without the tables; see :class:`Core`.
    """

    def __init__(self, architecture: Architecture, features: np.ndarray | None = None, seed: int = 42) -> None:
        self.architecture = a = architecture
        self.core = Core(a)
        items = Items(a.num_items, a.layers[-1], name="items")
        self.inputs_of = (
            items
            if a.inputs == "shared"
            else keras.layers.Embedding(
                a.num_items, a.width, "zeros", trainable=a.input_table is not None, name=a.input_table or "features"
            )
        )
        item, states = keras.Input((), dtype="int32", name="item"), self.core.state_inputs()
        after = self.core(self.inputs_of(item), list(states.values()))
        found = {"scores": items(after[-1], scores=True)} | dict(zip(states, after, strict=True))
        self.step = keras.Model({"item": item} | states, found, name="gru4rec_step")
        named = items.named | self.core.named
        if a.inputs != "shared":
            table = self.inputs_of.weights[0]
            if a.input_table:
                named[a.input_table] = table
            elif features is not None:
                table.assign(features)
        self.features = None if a.input_table else self.inputs_of.weights[0]
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape in a.shapes().items():
            self.named[name] = named[name]
            named[name].assign(initial(rng, name, shape))

    @property
    def tables(self) -> list[str]:
        """Names of the weights with a row for each item."""
        return [name for name in self.named if name not in self.core.named]

    @property
    def source(self) -> keras.Variable:
        """(items, width): what the GRU reads of each item, rows of the input table or features."""
        table = self.architecture.input_table
        return self.named[table] if table else self.features

    def start(self, rows: int) -> list[Any]:
        """Hidden states before the first event."""
        return [ops.zeros((rows, units)) for units in self.architecture.layers]

    def __call__(self, items: Any, hidden: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Scores of all items (B, items) after one more event in each session, and the new hidden states."""
        states = {f"state_{i}": ops.convert_to_tensor(h) for i, h in enumerate(hidden, 1)}
        found = self.step({"item": ops.convert_to_tensor(items)} | states)
        return found["scores"], [found[name] for name in states]


def initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Initial values of a weight: zero for a bias, else uniform by the size of a gate's block."""
    if len(shape) == 1 or name == "By":
        return np.zeros(shape, np.float32)
    gates = shape[1] // shape[0] if name.startswith(("Wrz", "Wh")) else 3 if name.startswith("Wx") else 1
    bound = np.sqrt(6.0 / (shape[0] + shape[1] // gates))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
