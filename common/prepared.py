"""Folders made once and used often: written beside their place, renamed when whole, made anew when out of date."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from common.folders import replacing_folder
from common.options import UserError, reason_of

Data = TypeVar("Data")


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
