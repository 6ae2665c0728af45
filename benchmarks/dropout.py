"""What dropout costs in a compiled step on a CPU: Keras's own, :mod:`common.dropout`, and the product beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import common.runtime  # noqa: F401  # isort: skip
import keras
import numpy as np
import tensorflow as tf
from measuring import measure, recording, show

from common.command import run_script
from common.dropout import Dropout


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    rows: int = 1280
    """Rows: positions of 64 sessions of 20 tracks."""
    columns: int = 2048
    """Columns: the units of a feed-forward network."""
    repeats: int = 20
    """Calls; the fastest counts."""


def milliseconds(function: Callable[[Any], Any], x: Any, repeats: int) -> float:
    """Of the fastest of some calls, until a value of the result is there."""
    return 1e3 * measure(lambda: np.asarray(function(x)[0, 0]), repeats, warm=1).best


def main(options: Options) -> dict[str, float]:
    """Time dropout of a layer's outputs, compiled with XLA and not, beside the product of a layer of 256 inputs."""
    x = tf.constant(np.random.default_rng(0).standard_normal((options.rows, options.columns)).astype(np.float32))
    kernel, before = tf.ones((256, options.columns)), tf.ones((options.rows, 256))
    found: dict[str, float] = {}
    for jit, word in ((True, "XLA"), (False, "plain")):
        layers = {"Keras": keras.layers.Dropout(0.2, seed=1), "Encore": Dropout(0.2, seed=1)}
        for name, layer in layers.items():
            layer(x)
            call = tf.function(lambda x, layer=layer: layer(x, training=True), jit_compile=jit)
            found[f"{word}, {name}: ms"] = milliseconds(call, x, options.repeats)
        found[f"{word}, ratio"] = found[f"{word}, Keras: ms"] / found[f"{word}, Encore: ms"]
        product = tf.function(lambda x: tf.matmul(x, kernel), jit_compile=jit)
        found[f"{word}, product of 256 inputs: ms"] = milliseconds(product, before, options.repeats)
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
