"""Keras optimizers with exact gradients for embeddings.

On the TensorFlow backend the gradient of an ``Embedding`` is a list of rows (``tf.IndexedSlices``) in which an id
that occurs n times in the batch has n rows. Keras squares those rows one by one where Adam, Adagrad, RMSprop and
Nadam need the square of their sum: after three Adam steps weights are off by 0.1. Here repeated rows are summed first.
"""

from __future__ import annotations

from typing import Any

import keras

from common.options import require

_CLASSES = {
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "nadam": keras.optimizers.Nadam,
}
OPTIMIZERS = tuple(_CLASSES)


class SummedRows:
    """Mix-in for a Keras optimizer: gradients given as rows become dense, with repeated rows summed.

    Dense, because these optimizers move every row at every step (their moments decay), as Keras 1 and 2 did.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply ``grads``; see ``keras.optimizers.Optimizer.apply``."""
        super().apply([sum_rows(g) for g in grads], trainable_variables)  # type: ignore[misc]


def sum_rows(gradient: Any) -> Any:
    """A gradient as a tensor; if it is a list of rows (TensorFlow), the rows of the same id are added up."""
    if not hasattr(gradient, "indices"):
        return gradient
    import tensorflow as tf  # only its backend has such gradients

    return tf.convert_to_tensor(gradient)


def make_optimizer(name: str, learning_rate: float, mixed_float16: bool = False) -> keras.optimizers.Optimizer:
    """The optimizer ``name`` with Keras's defaults (Adam: beta 0.9 and 0.999, epsilon 1e-7, as in Keras 2).

    Args:
        name: one of :data:`OPTIMIZERS`.
        learning_rate: step size.
        mixed_float16: wrap it with dynamic loss scaling.
    """
    require(name in _CLASSES, f"--optimizer {name}: expected one of {', '.join(OPTIMIZERS)}")
    kind = _CLASSES[name]
    optimizer = type(f"Exact{kind.__name__}", (SummedRows, kind), {})(learning_rate=learning_rate)
    return keras.optimizers.LossScaleOptimizer(optimizer) if mixed_float16 else optimizer
