"""Two workers on this machine train as one process does, also when one of them is killed and all start again."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from common.options import PROJECT
from common.session_sample import SessionSampleOptions, write_sample

OPTIONS = ("--model", "bert", "--width", "16", "--feed-forward", "16", "--encoder-layers", "1", "--heads", "2")
OPTIONS += ("--epochs", "3", "--batch-size", "32", "--dropout", "0.3", "--deterministic")  # its norm is clipped, too
SCRIPT = """
import os
import common.runtime
from session_transformers import fitting
from session_transformers.train import SessionOptions, main, run_script

make, dies = fitting.make_batches, os.environ["DIES"] == "yes"

def deadly(*arguments):
    batches = make(*arguments)

    def of_epoch(epoch):
        for number, batch in enumerate(batches(epoch)):
            if dies and (epoch, number) == (1, 2):
                os.kill(os.getpid(), 9)
            yield batch

    return of_epoch

fitting.make_batches = deadly
run_script(main, SessionOptions)
"""


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start(arguments, dies, **environment):
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "DIES": "yes" if dies else "no"} | environment
    command = [sys.executable, "-c", SCRIPT, *arguments]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def together(arguments, dying=None):
    """Exit status, stdout and stderr of two workers."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for number in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        workers.append(start([*arguments, "--distribute", "multiworker"], number == dying, TF_CONFIG=config))
    outputs = [worker.communicate(timeout=300) for worker in workers]
    return [(worker.returncode, *output) for worker, output in zip(workers, outputs, strict=True)]


@pytest.mark.slow
def test_two_workers_one_of_them_killed_and_resumed_equal_one_process(tmp_path):
    write_sample(tmp_path / "mssd", SessionSampleOptions(tmp_path / "mssd", sessions=200, tracks=100, days=2))
    arguments = ["--data-dir", str(tmp_path / "mssd"), *OPTIONS]
    alone = start([*arguments, "--run-dir", str(tmp_path / "one")], dies=False)
    assert alone.wait(300) == 0, alone.stderr.read()
    arguments += ["--run-dir", str(tmp_path / "two")]
    (status, _, err), (killed, *_) = together(arguments, dying=1)
    assert (status, killed) == (2, -9) and err.startswith("error: another worker is gone") and "--resume" in err, err
    assert len((tmp_path / "two" / "history.csv").read_text().splitlines()) == 2
    (first, out, err), (second, said, _) = together([*arguments, "--resume"])
    assert (first, second) == (0, 0), err
    assert "Written to" in out and said.count("\n") == 1 and "by worker 0" in said
    one, two = (dict(np.load(tmp_path / run / "checkpoint.npz")) for run in ("one", "two"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        if name.startswith("model"):
            np.testing.assert_allclose(two[name], array, rtol=0, atol=1e-6, err_msg=name)
    figures = [json.loads((tmp_path / run / "metrics.json").read_text())["metrics"] for run in ("one", "two")]
    assert figures[1] == pytest.approx(figures[0], rel=1e-4)
