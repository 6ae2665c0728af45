"""Two workers on this machine train as one process does, also when one of them is killed and all start again."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from common.options import PROJECT
from common.testing import metrics_of
from tests.tiny_datasets import DATASETS

SCRIPT = """
import importlib
import itertools
import json
import os
import sys
import typing

import common.runtime
from common.command import run_script
from common.reporting import charts

charts._save = lambda figure, path: None  # drawing takes as long as training
runs, dies = json.loads(sys.argv[1]), os.environ["DIES"] == "yes"
epochs = itertools.count()

def deadly(batches):
    second = next(epochs) == 1
    for number, batch in enumerate(batches):
        if dies and second and number == 1:
            os.kill(os.getpid(), 9)
        yield batch

def endanger(module, name, method):
    owner = getattr(importlib.import_module(module), name) if method else importlib.import_module(module)
    before = getattr(owner, method or name)
    setattr(owner, method or name, lambda *given: deadly(before(*given)))

if dies:
    endanger("gru4rec.training", "chunks", None)
    endanger("dtnmr.batches", "Batches", "epoch")
    kind = importlib.import_module("common.training").Trainer
    fit = kind.fit
    kind.fit = lambda self, batches, *a, **k: fit(self, lambda epoch: deadly(batches(epoch)), *a, **k)
for paper, arguments in runs.items():
    sys.argv = [paper, *arguments]
    main = importlib.import_module(paper + ".train").main
    run_script(main, typing.get_type_hints(main)["options"])
"""
PAPERS = {
    # Options of a small run with dropout; adaptive steps are kept short, as they make much of rounding errors.
    "audiotext": "--model mm-lf-h1 --text-units 8 8 --filters 4 4 4 4 --fusion-units 8 --jobs 1 --factors 4 "
    "--batch-size 8",
    "dtnmr": "--mlp 8 --embedding 4 --lstm 4 --dropout 0.3 --batch-size 256 --optimizer sgd --test-points 50",
    "gru4rec": "--layers 8 6 --negatives 16 --batch-size 8 --dropout-input 0.1 --dropout-hidden 0.2 --momentum 0.1 "
    "--learning-rate 0.01",
    "seer": "--sequence-length 6 --latent-features 4 --batch-size 100 --dropout 0.3",
    "session_transformers": "--model bert --width 16 --feed-forward 16 --encoder-layers 1 --heads 2 --batch-size 32 "
    "--dropout 0.3",  # its norm is clipped, too
}
KILLED = ("audiotext", "dtnmr", "gru4rec")
"""Papers with a loop of their own over epochs or networks; the others train as audiotext's networks do."""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(runs, dies, **environment):
    """A process that trains the papers of ``runs`` one after the other."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "DIES": "yes" if dies else "no"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, json.dumps(runs)],
        cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def together(runs, dying=None):
    """Exit status, stdout and stderr of two workers."""
    runs = {paper: [*arguments, "--distribute", "multiworker"] for paper, arguments in runs.items()}
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for number in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        workers.append(start(runs, number == dying, TF_CONFIG=config))
    outputs = [worker.communicate(timeout=300) for worker in workers]
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


@pytest.mark.slow
def test_two_workers_one_of_them_killed_and_resumed_equal_one_process(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    runs = {}
    for paper, sizes in PAPERS.items():
        raw = tmp_path / "raw" / paper
        raw.mkdir(parents=True)
        DATASETS[paper](raw)
        runs[paper] = [*sizes.split(), "--epochs", "3", "--no-baselines", "--deterministic", "--data-dir", str(raw)]
    alone = start({paper: [*given, "--run-dir", str(one / paper)] for paper, given in runs.items()}, dies=False)
    runs = {paper: [*given, "--run-dir", str(two / paper)] for paper, given in runs.items()}
    for paper in KILLED:
        (status, _, err), (killed, *_) = together({paper: runs[paper]}, dying=1)
        assert (status, killed) == (2, -9) and "error: another worker is gone" in err, (paper, err)
        (history,) = (two / paper).rglob("history.csv")  # of audiotext that of its first branch
        assert len(history.read_text().splitlines()) == 2 and not (two / paper / "metrics.json").exists()
        runs[paper].append("--resume")
    (first, out, err), (second, said, _) = together(runs)
    assert (first, second) == (0, 0), err
    assert out.count("Written to") >= len(PAPERS) and said.count("\n") == 1 and "by worker 0" in said
    _, err = alone.communicate(timeout=300)
    assert alone.returncode == 0, err
    checkpoints = sorted(one.rglob("checkpoint.npz"))
    assert len(checkpoints) == len(PAPERS) + 2, "audiotext trains two branches before it fuses them"
    for path in checkpoints:
        expected, found = dict(np.load(path)), dict(np.load(two / path.relative_to(one)))
        assert expected.keys() == found.keys()
        for name, array in expected.items():
            if name.startswith("model"):
                np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-6, err_msg=f"{path}, {name}")
        figures = [metrics_of(run / path.parent.relative_to(one))["metrics"] for run in (one, two)]
        assert figures[1] == pytest.approx(figures[0], rel=1e-4)
