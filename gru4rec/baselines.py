"""What GRU4Rec has to beat: the session baselines, ranked on the same events with the same rule for ties."""

from __future__ import annotations

import numpy as np

from common.session_baselines import BASELINES, Prefixes
from common.sessions import Sessions
from gru4rec.evaluation import NextItemRanks


def all_ranks(train: Sessions, test: Sessions, items: int) -> dict[str, NextItemRanks]:
    """Rank the next items of ``test`` by every baseline.

    Args:
        train: sessions to learn from.
        test: sessions to rank the next items of.
        items: how many items there are, in either of them.

    Returns:
        Name of the baseline -> its ranks: the events, and their order, are those of
        :class:`gru4rec.evaluation.Evaluator`.
    """
    prefixes, targets = Prefixes.of(test)
    lengths = np.diff(test.offsets) - 1
    session = np.repeat(np.arange(len(lengths)), lengths)
    return {
        kind.name: NextItemRanks(session, *kind(train, items).ranks(prefixes, targets), items) for kind in BASELINES
    }
