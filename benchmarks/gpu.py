"""Every network at its paper's sizes on a GPU, in float32 and mixed_float16: equal finite losses, and steps a second.

The models are written in ``keras.ops`` alone, so any backend of Keras trains them; this script needs no TensorFlow::

    KERAS_BACKEND=jax python benchmarks/gpu.py
    KERAS_BACKEND=torch python benchmarks/gpu.py --only seer

A few steps on one made-up batch, without dropout, are taken from the same start weights on the processor in float32
(the reference), on the GPU in float32, and there in mixed_float16; then, with dropout, steps are timed. The loop is
Keras's own with a dense optimizer: it shows what a GPU makes of the networks, not what the trainers of this project do,
which update touched rows alone. A machine without a GPU compares and times its processor.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras
import numpy as np
from keras import ops
from measuring import measure, record
from tasks import FLOAT32_ONLY, TASKS, Sized, Task

from common.command import run_script
from common.options import UserError, require
from common.reporting.figures import machine

LARGEST_ERROR = {"float32": 2e-3, "mixed_float16": 3e-2}
"""Largest relative differences of losses from those of the processor in float32: GPUs multiply float32 matrices with
ten bits of mantissa by default, float16 has as many, and a few steps add to what they lose."""
LOSS_SCALE = 2.0**10
"""Small enough that no first gradient overflows: a step that is left out would shift all losses after it."""


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    only: tuple[str, ...] = ()
    """Beginnings of the names of networks to run, such as seer or session-transformers/bert; none is all."""
    steps: int = 5
    """Steps whose losses are compared."""
    seconds: float = 3.0
    """For how long steps are timed, the first ones of each network not counted."""
    scale: float = 1.0
    """Share of the paper's sizes, for a quick try."""


class Objective(keras.Model):
    """A task as ``fit`` takes it: its output is its loss."""

    def __init__(self, task: Task) -> None:
        super().__init__(name="objective")
        self.model, self.loss_of = task.model, task.loss
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """The loss of a batch."""
        value = ops.cast(self.loss_of(self.model, inputs, training), "float32")
        self.add_loss(value)
        return value


def processor() -> str:
    """The processor as Keras's backend calls it; PyTorch takes cpu:0 for another device than its own, cpu."""
    return "cpu" if keras.backend.backend() == "torch" else "cpu:0"


def accelerator() -> str:
    """The device that Keras uses by itself: gpu:0 where there is one."""
    if keras.backend.backend() != "torch":
        return str(keras.distribution.list_devices()[0])
    import torch

    return "gpu:0" if torch.cuda.is_available() else processor()


@contextlib.contextmanager
def placed(device: str, policy: str) -> Iterator[None]:
    """Models are built and trained on a device, in a precision."""
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(policy)
    try:
        with keras.device(device):
            yield
    finally:
        keras.config.set_dtype_policy("float32")
        keras.backend.clear_session()


def objective(task: Task, policy: str) -> Objective:
    """A task ready for training."""
    optimizer = keras.optimizers.Adam(1e-3)
    if policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=LOSS_SCALE)
    found = Objective(task)
    found.compile(optimizer, auto_scale_loss=False, jit_compile=keras.backend.backend() != "torch")
    return found


def losses(make: Callable[[Sized], Task], scale: float, steps: int, device: str, policy: str) -> np.ndarray:
    """(steps,) losses on one batch without dropout."""
    with placed(device, policy):
        task = make(Sized(scale, dropout=False))
        trained, found = objective(task, policy), []
        for _ in range(steps):
            trained.reset_metrics()
            found.append(trained.train_on_batch(task.batch, return_dict=True)["loss"])
    return np.asarray(found, np.float64)


def steps_per_second(make: Callable[[Sized], Task], scale: float, seconds: float, device: str, policy: str) -> float:
    """With dropout, the batch sent to the device in every step."""
    with placed(device, policy):
        task = make(Sized(scale, dropout=True))
        trained = objective(task, policy)

        def batches() -> Iterator[tuple[dict[str, np.ndarray]]]:
            while True:
                yield (task.batch,)

        def run(steps: int) -> float:
            return measure(lambda: trained.fit(batches(), steps_per_epoch=steps, shuffle=False, verbose=0)).best

        run(2)
        count = int(np.clip(seconds / (run(3) / 3), 3, 2000))
        return count / run(count)


def figures_of(name: str, device: str, options: Options) -> tuple[dict[str, float | str], list[str]]:
    """The figures of a network, and what is wrong with them."""
    make = TASKS[name]
    reference = losses(make, options.scale, options.steps, processor(), "float32")
    row: dict[str, float | str] = {"device": f"{keras.backend.backend()} on {device}", "loss": float(reference[-1])}
    wrong = [] if np.isfinite(reference).all() else [f"losses {reference} on the processor"]
    for policy in ("float32", "mixed_float16")[: 1 if name in FLOAT32_ONLY else 2]:
        if (device, policy) != (processor(), "float32"):  # which is the reference itself
            found = losses(make, options.scale, options.steps, device, policy)
            error = float(np.max(np.abs(found - reference) / np.abs(reference)))
            row[f"{policy}: relative difference of losses"] = error
            if not error <= LARGEST_ERROR[policy]:
                wrong.append(f"losses {found} in {policy}, {reference} on the processor in float32")
        row[f"{policy}: steps/s"] = steps_per_second(make, options.scale, options.seconds, device, policy)
    return row, wrong


def main(options: Options) -> dict[str, dict[str, float | str]]:
    """Run the benchmark; figures by network."""
    chosen = [name for name in TASKS if not options.only or name.startswith(options.only)]
    require(bool(chosen), f"--only {' '.join(options.only)}: no network's name begins so; there are {', '.join(TASKS)}")
    require(options.steps >= 1, f"--steps is {options.steps}; it must be 1 or more")
    require(options.seconds > 0, f"--seconds is {options.seconds}; it must be above 0")
    require(0 < options.scale <= 1, f"--scale is {options.scale}; it must lie in 0..1, 0 excluded")
    device = accelerator()
    print(f"{keras.backend.backend()} on {device}", flush=True)
    figures: dict[str, dict[str, float | str]] = {}
    failed: list[str] = []

    def run_all() -> None:
        for name in chosen:
            figures[name], wrong = figures_of(name, device, options)
            failed.extend(f"{name}: {what}" for what in wrong)
            told = (f"  {key} {value:.4g}" for key, value in figures[name].items() if key != "device")
            print(name, *told, flush=True)

    taken = measure(run_all)
    if failed:
        raise UserError("; ".join(failed))
    if device == processor() or options != Options():
        print("Not recorded: only all networks at their papers' sizes on a GPU are.")
    else:
        record(Path(__file__).stem, options, figures, machine(), taken.best)
    return figures


if __name__ == "__main__":
    run_script(main, Options)
