"""Learning from recorded sessions: walk, remember, learn; evaluate after every round; go on after a kill.

A round is an epoch of :mod:`common.epochs`. Everything random of it is drawn from (seed, round), and every round begins
with new sessions: weights, optimizers and the past decisions are all that a checkpoint has to hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.checkpoint import FILE, Progress
from common.epochs import EpochLoop, Monitor, Trained
from common.options import require
from session_transformers.kinds import Ids
from session_transformers.recurrent.word2vec import Word2VecOptions, fit_vectors
from session_transformers.reinforcement.agent import Agent, build_agent, decisions
from session_transformers.reinforcement.environment import Rows, SessionEnvironment
from session_transformers.reinforcement.figures import evaluate
from session_transformers.reinforcement.noise import OrnsteinUhlenbeck, bernoulli_mask, strength
from session_transformers.reinforcement.options import AgentArchitecture, DdpgOptions, Sizes
from session_transformers.reinforcement.replay import PrioritisedReplay
from session_transformers.sessions.halves import Halves

if TYPE_CHECKING:
    from session_transformers.preprocess import SequenceData

MONITORS = {"skip": Monitor("val_maa", higher=True), "seq": Monitor("val_hit@10_of_100", higher=True)}
"""What chooses the best round. For tracks not the free-running MAA: it is 0 for long."""


class Learner:
    """An agent on its way: its environment, its past decisions and its clock.

    Args:
        options: of learning.
        sessions: to learn from.
        tracks: (first, end) of the ids that are tracks.
        item_vectors: (V, E) first vectors of the tracks; None: noise.
        agent: to be taught; None: a new one.

    Raises:
        UserError: there are no sessions, or vectors of another shape.
    """

    def __init__(
        self,
        options: DdpgOptions,
        sessions: Halves,
        tracks: tuple[int, int],
        item_vectors: NDArray[np.float32] | None = None,
        agent: Agent | None = None,
    ) -> None:
        self.options, self.sessions, self.tracks = options, sessions, tracks
        self.agent = agent or build_agent(
            architecture_of(options, Ids(first_track=tracks[0]), tracks[1], len(sessions))
        )
        self.sizes = self.agent.networks.sizes
        if item_vectors is not None:
            shape = (tracks[1], options.embedding)
            require(item_vectors.shape == shape, f"first vectors have the shape {item_vectors.shape}; expected {shape}")
            self.agent.networks.state.items.assign(item_vectors)
        follow: Any = "choice" if options.task == "skip" else "recorded"
        self.environment = SessionEnvironment(sessions, options.task, tracks, options.memory, follow=follow)
        fields = decisions(options.embedding, options.memory)
        self.replay = PrioritisedReplay(options.buffer, fields, options.priority)

    def round(self, number: int, bar: tqdm | None = None) -> Trained:
        """Walk and learn for a round (from 0): the critic's mean loss, and means of reward, policy loss and noise."""
        options, environment = self.options, self.environment
        rng = np.random.default_rng((options.seed, number))
        rows = Rows(len(self.sessions), rng)
        environment.begin(rows.take(options.walks), rng)
        moving = OrnsteinUhlenbeck(options.walks, options.embedding, rng)
        steps = options.round_steps // options.walks
        rewards, losses = [], []
        for step in range(steps):
            noise = strength(options.noise_start, options.noise_decay, options.noise_floor, number * steps + step)
            rewards.append(self._step(rows, moving, noise, rng))
            if self.replay.count >= options.batch_size:
                beta = options.correction + (1.0 - options.correction) * number / max(options.rounds - 1, 1)
                places, past, weights = self.replay.sample(options.batch_size, min(beta, 1.0), rng)
                learned = self.agent.learn(self.sessions, past, weights)
                self.replay.update(places, learned.errors)
                losses.append((learned.value_loss, learned.policy_loss))
            if bar is not None:
                bar.update()
        value_loss, policy_loss = np.mean(losses, axis=0) if losses else (0.0, 0.0)
        found = {"reward": np.mean(rewards), "policy_loss": policy_loss, "noise": noise}
        decided = steps * options.walks
        figures = {name: float(value) for name, value in found.items()} | {"steps": (number + 1) * decided}
        return Trained(float(value_loss), decided, figures)

    def _step(self, rows: Rows, moving: OrnsteinUhlenbeck, noise: float, rng: np.random.Generator) -> float:
        """One step of all walks, remembered; its mean reward."""
        options, environment = self.options, self.environment
        seen = environment.observe()
        moved = moving(noise) if options.noise == "ornstein-uhlenbeck" else None
        action, scores = self.agent.act(self.sessions, seen, moved)
        if options.noise == "bernoulli":
            scores = bernoulli_mask(scores, noise, rng)
        choices = (scores[:, 0] <= 0).astype(np.int64) if options.task == "skip" else scores.argmax(axis=1)
        step = environment.step(choices)
        environment.renew(step.done, rows.take(int(step.done.sum())))
        moving.renew(step.done)
        switches = options.switches
        self.replay.add(
            {
                "rows": seen.rows,
                "memory": seen.memory if switches.real_next_state else step.memory,
                "next_memory": step.memory,
                "action": action,
                "track": seen.candidates[:, 0],
                "next_track": environment.observe().candidates[:, 0],
                "reward": step.reward,
                "done": step.done if switches.done_at_end else step.reward,
            }
        )
        return float(step.reward.mean())

    def variables(self) -> dict[str, Any]:
        """Name -> variable of everything that a checkpoint has to hold."""
        return self.agent.variables() | {f"replay_{name}": _Past(self.replay, name) for name in self.replay.state()}


def first_vectors(
    options: DdpgOptions, sessions: Halves, tracks: tuple[int, int], quiet: bool = True
) -> NDArray[np.float32] | None:
    """(V, E) vectors of skip-grams, their numbers of mean square 1, as those of an action; None if noise is wanted."""
    if not options.skip_grams:
        return None
    settings = Word2VecOptions(columns=options.embedding, seed=options.seed)
    vectors = fit_vectors(sessions.tracks, sessions.skips, tracks[1], tracks[0], settings, quiet)
    return vectors / np.sqrt(np.mean(np.square(vectors[tracks[0] :])))


def architecture_of(options: DdpgOptions, ids: Ids, vocabulary: int, sessions: int) -> AgentArchitecture:
    """The architecture that options describe, for data of ``vocabulary`` ids and so many training sessions."""
    users = 0 if options.switches.inferred_users else sessions
    sizes = Sizes(
        vocabulary,
        options.embedding,
        options.hidden,
        options.memory,
        spread=options.spread,
        common=options.common,
        users=users,
    )
    return AgentArchitecture(options, sizes, ids)


class _Past:
    """An array of the past decisions, which a checkpoint takes for a variable."""

    def __init__(self, replay: PrioritisedReplay, name: str) -> None:
        self.replay, self.name = replay, name
        self.shape, self.dtype = np.asarray(self).shape, np.asarray(self).dtype

    def assign(self, array: NDArray[Any]) -> None:
        self.replay.restore({self.name: array})

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.replay.state()[self.name]


@dataclass(frozen=True, eq=False)
class Taught:
    """What learning came to."""

    learner: Learner
    progress: Progress
    """A row of the history for each round."""

    @property
    def facts(self) -> dict[str, int]:
        """Numbers learnt, and steps taken."""
        weights, history = self.learner.agent.networks.trainable_weights, self.progress.history
        steps = int(history[-1]["steps"]) if history else 0
        return {"parameters": int(sum(np.prod(weight.shape) for weight in weights)), "steps": steps}


def learn(
    options: DdpgOptions,
    data: SequenceData,
    folder: Path | None = None,
    resume: bool = False,
    quiet: bool = True,
    item_vectors: NDArray[np.float32] | None = None,
    agent: Agent | None = None,
) -> Taught:
    """Learn from the training part, and choose the best round on the validation part.

    Args:
        options: of learning.
        data: prepared sessions.
        folder: of the run: gets ``checkpoint.npz`` and ``history.csv`` after every round. None keeps nothing.
        resume: go on from the checkpoint in ``folder``.
        quiet: no progress bar.
        item_vectors: (V, E) first vectors of the tracks; None: as the options say.
        agent: to be taught; None: a new one.

    Raises:
        UserError: there are no sessions, the loss is no longer finite, or the checkpoint is of another run.
    """
    tracks = (data.ids.first_track, data.vocabulary_size)
    require(not resume or folder is not None, "--resume needs --run-dir: the folder of the run to continue")
    if item_vectors is None and not (resume and folder is not None and (folder / FILE).exists()):
        item_vectors = first_vectors(options, data.train, tracks, quiet)
    learner = Learner(options, data.train, tracks, item_vectors, agent)
    agent, chosen = learner.agent, _spread(data.validation, options.validation_sessions)
    networks = [name for name in agent.variables() if name.startswith("networks_")]
    monitor = MONITORS[options.task] if len(chosen) else None
    loop = EpochLoop(learner.variables(), folder, monitor, networks)
    if resume:
        loop.resume()

    def validate(number: int) -> dict[str, float]:
        _, found, _ = evaluate(learner.agent, chosen, tracks, options.seed)
        return {f"val_{name}": value for name, value in found.figures.items()}

    steps = options.round_steps // options.walks
    progress = loop.run(learner.round, options.rounds, validate if monitor else None, "ddpg, ", "step", steps, quiet)
    return Taught(learner, progress)


def _spread(sessions: Halves, count: int) -> Halves:
    """Up to ``count`` of the sessions, spread evenly."""
    rows = (
        np.unique(np.linspace(0, len(sessions) - 1, count).astype(np.int64)) if len(sessions) > count else slice(None)
    )
    return Halves(sessions.tracks[rows], sessions.skips[rows])
