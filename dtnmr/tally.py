"""Row counts: how many rows of each file are used, and why the others are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtnmr.dataset import PLAYS, ROWS, USED


class Tally:
    """The rows of one file, each of which is used or left out for one reason: the first that is found.

    Args:
        file: its name in the counts.
        rows: rows that are told of one by one.
        others: rows left out from the start, by reason.
    """

    def __init__(self, file: str, rows: int, **others: int) -> None:
        self.file, self.used, self.left_out = file, np.ones(rows, bool), dict(others)

    def leave_out(self, reason: str, rows: NDArray[np.bool_]) -> None:
        """Leave out those of ``rows`` (rows,) that no reason was found for before."""
        self.left_out[reason] = self.left_out.get(reason, 0) + int((self.used & rows).sum())
        self.used &= ~rows

    def counts(self) -> dict[str, int]:
        """``<file>: rows`` (train, test: ``plays``), ``<file>: used``, ``<file>: <reason>`` of those there are."""
        used = int(self.used.sum())
        reasons = {reason: count for reason, count in self.left_out.items() if count}
        rows = PLAYS if self.file in ("train", "test") else ROWS
        found = {rows: used + sum(reasons.values()), USED: used} | reasons
        return {f"{self.file}: {name}": count for name, count in found.items()}


def others(counts: dict[str, Any]) -> dict[str, Any]:
    """The counts that are of no file."""
    return {name: count for name, count in counts.items() if ": " not in name}
