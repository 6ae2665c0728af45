"""Predictors: the three families of models behind one interface, that of the recommender.

Networks (transformers and recurrent models) are trained by example, the auto-encoder gives a rule for skips, and the
agent of DDPG learns by reinforcement. All of them tell the tracks of second halves, or which of given ones are skipped.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from common import runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)

import keras
import numpy as np
from numpy.typing import NDArray

from common.checkpoint import Progress
from common.evaluation import Measured
from common.options import require
from common.weights import load_own_weights
from session_transformers.autoencoder.fitting import fit_autoencoder
from session_transformers.autoencoder.model import AutoEncoder
from session_transformers.autoencoder.options import RuleArchitecture
from session_transformers.autoencoder.skip_rule import (
    RELEASED_THRESHOLD,
    choose_threshold,
    last_heard,
    predict_skips,
    similarities,
)
from session_transformers.baselines.of_tracks import TrackBaseline, VectorSum
from session_transformers.decoding import candidates, continue_sessions
from session_transformers.evaluation import CUTOFFS, Outcome, skip_outcome
from session_transformers.fitting import AnyNetwork, compiles, fit
from session_transformers.kinds import HALF
from session_transformers.model import Bert
from session_transformers.options import SessionOptions
from session_transformers.preprocess import SequenceData
from session_transformers.reinforcement import figures
from session_transformers.reinforcement.agent import build_agent
from session_transformers.reinforcement.learning import architecture_of, learn
from session_transformers.reinforcement.options import AgentArchitecture
from session_transformers.sessions.halves import Halves
from session_transformers.settings import AnyArchitecture
from session_transformers.testing import Tester, search_of
from session_transformers.weights import OfRun, check_run, empty, make_network, require_weights

BLOCK = 256
"""Sessions that are continued at a time."""


@dataclass(frozen=True, eq=False)
class Judged:
    """How a model does on test sessions."""

    measured: Measured
    details: Mapping[str, list[float]] = field(default_factory=dict)
    """Figures by position."""
    outcome: Outcome | None = None
    """None for a BERT that is only pre-trained."""


@dataclass(frozen=True, eq=False)
class Told:
    """Continuations of sessions, the most probable first."""

    tokens: NDArray[np.int32]
    """(sessions, beams, steps)"""
    log_probabilities: NDArray[np.float32] | None
    """Of each token given those before it; None of an agent, whose scores are no probabilities."""


class Predictor(abc.ABC):
    """A model, whatever its family."""

    architecture: OfRun

    @property
    @abc.abstractmethod
    def kept(self) -> keras.Model:
        """The Keras model that has all weights."""

    @property
    @abc.abstractmethod
    def networks(self) -> dict[str, keras.Model]:
        """Functional models by name."""

    @abc.abstractmethod
    def train(self, options: SessionOptions, data: SequenceData, run_dir: Path | None) -> Progress:
        """Learn; ``options`` are complete."""

    @abc.abstractmethod
    def judge(self, options: SessionOptions, test: Halves) -> Judged:
        """Measure on test sessions."""

    @abc.abstractmethod
    def skips(self, sessions: Halves) -> NDArray[Any]:
        """(sessions, 10) of the second halves: the chance of a skip (floats), or whether it is skipped (booleans)."""

    def scores(self, sessions: Halves) -> NDArray[np.float32]:
        """(sessions, V) of every id as the track after the first half, of a model of tracks."""
        raise NotImplementedError

    def continuations(self, sessions: Halves, steps: int, beams: int, forbid_repeats: bool) -> Told:
        """The tracks after the first halves, of a model of tracks."""
        raise NotImplementedError

    def facts(self, progress: Progress) -> dict[str, Any]:
        """What ``metrics.json`` tells of the model besides."""
        return {}

    def notes(self) -> list[str]:
        """Sentences of the report."""
        return []

    def rivals(self) -> dict[str, TrackBaseline]:
        """Baselines that are this model's own, by name."""
        return {}


class NetworkPredictor(Predictor):
    """A transformer or a recurrent model."""

    architecture: AnyArchitecture

    def __init__(self, network: AnyNetwork) -> None:
        self.network, self.architecture = network, network.architecture

    @property
    def kept(self) -> keras.Model:
        return self.network

    @cached_property
    def networks(self) -> dict[str, keras.Model]:
        """``whole``: first half, second half (and what was skipped) -> scores before the softmax."""
        names = ["source", "target", *(["source_skips"] if self.architecture.skip_input != "none" else [])]
        if getattr(self.architecture.switches, "label_leak", False):
            names.append("target_skips")
        inputs = {name: keras.Input((self.architecture.half,), dtype="int32", name=name) for name in names}
        return {"whole": keras.Model(inputs, self.network(inputs), name=self.network.name)}

    def train(self, options: SessionOptions, data: SequenceData, run_dir: Path | None) -> Progress:
        return fit(self.network, options, data.train, data.validation, data.plays, run_dir)

    def judge(self, options: SessionOptions, test: Halves) -> Judged:
        tester = Tester(self.network, compiles(self.network, options))
        if self.architecture.model == "bert":
            return Judged(tester.masked(test, options.seed))
        if self.architecture.task == "skip":
            outcome = tester.skips(test)
            return Judged(outcome.measured(), outcome.details(), outcome)
        outcome, free = tester.free(test, options.beam, options.forbid_repeats)
        samples, others = [*outcome.samples(), free.sample(CUTOFFS)], dict[str, float]()
        details = outcome.details() | free.by_position(CUTOFFS)
        if not isinstance(self.network, Bert):  # which is never told the true tracks before
            forced = tester.forced(test)
            samples.append(forced.sample(CUTOFFS))
            others["forced_log_loss"] = tester.mean_loss(test, options.seed)
            details |= forced.by_position(CUTOFFS)
        return Judged(Measured(samples, others), details, outcome)

    def skips(self, sessions: Halves) -> NDArray[Any]:
        return finite(Tester(self.network, jit=False).skip_chances(sessions))

    def scores(self, sessions: Halves) -> NDArray[np.float32]:
        hidden = self._continued(sessions, 1, 1, False, with_hidden=True).hidden
        assert hidden is not None
        return finite(np.asarray(self.network.head(hidden[:, 0, 0]), np.float32))

    def continuations(self, sessions: Halves, steps: int, beams: int, forbid_repeats: bool) -> Told:
        found = self._continued(sessions, steps, beams, forbid_repeats)
        return Told(found.tokens, finite(found.log_probabilities))

    def _continued(
        self, sessions: Halves, steps: int, beams: int, forbid_repeats: bool, with_hidden: bool = False
    ) -> Any:
        # For few sessions compiling would take longer than searching.
        search = search_of(self.network, beams, forbid_repeats, len(sessions) > BLOCK, steps)
        skips = sessions.source_skips.astype(np.int32) if self.architecture.skip_input != "none" else None
        return continue_sessions(search, sessions.source, skips, batch_size=BLOCK, with_hidden=with_hidden)


class RulePredictor(Predictor):
    """The auto-encoder, and its rule for skips."""

    architecture: RuleArchitecture

    def __init__(self, architecture: RuleArchitecture, seed: int = 1, features: NDArray[Any] | None = None) -> None:
        self.architecture = architecture
        self.model = AutoEncoder(architecture.vocabulary, architecture.code, seed, architecture.features)
        if self.model.features is not None and features is not None:
            self.model.features.assign(features)
        self._turned: float | None = None

    @property
    def kept(self) -> keras.Model:
        return self.model

    @cached_property
    def networks(self) -> dict[str, keras.Model]:
        """``encoder``: the tracks of a session -> its code."""
        tracks = keras.Input((2 * HALF,), dtype="int32", name="tracks")
        return {"encoder": keras.Model(tracks, self.model(tracks), name="encoder")}

    @property
    def threshold(self) -> float:
        """Similarity above which a track is told the last skip, below which the opposite."""
        return RELEASED_THRESHOLD if self.architecture.released else float(np.asarray(self.model.threshold))

    def train(self, options: SessionOptions, data: SequenceData, run_dir: Path | None) -> Progress:
        sizes = (data.vocabulary_size, data.ids.first_track, options.of_autoencoder)
        _, progress = fit_autoencoder(
            data.train.tracks, *sizes, run_dir=run_dir, resume=options.resume, model=self.model
        )
        if not self.architecture.released:
            similar = similarities(self.model.vectors, data.validation)
            self.model.threshold.assign(choose_threshold(similar, data.validation))
        return progress

    def judge(self, options: SessionOptions, test: Halves) -> Judged:
        similar = similarities(self.model.vectors, test, self.architecture.released)
        self._turned = float((similar[test.target_mask] <= self.threshold).mean())
        outcome = skip_outcome(self._told(similar, test), test.target_skips, test.target_mask)
        return Judged(outcome.measured(), outcome.details(), outcome)

    def skips(self, sessions: Halves) -> NDArray[Any]:
        return self._told(similarities(self.model.vectors, sessions, self.architecture.released), sessions) > 0

    def _told(self, similar: NDArray[Any], sessions: Halves) -> NDArray[np.uint8]:
        return predict_skips(similar, last_heard(sessions)[1], self.threshold)

    def facts(self, progress: Progress) -> dict[str, Any]:
        return {"threshold": self.threshold, "turned_share": self._turned}

    def notes(self) -> list[str]:
        return [] if self._turned is None else [rule_in_words(self.threshold, self._turned)]


def rule_in_words(threshold: float, turned: float) -> str:
    """What the auto-encoder's rule comes to."""
    if turned == 0:
        return (
            f'The threshold, {threshold:.2f}, lies below every similarity of the test part: the rule is "repeat last '
            'skip", and the auto-encoder plays no part in it.'
        )
    return (
        f"Of the tracks of the test part {turned:.1%} lie below the threshold, {threshold:.2f}, and are told the "
        "opposite of the last skip."
    )


class AgentPredictor(Predictor):
    """The reinforcement learner."""

    architecture: AgentArchitecture

    def __init__(self, architecture: AgentArchitecture) -> None:
        self.architecture, self.agent = architecture, build_agent(architecture)
        self.tracks = (architecture.ids.first_track, architecture.vocabulary)

    @property
    def kept(self) -> keras.Model:
        return self.agent.networks

    @cached_property
    def networks(self) -> dict[str, keras.Model]:
        """``actor``: state -> action; ``critic``: state, and the action on the track that it is seen on -> value."""
        sizes, networks = self.architecture.sizes, self.agent.networks
        state = keras.Input((3 * sizes.embedding,), name="state")
        seen = keras.Input((4 * sizes.embedding,), name="state_and_action")
        return {
            "actor": keras.Model(state, networks.actor(state), name="actor"),
            "critic": keras.Model(seen, networks.critic(seen), name="critic"),
        }

    def train(self, options: SessionOptions, data: SequenceData, run_dir: Path | None) -> Progress:
        return learn(options.of_ddpg, data, run_dir, options.resume, quiet=False, agent=self.agent).progress

    def judge(self, options: SessionOptions, test: Halves) -> Judged:
        outcome, measured, _ = figures.evaluate(self.agent, test, self.tracks, options.seed)
        return Judged(measured, outcome.details(), outcome)

    def skips(self, sessions: Halves) -> NDArray[Any]:
        return figures.predict_skips(self.agent, sessions, self.tracks)

    def scores(self, sessions: Halves) -> NDArray[np.float32]:
        return finite(figures.first_scores(self.agent, sessions, self.tracks))

    def continuations(self, sessions: Halves, steps: int, beams: int, forbid_repeats: bool) -> Told:
        require(beams == 1 and not forbid_repeats, "--beam and --forbid-repeats are not for --model ddpg")
        return Told(figures.predict_tracks(self.agent, sessions, self.tracks)[:, None, :steps], None)

    def facts(self, progress: Progress) -> dict[str, Any]:
        weights, history = self.agent.networks.trainable_weights, progress.history
        found: dict[str, Any] = {"parameters": int(sum(np.prod(weight.shape) for weight in weights))}
        if history:
            chosen = history[(progress.best_epoch or len(history)) - 1]
            validation = {name[4:]: value for name, value in chosen.items() if name.startswith("val_")}
            found |= {"steps": int(history[-1]["steps"]), "validation": validation}
        return found

    def rivals(self) -> dict[str, TrackBaseline]:
        """What the agent's vectors tell by themselves, where they were made beforehand and held fixed."""
        options = self.architecture.options
        if not options.skip_grams or options.task == "skip":
            return {}
        vectors = np.asarray(self.agent.networks.state.items)[self.tracks[0] :]
        return {"start vectors alone": VectorSum(vectors, options.memory)}


def make_predictor(options: SessionOptions, data: SequenceData, weights: Path | None) -> Predictor:
    """A new model, or that of given weights; ``options`` are complete.

    Raises:
        UserError: options that do not go together, or with the data; weights or a BERT of another model, task or data.
    """
    if options.model == "autoencoder":
        released = options.protocol == "released"
        require(
            released or len(data.validation) > 0,
            "--model autoencoder chooses its threshold on validation sessions, and there are none: choose a larger "
            "--validation-share",
        )
        if weights:
            return load_predictor(weights, check_run(options, weights, data))
        columns = data.features.shape[1] if released else 0
        made = RuleArchitecture(data.vocabulary_size, data.ids, options.of_autoencoder.code, columns, released=released)
        return RulePredictor(made, options.seed, data.features)
    if options.model == "ddpg":
        if weights:
            return load_predictor(weights, check_run(options, weights, data))
        wanted = options.of_ddpg  # before the folder of the run is made: they may not go together
        return AgentPredictor(architecture_of(wanted, data.ids, data.vocabulary_size, len(data.train)))
    network = make_network(options, data)
    if options.task == "seq":
        candidates(network.architecture, options.beam, options.forbid_repeats)  # before the training, not after it
    return NetworkPredictor(network)


def load_predictor(weights: Path, architecture: OfRun) -> Predictor:
    """The model of a run.

    Raises:
        UserError: its weights are missing, damaged, or of another model.
    """
    found: Predictor
    if isinstance(architecture, AgentArchitecture):
        found = AgentPredictor(architecture)
    elif isinstance(architecture, RuleArchitecture):
        found = RulePredictor(architecture)
    else:
        found = NetworkPredictor(empty(architecture))
    require_weights(weights)
    load_own_weights(found.kept, weights)
    return found


def described(architecture: OfRun) -> dict[str, Any]:
    """What ``options.json`` tells of an architecture; a run that goes on may have more rounds."""
    if isinstance(architecture, AgentArchitecture):
        architecture = replace(architecture, options=replace(architecture.options, rounds=0))
    return asdict(architecture)


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """The values, which must be finite."""
    require(bool(np.isfinite(values).all()), "the model's scores are not finite: its training has diverged")
    return values
