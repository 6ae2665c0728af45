"""The five trainers, at the smallest settings at which everything they write is written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 300.0
"""After which a trainer counts as hung; undisturbed it takes up to half a minute."""


@dataclass(frozen=True)
class Trainer:
    """A command that trains on the synthetic sample, which it writes itself."""

    name: str
    script: str
    options: tuple[str, ...]
    data: str
    """Folder of its dataset below the one in ENCORE_DATA."""

    def command(self, run: Path, *more: str) -> list[str]:
        """Start the run in the folder ``run``, or go on with the one that was begun there."""
        going_on = ["--resume"] if (run / "options.json").is_file() else [*self.options, "--deterministic"]
        return [self.script, *going_on, "--run-dir", str(run), *more]


def environment(data: Path) -> Mapping[str, str]:
    """The variables that keep a trainer's sample and prepared arrays in the folder ``data``."""
    one = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    return one | {"ENCORE_DATA": str(data), "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", "/tmp")}


_SHORT = ("--epochs", "3", "--no-baselines")
TRAINERS = (
    Trainer(
        "seer", "seer/train.py",
        (*_SHORT, "--sequence-length=6", "--latent-features=4", "--batch-size=200"), "seer",
    ),
    Trainer(
        "dtnmr", "dtnmr/train.py",
        (*_SHORT, "--mlp=8", "--embedding=4", "--lstm=4", "--lstm-layers=1", "--test-points=50", "--batch-size=1024"),
        "kkbox",
    ),
    Trainer("gru4rec", "gru4rec/train.py", (*_SHORT, "--layers=8", "--negatives=16", "--batch-size=96"), "mssd"),
    Trainer(
        "session_transformers", "session_transformers/train.py",
        (*_SHORT, "--width=32", "--feed-forward=8", "--encoder-layers=1", "--decoder-layers=1", "--heads=2",
         "--batch-size=512"),
        "session_transformers",
    ),
    Trainer(
        "audiotext", "audiotext/train.py",
        (*_SHORT, "--model=a-tags", "--text-units", "8", "8", "--jobs=2", "--factors=4"), "audiotext",
    ),
)  # fmt: skip
