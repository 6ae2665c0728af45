"""The training of DTNMR: steps that read and write only those rows of the wide kernels that their examples need.

The first layer of either tower, 9,200 columns wide at KKBOX's size, is where the released code spends its time. Here a
step gathers the rows of the columns in the batch, sums them, computes loss and gradients of all else in one compiled
function, sums the gradients of each row and updates those rows in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from common import console, runtime
from common.checkpoint import Progress
from common.dropout import drop
from common.epochs import EpochLoop, Monitor, Trained, advancing
from common.optimizers import RowAdagrad, RowAdam, RowOptimizer
from common.options import UserError, require
from common.replicas import flat, said_if_a_worker_is_gone, summed
from dtnmr.batches import Batch, Batches, Negatives, Touched
from dtnmr.dataset import KkboxData, training_part
from dtnmr.evaluation import Scorer, make_task, means, point_values, recommender
from dtnmr.losses import Loss, make_loss
from dtnmr.model import TABLES, Inputs, Masks, Networks
from dtnmr.options import Architecture, DtnmrOptions

OptimizerName = Literal["sgd", "adam", "lazy-adam", "adagrad"]


class RowSGD(RowOptimizer):
    """w -= lr g: rows that are not touched have no gradient, so this is plain SGD, exactly."""

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        _subtract(self.variables[name], indices, self.learning_rate * gradients)

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        self.variables[name].value.assign_sub(self.learning_rate * gradient)


class LazyRowAdam(RowOptimizer):
    """Adam whose moments of a row stand still while the row is not touched: not Adam, but as cheap as the batch.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + e), with
    Keras's b1 = 0.9, b2 = 0.999, e = 1e-7 and t the steps of all rows. Weights that every step uses get Adam itself.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-7

    def __init__(self, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False) -> None:
        import tensorflow as tf

        super().__init__(variables, learning_rate, scaled)
        self._tf = tf
        self._means, self._squares = (
            {name: tf.Variable(tf.zeros(variable.shape)) for name, variable in self.variables.items()} for _ in range(2)
        )
        self._steps = {name: tf.Variable(0.0) for name in self.variables}

    @property
    def state(self) -> dict[str, Any]:
        """See :class:`~common.optimizers.RowOptimizer`."""
        kinds = {"mean": self._means, "square": self._squares, "steps": self._steps}
        return super().state | {f"{kind}.{n}": v for kind, variables in kinds.items() for n, v in variables.items()}

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        tf = self._tf
        mean, square = tf.gather(self._means[name], indices), tf.gather(self._squares[name], indices)
        mean, square, step = self._step(name, gradients, mean, square)
        for place, values in ((self._means[name], mean), (self._squares[name], square)):
            tf.raw_ops.ResourceScatterUpdate(resource=place.handle, indices=indices, updates=values)
        _subtract(self.variables[name], indices, step)

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        mean, square, step = self._step(name, gradient, self._means[name], self._squares[name])
        self._means[name].assign(mean)
        self._squares[name].assign(square)
        self.variables[name].value.assign_sub(step)

    def _step(self, name: str, gradient: Any, mean: Any, square: Any) -> tuple[Any, Any, Any]:
        tf, (b1, b2) = self._tf, self.BETAS
        t = self._steps[name].assign_add(1.0)
        mean, square = b1 * mean + (1.0 - b1) * gradient, b2 * square + (1.0 - b2) * tf.square(gradient)
        rate = self.learning_rate * tf.sqrt(1.0 - tf.pow(b2, t)) / (1.0 - tf.pow(b1, t))
        return mean, square, rate * mean / (tf.sqrt(square) + self.EPSILON)


def _subtract(variable: keras.Variable, indices: Any, values: Any) -> None:
    """Subtract ``values`` from the distinct rows ``indices`` in place."""
    import tensorflow as tf

    # Read, change, write back: the kernel that subtracts in place is twice as slow on a CPU.
    rows = tf.gather(variable.value, indices) - values
    tf.raw_ops.ResourceScatterUpdate(resource=variable.value.handle, indices=indices, updates=rows)


def make_optimizer(
    name: OptimizerName, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False
) -> RowOptimizer:
    """The optimizer ``name``: ``adam`` is Keras's, exactly, but writes every row of a kernel in every step.

    ``scaled``: of networks in float16, see :class:`common.optimizers.RowOptimizer`.

    Raises:
        UserError: there is none of that name.
    """
    kinds: dict[str, type[RowOptimizer]] = {
        "sgd": RowSGD,
        "adam": RowAdam,
        "lazy-adam": LazyRowAdam,
        "adagrad": RowAdagrad,
    }
    if name not in kinds:
        raise UserError(f"--optimizer {name}: expected one of {', '.join(kinds)}")
    return kinds[name](variables, learning_rate, scaled=scaled)


OF_EXAMPLES = ("history", "behaviours", "live", "candidates")
"""Inputs that have a row for each example."""


def shared_out(gradients: Callable[..., Any], units: int, strategy: Any, jit: bool) -> Callable[..., Any]:
    """``gradients`` of a step (see :class:`Trainer`), computed by all replicas together.

    The batch is that of a single process, and so are the weights after it. Of its B examples replica r of R computes
    those from r B / R up to (r + 1) B / R: what was heard, by far the most work of ``dot`` and ``mlp``, their
    candidates and their scores. The vectors of the batch's songs are computed by all. One sum makes the gradients the
    batch's.

    Args:
        gradients: (weights, of_users, of_songs, inputs, live, whole, seeds, scale, own) -> (loss, hits, units alive,
            gradients of the first three). It is given one replica's examples; ``own`` picks them along an axis of all.
        units: of the songs' vectors, E.
        strategy: a ``tf.distribute`` strategy. Only its sum is used: the weights are plain variables of each process.
        jit: compile what a replica computes with XLA.

    Returns:
        The function of (weights, of_users, of_songs, inputs, live, whole, seeds, scale) with the results of the whole
        batch, whose rows are a multiple of the replicas.
    """

    @tf.function(jit_compile=jit)
    def share(
        replica: Any,
        weights: Any,
        of_users: Any,
        of_songs: Any,
        inputs: Any,
        live: Any,
        whole: Any,
        seeds: Any,
        scale: Any,
    ) -> Any:
        count = live.shape[0] // strategy.num_replicas_in_sync
        start = replica * count

        def own(values: Any, axis: int = 0) -> Any:
            return tf.gather(values, start + tf.range(count), axis=axis)

        here = inputs._replace(**{name: own(getattr(inputs, name)) for name in OF_EXAMPLES})
        of_inputs = (own(of_users), of_songs, here, own(live), whole, seeds, scale)
        value, hits, alive, found = gradients(weights, *of_inputs, own)
        d_dense, d_users, d_songs = found
        d_users = tf.roll(tf.pad(d_users, [(0, live.shape[0] - count), (0, 0)]), start, 0)  # where the examples stand
        return flat((value, hits, alive, (d_dense, d_users, d_songs)))

    def together(weights: Any, of_users: Any, of_songs: Any, *rest: Any) -> Any:
        like = (tf.zeros(()), tf.zeros(()), tf.zeros(units), (weights, of_users, of_songs))
        return summed(lambda replica: share(replica, weights, of_users, of_songs, *rest), like, strategy)

    return together


Evaluate = Callable[[int], dict[str, float]]
MONITOR = Monitor("val_next_mrr", higher=True)
VALIDATION_POINTS = 5_000
"""Validation examples that choose the epoch; of more, as many are drawn."""


class Trainer:
    """Trains a model batch by batch.

    Args:
        model: the networks.
        optimizer: from :func:`make_optimizer`.
        loss: from :func:`dtnmr.losses.make_loss`.
        pool: (songs,) which songs a full softmax is over; None for losses over label and negatives.
        seed: of dropout.
        user_side: compute the user's side and its gradients. Default: but for ``linear``, where the losses do not
            depend on it: its gradients are zero (of the released code: rounding noise), and so is their effect.
        jit: compile with XLA.
        strategy: of ``tf.distribute``: shares the examples of a batch out between its replicas
            (:func:`shared_out`); the model and the optimizer are made outside its scope.
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
