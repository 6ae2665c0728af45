"""A run of DTNMR from prepared data to the run directory."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from common import console, runtime
from common.checkpoint import Progress
from common.epochs import Monitor
from common.options import require
from common.replicas import check_rows
from common.reporting.charts import plot_curves
from common.reporting.schema import dataset_facts
from common.rundir import open_run, resumable
from common.sources import Dataset
from common.vocabulary import digest, save_vocabulary
from common.weights import save_own_weights
from dtnmr.baselines import make_baselines
from dtnmr.dataset import KkboxData, training_part
from dtnmr.evaluation import Scores, evaluate, make_task, means, point_values
from dtnmr.losses import make_loss
from dtnmr.model import DTNMR, Architecture
from dtnmr.negatives import Negatives
from dtnmr.options import DtnmrOptions
from dtnmr.queries import Queries, take_rows
from dtnmr.released import load_released
from dtnmr.reporting import report
from dtnmr.row_optimizers import make_optimizer
from dtnmr.scoring import Scorer
from dtnmr.stored import WEIGHTS, columns, load_model, save_data, titles_in
from dtnmr.tally import rows_of, warnings_of
from dtnmr.training import DEAD, Batches, Trainer, fit

MONITOR = Monitor("val_next_mrr", higher=True)
VALIDATION_POINTS = 5_000
"""Validation examples that choose the epoch; of more, as many are drawn."""


def run(options: DtnmrOptions, dataset: Dataset, data: KkboxData) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory."""
    started = time.perf_counter()
    options = options.completed(dataset.synthetic)
    warnings = warnings_of(data)
    for warning in warnings:
        console.notify(f"warning: {warning}")
    runtime.configure(dataclasses.replace(options, precision="float32"))
    assert options.batch_size
    check_rows(options.batch_size, runtime.strategy(options.distribute).num_replicas_in_sync)
    require(len(data.test) > 0, f"{dataset.name}: no test example is left; see --long-term-len and --top")
    start = given_model(options.weights[0], data, options) if options.weights else None
    architecture = start.architecture if start else architecture_of(options, data)
    facts: dict[str, Any] = {
        "architecture": asdict(architecture),
        "dataset": dataset_facts(dataset.name, dataset.synthetic, counts_of(data), data.fingerprint),
        "vocabulary": digest(columns(data)),
    }
    rows = rows_of(data)
    titles = titles_in(dataset.raw, data, rows)
    name = f"{architecture.rating}-{options.protocol}-{dataset.name}"
    folder = open_run("dtnmr", name, options, facts)
    save_vocabulary(folder, columns(data))
    save_data(folder, data, titles)
    with resumable(folder):
        model = start or DTNMR(architecture, options.seed)
        progress = train(model, options, data, folder)
        if progress.history:
            plot_curves(folder / "curves.png", f"DTNMR, {name}", progress.history, progress.best_epoch)
        save_own_weights(folder / WEIGHTS, model)
        task = make_task(data, options.seed, options.test_points)
        ours = f"DTNMR ({architecture.rating})"
        scorer = Scorer(model, data)
        if scorer.dead:
            console.notify(f"warning: {DEAD}")
        outcomes = {ours: evaluate(recommender(scorer), task, options.cutoffs)}
        if options.baselines:
            for title, learn in make_baselines(data, options.seed).items():
                outcomes[title] = evaluate(learn(), task, options.cutoffs)
    sizes = {
        "test_users": int(task.known.sum()),
        "new_users": int((~task.known).sum()),
        "test_points": {"evaluated": len(task.points), "in_all": task.points_in_all},
    }
    told = facts | {"dataset": facts["dataset"] | {"rows": rows.as_json()}}
    return report(folder, name, options, told, outcomes, sizes, progress, started, warnings)


def architecture_of(options: DtnmrOptions, data: KkboxData) -> Architecture:
    """The architecture that complete options describe."""
    names = ("embedding", "mlp", "lstm", "lstm_layers", "dropout", "rating")
    return Architecture(
        song_width=data.song_width,
        user_width=data.user_width,
        behaviours=len(data.values["behaviour"]),
        long_length=options.long_term_len,
        short_length=options.short_term_len,
        final_relu=options.final_relu == "yes",
        **{name: getattr(options, name) for name in names},
    )


def given_model(path: Path, data: KkboxData, options: DtnmrOptions) -> DTNMR:
    """The model that ``--weights`` names: of a run, or the released network's ``state_dict`` as npz.

    Raises:
        UserError: the weights are damaged or of other data.
    """
    if path.suffix != ".npz":
        return load_model(path, data)
    require(
        options.protocol == "released",
        f"--weights {path}: an npz holds weights of the released network, which needs --protocol released",
    )
    console.notify(f"{path} does not name its columns; their order is taken to be that of this dataset")
    return load_released(path, architecture_of(options, data))


def counts_of(data: KkboxData) -> dict[str, Any]:
    """Sizes of the dataset, and what its preparation counted."""
    sizes = {"users": data.users, "songs": data.songs, "playlists": len(data.owners), "plays": int(data.plays.sum())}
    points = {f"{part}_points": len(getattr(data, part)) for part in ("train", "validation", "test")}
    return sizes | points | {"song_columns": data.song_width, "user_columns": data.user_width} | data.counts


def recommender(scorer: Scorer) -> Scores:
    """A model's scores as those of a recommender."""

    def scores(queries: Queries) -> np.ndarray:
        return scorer.scores(queries.histories, queries.behaviours, take_rows(scorer.data.user_bits, queries.users))

    return scores


def train(model: DTNMR, options: DtnmrOptions, data: KkboxData, folder: Path) -> Progress:
    """Train on the training file alone; with validation examples the weights of the best epoch stay, else the last."""
    assert options.epochs is not None and options.batch_size and options.loss and options.optimizer
    if options.epochs == 0:
        return Progress()
    assert options.learning_rate is not None
    data = training_part(data)
    optimizer = make_optimizer(options.optimizer, model.named, options.learning_rate)
    negatives, pool = None, None
    if options.loss == "full-softmax":
        pool = data.plays > 0
    else:
        assert options.negatives is not None
        power = options.negatives_power or 0.0
        negatives = Negatives(data, options.negatives, options.subset_size - 1, options.seed, power)
    loss, strategy = make_loss(options.loss), runtime.strategy(options.distribute)
    trainer = Trainer(model, optimizer, loss, pool, options.seed, jit=not options.deterministic, strategy=strategy)
    batches = Batches(model.architecture, data, data.train, negatives, options.batch_size, options.seed)
    validate = Validation(model, data, options.seed) if len(data.validation) else None
    monitor = MONITOR if validate else None
    return fit(trainer, optimizer, batches, options.epochs, folder, options.resume, validate, monitor)


class Validation:
    """Ranks the next song at validation examples, by which the best epoch is chosen."""

    def __init__(self, model: DTNMR, data: KkboxData, seed: int) -> None:
        self.model, self.data = model, data
        self.task = make_task(dataclasses.replace(data, test=data.validation), seed, VALIDATION_POINTS)

    def __call__(self, epoch: int) -> dict[str, float]:
        """The figures of an epoch for its row of the history."""
        found = means(point_values(recommender(Scorer(self.model, self.data)), self.task, (10,)))
        return {MONITOR.name: found["next_mrr"], "val_next_recall@10": found["next_recall@10"]}
