"""Replicas that share the rows of a batch out give the weights of a single one."""

import os
import subprocess
import sys

import pytest

from common.options import PROJECT

REPLICAS = """
import sys
import common.runtime as runtime
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[1]))
import numpy as np
from common.optimizers import RowAdagrad, RowAdam
from gru4rec.losses import make_loss
from gru4rec.model import Architecture, Networks
from gru4rec.training import SessionTrainer
from gru4rec.training_test import ITEMS, sessions_of, train

FEATURES = np.random.default_rng(5).normal(size=(ITEMS, 7)).astype(np.float32)
SESSIONS = sessions_of([3, 4, 3, 4, 4, 5, 9, 7])  # the batch shrinks row by row: states go to other replicas
SUPPORT = np.arange(1, ITEMS + 1)

def fit(strategy, inputs, gru, loss, negatives, adam, jit):
    tf.config.run_functions_eagerly(strategy is None)  # one device is faster without tracing
    content = FEATURES if inputs.startswith("content") else None
    model = Networks(Architecture(ITEMS, (5, 4), inputs, 6, 7, gru), content)
    optimizer = RowAdam(model.named, 0.01) if adam else RowAdagrad(model.named, 0.05, momentum=0.2)
    one = SessionTrainer(
        model, optimizer, make_loss(loss, 1.0, 0.5), 4, SUPPORT, logq=float(loss == "cross-entropy"), alpha=0.5,
        dropout_input=0.2, dropout_hidden=0.3, jit=jit, strategy=strategy,
    )
    losses, live = train(one, SESSIONS, count=negatives, size=8)
    assert live[0] == 4 and live[-1] == (1 if negatives else 2)
    return {name: np.asarray(variable) for name, variable in model.named.items()} | {"losses": losses}

strategy = runtime.strategy("mirrored")
cases = {
    2: [
        ("shared", "original", "cross-entropy", 4, False, True),
        ("separate", "cudnn", "bpr-max", 4, False, False),
        ("content-mlp", "original", "top1-max", 0, False, False),
    ],
    4: [("one-hot", "original", "bpr", 4, False, False), ("content", "cudnn", "top1", 4, True, False)],
}
for case in cases[strategy.num_replicas_in_sync]:
    expected, found = fit(None, *case), fit(strategy, *case)
    # The replicas' gradients are added in no fixed order. Adam divides by their own size, so that the rounding of a
    # gradient near zero moves a weight by a share of the learning rate.
    tolerance = 1e-5 if case[-2] else 1e-6
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=tolerance, err_msg=f"{case} {name}")
print("as on one device")
"""


@pytest.mark.slow
@pytest.mark.parametrize("devices", ["2", "4"])
def test_several_devices_equal_one(devices):
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS, devices],
        cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "as on one device\n", done.stderr[-3000:]
