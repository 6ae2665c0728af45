"""A run that is killed, or interrupted, in the middle of an epoch and resumed equals an uninterrupted one."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from common.command import parse
from common.options import PROJECT
from common.testing import arrays_of
from dtnmr.options import DtnmrOptions
from dtnmr.sample import KkboxSampleOptions, write_sample
from dtnmr.train import main

OPTIONS = ("--mlp", "8", "--embedding", "4", "--lstm", "4", "--no-baselines", "--test-points", "100")
OPTIONS = (*OPTIONS, "--batch-size", "256", "--epochs", "2", "--deterministic")
OPTIONS = (*OPTIONS, "--long-term-len", "5", "--short-term-len", "2", "--lstm-layers", "1")
KINDS = {
    signal.SIGKILL: ("--rating", "mlp"),
    signal.SIGINT: ("--negatives", "popularity"),
}
"""How a run is ended, and options of its own; training_test.py resumes the other losses."""
SCRIPT = """
import os
import signal
from dtnmr.run import DtnmrOptions, main, run_script
from dtnmr.training import Batches

batch_of, calls = Batches.batch, iter(range(10**6))

def deadly(self, chosen, negatives):
    if next(calls) == len(self) + 2:
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    return batch_of(self, chosen, negatives)

Batches.batch = deadly
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by children of a shell's background jobs
run_script(main, DtnmrOptions)
"""


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kkbox")
    write_sample(folder, KkboxSampleOptions(folder, users=60, songs=300))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(kind, db, tmp_path, private_data):
    run_dir, folder = tmp_path / "run", tmp_path / "whole"
    options = ["--db", str(db), *OPTIONS, *KINDS[kind]]
    expected = main(parse(DtnmrOptions, [*options, "--run-dir", str(folder)]))
    environment = os.environ | {"SIGNAL": str(int(kind)), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", SCRIPT, *options, "--run-dir", str(run_dir)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=500)
    if kind == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL, done.stderr
    else:
        assert done.returncode == 130, done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("interrupted; continue from its last whole epoch")
    history = (run_dir / "history.csv").read_text().splitlines()
    assert len(history) == 2 and not (run_dir / "model.weights.h5").exists(), done.stderr

    figures = main(parse(DtnmrOptions, ["--resume", "--run-dir", str(run_dir)]))
    ours, theirs = (arrays_of(path / "checkpoint.npz") for path in (run_dir, folder))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert figures["metrics"] == expected["metrics"] and figures["best_epoch"] == expected["best_epoch"]
    assert sorted(path.name for path in run_dir.iterdir()) == sorted(path.name for path in folder.iterdir())
