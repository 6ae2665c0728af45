"""The run directory: where a run keeps its options, figures, weights and what it needs to go on."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.options import PROJECT, TrainingOptions, UserError, require, write_json

_MAY_DIFFER = {"data_dir", "epochs", "resume", "run_dir"}
"""Options that a resumed run may change (the data themselves are compared by their fingerprint)."""


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
        for left in folder.glob(".*"):  # half-written files of a run that was killed
            if left.is_file():
                left.unlink()
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
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); it must lie beside the weights of a run") from None
    require(
        isinstance(found, dict) and isinstance(found.get("options"), dict),
        f"{file}: not the options of a run of this project",
    )
    return found


@contextlib.contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Let Ctrl-C within the block end the script with a line that says how to continue the run in ``folder``."""
    try:
        yield
    except KeyboardInterrupt:
        advice = f"repeat the command with --run-dir {folder} --resume to continue from its last whole epoch"
        raise KeyboardInterrupt(advice) from None
