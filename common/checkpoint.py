"""Checkpoint: arrays and progress of a run, which goes on from it after a kill; one file, replaced in one rename."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError  # NumPy parses the header of an array as Python
from typing import Any

import numpy as np

from common.options import UserError, replacing
from common.sources import check_listing

FILE = "checkpoint.npz"
PACKED = 20
"""An npz that unpacks to more than this many times its size holds no weights, but would fill the memory."""


@dataclass
class Progress:
    """What a run has reached: it is saved after every epoch and is all that ``--resume`` needs besides the arrays.

    Attributes:
        epochs: whole epochs done.
        history: one row of figures per epoch.
        batch_losses: loss of every batch of the last epoch.
        best_epoch: epoch (from 1) with the best monitored figure; 0 before the first, or if none is monitored.
        seconds: time spent in training and validation, over all sessions.
    """

    epochs: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    batch_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    seconds: float = 0.0


def save_checkpoint(
    folder: Path, variables: Mapping[str, Any], progress: Progress, best: Mapping[str, np.ndarray] | None = None
) -> None:
    """Write everything an uninterrupted run would have in memory here, then the rows of ``history.csv``.

    Args:
        folder: of the run.
        variables: name -> variable of Keras or TensorFlow, of the model and of its optimizer.
        progress: what is done.
        best: name -> array of the variables at ``progress.best_epoch``, if there is one.
    """
    arrays = dict(variables) | {f"best.{name}": array for name, array in (best or {}).items()}
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    text = np.array(json.dumps(vars(progress), default=float))
    with replacing(folder / FILE) as file:
        np.savez(file, allow_pickle=False, progress=text, **arrays)
    write_history(folder / "history.csv", progress.history)


def restore_checkpoint(
    folder: Path, variables: Mapping[str, Any], best_of: Collection[str] = ()
) -> tuple[Progress, dict[str, np.ndarray]]:
    """Set ``variables`` to what :func:`save_checkpoint` wrote in ``folder``; without a checkpoint nothing changes.

    Args:
        best_of: names of the variables that ``best`` holds once a best epoch is known.

    Returns:
        The progress, none done if there is no checkpoint, and ``best``.

    Raises:
        UserError: the checkpoint is damaged or of another model. The variables are then unchanged.
    """
    path = folder / FILE
    if not path.exists():
        return Progress(), {}
    try:
        arrays = read_npz(path)
        progress = _progress(arrays.pop("progress", None))
        best = {f"best.{name}": variables[name] for name in best_of} if progress.best_epoch else {}
        _check(arrays, dict(variables) | best)
    except ValueError as error:
        raise UserError(
            f"{path}: damaged, or of another model ({error}); delete it to let --resume start from the first epoch"
        ) from None
    for name, variable in variables.items():
        variable.assign(arrays[name])
    write_history(folder / "history.csv", progress.history)  # a kill may have left the one before
    return progress, {name.removeprefix("best."): arrays[name] for name in best}


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Name -> array of an npz; nothing is unpickled.

    Raises:
        ValueError: it cannot be read as one, or unpacks to far more than weights would.
    """
    try:
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: _array(file[name], name) for name in file.files}
    except (OSError, EOFError, MemoryError, ArithmeticError, LookupError, RuntimeError, TypeError, TokenError) as error:
        raise ValueError(str(error) or type(error).__name__) from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(str(error)) from None
    if not arrays:  # damage at its end makes a zip empty
        raise ValueError("it holds no array")
    return arrays


def check_unpacked_size(path: Path) -> None:
    """Look into an npz before its arrays are read.

    Raises:
        ValueError: it unpacks to more than :data:`PACKED` times its size, or the checksum of a member is wrong.
        OSError, zipfile.BadZipFile: it cannot be read as a zip.
    """
    check_listing(path)
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > PACKED * max(path.stat().st_size, 2**16):
            raise ValueError(f"it unpacks to {unpacked:,} bytes")
        # NumPy reads as much as the header of an array says, which may be less than up to its checksum.
        if wrong := archive.testzip():
            raise ValueError(f"the checksum of {wrong} is wrong")


def _array(found: Any, name: str) -> np.ndarray:
    if not isinstance(found, np.ndarray):  # NumPy hands out members that are no arrays as bytes
        raise ValueError(f"{name} is no array")
    return found


def _check(arrays: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> None:
    """Raise ValueError unless ``arrays`` have the names, shapes and types of ``variables`` and are finite."""
    odd = sorted(set(arrays) ^ set(variables))
    if odd:
        raise ValueError(f"it holds {len(arrays)} arrays, this model needs {len(variables)}; {odd[0]} is in one only")
    for name, variable in variables.items():
        array, shape, kind = arrays[name], tuple(variable.shape), getattr(variable.dtype, "name", variable.dtype)
        if (array.shape, array.dtype.name) != (shape, kind):
            raise ValueError(f"{name} is {array.dtype.name} of shape {array.shape}, in this model {kind} of {shape}")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinite values")


def _progress(text: np.ndarray | None) -> Progress:
    """The progress that is written in ``text``; ValueError if it is none."""
    try:
        progress = Progress(**json.loads(str(text)))
        numbers = [progress.seconds, *progress.batch_losses, *(x for row in progress.history for x in row.values())]
        whole = all(type(count) is int for count in (progress.epochs, progress.best_epoch))
        same = len({tuple(row) for row in progress.history}) <= 1 and len(progress.history) == progress.epochs
        if whole and same and 0 <= progress.best_epoch <= progress.epochs and all(map(_is_number, numbers)):
            return progress
    except (TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("its progress is none of this project's")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def write_history(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Write one line of figures per epoch as CSV, every digit kept."""
    with replacing(path, "w") as file:
        if rows:
            file.write(",".join(rows[0]) + "\n")
            file.writelines(",".join(repr(value) for value in row.values()) + "\n" for row in rows)
