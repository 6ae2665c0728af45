"""What the models have to beat, judged on the same sessions with the same figures as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.evaluation import Measured, Sample
from session_transformers.baselines import of_skips
from session_transformers.baselines.of_tracks import (
    BASELINES,
    TrackBaseline,
    forced_ranks,
    free_running,
    histories,
    known_before,
    sessions_of,
)
from session_transformers.evaluation import CUTOFFS, Outcome, TrackRanks, skip_outcome, track_outcome
from session_transformers.kinds import HALF, Ids
from session_transformers.reinforcement.candidates import rank_candidates
from session_transformers.reinforcement.environment import Observation
from session_transformers.sessions.halves import Halves


@dataclass(frozen=True, eq=False)
class TrackResult:
    """Both ways to judge a predictor of tracks; never to be compared with one another."""

    free: Outcome
    """Of the second half told from its own predictions: ``free_maa``, ..."""
    forced: TrackRanks
    """Of each track told from the true ones before it: ``forced_recall@10``, ..."""
    of_candidates: Sequence[Sample] = ()
    """Of the true tracks among 99 drawn ones: ``hit@10_of_100``, ...; where they are asked for."""

    def measured(self) -> Measured:
        """All figures; those of whole second halves and of all tracks are named by ``free_`` and ``forced_``."""
        return Measured([*self.free.samples(), self.forced.sample(CUTOFFS), *self.of_candidates])

    def figures(self) -> dict[str, float]:
        """The means of :meth:`measured`."""
        return self.measured().figures


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


def track_results(
    train: Halves,
    test: Halves,
    vocabulary: int,
    ids: Ids,
    also: Mapping[str, TrackBaseline] | None = None,
    candidates: int | None = None,
) -> dict[str, TrackResult]:
    """Name of the baseline -> its outcome on the tracks of ``test``.

    Args:
        train: sessions to learn from.
        test: sessions to judge on.
        vocabulary: V, ids in either of them.
        ids: those that are no tracks.
        also: further baselines by name.
        candidates: seed of the drawn candidates among which the true tracks are ranked too; None: they are not.
    """
    learned, history = sessions_of(train, ids.first_track), histories(test, ids.first_track)
    tracks = vocabulary - ids.first_track
    made: dict[str, TrackBaseline] = {kind.name: kind(learned, tracks) for kind in BASELINES} | dict(also or {})
    source = history[:, : test.source.shape[1]]
    results = {}
    for name, baseline in made.items():
        tokens = free_running(baseline, source) + ids.first_track
        ranks = TrackRanks(*forced_ranks(baseline, history), test.target_mask, tracks, "forced")
        drawn = [] if candidates is None else [_of_candidates(baseline, history, test, vocabulary, ids, candidates)]
        results[name] = TrackResult(track_outcome(tokens, test.target, "free"), ranks, drawn)
    return results


def _of_candidates(
    baseline: TrackBaseline, history: NDArray[np.int64], test: Halves, vocabulary: int, ids: Ids, seed: int
) -> Sample:
    def scores(seen: Observation) -> NDArray[Any]:
        before = known_before(history, seen.rows, seen.places + HALF)
        return baseline.scores(before, np.maximum(seen.candidates - ids.first_track, 0))

    return rank_candidates(scores, test, (ids.first_track, vocabulary), seed)
