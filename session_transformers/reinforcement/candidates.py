"""Ranking among sampled candidates: the true track and 99 drawn ones, along the recorded session.

This is the task that the reinforcement learner is given for tracks, and its best round is chosen by. Among 100 every
figure is far higher than among all tracks, so these have names of their own: ``hit@K_of_100``, ``ndcg@K_of_100``.
Whoever is measured by them, agent or baseline, is asked for the very same candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from common.evaluation import Sample
from common.metrics import Ranking, ndcg_at, recall_at
from session_transformers.kinds import HALF, PAD
from session_transformers.reinforcement.environment import Observation, SessionEnvironment
from session_transformers.reinforcement.options import CANDIDATES
from session_transformers.sessions.halves import Halves

CUTOFFS = (1, 5, 10, 20)
BLOCK = 2048
"""Sessions at a time."""
Scores = Callable[[Observation], NDArray]
"""What is known before a choice, n sessions -> scores of their candidates (n, C), the higher the better."""


def rank_candidates(scores: Scores, sessions: Halves, tracks: tuple[int, int], seed: int, memory: int = 5) -> Sample:
    """How high the true tracks stand among 1 + 99 drawn ones, what was truly played being remembered.

    ``hit@K_of_100`` and ``ndcg@K_of_100`` of each track: whether it is among the best K, and 1 / log2(1 + rank) there.
    A track tied with others takes each of their ranks with equal chance.

    Args:
        scores: of the one that is measured.
        sessions: to walk along.
        tracks: (first, end) of the ids that are tracks.
        seed: of the drawn tracks.
        memory: tracks that an observation remembers.
    """
    above, tied, session = [], [], []
    for rows in blocks(len(sessions), BLOCK):
        walk = SessionEnvironment(sessions, "seq", tracks, memory, follow="recorded")
        walk.begin(rows, np.random.default_rng((seed, int(rows[0]))))
        for place in range(HALF):
            seen = walk.observe()
            found = scores(seen)
            true = np.asarray(sessions.target[rows, place])
            own = found[np.arange(len(rows)), (seen.candidates == true[:, None]).argmax(axis=1)][:, None]
            there = true != PAD
            above.append((found > own).sum(axis=1)[there])
            tied.append((found == own).sum(axis=1)[there])
            session.append(rows[there])
            walk.step(np.zeros(len(rows), np.int64))
    greater, equal = np.concatenate(above).astype(float), np.concatenate(tied).astype(float)
    count = len(greater)
    ranking = Ranking(count, np.arange(count), greater, equal, np.ones(count), np.full(count, walk.candidates))
    values: dict[str, NDArray] = {}
    for k in CUTOFFS:
        values[f"hit@{k}_of_{CANDIDATES}"] = recall_at(ranking, k, per_user=True)  # one right track: the same as a hit
        values[f"ndcg@{k}_of_{CANDIDATES}"] = ndcg_at(ranking, k, per_user=True)
    return Sample(values, "sessions", np.concatenate(session))


def blocks(sessions: int, size: int) -> Iterator[NDArray[np.int64]]:
    """The numbers of all sessions, ``size`` at a time."""
    for start in range(0, sessions, size):
        yield np.arange(start, min(start + size, sessions))
