"""What the models have to beat, judged on the same sessions with the same figures as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from session_transformers.baselines import of_skips
from session_transformers.baselines.of_tracks import (
    Markov,
    Popular,
    RepeatLast,
    SessionKnn,
    TrackBaseline,
    forced_ranks,
    free_running,
    histories,
)
from session_transformers.baselines.sparse_ranks import Popularity
from session_transformers.evaluation import CUTOFFS, Outcome, TrackRanks, skip_outcome, track_outcome
from session_transformers.kinds import Ids
from session_transformers.sessions.halves import Halves


@dataclass(frozen=True, eq=False)
class TrackResult:
    """Both ways to judge a predictor of tracks; never to be compared with one another."""

    free: Outcome
    """Of the second half told from its own predictions: ``free_maa``, ..."""
    forced: TrackRanks
    """Of each track told from the true ones before it: ``forced_recall@10``, ..."""

    def figures(self) -> dict[str, float]:
        """The figures of both, named by ``free_`` and ``forced_``."""
        return self.free.figures() | self.forced.figures(CUTOFFS)


def skip_results(train: Halves, test: Halves, vocabulary: int) -> dict[str, Outcome]:
    """Name of the baseline -> its outcome on the skips of ``test``.

    Args:
        train: sessions to learn from.
        test: sessions to judge on.
        vocabulary: V, ids in either of them.
    """
    predicted = {
        "all skip": of_skips.all_skip(test),
        "repeat last skip": of_skips.repeat_last_skip(test),
        "session majority": of_skips.session_majority(test),
        "track skip rate": of_skips.track_rate(train, test, vocabulary),
        "logistic regression": of_skips.logistic(train, test, vocabulary),
    }
    return {name: skip_outcome(skips, test.target_skips, test.target_mask) for name, skips in predicted.items()}


def track_results(train: Halves, test: Halves, vocabulary: int, ids: Ids) -> dict[str, TrackResult]:
    """Name of the baseline -> its outcome on the tracks of ``test``; arguments as for :func:`skip_results`."""
    learned, history = histories(train, ids.first_track), histories(test, ids.first_track)
    tracks = vocabulary - ids.first_track
    popularity = Popularity(np.bincount(learned[learned >= 0], minlength=tracks))
    made: dict[str, TrackBaseline] = {
        "most popular": Popular(popularity),
        "repeat last track": RepeatLast(popularity),
        "Markov": Markov(learned, popularity),
        "session-kNN": SessionKnn(learned, popularity),
    }
    source = history[:, : test.source.shape[1]]
    results = {}
    for name, baseline in made.items():
        tokens = free_running(baseline, source) + ids.first_track
        ranks = TrackRanks(*forced_ranks(baseline, history), test.target_mask, tracks, "forced")
        results[name] = TrackResult(track_outcome(tokens, test.target, "free"), ranks)
    return results
