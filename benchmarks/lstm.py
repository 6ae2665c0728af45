"""A training step of the LSTM with its gradient written out, against ``keras.layers.LSTM`` with a traced one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import keras
import numpy as np
import tensorflow as tf
from measuring import measure, recording, show

from common.command import run_script
from seer.layers import HardSigmoidLSTM, hard_sigmoid


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    songs: int = 256
    """Songs in a batch, of 500 steps x 32 values; 150 units, as released."""
    steps: int = 2
    """Steps to time."""


def seconds(layer: keras.layers.Layer, songs: int, steps: int) -> float:
    """Wall seconds of one forward and backward pass, compilation left out."""
    x = tf.constant(np.random.default_rng(0).integers(0, 128, (songs, 500, 32)).astype(np.float32))

    @tf.function(jit_compile=True)
    def step(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, [v.value for v in layer.trainable_variables])

    def run() -> None:
        for _ in range(steps):
            last = step(x)
        last[0].numpy()

    step(x)
    return measure(run).best / steps


def main(options: Options) -> dict[str, float]:
    """Time the LSTM's training step with and without dropout."""
    found: dict[str, float] = {}
    for dropout in (0.0, 0.2):
        settings = {"dropout": dropout, "recurrent_dropout": dropout}
        ours = HardSigmoidLSTM(150, **settings)
        kept = keras.layers.LSTM(150, recurrent_activation=hard_sigmoid, implementation=1, **settings)
        for name, layer in (("written_out", ours), ("traced", kept)):
            layer.build((None, 500, 32))
            found[f"{name}_dropout_{dropout}"] = seconds(layer, options.songs, options.steps)
        found[f"ratio_dropout_{dropout}"] = found[f"traced_dropout_{dropout}"] / found[f"written_out_dropout_{dropout}"]
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
