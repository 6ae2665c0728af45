"""Session transformers (Khan, Cui, Arora 2020): the tracks and the skips of a Spotify session's second half."""

from __future__ import annotations

from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

__all__ = ["SessionTransformer"]


def __getattr__(name: str) -> Any:
    if name == "SessionTransformer":  # imported late: preparing data needs no recommender
        from session_transformers.recommender import SessionTransformer

        return SessionTransformer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
