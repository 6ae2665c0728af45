"""The environment for agents of others: Gymnasium's interface to recorded sessions (extra ``rl``).

Actions are decisions, not the points in an embedding space by which the agent of this project decides: skip (1) or not
(0), or the number of a candidate. Observations are ids: nothing of the second half but the track to decide on, or the
candidates.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.options import UserError
from session_transformers.kinds import HALF
from session_transformers.reinforcement.environment import Observation, Rows, SessionEnvironment

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
    from gymnasium.vector.utils import batch_space
except ImportError as error:
    raise UserError('gymnasium is not installed; install it with: pip install "gymnasium>=1.0"') from error

Seen = dict[str, NDArray[Any]]


class SessionEnv(gymnasium.Env[dict[str, Any], Any]):
    """One session at a time, drawn at every reset; ``reset(options={"row": n})`` begins session n."""

    metadata = {"render_modes": []}  # noqa: RUF012  (as Gymnasium declares it)

    def __init__(self, environment: SessionEnvironment) -> None:
        self.environment = environment
        self.observation_space, self.action_space = _spaces(environment)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], dict]:
        """Begin a session; see ``gymnasium.Env.reset``."""
        super().reset(seed=seed)
        sessions = len(self.environment.sessions)
        row = int(self.np_random.integers(sessions)) if options is None or "row" not in options else options["row"]
        if not 0 <= row < sessions:
            raise ValueError(f"row is {row}; there are sessions 0..{sessions - 1}")
        self.environment.begin(np.array([row]), self.np_random)
        return self._see(), {"row": row}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Decide; see ``gymnasium.Env.step``. A session ends, it is never cut."""
        step = self.environment.step(np.array([action]))
        return self._see(), float(step.reward[0]), bool(step.done[0]), False, {}

    def _see(self) -> dict[str, Any]:
        seen = _seen(self.environment, self.environment.observe())
        return {name: value[0] for name, value in seen.items()}


class SessionVectorEnv(VectorEnv[dict[str, Any], NDArray[Any], NDArray[Any]]):
    """Many sessions side by side. One that is over makes room for the next at once (autoreset in the same step): its
    last observation is in ``info["final_obs"]``. All sessions come before one comes again.

    Args:
        environment: to walk in.
        num_envs: sessions side by side.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, environment: SessionEnvironment, num_envs: int) -> None:
        self.environment, self.num_envs = environment, num_envs
        self.single_observation_space, self.single_action_space = _spaces(environment)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Seen, dict[str, Any]]:
        """Begin as many sessions as there are walks; see ``gymnasium.vector.VectorEnv.reset``."""
        super().reset(seed=seed)
        self._rows = Rows(len(self.environment.sessions), self.np_random)
        self.environment.begin(self._rows.take(self.num_envs), self.np_random)
        return _seen(self.environment, self.environment.observe()), {}

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Seen, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Decide in all sessions; see ``gymnasium.vector.VectorEnv.step``."""
        step = self.environment.step(np.asarray(actions))
        infos: dict[str, Any] = {}
        if step.done.any():
            last = _seen(self.environment, self.environment.observe())
            final = np.full(self.num_envs, None, dtype=object)
            for walk in np.flatnonzero(step.done):
                final[walk] = {name: value[walk] for name, value in last.items()}
            infos = {"final_obs": final, "_final_obs": step.done}
            self.environment.renew(step.done, self._rows.take(int(step.done.sum())))
        seen = _seen(self.environment, self.environment.observe())
        return seen, step.reward.astype(np.float64), step.done, np.zeros_like(step.done), infos


def _spaces(environment: SessionEnvironment) -> tuple[spaces.Dict, spaces.Discrete]:
    def ids(count: int) -> spaces.Box:
        return spaces.Box(0, environment.tracks[1] - 1, (count,), np.int32)

    observed = spaces.Dict(
        {
            "source": ids(HALF),
            "source_skips": spaces.MultiBinary(HALF),
            "place": spaces.Discrete(HALF),
            "memory": ids(environment.memory),
            "candidates": ids(environment.candidates),
        }
    )
    return observed, spaces.Discrete(2 if environment.task == "skip" else environment.candidates)


def _seen(environment: SessionEnvironment, observation: Observation) -> Seen:
    return {
        "source": np.asarray(environment.sessions.source[observation.rows]),
        "source_skips": np.asarray(environment.sessions.source_skips[observation.rows]).astype(np.int8),
        "place": observation.places,
        "memory": observation.memory,
        "candidates": observation.candidates,
    }
