"""The recommenders by their names: ``from encore import GRU4Rec``. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

PLACES = {
    "AudioText": "audiotext",
    "DTNMR": "dtnmr",
    "GRU4Rec": "gru4rec",
    "SeER": "seer",
    "SessionTransformer": "session_transformers",
}
"""Recommender -> the paper's folder."""
__all__ = ["DTNMR", "AudioText", "GRU4Rec", "SeER", "SessionTransformer"]


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(importlib.import_module(PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(sorted(PLACES))}")


def __dir__() -> list[str]:
    return sorted([*globals(), *PLACES])
