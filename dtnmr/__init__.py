"""DTNMR (Zheng et al. 2019): the next songs of a user, from metadata of songs and users and from what was heard."""

from __future__ import annotations

from typing import Any

import common  # noqa: F401 (first of all: from then on Ctrl-C ends an import in one line)

__all__ = ["DTNMR"]


def __getattr__(name: str) -> Any:
    if name == "DTNMR":  # imported late: preparing data needs no recommender
        from dtnmr.recommender import DTNMR

        return DTNMR
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
