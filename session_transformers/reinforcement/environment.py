"""Recorded sessions as an environment: many of them are walked through side by side, one track of each at a step.

A step is one track of the second half. In the task ``skip`` the agent is shown the track and says whether it is skipped
(1) or played (0): the reward is +1 if that is right, else -1. (The released code gives +1 for a track that was listened
to and -1 for a skipped one, whatever the agent thought of it, so that its sum counts the listener's patience, not the
agent's judgement.) In the task ``seq`` the agent chooses among the true track and 99 drawn ones: 1 if right, else 0.

The state remembers the last tracks: for skips those that were played on, for tracks all. What follows a choice is the
next track of the recorded session, and the memory with the choice in it (``choice``: for skips the track if the agent
said played; else the chosen track): nothing of the second half leaks. ``recorded`` remembers what truly happened
instead; a figure gained with it says so.
A session ends with its last track.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.options import require
from session_transformers.kinds import HALF, PAD, Task
from session_transformers.reinforcement.options import CANDIDATES
from session_transformers.sessions.halves import Halves, Tokens

Follow = Literal["choice", "recorded"]


@dataclass(frozen=True, eq=False)
class Observation:
    """What is known before a decision; n sessions."""

    rows: NDArray[np.int64]
    """(n,) numbers of the sessions: of their first halves, that is."""
    places: NDArray[np.int64]
    """(n,) 0..9: which track of the second half is next."""
    memory: Tokens
    """(n, M) the last tracks, the latest last; PAD where there are fewer."""
    candidates: Tokens
    """(n, C) skip: the track itself, C = 1; seq: tracks to choose from, the true one somewhere among them."""


@dataclass(frozen=True, eq=False)
class Step:
    """What a decision led to."""

    reward: NDArray[np.float32]
    """(n,)"""
    done: NDArray[np.bool_]
    """(n,) whether the session is over."""
    memory: Tokens
    """(n, M) after the step; of the same session, also where it is over."""


class SessionEnvironment:
    """Walks through sessions.

    Args:
        sessions: to walk through.
        task: what is decided.
        tracks: (first, end) of the ids that are tracks.
        memory: tracks remembered, M.
        candidates: tracks to choose from in the task ``seq``, C.
        follow: what the memory takes.

    Raises:
        UserError: there are no sessions, or not two tracks to choose from.
    """

    def __init__(
        self,
        sessions: Halves,
        task: Task,
        tracks: tuple[int, int],
        memory: int = 5,
        candidates: int = CANDIDATES,
        follow: Follow = "choice",
    ) -> None:
        require(len(sessions) > 0, "there are no sessions to walk through; lower --min-plays or take more days")
        require(task == "skip" or tracks[1] - tracks[0] >= 2, "a choice needs two tracks or more in the vocabulary")
        self.sessions, self.task, self.tracks, self.follow = sessions, task, tracks, follow
        self.memory, self.candidates = memory, 1 if task == "skip" else candidates

    def begin(self, rows: NDArray[np.int64], rng: np.random.Generator) -> None:
        """Begin to walk through the sessions ``rows`` (n,); ``rng`` draws what is drawn from now on."""
        self.rng = rng
        self.rows, self.places = np.array(rows), np.zeros(len(rows), np.int64)
        self.remembered = np.empty((len(rows), self.memory), np.int32)
        self.lengths = np.empty(len(rows), np.int64)
        self._enter(np.arange(len(rows)))
        self._offer()

    def observe(self) -> Observation:
        """What is known before the next decision."""
        return Observation(self.rows.copy(), self.places.copy(), self.remembered.copy(), self._offered.copy())

    def step(self, choices: NDArray[np.integer]) -> Step:
        """Decide: skip (1) or not (0), or the number of a candidate, for each session (n,).

        Sessions that are over stay where they are until :meth:`renew`.
        """
        if self.task == "skip":
            skipped = self.sessions.target_skips[self.rows, self.places]
            reward = np.where(choices == skipped, 1.0, -1.0).astype(np.float32)
            played = (choices if self.follow == "choice" else skipped) == 0
            self._remember(self._true, played)
        else:
            chosen = self._offered[np.arange(len(self.rows)), choices]
            reward = (chosen == self._true).astype(np.float32)
            self._remember(chosen if self.follow == "choice" else self._true, np.ones(len(chosen), bool))
        done = self.places + 1 >= self.lengths
        self.places = np.where(done, self.places, self.places + 1)
        self._offer()
        return Step(reward, done, self.remembered.copy())

    def renew(self, over: NDArray[np.bool_], rows: NDArray[np.int64]) -> None:
        """Begin the sessions ``rows`` in the places of those that are over (n,)."""
        if over.any():
            which = np.flatnonzero(over)
            self.rows[which], self.places[which] = rows, 0
            self._enter(which)
            self._offer(which)

    def _enter(self, which: NDArray[np.int64]) -> None:
        """Look at the sessions that begin: their lengths, and the memory that their first halves leave."""
        rows = self.rows[which]
        self.lengths[which] = (self.sessions.target[rows] != PAD).sum(axis=1)
        source = self.sessions.source[rows]
        there = source != PAD
        if self.task == "skip":
            there = there & (self.sessions.source_skips[rows] == 0)
        # A stable sort by "there" puts the tracks that count last, in their order.
        order = np.argsort(there, axis=1, kind="stable")
        tracks = np.take_along_axis(np.where(there, source, PAD), order, axis=1)
        padding = np.full((len(rows), max(self.memory - HALF, 0)), PAD, np.int32)
        self.remembered[which] = np.concatenate([padding, tracks], axis=1)[:, -self.memory :]

    def _remember(self, tracks: Tokens, which: NDArray[np.bool_]) -> None:
        moved = np.concatenate([self.remembered[:, 1:], tracks[:, None]], axis=1)
        self.remembered = np.where(which[:, None], moved, self.remembered)

    def _offer(self, which: NDArray[np.int64] | None = None) -> None:
        """Lay out the candidates of all sessions, or of ``which``."""
        rows, places = (self.rows, self.places) if which is None else (self.rows[which], self.places[which])
        true = np.asarray(self.sessions.target[rows, places])
        offered = true[:, None]
        if self.task == "seq":
            first, end = self.tracks
            offered = self.rng.integers(first, end - 1, (len(rows), self.candidates), dtype=np.int32)
            offered += offered >= true[:, None]  # every track but the true one
            offered[np.arange(len(rows)), self.rng.integers(self.candidates, size=len(rows))] = true
        if which is None:
            self._true, self._offered = true, offered
        else:
            self._true[which], self._offered[which] = true, offered


class Rows:
    """An endless order of sessions: permutation after permutation, drawn from ``rng``."""

    def __init__(self, sessions: int, rng: np.random.Generator) -> None:
        self.sessions, self.rng = sessions, rng
        self._left = np.empty(0, np.int64)

    def take(self, count: int) -> NDArray[np.int64]:
        """The next ``count`` sessions."""
        while len(self._left) < count:
            self._left = np.concatenate([self._left, self.rng.permutation(self.sessions)])
        taken, self._left = self._left[:count], self._left[count:]
        return taken
