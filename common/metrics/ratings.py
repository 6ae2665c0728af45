"""Errors of predicted ratings."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.metrics._arrays import (
    Floats,
    float_columns,
    require,
)


def rmse(true: ArrayLike, predicted: ArrayLike) -> float:
    """Root of the mean squared error over the rows.

    >>> rmse([3, 5], [3, 3])
    1.4142135623730951
    """
    return float(np.sqrt(np.mean(np.square(_errors(true, predicted)))))


def mae(true: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error over the rows.

    >>> mae([3, 5], [3, 3])
    1.0
    """
    return float(np.mean(np.abs(_errors(true, predicted))))


def _errors(true: ArrayLike, predicted: ArrayLike) -> Floats:
    known, guess = float_columns(true, predicted)
    require(len(known) > 0, "no rows")
    return known - guess
