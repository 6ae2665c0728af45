"""GRU4Rec (Hidasi et al., arXiv 1511.06939 and 1706.03847) on sessions of music."""

from __future__ import annotations

from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

__all__ = ["GRU4Rec"]


def __getattr__(name: str) -> Any:
    if name == "GRU4Rec":  # imported late: preparing data needs no recommender
        from gru4rec.recommender import GRU4Rec

        return GRU4Rec
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
