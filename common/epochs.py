"""Epoch loop: resuming, early stopping and choice of the best epoch, history, TensorBoard.

The only loop of its kind. It knows nothing of a model: a trainer hands over its variables, which a checkpoint keeps, a
function that trains for one epoch and, if there is a validation part, one that measures it. The trainer draws whatever
is random in an epoch from (seed, epoch), so that a run that is killed and resumed equals one that is not, bit for bit.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from common import console
from common.checkpoint import Progress, restore_checkpoint, save_checkpoint
from common.options import require

SPEED = "examples_per_second"
"""Column of the history: examples by seconds of training, validation aside. The only one that a resumed run has not
bit for bit."""
TENSORBOARD = "tensorboard"
"""Folder in that of the run: the curves of the history, and the options of the run as hyper-parameters."""
T = TypeVar("T")


def epoch_order(size: int, seed: int, epoch: int, shuffle: bool = True) -> np.ndarray:
    """The order of ``size`` examples in an epoch: a permutation drawn from (seed, epoch), or 0, 1, 2, ..."""
    # Keras would repeat one permutation in every epoch once a seed is set.
    return np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)


@dataclass(frozen=True)
class Trained:
    """What training for an epoch came to.

    Attributes:
        loss: mean over the examples.
        examples: number of examples trained on.
        figures: further columns of the history.
        batch_losses: loss of every batch.
    """

    loss: float
    examples: float
    figures: Mapping[str, float] = field(default_factory=dict)
    batch_losses: Sequence[float] = ()


@dataclass(frozen=True)
class Monitor:
    """Early stopping: the validation figure that chooses the best epoch, and may end the training.

    Attributes:
        name: column of the history.
        higher: whether a higher figure is better.
        patience: epochs without a better figure after which training stops; 0: it does not stop.
        restore: end with the weights of the best epoch; otherwise with those of the last one.
    """

    name: str
    higher: bool = False
    patience: int = 0
    restore: bool = True

    def best(self, values: Sequence[float]) -> int:
        """The epoch (from 1) of the best of ``values``, the first of equal ones; 0 if none is finite.

        >>> Monitor("val_loss").best([3, 1, math.nan, 1]), Monitor("val_mrr", higher=True).best([math.nan])
        (2, 0)
        """
        finite = [(-value if self.higher else value, epoch) for epoch, value in enumerate(values, 1) if _finite(value)]
        return min(finite)[1] if finite else 0

    def stalled(self, values: Sequence[float]) -> bool:
        """Whether the best of ``values`` is ``patience`` epochs old, which is when Keras's ``EarlyStopping`` stops.

        >>> Monitor("loss", patience=3).stalled([3, 1, 2, 2]), Monitor("loss", patience=3).stalled([3, 1, 2, 2, 1])
        (False, True)
        """
        return 0 < self.patience <= len(values) - self.best(values)


class EpochLoop:
    """Trains epoch after epoch, and keeps what is needed to go on in the directory of the run.

    Args:
        variables: name -> variable: all that training changes, of the model and its optimizer.
        run_dir: gets ``checkpoint.npz``, ``history.csv`` and :data:`TENSORBOARD` after every epoch; None: nothing.
        monitor: chooses the epoch whose weights stay; None: the last one's.
        weights: names of the variables that are set back to those of the best epoch.

    Attributes:
        progress: what is done so far.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        run_dir: Path | None = None,
        monitor: Monitor | None = None,
        weights: Collection[str] = (),
    ) -> None:
        self.variables, self.run_dir, self.monitor = variables, run_dir, monitor
        self.progress = Progress()
        self._weights, self._best = list(weights), dict[str, np.ndarray]()

    def resume(self) -> None:
        """Continue from the checkpoint in the run directory (from the beginning if there is none yet).

        Raises:
            UserError: the checkpoint is damaged, or of another model or version.
        """
        if self.run_dir is None:
            return
        progress, best = restore_checkpoint(self.run_dir, self.variables, self._weights)
        require(
            all(SPEED in row for row in progress.history),
            f"{self.run_dir}: another version began this run (its history has no {SPEED}), and only that can continue "
            "it; leave --resume out and choose another --run-dir",
        )
        self.progress, self._best = progress, best

    def run(
        self,
        train: Callable[[int, tqdm], Trained],
        epochs: int,
        validate: Callable[[int], Mapping[str, float]] | None = None,
        title: str = "",
        unit: str = "batch",
        total: int | None = None,
        quiet: bool = False,
    ) -> Progress:
        """Train up to ``epochs`` epochs in all, fewer if the monitor stops it; then take the best epoch's weights.

        Args:
            train: (epoch, from 0; progress bar, which it moves on) -> what it came to.
            epochs: how many.
            validate: epoch -> figures of the validation part; their names begin with ``val_``.
            title: what the progress bar says before the epoch.
            unit: what the bar counts.
            total: how many of these an epoch has; None if that is not known beforehand.
            quiet: show no bar.

        Raises:
            UserError: the loss is no longer finite; the last whole epoch stays on disk.
        """
        progress, monitor = self.progress, self.monitor
        with contextlib.ExitStack() as stack:
            curves = None
            while progress.epochs < epochs and not (monitor and monitor.stalled(self._monitored(monitor))):
                epoch, started = progress.epochs, time.perf_counter()
                name = f"{title}epoch {epoch + 1}/{epochs}"
                with tqdm(desc=name, unit=f" {unit}", total=total, disable=console.no_bar(quiet), leave=False) as bar:
                    done = train(epoch, bar)
                spent = max(time.perf_counter() - started, 1e-9)
                self._require_finite(name, {"loss": done.loss, **done.figures})
                row = {"epoch": epoch + 1, "loss": done.loss, **done.figures, SPEED: done.examples / spent}
                row |= validate(epoch) if validate else {}
                progress.history.append(row)
                progress.epochs, progress.batch_losses = epoch + 1, list(done.batch_losses)
                if monitor and monitor.restore and monitor.best(self._monitored(monitor)) == progress.epochs:
                    progress.best_epoch = progress.epochs
                    self._best = {name: np.array(self.variables[name]) for name in self._weights}
                progress.seconds += time.perf_counter() - started
                if self.run_dir:
                    save_checkpoint(self.run_dir, self.variables, progress, self._best)
                    curves = curves or stack.enter_context(_curves(self.run_dir))
                    curves(row)
        for name, best in self._best.items():
            self.variables[name].assign(best)
        return progress

    def _monitored(self, monitor: Monitor) -> list[float]:
        return [row[monitor.name] for row in self.progress.history]

    def _require_finite(self, title: str, figures: Mapping[str, float]) -> None:
        kept = f" (earlier epochs are kept in {self.run_dir})" if self.run_dir and self.progress.epochs else ""
        for name, value in figures.items():
            told = f"{title}: the {name.replace('_', ' ')} is {value}; try a smaller --learning-rate{kept}"
            require(_finite(value), told)


def advancing(bar: tqdm, items: Iterable[T]) -> Iterator[T]:
    """``items``, each moving ``bar`` on by one once it has been dealt with."""
    for item in items:
        yield item
        bar.update()


def hyperparameters(run_dir: Path) -> dict[str, bool | int | float | str]:
    """The options of a run by name, those within options as ``outer.inner``; what is not set is left out."""
    try:
        options = json.loads((run_dir / "options.json").read_text("utf-8"))["options"]
    except (OSError, ValueError, LookupError, TypeError):  # not of a command
        return {}
    return {name: value for name, value in _flat(options) if name not in ("resume", "run_dir")}


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value if isinstance(value, (bool, int, float, str)) else json.dumps(value)


@contextlib.contextmanager
def _curves(run_dir: Path) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Writes rows of the history for TensorBoard, after the hyper-parameters of the run."""
    import tensorflow as tf  # by a trainer of whatever kind it has been imported long ago
    from tensorboard.plugins.hparams import api

    writer = tf.summary.create_file_writer(str(run_dir / TENSORBOARD))
    try:
        if found := hyperparameters(run_dir):
            with writer.as_default(step=0):
                api.hparams(found)

        def write(row: Mapping[str, float]) -> None:
            with writer.as_default(step=int(row["epoch"])):
                for name, value in row.items():
                    if name != "epoch":
                        tf.summary.scalar(name, value)
            writer.flush()

        yield write
    finally:
        writer.close()


def _finite(value: float) -> bool:
    return bool(math.isfinite(value))
