"""A small collection and small networks for the tests of the commands."""

from __future__ import annotations

from pathlib import Path

from audiotext.sample import SampleOptions, write_sample

SIZES: tuple[str, ...] = ("--text-units", "8", "8", "--filters", "4", "4", "4", "4", "--fusion-units", "8")
"""Options of ``train.py`` that make every network small."""
TINY: tuple[str, ...] = (*SIZES, "--epochs", "2", "--jobs", "1", "--factors", "4", "--deterministic")
"""The same and what else makes a run small; nothing is compiled."""


def small_collection(folder: Path) -> Path:
    """Raw material of 24 artists with 2 songs each."""
    write_sample(folder, SampleOptions(out=folder, artists=24, songs=2, users=40, seconds=0.6))
    return folder
