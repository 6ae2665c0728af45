"""What works on the logs of the Music Streaming Sessions Dataset; the result is the same.

duckdb reads them on this machine within a fixed memory, and dask (extra ``cluster``) on the workers of a cluster, which
then do the other steps as well.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.mssd.conversion import convert_file, converted_logs, in_order
from common.mssd.logs import LogPart
from common.mssd.tasks import BLOCK, InTurn, Tasks, save_array
from common.options import UserError

Engine = Literal["auto", "duckdb", "dask"]


@contextlib.contextmanager
def open_logs(
    paths: Sequence[Path], scratch: Path, engine: Engine = "auto", scheduler: str = ""
) -> Iterator[tuple[list[LogPart], Tasks]]:
    """The logs in the order of their dates, as arrays on disk, and what runs tasks on them.

    Args:
        paths: CSV files and archives of them.
        scratch: an existing folder for temporary files, which are removed at the end of the block.
        scheduler: dask: see :func:`common.mssd.dask_engine.connected`.

    Raises:
        UserError: no log is found, a log is wrong (the message names the file, the line and what was expected), or
            the cluster cannot be used. Nobody has looked for sessions in two logs.
    """
    if engine != "dask":
        with converted_logs(paths, scratch) as parts:
            yield parts, InTurn()
        return
    from common.mssd.dask_engine import connected

    with (
        tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name,
        connected(scheduler) as cluster,
    ):
        folder = Path(name).absolute()
        files = [path.absolute() for path in paths]
        cluster.check_visible(files, folder)
        jobs = [(path, folder / f"{number:06}") for number, path in enumerate(files)]
        converted = [part for parts in cluster.map(convert_file, jobs) for part in parts]
        yield in_order(converted, paths), cluster


def check_distinct(parts: Sequence[LogPart], tasks: Tasks) -> None:
    """No session may be in two logs: it would be learned twice, and might be in the training and the test part.

    Raises:
        UserError: one is; the message names it and both files.
    """
    sessions = sum(tasks.map(_write_hashes, [(part,) for part in parts]))
    slices = 1 + sessions // BLOCK
    edges = [number * 2**64 // slices for number in range(slices)] + [2**64 - 1]
    jobs = [(parts, low, high) for low, high in pairwise(edges)]
    for twice in tasks.map(_twice, jobs):
        if twice is not None:
            name, one, other = twice
            raise UserError(f"session {name} is in {one} and in {other}; remove one of these files")


def _hashes(part: LogPart) -> NDArray[np.uint64]:
    ids = np.load(part.folder / "session_ids.npy")
    return pd.util.hash_array(ids.astype(object), categorize=False)


def _write_hashes(part: LogPart) -> int:
    hashes = np.sort(_hashes(part))
    save_array(part.folder / "hashes.npy", hashes)
    return len(hashes)


def _twice(parts: Sequence[LogPart], low: int, high: int) -> tuple[str, str, str] | None:
    """The first session, by its id, that is in two parts, of those whose hashes lie in ``low..high``; and its logs."""
    found = []
    for part in parts:
        hashes = np.load(part.folder / "hashes.npy", mmap_mode="r")
        first, last = np.searchsorted(hashes, np.array([low, high], np.uint64), "left")
        found.append(hashes[first : last if high < 2**64 - 1 else None])
    ordered = np.sort(np.concatenate(found))
    equal = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not equal.size:  # equal ids have equal hashes; the reverse is left to the ids themselves
        return None
    logs: dict[bytes, list[str]] = {}
    for part in parts:
        for name in np.load(part.folder / "session_ids.npy")[np.isin(_hashes(part), equal)].tolist():
            logs.setdefault(name, []).append(part.source)
    shared = min((name for name, sources in logs.items() if len(sources) > 1), default=None)
    return None if shared is None else (shared.decode(), *logs[shared][:2])  # type: ignore[return-value]
