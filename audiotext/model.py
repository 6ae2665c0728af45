"""Item factors of songs and artists that nobody has played yet, from their biographies and their sound.

Oramas, Nieto, Sordo, Serra: "A Deep Multimodal Approach for Cold-start Music Recommendation" (DLRS 2017, arXiv
1706.09739). Every network ends in a vector of unit length that is compared with the normalised factors of an item:

    a-text       tf-idf of a biography -> 2048 -> 2048 -> factors          the last hidden layer is the artist embedding
    audio        log-CQT patch -> four convolutions over time -> factors   the flattened maps are the track embedding
    mm-lf-lin    [artist embedding, track embedding] -> factors            late fusion, each half of unit length
    mm-lf-h1     [artist embedding, track embedding] -> 512 -> factors
    mm           the two branches and the fusion of mm-lf-h1, trained together
    seed         tf-idf -> 512 -> 512, beside a ready-made track embedding -> 512 -> factors   (MusicRecommender)

A-SEM and A-TAGS are a-text over other terms. The convolutions of the original are two-dimensional, but the first one
is as high as the spectrogram, which leaves one row: they are convolutions over time of 96 channels.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import layers, ops

from audiotext.architecture import MODELS, Architecture, Branch, ModelName, architecture
from common.dropout import Dropout

__all__ = ["MODELS", "Architecture", "UnitLength", "architecture", "build", "embedding", "network"]


def build(name: ModelName, **sizes: Any) -> keras.Model:
    """A network by name; see :func:`audiotext.architecture.architecture` and :func:`network`."""
    return network(architecture(name, **sizes))


def network(a: Architecture) -> keras.Model:
    """The network of an architecture, (B, factors) with rows of length 1.

    Inputs by name: ``text`` (B, text); ``audio`` (B, audio), or (B, frames, bins) where it reads patches.
    Kernels start uniform in +-0.05 (Keras 2's "uniform"), biases at 0.
    """
    inputs: dict[Branch, Any] = {}
    if "text" in a.inputs:
        inputs["text"] = keras.Input((a.text,), name="text")
    if "audio" in a.inputs:
        inputs["audio"] = keras.Input((a.frames, a.bins) if a.reads_patches else (a.audio,), name="audio")
    if a.model == "a-text":
        x = _text_branch(a, inputs["text"])
    elif a.model == "audio":
        x = _audio_branch(a, inputs["audio"])
    else:
        text = _text_branch(a, inputs["text"]) if a.model in ("mm", "seed") else inputs["text"]
        audio = _audio_branch(a, inputs["audio"]) if a.model == "mm" else inputs["audio"]
        both = [UnitLength("text_length")(text), UnitLength("audio_length")(audio)]
        x = Dropout(a.fusion_dropout, name="fusion_dropout")(layers.Concatenate(name="fusion")(both))
        if a.fusion_units:
            x = _dense(a.fusion_units, "fusion_dense", "relu")(x)
    x = _dense(a.factors, "factors")(x)
    return keras.Model(inputs, UnitLength("factors_length")(x), name=a.model.replace("-", "_"))


def embedding(model: keras.Model, branch: Branch) -> keras.Model:
    """The part of a network up to the embedding of a branch: the artist's from ``text``, the track's from ``audio``.

    Inputs by name, as the network's. In inference mode the dropout after the last hidden layer of the text branch
    changes nothing, so this is what the released ``predict.py -l 5`` reads.

    Raises:
        ValueError: the network has no layers of its own in that branch.
    """
    ends = [layer for layer in model.layers if layer.name.startswith((f"{branch}_dropout", f"{branch}_flat"))]
    if not ends:
        raise ValueError(f"{model.name} reads its {branch} embedding ready-made")
    return keras.Model({branch: model.get_layer(branch).output}, ends[-1].output, name=f"{branch}_embedding")


def _text_branch(a: Architecture, x: Any) -> Any:
    x = Dropout(a.dropout, name="text_dropout_0")(x)
    for i, units in enumerate(a.text_units, 1):
        x = _dense(units, f"text_dense_{i}", "relu")(x)
        x = Dropout(a.dropout, name=f"text_dropout_{i}")(x)
    return x


def _audio_branch(a: Architecture, x: Any) -> Any:
    """(B, frames, bins) -> (B, pooled frames * last filters)."""
    for i, (filters, kernel, pool) in enumerate(zip(a.filters, a.kernels, a.pools, strict=True), 1):
        name = f"audio_convolution_{i}"
        x = layers.Conv1D(filters, kernel, activation="relu", kernel_initializer=_uniform(), name=name)(x)
        x = layers.MaxPooling1D(pool, name=f"audio_pool_{i}")(x)
        x = Dropout(a.dropout, name=f"audio_dropout_{i}")(x)
    return layers.Flatten(name="audio_flat")(x)


def _dense(units: int, name: str, activation: str | None = None) -> layers.Layer:
    return layers.Dense(units, activation, kernel_initializer=_uniform(), name=name)


def _uniform() -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-0.05, 0.05)


@keras.saving.register_keras_serializable("encore")
class UnitLength(layers.Layer):
    """Each row divided by its length; a row of zeros stays one and passes no gradient on.

    x / sqrt(max(sum x^2, 1e-12)), as Keras 2's ``l2_normalize``. There, and in ``keras.layers.UnitNormalization``, the
    gradient of a row of zeros is 1e6 and 1e12 times what comes in, and from the loss comes 1e19: one item without any
    word then makes Adam's averages infinite, for before training all that a network makes of no words is zeros.
    Computed in float32 at least: 1e-12 is 0 in half precision.
    """

    def __init__(self, name: str, **options: Any) -> None:
        half = keras.config.dtype_policy().compute_dtype in ("float16", "bfloat16")
        super().__init__(name=name, **(({"dtype": "float32"} if half else {}) | options))

    def call(self, x: Any) -> Any:
        """(B, n) -> (B, n)."""
        squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
        return ops.where(squares > 0, x * ops.rsqrt(ops.maximum(squares, 1e-12)), 0.0)
