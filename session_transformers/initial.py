"""Start weights of the session transformers, as torch draws them; and which name torch gives to each weight.

Both follow one list, :func:`slots`: torch's name of every array and the variables it is made of.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import numpy as np

from common.options import require
from session_transformers.architecture import Architecture

Scheme = Literal["torch", "normal"]
"""``torch``: as the released code; ``normal``: N(0, 0.02) for every table and matrix, as in BERT."""


class Slot(NamedTuple):
    """An array of torch's and its place here."""

    variables: tuple[Any, ...]
    """The variables that it stacks along its first axis, each transposed if it is a kernel."""
    kernel: bool = False

    def shape(self) -> tuple[int, ...]:
        """Of torch's array."""
        parts = [tuple(v.shape)[::-1] if self.kernel else tuple(v.shape) for v in self.variables]
        return (sum(part[0] for part in parts), *parts[0][1:])

    def put(self, array: np.ndarray) -> None:
        """Copy torch's array into the variables."""
        ends = np.cumsum([v.shape[-1] if self.kernel else v.shape[0] for v in self.variables])
        for variable, part in zip(self.variables, np.split(array, ends[:-1]), strict=True):
            variable.assign(part.T if self.kernel else part)

    def join(self, arrays: list[Any]) -> np.ndarray:
        """Torch's array from arrays of the variables' shapes: their values, or gradients."""
        parts = [np.asarray(array) for array in arrays]
        return np.concatenate([part.T if self.kernel else part for part in parts])

    def get(self) -> np.ndarray:
        """Torch's array from the variables."""
        return self.join([variable.value for variable in self.variables])


def _linear(name: str, dense: Any) -> dict[str, Slot]:
    return {f"{name}.weight": Slot((dense.kernel,), kernel=True), f"{name}.bias": Slot((dense.bias,))}


def _norm(name: str, norm: Any) -> dict[str, Slot]:
    return {f"{name}.weight": Slot((norm.gamma,)), f"{name}.bias": Slot((norm.beta,))}


def _attention(name: str, attention: Any) -> dict[str, Slot]:
    parts = (attention.query, attention.key_value)
    return {
        f"{name}.in_proj_weight": Slot(tuple(part.kernel for part in parts), kernel=True),
        f"{name}.in_proj_bias": Slot(tuple(part.bias for part in parts)),
        **_linear(f"{name}.out_proj", attention.out),
    }


def _layer(name: str, layer: Any, decoder: bool) -> dict[str, Slot]:
    attentions = {"self_attn": layer.self_attention if decoder else layer.attention}
    if decoder:
        attentions["multihead_attn"] = layer.attention
    if layer.bert_attention is not None:
        attentions["multihead_attn_bert" if decoder else "self_attn_bert"] = layer.bert_attention
    found: dict[str, Slot] = {}
    for kind, attention in attentions.items():
        found |= _attention(f"{name}.{kind}", attention)
    found |= _linear(f"{name}.linear1", layer.inner) | _linear(f"{name}.linear2", layer.outer)
    for number in range(1, 4 if decoder else 3):
        found |= _norm(f"{name}.norm{number}", getattr(layer, f"norm{number}"))
    return found


def slots(model: Any) -> dict[str, Slot]:
    """Torch's names of the weights of ``model``, but those of the BERT inside an augmented one.

    Where the released code has one final norm and the model two, they are called ``encoder_norm`` and ``decoder_norm``.
    """
    architecture, embedding = model.architecture, model.embedding
    one = architecture.whole
    prefix = "transformer." if one else "transformer_"
    tracks = "embed_src" if architecture.is_bert else "track_feat_embed" if one else "track_embed"
    positions = "pos_enc" if architecture.is_bert else "pos_embed"
    found = {f"{tracks}.weight": Slot((embedding.tracks,)), f"{positions}.weight": Slot((embedding.positions,))}
    if embedding.features is not None:
        found["feat_embed.weight"] = Slot((embedding.features,))
    if embedding.skips is not None:
        found["skip_embed.weight"] = Slot((embedding.skips,))
    for i, layer in enumerate(model.encoder):
        found |= _layer(f"{prefix}encoder.layers.{i}", layer, decoder=False)
    if not architecture.is_bert:
        for i, layer in enumerate(model.decoder):
            found |= _layer(f"{prefix}decoder.layers.{i}", layer, decoder=True)
        if architecture.one_norm:
            found |= _norm("layer_norm", model.encoder_norm)
        else:
            names = (f"{prefix}encoder.norm", f"{prefix}decoder.norm") if one else ("encoder_norm", "decoder_norm")
            found |= _norm(names[0], model.encoder_norm) | _norm(names[1], model.decoder_norm)
    if model.head.kernel is not None:
        found["fc.weight"] = Slot((model.head.kernel,))
    found["fc.bias"] = Slot((model.head.bias,))
    return found


def initialise(model: Any, seed: int, scheme: Scheme = "torch", features: np.ndarray | None = None) -> None:
    """Draw the start weights of ``model``; those of the BERT inside an augmented one are left alone.

    Args:
        model: a session transformer.
        seed: of the draws.
        scheme: see :data:`Scheme`.
        features: (V, columns) start of the feature table, for the switch ``load_features``.

    Raises:
        UserError: features are missing or of another shape.
    """
    architecture = model.architecture
    load = architecture.switches.load_features and architecture.features > 0
    if load:
        expected, found = (architecture.vocabulary, architecture.features), getattr(features, "shape", None)
        require(found == expected, f"the feature table must have shape {expected}; found {found}")
    rng = np.random.default_rng(seed)
    equal: dict[str, np.ndarray] = {}
    for name, slot in slots(model).items():
        if load and name == "feat_embed.weight":
            slot.put(np.asarray(features, np.float32))
            continue
        values = draw(rng, name, slot.shape(), architecture, scheme)
        # Torch's nn.Transformer draws all its matrices anew, so that its copies of a layer are no longer equal.
        if architecture.switches.equal_layers and not architecture.whole:
            values = equal.setdefault(re.sub(r"layers\.\d+", "layers", name), values)
        slot.put(values)


def draw(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], architecture: Architecture, scheme: Scheme
) -> np.ndarray:
    """Start values of one array of torch's.

    ====================================  ==============================================================
    tables                                N(0, 1)
    in_proj (3 C, C)                      U(+-sqrt(6 / 4 C)), Xavier's of the stacked matrix
    matrices of an nn.Transformer         U(+-sqrt(6 / (rows + columns)))
    other matrices, and their biases      U(+-1 / sqrt(columns of the matrix))
    LayerNorm; biases of an attention     1 and 0; 0
    ====================================  ==============================================================
    """
    part, kind = name.rsplit(".", 1)
    if "norm" in part:
        return np.full(shape, float(kind == "weight"), np.float32)
    if kind == "in_proj_bias" or (part.endswith("out_proj") and kind == "bias"):
        return np.zeros(shape, np.float32)
    if scheme == "normal":
        return rng.standard_normal(shape, np.float32) * np.float32(0.02 if len(shape) > 1 else 0)
    if part.endswith(("_embed", "_src", "_enc")):
        return rng.standard_normal(shape, np.float32)
    if kind == "in_proj_weight" or (architecture.whole and len(shape) > 1 and part.startswith("transformer")):
        bound = np.sqrt(6 / sum(shape))
    else:
        columns = architecture.feed_forward if part.endswith("linear2") else architecture.width
        bound = 1 / np.sqrt(columns)
    return rng.uniform(-bound, bound, shape).astype(np.float32)
