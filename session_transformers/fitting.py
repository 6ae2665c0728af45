"""Training of session transformers: what each model is shown, what it must tell, and the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from common.checkpoint import Progress
from common.epochs import Monitor, epoch_order
from common.negatives import Negatives
from common.optimizers import make_optimizer
from common.training import Batch, EpochBatches, Trainer, padded, parts_per_batch
from session_transformers.examples import examples
from session_transformers.model import SessionModel
from session_transformers.options import SessionOptions
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.sessions.halves import Halves
from session_transformers.settings import AnyArchitecture
from session_transformers.softmax import cross_entropy, sampled_cross_entropy

AnyNetwork = SessionModel | RecurrentModel
"""A network that is trained by example."""


class _Objective(keras.Model):
    """A model as the trainer sees it: its states and the output layer, so that the loss can choose what to score."""

    def __init__(self, model: AnyNetwork) -> None:
        super().__init__(name="objective")
        self.model = model
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """(states, W, b), and with ``negatives`` among the inputs those and their expected counts."""
        inputs = dict(inputs)
        extra = [inputs.pop(name) for name in ("negatives", "log_expected") if name in inputs]
        hidden = self.model.hidden(**inputs, training=training)
        return (hidden, *self.model.head.weights_of(), *extra)


def _loss(batch_size: int) -> Callable[[Any, Any, Any], Any]:
    """The loss of one part of a batch, of ``batch_size`` sessions."""

    def loss(labels: Any, predictions: Any, weights: Any) -> Any:
        hidden, table, bias, *sample = predictions
        if sample:
            return sampled_cross_entropy(hidden, labels, weights, table, bias, *(part[0] for part in sample))
        return cross_entropy(hidden, labels, weights, table, bias, batch_size)

    return loss


def part_size(batch_size: int, parts: int) -> int:
    """Sessions in each of the equal parts of a batch."""
    return math.ceil(batch_size / parts)


def make_batches(
    architecture: AnyArchitecture,
    halves: Halves,
    options: SessionOptions,
    parts: int,
    plays: np.ndarray,
) -> EpochBatches:
    """The batches of each epoch; order, masks and negatives follow from (seed, epoch)."""
    assert options.batch_size
    size = part_size(options.batch_size, parts)
    first = architecture.ids.first_track
    sampler = Negatives(plays[first:], options.alpha, options.negatives, options.seed) if options.negatives else None
    if sampler:
        chance = np.diff(sampler.function, prepend=0.0)
        # A track that is never drawn never divides anything.
        expected = np.log(np.maximum(np.concatenate([np.zeros(first), chance]) * options.negatives, 1e-30))
        log_expected = expected.astype(np.float32)[None]

    def batches(epoch: int) -> Iterable[Sequence[Batch]]:
        order = epoch_order(len(halves), options.seed, epoch)
        rng = np.random.default_rng((options.seed, epoch, 1))
        drawn = sampler.epoch(epoch) if sampler else None
        for start in range(0, len(order), size * parts):
            batch = []
            for part in range(parts):
                rows = np.sort(order[start + part * size : start + (part + 1) * size])  # memory-mapped: in file order
                found = examples(architecture, np.asarray(halves.tracks[rows]), np.asarray(halves.skips[rows]), rng)
                inputs, labels, weights = found
                inputs = {name: padded(array, size) for name, array in inputs.items()}
                if drawn:
                    inputs |= {"negatives": drawn.take(1) + first, "log_expected": log_expected}
                batch.append(Batch(inputs, padded(labels, size), padded(weights, size)))
            if any(part.weights.any() for part in batch):  # masks may ask for nothing in a very small batch
                yield batch

    return batches


class Loss:
    """The mean loss over sessions, exact over the whole vocabulary, without dropout; compiled once."""

    def __init__(self, model: AnyNetwork, batch_size: int, jit: bool) -> None:
        self.model, self.batch_size = model, batch_size

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def total(inputs: Any, labels: Any, weights: Any) -> Any:
            hidden = model.hidden(**inputs, training=False)
            return cross_entropy(hidden, labels, weights, *model.head.weights_of(), batch_size)

        self._total = total

    def __call__(self, halves: Halves, seed: int) -> float:
        """Mean over all labels; BERT's masks are drawn from ``seed``, the same in every epoch."""
        rng, total, count = np.random.default_rng((seed, 2)), 0.0, 0.0
        for start in range(0, len(halves), self.batch_size):
            rows = slice(start, start + self.batch_size)
            tracks, skips = np.asarray(halves.tracks[rows]), np.asarray(halves.skips[rows])
            inputs, labels, weights = examples(self.model.architecture, tracks, skips, rng)
            inputs = {name: padded(array, self.batch_size) for name, array in inputs.items()}
            total += float(self._total(inputs, padded(labels, self.batch_size), padded(weights, self.batch_size)))
            count += float(weights.sum())
        return total / count if count else math.nan


def compiles(model: AnyNetwork, options: SessionOptions) -> bool:
    """Whether to compile with XLA: not recurrent models on a CPU, which take longer to compile than they gain."""
    slow = isinstance(model, RecurrentModel) and not tf.config.list_physical_devices("GPU")
    return not (options.deterministic or slow)


def learning_rate(options: SessionOptions, steps: int) -> Any:
    """The step size, or its schedule over ``steps`` steps in all."""
    assert options.learning_rate
    warm = round(options.warmup * steps)
    if options.schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            0.0 if warm else options.learning_rate,
            max(steps - warm, 1),
            warmup_target=options.learning_rate if warm else None,
            warmup_steps=warm,
        )
    if warm:
        return keras.optimizers.schedules.PolynomialDecay(0.0, warm, options.learning_rate)
    return options.learning_rate


def trainer_of(
    model: AnyNetwork,
    options: SessionOptions,
    train: Halves,
    plays: np.ndarray,
    folder: Path | None,
    monitor: Monitor | None,
) -> tuple[Trainer, EpochBatches]:
    """The trainer of a model, built under the strategy in force, and its batches.

    Args:
        model: to be trained.
        options: completed.
        train: sessions.
        plays: (V,) for the sample of negatives.
        folder: of the run, or None to keep nothing.
        monitor: chooses the best epoch; None: the last one.
    """
    assert options.epochs is not None and options.batch_size
    parts = parts_per_batch(tf.distribute.get_strategy())
    size = part_size(options.batch_size, parts)
    steps = math.ceil(len(train) / (size * parts)) * options.epochs
    scaled = keras.config.dtype_policy().name == "mixed_float16"
    optimizer = make_optimizer("adam", learning_rate(options, steps), scaled, options.clip or None)
    objective = _Objective(model)
    trainer = Trainer(objective, optimizer, options.seed, folder, _loss(size), compiles(model, options), monitor)
    return trainer, make_batches(model.architecture, train, options, parts, plays)


def fit(
    model: AnyNetwork,
    options: SessionOptions,
    train: Halves,
    validation: Halves,
    plays: np.ndarray,
    folder: Path | None,
) -> Progress:
    """Train a model and leave it with the weights of the epoch of the lowest validation loss.

    Args:
        model: built under the strategy.
        options: completed.
        train, validation: sessions; without validation sessions the last epoch stays.
        plays: (V,) for the sample of negatives.
        folder: of the run, or None to keep nothing.

    Raises:
        UserError: the loss is no longer finite; the last whole epoch stays on disk.
    """
    assert options.epochs is not None and options.batch_size
    monitor = Monitor("val_loss") if len(validation) else None
    trainer, batches = trainer_of(model, options, train, plays, folder, monitor)
    if options.resume:
        trainer.resume()
    loss = Loss(model, min(options.batch_size, max(len(validation), 1)), compiles(model, options))

    def evaluate(epoch: int) -> dict[str, float]:
        return {"val_loss": loss(validation, options.seed)} if monitor else {}

    return trainer.fit(batches, options.epochs, evaluate, f"{options.model}, {options.task}, ")
