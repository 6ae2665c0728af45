"""Folders made once and used often: written beside their place, renamed when whole, made anew when out of date."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from common.options import UserError, reason_of

Data = TypeVar("Data")
ABANDONED_SECONDS = 3600
"""A temporary folder that nobody has written to for so long is left over from a killed run."""


def prepared_arrays(folder: Path, load: Callable[[Path], Data | None], make: Callable[[Path], None]) -> Data:
    """What ``load`` opens in ``folder``, which is filled by ``make`` if that is None.

    Args:
        folder: of the prepared arrays.
        load: opens the arrays in a folder; None if they are missing, damaged or made of something else.
        make: writes them into an empty folder, which is renamed at the end: ``folder`` is never half-written.

    Raises:
        UserError: the folder cannot be read or written.
    """
    try:
        data = load(folder)
        if data is None:
            with replacing_folder(folder, lambda other: load(other) is not None) as beside:
                make(beside)
                # Opened before the rename: whatever another process then does with the folder, the maps stay.
                data = load(beside)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {reason_of(error)}") from error
    if data is None:
        raise UserError(f"{folder}: the arrays just written cannot be read back; is the disk full?")
    return data


def states_of(files: Iterable[Path]) -> list[list[Any]]:
    """Name, size and time of change of files: what was made of them is out of date once any of it differs.

    Raises:
        UserError: one cannot be looked at.
    """
    try:
        return [[path.name, (stat := path.stat()).st_size, stat.st_mtime_ns] for path in files]
    except OSError as error:
        raise UserError(f"{error.filename}: {reason_of(error)}") from error


def stamps(folder: Path) -> dict[str, list[int]]:
    """Name -> size and time of change of the arrays and texts in ``folder``, to be kept in its ``meta.json``.

    Arrays whose stamps have changed since are not those that were written: they may load, and be wrong.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".npy", ".json") and path.stem != "meta"]
    return {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in files}


def fingerprint(files: Iterable[Path]) -> str:
    """SHA-256 (hex) over the names and contents of ``files``, in the order of their names; streamed."""
    whole = hashlib.sha256()
    for path in sorted(files, key=lambda path: path.name):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256")
        whole.update(f"{path.name}\0{content.hexdigest()}\n".encode())
    return whole.hexdigest()


@contextlib.contextmanager
def replacing_folder(folder: Path, is_current: Callable[[Path], bool]) -> Iterator[Path]:
    """Fill an empty folder beside ``folder`` and rename it to ``folder`` once the block has ended well.

    Several processes may do so at once: if another one was faster, that is if ``is_current(folder)`` holds by
    then, its result stays. After an error or Ctrl-C nothing is left; what a killed run left is removed later.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}."
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix) and _idle_seconds(path) > ABANDONED_SECONDS:
            shutil.rmtree(path, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        yield beside
        mask = os.umask(0)  # mkdtemp makes private folders; give this one the user's usual permissions
        os.umask(mask)
        beside.chmod(0o777 & ~mask)
        while True:
            try:
                beside.rename(folder)
                break
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            if is_current(folder):
                break
            outdated = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
            with contextlib.suppress(FileNotFoundError):  # another process took it away first
                folder.rename(outdated)
            shutil.rmtree(outdated, ignore_errors=True)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _idle_seconds(folder: Path) -> float:
    newest = 0.0
    with contextlib.suppress(OSError):  # files may vanish while we look
        newest = max(path.stat().st_mtime for path in [folder, *folder.rglob("*")])
        return time.time() - newest
    return 0.0
