"""State, actor and critic of the list-wise recommender of Zhao et al. 2017 (arXiv 1801.00209), as the seed adapted it.

    user     u = sum_j w_j s_j E[x_j]     over the first half: s = 1 played, -1 skipped; w by distance from its end
    state    s = [u, u * m, m]            m = sum of the embeddings of the remembered tracks
    actor    a = A2 relu(A1 s + b1) + b2  a point in the space of the tracks' embeddings
    score    E[x] . a                     above 0: played; of several candidates the best is chosen
    critic   Q = C2 relu(C1 [s, d] + c1) + c2   with d = a (released), a * E[x] or a * m: see ``Judged``
    target   y = r + gamma (1 - done) Q'(s', a'(s'))

Letters: B states, J tracks of the first half, M remembered, C candidates, E numbers of an embedding, H hidden units.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from session_transformers.kinds import HALF
from session_transformers.reinforcement.options import Judged, Sizes


class State(keras.layers.Layer):
    """Embeddings of tracks and users, and the state that they make up.

    MSSD names no users. The released code invents one for each session, whose random row cannot be learned for the
    sessions that it is tested on. Here a user is what the first half tells: the tracks' vectors, added where played and
    subtracted where skipped, the nearer to the end the more if learning finds so. A listener of a new session thus has
    a vector at once, and all that it is made of is learned from every session.

    Args:
        sizes: the shapes.
        seed: of the first weights.
        fixed_tracks: the tracks' vectors are given and not learned: no gradient goes into them.
    """

    def __init__(self, sizes: Sizes, seed: int, fixed_tracks: bool = False) -> None:
        super().__init__(name="state", dtype="float32")
        self.sizes = sizes
        normal = keras.initializers.RandomNormal(0.0, sizes.spread, seed=seed)
        self.items = self.add_weight(name="items", shape=(sizes.vocabulary, sizes.embedding), initializer=normal)
        self.items.assign(self.items + sizes.common * np.eye(1, sizes.embedding, dtype=np.float32))
        self.items.trainable = not fixed_tracks
        if sizes.users:
            normal = keras.initializers.RandomNormal(0.0, sizes.spread, seed=seed + 1)
            self.users = self.add_weight(name="users", shape=(sizes.users, sizes.embedding), initializer=normal)
        else:
            even = keras.initializers.Constant(1.0 / HALF)
            self.recency = self.add_weight(name="recency", shape=(HALF,), initializer=even)
        self.built = True

    def embed(self, tracks: Any) -> Any:
        """Ids (...) -> vectors (..., E), 0 for padding."""
        there = ops.cast(tracks != self.sizes.pad, "float32")
        return ops.take(self.items, tracks, axis=0) * there[..., None]

    def user(self, source: Any, skips: Any) -> Any:
        """First halves (B, J) and what was skipped in them (B, J) -> users (B, E); not with a table of users."""
        there = ops.cast(source != self.sizes.pad, "float32")  # (B, J)
        places = ops.cumsum(there[:, ::-1], axis=1)[:, ::-1] - 1.0  # 0 for the last track heard
        weights = ops.take(self.recency, ops.cast(ops.maximum(places, 0.0), "int32"), axis=0)  # (B, J)
        signed = weights * (1.0 - 2.0 * ops.cast(skips, "float32"))
        return ops.sum(signed[..., None] * self.embed(source), axis=1)  # (B, E)

    def user_rows(self, numbers: Any) -> Any:
        """Numbers of users (B,) -> rows of the table (B, E); a number beyond the table begins again at 0."""
        return ops.take(self.users, numbers % self.sizes.users, axis=0)

    def call(self, user: Any, memory: Any) -> Any:
        """Users (B, E) and remembered tracks (B, M) -> states (B, 3 E)."""
        remembered = ops.sum(self.embed(memory), axis=1)  # (B, E)
        return ops.concatenate([user, user * remembered, remembered], axis=1)

    def scores(self, action: Any, candidates: Any) -> Any:
        """Actions (B, E) and candidates (B, C) -> scores (B, C)."""
        return ops.sum(self.embed(candidates) * action[:, None, :], axis=2)


class TwoLayers(keras.layers.Layer):
    """outputs = W2 relu(W1 x + b1) + b2, started as by Kaiming He's rule, biases as torch does."""

    def __init__(self, inputs: int, hidden: int, outputs: int, seed: int, name: str) -> None:
        super().__init__(name=name, dtype="float32")
        self.first = _dense(inputs, hidden, "relu", seed, "first")
        self.second = _dense(hidden, outputs, None, seed + 2, "second")
        self.built = True

    def call(self, x: Any) -> Any:
        """(B, inputs) -> (B, outputs)"""
        return self.second(self.first(x))


def _dense(inputs: int, outputs: int, activation: str | None, seed: int, name: str) -> keras.layers.Dense:
    limit = float(1.0 / np.sqrt(inputs))
    dense = keras.layers.Dense(
        outputs,
        activation,
        kernel_initializer=keras.initializers.HeUniform(seed=seed),
        bias_initializer=keras.initializers.RandomUniform(-limit, limit, seed=seed + 1),
        name=name,
        dtype="float32",
    )
    dense.build((None, inputs))
    return dense


class Networks(keras.Model):
    """All that the agent learns, and the targets of actor and critic.

    Args:
        sizes: the shapes.
        judged: what the critic sees of an action.
        unit_actions: actions have length sqrt(E), numbers of about 1 each; else any.
        seed: of the first weights.
        fixed_tracks: see :class:`State`.
    """

    def __init__(
        self,
        sizes: Sizes,
        judged: Judged = "track",
        unit_actions: bool = True,
        seed: int = 1,
        fixed_tracks: bool = False,
    ) -> None:
        super().__init__(name="ddpg", dtype="float32")
        self.sizes, self.judged, self.unit_actions = sizes, judged, unit_actions
        wide = 3 * sizes.embedding
        self.state = State(sizes, seed * 100, fixed_tracks)
        self.actor = TwoLayers(wide, sizes.hidden, sizes.embedding, seed * 100 + 10, "actor")
        self.critic = TwoLayers(wide + sizes.embedding, sizes.hidden, 1, seed * 100 + 20, "critic")
        self.target_actor = TwoLayers(wide, sizes.hidden, sizes.embedding, seed * 100 + 10, "target_actor")
        self.target_critic = TwoLayers(wide + sizes.embedding, sizes.hidden, 1, seed * 100 + 20, "target_critic")
        self.built = True

    def users(self, numbers: Any, source: Any, skips: Any) -> Any:
        """(B, E): of the sessions' numbers (B,) or their first halves (B, J), as the sizes say."""
        return self.state.user_rows(numbers) if self.sizes.users else self.state.user(source, skips)

    def action(self, actor: TwoLayers, state: Any, noise: Any = 0.0) -> Any:
        """What an actor does in states (B, 3 E), with noise: (B, E).

        Neither a score's sign nor the order of scores depends on the action's length. Where it is free, the actor can
        drive it to where the critic has never been and believes anything.
        """
        action = actor(state)
        return self._scaled(self._scaled(action) + noise)

    def _scaled(self, action: Any) -> Any:
        if not self.unit_actions:
            return action
        return action * ops.rsqrt(ops.mean(ops.square(action), axis=1, keepdims=True) + 1e-6)

    def compared(self, state: Any, track: Any) -> Any:
        """The vectors (B, E) that the critic sees actions on, of states (B, 3 E) and tracks presented (B,)."""
        if self.judged == "action":
            return ops.ones_like(state[:, : self.sizes.embedding])
        return self.state.embed(track) if self.judged == "track" else state[:, -self.sizes.embedding :]

    def value(self, critic: TwoLayers, state: Any, action: Any, compared: Any) -> Any:
        """Q of actions (B, E), seen on vectors (B, E): (B,)."""
        return critic(ops.concatenate([state, action * compared], axis=1))[:, 0]

    def target_value(self, state: Any, track: Any) -> Any:
        """Q' of what the target actor does, (B,)."""
        return self.value(self.target_critic, state, self.action(self.target_actor, state), self.compared(state, track))

    def policy_loss(self, state: Any, compared: Any) -> Any:
        """-mean Q of what the actor does."""
        return -ops.mean(self.value(self.critic, state, self.action(self.actor, state), compared))


def expected_value(reward: Any, done: Any, target_value: Any, gamma: float) -> Any:
    """y = r + gamma (1 - done) Q', (B,)."""
    return reward + gamma * (1.0 - done) * target_value
