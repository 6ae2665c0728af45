"""Many session logs of MSSD as arrays: several files at once, in processes of their own, in the order of their dates.

``python -m common.mssd.conversion --log FILE --out FOLDER`` is such a process.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from common.csvtext import Source, open_sources
from common.mssd.files import LOG_PATTERNS
from common.mssd.logs import Log, LogPart, is_log, join_logs, read_log
from common.options import PROJECT, UserError, require, run_script

PARALLEL_BYTES = 64 * 2**20
"""From this size on, the files are read by processes of their own."""


def read_logs(paths: Sequence[Path], scratch: Path, workers: int | None = None) -> Log:
    """Read logs into memory and bring them into the order of their dates (the median of the starts, then the name).

    Args:
        paths: CSV files and archives of them.
        scratch: an existing folder for temporary files; they are removed at the end.
        workers: processes at once; None is one for each core. Small files are read in this process.

    Raises:
        UserError: no log is found, a log is wrong (the message names the file, the line and what was expected),
            or a session occurs in two of them.
    """
    with converted_logs(paths, scratch, workers) as parts:
        return join_logs(parts)


@contextlib.contextmanager
def converted_logs(paths: Sequence[Path], scratch: Path, workers: int | None = None) -> Iterator[list[LogPart]]:
    """The logs in the order of their dates, for those who want no more than one in memory at a time.

    Arguments and errors are those of :func:`read_logs`, but that nobody has looked for sessions in two logs. The
    arrays are removed at the end of the block.
    """
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        yield in_order(_convert(paths, Path(folder), workers or available_cores()), paths)


def in_order(folders: Sequence[Path], paths: Sequence[Path]) -> list[LogPart]:
    """The parts in ``folders`` by the dates of their logs, then by the names of these, then as they come.

    Raises:
        UserError: there is none, so that no log is in ``paths``.
    """
    require(bool(folders), f"{', '.join(map(str, paths))}: no log_*.csv or log_*.csv.gz is in there")
    return sorted(map(LogPart.at, folders), key=lambda part: (part.date, part.source))


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _convert(paths: Sequence[Path], folder: Path, workers: int) -> list[Path]:
    """Turn all logs into arrays below ``folder``; returns a folder for each log."""
    jobs = [(path, folder / f"{number:06}") for number, path in enumerate(paths)]
    large = sum(path.stat().st_size for path in paths) >= PARALLEL_BYTES
    if not large or workers == 1 or len(paths) == 1:
        return [part for job in jobs for part in convert_file(*job)]
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(_convert_elsewhere, *job) for job in jobs]
        try:
            done = tqdm(running, desc="reading logs", unit=" files", delay=5, disable=None)
            return [part for job in done for part in job.result()]
        finally:
            pool.shutdown(cancel_futures=True)


def _convert_elsewhere(path: Path, folder: Path) -> list[Path]:
    """:func:`convert_file` in a fresh Python, which knows nothing of TensorFlow and its threads."""
    command = [sys.executable, "-m", "common.mssd.conversion", "--log", str(path), "--out", str(folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")])}
    process = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if process.returncode:
        last = (process.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(last.removeprefix("error: ") if process.returncode == 2 else f"{path}: reading failed: {last}")
    return sorted(folder.iterdir())


def convert_file(path: Path, folder: Path) -> list[Path]:
    """Write each log in ``path`` to a folder of its own below ``folder``, all or none; returns these folders."""
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for number, (source, stream) in enumerate(_logs_in(path)):
            log = read_log(source, stream)
            LogPart.save(beside / f"{number:06}", log, source, float(np.median(log.starts)))
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another machine, taken for lost, has written the same meanwhile
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return sorted(folder.iterdir())


def _logs_in(path: Path) -> Iterator[tuple[Source, IO[bytes]]]:
    return (found for found in open_sources(path, *LOG_PATTERNS) if is_log(found[0]))


@dataclass(frozen=True)
class ConvertOptions:
    """Options of this module as a script."""

    log: Path
    """A log of the dataset, or an archive of logs."""
    out: Path
    """Folder for the arrays of each log."""


def main(options: ConvertOptions) -> dict[str, object]:
    """Turn a log of the Music Streaming Sessions Dataset into arrays; a step of the preprocess.py of two papers."""
    return {"parts": [str(part) for part in convert_file(options.log, options.out)]}


if __name__ == "__main__":
    run_script(main, ConvertOptions)
