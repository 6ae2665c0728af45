"""Train, validation and inner test split of the training items."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common.options import require


@dataclass(frozen=True)
class Split:
    """Row numbers, each in ascending order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    """The inner test of the released code; the items that nobody has played are in files of their own."""


def released_split(items: int, share: float = 0.1) -> Split:
    """The split of tartarus: the first rows train, the next ones validate, the rest test, all in file order.

    >>> [len(part) for part in vars(released_split(264_344)).values()]
    [211475, 26434, 26435]
    """
    train, validation = int((1 - share - share) * items), int(share * items)
    rows = np.arange(items)
    return Split(rows[:train], rows[train : train + validation], rows[train + validation :])


def artist_split(artists: np.ndarray, seed: int, share: float = 0.1) -> Split:
    """A split in which no artist is on two sides; artists are drawn at random.

    In file order (:func:`released_split`) an artist's songs may be on both sides of a border, and if the file is
    sorted, the validation items are of another kind than the others.

    Args:
        artists: (items,) artist of each item, as numbers or ids; distinct ones if items are artists.
        seed: of the draw.
        share: of the artists that validate, and of those that test; at least one each.

    Raises:
        UserError: there are fewer than three artists.
    """
    names, numbers = np.unique(artists, return_inverse=True)
    require(len(names) >= 3, f"{len(names)} artists cannot be split into training, validation and test")
    place = np.empty(len(names), np.int64)
    place[np.random.default_rng((seed, 0xA127)).permutation(len(names))] = np.arange(len(names))
    held = max(int(share * len(names)), 1)
    of_item = place[numbers]
    return Split(
        np.flatnonzero(of_item >= 2 * held),
        np.flatnonzero(of_item < held),
        np.flatnonzero((of_item >= held) & (of_item < 2 * held)),
    )
