"""For each paper a dataset that a run of a second can be made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def _kkbox(folder: Path) -> None:
    from dtnmr.sample import KkboxSampleOptions, write_sample

    write_sample(folder, KkboxSampleOptions(folder, users=60, songs=300))


def _sessions(folder: Path) -> None:
    from common.mssd.sample import SessionSampleOptions, write_sample

    write_sample(folder, SessionSampleOptions(folder, sessions=240, tracks=100, days=4))


def _songs(folder: Path) -> None:
    from seer.train_test import write_raw

    folder.rmdir()
    write_raw(folder)


def _collection(folder: Path) -> None:
    from audiotext.testing import small_collection

    small_collection(folder)


DATASETS: dict[str, Callable[[Path], None]] = {
    "audiotext": _collection,
    "dtnmr": _kkbox,
    "gru4rec": _sessions,
    "seer": _songs,
    "session_transformers": _sessions,
}
"""Paper -> what writes the dataset into an empty folder."""
