"""Past decisions, drawn the more often the more the critic was wrong about them (Schaul et al. 2016, arXiv 1511.05952).

P(i) = p_i^alpha / sum_k p_k^alpha        w_i = (N P(i))^-beta / max_j w_j        p_i = |error_i| + epsilon
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

EPSILON = 1e-3
"""So that a decision that was judged rightly may be drawn again."""


class SumTree:
    """Weights, 0 or more, of a fixed number of leaves, their sums in a binary tree; calls take many leaves at once."""

    def __init__(self, leaves: int) -> None:
        self.first = 1 << max(leaves - 1, 0).bit_length()
        self.sums = np.zeros(2 * self.first)
        """Node i is the sum of nodes 2 i and 2 i + 1; the leaves begin at ``first``."""

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self.sums[1])

    def update(self, leaves: NDArray[np.int64], weights: ArrayLike) -> None:
        """Set weights; of a leaf that occurs several times the last one counts."""
        nodes = leaves + self.first
        self.sums[nodes] = weights
        while nodes.size and nodes[0] > 1:
            nodes = nodes // 2  # equal parents are computed twice, with the same result: cheaper than to find them
            self.sums[nodes] = self.sums[2 * nodes] + self.sums[2 * nodes + 1]

    def find(self, sums: NDArray[np.float64]) -> NDArray[np.int64]:
        """The leaves in which the running sum of the weights passes ``sums`` (n,), each in 0..total."""
        left, nodes = np.array(sums), np.ones(len(sums), np.int64)
        while nodes.size and nodes[0] < self.first:
            nodes = 2 * nodes
            # A rounding error must not lead into a half without weight.
            right = (left >= self.sums[nodes]) & (self.sums[nodes + 1] > 0)
            left = np.where(right, left - self.sums[nodes], left)
            nodes = nodes + right
        return nodes - self.first


class PrioritisedReplay:
    """The last ``size`` decisions.

    Args:
        size: decisions kept.
        fields: name -> (shape of one decision's value, type).
        alpha: exponent of the priority; 0 draws evenly.
    """

    def __init__(self, size: int, fields: Mapping[str, tuple[tuple[int, ...], str]], alpha: float) -> None:
        self.size, self.alpha = size, alpha
        self.arrays = {name: np.zeros((size, *shape), kind) for name, (shape, kind) in fields.items()}
        self.tree = SumTree(size)
        self.count = 0
        """Decisions added so far, also those that are gone."""
        self.highest = 1.0
        """Highest priority so far: that of decisions not judged yet."""

    def __len__(self) -> int:
        return min(self.count, self.size)

    def add(self, decisions: Mapping[str, NDArray]) -> None:
        """Add up to ``size`` decisions; the oldest ones go."""
        number = len(next(iter(decisions.values())))
        places = (self.count + np.arange(number)) % self.size
        for name, array in self.arrays.items():
            array[places] = decisions[name]
        self.tree.update(places, self.highest**self.alpha)
        self.count += number

    def sample(
        self, number: int, beta: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], dict[str, NDArray], NDArray[np.float32]]:
        """Draw decisions, one from each of ``number`` equal slices of the sum of priorities.

        Returns:
            Their places, their values by name, and their importance weights (n,), at most 1.
        """
        slices = (np.arange(number) + rng.random(number)) * (self.tree.total / number)
        places = self.tree.find(slices)
        chances = self.tree.sums[places + self.tree.first] / self.tree.total
        weights = (len(self) * chances) ** -beta
        found = {name: array[places] for name, array in self.arrays.items()}
        return places, found, (weights / weights.max()).astype(np.float32)

    def update(self, places: NDArray[np.int64], errors: NDArray[np.floating]) -> None:
        """Tell how wrong the critic was about decisions."""
        priorities = np.abs(errors.astype(np.float64)) + EPSILON
        self.highest = max(self.highest, float(priorities.max()))
        self.tree.update(places, priorities**self.alpha)

    def state(self) -> dict[str, NDArray]:
        """Everything that a checkpoint has to keep, as arrays whose shapes never change."""
        leaves = self.tree.sums[self.tree.first : self.tree.first + self.size].copy()
        return self.arrays | {"leaves": leaves, "count": np.array(self.count), "highest": np.array(self.highest)}

    def restore(self, state: Mapping[str, NDArray]) -> None:
        """Go on from what :meth:`state` gave, or from a part of it."""
        for name, array in state.items():
            if name == "leaves":
                self.tree.update(np.arange(self.size), array)
            elif name in self.arrays:
                self.arrays[name][:] = array
            else:
                setattr(self, name, array.item())
