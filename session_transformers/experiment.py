"""A run of a session transformer from prepared sessions to the run directory."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import runtime
from common.checkpoint import Progress
from common.evaluation import Evaluation, Measured, evaluation
from common.options import require
from common.report import About, Part, finish
from common.reporting.charts import plot_curves
from common.reporting.run_metrics import deviation_words
from common.reporting.schema import dataset_facts
from common.rundir import open_run, resumable
from common.sources import Dataset
from common.vocabulary import digest, save_vocabulary
from common.weights import load_own_weights, save_own_weights
from session_transformers import settings
from session_transformers.autoencoder.fitting import fit_autoencoder
from session_transformers.autoencoder.model import AutoEncoder
from session_transformers.autoencoder.skip_rule import (
    RELEASED_THRESHOLD,
    choose_threshold,
    last_heard,
    predict_skips,
    similarities,
)
from session_transformers.baselines.comparison import skip_results, track_results
from session_transformers.baselines.of_tracks import TrackBaseline, VectorSum
from session_transformers.decoding import candidates
from session_transformers.evaluation import CUTOFFS, Outcome, skip_outcome
from session_transformers.fitting import compiles, fit
from session_transformers.kinds import HALF
from session_transformers.model import Bert
from session_transformers.options import SessionOptions
from session_transformers.paper import (
    CANDIDATE_COLUMNS,
    CANDIDATE_NOTE,
    LEAK_NOTE,
    MASKED_COLUMNS,
    NOTE,
    PAPER,
    SKIP_COLUMNS,
    TRACK_COLUMNS,
)
from session_transformers.preprocess import SequenceData
from session_transformers.reinforcement import figures as reinforcement
from session_transformers.reinforcement.agent import Agent
from session_transformers.reinforcement.learning import learn
from session_transformers.reinforcement.stored import load_agent, save_agent
from session_transformers.starting import make_model, same_vocabulary
from session_transformers.stored import WEIGHTS
from session_transformers.testing import Tester


def run(options: SessionOptions, dataset: Dataset, data: SequenceData) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory."""
    started = time.perf_counter()
    runtime.configure(options)
    options = options.completed(dataset.synthetic)
    released = "released-" if options.protocol == "released" else ""
    name = f"{options.model}-{options.task}-{released}{dataset.name}"
    facts = describe(dataset, data) | {"protocol": options.protocol, "deviations": deviations(options)}
    kind = settings.family(options.model)
    of_kind = {"autoencoder": of_autoencoder, "ddpg": of_ddpg}.get(kind, of_network)
    with runtime.strategy(options.distribute).scope():
        judged = of_kind(options, data, name, facts)
        compared = compare(judged, options, data)
    if judged.progress.history:
        words = [options.model, options.task, *filter(None, [deviation_words(facts)])]
        title = f"{', '.join(words)}{' (synthetic data)' if dataset.synthetic else ''}"
        plot_curves(judged.folder / "curves.png", title, judged.progress.history, judged.progress.best_epoch)
    return report(judged, name, options, facts | judged.facts, compared, data.warnings(), started)


def deviations(options: SessionOptions) -> list[str]:
    """Names of the single deviations that were asked for, beside ``protocol``."""
    return [*options.bugs, *(["one_feature_row"] if options.one_feature_row else [])]


def describe(dataset: Dataset, data: SequenceData) -> dict[str, Any]:
    """What a later session needs to know of the data of a run."""
    counts = {"tracks": data.vocabulary_size - data.ids.first_track}
    counts |= {f"{part}_sessions": len(getattr(data, part)) for part in ("train", "validation", "test")}
    return {
        "dataset": dataset_facts(dataset.name, dataset.synthetic, counts, data.fingerprint, data.rows),
        "vocabulary": digest(data.track_ids),
    }


@dataclass(frozen=True, eq=False)
class Judged:
    """A trained model and how it does on the test sessions."""

    folder: Path
    progress: Progress
    measured: Measured
    details: dict[str, Any]
    """Figures by position."""
    outcome: Outcome | None
    """None for a BERT that is only pre-trained."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What ``metrics.json`` tells of the model."""
    notes: tuple[str, ...] = ()
    """Sentences of the report."""
    rivals: dict[str, TrackBaseline] = field(default_factory=dict)
    """Baselines that are this model's own, by name."""


def _open(options: SessionOptions, name: str, facts: dict[str, Any], data: SequenceData) -> Path:
    folder = open_run("session_transformers", name, options, facts)
    save_vocabulary(folder, data.track_ids)
    return folder


def of_network(options: SessionOptions, data: SequenceData, name: str, facts: dict[str, Any]) -> Judged:
    """A transformer or a recurrent model."""
    model = make_model(options, data)
    if options.task == "seq":
        candidates(model.architecture, options.beam, options.forbid_repeats)  # before the training, not after it
    mine = {"architecture": asdict(model.architecture)}
    folder = _open(options, name, facts | mine, data)
    with resumable(folder):
        progress = fit(model, options, data.train, data.validation, data.plays, folder)
        save_own_weights(folder / WEIGHTS, model)
        tester = Tester(model, compiles(model, options))
        measured, details, outcome = _judge(tester, options, data)
    return Judged(folder, progress, measured, details, outcome, mine)


def _judge(
    tester: Tester, options: SessionOptions, data: SequenceData
) -> tuple[Measured, dict[str, Any], Outcome | None]:
    if options.model == "bert":
        return tester.masked(data.test, options.seed), {}, None
    if options.task == "skip":
        outcome = tester.skips(data.test)
        return outcome.measured(), outcome.details(), outcome
    outcome, free = tester.free(data.test, options.beam, options.forbid_repeats)
    samples, others = [*outcome.samples(), free.sample(CUTOFFS)], dict[str, float]()
    details = outcome.details() | free.by_position(CUTOFFS)
    if not isinstance(tester.model, Bert):  # which is never told the true tracks before
        forced = tester.forced(data.test)
        samples.append(forced.sample(CUTOFFS))
        others["forced_log_loss"] = tester.mean_loss(data.test, options.seed)
        details |= forced.by_position(CUTOFFS)
    return Measured(samples, others), details, outcome


def of_autoencoder(options: SessionOptions, data: SequenceData, name: str, facts: dict[str, Any]) -> Judged:
    """The auto-encoder's rule for skips."""
    released = options.protocol == "released"
    require(
        released or len(data.validation) > 0,
        "--model autoencoder chooses its threshold on validation sessions, and there are none: choose a larger "
        "--validation-share",
    )
    given = _given_autoencoder(options.weights[0], data) if options.weights else None
    folder = _open(options, name, facts | {"architecture": {"model": "autoencoder"}}, data)
    model, progress = given, Progress()
    if model is None:
        sizes = (data.vocabulary_size, data.ids.first_track, options.of_autoencoder)
        with resumable(folder):
            model, progress = fit_autoencoder(data.train.tracks, *sizes, run_dir=folder, resume=options.resume)
    save_own_weights(folder / WEIGHTS, model)
    vectors = np.concatenate([model.vectors, data.features], axis=1) if released else model.vectors
    threshold = RELEASED_THRESHOLD
    if not released:
        threshold = choose_threshold(similarities(vectors, data.validation), data.validation)
    _, last = last_heard(data.test)
    similar = similarities(vectors, data.test, released)
    outcome = skip_outcome(predict_skips(similar, last, threshold), data.test.target_skips, data.test.target_mask)
    turned = float((similar[data.test.target_mask] <= threshold).mean())
    told = {"threshold": threshold, "turned_share": turned}
    return Judged(folder, progress, outcome.measured(), outcome.details(), outcome, told, (_rule(threshold, turned),))


def _rule(threshold: float, turned: float) -> str:
    """What the auto-encoder's rule comes to, in words."""
    if turned == 0:
        return (
            f'The threshold, {threshold:.2f}, lies below every similarity of the test part: the rule is "repeat last '
            'skip", and the auto-encoder plays no part in it.'
        )
    return (
        f"Of the tracks of the test part {turned:.1%} lie below the threshold, {threshold:.2f}, and are told the "
        "opposite of the last skip."
    )


def _given_autoencoder(path: Path, data: SequenceData) -> AutoEncoder:
    same_vocabulary(path.parent, data, f"--weights {path}")
    model = AutoEncoder(data.vocabulary_size)
    load_own_weights(model, path)
    return model


def of_ddpg(options: SessionOptions, data: SequenceData, name: str, facts: dict[str, Any]) -> Judged:
    """The reinforcement learner."""
    if options.weights:
        path = options.weights[0]
        require(path.name == WEIGHTS, f"--weights {path}: name the {WEIGHTS} of a run of --model ddpg")
        same_vocabulary(path.parent, data, f"--weights {path}")
        agent = load_agent(path.parent)
        require(agent.options.task == options.task, f"--weights {path}: of --task {agent.options.task}")
        folder = _open(options, name, facts | {"architecture": {"model": "ddpg"}}, data)
        save_agent(folder, agent)
        tracks = (data.ids.first_track, data.vocabulary_size)
        outcome, measured, _ = reinforcement.evaluate(agent, data.test, tracks, options.seed)
        return Judged(folder, Progress(), measured, outcome.details(), outcome, rivals=_start(agent, data))
    wanted = options.of_ddpg  # before the folder is made: they may not go together
    folder = _open(options, name, facts | {"architecture": {"model": "ddpg"}}, data)
    with resumable(folder):
        found = learn(wanted, data, folder, options.resume, quiet=False)
    progress = Progress(len(found["history"]), found["history"], [], found["best_round"], found["seconds"])
    told = {"parameters": found["parameters"], "steps": found["steps"], "validation": found["validation"]}
    rivals = _start(found["learner"].agent, data)
    return Judged(folder, progress, found["measured"], found["details"], found["outcome"], told, rivals=rivals)


def _start(agent: Agent, data: SequenceData) -> dict[str, TrackBaseline]:
    """What the agent's vectors tell by themselves, where they were made beforehand and held fixed."""
    if not agent.options.skip_grams or agent.options.task == "skip":
        return {}
    vectors = np.asarray(agent.networks.state.items)[data.ids.first_track :]
    return {"start vectors alone": VectorSum(vectors, agent.options.memory)}


@dataclass(frozen=True)
class Comparison:
    """The model beside the baselines, on the test sessions."""

    found: Evaluation
    positions: dict[str, dict[str, float]]
    """Row -> position -> share right there."""


def compare(judged: Judged, options: SessionOptions, data: SequenceData) -> Comparison:
    """Measure the baselines, and compare."""
    deviates = deviation_words({"protocol": options.protocol, "deviations": deviations(options)})
    ours = f"{options.model} ({', '.join(filter(None, [options.task, deviates]))})"
    rows, outcomes = {ours: judged.measured}, dict[str, Outcome]()
    if judged.outcome is not None:
        outcomes[ours] = judged.outcome
    if options.baselines and judged.outcome is not None:
        if options.task == "skip":
            skips = skip_results(data.train, data.test, data.vocabulary_size)
            rows |= {name: other.measured() for name, other in skips.items()}
            outcomes |= skips
        else:
            candidates = options.seed if options.model == "ddpg" else None
            tracks = track_results(data.train, data.test, data.vocabulary_size, data.ids, judged.rivals, candidates)
            rows |= {name: other.measured() for name, other in tracks.items()}
            outcomes |= {name: other.free for name, other in tracks.items()}
    positions = {
        row: {str(place): value for place, value in enumerate(outcome.by_position().tolist(), 1)}
        for row, outcome in outcomes.items()
    }
    return Comparison(evaluation(rows, columns_of(options), options.seed), positions)


def columns_of(options: SessionOptions) -> tuple[str, ...]:
    """The figures of the table, the most important one first."""
    if options.model == "bert":
        return MASKED_COLUMNS
    if options.task == "skip":
        return SKIP_COLUMNS
    return CANDIDATE_COLUMNS if options.model == "ddpg" else TRACK_COLUMNS


def report(
    judged: Judged,
    name: str,
    options: SessionOptions,
    facts: dict[str, Any],
    compared: Comparison,
    warned: list[str],
    started: float,
) -> dict[str, Any]:
    """Print and write what the run has measured."""
    found, columns = compared.found, columns_of(options)
    shared = {"dataset", "protocol", "deviations"}
    about = About(
        paper="Khan, Cui, Arora: Sequential Sessions Based Music Recommendations Using Deep Learning (2020)",
        dataset=facts["dataset"],
        split="by session id, drawn once; no session in two parts",
        ranking="all tracks of the vocabulary",
        ties="expected rank",
        deviations=facts["deviations"],
        task=options.task,
        details={
            **{key: value for key, value in facts.items() if key not in shared},
            "by_position": judged.details,
            "positions": compared.positions,
        },
    )
    notes, rows = list(judged.notes), dict[str, Any](found.rows)
    if options.model != "bert":
        rows |= PAPER[options.task]
        notes += [NOTE, *([CANDIDATE_NOTE] if columns == CANDIDATE_COLUMNS else [])]
    parts = [Part(rows, columns, notes=notes)]
    leaks = getattr(options.switches, "label_leak", False)
    if options.model != "bert" and deviation_words(facts):
        places = [str(place) for place in range(1, HALF + 1)]
        note = [LEAK_NOTE] if leaks else []
        parts.append(Part(compared.positions, places, "Accuracy by position of the second half", note))
    following: list[object] = ["session_transformers/recommend.py", "--run-dir", judged.folder, "ID", "ID"]
    following += ["--next", "ID"] if options.task == "skip" else []
    return finish(
        judged.folder,
        name,
        options,
        about,
        found,
        parts,
        progress=judged.progress,
        started=started,
        picture=() if options.model == "bert" else columns,
        warned=warned,
        following=() if options.model == "bert" or leaks else following,
    )
