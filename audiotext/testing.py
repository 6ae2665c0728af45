"""A small collection and small networks for the tests of the commands."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotext.sample import SampleOptions, write_sample
from common.options import run_script

if TYPE_CHECKING:
    import pytest

TINY: tuple[str, ...] = (
    *("--text-units", "8", "8", "--filters", "4", "4", "4", "4", "--fusion-units", "8"),
    *("--epochs", "2", "--jobs", "1", "--factors", "4"),
)
"""Options of ``train.py`` that make every network small."""
NOISE = ("WARNING", "absl", "cuda", "Traceback", "Warning", "oneDNN")
Command = Callable[..., tuple[int, str, str]]


def small_collection(folder: Path) -> Path:
    """Raw material of 24 artists with 2 songs each."""
    write_sample(folder, SampleOptions(out=folder, artists=24, songs=2, users=40, seconds=0.6))
    return folder


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, main: Callable[[Any], object], options: type) -> Command:
    """Run a script in this process: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        try:
            run_script(main, options)
            status: Any = 0
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run
