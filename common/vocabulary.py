"""Vocabulary: the id of each number, kept with the weights, which are of no use, or misleading, with another one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from common.options import UserError, require, write_json
from common.rundir import read_run

FILE = "vocabulary.json"


def digest(ids: Sequence[str]) -> str:
    """SHA-256 (hex) of a vocabulary: the ids by number. A run's ``options.json`` keeps it as ``vocabulary``."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()


def save_vocabulary(folder: Path, ids: Sequence[str]) -> None:
    """Write the ids by number into a run directory."""
    write_json(folder / FILE, {"ids": list(ids)})


def read_vocabulary(folder: Path) -> list[str]:
    """Number -> id in the raw data, of a run.

    Raises:
        UserError: it is missing, damaged, or of another run.
    """
    file = folder / FILE
    try:
        ids = json.loads(file.read_text("utf-8"))["ids"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: cannot be read ({error}); it must lie beside the weights of a run") from None
    require(
        isinstance(ids, list) and len(ids) > 0 and all(isinstance(name, str) for name in ids),
        f"{file}: ids must be a list of the ids that the run was trained on",
    )
    expected = trained_vocabulary(folder)
    require(digest(ids) == expected, f"{file}: holds other ids than the run was trained on; restore the run's own file")
    return ids


def trained_vocabulary(folder: Path) -> str:
    """The digest of the vocabulary that a run was trained on, from its ``options.json``.

    Raises:
        UserError: the file is missing, damaged, or not of a training run with a vocabulary.
    """
    found = read_run(folder).get("vocabulary")
    if not isinstance(found, str):
        raise UserError(f"{folder / 'options.json'}: not of a training run: it names no vocabulary")
    return found
