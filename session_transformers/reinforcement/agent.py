"""An agent that acts on many sessions in one compiled call, and learns from many past decisions in another.

Deep deterministic policy gradient (Lillicrap et al. 2016, arXiv 1509.02971). Adam, as there, in place of the released
code's Ranger, which is RAdam and Look-ahead: the targets' soft updates already average over steps as Look-ahead does, a
warm-up as RAdam's matters little in thousands of small steps, and neither is part of Keras.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from common.optimizers import make_optimizer
from common.training import padded
from session_transformers.kinds import Task
from session_transformers.reinforcement.environment import Observation
from session_transformers.reinforcement.networks import Networks, expected_value
from session_transformers.reinforcement.options import AgentArchitecture, DdpgOptions
from session_transformers.sessions.halves import Halves


class Learned(NamedTuple):
    """What a learning step tells."""

    errors: NDArray[np.float32]
    """(B,) expected value - value."""
    value_loss: float
    policy_loss: float


class Agent:
    """Networks with their optimizers.

    Args:
        networks: acted with and taught.
        options: of learning.
    """

    def __init__(self, networks: Networks, options: DdpgOptions) -> None:
        self.networks, self.options = networks, options
        switches = options.switches
        critic_rate, actor_rate = options.rates
        self.actor_optimizer = make_optimizer("adam", actor_rate)
        self.critic_optimizer = make_optimizer("adam", critic_rate)
        self.state_optimizer = make_optimizer("adam", critic_rate)
        of_actor, of_critic, of_state = (
            part.trainable_variables for part in (networks.actor, networks.critic, networks.state)
        )
        self.actor_optimizer.build(of_actor)
        self.critic_optimizer.build(of_critic)
        self.state_optimizer.build(of_state)
        pairs = [(networks.target_actor, networks.actor), (networks.target_critic, networks.critic)]
        followers = [(t, v) for target, own in pairs for t, v in zip(target.weights, own.weights, strict=True)]

        @tf.function(jit_compile=options.jit, reduce_retracing=True)
        def act(known: Any, candidates: Any, noise: Any) -> Any:
            action = networks.action(networks.actor, _state(networks, known, "memory"), noise)
            return action, networks.state.scores(action, candidates)

        @tf.function(jit_compile=options.jit, reduce_retracing=True)
        def learn(known: Any, past: Any, weights: Any) -> Any:
            with tf.GradientTape(persistent=True) as tape:
                state = _state(networks, known, "memory")
                compared = networks.compared(state, past["track"])
                value = networks.value(networks.critic, state, past["action"], compared)
                later = networks.target_value(_state(networks, known, "next_memory"), past["next_track"])
                expected = expected_value(past["reward"], past["done"], later, options.gamma)
                error = ops.stop_gradient(expected) - value
                value_loss = ops.mean(weights * ops.square(error))
                policy_loss = networks.policy_loss(state, ops.stop_gradient(compared))
            # Of two losses the tape gives the gradient of their sum: the state moves once, whoever teaches it.
            teachers = [value_loss] if switches.critic_alone_teaches_state else [value_loss, policy_loss]
            for_actor, for_critic, for_state = (
                tape.gradient(loss, variables)
                for loss, variables in ((policy_loss, of_actor), (value_loss, of_critic), (teachers, of_state))
            )
            self.actor_optimizer.apply(for_actor, of_actor)
            self.critic_optimizer.apply(for_critic, of_critic)
            self.state_optimizer.apply(for_state, of_state)
            if switches.soft_updates:
                for target, own in followers:
                    target.assign(target + options.tau * (own - target))
            return error, value_loss, policy_loss

        self._act, self._learn = act, learn

    def act(
        self, sessions: Halves, seen: Observation, noise: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Actions (n, E) with ``noise`` (n, E) added, and the scores (n, C) that they give the candidates."""
        count = len(seen.rows)
        if noise is None:
            noise = np.zeros((count, self.networks.sizes.embedding), np.float32)
        known = _known(self.options.task, sessions, seen.rows, memory=seen.memory)
        size = 1 << (count - 1).bit_length()  # few distinct shapes mean few compilations
        rows = tf.nest.map_structure(lambda array: padded(array, size), (known, seen.candidates, noise))
        action, scores = self._act(*rows)
        return np.asarray(action)[:count], np.asarray(scores)[:count]

    def learn(
        self, sessions: Halves, past: Mapping[str, NDArray[Any]], weights: NDArray[np.float32] | None = None
    ) -> Learned:
        """Learn from past decisions (B of them, by name as in :func:`decisions`), of the given importance."""
        if weights is None:
            weights = np.ones(len(past["rows"]), np.float32)
        memories = {name: past[name] for name in ("memory", "next_memory")}
        known = _known(self.options.task, sessions, past["rows"], **memories)
        asked = {name: past[name] for name in ("track", "action", "next_track", "reward", "done")}
        error, value_loss, policy_loss = self._learn(known, asked, weights)
        return Learned(np.asarray(error), float(value_loss), float(policy_loss))

    def variables(self) -> dict[str, Any]:
        """Name -> variable of everything that learning changes."""
        sources = {
            "networks": self.networks.weights,
            "actor_optimizer": self.actor_optimizer.variables,
            "critic_optimizer": self.critic_optimizer.variables,
            "state_optimizer": self.state_optimizer.variables,
        }
        return {f"{name}_{i}": variable for name, found in sources.items() for i, variable in enumerate(found)}


def build_agent(architecture: AgentArchitecture) -> Agent:
    """An agent that has learned nothing yet."""
    options, switches = architecture.options, architecture.options.switches
    networks = Networks(
        architecture.sizes, architecture.judged, switches.unit_actions, options.seed, options.skip_grams
    )
    return Agent(networks, options)


def decisions(embedding: int, memory: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """What is kept of a decision: name -> (shape, type)."""
    return {
        "rows": ((), "int64"),
        "memory": ((memory,), "int32"),
        "next_memory": ((memory,), "int32"),
        "action": ((embedding,), "float32"),
        "track": ((), "int32"),
        "next_track": ((), "int32"),
        "reward": ((), "float32"),
        "done": ((), "float32"),
    }


def _known(
    task: Task, sessions: Halves, rows: NDArray[np.int64], **memories: NDArray[np.int32]
) -> dict[str, NDArray[Any]]:
    """What states are made of, for sessions by their numbers. As in the other models, tracks are told without skips."""
    skips = np.asarray(sessions.source_skips[rows])
    return {
        "numbers": rows.astype(np.int32),
        "source": np.asarray(sessions.source[rows]),
        "skips": skips if task == "skip" else np.zeros_like(skips),
        **memories,
    }


def _state(networks: Networks, known: Mapping[str, Any], memory: str) -> Any:
    user = networks.users(known["numbers"], known["source"], known["skips"])
    return networks.state(user, known[memory])
