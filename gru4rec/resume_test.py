"""A run that is killed, or interrupted, in the middle of an epoch and resumed equals an uninterrupted one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.options import PROJECT, parse
from common.testing import arrays_of
from conftest import GOLDEN
from gru4rec.options import GruOptions
from gru4rec.train import main

OPTIONS = ("--layers", "8", "--negatives", "16", "--batch-size", "4", "--no-baselines", "--dropout-hidden", "0.2")
OPTIONS = (*OPTIONS, "--momentum", "0.1", "--epochs", "3", "--deterministic")
SCRIPT = """
import itertools, os, signal, sys
from gru4rec import experiment
from gru4rec.run import GruOptions, main, run_script

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by children of a shell's background jobs
chunks, epochs = experiment.chunks, itertools.count()

def deadly(*arguments):
    second = next(epochs) == 1
    for number, chunk in enumerate(chunks(*arguments)):
        if second and number == 2:
            os.kill(os.getpid(), int(os.environ["SIGNAL"]))
        yield chunk

experiment.chunks = deadly
run_script(main, GruOptions)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sessions")
    for name in ("train.tsv", "test.tsv"):
        shutil.copy(GOLDEN / "gru4rec" / name, folder)
    return folder


def train(data: Path, run_dir: Path, *more: str) -> dict:
    return main(parse(GruOptions, ["--data-dir", str(data), *OPTIONS, "--run-dir", str(run_dir), *more]))


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory, private_data):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return folder, train(data, folder)


@pytest.mark.slow
@pytest.mark.golden
@pytest.mark.parametrize("kind", [signal.SIGKILL, signal.SIGINT])
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(kind, data, whole, tmp_path):
    run_dir = tmp_path / "run"
    environment = os.environ | {"SIGNAL": str(int(kind)), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", SCRIPT, "--data-dir", str(data), *OPTIONS, "--run-dir", str(run_dir)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    if kind == signal.SIGKILL:
        assert done.returncode == -signal.SIGKILL
    else:
        assert done.returncode == 130
        assert done.stderr.strip().splitlines()[-1].startswith("interrupted; continue from its last whole epoch")
    history = (run_dir / "history.csv").read_text().splitlines()
    assert len(history) == 2 and not (run_dir / "model.weights.h5").exists(), done.stderr

    figures = main(parse(GruOptions, ["--resume", "--run-dir", str(run_dir)]))
    folder, expected = whole
    ours, theirs = (arrays_of(path / "checkpoint.npz") for path in (run_dir, folder))
    assert ours.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)
    assert figures["metrics"] == expected["metrics"] and figures["official_ties"] == expected["official_ties"]
    losses = [[line.split(",")[1] for line in (path / "history.csv").open()] for path in (run_dir, folder)]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    assert not [path.name for path in run_dir.iterdir() if path.name.startswith(".")]
