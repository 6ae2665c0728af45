"""How well the agent does on recorded sessions when it acts greedily, and is told nothing of their second halves.

Skips and free-running tracks are judged by :mod:`session_transformers.evaluation`, as every other model's. Beside them,
for tracks, stand the figures of the task that the agent learns (:mod:`session_transformers.reinforcement.candidates`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from common.evaluation import Measured
from session_transformers.evaluation import Outcome, skip_outcome, track_outcome
from session_transformers.kinds import HALF, PAD
from session_transformers.reinforcement.agent import Agent
from session_transformers.reinforcement.candidates import blocks, rank_candidates
from session_transformers.reinforcement.environment import Observation, SessionEnvironment
from session_transformers.sessions.halves import Halves, Tokens

BLOCK = 2048
"""Sessions at a time."""
SCORES = 2**25
"""Scores at a time, which fill 128 MB."""


def predict_skips(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> NDArray[np.bool_]:
    """(sessions, 10) what the agent takes to be skipped; it remembers its own decisions.

    With the switch ``own_actions`` off, the first action of the first session decides all, as in the released code.
    """
    found = np.zeros((len(sessions), HALF), bool)
    if not agent.options.switches.own_actions:
        action = _first_action(agent, sessions, tracks)
        for rows in blocks(len(sessions), BLOCK):
            targets = np.asarray(sessions.target[rows])
            actions = np.repeat(action, len(rows), axis=0)
            found[rows] = np.asarray(agent.networks.state.scores(actions, targets)) <= 0
        return found
    for rows in blocks(len(sessions), BLOCK):
        walk = _walk(agent, sessions, tracks, rows)
        for place in range(HALF):
            _, scores = agent.act(sessions, walk.observe())
            found[rows, place] = scores[:, 0] <= 0
            walk.step(found[rows, place].astype(np.int64))
    return found


def predict_tracks(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> Tokens:
    """(sessions, 10) the track with the highest score of all, which the agent then remembers (free running)."""
    found = np.full((len(sessions), HALF), PAD, np.int32)
    table = ops.convert_to_tensor(np.asarray(agent.networks.state.items)[tracks[0] : tracks[1]].T.copy())
    for rows in blocks(len(sessions), max(min(BLOCK, SCORES // tracks[1]), 1)):
        walk = _walk(agent, sessions, tracks, rows)
        seen = walk.observe()
        memory = seen.memory
        nothing = np.full((len(rows), 1), PAD, np.int32)
        for place in range(HALF):
            action, _ = agent.act(sessions, Observation(seen.rows, seen.places, memory, nothing))
            best = np.asarray(ops.argmax(ops.matmul(action, table), axis=1)) + tracks[0]
            found[rows, place] = best
            memory = np.concatenate([memory[:, 1:], best[:, None].astype(np.int32)], axis=1)
    return found


def first_scores(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> NDArray[np.float32]:
    """(sessions, V) of every id as the first track of the second half, very low for those that are no tracks."""
    table = np.asarray(agent.networks.state.items)[tracks[0] : tracks[1]].T
    found = np.full((len(sessions), tracks[1]), np.finfo(np.float32).min, np.float32)
    for rows in blocks(len(sessions), BLOCK):
        seen = _walk(agent, sessions, tracks, rows).observe()
        nothing = np.full((len(rows), 1), PAD, np.int32)
        action, _ = agent.act(sessions, Observation(seen.rows, seen.places, seen.memory, nothing))
        found[rows, tracks[0] :] = action @ table
    return found


def evaluate(
    agent: Agent, sessions: Halves, tracks: tuple[int, int], seed: int
) -> tuple[Outcome, Measured, NDArray[Any]]:
    """Judge the agent: its outcome, all that was measured, and its predictions (sessions, 10)."""
    if agent.options.task == "skip":
        skips = predict_skips(agent, sessions, tracks)
        outcome = skip_outcome(skips, sessions.target_skips, sessions.target_mask)
        return outcome, outcome.measured(), skips
    predicted = predict_tracks(agent, sessions, tracks)
    outcome = track_outcome(predicted, sessions.target, "free")
    memory = agent.options.memory
    drawn = rank_candidates(lambda seen: agent.act(sessions, seen)[1], sessions, tracks, seed, memory)
    return outcome, Measured([*outcome.samples(), drawn]), predicted


def _first_action(agent: Agent, sessions: Halves, tracks: tuple[int, int]) -> NDArray[np.float32]:
    action, _ = agent.act(sessions, _walk(agent, sessions, tracks, np.zeros(1, np.int64)).observe())
    return action


def _walk(agent: Agent, sessions: Halves, tracks: tuple[int, int], rows: NDArray[np.int64]) -> SessionEnvironment:
    """The sessions ``rows``, what the agent chooses being remembered."""
    walk = SessionEnvironment(sessions, agent.options.task, tracks, agent.options.memory, follow="choice")
    walk.begin(rows, np.random.default_rng((0, int(rows[0]))))
    return walk
