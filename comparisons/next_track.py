"""GRU4Rec, the session transformers and simple baselines on the same sessions, split and events: the next track.

Data, split and vocabulary are those of ``session_transformers/`` (MSSD's format). All models learn from the same
training sessions. Each track of the second halves of the test sessions is then told from all the tracks before it,
which are known ("forced"), and ranked among the whole vocabulary, ties in expectation. GRU4Rec sees tracks alone, the
session transformers tracks and their features.

Runs that are there are used again; the session transformers' are those of ``session_transformers/compare.py``.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from common import console
from common.command import run_script
from common.options import PROJECT, OptionalInt, OptionalPath, require, write_json
from common.reporting.charts import plot_comparison, print_table
from common.reporting.schema import versions
from common.significance import holm, paired_test
from gru4rec.options import LossName
from gru4rec.preprocess import SessionData
from session_transformers.baselines.of_tracks import sessions_of
from session_transformers.compare import CompareOptions, finished
from session_transformers.evaluation import TrackRanks
from session_transformers.kinds import HALF, PAD, AnyModel
from session_transformers.preprocess import SequenceData, load_dataset

COLUMNS = ("recall@1", "recall@5", "recall@10", "recall@20", "mrr@20")
GRU4REC: dict[str, LossName] = {"GRU4Rec, cross-entropy": "cross-entropy", "GRU4Rec, bpr-max": "bpr-max"}
FORCED_MODELS: tuple[AnyModel, ...] = ("transformer", "bert-augmented", "bert-augmented-dropnet", "lstm", "lstm-w2v")


@dataclass(frozen=True)
class NextTrackOptions:
    """Options of this comparison."""

    out: Path = PROJECT / "runs" / "comparisons" / "next_track"
    """Folder for the results and GRU4Rec's runs."""
    runs: Path = PROJECT / "runs" / "session_transformers" / "comparison"
    """Folder of the session transformers' runs, see session_transformers/compare.py; missing ones are trained."""
    data_dir: OptionalPath = None
    """Folder with the logs of MSSD. Default: the released ones, else the synthetic sample."""
    models: Annotated[tuple[AnyModel, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = FORCED_MODELS
    """Session transformers to compare."""
    seeds: int = 3
    """Seeds 1, 2, ... of each model."""
    epochs: OptionalInt = None
    """Epochs of each model. Default: its own."""

    def __post_init__(self) -> None:
        require(1 <= self.seeds <= 100, f"--seeds is {self.seeds}; it must lie in 1..100")
        require(self.epochs is None or self.epochs >= 1, f"--epochs is {self.epochs}; it must be 1 or more")
        for model in self.models:
            known = f"--models {model}: reads no true track of the second half; expected {', '.join(FORCED_MODELS)}"
            require(model in FORCED_MODELS, known)


@dataclass
class Standing:
    """What a model reached: figures of each seed, and each session's mean reciprocal rank, the seeds' mean."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    per_session: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def add(self, ranks: TrackRanks) -> None:
        """Take the ranks of one more seed in."""
        seen = len(next(iter(self.figures.values()), []))
        for name, value in ranks.figures().items():
            self.figures.setdefault(name.removeprefix("forced_"), []).append(value)
        new = ranks.per_session(20)["forced_mrr@20"]
        self.per_session = (self.per_session * seen + new) / (seen + 1) if seen else new


def main(options: NextTrackOptions) -> dict[str, Any]:
    """Train what is missing, rank the same next tracks by every model, and print one table."""
    import common.runtime  # noqa: F401 (before whatever imports TensorFlow: it quiets it)

    dataset, data = load_dataset(options.data_dir)
    require(len(data.test) > 0, f"{dataset.name}: no test session is left")
    baselines = of_baselines(data)
    models = of_transformers(options, data) | of_gru4rec(options, dataset, data)
    tests = against_best(models, baselines)
    found = {
        "dataset": {
            "name": dataset.name,
            "synthetic": dataset.synthetic,
            "fingerprint": data.fingerprint,
            "counts": {
                "train_sessions": len(data.train),
                "test_sessions": len(data.test),
                "tracks": data.vocabulary_size - data.ids.first_track,
                "events": int(data.test.target_mask.sum()),
            },
        },
        "seeds": options.seeds,
        "models": {name: {"figures": one.figures} for name, one in models.items()},
        "baselines": {name: {"figures": one.figures} for name, one in baselines.items()},
        "tests": tests,
        "versions": versions(),
    }
    write_json(options.out / "next_track.json", found)
    rows = {name: {k: float(np.mean(v)) for k, v in one.figures.items()} for name, one in (models | baselines).items()}
    title = f"next track: {dataset.name}{' (synthetic data)' if dataset.synthetic else ''}, seeds: {options.seeds}"
    print_table(title, rows, COLUMNS)
    for name, test in tests.items():
        low, high = test["interval"]
        against = f"mrr@20 {test['difference']:+.4f} [{low:+.4f}, {high:+.4f}] against {test['against']}"
        console.say(f"{name}: {against}, p = {test['p_holm']:.2g}")
    plot_comparison(options.out / "next_track.png", title, rows, ("recall@20", "mrr@20"), ours=list(models))
    return found


def against_best(models: Mapping[str, Standing], baselines: Mapping[str, Standing]) -> dict[str, dict[str, Any]]:
    """Paired t-tests over sessions of each model against the best baseline, the p-values after Holm's correction."""
    best = max(baselines, key=lambda name: float(baselines[name].per_session.mean()))
    tests = {name: paired_test(one.per_session, baselines[best].per_session) for name, one in models.items()}
    corrected = holm([test.t_p for test in tests.values()])
    return {
        name: {"against": best, "difference": test.difference, "interval": [test.low, test.high], "p_holm": p}
        for (name, test), p in zip(tests.items(), corrected, strict=True)
    }


def of_transformers(options: NextTrackOptions, data: SequenceData) -> dict[str, Standing]:
    """The session transformers, from their finished runs."""
    from common.paper import WEIGHTS
    from session_transformers.testing import Tester
    from session_transformers.weights import load_network

    choice = CompareOptions(
        out=options.runs, data_dir=options.data_dir, tasks=("seq",), models=options.models, seeds=options.seeds,
        epochs=options.epochs,
    )  # fmt: skip
    found: dict[str, Standing] = {}
    for name in options.models:
        standing = found[name] = Standing()
        for seed in range(1, options.seeds + 1):
            made = finished(choice, name, "seq", seed)
            folder = options.runs / f"{name}-seq-{seed}"
            same = made["dataset"]["fingerprint"] == data.fingerprint
            require(same, f"{folder}: is of other data; choose another --runs")
            ranks = Tester(load_network(folder / WEIGHTS, data.vocabulary_size)).forced(data.test)
            standing.add(ranks)
    return found


def of_gru4rec(options: NextTrackOptions, dataset: Any, data: SequenceData) -> dict[str, Standing]:
    """GRU4Rec with both losses, trained on the same sessions."""
    from common import experiment
    from common.paper import WEIGHTS
    from gru4rec import GRU4Rec
    from gru4rec.evaluation import Evaluator
    from gru4rec.options import GruOptions
    from gru4rec.weights import load_model

    sessions = as_session_data(data)
    found: dict[str, Standing] = {}
    for name, loss in GRU4REC.items():
        standing = found[name] = Standing()
        for seed in range(1, options.seeds + 1):
            folder = options.out / f"gru4rec-{loss}-{seed}"
            if not (folder / "metrics.json").is_file():
                resume = (folder / "options.json").is_file()
                chosen = GruOptions(
                    run_dir=folder, loss=loss, seed=seed, epochs=options.epochs, resume=resume, baselines=False
                )  # type: ignore[arg-type]
                with redirect_stdout(StringIO()):  # its own table counts the first halves too
                    experiment.run(GRU4Rec.of(chosen), chosen, dataset, sessions)
            model = load_model(folder / WEIGHTS, len(sessions.item_ids))
            standing.add(of_second_halves(Evaluator(model)(sessions.test), data))
    return found


def of_baselines(data: SequenceData) -> dict[str, Standing]:
    """The baselines, of which both papers have those of :mod:`common.session_baselines`."""
    from session_transformers.baselines.comparison import track_results

    found = {}
    for name, result in track_results(data.train, data.test, data.vocabulary_size, data.ids).items():
        found[name] = Standing()
        found[name].add(result.forced)
    return found


def as_session_data(data: SequenceData) -> SessionData:
    """The same sessions as GRU4Rec takes them: item i is track ``first_track + i``."""
    first = data.ids.first_track
    train, validation, test = (sessions_of(part, first) for part in (data.train, data.validation, data.test))
    return SessionData(
        train=train,
        validation=validation,
        test=test,
        item_ids=data.track_ids[first:],
        support=np.bincount(train.items, minlength=data.vocabulary_size - first),
        features=None,
        feature_names=[],
        kind="mssd",
        dropped={},
        rows=data.rows,
        notes=[],
        fingerprint=data.fingerprint,
    )


def of_second_halves(ranks: Any, data: SequenceData) -> TrackRanks:
    """Of GRU4Rec's ranks of all events but the first of each session, those of the second halves."""
    there = data.test.tracks != PAD
    lengths = there.sum(axis=1)
    before = np.concatenate([[0], np.cumsum(lengths - 1)])[:-1]
    place = before[:, None] + np.cumsum(there, axis=1) - 2  # of the event that a track is told after
    mask = there[:, HALF:]
    greater, equal = (np.zeros(mask.shape, np.int64) for _ in range(2))
    greater[mask], equal[mask] = (counts[place[:, HALF:][mask]] for counts in (ranks.greater, ranks.equal))
    return TrackRanks(greater, equal, mask, ranks.items, "forced")


if __name__ == "__main__":
    run_script(main, NextTrackOptions)
