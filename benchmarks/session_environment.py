"""Steps of the session environment in a second, alone and with an agent that acts and learns.

Beside them, in the same run, the plain way: one session after the other, one track after the other, in a Python loop;
and with the agent, one action at a time and a learning step of the same batch after each. That is how the released code
goes about it. A step is one decision on one track. Made-up sessions.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import numpy as np
from measuring import measure, recording, show

from common.command import run_script
from session_transformers.kinds import HALF, Task
from session_transformers.reinforcement.environment import Rows, SessionEnvironment
from session_transformers.reinforcement.learning import Learner
from session_transformers.reinforcement.options import CANDIDATES, DdpgOptions
from session_transformers.sessions.halves import Halves

FIRST = 3


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    tracks: int = 10_000
    """Tracks in the vocabulary; the original has 103,908."""
    sessions: int = 20_000
    """Made-up sessions."""
    walks: int = 256
    """Sessions walked through side by side."""
    seconds: float = 3.0
    """Time for each measurement."""
    repeats: int = 3
    """Measurements; the fastest counts."""


def made_up(options: Options) -> Halves:
    """Sessions of random tracks and skips."""
    rng = np.random.default_rng(1)
    shape = (options.sessions, 2 * HALF)
    tracks = rng.integers(FIRST, FIRST + options.tracks, shape).astype(np.int32)
    return Halves(tracks, rng.integers(0, 2, shape).astype(np.uint8))


def side_by_side(halves: Halves, task: Task, options: Options) -> Callable[[], int]:
    """Random decisions in this project's environment; a call is one step of all walks."""
    rng = np.random.default_rng(2)
    environment = SessionEnvironment(halves, task, (FIRST, FIRST + options.tracks))
    rows = Rows(len(halves), rng)
    environment.begin(rows.take(options.walks), rng)
    choices = 2 if task == "skip" else CANDIDATES

    def step() -> int:
        environment.observe()
        done = environment.step(rng.integers(0, choices, options.walks)).done
        environment.renew(done, rows.take(int(done.sum())))
        return options.walks

    return step


def one_by_one(halves: Halves, task: Task, options: Options) -> Callable[[], int]:
    """The same in plain Python; a call is one session."""
    rng = np.random.default_rng(2)

    def session() -> int:
        row = int(rng.integers(len(halves)))
        played = [int(t) for t, s in zip(halves.source[row], halves.source_skips[row], strict=True) if not s]
        memory = deque(played, maxlen=5)
        for track, skipped in zip(halves.target[row].tolist(), halves.target_skips[row].tolist(), strict=True):
            _state = (row, tuple(memory))
            if task == "skip":
                choice = int(rng.integers(2))
                _reward = 1.0 if choice == skipped else -1.0
                if not choice:
                    memory.append(track)
            else:
                drawn = rng.integers(FIRST, FIRST + options.tracks, CANDIDATES - 1).tolist()
                candidates = [track, *drawn]
                chosen = candidates[int(rng.integers(CANDIDATES))]
                _reward = float(chosen == track)
                memory.append(chosen)
        return HALF

    return session


def learning(halves: Halves, task: Task, options: Options, walks: int) -> Callable[[], int]:
    """Steps with an agent that acts on all walks and learns once from 512 decisions; a call is 64 common steps."""
    settings = DdpgOptions(task=task, walks=walks, round_steps=64 * walks)
    learner = Learner(settings, halves, (FIRST, FIRST + options.tracks))
    filling = Learner(replace(settings, walks=512, round_steps=512), halves, learner.tracks)
    filling.round(0)
    learner.replay.restore(filling.replay.state())  # so that learning begins at once
    rounds = iter(range(10**9))

    def steps() -> int:
        learner.round(next(rounds))
        return settings.round_steps

    return steps


def rate(work: Callable[[], int], options: Options) -> float:
    """Steps in a second, the fastest of several measurements."""

    def burst() -> int:
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < options.seconds:
            done += work()
        return done

    work()  # compiles
    return max(taken.result / taken.best for taken in (measure(burst) for _ in range(options.repeats)))


def main(options: Options) -> dict[str, float]:
    """Steps in a second of the environment, and with an agent that acts and learns."""
    halves = made_up(options)
    tasks: tuple[Task, ...] = ("skip", "seq")
    found: dict[str, float] = {}
    for task in tasks:
        pairs = {
            "environment": (side_by_side(halves, task, options), one_by_one(halves, task, options)),
            "with agent": (learning(halves, task, options, options.walks), learning(halves, task, options, 1)),
        }
        for name, (ours, plain) in pairs.items():
            fast, slow = rate(ours, options), rate(plain, options)
            found |= {
                f"{task}, {name}: steps/s": fast,
                f"{task}, {name}, one by one: steps/s": slow,
                f"{task}, {name}: ratio": fast / slow,
            }
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
