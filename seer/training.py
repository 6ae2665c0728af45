"""Training of SeER: the squared error of the ratings, their batches, and validation by their RMSE.

Every distinct song of a batch appears once in it, to be encoded once. There are two ways of batching. ``pairs`` is the
paper's: shuffled ratings, a fixed number per batch. ``songs`` takes a group of songs with all of their ratings, so that
an epoch encodes each song exactly once: much faster, but fewer, larger steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common import console, runtime
from common.checkpoint import Progress
from common.epochs import Monitor, epoch_order
from common.optimizers import make_optimizer
from common.training import Batch, BlockPredictor, Trainer, padded, parts_per_batch
from seer.baselines import Rater
from seer.evaluation import CUTOFFS, evaluate
from seer.model import Architecture, Networks
from seer.options import SeerOptions
from seer.preprocess import Ratings, SeerData, select_channels

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


class Evaluator:
    """Rates pairs and catalogues with SeER's networks, every song encoded once per call of :meth:`rater`.

    Args:
        networks: of the model.
        midi: (songs, sequence_length, features) what the model reads.
        jit: compile with XLA.
    """

    def __init__(self, networks: Networks, midi: np.ndarray, jit: bool) -> None:
        self.networks, self.midi = networks, midi
        self._encode = BlockPredictor(networks.encoder, min(256, len(midi)), jit)
        self._rate = BlockPredictor(networks.head, 8192, jit)

    def hidden(self) -> np.ndarray:
        """(songs, latent) encodings of all songs."""
        return self._encode(self.midi)

    def rater(self, hidden: np.ndarray | None = None) -> Rater:
        """The model with its present weights; later training does not change what it encoded, only its head."""
        encoded = self.hidden() if hidden is None else hidden

        def rate(users: np.ndarray, songs: np.ndarray) -> np.ndarray:
            return self._rate(users.astype(np.int32), encoded[songs])

        return Rater(rate, lambda users: self.networks.score_matrix(self.networks.user_vectors(users), encoded))


def train(
    evaluator: Evaluator, options: SeerOptions, data: SeerData, run_dir: Path | None = None, quiet: bool = False
) -> Progress:
    """Train on ``data.split``: the weights of the best epoch stay, of the last one in the released protocol.

    Args:
        evaluator: of the networks, built within the scope of the options' strategy.
        options: complete ones, see :meth:`seer.options.SeerOptions.completed`.
        data: with validation ratings, unless the protocol is the released one.
        run_dir: keeps what ``--resume`` needs; None keeps nothing.
        quiet: show no progress.

    Raises:
        UserError: the loss is no longer finite, or what ``--resume`` finds is damaged.
    """
    assert options.epochs and options.batch_size and options.learning_rate
    split, strategy, midi = data.split, runtime.strategy(options.distribute), evaluator.midi
    released = options.protocol == "released"
    with strategy.scope():
        scaled = runtime.precision(options) == "mixed_float16"
        optimizer = make_optimizer(options.optimizer, options.learning_rate, scaled)
        monitor = None if released else Monitor("val_rmse")
        model = evaluator.networks.model
        trainer = Trainer(model, optimizer, options.seed, run_dir, jit=not options.deterministic, monitor=monitor)
    if options.resume:
        trainer.resume()
    common: dict[str, Any] = {"seed": options.seed, "shuffle": options.shuffle, "parts": parts_per_batch(strategy)}
    batches = (
        SongBatches(split.train, midi, options.batch_size, **common)
        if options.batching == "songs"
        else PairBatches(split.train, midi, options.batch_size, distinct=not released, **common)
    )

    def after_epoch(epoch: int) -> dict[str, float]:
        rater = evaluator.rater()
        if released:
            found, _ = evaluate(split, rater, options.interaction_threshold, data.num_songs, False)
            console.say(released_line(found.figures), flush=True)
            return found.figures
        error = rater.rate(split.validation.users, split.validation.songs) - split.validation.values
        return {"val_rmse": float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))}

    return trainer.fit(batches, options.epochs, after_epoch, description=f"SeER {options.variant}, ", quiet=quiet)


def model_input(data: SeerData, architecture: Architecture) -> np.ndarray:
    """The part of the MIDI array that a model reads, (songs, sequence_length, features)."""
    steps = data.midi[:, : architecture.sequence_length]
    return np.ascontiguousarray(select_channels(steps, architecture.channels))


def released_line(found: Mapping[str, float]) -> str:
    """The line that the released code prints after each epoch."""
    ranked = [f"{name.upper()}@{k}: {found[f'{name}@{k}_released']}" for name in ("map", "ndcg") for k in CUTOFFS]
    return f"RMSE = {found['rmse']} MAE = {found['mae']} " + " ".join(ranked)
