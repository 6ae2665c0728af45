"""Training that can be killed at any moment and resumed to the same weights; the only module with ``tf.data`` loops.

A paper hands over a model and, for each epoch, its batches as NumPy arrays; everything random is drawn from
(seed, epoch). One compiled step serves a single device and ``tf.distribute`` strategies alike: the loss of a batch is
sum(weight * loss) / sum(weight) over all replicas, whatever the padding.
"""

from __future__ import annotations

import itertools
import json
import math
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from common import runtime
from common.optimizers import sum_rows
from common.options import UserError, replacing, require


@dataclass(frozen=True)
class Batch:
    """Training examples as fixed-shape arrays.

    Attributes:
        inputs: what the model takes, by input name.
        targets: (n,).
        weights: (n,); 0 marks padding, real examples have weight 1 (or any positive weight).
    """

    inputs: dict[str, np.ndarray]
    targets: np.ndarray
    weights: np.ndarray


EpochBatches = Callable[[int], Iterable[Sequence[Batch]]]
"""Epoch number -> its batches, each as parts of equal shapes: one part per replica, or on a single device as many as
should run at the same time (always the same number)."""
CPU_PARTS = 2
"""Parts of a batch that pay on a CPU: XLA uses little more than one core for a step of a recurrent network. Not the
number of cores, as dropout depends on it: the same seed should give the same model on every machine."""


def squared_error(targets: Any, predictions: Any) -> Any:
    """(target - prediction)^2 of each example."""
    return ops.square(ops.cast(targets, predictions.dtype) - predictions)


def epoch_order(size: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """The order of ``size`` examples in an epoch: a permutation drawn from (seed, epoch), or 0, 1, 2, ..."""
    # Keras would repeat one permutation in every epoch once a seed is set.
    return np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)


def parts_per_batch(strategy: Any) -> int:
    """Into how many parts to split a batch: one per replica of ``strategy``; for a single CPU :data:`CPU_PARTS`."""
    replicas = strategy.num_replicas_in_sync
    return CPU_PARTS if replicas == 1 and not tf.config.list_physical_devices("GPU") else replicas


def padded(array: np.ndarray, size: int) -> np.ndarray:
    """``array`` with zeros appended to ``size`` rows: few distinct shapes mean few compilations."""
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])


@dataclass
class Progress:
    """What a run has reached: it is saved after every epoch and is all that ``--resume`` needs.

    Attributes:
        epochs: whole epochs done.
        history: one row of figures per epoch.
        batch_losses: loss of every batch of the last epoch.
        best_epoch: epoch (from 1) with the best monitored figure; 0 before the first.
        seconds: time spent in training and validation, over all sessions.
    """

    epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    batch_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


class Trainer:
    """Fits a model and keeps a resumable checkpoint, ``history.csv`` and TensorBoard events in a run directory.

    Args:
        model: built Keras model; under a strategy, built within its scope, as the optimizer.
        optimizer: see :func:`common.optimizers.make_optimizer`.
        seed: seed of dropout; the order of the batches is the caller's.
        run_dir: folder of the run, or None to keep nothing.
        loss: (targets, predictions) -> loss of each example.
        jit: compile the step with XLA.
        monitor: figure of ``evaluate`` to choose the best epoch by (lower is better); None keeps the last epoch.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.optimizers.Optimizer,
        seed: int,
        run_dir: Path | None = None,
        loss: Callable[[Any, Any], Any] = squared_error,
        jit: bool = True,
        monitor: str | None = None,
    ) -> None:
        self.model, self.optimizer, self.seed, self.run_dir, self.monitor = model, optimizer, seed, run_dir, monitor
        self.strategy = tf.distribute.get_strategy()
        self.progress = Progress()
        self.best: list[np.ndarray] = []
        self._prefetched = _Prefetcher()
        optimizer.build(model.trainable_variables)

        @tf.function(jit_compile=jit, reduce_retracing=True)
        def gradients(trainable: Any, state: Any, inputs: Any, targets: Any, weights: Any) -> Any:
            # Tensors in, tensors out: the parts of a batch run at the same time only if none of them holds a variable.
            with tf.GradientTape() as tape:
                tape.watch(trainable)
                predictions, state = model.stateless_call(trainable, state, inputs, training=True)
                value = ops.sum(weights * ops.cast(loss(targets, predictions), "float32"))
                scaled = optimizer.scale_loss(value)
            found = tape.gradient(scaled, trainable)
            # Rows of embeddings are summed here, within the compiled part; SummedRows then has nothing left to do.
            return value, [sum_rows(g) for g in found], state

        def step(parts: Any) -> Any:
            trainable = [tf.convert_to_tensor(v.value) for v in model.trainable_variables]
            first = tf.distribute.get_replica_context().replica_id_in_sync_group
            values, of_parts, states = zip(
                *(gradients(trainable, runtime.state_of_part(model, first + i), *part) for i, part in enumerate(parts)),
                strict=True,
            )
            found = [tf.add_n(same) for same in zip(*of_parts, strict=True)]
            if isinstance(optimizer, keras.optimizers.LossScaleOptimizer) and self.strategy.num_replicas_in_sync > 1:
                found = _overflow_together(found)
            optimizer.apply(found, model.trainable_variables)
            for variable, *after in zip(model.non_trainable_variables, *states, strict=True):
                # Statistics of the batch are averaged; a random generator moves on as its first part's did.
                variable.assign(after[0] if runtime.is_seed(variable) else tf.add_n(after) / len(after))
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
        """Train up to ``epochs`` epochs in all, then restore the best epoch's weights (if ``monitor`` is set).

        Raises:
            UserError: the loss is no longer finite; the last whole epoch stays on disk.
        """
        writer = tf.summary.create_file_writer(str(self.run_dir / "tensorboard")) if self.run_dir else None
        for epoch in range(self.progress.epochs, epochs):
            started = time.perf_counter()
            runtime.reseed(self.model, self.seed, epoch)
            row = {
                "epoch": epoch + 1,
                "loss": self._epoch(batches(epoch), f"{description}epoch {epoch + 1}/{epochs}", quiet),
            }
            row |= evaluate(epoch) if evaluate else {}
            self.progress.history.append(row)
            self.progress.epochs = epoch + 1
            if self.monitor and row[self.monitor] <= min(past[self.monitor] for past in self.progress.history):
                self.progress.best_epoch, self.best = (
                    epoch + 1,
                    [ops.convert_to_numpy(v).copy() for v in self.model.trainable_variables],
                )
            self.progress.seconds += time.perf_counter() - started
            if self.run_dir and writer:
                self._save()
                with writer.as_default(step=epoch + 1):
                    for name, value in row.items():
                        tf.summary.scalar(name, value)
                    writer.flush()
        if self.monitor and self.best:
            for variable, best in zip(self.model.trainable_variables, self.best, strict=True):
                variable.assign(best)
        return self.progress

    def _epoch(self, batches: Iterable[Sequence[Batch]], title: str, quiet: bool) -> float:
        losses: list[Any] = []
        counts: list[int] = []
        bar = tqdm(desc=title, unit=" batch", disable=None if not quiet else True, leave=False)
        with bar:
            for parts, count in self._prefetched(batches):
                losses.append(self._step(self._distribute(parts)))
                counts.append(count)
                bar.update()
        values = np.array([float(loss) for loss in losses], np.float64)
        self.progress.batch_losses = values.tolist()
        mean = float(np.average(values, weights=counts)) if len(values) else math.nan
        require(
            math.isfinite(mean),
            f"{title}: the loss is {mean}; try a smaller --learning-rate (earlier epochs are kept in {self.run_dir})",
        )
        return mean

    def _distribute(self, parts: tuple[Any, ...]) -> Any:
        if self.strategy.num_replicas_in_sync == 1:
            return parts
        choose = self.strategy.experimental_distribute_values_from_function
        flat = [tf.nest.flatten(part) for part in parts]
        values = [choose(lambda c, i=i: flat[c.replica_id_in_sync_group][i]) for i in range(len(flat[0]))]
        return (tf.nest.pack_sequence_as(parts[0], values),)

    def _save(self) -> None:
        """Write everything an uninterrupted run would have in memory here, as one file, in one rename."""
        arrays = {f"model_{i}": ops.convert_to_numpy(v).copy() for i, v in enumerate(self.model.weights)}
        arrays |= {f"optimizer_{i}": ops.convert_to_numpy(v).copy() for i, v in enumerate(self.optimizer.variables)}
        arrays |= {f"best_{i}": value for i, value in enumerate(self.best)}
        assert self.run_dir
        with replacing(self.run_dir / "checkpoint.npz") as file:
            np.savez(file, progress=np.array(json.dumps(vars(self.progress))), **arrays)
        write_history(self.run_dir / "history.csv", self.progress.history)

    def resume(self) -> None:
        """Continue from the checkpoint in the run directory (from the beginning if there is none yet).

        Raises:
            UserError: the checkpoint is damaged or of another model.
        """
        path = self.run_dir / "checkpoint.npz" if self.run_dir else None
        if not path or not path.exists():
            return
        groups = {"model": self.model.weights, "optimizer": self.optimizer.variables}
        try:
            with np.load(path, allow_pickle=False) as saved:
                arrays = {name: saved[name] for name in saved.files}
            progress = Progress(**json.loads(str(arrays.pop("progress"))))
            if progress.best_epoch:
                groups["best"] = self.model.trainable_variables
            expected = {f"{g}_{i}": tuple(v.shape) for g, variables in groups.items() for i, v in enumerate(variables)}
            found = {name: array.shape for name, array in arrays.items()}
            if found != expected:
                raise ValueError(f"it holds {len(found)} arrays, this model needs {len(expected)}, of other shapes")
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path}: damaged, or of another model ({error}); delete it to let --resume start from the first epoch"
            ) from None
        for group in ("model", "optimizer"):
            for i, variable in enumerate(groups[group]):
                variable.assign(arrays[f"{group}_{i}"])
        self.best = [arrays[f"best_{i}"] for i in range(len(groups.get("best", ())))]
        self.progress = progress
        write_history(path.with_name("history.csv"), progress.history)  # a kill may have left the one before


def _overflow_together(gradients: list[Any]) -> list[Any]:
    """Gradients of one replica, all NaN if those of any replica are not finite.

    Keras's loss scaling looks for an overflow before it adds up the replicas' gradients, and only on the first one: an
    overflow on another replica would go into the weights.
    """
    broken = tf.reduce_any([tf.reduce_any(~tf.math.is_finite(gradient)) for gradient in gradients])
    context = tf.distribute.get_replica_context()
    anywhere = context.all_reduce(tf.distribute.ReduceOp.SUM, tf.cast(broken, tf.float32)) > 0
    return [tf.where(anywhere, tf.constant(math.nan, gradient.dtype), gradient) for gradient in gradients]


def write_history(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write one line of figures per epoch as CSV, every digit kept."""
    with replacing(path, "w") as file:
        if rows:
            file.write(",".join(rows[0]) + "\n")
            file.writelines(",".join(repr(value) for value in row.values()) + "\n" for row in rows)


class _Prefetcher:
    """Batches as tensors, the next one prepared while the current one is computed.

    Its ``tf.data`` pipeline is built once: building takes as long as many a small epoch.
    """

    def __init__(self) -> None:
        self._batches: Iterable[Sequence[Batch]] = ()
        self._dataset: Any = None

    def __call__(self, batches: Iterable[Sequence[Batch]]) -> Iterator[tuple[Any, int]]:
        """The parts of each batch, their weights scaled to a sum of 1 in all, and its number of examples."""
        iterator = iter(batches)
        first = next(iterator, None)
        if first is None:
            return
        self._batches = itertools.chain([first], iterator)
        if self._dataset is None:
            example = (tuple((dict(p.inputs), p.targets, p.weights.astype(np.float32)) for p in first), np.int64(0))
            signature = tf.nest.map_structure(_loose, example)
            self._dataset = tf.data.Dataset.from_generator(self._tensors, output_signature=signature).prefetch(2)
        for parts, examples in self._dataset:
            yield parts, int(examples)

    def _tensors(self) -> Iterator[Any]:
        for batch in self._batches:
            total = sum(float(part.weights.sum()) for part in batch)
            examples = sum(int(np.count_nonzero(part.weights)) for part in batch)
            scale = np.float32(1.0 / total)
            yield tuple((dict(p.inputs), p.targets, p.weights.astype(np.float32) * scale) for p in batch), examples


def _loose(array: Any) -> tf.TensorSpec:
    """The type of ``array``, of any number of rows."""
    array = np.asarray(array)
    return tf.TensorSpec((None, *array.shape[1:]) if array.ndim else (), array.dtype)


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
