"""Replicas that share the examples of a batch out give the weights of a single one."""

import os
import subprocess
import sys

import pytest

from common.options import PROJECT

REPLICAS = """
import common.runtime as runtime
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from dataclasses import replace
import numpy as np
from dtnmr.training_test import SMALL, parts, weights_of

strategy = runtime.strategy("mirrored")
architecture = replace(SMALL, lstm_layers=2, dropout=0.4)
cases = [
    ("dot", "sgd", "softmax", True, 1e-6),
    ("mlp", "adagrad", "full-softmax", False, 1e-5),  # its first step has one length, also where a gradient is 0
    ("linear", "sgd", "bpr", False, 1e-6),
]
for rating, optimizer, loss, jit, atol in cases:
    found = []
    for of in (None, strategy):
        trainer, _, batches = parts(replace(architecture, rating=rating), optimizer, loss, 64, jit=jit, strategy=of)
        assert len(batches) > 1 and len(batches.points) % 64 % 2  # the last batch is filled up in one replica alone
        done = trainer.epoch(batches.epoch(0), 0)
        found.append(weights_of(trainer.model) | {"loss": done.loss, **done.figures})
    for name, expected in found[0].items():
        np.testing.assert_allclose(found[1][name], expected, rtol=0, atol=atol, err_msg=f"{rating} {name}")
print("as on one device")
"""


@pytest.mark.slow
def test_two_devices_equal_one():
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "as on one device\n", done.stderr[-3000:]
