"""Whether a run that was interrupted left exactly what an undisturbed one left."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from common.folders import ABANDONED_SECONDS, replacing_folder

MAY_LACK = {"tensorboard"}
"""Folder of the figures for TensorBoard: a line of them per session, not per run."""
_TIMES = re.compile(r"(^|_)(seconds?|minutes|time)$")


def differences(whole: Path, run: Path) -> Iterator[str]:
    """What ``run`` has otherwise than the undisturbed run ``whole``: files, arrays, figures; times aside."""
    names, found = ({path.name for path in folder.iterdir()} - MAY_LACK for folder in (whole, run))
    if names != found:
        yield f"files {', '.join(sorted(names ^ found))} are in one run only"
    for name in sorted(names & found):
        one, other = whole / name, run / name
        if one.is_dir():
            yield from (f"{name}/{difference}" for difference in differences(one, other))
            continue
        if name.endswith(".h5"):
            different = arrays_of_h5(one) != arrays_of_h5(other)
        elif name.endswith(".npz"):
            different = arrays_of_npz(one) != arrays_of_npz(other)
        elif name.endswith(".json"):
            different = _timeless(one, name) != _timeless(other, name)
        elif name == "history.csv":
            different = history(one) != history(other)
        elif name.endswith((".npy", ".tsv", ".csv")):
            different = one.read_bytes() != other.read_bytes()
        else:  # pages and pictures show times
            different = other.stat().st_size == 0
        if different:
            yield f"{name} differs"


def arrays_of_h5(path: Path) -> dict[str, bytes]:
    """Path -> type, shape and bytes of every array of an HDF5 file."""
    found: dict[str, bytes] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = f"{item.dtype} {item.shape}".encode() + np.asarray(item[()]).tobytes()

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return found


def arrays_of_npz(path: Path) -> dict[str, bytes]:
    """Name -> type, shape and bytes of every array; of the progress of a checkpoint all but its times."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    progress = arrays.pop("progress", None)
    found = {name: f"{array.dtype} {array.shape}".encode() + array.tobytes() for name, array in arrays.items()}
    if progress is not None:
        found["progress"] = json.dumps(without_times(json.loads(str(progress)))).encode()
    return found


def history(path: Path) -> list[list[str]]:
    """The columns of ``history.csv`` without those that are times."""
    columns = zip(*(line.split(",") for line in path.read_text("utf-8").splitlines()), strict=True)
    return [list(column) for column in columns if not _TIMES.search(column[0])]


def without_times(value: Any) -> Any:
    """A JSON value without the entries whose name says that they are times."""
    if isinstance(value, dict):
        return {name: without_times(entry) for name, entry in value.items() if not _TIMES.search(name)}
    return [without_times(entry) for entry in value] if isinstance(value, list) else value


def _timeless(path: Path, name: str) -> Any:
    found = without_times(json.loads(path.read_text("utf-8")))
    group = {"options.json": "options", "metrics.json": "settings"}.get(name, "")
    # Where it lies, and how it was resumed, is no part of the result.
    if isinstance(found, dict) and isinstance(found.get(group), dict):
        found[group] = {k: v for k, v in found[group].items() if k not in ("run_dir", "resume", "data_dir")}
    return found


def hidden(folder: Path) -> list[Path]:
    """Temporary files and folders below ``folder``: all of this project's begin with a dot."""
    found = (path.relative_to(folder) for path in folder.rglob(".*"))
    return sorted(folder / path for path in found if not any(part.startswith(".") for part in path.parts[:-1]))


def kept_for_ever(data: Path) -> list[Path]:
    """Left-over folders of killed preparations that the next ones would not remove once they are old.

    They may be in use for up to an hour; so their clocks are put back, and the folders beside them are written anew.
    """
    old = time.time() - 2 * ABANDONED_SECONDS
    for left in hidden(data):
        for path in (left, *left.rglob("*")):
            os.utime(path, (old, old), follow_symlinks=False)
        for beside in [path for path in left.parent.iterdir() if path.is_dir() and path.name[0] != "."]:
            with replacing_folder(beside, lambda _: True):
                pass
    return hidden(data)
