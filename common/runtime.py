"""Seeds, determinism, precision, devices: the state of the process that a run depends on.

Import this module before Keras: it keeps TensorFlow's start-up messages off the console.
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.options import TrainingOptions, UserError, require
from common.quiet import silent_stderr


def _settings() -> Path:
    """The file of Keras's settings."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json")


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_backend = os.environ.get("KERAS_BACKEND") or "tensorflow"
require(
    _backend == "tensorflow", f"KERAS_BACKEND is {_backend}: the commands run on tensorflow; unset it or set it to that"
)
os.environ["KERAS_BACKEND"] = _backend
with silent_stderr():  # TensorFlow's C++ code logs there before it reads any setting
    try:
        import keras
    except (
        ValueError,
        AttributeError,
        TypeError,
        OSError,
        RecursionError,
    ) as error:  # of what keras.json says; a missing one is well
        raise UserError(f"Keras cannot start with its settings in {_settings()}: {error}; mend or delete it") from None
    import tensorflow as tf
    from tensorflow.python.framework import config as determinism  # which has no public way to switch it off again

    tf.get_logger().setLevel("ERROR")
    tf.config.list_physical_devices()  # looks for GPUs, and complains if there is none

import numpy as np

from common.cluster import this_worker


def require_keras_settings() -> None:
    """Refuse settings of Keras that would change the networks, such as ``floatx`` in its file keras.json.

    Raises:
        UserError: one is not Keras's own default.
    """
    for name, found, wanted in (
        ("floatx", keras.config.floatx(), "float32"),
        ("epsilon", keras.config.epsilon(), 1e-7),
        ("image_data_format", keras.config.image_data_format(), "channels_last"),
    ):
        require(found == wanted, f"{_settings()}: {name} is {found}; it must be {wanted}: set that or delete the file")


require_keras_settings()


def configure(options: TrainingOptions) -> None:
    """Apply ``--deterministic``, ``--precision`` and ``--seed`` to this process, before any model is built."""
    if options.deterministic:
        tf.config.experimental.enable_op_determinism()
    if options.distribute == "multiworker":
        strategy("multiworker")  # it must be there before anything is computed
    keras.config.set_dtype_policy(precision(options))
    keras.utils.set_random_seed(options.seed)


@contextlib.contextmanager
def applied(options: TrainingOptions) -> Iterator[None]:
    """Apply ``--deterministic`` and ``--precision`` within the block, and leave the process as it was before.

    Nothing random that a block draws may depend on the seeds of the process, which stay as they are.
    """
    policy, determined = keras.config.dtype_policy(), determinism.is_op_determinism_enabled()
    try:
        if options.deterministic:
            determinism.enable_op_determinism()
        if options.distribute == "multiworker":
            strategy("multiworker")  # it must be there before anything is computed
        keras.config.set_dtype_policy(precision(options))
        yield
    finally:
        keras.config.set_dtype_policy(policy)
        if not determined:
            determinism.disable_op_determinism()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw the initial weights of the networks that are built within the block from ``seed``.

    Keras takes the seeds of layers that have none from Python's generator, which afterwards is as it was before.
    """
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


def precision(options: TrainingOptions) -> str:
    """Name of the Keras dtype policy that ``--precision`` stands for on this machine."""
    if options.precision != "auto":
        return options.precision
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"


@functools.cache  # a process can join its cluster only once
def strategy(distribute: str) -> Any:
    """The ``tf.distribute`` strategy that ``--distribute`` names; build models and optimizers within its scope."""
    if distribute == "none":
        return tf.distribute.get_strategy()
    if distribute == "multiworker":
        this_worker()  # refuses what is wrong with TF_CONFIG
        return tf.distribute.MultiWorkerMirroredStrategy()
    require(distribute == "mirrored", f"--distribute {distribute}: expected none, mirrored or multiworker")
    # All GPUs; without one, the logical CPU devices of this process (one, unless the caller configured more).
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tf.distribute.MirroredStrategy([device.name for device in devices])


def reseed(model: keras.Model, seed: int, epoch: int) -> None:
    """Set every random generator of ``model`` from (seed, epoch), so that a resumed epoch draws the same dropout."""
    for index, state in enumerate(v for v in model.non_trainable_variables if is_seed(v)):
        draw = np.random.default_rng((seed, epoch, index)).integers(0, 2**31, size=state.shape)
        state.assign(draw.astype("uint32"))


def state_of_part(model: keras.Model, part: Any) -> list[Any]:
    """The non-trainable variables of ``model`` as tensors, its random generators moved on for a part of a batch.

    Parts (from 0) that run at the same time must not draw the same dropout masks. A generator counts its draws in its
    second number; its first one tells the parts apart.
    """
    moved = tf.stack([part * 0x9E3779B, 0])  # a large odd number: seeds that differ by little do not meet
    states = [(v, tf.convert_to_tensor(v.value)) for v in model.non_trainable_variables]
    return [value + tf.cast(moved, value.dtype) if is_seed(v) else value for v, value in states]


def is_seed(variable: Any) -> bool:
    """Whether ``variable`` is the state of a random generator of Keras."""
    return variable.path.endswith("seed_generator_state")
