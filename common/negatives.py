"""Negative items that all rows of a batch share, drawn in proportion to popularity^alpha.

Hidasi, Karatzoglou, arXiv 1706.03847, section 3.1: P(item) ~ support^alpha, alpha from 0 (uniform) to 1 (popularity).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CACHE = 10_000_000
"""Items drawn at once; drawing for each step would take longer than the step."""


def cumulative(support: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """The distribution function (items,) of the draw, its last value exactly 1.

    In double precision: in single precision items of a catalogue of millions would never be drawn.
    """
    weights = support.astype(np.float64) ** alpha
    function = np.cumsum(weights) / weights.sum()
    function[-1] = 1.0
    return function


def invert(function: NDArray[np.float64], uniform: NDArray[np.floating]) -> NDArray[np.int32]:
    """The first item whose distribution function exceeds each number of [0, 1)."""
    found = np.searchsorted(function, uniform, side="right")
    return np.minimum(found, len(function) - 1).astype(np.int32)


class Inverse:
    """:func:`invert` for many numbers, several times as fast.

    The numbers of [0, 1) lie in equal parts, and the item of the beginning of each part is known; from there it is
    mostly one step or none (Chen, Asau: "On generating random variates from an empirical distribution", 1974).

    Args:
        function: (items,) from :func:`cumulative`.
    """

    STEPS = 4

    def __init__(self, function: NDArray[np.float64]) -> None:
        self.function = function
        self.parts = 1 << min(20, 2 + (len(function) - 1).bit_length())  # a power of two: the part of a number is exact
        self.first = invert(function, np.arange(self.parts) / self.parts)

    def __call__(self, uniform: NDArray[np.floating]) -> NDArray[np.int32]:
        """The items, in the shape of ``uniform``."""
        flat = uniform.ravel()
        found = self.first[(flat * self.parts).astype(np.int32)]
        low = np.flatnonzero(self.function[found] <= flat)
        for _ in range(self.STEPS):
            if not len(low):
                break
            found[low] += 1
            low = low[self.function[found[low]] <= flat[low]]
        found[low] = invert(self.function, flat[low])
        return found.reshape(uniform.shape)


class Negatives:
    """Draws ``count`` negatives for each step; the draw of an epoch follows from (seed, epoch) alone.

    Args:
        support: (items,) training events of each item.
        alpha: exponent.
        count: negatives of a step; 0 for none.
        seed: of all draws.
    """

    def __init__(self, support: NDArray[np.int64], alpha: float, count: int, seed: int) -> None:
        self.inverse, self.count, self.seed = Inverse(cumulative(support, alpha)), count, seed

    @property
    def function(self) -> NDArray[np.float64]:
        """(items,) the distribution function of a draw."""
        return self.inverse.function

    def epoch(self, epoch: int) -> NegativesOfEpoch:
        """The draws of an epoch, from its first step on."""
        return NegativesOfEpoch(self, np.random.default_rng((self.seed, epoch)))


class NegativesOfEpoch:
    """See :class:`Negatives`."""

    def __init__(self, negatives: Negatives, rng: np.random.Generator) -> None:
        self._of, self._rng, self.count = negatives, rng, negatives.count
        self._cache = np.empty((0, negatives.count), np.int32)

    def take(self, steps: int) -> NDArray[np.int32]:
        """Negatives (steps, count) of the next steps."""
        count = self.count
        if not count:
            return np.empty((steps, 0), np.int32)
        parts = [self._cache[:steps]]
        self._cache = self._cache[steps:]
        missing = steps - len(parts[0])
        while missing:
            rows = max(CACHE // count // 16, 1)
            drawn = self._of.inverse(self._rng.random((rows, count)))
            parts.append(drawn[:missing])
            self._cache = drawn[missing:]
            missing -= len(parts[-1])
        return np.concatenate(parts)
