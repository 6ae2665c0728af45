"""Fit a SeER model to a split: what training, evaluation and the paper's experiments share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common import console, runtime
from common.epochs import Monitor
from common.optimizers import make_optimizer
from common.training import BlockPredictor, Progress, Trainer, parts_per_batch
from seer.baselines import Recommender
from seer.batches import PairBatches, SongBatches
from seer.evaluation import CUTOFFS, Split, evaluate
from seer.model import Architecture, SeER
from seer.options import SeerOptions
from seer.preprocess import SeerData, select_channels

SIZES = ("variant", "latent_features", "cell", "sequence_length", "channels", "gate_activation", "midi_scale")
"""What weights fix: options with these names are left out where ``--weights`` is given."""


class Evaluator:
    """Rates pairs and catalogues with a SeER model, every song encoded once per call of :meth:`recommender`.

    Args:
        seer: the model.
        midi: (songs, sequence_length, features) what the model reads.
        jit: compile with XLA.
    """

    def __init__(self, seer: SeER, midi: np.ndarray, jit: bool) -> None:
        self._seer, self._midi = seer, midi
        self._encode = BlockPredictor(seer.encoder, min(256, len(midi)), jit)
        self._rate = BlockPredictor(seer.head, 8192, jit)

    def recommender(self) -> Recommender:
        """The model with its present weights; later training does not change what it encoded, only its head."""
        hidden = self._encode(self._midi)  # (songs, latent)

        def rate(users: np.ndarray, songs: np.ndarray) -> np.ndarray:
            return self._rate(users.astype(np.int32), hidden[songs])

        return Recommender(rate, lambda users: self._seer.score_matrix(self._seer.user_vectors(users), hidden))


@dataclass(frozen=True)
class Fitted:
    """A trained model: its best epoch by the validation ratings (released protocol: its last)."""

    seer: SeER
    recommender: Recommender
    progress: Progress


def fit(
    options: SeerOptions,
    split: Split,
    data: SeerData,
    run_dir: Path | None = None,
    start: SeER | None = None,
    quiet: bool = False,
) -> Fitted:
    """Train a model on ``split.train``; :func:`common.runtime.configure` has been called.

    Args:
        options: complete ones, see :meth:`seer.options.SeerOptions.completed`.
        split: with validation ratings, unless the protocol is the released one.
        data: the songs.
        run_dir: keeps what ``--resume`` needs; None keeps nothing.
        start: model whose weights training starts from.
        quiet: show no progress.

    Raises:
        UserError: the loss is no longer finite, or what ``--resume`` finds is damaged.
    """
    assert options.epochs and options.batch_size and options.learning_rate
    strategy, architecture = runtime.strategy(options.distribute), architecture_of(options, data.num_users)
    released = options.protocol == "released"
    keras.utils.set_random_seed(options.seed)
    with strategy.scope():
        seer = SeER(architecture)
        if start:
            seer.model.set_weights(start.model.get_weights())
        scaled = runtime.precision(options) == "mixed_float16"
        optimizer = make_optimizer(options.optimizer, options.learning_rate, scaled)
        monitor = None if released else Monitor("val_rmse")
        trainer = Trainer(seer.model, optimizer, options.seed, run_dir, jit=jit(options), monitor=monitor)
    if options.resume:
        trainer.resume()
    midi = model_input(data, architecture)
    evaluator = Evaluator(seer, midi, jit(options))
    common: dict[str, Any] = {"seed": options.seed, "shuffle": options.shuffle, "parts": parts_per_batch(strategy)}
    batches = (
        SongBatches(split.train, midi, options.batch_size, **common)
        if options.batching == "songs"
        else PairBatches(split.train, midi, options.batch_size, distinct=not released, **common)
    )

    def after_epoch(epoch: int) -> dict[str, float]:
        recommender = evaluator.recommender()
        if released:
            found, _ = evaluate(split, recommender, options.interaction_threshold, data.num_songs, False)
            console.say(released_line(found.figures), flush=True)
            return found.figures
        error = recommender.rate(split.validation.users, split.validation.songs) - split.validation.values
        return {"val_rmse": float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))}

    description = f"SeER {options.variant}, "
    progress = trainer.fit(batches, options.epochs, after_epoch, description=description, quiet=quiet)
    return Fitted(seer, evaluator.recommender(), progress)


def architecture_of(options: SeerOptions, users: int) -> Architecture:
    """The architecture that complete options describe."""
    return Architecture(num_users=users, **{name: getattr(options, name) for name in (*SIZES, "dropout")})


def model_input(data: SeerData, architecture: Architecture) -> np.ndarray:
    """The part of the MIDI array that a model reads, (songs, sequence_length, features)."""
    steps = data.midi[:, : architecture.sequence_length]
    return np.ascontiguousarray(select_channels(steps, architecture.channels))


def jit(options: SeerOptions) -> bool:
    """Whether to compile with XLA: it is off where op determinism is asked for, as the two exclude each other."""
    return not options.deterministic


def released_line(found: Mapping[str, float]) -> str:
    """The line that the released code prints after each epoch."""
    ranked = [f"{name.upper()}@{k}: {found[f'{name}@{k}_released']}" for name in ("map", "ndcg") for k in CUTOFFS]
    return f"RMSE = {found['rmse']} MAE = {found['mae']} " + " ".join(ranked)
