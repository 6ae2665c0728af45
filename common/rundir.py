"""The run directory: where a run keeps its options, figures, weights and what it needs to go on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.options import PROJECT, TrainingOptions, UserError, require, write_json

_MAY_DIFFER = {"epochs", "resume", "run_dir"}
"""Options that a resumed run may change."""


def open_run(paper: str, name: str, options: TrainingOptions, facts: dict[str, Any]) -> Path:
    """Make the run directory and write ``options.json``, or check an old one before it is resumed.

    Args:
        paper: folder of the paper.
        name: of the run, for the default directory ``runs/<paper>/<name>-<time>``.
        options: of the command line.
        facts: what else a later session needs: the architecture, the dataset's fingerprint and sizes.

    Raises:
        UserError: the directory already holds a run and ``--resume`` is not given, or it is given and the run was
            started with other options or on other data.
    """
    folder = options.run_dir or PROJECT / "runs" / paper / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    file = folder / "options.json"
    now = json.loads(json.dumps(asdict(options), default=str))
    if options.resume:
        require(file.is_file(), f"--resume: {folder} holds no run (no options.json)")
        before = read_run(folder)
        for key, value in now.items():
            same = key in _MAY_DIFFER or before["options"].get(key) == value
            old = before["options"].get(key)
            require(same, f"--resume: the run in {folder} was started with {key} = {old}, not {value}")
        known = json.loads(json.dumps(facts, default=str))
        for key, value in known.items():
            require(before.get(key) == value, f"--resume: {key} differs from that of the run in {folder}")
        return folder
    try:
        require(
            not folder.exists() or not any(folder.iterdir()),
            f"--run-dir {folder} is not empty; choose another folder, or add --resume to continue its run",
        )
        write_json(file, {"options": now} | facts)
    except OSError as error:
        raise UserError(f"--run-dir {folder}: {error.strerror or error}") from None
    return folder


def read_run(folder: Path) -> dict[str, Any]:
    """The content of the ``options.json`` of a run.

    Raises:
        UserError: it is missing or not JSON.
    """
    file = folder / "options.json"
    try:
        found = json.loads(file.read_text("utf-8"))
        require(isinstance(found, dict) and "options" in found, f"{file}: not the options of a run")
        return found
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); it must lie beside the weights of a run") from None
