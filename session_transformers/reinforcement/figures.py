"""How well the agent does on recorded sessions when it acts greedily, and is told nothing of their second halves.

Skips and free-running tracks are judged by :mod:`session_transformers.evaluation`, as every other model's. Beside them,
for tracks, stand the figures of the task that the agent learns: the true track among 1 + 99 drawn ones, along the
recorded session. They rank 100 candidates instead of all and have names of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from common.metrics import Ranking, ndcg_at, recall_at
from session_transformers.evaluation import Outcome, skip_outcome, track_outcome
from session_transformers.kinds import HALF, PAD
from session_transformers.reinforcement.agent import Agent
from session_transformers.reinforcement.environment import Observation, SessionEnvironment
from session_transformers.reinforcement.options import CANDIDATES
from session_transformers.sessions.halves import Halves, Tokens

BLOCK = 2048
"""Sessions at a time."""
SCORES = 2**25
"""Scores at a time, which fill 128 MB."""
CUTOFFS = (1, 5, 10, 20)


def predict_skips(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> NDArray[np.bool_]:
    """(sessions, 10) what the agent takes to be skipped; it remembers its own decisions.

    With the switch ``own_actions`` off, the first action of the first session decides all, as in the released code.
    """
    found = np.zeros((len(sessions), HALF), bool)
    if not agent.options.switches.own_actions:
        action = _first_action(agent, sessions, tracks)
        for rows in _blocks(len(sessions)):
            targets = np.asarray(sessions.target[rows])
            actions = np.repeat(action, len(rows), axis=0)
            found[rows] = np.asarray(agent.networks.state.scores(actions, targets)) <= 0
        return found
    for rows in _blocks(len(sessions)):
        walk = _walk(agent, sessions, tracks, rows, "choice")
        for place in range(HALF):
            _, scores = agent.act(sessions, walk.observe())
            found[rows, place] = scores[:, 0] <= 0
            walk.step(found[rows, place].astype(np.int64))
    return found


def predict_tracks(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> Tokens:
    """(sessions, 10) the track with the highest score of all, which the agent then remembers (free running)."""
    found = np.full((len(sessions), HALF), PAD, np.int32)
    table = ops.convert_to_tensor(np.asarray(agent.networks.state.items)[tracks[0] : tracks[1]].T.copy())
    for rows in _blocks(len(sessions), max(min(BLOCK, SCORES // tracks[1]), 1)):
        walk = _walk(agent, sessions, tracks, rows, "choice")
        seen = walk.observe()
        memory = seen.memory
        nothing = np.full((len(rows), 1), PAD, np.int32)
        for place in range(HALF):
            action, _ = agent.act(sessions, Observation(seen.rows, seen.places, memory, nothing))
            best = np.asarray(ops.argmax(ops.matmul(action, table), axis=1)) + tracks[0]
            found[rows, place] = best
            memory = np.concatenate([memory[:, 1:], best[:, None].astype(np.int32)], axis=1)
    return found


def rank_candidates(agent: Agent, sessions: Halves, tracks: tuple[int, int], seed: int) -> Ranking:
    """Where the true tracks stand among 1 + 99 drawn ones, the memory holding what was truly played.

    Args:
        seed: of the drawn tracks.
    """
    above, tied = [], []
    for rows in _blocks(len(sessions)):
        walk = _walk(agent, sessions, tracks, rows, "recorded", seed)
        for place in range(HALF):
            seen = walk.observe()
            _, scores = agent.act(sessions, seen)
            true = np.asarray(sessions.target[rows, place])
            own = scores[np.arange(len(rows)), (seen.candidates == true[:, None]).argmax(axis=1)][:, None]
            there = true != PAD
            above.append((scores > own).sum(axis=1)[there])
            tied.append((scores == own).sum(axis=1)[there])
            walk.step(np.zeros(len(rows), np.int64))
    greater, equal = np.concatenate(above).astype(float), np.concatenate(tied).astype(float)
    count = len(greater)
    return Ranking(count, np.arange(count), greater, equal, np.ones(count), np.full(count, walk.candidates))


def candidate_figures(ranking: Ranking) -> dict[str, float]:
    """``hit@K_of_100`` and ``ndcg@K_of_100``: the mean over tracks of being among the best K, and of 1 / log2(1 + rank)
    there. A track tied with others takes each of their ranks with equal chance.
    """
    found: dict[str, float] = {}
    for k in CUTOFFS:
        found[f"hit@{k}_of_{CANDIDATES}"] = float(recall_at(ranking, k))  # one right track each: the same as a hit
        found[f"ndcg@{k}_of_{CANDIDATES}"] = float(ndcg_at(ranking, k))
    return found


def evaluate(
    agent: Agent, sessions: Halves, tracks: tuple[int, int], seed: int
) -> tuple[Outcome, dict[str, float], NDArray[Any]]:
    """Judge the agent: its outcome, all its figures, and its predictions (sessions, 10)."""
    if agent.options.task == "skip":
        skips = predict_skips(agent, sessions, tracks)
        outcome = skip_outcome(skips, sessions.target_skips, sessions.target_mask)
        return outcome, outcome.figures(), skips
    predicted = predict_tracks(agent, sessions, tracks)
    outcome = track_outcome(predicted, sessions.target, "free")
    ranking = rank_candidates(agent, sessions, tracks, seed)
    return outcome, outcome.figures() | candidate_figures(ranking), predicted


def _first_action(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> NDArray[np.float32]:
    action, _ = agent.act(sessions, _walk(agent, sessions, tracks, np.zeros(1, np.int64), "choice").observe())
    return action


def _walk(
    agent: Agent, sessions: Halves, tracks: tuple[int, int], rows: NDArray[np.int64], follow: Any, seed: int = 0
) -> SessionEnvironment:
    options = agent.options
    walk = SessionEnvironment(sessions, options.task, tracks, options.memory, follow=follow)
    walk.begin(rows, np.random.default_rng((seed, int(rows[0]))))
    return walk


def _blocks(sessions: int, block: int | None = None) -> Iterator[NDArray[np.int64]]:
    size = block or BLOCK
    for start in range(0, sessions, size):
        yield np.arange(start, min(start + size, sessions))
