"""How sure a mean over users is."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from common.metrics._arrays import (
    require,
)


def bootstrap_interval(per_user: ArrayLike, seed: int, level: float = 0.95, samples: int = 1000) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over users, NaN left out; the seed determines the result.

    >>> low, high = bootstrap_interval([0, 1, 0, 1, float("nan")], seed=1)
    >>> 0 <= low < 0.5 < high <= 1
    True
    """
    require(0 < level < 1, f"level is {level}; it must lie between 0 and 1")
    require(samples >= 1, f"samples is {samples}; it must be 1 or more")
    values = np.asarray(per_user, float).ravel()
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    random = np.random.default_rng(seed)
    means = [values[random.integers(len(values), size=len(values))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
