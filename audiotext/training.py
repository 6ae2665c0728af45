"""Training of the networks: batches read row by row, early stopping, and predictions for any number of items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from audiotext.losses import half_cosine, mean_squared_error, weighted_half_cosine
from audiotext.rows import Rows, as_rows
from common.checkpoint import Progress
from common.epochs import Monitor, epoch_order
from common.optimizers import make_optimizer
from common.options import require
from common.training import Batch, EpochBatches, Trainer, padded, parts_per_batch

EPSILON = 1e-8
"""Of Adam in tartarus; Keras's default is ten times as much."""
RELEASED_BLOCK = 50_000
"""Rows among which tartarus shuffles patches."""


@dataclass(frozen=True)
class FitOptions:
    """How a network is trained; the defaults are tartarus's."""

    epochs: int = 100
    """At most."""
    batch_size: int = 32
    """The seed's is 256."""
    learning_rate: float = 1e-3
    """Of Adam."""
    patience: int = 4
    """Epochs without a lower validation loss after which training stops; the seed's is 5. 0: it does not stop."""
    seed: int = 1
    """Of the order and of dropout."""
    restore_best: bool = True
    """End with the weights of the epoch of the lowest validation loss; the released code ends with the last."""
    block: int | None = None
    """Shuffle only within blocks of so many rows and drop the rest of each block that fills no batch, as the released
    code does with patches (:data:`RELEASED_BLOCK`)."""
    jit: bool = True
    """Compile with XLA."""
    quiet: bool = False
    """Show no progress."""


def fit(
    model: keras.Model,
    inputs: Mapping[str, Any],
    targets: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    options: FitOptions,
    run_dir: Path | None = None,
    resume: bool = False,
    description: str = "",
) -> Progress:
    """Train ``model`` to meet the direction of ``targets``; call it within the strategy's scope.

    Args:
        model: see :func:`audiotext.model.network`.
        inputs: name -> a row for each item: an array, a sparse matrix or :class:`audiotext.rows.Rows`.
        targets: (items, factors) of any length; a row of zeros moves nothing.
        train, validation: rows; without any to validate by, the last epoch stays.
        options: see there.
        run_dir: keeps what ``resume`` needs; None keeps nothing.
        resume: go on from the last whole epoch in ``run_dir``.
        description: what the progress bar begins with.

    Raises:
        UserError: inputs and targets differ in their rows, the targets are not finite, the loss is no longer finite
            (the last whole epoch stays on disk), or what ``resume`` finds is damaged.
    """
    rows = check_rows(inputs, targets)
    require(len(train) > 0, "no item is left to train on")
    full = not options.block or min(len(train), options.block) >= options.batch_size
    require(full, f"--batch-size {options.batch_size}: no batch is full, as there are {len(train):,} training items")
    scaled = keras.config.dtype_policy().name == "mixed_float16"
    optimizer = make_optimizer("adam", options.learning_rate, scaled)
    getattr(optimizer, "inner_optimizer", optimizer).epsilon = EPSILON
    early = Monitor("val_loss", patience=options.patience, restore=options.restore_best)
    monitor = early if len(validation) else None
    trainer = Trainer(model, optimizer, options.seed, run_dir, weighted_half_cosine, options.jit, monitor)
    if resume:
        trainer.resume()
    predict = Predictor(model, min(1024, max(len(validation), 1)), options.jit)
    batches = make_batches(rows, targets, train, options, parts_per_batch(tf.distribute.get_strategy()))

    def evaluate(epoch: int) -> dict[str, float]:
        if not len(validation):
            return {}
        predicted, wanted = predict(rows, validation), np.asarray(targets[validation], np.float32)
        loss = float(np.mean(np.asarray(half_cosine(wanted, predicted), np.float64)))
        return {"val_loss": loss, "val_mse": float(mean_squared_error(wanted, predicted).mean())}

    return trainer.fit(batches, options.epochs, evaluate, description, options.quiet)


def check_rows(inputs: Mapping[str, Any], targets: np.ndarray) -> dict[str, Rows]:
    """``inputs`` as rows.

    Raises:
        UserError: they have not as many rows as ``targets``, or a target is NaN or infinite.
    """
    rows = {name: as_rows(source) for name, source in inputs.items()}
    for name, source in rows.items():
        require(
            len(source) == len(targets),
            f"the input {name} has {len(source):,} rows, the factors {len(targets):,}; both need one row per item",
        )
    bad = np.flatnonzero(~np.isfinite(targets).all(axis=1))
    require(not len(bad), f"the factors of {len(bad):,} items are NaN or infinite, first in row {bad[:1].sum()}")
    return rows


def batch_rows(train: np.ndarray, options: FitOptions, epoch: int) -> Iterator[np.ndarray]:
    """The rows of each batch of an epoch, drawn from (seed, epoch)."""
    block = options.block or max(len(train), 1)
    for number, start in enumerate(range(0, len(train), block)):
        part = train[start : start + block]
        order = part[epoch_order(len(part), options.seed + 7919 * number, epoch)]
        stop = len(order) - len(order) % options.batch_size if options.block else len(order)
        for first in range(0, stop, options.batch_size):
            yield order[first : min(first + options.batch_size, stop)]


def make_batches(
    inputs: Mapping[str, Rows], targets: np.ndarray, train: np.ndarray, options: FitOptions, parts: int
) -> EpochBatches:
    """The batches of each epoch, each in ``parts`` of equal size."""
    size = math.ceil(options.batch_size / parts)

    def batches(epoch: int) -> Iterable[Sequence[Batch]]:
        for rows in batch_rows(train, options, epoch):
            batch = []
            for part in range(parts):
                mine = np.sort(rows[part * size : (part + 1) * size])  # memory-mapped: in file order
                found = {name: padded(source.take(mine), size) for name, source in inputs.items()}
                weights = padded(np.ones(len(mine), np.float32), size)
                batch.append(Batch(found, padded(np.asarray(targets[mine], np.float32), size), weights))
            yield batch

    return batches


class Predictor:
    """Outputs of a network, or of a part of one, in inference mode; computed in blocks of one shape.

    Args:
        model: takes a dictionary of inputs.
        block: rows per call.
        jit: compile with XLA.
    """

    def __init__(self, model: keras.Model, block: int = 1024, jit: bool = True) -> None:
        self.block = block

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def forward(inputs: Any) -> Any:
            return model(inputs, training=False)

        self._forward: Callable[[Any], Any] = forward

    def __call__(self, inputs: Mapping[str, Any], rows: np.ndarray | None = None) -> np.ndarray:
        """Outputs (n, ...) float32 of the items ``rows``, or of all."""
        sources = {name: as_rows(source) for name, source in inputs.items()}
        if rows is None:
            rows = np.arange(len(next(iter(sources.values()))))
        outputs = []
        for start in range(0, max(len(rows), 1), self.block):  # once even for no rows: the shape is the model's
            mine = rows[start : start + self.block]
            found = {name: padded(source.take(mine), self.block) for name, source in sources.items()}
            outputs.append(np.asarray(self._forward(found), np.float32)[: len(mine)])
        return np.concatenate(outputs)
