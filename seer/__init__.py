"""SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640): explained recommendations from the MIDI of songs."""

from __future__ import annotations

from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

__all__ = ["SeER"]


def __getattr__(name: str) -> Any:
    if name == "SeER":  # imported late: preparing data needs no recommender
        from seer.recommender import SeER

        return SeER
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
