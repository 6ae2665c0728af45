"""Weight files of tartarus and of the seed (Keras 2 on Theano or TensorFlow) into the same network here."""

from __future__ import annotations

import re
from pathlib import Path

import keras

from common.options import require
from common.weights import load_weights, read_weights

LAYERS = ("text_dense_1", "text_dense_2", "fusion_dense", "factors")
"""Dense layers in the order in which the released code creates, and so numbers, them."""


def load_released(model: keras.Model, path: Path) -> None:
    """Load the weights of the released a-text, mm-lf-lin, mm-lf-h1 or seed network into ``model``.

    The file names its layers ``dense_<number>``; the numbers depend on what was built before in the same process, their
    order does not.

    Args:
        model: the network of the same sizes, see :func:`audiotext.model.build`.
        path: HDF5 file of Keras 2.

    Raises:
        UserError: not such a file, another network, or other sizes. The model is then unchanged.
    """
    require(
        not any("convolution" in layer.name for layer in model.layers),
        f"{path}: no weights of the audio network in Keras 2's layout are known; give a model.weights.h5 of a run",
    )
    weights = read_weights(path)
    numbers = {name: int(found[1]) for name in weights if (found := re.fullmatch(r"dense_(\d+)", name))}
    odd = ", ".join(sorted(set(weights) - set(numbers)))
    require(not odd, f"{path}: layers {odd}; the released networks have only dense_<number>")
    ours = {layer.name for layer in model.layers if layer.weights}
    wanted = [name for name in LAYERS if name in ours]
    require(
        len(numbers) == len(wanted),
        f"{path}: {len(numbers)} dense layers; {model.name} has {len(wanted)} ({', '.join(wanted)})",
    )
    load_weights(model, path, weights, dict(zip(sorted(numbers, key=numbers.__getitem__), wanted, strict=True)))


def is_released_layout(path: Path) -> bool:
    """Whether ``path`` is a file of Keras 2 and not of a run of this project, by its content.

    Both may end in ``.weights.h5``: only Keras 2 lists its layers at the root.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "layer_names" in file.attrs or "model_weights" in file
    except OSError:
        return False
