"""The training batches of an epoch, and which rows of the wide kernels each of them touches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from common.epochs import epoch_order
from dtnmr.architecture import Architecture
from dtnmr.batches import Examples, Touched, touched
from dtnmr.dataset import KkboxData, Points
from dtnmr.model import Inputs
from dtnmr.negatives import Negatives


class Batch(NamedTuple):
    """A training batch: the inputs, the rows of either kernel they touch, and the weight of each example (B,)."""

    inputs: Inputs
    users: Touched
    songs: Touched
    weights: Any


class Batches:
    """The training batches of an epoch; the last one is filled up with examples of weight 0.

    Args:
        architecture: of the network.
        data: the dataset.
        points: examples to train on.
        negatives: songs to tell the labels from; None encodes all songs (full softmax).
        batch_size: examples of a batch.
        seed: of the order.
    """

    def __init__(
        self,
        architecture: Architecture,
        data: KkboxData,
        points: Points,
        negatives: Negatives | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.data, self.points, self.negatives = data, points, negatives
        self.batch_size, self.seed = batch_size, seed
        self.examples = Examples.of(architecture, data)
        width = architecture.long_length + 1 + (negatives.count if negatives else 0)
        self._songs = min(batch_size * width, data.songs)  # one shape for all batches: compiled once
        self._all = touched(data.song_bits.values)

    def __len__(self) -> int:
        return -(-len(self.points) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), which follow from (seed, epoch)."""
        negatives = self.negatives.epoch(self.points, epoch) if self.negatives else None
        order = epoch_order(len(self.points), self.seed, epoch)
        for start in range(0, len(order), self.batch_size):
            yield self.batch(order[start : start + self.batch_size], negatives)

    def batch(self, chosen: np.ndarray, negatives: np.ndarray | None) -> Batch:
        """The batch of the examples ``chosen``, with the negatives (n, count) of all examples."""
        weights = (np.arange(self.batch_size) < len(chosen)).astype(np.float32)
        # What fills up repeats the first example, so that it touches no row of its own.
        chosen = np.concatenate([chosen, np.full(self.batch_size - len(chosen), chosen[0])])
        playlists, positions = self.points.playlists[chosen], self.points.positions[chosen]
        played = self.data.songs_played
        labels = played.values[played.indptr[playlists] + positions][:, None]
        if negatives is None:
            inputs = self.examples.inputs_of_all(playlists, positions, labels)
            return Batch(inputs, touched(inputs.user_bits), self._all, weights)
        candidates = np.concatenate([labels, negatives[chosen]], axis=1)
        inputs = self.examples.inputs(playlists, positions, candidates, self._songs)
        return Batch(inputs, touched(inputs.user_bits), touched(inputs.song_bits), weights)
