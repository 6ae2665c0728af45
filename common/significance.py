"""Is one model better than another? Paired tests over users or seeds, corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats


@dataclass(frozen=True)
class PairedTest:
    """Two models on the same users (or seeds); every figure is of the differences first - second."""

    pairs: int
    difference: float
    """Mean difference: positive if the first has the higher values."""
    low: float
    """Lower end of the interval of Student's t for the mean difference."""
    high: float
    t: float
    """Student's t; with two treatments the randomised block design is the paired t-test (F = t^2)."""
    t_p: float
    """Two-sided p-value of the paired t-test."""
    wilcoxon_p: float
    """Two-sided p-value of Wilcoxon's signed-rank test."""


def paired_test(first: ArrayLike, second: ArrayLike, level: float = 0.95) -> PairedTest:
    """Compare paired values (n,); pairs with a NaN are left out, figures that need more pairs are NaN.

    Where all differences are equal there is nothing to test with: p is 1 if they are zero, else NaN.

    >>> found = paired_test([3.0, 4.0, 6.0], [1.0, 3.0, 3.0])
    >>> found.pairs, found.difference, round(found.t_p, 4)
    (3, 2.0, 0.0742)

    Raises:
        ValueError: the arrays do not have the same one-dimensional shape, or ``level`` is not within 0..1.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"arrays of one length needed, got shapes {a.shape} and {b.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1")
    difference = (a - b)[~np.isnan(a - b)]
    count = len(difference)
    mean = float(difference.mean()) if count else float("nan")
    if count < 2 or np.ptp(difference) == 0:
        p = 1.0 if count > 1 and mean == 0 else float("nan")
        low, high = (mean, mean) if count > 1 else (float("nan"), float("nan"))
        return PairedTest(count, mean, low, high, float("nan"), p, p)
    error = float(difference.std(ddof=1) / np.sqrt(count))
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    t_p = float(2 * stats.t.sf(abs(mean / error), count - 1))
    wilcoxon_p = signed_rank_p(difference)
    return PairedTest(count, mean, mean - half, mean + half, mean / error, t_p, wilcoxon_p)


def signed_rank_p(difference: NDArray[np.float64]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test on paired differences (n,); NaN if they allow none.

    Where all are equal there is nothing to test with: p is 1 if they are zero, else NaN.
    """
    if len(difference) < 2 or np.ptp(difference) == 0:
        return 1.0 if len(difference) > 1 and difference[0] == 0 else float("nan")
    return float(stats.wilcoxon(difference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction for several tests; NaN stays NaN and does not count as a test.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected.tolist()
