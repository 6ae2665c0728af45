"""The loss of tartarus and the figures that its log shows."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops


def half_cosine(targets: Any, predictions: Any) -> Any:
    """clip((1 - cos) / 2, 0, 1) of each row: 0 same direction, 0.5 orthogonal, 1 opposite.

    Lengths are floored at the root of the smallest positive number, so a target of zeros costs exactly 0.5 and moves
    nothing. It is the loss of tartarus, not Keras's ``cosine_proximity``, which is -cos.

    Args:
        targets: (n, factors), of any length.
        predictions: (n, factors).

    Returns:
        (n,) in the precision of the predictions, float32 at least.
    """
    kind = "float64" if keras.backend.standardize_dtype(predictions.dtype) == "float64" else "float32"
    cosine = ops.sum(_unit(ops.cast(targets, kind)) * _unit(ops.cast(predictions, kind)), axis=-1)
    return ops.clip((1.0 - cosine) / 2.0, 0.0, 1.0)


def weighted_half_cosine(targets: Any, predictions: Any, weights: Any) -> Any:
    """sum(weight * half_cosine) over the examples: the form that :class:`common.training.Trainer` wants."""
    return ops.sum(weights * half_cosine(targets, predictions))


def _unit(x: Any) -> Any:
    tiny = np.finfo(keras.backend.standardize_dtype(x.dtype)).tiny
    return x / ops.sqrt(ops.maximum(ops.sum(ops.square(x), axis=-1, keepdims=True), tiny))


def mean_squared_error(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Mean over the factors of the squared error of each row, (n,) float64; for unit vectors 2 (1 - cos) / factors."""
    return np.square(targets.astype(np.float64) - predictions).mean(axis=1)


def r2(targets: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """The coefficient of determination of each row over its factors, (n,) float64; tartarus logs the mean.

    1 - sum (y - p)^2 / sum (y - mean y)^2. A row of equal targets has 1 if it is met exactly and 0 otherwise, as in
    scikit-learn. For unit vectors it is about 2 cos - 1: below 0 means a cosine under 0.5, not a broken model.
    """
    targets = targets.astype(np.float64)
    error = np.square(targets - predictions).sum(axis=1)
    spread = np.square(targets - targets.mean(axis=1, keepdims=True)).sum(axis=1)
    constant = spread == 0
    return np.where(constant, (error == 0).astype(np.float64), 1 - error / np.where(constant, 1.0, spread))


def unit_rows(factors: np.ndarray) -> np.ndarray:
    """``factors`` (n, k) with rows of length 1, in float32; rows of zeros stay zeros, as in the released training."""
    factors = np.asarray(factors, np.float64)
    lengths = np.linalg.norm(factors, axis=1, keepdims=True)
    return (factors / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
