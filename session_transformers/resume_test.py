"""A run that is killed, or interrupted, in the middle of an epoch and resumed equals an uninterrupted one."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from common.command import parse
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import PROJECT, UserError
from common.testing import arrays_of, history_of
from session_transformers import fitting
from session_transformers.options import SessionOptions
from session_transformers.train import main

pytestmark = pytest.mark.usefixtures("eagerly")  # the trainer's compiled steps are resumed in SeER's tests

SMALL = ("--width", "16", "--feed-forward", "16", "--encoder-layers", "1", "--decoder-layers", "1", "--heads", "2")
OPTIONS = (*SMALL, "--no-track-features", "--epochs", "2", "--batch-size", "16", "--dropout", "0.3", "--deterministic")
OPTIONS = (*OPTIONS, "--no-baselines", "--learning-rate", "0.01")
KINDS = {
    "negatives": ("--negatives", "9", "--schedule", "cosine", "--warmup", "0.5", "--clip", "1"),
    "masks": ("--model", "bert"),
    "drop-net": ("--model", "bert-augmented-dropnet", "--dropnet", "0.5", "--bugs", "bert_train_mode"),
}
SCRIPT = """
import os
import tensorflow as tf
from session_transformers import fitting
from session_transformers.train import SessionOptions, main, run_script

make = fitting.make_batches

def deadly(*arguments):
    batches = make(*arguments)

    def of_epoch(epoch):
        for number, batch in enumerate(batches(epoch)):
            if (epoch, number) == (1, 2):
                os.kill(os.getpid(), 9)
            yield batch

    return of_epoch

fitting.make_batches = deadly
tf.config.run_functions_eagerly(True)
run_script(main, SessionOptions)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, private_data) -> Path:
    folder = tmp_path_factory.mktemp("mssd")
    write_sample(folder, SessionSampleOptions(folder, sessions=200, tracks=100, days=2))
    return folder


def train(data: Path, run_dir: Path, *more: str) -> dict:
    return main(parse(SessionOptions, ["--data-dir", str(data), *OPTIONS, "--run-dir", str(run_dir), *more]))


class Whole:
    """Uninterrupted runs, each trained when it is first asked for."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder
        self.made: dict[str, dict] = {}

    def options(self, kind: str) -> tuple[str, ...]:
        """What a run of this kind is told; one that starts from a BERT is told the whole run of that."""
        return KINDS[kind] + (("--bert", str(self("masks")[0])) if kind == "drop-net" else ())

    def __call__(self, kind: str) -> tuple[Path, dict]:
        """Its folder and its figures."""
        if kind not in self.made:
            self.made[kind] = train(self.data, self.folder / kind, *self.options(kind))
        return self.folder / kind, self.made[kind]


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory) -> Whole:
    return Whole(data, tmp_path_factory.mktemp("whole"))


def losses_of(folder: Path) -> list[str]:
    return (folder / "history.csv").read_text().splitlines()


def same(ours: Path, theirs: Path, figures: dict, expected: dict) -> None:
    found, wanted = (arrays_of(folder / "checkpoint.npz") for folder in (ours, theirs))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    assert history_of(ours) == history_of(theirs) and len(losses_of(ours)) == 3
    for name in ("metrics", "details", "best_epoch"):
        assert figures[name] == expected[name]
    assert not [path.name for path in ours.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["negatives", "drop-net"])
def test_interrupted_in_the_second_epoch_and_resumed_equals_uninterrupted(kind, data, whole, tmp_path, monkeypatch):
    (folder, expected), parts = whole(kind), tmp_path / "parts"
    evaluate, calls = fitting.Loss.__call__, iter(range(9))

    def interrupted(*arguments):
        if next(calls) == 1:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match=f"--run-dir {parts} --resume"):
        patch.setattr(fitting.Loss, "__call__", interrupted)
        train(data, parts, *whole.options(kind))
    assert len(losses_of(parts)) == 2 and not (parts / "model.weights.h5").exists()
    resumed = main(parse(SessionOptions, ["--run-dir", str(parts), "--resume"]))  # the folder tells the rest
    same(parts, folder, resumed, expected)


@pytest.mark.slow
def test_killed_in_the_middle_of_an_epoch_and_resumed_equals_uninterrupted(data, whole, tmp_path):
    (folder, expected), parts = whole("masks"), tmp_path / "parts"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        "--data-dir",
        str(data),
        *OPTIONS,
        *KINDS["masks"],
        "--run-dir",
        str(parts),
    ]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert len(losses_of(parts)) == 2 and not (parts / "model.weights.h5").exists(), done.stderr
    same(parts, folder, train(data, parts, *KINDS["masks"], "--resume"), expected)


@pytest.mark.slow
def test_a_run_goes_on_only_as_it_was_started(data, tmp_path):
    folder, short = tmp_path / "run", ("--epochs", "1")
    train(data, folder, *short)
    for more, words in (
        (("--task", "skip"), "was started with task = seq, not skip"),
        (("--negatives", "5"), "was started with negatives = 0, not 5"),
        (("--heads", "4"), "was started with heads = 2, not 4"),
    ):
        with pytest.raises(UserError, match=words):
            train(data, folder, *short, *more, "--resume")
    other = tmp_path / "other"
    write_sample(other, SessionSampleOptions(other, sessions=200, tracks=100, days=2, seed=8))
    with pytest.raises(UserError, match=r"--resume: .* differs from that of the run"):
        train(other, folder, *short, "--resume")
    (folder / "checkpoint.npz").write_bytes(b"PK\3\4 no npz")
    with pytest.raises(UserError, match=r"checkpoint.npz: damaged"):
        train(data, folder, *short, "--resume")
    (folder / "checkpoint.npz").unlink()
    assert train(data, folder, *short, "--resume")["epochs"] == 1
