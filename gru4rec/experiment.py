"""A run of GRU4Rec from prepared sessions to the run directory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import runtime
from common.checkpoint import Progress
from common.epochs import EpochLoop, Monitor, Trained, counted
from common.evaluation import Evaluation, evaluation
from common.negatives import Negatives
from common.optimizers import RowAdagrad, RowAdam, RowOptimizer
from common.options import replacing, require
from common.replicas import check_rows, said_if_a_worker_is_gone
from common.report import About, Part, finish, plot_curves
from common.reporting.schema import dataset_facts
from common.row_counts import RowCounts
from common.rundir import open_run, resumable
from common.sessions import Sessions
from common.sources import Dataset
from common.vocabulary import digest, save_vocabulary
from common.weights import save_own_weights
from gru4rec import baselines
from gru4rec.evaluation import Evaluator, Ties
from gru4rec.losses import make_loss
from gru4rec.model import Architecture, GRU4Rec
from gru4rec.options import GruOptions
from gru4rec.preprocess import SessionData
from gru4rec.stored import WEIGHTS
from gru4rec.training import SessionTrainer, chunks
from gru4rec.weights import load_weights

MONITOR = Monitor("val_mrr@20", higher=True)
COLUMNS = ("recall@20", "mrr@20", "recall@5", "mrr@5", "recall@10", "mrr@10", "recall@20_session", "mrr@20_session")
"""The figures of the tables; by the first one the best baseline is chosen."""
NOTHING = "The figures have no value: no session of the test part has two events, so nothing can be ranked."
OFFICIAL_TIES: tuple[Ties, ...] = ("standard", "conservative", "median")
PAPER = {
    # GRU4REC-spotify (Navon), table 2: sub-samples of MSSD, other sessions and splits than here.
    "GRU4REC-spotify: one-hot, cross-entropy": {"recall@20": 0.24, "mrr@20_seed": 0.024},
    "GRU4REC-spotify: content-mlp, cross-entropy": {"recall@20": 0.164, "mrr@20_seed": 0.0191},
    "GRU4REC-spotify: most popular": {"recall@20": 0.0696, "mrr@20_seed": 0.0095},
}


def run(options: GruOptions, dataset: Dataset, data: SessionData) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory."""
    started = time.perf_counter()
    runtime.configure(options)
    options = options.completed(dataset.synthetic)
    assert options.batch_size
    check_rows(options.batch_size, runtime.strategy(options.distribute).num_replicas_in_sync)
    require(len(data.test) > 0, f"{dataset.name}: no test session is left; see --test-days and --min-support")
    learns = options.epochs == 0 or has_next(data.train)
    require(learns, f"{dataset.name}: no session of the training data has two events; nothing can be learnt")
    start = load_weights(options.weights[0], data) if options.weights else None
    architecture = start.architecture if start else architecture_of(options, data)
    counts = {"items": len(data.item_ids), "train_sessions": len(data.train), "train_events": len(data.train.items)}
    counts |= {"test_sessions": len(data.test), "test_events": len(data.test.items)}
    facts: dict[str, Any] = {
        "architecture": asdict(architecture),
        "dataset": dataset_facts(dataset.name, dataset.synthetic, counts, data.fingerprint, data.rows, data.notes),
        "vocabulary": digest(data.item_ids),
    }
    settings = options.preset if options.preset in options.presets else f"{options.inputs}-{options.loss}"
    name = f"{settings}-{dataset.name}"
    folder = open_run("gru4rec", name, options, facts)
    save_vocabulary(folder, data.item_ids)
    if data.features is not None:
        with replacing(folder / "features.npy") as file:
            np.save(file, data.features)
    with resumable(folder):
        model = start or GRU4Rec(architecture, features_of(architecture, data), options.seed)
        progress = fit(model, options, data, folder)
        if progress.history:
            plot_curves(folder / "curves.png", f"GRU4Rec, {name}", progress.history, progress.best_epoch)
        save_own_weights(folder / WEIGHTS, model.step)
        row = f"GRU4Rec ({architecture.inputs}, {options.loss})"
        ranks = Evaluator(model, jit=not options.deterministic)(data.test)
        rows = {row: ranks.measured()}
        official = {mode: ranks.figures(ties=mode) for mode in OFFICIAL_TIES}
        if options.baselines:
            others = baselines.all_ranks(data.train, data.test, len(data.item_ids))
            rows |= {other: found.measured() for other, found in others.items()}
    found = evaluation(rows, COLUMNS, options.seed)
    notes = [] if len(ranks) else [NOTHING]
    return report(folder, name, options, facts, found, official, progress, started, notes)


def has_next(sessions: Sessions) -> bool:
    """Whether an event of the sessions is followed by another, so that something can be ranked."""
    return bool((np.diff(sessions.offsets) >= 2).any())


def architecture_of(options: GruOptions, data: SessionData) -> Architecture:
    """The architecture that complete options describe.

    Raises:
        UserError: a content input is asked for, but the dataset has no features.
    """
    assert options.inputs and options.gru and options.embedding
    content = options.inputs.startswith("content")
    require(
        not content or data.features is not None,
        f"--inputs {options.inputs} reads the tracks' features, but this dataset has none; MSSD's tf_*.csv hold them",
    )
    width = data.features.shape[1] if data.features is not None else 0
    sizes = {"features": width} if content else {}
    return Architecture(
        len(data.item_ids), tuple(options.layers), options.inputs, options.embedding, gru=options.gru, **sizes
    )


def features_of(architecture: Architecture, data: SessionData) -> np.ndarray | None:
    """The features that the model reads; None if it reads none."""
    return np.asarray(data.features, np.float32) if architecture.inputs.startswith("content") else None


def make_optimizer(options: GruOptions, model: GRU4Rec) -> RowOptimizer:
    """The optimizer that complete options name."""
    assert options.learning_rate is not None and options.momentum is not None
    if options.optimizer == "adam":
        return RowAdam(model.named, options.learning_rate)
    return RowAdagrad(model.named, options.learning_rate, options.momentum)


def fit(model: GRU4Rec, options: GruOptions, data: SessionData, folder: Path) -> Progress:
    """Train epoch after epoch; with a validation part the weights of the best epoch stay, else those of the last one.

    Raises:
        UserError: the loss is no longer finite (the last whole epoch stays on disk).
    """
    assert options.epochs is not None and options.batch_size and options.loss
    if options.epochs == 0:
        return Progress()
    optimizer = make_optimizer(options, model)
    strategy = runtime.strategy(options.distribute)
    negatives = Negatives(data.support, options.alpha or 0.0, options.negatives or 0, options.seed)
    trainer = SessionTrainer(
        model,
        optimizer,
        make_loss(options.loss, options.bpreg or 0.0, options.elu or 0.0),
        options.batch_size,
        data.support,
        logq=options.logq or 0.0,
        alpha=options.alpha or 0.0,
        dropout_input=options.dropout_input or 0.0,
        dropout_hidden=options.dropout_hidden or 0.0,
        seed=options.seed,
        jit=not options.deterministic,
        strategy=strategy,
    )
    validated = has_next(data.validation)
    evaluator = Evaluator(model, jit=not options.deterministic)

    def train(epoch: int, bar: tqdm) -> Trained:
        assert options.batch_size
        work = chunks(data.train, options.batch_size, negatives.epoch(epoch))
        with said_if_a_worker_is_gone(strategy):
            losses, live = trainer.epoch(counted(bar, work), epoch)
        return Trained(float(np.sum(losses) * options.batch_size / live.sum()), float(live.sum()))

    def validate(epoch: int) -> dict[str, float]:
        found = evaluator(data.validation).figures()
        return {f"val_{name}": found[name] for name in ("recall@20", "mrr@20")}

    weights: dict[str, Any] = {f"model.{name}": variable for name, variable in model.named.items()}
    variables = weights | {f"optimizer.{name}": variable for name, variable in optimizer.state.items()}
    loop = EpochLoop(variables, folder, MONITOR if validated else None, weights)
    if options.resume:
        loop.resume()
    return loop.run(train, options.epochs, validate if validated else None, "GRU4Rec, ", "chunk")


def report(
    folder: Path,
    name: str,
    options: GruOptions,
    facts: dict[str, Any],
    found: Evaluation,
    official: dict[str, dict[str, float]],
    progress: Progress,
    started: float,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """Print and write what the run has measured, ``notes`` below the table."""
    dataset = facts["dataset"]
    about = About(
        paper="GRU4Rec (Hidasi et al. 2016, arXiv 1511.06939; Hidasi, Karatzoglou 2018, arXiv 1706.03847)",
        dataset=dataset,
        split="by time: test sessions after the training sessions; items unseen in training dropped",
        ranking="all training items, after every event of a test session but its last",
        ties="expected rank; official_ties of the details has the modes of the official code",
        protocol="official",
        details={"architecture": facts["architecture"], "official_ties": official},
    )
    note = "GRU4REC-spotify's figures are of other sub-samples of MSSD: no reference for these. mrr@20_seed is its MRR."
    table = Part({**found.rows, **PAPER}, [*COLUMNS, "mrr@20_seed"], notes=[*notes, note])
    tested = dataset["counts"]["test_events"] - dataset["counts"]["test_sessions"]
    return finish(
        folder,
        f"GRU4Rec, {name}",
        options,
        about,
        found,
        [table],
        progress=progress,
        started=started,
        picture=COLUMNS,
        warned=RowCounts.of_json(dataset["rows"]).warnings(tested),
        following=["gru4rec/recommend.py", "--run-dir", folder, "ID", "ID"],
    )
