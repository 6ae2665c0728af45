"""Atomic folders: written beside their place, renamed when whole, made once however many processes want them.

A process that has opened files of a folder keeps them whatever others do: a folder is never changed in place.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from common import console
from common.options import UserError

Opened = TypeVar("Opened")
ABANDONED_SECONDS = 3600
"""A temporary folder or file that nobody has written to for so long is left over from a killed run."""
_OF_A_SET = re.compile(r"\.[a-z_]+-[0-9a-f]{16}\.making")
"""Work folder of a set of :mod:`common.arrays`: it goes, once it is left over, when any set beside it is made."""


def made_once(
    folder: Path,
    load: Callable[[Path], Opened | None],
    make: Callable[[Path], object],
    *,
    anew: bool = False,
    resumes: bool = False,
) -> Opened:
    """What ``load`` opens in ``folder``, which is made if that is None, by one process at a time.

    Whoever comes second waits, and opens what the first one made.

    Args:
        folder: is never half-written: it is filled under another name beside it, and renamed.
        load: opens a folder; None if it is missing, damaged or out of date.
        make: fills an empty folder, or, if ``resumes``, the one that an interrupted call has left.
        anew: make it even if it can be opened.
        resumes: keep what an interrupted or failed ``make`` has done for the next call.

    Raises:
        UserError: ``load`` cannot open what ``make`` has written.
        OSError: the folder cannot be written.
    """
    found = None if anew else load(folder)
    while found is None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _own(folder.with_name(f".{folder.name}.{'resumed' if resumes else 'making'}"), folder) as beside:
            if beside is None:  # another process had it, and has finished
                found = load(folder)
                continue
            renamed = False
            try:
                found = None if anew else load(folder)  # another process may have been faster
                if found is None:
                    _sweep(folder)
                    if not resumes:
                        _empty(beside)
                    make(beside)
                    if load(beside) is None:
                        raise UserError(f"{folder}: the arrays just written cannot be read back; is the disk full?")
                    _rename(beside, folder, lambda _: False)
                    renamed, anew, found = True, False, load(folder)
            finally:
                if not renamed and (found is not None or not resumes or not any(beside.iterdir())):
                    shutil.rmtree(beside, ignore_errors=True)
    return found


@contextlib.contextmanager
def replacing_folder(folder: Path, is_current: Callable[[Path], bool]) -> Iterator[Path]:
    """Fill an empty folder beside ``folder`` and rename it to ``folder`` once the block has ended well.

    Several processes may do so at once: if another one was faster, that is if ``is_current(folder)`` holds by
    then, its result stays. After an error or Ctrl-C nothing is left; what a killed run left is removed later.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    beside = _private(folder)
    try:
        yield beside
        _rename(beside, folder, is_current)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextlib.contextmanager
def _own(work: Path, folder: Path) -> Iterator[Path | None]:
    """A work folder that no other process writes to; None after waiting for one that has renamed it."""
    work.mkdir(exist_ok=True)
    try:
        handle = os.open(work, os.O_RDONLY)
    except FileNotFoundError:  # renamed this very moment
        yield None
        return
    private = None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.notify(f"{folder}: another process is making it; waiting for that")
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: each process makes its own, and the last one's stays
            private = _private(folder)
        if private is not None:
            yield private
        else:
            there = work.is_dir() and os.path.samestat(os.fstat(handle), work.stat())
            yield work if there else None
    finally:
        os.close(handle)  # which gives the lock back


def _private(folder: Path) -> Path:
    """A new, empty folder beside ``folder``."""
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    mask = os.umask(0)  # mkdtemp makes private folders; give this one the user's usual permissions
    os.umask(mask)
    made.chmod(0o777 & ~mask)
    return made


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _rename(beside: Path, folder: Path, is_current: Callable[[Path], bool]) -> None:
    """Put ``beside`` in the place of ``folder``, unless that has become current; the old one is removed."""
    while True:
        try:
            beside.rename(folder)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if is_current(folder):
            return
        outdated = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):  # another process took it away first
            folder.rename(outdated)
        shutil.rmtree(outdated, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left beside ``folder``, but for work that is gone on with."""
    for path in folder.parent.iterdir():
        ours = path.name.startswith((f".{folder.name}.", ".digests.json.")) or _OF_A_SET.fullmatch(path.name)
        if ours and not path.name.endswith(".resumed") and _idle_seconds(path) > ABANDONED_SECONDS:
            if not path.is_dir():
                path.unlink(missing_ok=True)
            elif not _is_locked(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_locked(folder: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
        finally:
            os.close(handle)
    return False


def _idle_seconds(folder: Path) -> float:
    newest = 0.0
    with contextlib.suppress(OSError):  # files may vanish while we look
        newest = max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
        return time.time() - newest
    return 0.0
