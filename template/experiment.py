"""A run from pairs to the run directory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from common import runtime
from common.checkpoint import Progress
from common.epochs import epoch_order
from common.evaluation import Measured, Sample, evaluation
from common.metrics import auc, ndcg_at, recall_at
from common.optimizers import make_optimizer
from common.options import UserError, require
from common.ranking import Scores, catalogue_ranking
from common.report import About, Part, finish, plot_curves
from common.reporting.schema import dataset_facts
from common.rundir import open_run, read_run, resumable
from common.sources import Dataset
from common.training import Batch, Trainer, padded
from common.weights import load_own_weights, save_own_weights
from template.model import Architecture, build, logistic, score_matrix
from template.options import TemplateOptions
from template.preprocess import PAPER, PlayData

WEIGHTS = "model.weights.h5"
COLUMNS = ("recall@10", "ndcg@10", "auc")


def run(options: TemplateOptions, dataset: Dataset, data: PlayData) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory."""
    started = time.perf_counter()
    runtime.configure(options)
    architecture, model = load(options.weights[0], data) if options.weights else (None, None)
    fits = architecture is None or options.factors in (None, architecture.factors)
    require(fits, f"--factors is {options.factors}, but the weights have other sizes; leave it out")
    options = options.completed(dataset.synthetic)
    architecture = architecture or Architecture(len(data.user_ids), len(data.song_ids), options.factors or 0)
    model = model or build(architecture, options.seed)
    counts = {"users": architecture.users, "songs": architecture.songs}
    counts |= {"train_pairs": len(data.train[0]), "test_pairs": len(data.test[0])}
    described = dataset_facts(dataset.name, dataset.synthetic, counts, data.fingerprint, data.rows.as_json())
    facts = {"architecture": asdict(architecture), "dataset": described}
    folder = open_run(PAPER, dataset.name, options, facts)
    headline = f"{PAPER}, {dataset.name}"
    with resumable(folder):
        progress = fit(model, options, data, folder)
        if progress.history:
            plot_curves(folder / "curves.png", headline, progress.history)
        save_own_weights(folder / WEIGHTS, model)
        rows = {"ours": measure(lambda users: score_matrix(model, users), data)}
        if options.baselines:
            rows |= {name: measure(scores, data) for name, scores in baselines(data, options.seed).items()}
    about = About(
        paper="authors, title, venue and year",
        dataset=described,
        split="every fifth song of a user, drawn once, is for the test",
        ranking="all songs but the user's training songs",
        ties="expected rank",
        details={"architecture": facts["architecture"]},
    )
    found = evaluation(rows, COLUMNS, options.seed)
    return finish(
        folder,
        headline,
        options,
        about,
        found,
        [Part(found.rows, COLUMNS)],
        progress=progress,
        started=started,
        picture=COLUMNS,
        warned=data.rows.warnings(len(data.test[0])),
    )


def load(path: Path, data: PlayData) -> tuple[Architecture, keras.Model]:
    """The model of a run.

    Raises:
        UserError: not weights of a run, or of one on other data.
    """
    started = read_run(path.parent)
    try:
        architecture, trained_on = Architecture(**started["architecture"]), started["dataset"]["fingerprint"]
    except (KeyError, TypeError):
        raise UserError(f"{path.parent / 'options.json'}: not of a run of {PAPER}") from None
    require(trained_on == data.fingerprint, f"{path}: trained on other data; name them with --data-dir")
    model = build(architecture)
    load_own_weights(model, path)
    return architecture, model


def fit(model: keras.Model, options: TemplateOptions, data: PlayData, folder: Path) -> Progress:
    """Train against as many songs drawn at random, anew in every epoch, as there are plays."""
    assert options.epochs is not None and options.batch_size and options.learning_rate
    if options.epochs == 0:
        return Progress()
    size, (users, songs) = options.batch_size, data.train

    def batches(epoch: int) -> Iterator[list[Batch]]:
        order = epoch_order(2 * len(users), options.seed, epoch)
        drawn = np.random.default_rng((options.seed, epoch, 1)).integers(len(data.song_ids), size=len(users))
        columns = (np.tile(users, 2), np.concatenate([songs, drawn.astype(np.int32)]))
        played = np.repeat(np.array([1, 0], np.float32), len(users))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            user, song, target, weight = (
                padded(column[rows], size) for column in (*columns, played, np.ones(len(played), np.float32))
            )
            yield [Batch({"user": user, "song": song}, target, weight)]

    optimizer = make_optimizer("adam", options.learning_rate, runtime.precision(options) == "mixed_float16")
    trainer = Trainer(model, optimizer, options.seed, folder, logistic, jit=not options.deterministic)
    if options.resume:
        trainer.resume()
    return trainer.fit(batches, options.epochs, description=f"{PAPER}, ")


def measure(scores: Scores, data: PlayData) -> Measured:
    """Where the test songs stand among all songs but the training ones, by user."""
    users, songs = data.test
    relevant = (users, songs, np.ones(len(users)))
    ranking = catalogue_ranking(scores, np.unique(users), relevant, data.train, len(data.song_ids))
    values = {name: at(ranking, 10, per_user=True) for name, at in (("recall@10", recall_at), ("ndcg@10", ndcg_at))}
    return Measured([Sample(values | {"auc": auc(ranking, per_user=True)}, "users")])


def baselines(data: PlayData, seed: int) -> dict[str, Scores]:
    """What knows nothing, and what knows no user."""
    songs = len(data.song_ids)
    plays = np.bincount(data.train[1], minlength=songs).astype(np.float32)
    noise = np.random.default_rng(seed).random((len(data.user_ids), songs), np.float32)
    return {"random": lambda users: noise[users], "popularity": lambda users: np.tile(plays, (len(users), 1))}
