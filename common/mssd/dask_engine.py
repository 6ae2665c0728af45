"""The steps of the preparation of session logs on a cluster, by Dask (extra ``cluster``).

Dask, not Spark: it is pip-installable Python, where Spark needs a Java machine on every node. Its tasks are the very
functions that one machine runs, NumPy reader and all, so that the arrays are the same bit for bit; Spark would need a
second implementation of each. And its scheduler runs the tasks of a lost worker again, which is all that is asked of
an engine where each step is a map over files and a sum.

All machines must see the logs, and the folder where the arrays are made, under the same paths, and have this project
installed. Dask's workers execute what they are sent: keep the scheduler's port inside the cluster.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.mssd.conversion import available_cores
from common.mssd.tasks import Result
from common.options import PROJECT, UserError, require

if TYPE_CHECKING:
    from distributed import Client

TIMEOUT = 10.0
"""Seconds to reach the scheduler of a cluster, and for its first worker to appear."""
START_TIMEOUT = 180.0
"""Seconds for the processes of a cluster on this machine to start."""


class Cluster:
    """Runs tasks on the workers of a Dask cluster; see :class:`common.mssd.tasks.Tasks`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> list[Result]:
        """``function(*job)`` for each job, in the order of the jobs; those of a worker that is lost run again.

        Raises:
            UserError: as the first job, in this order, that fails; or a worker lacks this project or a file, or
                several workers were lost with the same job.
        """
        from distributed import KilledWorker

        futures = [self._client.submit(function, *job, pure=False) for job in jobs]
        try:
            return [future.result() for future in futures]
        except KilledWorker as error:
            raise UserError(
                f"--engine dask: {function.__name__} was lost with {error.allowed_failures + 1} workers; do they have "
                "enough memory? See their logs"
            ) from error
        except (ImportError, OSError) as error:
            raise UserError(f"--engine dask: {function.__name__} fails on a worker: {error}") from error
        finally:
            self._client.cancel([future for future in futures if not future.done()])

    def check_visible(self, files: Sequence[Path], folder: Path) -> None:
        """Look whether every worker sees the ``files``, and in ``folder`` what this process writes there.

        Raises:
            UserError: one does not.
        """
        mark = folder / uuid.uuid4().hex
        mark.touch()
        try:
            seen = self._client.run(_missing, [*files, mark])
        except Exception as error:  # whatever a worker raises comes back
            raise UserError(
                f"--engine dask: a worker fails ({error}); has it this project, in this version?"
            ) from error
        for worker, missing in sorted(seen.items()):
            where = folder if missing == mark else missing
            require(
                missing is None,
                f"--engine dask: the worker {worker} does not see {where}; all machines must see it under this path",
            )
        mark.unlink()


def _missing(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if not path.exists()), None)


@contextlib.contextmanager
def connected(scheduler: str = "") -> Iterator[Cluster]:
    """The cluster of ``scheduler``, or for the time of the block one of processes on this machine, one for each core.

    Args:
        scheduler: its address, such as ``tcp://10.0.0.1:8786``; "" takes the environment variable
            DASK_SCHEDULER_ADDRESS, and without it the processes.

    Raises:
        UserError: Dask is not installed, the scheduler cannot be reached, or it has no worker.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError("--engine dask: Dask is not installed; install the extra: pip install -e .[cluster]") from None
    with contextlib.ExitStack() as stack:
        address = scheduler or os.environ.get("DASK_SCHEDULER_ADDRESS", "")
        patience = TIMEOUT if address else START_TIMEOUT
        address = address or stack.enter_context(local_processes(available_cores()))
        try:
            client = stack.enter_context(Client(address, timeout=patience, set_as_default=False))
        except (OSError, ValueError, TypeError, ImportError) as error:  # TypeError: another protocol
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"--dask-scheduler {address}: cannot be reached within {patience:g} s ({reason}); is it running?"
            ) from error
        try:
            client.wait_for_workers(1, timeout=patience)
        except TimeoutError as error:
            raise UserError(f"--dask-scheduler {address}: has no worker; start some: dask worker {address}") from error
        yield Cluster(client)


@contextlib.contextmanager
def local_processes(workers: int) -> Iterator[str]:
    """The address of a scheduler with ``workers`` processes on this machine, open to this machine only.

    The workers are fresh Pythons, not children of this one with all that it has loaded, and end with it.
    """
    from distributed import LocalCluster

    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL
        ) as cluster,
    ):
        address: str = cluster.scheduler_address
        command = [sys.executable, "-m", "dask", "worker", address, "--host", "127.0.0.1", "--no-dashboard"]
        command += ["--nworkers", str(workers), "--nthreads", "1", "--local-directory", folder]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield address
        finally:
            process.terminate()
            try:
                process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
