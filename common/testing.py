"""What the tests of several papers share: scripts run in this process, and what is in the folder of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import META, read_sealed, seal, write_sealed
from common.options import run_script

if TYPE_CHECKING:
    import pytest

NOISE = (
    "WARNING",
    "absl",
    "cuda",
    "Traceback",
    "UserWarning",
    "RuntimeWarning",
    "FutureWarning",
    "DeprecationWarning",
    "oneDNN",
)
"""What a console should not show."""
Command = Callable[..., tuple[int, str, str]]


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, main: Callable[[Any], object], options: type) -> Command:
    """A script to be run in this process, which returns exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        try:
            run_script(main, options)
            status: Any = 0
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


def metrics_of(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a run, which must be JSON by the standard: without NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / "metrics.json").read_text("utf-8"), parse_constant=refuse)


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file such as ``checkpoint.npz``, without its ``progress``, which tells times as well."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def reseal(folder: Path, **changes: Any) -> None:
    """Make a set of prepared arrays whose files were edited, or with other entries, pass for one that was made so."""
    meta = read_sealed(folder / META) | changes
    seal(folder, meta["address"], meta["meta"])
    if "fingerprint" in changes:
        write_sealed(folder / META, read_sealed(folder / META) | {"fingerprint": changes["fingerprint"]})
