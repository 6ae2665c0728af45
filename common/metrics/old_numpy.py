"""NumPy's unstable sort of before version 1.25, by which released code ranks: its order of equal values counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL = 16
"""Runs of so many values are sorted stably, by insertion."""


def argsort(values: NDArray[Any], last: int | None = None) -> NDArray[np.int64]:
    """``np.argsort(values)`` of old: an introsort, but for its heapsort of inputs that split badly.

    A partition changes places as Hoare's does, of which the first values to stop at are found all at once.

    Args:
        values: (n,) without NaN.
        last: only so many places at the end need to be right, which takes less; None: all.

    Returns:
        (n,) the place of each value in ascending order.
    """
    values = np.asarray(values)
    order, first = np.arange(len(values)), 0 if last is None else max(len(values) - last, 0)
    pending = [(0, len(values) - 1)]
    while pending:
        low, high = pending.pop()
        if high < first:
            continue
        if high - low < SMALL:
            part = order[low : high + 1]
            order[low : high + 1] = part[np.argsort(values[part], kind="stable")]
            continue
        middle = low + (high - low) // 2
        for a, b in ((low, middle), (middle, high), (low, middle)):
            if values[order[b]] < values[order[a]]:
                order[a], order[b] = order[b], order[a]
        pivot = values[order[middle]]
        order[middle], order[high - 1] = order[high - 1], order[middle]
        inner = order[low + 1 : high - 1]
        here = values[inner]
        left, right = np.flatnonzero(here >= pivot), np.flatnonzero(here <= pivot)[::-1]
        both = min(len(left), len(right))
        swaps = int(np.count_nonzero(left[:both] < right[:both]))
        inner[left[:swaps]], inner[right[:swaps]] = inner[right[:swaps]], inner[left[:swaps]]
        stop = low + 1 + int(left[swaps]) if swaps < len(left) else high - 1
        if swaps:  # or where the last one went that was moved to the right
            stop = min(stop, low + 1 + int(right[swaps - 1]))
        order[stop], order[high - 1] = order[high - 1], order[stop]
        pending += [(low, stop - 1), (stop + 1, high)]
    return order
