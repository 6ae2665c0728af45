"""Training of SeER: the squared error of the ratings, and validation by their RMSE."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import console, runtime
from common.checkpoint import Progress
from common.epochs import Monitor
from common.optimizers import make_optimizer
from common.training import BlockPredictor, Trainer, parts_per_batch
from seer.baselines import Rater
from seer.batches import PairBatches, SongBatches
from seer.evaluation import CUTOFFS, evaluate
from seer.model import Architecture, Networks
from seer.options import SIZES, SeerOptions
from seer.preprocess import SeerData, select_channels


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


def architecture_of(options: SeerOptions, users: int) -> Architecture:
    """The architecture that complete options describe."""
    return Architecture(num_users=users, **{name: getattr(options, name) for name in (*SIZES, "dropout")})


def model_input(data: SeerData, architecture: Architecture) -> np.ndarray:
    """The part of the MIDI array that a model reads, (songs, sequence_length, features)."""
    steps = data.midi[:, : architecture.sequence_length]
    return np.ascontiguousarray(select_channels(steps, architecture.channels))


def released_line(found: Mapping[str, float]) -> str:
    """The line that the released code prints after each epoch."""
    ranked = [f"{name.upper()}@{k}: {found[f'{name}@{k}_released']}" for name in ("map", "ndcg") for k in CUTOFFS]
    return f"RMSE = {found['rmse']} MAE = {found['mae']} " + " ".join(ranked)
