"""A run that is killed, or interrupted, in the middle of an epoch and resumed equals an uninterrupted one."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.command import parse
from common.options import PROJECT
from common.testing import arrays_of
from conftest import GOLDEN
from gru4rec import training
from gru4rec.options import GruOptions
from gru4rec.train import main

OPTIONS = ("--layers", "8", "--negatives", "16", "--batch-size", "4", "--no-baselines", "--dropout-hidden", "0.2")
OPTIONS = (*OPTIONS, "--momentum", "0.1", "--epochs", "3", "--deterministic")
SCRIPT = """
import itertools, os
from gru4rec import training
from gru4rec.run import GruOptions, main, run_script

chunks, epochs = training.chunks, itertools.count()

def deadly(*arguments):
    second = next(epochs) == 1
    for number, chunk in enumerate(chunks(*arguments)):
        if second and number == 2:
            os.kill(os.getpid(), 9)
        yield chunk

training.chunks = deadly
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


def same(ours: Path, figures: dict, whole: tuple[Path, dict]) -> None:
    folder, expected = whole
    found, wanted = (arrays_of(path / "checkpoint.npz") for path in (ours, folder))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert figures["metrics"] == expected["metrics"] and figures["details"] == expected["details"]
    losses = [[line.split(",")[1] for line in (path / "history.csv").open()] for path in (ours, folder)]
    assert losses[0] == losses[1] and len(losses[0]) == 4
    assert not [path.name for path in ours.iterdir() if path.name.startswith(".")]


def stopped_in_the_second_epoch(run_dir: Path) -> bool:
    history = (run_dir / "history.csv").read_text().splitlines()
    return len(history) == 2 and not (run_dir / "model.weights.h5").exists()


@pytest.mark.slow
@pytest.mark.golden
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(data, whole, tmp_path):
    run_dir = tmp_path / "run"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", SCRIPT, "--data-dir", str(data), *OPTIONS, "--run-dir", str(run_dir)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL and stopped_in_the_second_epoch(run_dir), done.stderr
    same(run_dir, main(parse(GruOptions, ["--resume", "--run-dir", str(run_dir)])), whole)


@pytest.mark.golden
def test_interrupted_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(data, whole, tmp_path, monkeypatch):
    run_dir, chunks, epochs = tmp_path / "run", training.chunks, itertools.count()

    def interrupted(*arguments):
        second = next(epochs) == 1
        for number, chunk in enumerate(chunks(*arguments)):
            if second and number == 2:
                raise KeyboardInterrupt
            yield chunk

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="continue from its last whole epoch"):
        patch.setattr(training, "chunks", interrupted)
        train(data, run_dir)
    assert stopped_in_the_second_epoch(run_dir)
    same(run_dir, main(parse(GruOptions, ["--resume", "--run-dir", str(run_dir)])), whole)
