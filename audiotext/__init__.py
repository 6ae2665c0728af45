"""Cold-start song recommendation from biographies and audio (Oramas et al., DLRS 2017), and the seed project on top."""

from __future__ import annotations

import importlib
from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

PLACES = {"AudioText": "recommender", "MusicRecommender": "music_recommender"}
"""Class -> its module; imported late: preparing data needs neither."""
__all__ = ["AudioText", "MusicRecommender"]


def __getattr__(name: str) -> Any:
    if name in PLACES:
        return getattr(importlib.import_module(f"audiotext.{PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
