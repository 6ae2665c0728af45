"""What the reinforcement learner can be told, and the mistakes of the released code by name. No Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, get_args

import tyro

from common.options import OptionalFloat, OptionalInt, UserError, choice, flag, require
from session_transformers.kinds import PAD, Ids, SkipInput, Task

FirstVectors = Literal["auto", "noise", "skip-gram"]
Noise = Literal["ornstein-uhlenbeck", "bernoulli", "none"]
CANDIDATES = 100
"""Tracks to choose from in the task of track match: the true one and 99 drawn ones."""


@dataclass(frozen=True)
class DdpgSwitches:
    """What the released code does otherwise than intended; the default is corrected. B12 of the specification."""

    real_next_state: bool = True
    """The state after a step is stored as the next state; released: as both states."""
    done_at_end: bool = True
    """A session's last step has no value beyond its reward; released: the slot of ``done`` holds the reward."""
    soft_updates: bool = True
    """Targets follow the networks; released: they keep their first weights for ever."""
    own_actions: bool = True
    """Every session is judged by its own action; released: the first session's action judges all skips in
    the evaluation."""
    inferred_users: bool = True
    """A user is what the first half of the session tells; released: a row of a table by the session's number, which
    for a test session is the row of some training session."""
    judges_decision: bool = True
    """The critic sees the action on the track presented, or on those remembered; released: the action alone."""
    unit_actions: bool = True
    """Actions have a fixed length, on which no decision depends; released: any."""
    critic_alone_teaches_state: bool = True
    """The embeddings learn from the critic's loss; released: from the actor's too, which can raise its value by moving
    the state. They then take one step on the sum of both gradients."""


CORRECTED_DDPG = DdpgSwitches()
RELEASED_DDPG = DdpgSwitches(*(8 * [False]))


@dataclass(frozen=True)
class DdpgArguments:
    """Options of the reinforcement learner, as they are given: None is what the protocol says."""

    task: tyro.conf.Suppress[Task] = "skip"
    """skip: tell which tracks are skipped; seq: find the track that is played among 1 + 99 candidates."""
    embedding: int = 8
    """Numbers in the vectors of tracks, users and actions (code: 8; paper: 16)."""
    hidden: int = 16
    """Units of actor and critic (code: 16; paper: 8)."""
    memory: int = 5
    """Tracks that the state remembers (original: 5)."""
    first_vectors: FirstVectors = "auto"
    """What the tracks' vectors are: noise that is learned from (original), or skip-gram: made of the training sessions
    beforehand and held fixed, as in Zhao et al. 2017. Which track is the right one of 100 says too little to learn
    vectors from. auto: skip-gram for --task seq, else noise."""
    spread: OptionalFloat = None
    """Standard deviation of the first embeddings (original: 0.01, of which the critic sees next to nothing). Default:
    0.3."""
    common: OptionalFloat = None
    """Added to the first number of every track's first vector (original: 0), so that tracks have something in common
    which an action can judge. Default: 1."""
    rounds: tyro.conf.Suppress[int] = 20
    """Rounds of learning; after each the agent is evaluated on the validation part."""
    round_steps: int = 100_000
    """Steps of the environment in a round: decisions on one track each (original: about 5 million in all)."""
    validation_sessions: int = 5_000
    """Sessions of the validation part to evaluate on after a round, spread evenly over it."""
    walks: int = 256
    """Sessions walked through side by side; a learning step follows each of their common steps."""
    batch_size: tyro.conf.Suppress[int] = 512
    """Past decisions in a learning step (original: 512)."""
    buffer: OptionalInt = None
    """Past decisions kept to learn from (original: 10,000). Default: 50,000."""
    learning_rate: tyro.conf.Suppress[OptionalFloat] = None
    """Step size of the critic and the embeddings (original: 1e-4). Default: 0.003 for skips, 0.01 for tracks."""
    actor_learning_rate: OptionalFloat = None
    """Step size of the actor (original: 1e-4). Default: 0.001 for skips, 0.003 for tracks."""
    gamma: float = 0.9
    """Weight of the next step's value (original: 0.9)."""
    tau: float = 0.01
    """Share by which the targets move towards the networks at each learning step."""
    noise: Annotated[Noise | None, choice(*get_args(Noise))] = None
    """Exploration: ornstein-uhlenbeck moves the actions, bernoulli sets scores to 0 (original; none for tracks).
    Default: ornstein-uhlenbeck."""
    noise_start: OptionalFloat = None
    """Standard deviation of the noise (an action's numbers are about 1), or probability of a zero (original: 0.45), at
    the first step. Default: 1."""
    noise_decay: OptionalFloat = None
    """Factor of it at each common step of the walks (original: 0.9). Default: 0.9995."""
    noise_floor: OptionalFloat = None
    """It falls no further than this (original: 0). Default: 0.2."""
    priority: OptionalFloat = None
    """Exponent of the error that past decisions are drawn by; 0 draws them evenly, and each counts the same (original:
    its priorities are never updated). Default: 0.6."""
    correction: float = 0.4
    """Exponent of the importance weights at the start; it grows to 1 in the course of learning."""
    seed: tyro.conf.Suppress[int] = 1
    """Seed of everything random: weights, order of the sessions, candidates, noise, draws of past decisions."""
    jit: tyro.conf.Suppress[bool] = True
    """Compile with XLA."""
    switches: tyro.conf.Suppress[DdpgSwitches] = field(default_factory=DdpgSwitches)
    """Mistakes of the released code."""

    def __post_init__(self) -> None:
        sizes = ("embedding", "hidden", "memory", "rounds", "round_steps", "walks", "batch_size", "buffer")
        for name in (*sizes, "validation_sessions"):
            value, least = getattr(self, name), 0 if name == "rounds" else 1
            require(value is None or value >= least, f"{flag(name)} is {value}; it must be {least} or more")
        for name in ("spread", "learning_rate", "actor_learning_rate"):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), f"{flag(name)} is {value}; it must be a positive number")
        for name in ("gamma", "tau", "noise_decay", "priority", "correction"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, f"{flag(name)} is {value}; it must lie in 0..1")
        for name in ("noise_start", "noise_floor"):
            value = getattr(self, name)
            most = 1 if self.noise == "bernoulli" else float("inf")
            right = value is None or (0 <= value <= most and value < float("inf"))
            require(right, f"{flag(name)} is {value}; it must lie in 0..{most:g}")
        require(
            self.round_steps >= self.walks,
            f"--ddpg.round-steps is {self.round_steps}; it must be --ddpg.walks ({self.walks}) or more",
        )
        require(
            self.buffer is None or self.buffer >= max(self.batch_size, self.walks),
            f"--ddpg.buffer is {self.buffer}; it must hold a batch ({self.batch_size}) and a step ({self.walks})",
        )
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")

    @property
    def given(self) -> dict[str, Any]:
        """Name -> value of those that are not left to the protocol."""
        values = {field.name: getattr(self, field.name) for field in fields(DdpgArguments)}
        return {name: value for name, value in values.items() if value not in (None, "auto")}


@dataclass(frozen=True)
class DdpgOptions(DdpgArguments):
    """All options of the reinforcement learner; the defaults are those of the corrected protocol."""

    spread: float = 0.3
    common: float = 1.0
    buffer: int = 50_000
    noise: Noise = "ornstein-uhlenbeck"
    noise_start: float = 1.0
    noise_decay: float = 0.9995
    noise_floor: float = 0.2
    priority: float = 0.6

    @property
    def skip_grams(self) -> bool:
        """Whether the tracks' vectors are made of the training sessions beforehand, and held fixed."""
        return self.first_vectors == "skip-gram" or (self.first_vectors == "auto" and self.task == "seq")

    @property
    def rates(self) -> tuple[float, float]:
        """Step sizes of the critic and of the actor, the defaults filled in."""
        critic, actor = (3e-3, 1e-3) if self.task == "skip" else (1e-2, 3e-3)
        return self.learning_rate or critic, self.actor_learning_rate or actor


def released_options(**changes: Any) -> DdpgOptions:
    """The settings of the released code, with all its mistakes (``--protocol released``).

    Its buffer is called prioritised, but no priority is ever updated and no error weighted. The n-th action of the
    notebook of skips (n = 0, 1, ...) has a score set to 0 by the chance 0.9 * 0.5 * 0.9^n; that of tracks has no noise.
    """
    settings: dict[str, Any] = {
        "first_vectors": "noise",
        "spread": 0.01,
        "common": 0.0,
        "buffer": 10_000,
        "learning_rate": 1e-4,
        "actor_learning_rate": 1e-4,
        "noise": "none" if changes.get("task") == "seq" else "bernoulli",
        "noise_start": 0.9 * 0.5,
        "noise_decay": 0.9,
        "noise_floor": 0.0,
        "priority": 0.0,
        "switches": RELEASED_DDPG,
    }
    return DdpgOptions(**(settings | changes))


Judged = Literal["action", "track", "memory"]
"""What the critic sees of an action: the action (released), or its products with the vector that it will be compared
with, whose sum is the score. For skips that is the track presented, without which nothing can be said of the reward;
when a track is to be found it is the sum of those remembered, as the critic is not shown the candidates."""


@dataclass(frozen=True)
class Sizes:
    """What fixes the shapes of the networks."""

    vocabulary: int
    """Rows of the table of tracks."""
    embedding: int = 8
    hidden: int = 16
    memory: int = 5
    pad: int = PAD
    """The id that is no track: its vector is 0."""
    spread: float = 0.01
    """Standard deviation of the first embeddings."""
    common: float = 0.0
    """Start of the first number of every track's vector, the spread added to it. So all tracks have something in
    common: the first number of an action is then a judgement of whatever comes, and that of a user tells how much of
    the first half was played."""
    users: int = 0
    """Rows of a table of users (released); 0: users are inferred from their first half."""


@dataclass(frozen=True)
class AgentArchitecture:
    """What fixes an agent: how it was to learn, and the shapes of its networks."""

    options: DdpgOptions
    sizes: Sizes
    ids: Ids
    model: Literal["ddpg"] = "ddpg"

    @property
    def task(self) -> Task:
        """What it decides."""
        return self.options.task

    @property
    def vocabulary(self) -> int:
        """Ids, those that are no tracks included."""
        return self.sizes.vocabulary

    @property
    def skip_input(self) -> SkipInput:
        """Whether it looks at what was skipped."""
        return "embedding" if self.task == "skip" else "none"

    @property
    def judged(self) -> Judged:
        """What the critic sees of an action."""
        if not self.options.switches.judges_decision:
            return "action"
        return "track" if self.task == "skip" else "memory"


def agent_from_json(described: Mapping[str, Any]) -> AgentArchitecture:
    """The architecture that was written as JSON (``dataclasses.asdict``).

    Raises:
        UserError: not the description of an agent.
    """
    try:
        given = dict(described["options"])
        options = DdpgOptions(**(given | {"switches": DdpgSwitches(**given["switches"])}))
        sizes = Sizes(**described["sizes"])
        counts = (sizes.vocabulary, sizes.embedding, sizes.hidden, sizes.memory, sizes.users, sizes.pad)
        require(all(type(count) is int and 0 <= count < 2**31 for count in counts), f"its sizes are {sizes}")
        return AgentArchitecture(options, sizes, Ids(**described["ids"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"not the architecture of a reinforcement learner ({error})") from None
