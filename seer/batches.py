"""Ratings as training batches: every distinct song of a batch appears once, to be encoded once.

Two ways of batching. ``pairs`` is the paper's: shuffled ratings, a fixed number per batch. ``songs`` takes a group of
songs with all of their ratings, so that an epoch encodes each song exactly once: much faster, but fewer, larger steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.epochs import epoch_order
from common.training import Batch, padded
from seer.preprocess import Ratings

Batching = Literal["pairs", "songs"]
_SHAPES = 8  # a batch of pairs has at most this many different numbers of distinct songs, after padding


@dataclass(frozen=True)
class PairBatches:
    """``size`` ratings in each batch, in an order drawn from (seed, epoch).

    With ``distinct`` a song's dropout masks are shared by its ratings within the batch; without, every rating has its
    own encoding and masks, as in the released code (and at its cost).
    """

    ratings: Ratings
    midi: np.ndarray  # (songs, steps, features)
    size: int
    seed: int
    shuffle: bool = True
    distinct: bool = True
    parts: int = 1

    def __call__(self, epoch: int) -> Iterator[list[Batch]]:
        """The batches of an epoch, each in ``parts`` parts that hold equally many songs to encode."""
        order = epoch_order(len(self.ratings), self.seed, epoch, self.shuffle)
        share = -(-self.size // self.parts)
        quantum = -(-share // _SHAPES)
        for start in range(0, len(order), self.size):
            ratings = self.ratings[order[start : start + self.size]]
            if not self.distinct:
                chunks = [ratings[part * share : (part + 1) * share] for part in range(self.parts)]
                yield [_batch(c, np.arange(len(c)), self.midi[c.songs], share, share) for c in chunks]
                continue
            songs, position = np.unique(ratings.songs, return_inverse=True)
            count = -(-len(songs) // self.parts)
            padded_count = -(-count // quantum) * quantum
            parts = []
            for first in range(0, count * self.parts, count):
                rows = (position >= first) & (position < first + count)
                own = self.midi[songs[first : first + count]]
                parts.append(_batch(ratings[rows], position[rows] - first, own, self.size, padded_count))
            yield parts


@dataclass(frozen=True)
class SongBatches:
    """All ratings of ``size`` songs in each batch; the songs are grouped anew in every epoch."""

    ratings: Ratings
    midi: np.ndarray
    size: int
    seed: int
    shuffle: bool = True
    parts: int = 1

    def __post_init__(self) -> None:
        order = np.argsort(self.ratings.songs, kind="stable")
        object.__setattr__(self, "_by_song", order)
        object.__setattr__(self, "_starts", np.searchsorted(self.ratings.songs[order], np.arange(len(self.midi) + 1)))

    def __call__(self, epoch: int) -> Iterator[list[Batch]]:
        """The batches of an epoch, each in ``parts`` parts of as many songs. Songs without a rating do not occur."""
        by_song, starts = self._by_song, self._starts  # type: ignore[attr-defined]
        rated = np.flatnonzero(np.diff(starts))
        order = rated[epoch_order(len(rated), self.seed, epoch, self.shuffle)]
        share = -(-self.size // self.parts)
        # Every new shape is compiled, rating a padded pair costs nothing beside that: one shape fits nearly all groups.
        usual = math.ceil(1.25 * share * len(self.ratings) / max(len(rated), 1))
        for start in range(0, len(order), self.size):
            chunk = order[start : start + self.size]
            groups = [chunk[part * share : (part + 1) * share] for part in range(self.parts)]
            counts = [int((starts[group + 1] - starts[group]).sum()) for group in groups]
            size = usual * _power_of_two(math.ceil(max(counts) / usual))
            parts = []
            for group in groups:
                rows = np.concatenate([by_song[starts[s] : starts[s + 1]] for s in group] or [by_song[:0]])
                position = np.repeat(np.arange(len(group)), starts[group + 1] - starts[group])
                parts.append(_batch(self.ratings[rows], position, self.midi[group], size, share))
            yield parts


def _power_of_two(size: int) -> int:
    """The smallest power of two that is at least ``size``."""
    return 1 << max(size - 1, 0).bit_length()


def _batch(ratings: Ratings, position: np.ndarray, songs: np.ndarray, size: int, song_count: int) -> Batch:
    inputs = {
        "user_input": padded(ratings.users.astype(np.int32), size),
        "song_input": padded(position.astype(np.int32), size),
        "song_feature_input": padded(np.asarray(songs), song_count),
    }
    weights = padded(np.ones(len(ratings), np.float32), size)
    return Batch(inputs, padded(ratings.values.astype(np.float32), size), weights)
