"""A run of SeER from prepared data to the run directory: training, or a comparison of given weights."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from common import runtime
from common.checkpoint import Progress
from common.evaluation import Measured, evaluation
from common.options import UserError, flag, require
from common.reporting.charts import plot_curves
from common.rundir import open_run, read_run, resumable
from common.sources import Dataset
from common.weights import GateActivation, is_keras_layout, load_own_weights, save_own_weights
from seer import baselines
from seer.baselines import Recommender
from seer.batches import Ratings
from seer.evaluation import Split, corrected_split, evaluate, personalisation, released_split
from seer.fitting import SIZES, Evaluator, architecture_of, fit, jit, model_input
from seer.model import Architecture, SeER
from seer.options import SeerOptions
from seer.preprocess import SeerData
from seer.released import read_released
from seer.results import columns_of, facts_of_dataset, report, save_predictions, title


@dataclass(frozen=True)
class Loaded:
    """Weights from a file as a model, with the name that tables show; its gates and where they are known from."""

    name: str
    path: Path
    seer: SeER
    gates: str = ""

    @property
    def note(self) -> str:
        """A sentence for console and report; empty where the file leaves nothing open."""
        return f"{self.path.name}: its RNN has {self.gates} gates." if self.gates else ""


def load(path: Path, data: SeerData, gate_activation: GateActivation | None = None) -> Loaded:
    """A model from released weights or from ``model.weights.h5`` of a run.

    Args:
        path: the file.
        data: the dataset, which must be the one that the weights were trained on.
        gate_activation: gates of released weights; None for what the file says.

    Raises:
        UserError: not such a file, or of another dataset, or other gates are asked for than a run has.
    """
    if is_keras_layout(path):
        weights = read_released(path, gate_activation)
        users = weights.architecture.num_users
        require(
            users == data.num_users,
            f"{path}: layer embedding_user holds {users} users but the dataset has {data.num_users}; "
            "use --data-dir with the dataset these weights were trained on",
        )
        weights.check_songs(data.midi)
        return Loaded(path.stem, path, weights.build(), weights.gates)
    run, file = read_run(path.parent), path.parent / "options.json"
    try:
        architecture, trained_on = Architecture(**run["architecture"]), run["dataset"]
        name, fingerprint = trained_on["name"], trained_on["fingerprint"]
    except ValueError as error:
        raise UserError(f"{file}: architecture: {error}; it is what train.py wrote there, do not change it") from None
    except (KeyError, TypeError):
        raise UserError(f"{file}: not a run of seer/train.py") from None
    require(
        fingerprint == data.fingerprint,
        f"{path}: trained on the dataset {name}, which is another one or has changed since; name it with --data-dir",
    )
    sizes, most = (architecture.num_users, architecture.sequence_length), (data.num_users, data.num_steps)
    require(
        sizes[0] == most[0] and sizes[1] <= most[1],
        f"{file}: architecture: {sizes[0]} users and {sizes[1]} steps, but the dataset has {most[0]} and {most[1]}",
    )
    given = architecture.gate_activation
    require(
        gate_activation in (None, given),
        f"{path} holds gate_activation = {given}, but --gate-activation is {gate_activation}; leave it out",
    )
    seer = SeER(architecture)
    load_own_weights(seer.model, path)
    return Loaded(path.resolve().parent.name, path, seer)


def check_agreement(options: SeerOptions, architecture: Architecture, path: Path) -> None:
    """Refuse options that contradict the sizes found in a weight file."""
    for name in SIZES:
        asked, found = getattr(options, name), getattr(architecture, name)
        agrees = asked is None or asked == found
        require(agrees, f"{path} holds {name} = {found}, but {flag(name)} is {asked}; leave it out")


def make_split(options: SeerOptions, data: SeerData) -> Split:
    """The protocol's split."""
    ratings = Ratings(data.users, data.songs, data.ratings)
    return released_split(ratings) if options.protocol == "released" else corrected_split(ratings, options.seed)


def compare(options: SeerOptions, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Evaluate each weight file (``--epochs 0``), side by side with the baselines and the paper."""
    started = time.perf_counter()
    runtime.configure(options)
    loaded = [load(path, data, options.gate_activation) for path in options.weights]
    for item in loaded:
        check_agreement(options, item.seer.architecture, item.path)
    facts = facts_of_dataset(dataset, data)
    run_dir = open_run("seer", f"compare-{dataset.name}", options, facts)
    split = make_split(options, data)
    full = options.protocol == "corrected"
    rows: dict[str, Measured] = {}
    personal: dict[str, dict[str, int]] = {}
    names = [item.name for item in loaded]
    for number, item in enumerate(loaded):
        name = item.name if names.count(item.name) == 1 else str(item.path)
        recommender = Evaluator(item.seer, model_input(data, item.seer.architecture), jit(options)).recommender()
        rows[name], predicted = evaluate(split, recommender, options.interaction_threshold, data.num_songs, full)
        personal[name] = personalisation(recommender, data.num_users)
        save_predictions(
            run_dir / ("predictions.npz" if not number else f"predictions_{number + 1}.npz"), split, predicted
        )
    models = list(rows)
    if full and options.baselines:
        rows |= baseline_rows(options, split, data, latent=None)
    found = evaluation(rows, columns_of(options), options.seed, models)
    details = {
        "comparison": {name: found.rows[name] for name in models},
        "personalisation": personal[models[0]] if len(models) == 1 else personal,
        "weights": [str(path) for path in options.weights],
        "gates": {str(item.path): item.gates or item.seer.architecture.gate_activation for item in loaded},
    }
    notes = [item.note for item in loaded if item.note]
    return report(run_dir, "SeER: given weights", options, facts, split, found, details, Progress(), started, notes)


def train(options: SeerOptions, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Train, evaluate the best epoch (released protocol: the last), and compare."""
    started = time.perf_counter()
    runtime.configure(options)
    facts = facts_of_dataset(dataset, data)
    loaded = load(options.weights[0], data, options.gate_activation) if options.weights else None
    start = loaded.seer if loaded else None
    if start:
        check_agreement(options, start.architecture, options.weights[0])
        options = replace(options, **{name: getattr(start.architecture, name) for name in SIZES})
    options = options.completed(dataset.synthetic, data.num_steps)
    architecture = architecture_of(options, data.num_users)
    released = options.protocol == "released"
    run_dir = open_run(
        "seer", f"{options.variant}-{dataset.name}", options, {"architecture": asdict(architecture)} | facts
    )
    with resumable(run_dir):
        split = make_split(options, data)
        fitted = fit(options, split, data, run_dir, start)
        seer, recommender, progress = fitted.seer, fitted.recommender, fitted.progress
        plot_curves(run_dir / "curves.png", title(options, dataset), progress.history, progress.best_epoch)
        save_own_weights(run_dir / "model.weights.h5", seer.model)

        name = f"SeER {options.variant} ({options.cell})"
        rows: dict[str, Measured] = {}
        rows[name], predicted = evaluate(
            split, recommender, options.interaction_threshold, data.num_songs, not released
        )
        save_predictions(run_dir / "predictions.npz", split, predicted)
        if not released and options.baselines:
            rows |= baseline_rows(options, split, data, options.latent_features)
        details = {
            "personalisation": personalisation(recommender, data.num_users),
            "architecture": asdict(architecture) | {"parameters": seer.model.count_params()},
        }
        notes = [f"Started from {loaded.note}"] if loaded and loaded.note else []
    found = evaluation(rows, columns_of(options), options.seed)
    headline = title(options, dataset)
    return report(run_dir, headline, options, facts, split, found, details, progress, started, notes)


def baseline_rows(options: SeerOptions, split: Split, data: SeerData, latent: int | None) -> dict[str, Measured]:
    """What the baselines reach, matrix factorisation with ``latent`` factors among them unless that is None."""
    train, songs = split.train, data.num_songs
    found: dict[str, Recommender] = {
        "random": baselines.random_scores(songs, options.seed),
        "mean of all ratings": baselines.constant(train, songs),
        "mean of the song": baselines.song_mean(train, songs),
        "popularity": baselines.popularity(train, songs),
    }
    if latent:
        found[f"matrix factorisation ({latent})"] = factorised(options, split, data, latent)
    threshold = options.interaction_threshold
    return {name: evaluate(split, one, threshold, songs, True)[0] for name, one in found.items()}


def factorised(options: SeerOptions, split: Split, data: SeerData, latent: int, quiet: bool = False) -> Recommender:
    """Matrix factorisation with ``latent`` factors, trained as long as SeER, or longer where epochs are short."""
    assert options.epochs and options.batch_size and options.learning_rate
    size = options.batch_size if options.batching == "pairs" else 1000
    size = min(size, max(32, len(split.train) // 16))  # an epoch of few steps would be all overhead
    # A small dataset gives few steps per epoch; MF gets enough of them to converge, validation picks the best.
    steps = -(-len(split.train) // size)
    epochs = max(options.epochs, -(-3000 // steps))
    sizes = (data.num_users, data.num_songs, latent, epochs, size)
    return baselines.matrix_factorisation(
        split.train, split.validation, *sizes, options.learning_rate, options.seed, quiet
    )
