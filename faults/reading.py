"""A reader in a process of its own, so that its crashes, hangs and hunger for memory are seen and not shared."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import multiprocessing
import os
import resource
import shutil
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from scipy import sparse

from common.options import UserError

MEMORY = 2 * 2**30
"""Bytes that a small file may take beyond what the process has before it."""
LIMIT = 8 * 2**30
"""Bytes of addresses beyond those: allocating more fails, so that the machine survives."""
FIRST = 120.0
"""Seconds more that a process has for its first reading, in which some import TensorFlow."""
Read = Callable[[Path, Path], Any]


@dataclass(frozen=True)
class Answer:
    """What became of one reading.

    Attributes:
        kind: ``read``, ``refused`` (in one line), ``traceback``, ``crash``, ``hang``, ``memory``, or ``left behind``
            (it was refused, but something was written).
        text: the message, or what happened.
        digest: of what was read.
        peak: bytes that were needed at the most.
    """

    kind: str
    text: str = ""
    digest: str = ""
    peak: int = 0


class Reader:
    """Reads the files in a folder on demand; a process that dies or hangs is replaced.

    Args:
        read: told the folder, and an empty one for what it prepares.
        seconds: after which it hangs.
    """

    def __init__(self, read: Read, folder: Path, scratch: Path, seconds: float = 20.0) -> None:
        self._arguments, self._seconds = (read, folder, scratch), seconds
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _start(self) -> None:
        fork = multiprocessing.get_context("fork")  # so that any function will do as the reader
        self._here, there = fork.Pipe()
        self._process = fork.Process(target=_serve, args=(there, *self._arguments), daemon=True)
        self._process.start()
        there.close()
        self._fresh = True

    def _stop(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()

    def ask(self) -> Answer:
        """Read the files as they are now."""
        patience = self._seconds + (FIRST if self._fresh else 0)
        self._fresh = False
        try:
            self._here.send(None)
            if self._here.poll(patience):
                answer: Answer = self._here.recv()
                return answer
            kind, text = "hang", f"no end after {patience:.0f} s"
        except (EOFError, OSError):
            self._process.join()
            kind, text = "crash", f"exit status {self._process.exitcode}"
        self._stop()
        self._start()
        return Answer(kind, text)


def _serve(connection: Connection, read: Read, folder: Path, scratch: Path) -> None:
    os.setpgid(0, 0)
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    limited = False
    while True:
        try:
            connection.recv()
        except EOFError:
            return
        answer = _answer(read, folder, scratch)
        if not limited:
            hard = _memory("VmSize") + LIMIT
            resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
            limited = True
        connection.send(answer)


def _answer(read: Read, folder: Path, scratch: Path) -> Answer:
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory is counted from here
    before = _memory("VmRSS")
    try:
        kind, text, digest = "read", "", digest_of(read(folder, scratch))
    except UserError as error:
        kind, text, digest = "refused", " ".join(str(error).split()), ""
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        kind, text = "traceback", f"{type(error).__name__}: {error} in {Path(where.filename).name}:{where.lineno}"
        digest = ""
    peak = max(_memory("VmHWM") - before, 0)
    if peak > MEMORY:
        kind, text = "memory", f"{peak / 2**30:.1f} GB; {kind} {text}"
    if kind == "refused" and any(scratch.iterdir()):
        kind, text = "left behind", f"{sorted(path.name for path in scratch.iterdir())}; {text}"
    return Answer(kind, text[:500], digest, peak)


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text("utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return 0


def digest_of(value: Any) -> str:
    """SHA-256 (hex) of whatever a reader returns: numbers, texts, arrays, tables, and records and lists of them."""
    whole = hashlib.sha256()
    _add(whole.update, value)
    return whole.hexdigest()


def _add(add: Callable[[bytes], object], value: Any) -> None:
    add(type(value).__name__.encode())
    if isinstance(value, np.ndarray) and value.dtype != object:
        add(f"{value.dtype} {value.shape}".encode())
        add(np.ascontiguousarray(value).tobytes())
    elif isinstance(value, pd.DataFrame | pd.Series):
        _add(add, value.reset_index().to_json())
    elif sparse.issparse(value):
        _add(add, [value.shape, value.tocsr().indptr, value.tocsr().indices, value.tocsr().data])
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        _add(add, [getattr(value, field.name) for field in dataclasses.fields(value)])
    elif isinstance(value, Path):
        add(value.name.encode())
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            _add(add, key)
            _add(add, entry)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for entry in value:
            _add(add, entry)
            add(b",")
    elif value is None or isinstance(value, str | bytes | bool | int | float | complex | np.generic):
        add(repr(value).encode())
    else:
        raise TypeError(f"no digest of a {type(value).__name__}")
