"""Seeds, precision and devices."""

import os
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import runtime
from common.options import TrainingOptions, UserError
from common.quiet import silent_stderr
from common.reporting.schema import versions


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("backend", ["foo", "jax", "torch"])
def test_another_backend_is_one_line(backend):
    environment = os.environ | {"KERAS_BACKEND": backend}
    code = "from common.command import run_script\nfrom common.options import TrainingOptions\n"
    code += "def main(options):\n import common.runtime\nrun_script(main, TrainingOptions)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith(f"error: KERAS_BACKEND is {backend}: the commands run on tensorflow")


def test_settings_that_change_the_networks_are_one_line(monkeypatch):
    monkeypatch.setenv("KERAS_HOME", "/k")
    for name, odd in (("floatx", "float64"), ("epsilon", 1e-3), ("image_data_format", "channels_first")):
        usual = getattr(keras.config, name)()
        getattr(keras.config, f"set_{name}")(odd)
        try:
            with pytest.raises(UserError, match=f"^/k/keras.json: {name} is {odd}; it must be {usual}"):
                runtime.require_keras_settings()
        finally:
            getattr(keras.config, f"set_{name}")(usual)
    runtime.require_keras_settings()


@pytest.mark.parametrize("asked", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_precision_becomes_the_policy_of_new_layers(asked):
    runtime.configure(TrainingOptions(precision=asked))
    layer = keras.layers.Dense(2)
    assert (layer.compute_dtype, layer.variable_dtype) == (asked.removeprefix("mixed_"), "float32")


@pytest.mark.parametrize(("gpus", "expected"), [([], "float32"), (["GPU:0"], "mixed_float16")])
def test_auto_precision_is_half_on_a_gpu_only(gpus, expected, monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    assert runtime.precision(TrainingOptions()) == expected
    assert runtime.precision(TrainingOptions(precision="float32")) == "float32"


def test_the_seed_fixes_initial_weights():
    def first(seed):
        runtime.configure(TrainingOptions(seed=seed))
        return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]).get_weights()[0]

    np.testing.assert_array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


def test_strategies():
    assert runtime.strategy("none") is tf.distribute.get_strategy()
    mirrored = runtime.strategy("mirrored")
    assert isinstance(mirrored, tf.distribute.MirroredStrategy)
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    assert mirrored.num_replicas_in_sync == len(devices)
    with pytest.raises(UserError, match="--distribute worldwide: expected none, mirrored or multiworker"):
        runtime.strategy("worldwide")


def test_versions_tell_what_numbers_depend_on():
    found = versions()
    assert found["tensorflow"] == tf.__version__ and found["keras"] == keras.__version__
    assert found["numpy"] == np.__version__ and found["python"].startswith(f"{sys.version_info[0]}.")


def test_stderr_is_open_again_after_the_silence(capfd):
    with silent_stderr():
        os.write(2, b"noise\n")
    os.write(2, b"told\n")
    assert capfd.readouterr().err == "told\n"
    with pytest.raises(ValueError), silent_stderr():
        raise ValueError
    os.write(2, b"told\n")
    assert capfd.readouterr().err == "told\n"


def test_initial_weights_are_drawn_from_a_seed_and_leave_no_trace():
    def weights(seed):
        with runtime.seeded(seed):
            layer = keras.layers.Dense(3)
            layer.build((None, 4))
        return np.asarray(layer.kernel)

    random.seed(5)
    expected, first = random.random(), weights(1)
    random.seed(5)
    again, other = weights(1), weights(2)
    assert random.random() == expected
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
    keras.utils.set_random_seed(1)  # what commands did before: the same weights
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    np.testing.assert_array_equal(first, layer.kernel)
