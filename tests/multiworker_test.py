"""Two workers on this machine train as one process does, also when one of them is killed and all start again."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import PROJECT

SCRIPT = """
import itertools
import os
import common.runtime
from common.options import run_script

dies, epochs = os.environ["DIES"] == "yes", itertools.count()

def deadly(batches):
    second = next(epochs) == 1
    for number, batch in enumerate(batches):
        if dies and second and number == 1:
            os.kill(os.getpid(), 9)
        yield batch
"""
TRANSFORMERS = """
from session_transformers import fitting
from session_transformers.train import SessionOptions, main

make = fitting.make_batches
fitting.make_batches = lambda *given: lambda epoch, of_epoch=make(*given): deadly(of_epoch(epoch))
run_script(main, SessionOptions)
"""
GRU4REC = """
from gru4rec import experiment
from gru4rec.train import GruOptions, main

make = experiment.chunks
experiment.chunks = lambda *given: deadly(make(*given))
run_script(main, GruOptions)
"""
SIZES = "--model bert --width 16 --feed-forward 16 --encoder-layers 1 --heads 2 --batch-size 32 --dropout 0.3"
GRU_SIZES = "--layers 8 6 --negatives 16 --batch-size 8 --dropout-input 0.1 --dropout-hidden 0.2 --momentum 0.1"
PAPERS = {
    # Script, options, days of the sample.
    "session_transformers": (TRANSFORMERS, SIZES.split(), 2),  # its norm is clipped, too
    "gru4rec": (GRU4REC, [*GRU_SIZES.split(), "--learning-rate", "0.01"], 4),
}


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(paper, arguments, dies, **environment):
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "DIES": "yes" if dies else "no"} | environment
    script, sizes, _ = PAPERS[paper]
    command = [sys.executable, "-c", SCRIPT + script, *sizes, "--epochs", "3", "--deterministic", *arguments]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def together(paper, arguments, dying=None):
    """Exit status, stdout and stderr of two workers."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for number in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        workers.append(start(paper, [*arguments, "--distribute", "multiworker"], number == dying, TF_CONFIG=config))
    outputs = [worker.communicate(timeout=300) for worker in workers]
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("paper", PAPERS)
def test_two_workers_one_of_them_killed_and_resumed_equal_one_process(paper, tmp_path):
    sample = SessionSampleOptions(tmp_path / "mssd", sessions=200, tracks=100, days=PAPERS[paper][2])
    write_sample(tmp_path / "mssd", sample)
    arguments = ["--data-dir", str(tmp_path / "mssd")]
    alone = start(paper, [*arguments, "--run-dir", str(tmp_path / "one")], dies=False)
    assert alone.wait(300) == 0, alone.stderr.read()
    arguments += ["--run-dir", str(tmp_path / "two")]
    (status, _, err), (killed, *_) = together(paper, arguments, dying=1)
    assert (status, killed) == (2, -9) and err.startswith("error: another worker is gone") and "--resume" in err, err
    assert len((tmp_path / "two" / "history.csv").read_text().splitlines()) == 2
    (first, out, err), (second, said, _) = together(paper, [*arguments, "--resume"])
    assert (first, second) == (0, 0), err
    assert "Written to" in out and said.count("\n") == 1 and "by worker 0" in said
    one, two = (dict(np.load(tmp_path / run / "checkpoint.npz")) for run in ("one", "two"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        if name.startswith("model"):
            np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-6, err_msg=name)
    figures = [json.loads((tmp_path / run / "metrics.json").read_text())["metrics"] for run in ("one", "two")]
    assert figures[1] == pytest.approx(figures[0], rel=1e-4)
