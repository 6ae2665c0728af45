"""Arrays of users that the metrics share: checks, means over them, rows sorted by score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Flags: TypeAlias = NDArray[np.bool_]
Cutoffs: TypeAlias = int | Sequence[int]
Score: TypeAlias = Any
"""A float; with ``per_user=True`` the array of values; a list of floats where several K are given."""


class SortedRows(NamedTuple):
    """Rows sorted by user and descending score, equal ones in row order; arrays (rows,).

    The starts are the places, in this order, of the first row of the user and of the user's tie group.
    """

    order: Integers
    user_start: Integers
    tie_start: Integers


def sort_rows(user: Integers, score: Floats) -> SortedRows:
    order = np.lexsort((-score, user))  # NumPy sorts NaN last
    new_user = changes(user[order])
    new_score = new_user | changes(score[order])
    place = np.arange(len(order))
    starts = [np.maximum.accumulate(np.where(new, place, 0)) for new in (new_user, new_score)]
    return SortedRows(order, *starts)


def changes(values: NDArray) -> Flags:
    """Where a value differs from the one before it; NaN equals NaN; the first always differs."""
    changed = np.ones(len(values), bool)
    changed[1:] = (values[1:] != values[:-1]) & ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
    return changed


def comparable(scores: ArrayLike) -> NDArray[Any]:
    """Scores as floats that stand in the same order: nothing is rounded, so nothing becomes a tie.

    Floats keep their precision (those of 16 bits are widened); integers that float64 does not hold become their ranks.
    """
    values = np.asarray(scores)
    if values.dtype.kind == "f" and values.dtype.itemsize >= 4:
        return values
    wide = values.dtype.kind in "iu" and values.dtype.itemsize == 8 and values.size > 0
    if wide and max(int(values.max()), -int(values.min())) > 2**53:
        values = np.unique(values, return_inverse=True)[1].reshape(values.shape)
    return values.astype(np.float64 if values.dtype.kind in "biuO" else np.float32)


def float_columns(*columns: ArrayLike) -> list[Any]:
    arrays = [np.asarray(column, float) for column in columns]
    shapes = [array.shape for array in arrays]
    fits = len(set(shapes)) == 1 and len(shapes[0]) == 1
    require(fits, f"arrays of one length needed, got shapes {shapes}")
    return arrays


def user_rows(user: ArrayLike, *columns: ArrayLike) -> list[Any]:
    """The columns as float arrays, after the users numbered 0, 1, ... in ascending order."""
    number = np.unique(np.asarray(user), return_inverse=True)[1]
    arrays = float_columns(number, *columns)[1:]
    require(number.size > 0, "no rows")
    return [number, *arrays]


def mean(values: Floats, per_user: bool) -> Score:
    if per_user:
        return values
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")


def ratio(top: NDArray, bottom: NDArray) -> Floats:
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)


def gain_discount(rank: Floats | Integers) -> Floats:
    return 1 / np.log2(1 + rank)


def for_each(k: Cutoffs, at: Callable[[int], Score]) -> Score:
    several = [k] if isinstance(k, int | np.integer) else list(k)
    for one in several:
        check_k(one)
    values = [at(one) for one in several]
    return values[0] if isinstance(k, int | np.integer) else values


def check_k(k: int) -> None:
    require(isinstance(k, int | np.integer) and k >= 1, f"K is {k}; it must be a whole number, 1 or more")


def require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
