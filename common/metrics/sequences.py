"""Accuracy of predicted sequences, such as the skips of a session."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.metrics._arrays import (
    Floats,
    Score,
    mean,
    ratio,
    require,
)


def accuracy_by_position(true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None = None) -> Floats:
    """Share of correct predictions at each position: arguments (sessions, positions), result (positions,).

    ``mask`` is true at the positions that exist; a position that no session has is NaN.

    >>> accuracy_by_position([[1, 0], [1, 1]], [[1, 1], [0, 1]], [[True, False], [True, True]])
    array([0.5, 1. ])
    """
    correct, valid = _sessions(true, predicted, mask)
    return ratio(correct.sum(0), valid.sum(0))


def mean_average_accuracy(
    true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None = None, *, per_session: bool = False
) -> Score:
    """MAA of the Spotify skip challenge, the mean over sessions of AA = 1/T sum_i A(i) L(i).

    A(i) is the accuracy of the first i predictions and L(i) whether the i-th is correct. The arguments are
    (sessions, positions); positions where ``mask`` is false are left out. A session without positions is NaN.

    >>> mean_average_accuracy([[1, 0, 1, 1]], [[1, 1, 1, 1]])  # (1/1 + 0 + 2/3 + 3/4) / 4
    0.6041666666666666
    """
    correct, valid = _sessions(true, predicted, mask)
    accuracy = np.cumsum(correct, 1) / np.maximum(np.cumsum(valid, 1), 1)
    return mean(ratio((accuracy * correct).sum(1), valid.sum(1)), per_session)


def _sessions(true: ArrayLike, predicted: ArrayLike, mask: ArrayLike | None) -> tuple[NDArray, NDArray]:
    known, guess = np.asarray(true), np.asarray(predicted)
    valid = np.ones(known.shape, bool) if mask is None else np.asarray(mask, bool)
    shapes = (known.shape, guess.shape, valid.shape)
    fits = known.ndim == 2 and len(set(shapes)) == 1
    require(fits, f"arrays (sessions, positions) needed, got shapes {shapes}")
    return (known == guess) & valid, valid
