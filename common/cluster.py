"""Cluster: which of its workers this process is, from the environment variable TF_CONFIG; without TensorFlow.

TF_CONFIG='{"cluster": {"worker": ["hostA:5000", "hostB:5000"]}, "task": {"type": "worker", "index": 0}}'
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import console
from common.options import UserError, require

HOW = (
    '--distribute multiworker needs TF_CONFIG in the environment of each worker: {"cluster": {"worker": ["host:port", '
    '...]}, "task": {"type": "worker", "index": 0}}, the index being its own'
)


_OWN: list[Path] = []
"""Folders that this worker has been given."""


@dataclass(frozen=True)
class Worker:
    """One of the processes that train a model together."""

    number: int
    """From 0, the chief, which keeps the run directory."""
    of: int
    """All workers."""


def this_worker() -> Worker:
    """The worker that TF_CONFIG says this process is.

    Raises:
        UserError: there is no such variable, or it does not tell.
    """
    try:
        found = json.loads(os.environ["TF_CONFIG"])
        cluster, task = found["cluster"], found["task"]
        addresses = {kind: list(cluster.get(kind, [])) for kind in ("chief", "worker")}
        everybody = [address for kind in addresses.values() for address in kind]
        for address in everybody:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
                raise ValueError(f"{address!r:.60} is not host:port")
        if len(set(everybody)) < len(everybody):
            raise ValueError("two workers have one address, and would wait for each other for ever")
        known = [(kind, place) for kind, of in addresses.items() for place in range(len(of))]
        own = (task["type"], int(task["index"]))
        if own not in known:
            raise ValueError(f"the cluster has no {own[0]!r:.60} of index {own[1]}")
        return Worker(known.index(own), len(known))
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UserError(f"{HOW} ({type(error).__name__}: {error!s:.200})") from None


def own_folder(run_dir: Path | None, resume: bool) -> Path | None:
    """Where this worker may write: None is the run directory itself, for the chief; else a folder that is deleted.

    All workers do the same work, so what they would write is the same, too. A worker that resumes is given what the
    chief has kept. A run within a run (a branch of audiotext) lies in such a folder already.

    Raises:
        UserError: there is no ``--run-dir``, so that the workers would not agree on one.
    """
    require(
        run_dir is not None, "--distribute multiworker needs --run-dir: the same for all workers, where all can read it"
    )
    assert run_dir is not None
    worker = this_worker()
    if worker.number == 0 or any(run_dir.is_relative_to(folder) for folder in _OWN):
        return None
    folder = Path(tempfile.mkdtemp(prefix="encore-worker-"))
    _OWN.append(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if resume:
        shutil.copytree(run_dir, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tensorboard", ".*"))
    said = f"worker {worker.number} of {worker.of}: results are printed and kept by worker 0, in {run_dir}"
    console.say(said, flush=True)
    sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 (until the end; it would print the same)
    return folder
