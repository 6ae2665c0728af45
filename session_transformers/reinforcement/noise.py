"""What makes an agent try something else: noise on its actions, or on the scores that they give."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

THETA = 0.15
"""Share by which the Ornstein-Uhlenbeck process returns to 0 at a step (Lillicrap et al. 2016, arXiv 1509.02971)."""


def strength(start: float, decay: float, floor: float, step: int) -> float:
    """Noise at a step from 0: start * decay^step, but no less than ``floor``."""
    return max(start * decay**step, floor)


class OrnsteinUhlenbeck:
    """x <- (1 - theta) x + sqrt(theta (2 - theta)) N(0, 1) for each walk: noise that goes on in one direction for a
    while, of standard deviation 1 at every step. A walk's noise begins anew with its session.
    """

    def __init__(self, walks: int, size: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.values = rng.standard_normal((walks, size))

    def __call__(self, deviation: float) -> NDArray[np.float32]:
        """(walks, size) of this step, of the given standard deviation."""
        fresh = self.rng.standard_normal(self.values.shape)
        self.values = (1.0 - THETA) * self.values + np.sqrt(THETA * (2.0 - THETA)) * fresh
        return (deviation * self.values).astype(np.float32)

    def renew(self, over: NDArray[np.bool_]) -> None:
        """Begin anew where a session is over."""
        self.values[over] = self.rng.standard_normal((int(over.sum()), self.values.shape[1]))


def bernoulli_mask(scores: NDArray[np.float32], zero: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """``scores`` with each one set to 0 by the chance ``zero`` (released code): for skips a 0 says skipped."""
    return np.where(rng.random(scores.shape) < zero, np.float32(0.0), scores)
