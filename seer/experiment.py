"""A run of SeER from prepared data to the run directory: training, or a comparison of given weights."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common import runtime
from common.optimizers import make_optimizer
from common.options import UserError, replacing, require, write_json
from common.report import markdown_table, plot_comparison, plot_curves, print_table
from common.rundir import open_run, read_run, resumable
from common.sources import Dataset
from common.training import BlockPredictor, Trainer
from common.weights import load_own_weights
from seer import baselines
from seer.baselines import Recommender
from seer.batches import PairBatches, Ratings, SongBatches
from seer.evaluation import CUTOFFS, Split, corrected_split, evaluate, personalisation, released_split
from seer.model import Architecture, SeER
from seer.options import PAPER, SeerOptions, with_defaults
from seer.preprocess import SeerData, select_channels
from seer.released import is_released_layout, read_released

RELEASED_COLUMNS = ("rmse", "mae", *(f"{name}@{k}_released" for name in ("map", "ndcg") for k in (5, 10)), "map@10_v2")
STANDARD_COLUMNS = ("rmse", "mae", "map@10", "ndcg@10", "recall@10", "recall@100", "mrr@10", "auc")

SIZES = ("variant", "latent_features", "cell", "sequence_length", "channels", "gate_activation")
"""What weights fix: options with these names are left out where ``--weights`` is given."""


class Evaluator:
    """Rates pairs and catalogues with a SeER model, every song encoded once per call of :meth:`recommender`.

    Args:
        seer: the model.
        midi: (songs, sequence_length, features) what the model reads.
        jit: compile with XLA.
    """

    def __init__(self, seer: SeER, midi: np.ndarray, jit: bool) -> None:
        self._seer, self._midi = seer, midi
        self._encode = BlockPredictor(seer.encoder, min(256, len(midi)), jit)
        self._rate = BlockPredictor(seer.head, 8192, jit)

    def recommender(self) -> Recommender:
        """The model with its present weights; later training does not change what it encoded, only its head."""
        hidden = self._encode(self._midi)  # (songs, latent)

        def rate(users: np.ndarray, songs: np.ndarray) -> np.ndarray:
            return self._rate(users.astype(np.int32), hidden[songs])

        return Recommender(rate, lambda users: self._seer.score_matrix(users, hidden))


@dataclass(frozen=True)
class Loaded:
    """Weights from a file as a model, with the name that tables show."""

    name: str
    path: Path
    seer: SeER


def load(path: Path, data: SeerData) -> Loaded:
    """A model from released weights or from ``model.weights.h5`` of a run.

    Raises:
        UserError: not such a file, or of another dataset.
    """
    if is_released_layout(path):
        weights = read_released(path)
        users = weights.architecture.num_users
        require(
            users == data.num_users,
            f"{path}: layer embedding_user holds {users} users but the dataset has {data.num_users}; "
            "use --data-dir with the dataset these weights were trained on",
        )
        weights.check_songs(data.midi)
        return Loaded(path.stem, path, weights.build())
    run = read_run(path.parent)
    try:
        architecture, trained_on = Architecture(**run["architecture"]), run["dataset"]
    except (KeyError, TypeError):
        raise UserError(f"{path.parent / 'options.json'}: not a run of seer/train.py") from None
    require(
        trained_on["fingerprint"] == data.fingerprint,
        f"{path}: trained on the dataset {trained_on['name']}, not on this one; name it with --data-dir",
    )
    seer = SeER(architecture)
    load_own_weights(seer.model, path)
    return Loaded(path.resolve().parent.name, path, seer)


def check_agreement(options: SeerOptions, architecture: Architecture, path: Path) -> None:
    """Refuse options that contradict the sizes found in a weight file."""
    for name in SIZES:
        asked, found = getattr(options, name), getattr(architecture, name)
        flag = f"--{name.replace('_', '-')}"
        require(asked is None or asked == found, f"{path} holds {name} = {found}, but {flag} is {asked}; leave it out")


def model_input(data: SeerData, architecture: Architecture) -> np.ndarray:
    """The part of the MIDI array that a model reads, (songs, sequence_length, features)."""
    steps = data.midi[:, : architecture.sequence_length]
    return np.ascontiguousarray(select_channels(steps, architecture.channels))


def make_split(options: SeerOptions, data: SeerData) -> Split:
    """The protocol's split."""
    ratings = Ratings(data.users, data.songs, data.ratings)
    return released_split(ratings) if options.protocol == "released" else corrected_split(ratings, options.seed)


def compare(options: SeerOptions, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Evaluate each weight file (``--epochs 0``), side by side with the baselines and the paper."""
    started = time.perf_counter()
    runtime.configure(options)
    loaded = [load(path, data) for path in options.weights]
    for item in loaded:
        check_agreement(options, item.seer.architecture, item.path)
    facts = dataset_facts(dataset, data)
    run_dir = open_run("seer", f"compare-{dataset.name}", options, facts)
    split = make_split(options, data)
    full = options.protocol == "corrected"
    rows: dict[str, dict[str, float]] = {}
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
    figures = next(iter(rows.values()))
    models = list(rows)
    if full and options.baselines:
        rows |= baseline_rows(options, split, data, latent=None)
    summary = {
        "metrics": figures,
        "comparison": {name: rows[name] for name in models},
        "baselines": {name: row for name, row in rows.items() if name not in models},
        "personalisation": personal[models[0]] if len(models) == 1 else personal,
        "weights": [str(path) for path in options.weights],
        "seconds": time.perf_counter() - started,
    }
    return finish(run_dir, "SeER: given weights", options, facts, rows, summary)


def train(options: SeerOptions, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Train, evaluate the best epoch (released protocol: the last), and compare."""
    started = time.perf_counter()
    runtime.configure(options)
    strategy = runtime.strategy(options.distribute)
    facts = dataset_facts(dataset, data)
    if options.weights:
        start = load(options.weights[0], data).seer
        check_agreement(options, start.architecture, options.weights[0])
        options = replace(options, **{name: getattr(start.architecture, name) for name in SIZES})
    options = with_defaults(options, dataset.synthetic, data.num_steps)
    assert options.epochs and options.batch_size and options.learning_rate
    architecture = architecture_of(options, data.num_users)
    released = options.protocol == "released"
    run_dir = open_run(
        "seer", f"{options.variant}-{dataset.name}", options, {"architecture": asdict(architecture)} | facts
    )
    with resumable(run_dir):
        keras.utils.set_random_seed(options.seed)
        with strategy.scope():
            seer = SeER(architecture)
            if options.weights:
                seer.model.set_weights(start.model.get_weights())
            optimizer = make_optimizer(
                options.optimizer, options.learning_rate, runtime.precision(options) == "mixed_float16"
            )
            monitor = None if released else "val_rmse"
            trainer = Trainer(seer.model, optimizer, options.seed, run_dir, jit=jit(options), monitor=monitor)
        if options.resume:
            trainer.resume()
        midi, split = model_input(data, architecture), make_split(options, data)
        evaluator = Evaluator(seer, midi, jit(options))
        common: dict[str, Any] = {"seed": options.seed, "shuffle": options.shuffle}
        common["replicas"] = strategy.num_replicas_in_sync
        batches = (
            SongBatches(split.train, midi, options.batch_size, **common)
            if options.batching == "songs"
            else PairBatches(split.train, midi, options.batch_size, distinct=not released, **common)
        )

        def after_epoch(epoch: int) -> dict[str, float]:
            recommender = evaluator.recommender()
            if released:
                found, _ = evaluate(split, recommender, options.interaction_threshold, data.num_songs, False)
                print(released_line(found), flush=True)
                return found
            error = recommender.rate(split.validation.users, split.validation.songs) - split.validation.values
            return {"val_rmse": float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))}

        progress = trainer.fit(batches, options.epochs, after_epoch, description=f"SeER {options.variant}, ")
        best = progress.best_epoch or progress.epochs
        plot_curves(run_dir / "curves.png", title(options, dataset), progress.history, progress.best_epoch)
        save_weights(run_dir / "model.weights.h5", seer.model)

        recommender = evaluator.recommender()
        figures, predicted = evaluate(split, recommender, options.interaction_threshold, data.num_songs, not released)
        save_predictions(run_dir / "predictions.npz", split, predicted)
        name = f"SeER {options.variant} ({options.cell})"
        rows = {name: figures}
        if not released and options.baselines:
            rows |= baseline_rows(options, split, data, options.latent_features)
        summary = {
            "metrics": figures,
            "best_epoch": best,
            "epochs": progress.epochs,
            "train_seconds": progress.seconds,
            "baselines": {key: row for key, row in rows.items() if key != name},
            "personalisation": personalisation(recommender, data.num_users),
            "model": {"parameters": seer.model.count_params()} | asdict(architecture),
            "seconds": time.perf_counter() - started,
        }
        return finish(run_dir, title(options, dataset), options, facts, rows, summary)


def architecture_of(options: SeerOptions, users: int) -> Architecture:
    """The architecture that complete options describe."""
    return Architecture(num_users=users, **{name: getattr(options, name) for name in (*SIZES, "dropout")})


def baseline_rows(
    options: SeerOptions, split: Split, data: SeerData, latent: int | None
) -> dict[str, dict[str, float]]:
    """Figures of the baselines, matrix factorisation with ``latent`` factors among them unless that is None."""
    train, songs = split.train, data.num_songs
    found: dict[str, Recommender] = {
        "random": baselines.random_scores(songs, options.seed),
        "mean of all ratings": baselines.constant(train, songs),
        "mean of the song": baselines.song_mean(train, songs),
        "popularity": baselines.popularity(train, songs),
    }
    if latent:
        assert options.epochs and options.batch_size and options.learning_rate
        size = options.batch_size if options.batching == "pairs" else 1000
        size = min(size, max(32, len(train) // 16))  # an epoch of few steps would be all overhead
        # A small dataset gives few steps per epoch; MF gets enough of them to converge, validation picks the best.
        steps = -(-len(train) // size)
        epochs = max(options.epochs, -(-3000 // steps))
        found[f"matrix factorisation ({latent})"] = baselines.matrix_factorisation(
            train, split.validation, data.num_users, songs, latent, epochs, size, options.learning_rate, options.seed
        )
    threshold = options.interaction_threshold
    return {name: evaluate(split, one, threshold, songs, True)[0] for name, one in found.items()}


def jit(options: SeerOptions) -> bool:
    """Whether to compile with XLA: it is off where op determinism is asked for, as the two exclude each other."""
    return not options.deterministic


def released_line(found: Mapping[str, float]) -> str:
    """The line that the released code prints after each epoch."""
    ranked = [f"{name.upper()}@{k}: {found[f'{name}@{k}_released']}" for name in ("map", "ndcg") for k in CUTOFFS]
    return f"RMSE = {found['rmse']} MAE = {found['mae']} " + " ".join(ranked)


def title(options: SeerOptions, dataset: Dataset) -> str:
    """Headline of a training run's table and picture."""
    made_up = " (synthetic data)" if dataset.synthetic else ""
    return f"SeER {options.variant}, {options.cell}, {options.protocol} protocol, {dataset.name}{made_up}"


def dataset_facts(dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """What ``metrics.json`` tells of a dataset."""
    counts = {"users": data.num_users, "songs": data.num_songs, "ratings": len(data.ratings), "steps": data.num_steps}
    known = {"name": dataset.name, "synthetic": dataset.synthetic, "counts": counts}
    return {"dataset": known | {"fingerprint": data.fingerprint}}


def save_predictions(path: Path, split: Split, predicted: np.ndarray) -> None:
    """The test set with the predicted ratings, arrays user, song, true, predicted."""
    test = split.test
    with replacing(path) as file:
        np.savez_compressed(file, user=test.users, song=test.songs, true=test.values, predicted=predicted)


def save_weights(path: Path, model: keras.Model) -> None:
    """Write ``model``'s weights in Keras 3's own format, atomically."""
    beside = path.with_name(f".writing.{path.name}")
    model.save_weights(beside)
    beside.replace(path)


def finish(
    run_dir: Path,
    headline: str,
    options: SeerOptions,
    facts: dict[str, Any],
    rows: dict[str, dict[str, float]],
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Write ``metrics.json``, the tables and the picture, and print the tables."""
    full = options.protocol == "corrected"
    result = {
        "paper": "SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640)",
        "protocol": options.protocol,
        **facts,
        "split": "released: 80/20 by row, random_state 1" + (", a tenth of the 80 for validation" if full else ""),
        "ranking": "full catalogue without the user's training songs; *_released and *_v2: the user's test rows only"
        if full
        else "the user's test rows only, as the released code does",
        "ties": "expected rank; *_released and *_v2: row order as in the released code",
        "relevant": f"rating >= {options.interaction_threshold}",
        **summary,
        "seed": options.seed,
        "versions": runtime.versions(),
    }
    write_json(run_dir / "metrics.json", result)
    shown = rows | PAPER
    tables = [("The released code's figures (test rows only)", RELEASED_COLUMNS)]
    tables += [("Standard figures (whole catalogue)", STANDARD_COLUMNS)] if full else []
    text = f"# {headline}\n\n"
    for subtitle, columns in tables:
        with_paper = shown if columns is RELEASED_COLUMNS else rows
        print_table(f"{headline}. {subtitle}", with_paper, columns)
        text += f"## {subtitle}\n\n{markdown_table(with_paper, columns)}\n"
    if facts["dataset"]["name"] != "released":
        note = "The paper's figures are of its own dataset: here they are no reference."
        print(note)
        text += f"{note}\n"
    with replacing(run_dir / "report.md", "w") as file:
        file.write(text)
    columns = STANDARD_COLUMNS if full else RELEASED_COLUMNS
    ours = [name for name in rows if name not in summary["baselines"]]
    plot_comparison(run_dir / "comparison.png", headline, rows if full else shown, columns, ours)
    print(f"Written to {run_dir}")
    return result
