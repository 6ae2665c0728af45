"""Processes of this machine that work on many files at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Result = TypeVar("Result")


def in_processes(
    function: Callable[..., Result], *arguments: Iterable[Any], workers: int, at_once: int = 4
) -> Generator[Result]:
    """``map(function, *arguments)`` in ``workers`` processes, in order; with one worker in this process.

    Args:
        function: of a module, with small arguments and results.
        *arguments: one of them finite.
        workers: processes.
        at_once: calls that a process takes at a time.

    Raises:
        concurrent.futures.process.BrokenProcessPool: the operating system ended a process.
    """
    if workers == 1:
        yield from map(function, *arguments)
        return
    # Spawned: a fork of a process with threads (NumPy's, TensorFlow's) can lock up.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin)
    try:
        yield from pool.map(function, *arguments, chunksize=at_once)
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    """Leave Ctrl-C to the parent, and end with it: a worker would wait for work for ever if the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
