"""Weight files of tartarus and of the seed (Keras 2 on Theano or TensorFlow) into the same network here."""

from __future__ import annotations

import re
from pathlib import Path

import keras

from common.options import require
from common.weights import read_weights

LAYERS = ("text_dense_1", "text_dense_2", "fusion_dense", "factors")
"""Dense layers in the order in which the released code creates, and so numbers, them."""


def load_released(model: keras.Model, path: Path) -> None:
    """Load the weights of the released a-text, mm-lf-lin, mm-lf-h1 or seed network into ``model``.

    The file names its layers ``dense_<number>`` (TensorFlow 2 the first one ``dense``); the numbers depend on what was
    built before in the same process, their order does not.

    Args:
        model: the network of the same sizes, see :func:`audiotext.model.build`.
        path: HDF5 file of Keras 2 (see :func:`common.weights.read_weights`), or a zip of one.

    Raises:
        UserError: not such a file, another network, or other sizes. The model is then unchanged.
    """
    require(
        not any("convolution" in layer.name for layer in model.layers),
        f"{path}: no weights of the audio network in Keras 2's layout are known; give a model.weights.h5 of a run",
    )
    file = read_weights(path)
    numbers = {name: int(found[1] or 0) for name in file.layers if (found := re.fullmatch(r"dense(?:_(\d+))?", name))}
    odd = ", ".join(sorted(set(file.layers) - set(numbers)))
    require(not odd, f"{path}: layers {odd}; the released networks have only dense_<number>")
    ours = {layer.name for layer in model.layers if layer.weights}
    wanted = [name for name in LAYERS if name in ours]
    require(
        len(numbers) == len(wanted),
        f"{path}: {len(numbers)} dense layers; {model.name} has {len(wanted)} ({', '.join(wanted)})",
    )
    file.load_into(model, dict(zip(sorted(numbers, key=numbers.__getitem__), wanted, strict=True)))
