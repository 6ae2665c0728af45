"""The training of DTNMR: steps that read and write only those rows of the wide kernels that their examples need.

The first layer of either tower, 9,200 columns wide at KKBOX's size, is where the released code spends its time. Here a
step gathers the rows of the columns in the batch, sums them, computes loss and gradients of all else in one compiled
function, sums the gradients of each row and updates those rows in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from common import console, runtime
from common.checkpoint import Progress
from common.dropout import drop
from common.epochs import EpochLoop, Monitor, Trained, advancing
from common.optimizers import RowOptimizer
from common.options import require
from common.replicas import said_if_a_worker_is_gone
from dtnmr.architecture import Architecture
from dtnmr.batches import Touched
from dtnmr.dataset import KkboxData, training_part
from dtnmr.evaluation import make_task, means, point_values
from dtnmr.losses import Loss, make_loss
from dtnmr.model import TABLES, Inputs, Masks, Networks
from dtnmr.negatives import Negatives
from dtnmr.options import DtnmrOptions
from dtnmr.parallel import shared_out
from dtnmr.row_optimizers import make_optimizer
from dtnmr.scoring import Scorer, recommender
from dtnmr.training_batches import Batch, Batches

Evaluate = Callable[[int], dict[str, float]]
MONITOR = Monitor("val_next_mrr", higher=True)
VALIDATION_POINTS = 5_000
"""Validation examples that choose the epoch; of more, as many are drawn."""


class Trainer:
    """Trains a model batch by batch.

    Args:
        model: the networks.
        optimizer: see :mod:`dtnmr.row_optimizers`.
        loss: from :func:`dtnmr.losses.make_loss`.
        pool: (songs,) which songs a full softmax is over; None for losses over label and negatives.
        seed: of dropout.
        user_side: compute the user's side and its gradients. Default: but for ``linear``, where the losses do not
            depend on it: its gradients are zero (of the released code: rounding noise), and so is their effect.
        jit: compile with XLA.
        strategy: of ``tf.distribute``: shares the examples of a batch out between its replicas
            (:mod:`dtnmr.parallel`); the model and the optimizer are made outside its scope.
    """

    def __init__(
        self,
        model: Networks,
        optimizer: RowOptimizer,
        loss: Loss,
        pool: np.ndarray | None = None,
        seed: int = 1,
        user_side: bool | None = None,
        jit: bool = True,
        strategy: Any = None,
    ) -> None:
        architecture, named = model.architecture, model.named
        self.model, self.seed, self.strategy = model, seed, strategy
        if user_side is None:
            user_side = architecture.rating != "linear"
        dense = [n for n in named if n not in TABLES and (user_side or n.startswith(("song.", "rating.")))]
        barred = None if pool is None else tf.constant(np.where(pool, 0.0, -1e30).astype(np.float32))

        def gradients(
            weights: Any,
            of_users: Any,
            of_songs: Any,
            inputs: Inputs,
            live: Any,
            whole: Any,
            seeds: Any,
            scale: Any,
            own: Any = lambda values, axis: values,
        ) -> Any:
            """Loss, hits and for each unit whether it is alive; gradients of the first three, times ``scale``.

            ``live`` (B,) are the weights of the examples, ``whole`` those of the batch together; ``own`` picks these
            examples along an axis of all that the batch has.
            """
            replicas = 1 if alone else strategy.num_replicas_in_sync
            with (
                tf.GradientTape() as tape,
                keras.StatelessScope([(named[name], weight) for name, weight in weights.items()]),
            ):
                tape.watch((weights, of_users, of_songs))
                songs = model.music(of_songs, inputs.lengths)  # (S, E)
                if user_side:
                    masks = _masks(architecture, inputs.history.shape[0] * replicas, seeds, own)
                    user = model.users(of_users, songs, inputs, masks)  # (B, E)
                else:
                    user = tf.zeros((inputs.history.shape[0], architecture.embedding), songs.dtype)
                if barred is None:
                    scores = tf.cast(model.rating(user, model.songs_at(songs, inputs.candidates)), tf.float32)  # (B, C)
                    labels = tf.zeros_like(inputs.candidates[:, 0])
                else:
                    scores = tf.cast(model.rating(user, songs), tf.float32) + barred  # (B, S)
                    labels = inputs.candidates[:, 0]
                value = tf.reduce_sum(loss(scores, labels) * live) / whole
                scaled = value * scale
            found = tape.gradient(scaled, (weights, of_users, of_songs), unconnected_gradients="zero")
            own = tf.gather(scores, labels, axis=1, batch_dims=1)
            above = tf.reduce_sum(tf.cast(scores >= own[:, None], tf.float32), axis=1) <= 1.0  # ties count against it
            alive = tf.reduce_any(tf.gather(songs, inputs.candidates) != 0.0, axis=(0, 1))
            return (
                value,
                tf.reduce_sum(tf.cast(above, tf.float32) * live),
                tf.cast(alive, tf.float32),
                found,
            )

        alone = strategy is None or strategy.num_replicas_in_sync == 1
        of_batch = tf.function(gradients, jit_compile=jit)
        if not alone:
            of_batch = shared_out(gradients, architecture.embedding, strategy, jit)

        @tf.function(reduce_retracing=True)
        def step(batch: Batch, seeds: Any) -> Any:
            inputs, rows = batch.inputs, batch.inputs.history.shape[0]
            of_users = tf.zeros((rows, architecture.mlp[0]))
            if user_side:
                of_users = _product(named[TABLES[0]], batch.users, inputs.user_rows, rows)
            of_songs = _product(named[TABLES[1]], batch.songs, inputs.song_rows, inputs.lengths.shape[0])
            weights = {name: tf.convert_to_tensor(named[name].value) for name in dense}
            # Lists of columns stay outside: their lengths differ from batch to batch, and each would be compiled anew.
            fixed = inputs._replace(song_bits=(), song_rows=(), user_bits=(), user_rows=())
            whole = tf.reduce_sum(batch.weights)
            scale = tf.convert_to_tensor(optimizer.scale.factor) if optimizer.scale else tf.constant(1.0)
            of_inputs = (of_users, of_songs, fixed, batch.weights, whole, seeds, scale)
            value, hits, alive, found = of_batch(weights, *of_inputs)

            def update(gradients: Any) -> None:
                d_dense, d_users, d_songs = gradients
                if user_side:
                    optimizer.rows(TABLES[0], batch.users.rows, _of_rows(d_users, batch.users, inputs.user_rows))
                optimizer.rows(TABLES[1], batch.songs.rows, _of_rows(d_songs, batch.songs, inputs.song_rows))
                for name in dense:
                    optimizer.whole(name, d_dense[name])

            if optimizer.scale:
                optimizer.scale.apply(found, update)
            else:
                update(found)
            return value, hits, tf.math.count_nonzero(alive)

        self._step = step

    def step(self, batch: Batch, epoch: int = 0, number: int = 0) -> tuple[Any, Any, Any]:
        """Train on one batch.

        Returns:
            The loss before the step, how many labels scored above all else, and how many of the E units of the
            candidates' vectors were alive (not zero for all of them).
        """
        draw = np.random.default_rng((self.seed, epoch)).integers(0, 2**30)
        return self._step(tf.nest.map_structure(tf.constant, batch), tf.constant([draw, number], tf.int32))

    def epoch(self, batches: Iterable[Batch], epoch: int) -> Trained:
        """Train on the batches of an epoch.

        Returns:
            With the figures ``accuracy`` (share of labels that scored above all else; ties count against the label)
            and ``units_alive`` of the last batch.
        """
        done, counts = [], []
        for number, batch in enumerate(batches):
            done.append(self.step(batch, epoch, number))
            counts.append(float(batch.weights.sum()))
        if not done:
            return Trained(math.nan, 0, {"accuracy": math.nan, "units_alive": 0})
        losses, examples = [float(value) for value, _, _ in done], sum(counts)
        hits = sum(float(hits) for _, hits, _ in done)
        figures = {"accuracy": hits / examples, "units_alive": int(done[-1][2])}
        return Trained(float(np.average(losses, weights=counts)), examples, figures, losses)


def fit(
    trainer: Trainer,
    optimizer: RowOptimizer,
    batches: Batches,
    epochs: int,
    folder: Path | None = None,
    resume: bool = False,
    evaluate: Evaluate | None = None,
    monitor: Monitor | None = None,
    description: str = "DTNMR, ",
) -> Progress:
    """Train up to ``epochs`` epochs in all, see :class:`common.epochs.EpochLoop`.

    Args:
        trainer, optimizer, batches: what to train with.
        epochs: passes over the examples.
        folder: of the run; None keeps nothing.
        resume: continue from the checkpoint in ``folder``.
        evaluate: epoch -> figures of the validation part.
        monitor: chooses the epoch whose weights stay; None: the last one's.
        description: what the progress bar says before the epoch.

    Raises:
        UserError: there is no example, or the loss is no longer finite (the last whole epoch stays on disk).
    """
    require(epochs == 0 or len(batches) > 0, "no training example is left; see --min-playlist-len and --top")
    weights: dict[str, Any] = {f"model.{name}": variable for name, variable in trainer.model.named.items()}
    variables = weights | {f"optimizer.{name}": variable for name, variable in optimizer.state.items()}
    loop = EpochLoop(variables, folder, monitor, weights)
    if resume:
        loop.resume()

    def train(epoch: int, bar: tqdm) -> Trained:
        with said_if_a_worker_is_gone(trainer.strategy):
            done = trainer.epoch(advancing(bar, batches.epoch(epoch)), epoch)
        if done.examples and not done.figures["units_alive"]:
            bar.close()
            console.notify(f"warning: {description}epoch {epoch + 1}/{epochs}: {DEAD}")
        return done

    return loop.run(train, epochs, evaluate, description, total=len(batches))


def train(model: Networks, options: DtnmrOptions, data: KkboxData, folder: Path | None = None) -> Progress:
    """Train on the training file alone; with validation examples the weights of the best epoch stay, else the last."""
    assert options.epochs is not None and options.batch_size and options.loss and options.optimizer
    assert options.learning_rate is not None
    data = training_part(data)
    scaled = runtime.precision(options) == "mixed_float16"
    optimizer = make_optimizer(options.optimizer, model.named, options.learning_rate, scaled)
    negatives, pool = None, None
    if options.loss == "full-softmax":
        pool = data.plays > 0
    else:
        assert options.negatives is not None
        power = options.negatives_power or 0.0
        negatives = Negatives(data, options.negatives, options.subset_size - 1, options.seed, power)
    loss, strategy = make_loss(options.loss), runtime.strategy(options.distribute)
    trainer = Trainer(model, optimizer, loss, pool, options.seed, jit=not options.deterministic, strategy=strategy)
    batches = Batches(model.architecture, data, data.train, negatives, options.batch_size, options.seed)
    validate = Validation(model, data, options.seed) if len(data.validation) else None
    monitor = MONITOR if validate else None
    return fit(trainer, optimizer, batches, options.epochs, folder, options.resume, validate, monitor)


class Validation:
    """Ranks the next song at validation examples, by which the best epoch is chosen."""

    def __init__(self, model: Networks, data: KkboxData, seed: int) -> None:
        self.model, self.data = model, data
        self.task = make_task(replace(data, test=data.validation), seed, VALIDATION_POINTS)

    def __call__(self, epoch: int) -> dict[str, float]:
        """The figures of an epoch for its row of the history."""
        found = means(point_values(recommender(Scorer(self.model, self.data)), self.task, (10,)))
        return {MONITOR.name: found["next_mrr"], "val_next_recall@10": found["next_recall@10"]}


DEAD = (
    "all units of the songs' vectors are dead (the ReLU after the last layer passes nothing): every score ties and "
    "nothing is learnt any more; start again with another --seed or a smaller --learning-rate"
)


def _product(kernel: Any, touched: Touched, rows: Any, count: int) -> Any:
    """(count, H): :func:`dtnmr.model.summed_rows`, reading each row of the kernel once."""
    gathered = tf.gather(kernel.value, touched.rows)
    return tf.raw_ops.SparseSegmentSumWithNumSegments(
        data=gathered, indices=touched.place, segment_ids=rows, num_segments=count
    )


def _of_rows(gradient: Any, touched: Touched, rows: Any) -> Any:
    """(D, H): the gradients of the rows touched, from those of the products (count, H)."""
    places = tf.gather(touched.place, touched.order)
    return tf.raw_ops.SparseSegmentSumWithNumSegments(
        data=gradient,
        indices=tf.gather(rows, touched.order),
        segment_ids=places,
        num_segments=tf.size(touched.rows),
    )


def _masks(architecture: Architecture, rows: int, seeds: Any, own: Any) -> list[Masks] | None:
    """Dropout of the long and the short sequence: drawn for the ``rows`` of the batch, of which ``own`` picks some."""
    rate = architecture.dropout
    if rate == 0:
        return None

    def mask(number: int, *shape: int) -> Any:
        return own(drop(tf.ones(shape), rate, seeds + tf.constant([number, 0])), axis=len(shape) - 2)

    units, between = architecture.lstm, architecture.lstm_layers - 1
    lengths = (architecture.long_length, architecture.short_length)
    return [
        Masks(mask(2 * i, between, length, rows, units), mask(2 * i + 1, rows, units))
        for i, length in enumerate(lengths)
    ]
