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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from common.options import UserError
from common.rundir import read_run
from gru4rec.kinds import GruKind, InputKind

MLP_UNITS = 64
Weights = Mapping[str, Any]
"""Weight name -> tensor; the rows of a table may be just those that a step needs."""


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a model."""

    num_items: int
    layers: tuple[int, ...] = (100,)
    inputs: InputKind = "shared"
    embedding: int = 64
    """Size of the separate embedding; of no effect otherwise."""
    features: int = 29
    """Features of a track for the content inputs."""
    gru: GruKind = "original"

    @property
    def input_table(self) -> str | None:
        """Name of the table whose rows are the inputs; None for the content inputs."""
        return {"shared": "Wy", "separate": "E", "one-hot": "Wx0"}.get(self.inputs)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight; tables with a row per item are Wy, By, E and (one-hot) Wx0."""
        size = {"shared": self.layers[-1], "separate": self.embedding, "content": self.features}
        shapes: dict[str, tuple[int, ...]] = {"Wy": (self.num_items, self.layers[-1]), "By": (self.num_items, 1)}
        width = size.get(self.inputs, MLP_UNITS)
        if self.inputs == "separate":
            shapes["E"] = (self.num_items, self.embedding)
        if self.inputs == "content-mlp":
            shapes |= {"D0": (self.features, MLP_UNITS), "d0": (MLP_UNITS,)}
            shapes |= {"D1": (MLP_UNITS, MLP_UNITS), "d1": (MLP_UNITS,)}
        for i, units in enumerate(self.layers):
            first = self.num_items if i == 0 and self.inputs == "one-hot" else width
            shapes |= {f"Wx{i}": (first, 3 * units), f"Bx{i}": (3 * units,)}
            if self.gru == "original":
                shapes |= {f"Wrz{i}": (units, 2 * units), f"Wh{i}": (units, units)}
            else:
                shapes |= {f"Wh{i}": (units, 3 * units), f"Bh{i}": (3 * units,)}
            width = units
        return shapes


def architecture_of_run(folder: Path) -> Architecture:
    """The architecture that the ``options.json`` of a run describes.

    Raises:
        UserError: it is missing, or not of a training run of GRU4Rec.
    """
    try:
        described = dict(read_run(folder)["architecture"])
        return Architecture(**(described | {"layers": tuple(described["layers"])}))
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{folder / 'options.json'}: not of a training run of gru4rec/train.py") from None


def gru(kind: GruKind, weights: Weights, layer: int, x: Any, h: Any) -> Any:
    """One step of a GRU layer.

    ================  =======================================================================
    original          r, z = sigmoid(x_{r,z} + h W_rz);  c = tanh(x_c + (r h) W_h);  h' = (1 - z) h + z c
    cudnn             r, z = sigmoid(x_{r,z} + h_{r,z});  c = tanh(x_c + r h_c);     h' = (1 - z) c + z h
    ================  =======================================================================

    Args:
        kind: which of the two; note that z means the opposite in them.
        weights: see :meth:`Architecture.shapes`.
        layer: number of the layer.
        x: (B, 3 H) projected input, bias included: blocks c, r, z.
        h: (B, H) state before.
    """
    x_c, x_r, x_z = ops.split(x, 3, axis=-1)
    if kind == "original":
        h_r, h_z = ops.split(ops.matmul(h, weights[f"Wrz{layer}"]), 2, axis=-1)
        r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
        c = ops.tanh(x_c + ops.matmul(r * h, weights[f"Wh{layer}"]))
        return (1.0 - z) * h + z * c
    h_c, h_r, h_z = ops.split(ops.matmul(h, weights[f"Wh{layer}"]) + weights[f"Bh{layer}"], 3, axis=-1)
    r, z = ops.sigmoid(x_r + h_r), ops.sigmoid(x_z + h_z)
    return (1.0 - z) * ops.tanh(x_c + r * h_c) + z * h


def advance(
    architecture: Architecture,
    weights: Weights,
    x: Any,
    hidden: Sequence[Any],
    masks: Sequence[Any] | None = None,
) -> list[Any]:
    """Take one event of every session in.

    Args:
        architecture: the model's.
        weights: of the GRU and of the MLP.
        x: (B, width) rows of the input table, or features.
        hidden: (B, H) of each layer.
        masks: dropout in training: factors for x, then for the output of each layer, which is what is carried on.

    Returns:
        The new hidden states; the last one is scored against items.
    """
    masks = masks or [1.0] * (1 + len(architecture.layers))
    if architecture.inputs == "content-mlp":
        for i in range(2):
            x = ops.relu(ops.matmul(x, weights[f"D{i}"]) + weights[f"d{i}"])
    after = []
    for i, h in enumerate(hidden):
        if i == 0 and architecture.inputs == "one-hot":
            projected = x + weights["Bx0"]  # x is the row of Wx0 already; it is no embedding, so nothing is dropped
        else:
            projected = ops.matmul(x * masks[0] if i == 0 else x, weights[f"Wx{i}"]) + weights[f"Bx{i}"]
        x = gru(architecture.gru, weights, i, projected, h) * masks[i + 1]
        after.append(x)
    return after


class GRU4Rec(keras.Model):
    """The weights of a model, and its use one event at a time.

    Args:
        architecture: see there.
        features: (items, features) for the content inputs: part of the model, but not trained.
        seed: of the initial weights: uniform in +-sqrt(6 / (rows + columns)) of each gate's block; biases 0.
    """

    def __init__(self, architecture: Architecture, features: np.ndarray | None = None, seed: int = 42) -> None:
        super().__init__(name="gru4rec")
        self.architecture = architecture
        self.features = features
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape in architecture.shapes().items():
            values = initial(rng, name, shape)
            self.named[name] = self.add_weight(shape=shape, initializer="zeros", name=name)
            self.named[name].assign(values)
        self.built = True

    @property
    def tables(self) -> list[str]:
        """Names of the weights with a row for each item."""
        return [name for name in ("Wy", "By", "E", "Wx0") if name in self.named and self._is_table(name)]

    def _is_table(self, name: str) -> bool:
        return name != "Wx0" or self.architecture.inputs == "one-hot"

    def inputs_of(self, items: Any) -> Any:
        """What the GRU reads of items (B,): rows of the input table, or features."""
        table = self.architecture.input_table
        source = self.named[table] if table else self.features
        return ops.take(ops.convert_to_tensor(source), items, axis=0)

    def start(self, rows: int) -> list[Any]:
        """Hidden states before the first event."""
        return [ops.zeros((rows, units)) for units in self.architecture.layers]

    def call(self, items: Any, hidden: Sequence[Any]) -> tuple[Any, list[Any]]:
        """Scores of all items (B, items) after one more event in each session, and the new hidden states."""
        hidden = advance(self.architecture, self.named, self.inputs_of(items), hidden)
        return ops.matmul(hidden[-1], ops.transpose(self.named["Wy"])) + self.named["By"][:, 0], hidden


def initial(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Initial values of a weight: zero for a bias, else uniform by the size of a gate's block."""
    if len(shape) == 1 or name == "By":
        return np.zeros(shape, np.float32)
    gates = shape[1] // shape[0] if name.startswith(("Wrz", "Wh")) else 3 if name.startswith("Wx") else 1
    bound = np.sqrt(6.0 / (shape[0] + shape[1] // gates))
    return rng.uniform(-bound, bound, shape).astype(np.float32)
