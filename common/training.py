"""Training of Keras models by batches, on one device or several.

A paper hands over a model and, for each epoch, its batches as NumPy arrays; :mod:`common.epochs` goes from epoch to
epoch. One compiled step serves a single device and ``tf.distribute`` strategies alike: the loss of a batch is
sum(weight * loss) / sum(weight) over all replicas, whatever the padding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from common import runtime
from common.checkpoint import Progress
from common.epochs import EpochLoop, Monitor, Trained
from common.optimizers import sum_rows
from common.pipeline import Pipeline
from common.replicas import TogetherBeforeUpdate, said_if_a_worker_is_gone, spread


@dataclass(frozen=True)
class Batch:
    """Training examples as fixed-shape arrays.

    Attributes:
        inputs: what the model takes, by input name.
        targets: (n, ...).
        weights: as the targets; 0 marks padding, real examples have weight 1 (or any positive weight).
    """

    inputs: dict[str, np.ndarray]
    targets: np.ndarray
    weights: np.ndarray


SETTLING, HALVINGS = 100, 15
"""Steps in which a batch is tried again if its scaled gradients overflow float16, and how often: 2^15 is the first
scale. Left out, as later ones are, these steps are those in which a model learns most."""
EpochBatches = Callable[[int], Iterable[Sequence[Batch]]]
"""Epoch number -> its batches, each as parts of equal shapes: one part per replica, or on a single device as many as
should run at the same time (always the same number)."""
CPU_PARTS = 2
"""Parts of a batch that pay on a CPU: XLA uses little more than one core for a step of a recurrent network. Not the
number of cores, as dropout depends on it: the same seed should give the same model on every machine."""


def squared_error(targets: Any, predictions: Any, weights: Any) -> Any:
    """sum(weight * (target - prediction)^2) over the examples."""
    return ops.sum(weights * ops.cast(ops.square(ops.cast(targets, predictions.dtype) - predictions), "float32"))


def parts_per_batch(strategy: Any) -> int:
    """Into how many parts to split a batch: one per replica of ``strategy``; for a single CPU :data:`CPU_PARTS`."""
    replicas = strategy.num_replicas_in_sync
    return CPU_PARTS if replicas == 1 and not tf.config.list_physical_devices("GPU") else replicas


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """``array`` with zeros appended to ``size`` rows: few distinct shapes mean few compilations."""
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


class Trainer:
    """Fits a Keras model, batch by batch.

    Args:
        model: built Keras model; under a strategy, built within its scope, as the optimizer.
        optimizer: see :func:`common.optimizers.make_optimizer`.
        seed: seed of dropout; the order of the batches is the caller's.
        run_dir: folder of the run, or None to keep nothing.
        loss: (targets, predictions, weights) -> sum(weight * loss) over the examples, in float32.
        jit: compile the step with XLA.
        monitor: figure of ``evaluate`` that chooses the best epoch, whose trainable weights stay; None: the last one.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        seed: int,
        run_dir: Path | None = None,
        loss: Callable[[Any, Any, Any], Any] = squared_error,
        jit: bool = True,
        monitor: Monitor | None = None,
    ) -> None:
        self.model, self.optimizer, self.seed = model, optimizer, seed
        self.strategy = tf.distribute.get_strategy()
        self._pipeline, self._settled = Pipeline(), False
        optimizer.build(model.trainable_variables)
        together = TogetherBeforeUpdate(optimizer) if self.strategy.num_replicas_in_sync > 1 else None
        variables = {f"model_{i}": variable for i, variable in enumerate(model.weights)}
        trained = {id(variable) for variable in model.trainable_variables}
        weights = [name for name, variable in variables.items() if id(variable) in trained]
        variables |= {f"optimizer_{i}": variable for i, variable in enumerate(optimizer.variables)}
        self._loop = EpochLoop(variables, run_dir, monitor, weights)

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def gradients(trainable: Any, state: Any, inputs: Any, targets: Any, weights: Any) -> Any:
            # Tensors in, tensors out: the parts of a batch run at the same time only if none of them holds a variable.
            with tf.GradientTape() as tape:
                tape.watch(trainable)
                predictions, after = model.stateless_call(trainable, state, inputs, training=True)
                value = loss(targets, predictions, weights)
                scaled = optimizer.scale_loss(value)
            found = tape.gradient(scaled, trainable, unconnected_gradients="zero")  # a weight may be out of use
            # Rows of embeddings are summed here, within the compiled part; SummedRows then has nothing left to do.
            moved = {str(i): new for i, (new, old) in enumerate(zip(after, state, strict=True)) if new is not old}
            return value, [sum_rows(g) for g in found], moved

        def update(found: Any) -> None:
            optimizer.apply(found, model.trainable_variables)

        if jit and not tf.distribute.has_strategy() and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            # Compiled, it reads and writes each weight once; but replicas, and loss scaling, talk to each other in it.
            update = tf.function(update, jit_compile=True, reduce_retracing=True)

        def step(parts: Any) -> Any:
            trainable = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
            first = tf.distribute.get_replica_context().replica_id_in_sync_group
            values, of_parts, states = zip(
                *(gradients(trainable, runtime.state_of_part(model, first + i), *part) for i, part in enumerate(parts)),
                strict=True,
            )
            found = [tf.add_n(same) for same in zip(*of_parts, strict=True)]
            update(together(found) if together else found)
            for i, variable in enumerate(model.non_trainable_variables):
                after = [state[str(i)] for state in states if str(i) in state]  # frozen tables do not move
                if after and runtime.is_seed(variable):
                    # Its first number tells the parts apart for one step only: all replicas go on from the same state.
                    variable.assign(tf.concat([variable.value[:1], after[0][1:]], axis=0))
                elif after:
                    variable.assign(tf.add_n(after) / len(after))  # statistics of the batch are averaged
            return tf.add_n(values)

        @tf.function(reduce_retracing=True)
        def distributed(parts: Any) -> Any:
            values = self.strategy.run(step, args=(parts,))
            return self.strategy.reduce("SUM", values, axis=None)

        self._step = distributed

    def fit(
        self,
        batches: EpochBatches,
        epochs: int,
        evaluate: Callable[[int], dict[str, float]] | None = None,
        description: str = "",
        quiet: bool = False,
    ) -> Progress:
        """Train up to ``epochs`` epochs in all, see :meth:`common.epochs.EpochLoop.run`."""

        def train(epoch: int, bar: tqdm) -> Trained:
            runtime.reseed(self.model, self.seed, epoch)
            return self._epoch(batches(epoch), bar)

        return self._loop.run(train, epochs, evaluate, description, quiet=quiet)

    @property
    def progress(self) -> Progress:
        """What is done so far."""
        return self._loop.progress

    def resume(self) -> None:
        """Continue from the checkpoint in the run directory, see :meth:`common.epochs.EpochLoop.resume`."""
        self._loop.resume()

    def _epoch(self, batches: Iterable[Sequence[Batch]], bar: tqdm) -> Trained:
        losses: list[Any] = []
        counts: list[int] = []
        for parts, count in self._pipeline(map(_scaled, batches)):
            with said_if_a_worker_is_gone(self.strategy):
                losses.append(self._made_step(spread(self.strategy, parts)))
            counts.append(int(count))
            bar.update()
        values = np.array([float(loss) for loss in losses], np.float64)
        mean = float(np.average(values, weights=counts)) if len(values) else math.nan
        return Trained(mean, sum(counts), batch_losses=values.tolist())

    def _made_step(self, parts: Any) -> Any:
        """The loss of a batch after its step, which loss scaling leaves out when a gradient overflows float16."""
        inner = getattr(self.optimizer, "inner_optimizer", None)
        if inner is None or self._settled:
            return self._step(parts)
        before = int(ops.convert_to_numpy(inner.iterations))  # of several devices, too
        self._settled = before >= SETTLING
        for _ in range(1 + HALVINGS):  # each one halves the scale
            loss = self._step(parts)
            if self._settled or int(ops.convert_to_numpy(inner.iterations)) > before:
                break
        return loss


def _scaled(parts: Sequence[Batch]) -> tuple[Any, np.int64]:
    """The parts of a batch, their weights scaled to a sum of 1 in all, and its number of examples."""
    scale = np.float32(1.0 / sum(float(part.weights.sum()) for part in parts))
    examples = sum(int(np.count_nonzero(part.weights)) for part in parts)
    tensors = tuple((dict(p.inputs), p.targets, p.weights.astype(np.float32) * scale) for p in parts)
    return tensors, np.int64(examples)


class BlockPredictor:
    """Outputs of a model (inference mode) for any number of rows, computed in blocks of one shape.

    Args:
        model: takes one array, or a list of arrays.
        block: rows per call.
        jit: compile with XLA.
    """

    def __init__(self, model: keras.Model, block: int, jit: bool = True) -> None:
        self.block = block

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def forward(rows: Any) -> Any:
            return model(rows, training=False)

        self._forward = forward

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        """Outputs (n, ...) float32 for arrays of n rows each; memory-mapped ones are read block by block."""
        n = len(inputs[0])
        outputs = []
        for start in range(0, max(n, 1), self.block):  # once even for no rows: the output's shape is the model's
            rows = [padded(np.asarray(array[start : start + self.block]), self.block) for array in inputs]
            outputs.append(np.asarray(self._forward(rows if len(rows) > 1 else rows[0]), np.float32)[: n - start])
        return np.concatenate(outputs)
