"""A run from dlrs-data to the run directory: branches, network, predictions, figures."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from audiotext.dataset import Items, owner_rows, read_items
from audiotext.evaluation import Scores, factor_scores, rank_items
from audiotext.inputs import Inputs, input_fingerprints, read_inputs, text_of
from audiotext.kinds import NAMES, TEXT_KINDS, items_of
from audiotext.layout import ARTISTS, Layout
from audiotext.losses import half_cosine, mean_squared_error, r2, unit_rows
from audiotext.matrices import read_dense, write_dense, write_ids
from audiotext.model import network
from audiotext.options import AudioTextOptions
from audiotext.references import references
from audiotext.released import load_released
from audiotext.results import report
from audiotext.splits import Split, artist_split, released_split
from audiotext.stored import ARCHITECTURE, PREDICTED, PREDICTIONS, WEIGHTS, read_facts
from audiotext.training import RELEASED_BLOCK, FitOptions, Predictor, fit
from common import console, runtime
from common.checkpoint import FILE as CHECKPOINT
from common.checkpoint import Progress
from common.options import UserError, require, write_json
from common.reporting.charts import plot_curves
from common.reporting.schema import dataset_facts
from common.row_counts import RowCounts
from common.rundir import open_run, resumable
from common.sources import Dataset
from common.vocabulary import digest
from common.weights import is_keras_layout, load_own_weights, save_own_weights

BLOCK = 256
"""Items that a network reads at a time when it predicts."""


Started = Callable[[keras.Model, Split], None]
"""Is told of a network, and of the rows that it is fitted to and stopped and checked by, before it is trained."""


def run(options: AudioTextOptions, dataset: Dataset, layout: Layout, started: Started | None = None) -> dict[str, Any]:
    """Train a network and the branches that it needs (or load weights), evaluate it, write the run directory."""
    runtime.configure(options)
    with runtime.strategy(options.distribute).scope():
        return _run(options, dataset, layout, started)


def _run(given: AudioTextOptions, dataset: Dataset, layout: Layout, tell: Started | None = None) -> dict[str, Any]:
    started = time.perf_counter()
    options = given.completed(dataset.synthetic)
    items = read_items(layout, items_of(options.model))
    split = split_of(items, options)
    played = items.plays[:, : options.users or None]
    require(played.count_nonzero() > 0, "none of the users to be evaluated has played a test item; see --users")
    facts: dict[str, Any] = {
        "kind": options.model,
        "text": text_of(options, layout),
        "dataset": dataset_facts(
            dataset.name,
            dataset.synthetic,
            items.counts,
            items.fingerprint,
            inputs=input_fingerprints(options, layout),
        ),
        "train_items": digest(items.train),
    }
    for path in options.weights:
        _require_same_data(path, facts["dataset"])
    released = "released-" if options.protocol == "released" else ""
    name = f"{options.model}-{released}{dataset.name}"
    folder = open_run("audiotext", name, options, facts)
    with resumable(folder), _nothing_left(folder, options.resume):

        def branch(kind: str) -> Path:
            return _branch(given, kind, folder, dataset, layout)

        inputs = read_inputs(options, layout, items, split, folder, branch)
        split, empty = without_empty(split, inputs)
        model, progress = _train(options, items, inputs, split, folder, name, tell)
        predict = Predictor(model, BLOCK, not options.deterministic)
        vectors = predict(inputs.rows["test"])
        write_dense(folder / PREDICTIONS, vectors)
        write_ids(folder / PREDICTED, items.test)
        users = slice(options.users or None)
        scores = {NAMES[options.model]: factor_scores(items.user_factors, vectors)} | _alone(inputs, layout, items)
        ranked = {row: rank_items(of_users, items.plays, users) for row, of_users in scores.items()}
        if options.baselines:
            ranked |= references(options, items, inputs, split, users, dataset.synthetic)
        checks = _checks(predict, inputs, items, split)
    details = {
        "empty_items_left_out": empty,
        "parameters": model.count_params(),
        "checks": checks,
        "branches": {branch: str(path) for branch, path in inputs.runs.items()},
    }
    rows = RowCounts.of_json(layout.counted) if layout.counted else RowCounts()
    warned = rows.warnings(int(played.count_nonzero()), "pair of a user and a test item")
    told = facts | {"dataset": facts["dataset"] | {"rows": rows.as_json()}}
    return report(folder, name, options, told, ranked, details, progress, started, warned)


def _require_same_data(weights: Path, dataset: dict[str, Any]) -> None:
    """Weights of a run on another split may have seen the test items; those of other texts know other terms."""
    if is_keras_layout(weights) or not (weights.parent / "options.json").is_file():
        return
    trained_on = read_facts(weights.parent)["dataset"]
    before = {"items": trained_on.get("fingerprint"), **trained_on.get("inputs", {})}
    now = {"items": dataset["fingerprint"], **dataset["inputs"]}
    changed = [name for name, value in now.items() if name in before and before[name] != value]
    require(
        not changed,
        f"--weights {weights}: were trained on other data ({', '.join(changed)}); name those with --data-dir, and the "
        "options that prepared them",
    )


@contextlib.contextmanager
def _nothing_left(folder: Path, resumed: bool) -> Iterator[None]:
    """Remove the directory of a run that a mistake of the user ends before it, or a branch, has an epoch."""
    try:
        yield
    except UserError:
        if not resumed and not any(folder.rglob(CHECKPOINT)):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def split_of(items: Items, options: AudioTextOptions) -> Split:
    """Which training items a network is fitted to and stopped by: by artist, or in file order as released."""
    if options.protocol == "released":
        return released_split(len(items.train))
    return artist_split(np.asarray(items.train_artists or items.train), options.seed)


def without_empty(split: Split, inputs: Inputs) -> tuple[Split, int]:
    """``split`` without the training items of which a network over texts alone would read nothing, and their number.

    Such an item tells nothing; and while the biases are 0 its prediction is 0 too, where the cosine has no gradient.
    """
    if set(inputs.rows["train"]) != {"text"}:
        return split, 0
    filled = np.asarray(abs(inputs.features["text"][0]).sum(axis=1)).ravel() > 0
    kept = [part[filled[part]] for part in (split.train, split.validation, split.test)]
    return Split(*kept), int((~filled).sum())


def _branch(given: AudioTextOptions, kind: str, folder: Path, dataset: Dataset, layout: Layout) -> Path:
    """Train a network whose embedding another one reads; its run lies in the other's folder."""
    name = "text" if kind in TEXT_KINDS else "audio"
    of_weights = given.weights[0].parent / name if given.weights else None
    if of_weights and (of_weights / WEIGHTS).is_file():
        return of_weights
    path = folder / name
    require(given.epochs != 0, f"--epochs 0 needs the {name} branch too: name its run with --{name}-run")
    if not (path / "metrics.json").is_file():
        console.say(f"First the {name} branch: {NAMES[kind]}")
        chosen: dict[str, Any] = {"model": kind, "text": "auto", "text_run": None, "audio_run": None, "run_dir": path}
        chosen |= {"resume": (path / "options.json").is_file(), "weights": (), "baselines": False}
        _run(replace(given, **chosen), dataset, layout)
    return path


def _train(
    options: AudioTextOptions,
    items: Items,
    inputs: Inputs,
    split: Split,
    folder: Path,
    name: str,
    tell: Started | None,
) -> tuple[keras.Model, Progress]:
    """The network with given weights, trained weights, or both one after the other."""
    assert options.epochs is not None and options.batch_size and options.learning_rate and options.patience is not None
    keras.utils.set_random_seed(options.seed)  # whether or not a branch was trained just before
    architecture = options.architecture(factors=items.factors.shape[1], **inputs.sizes)
    write_json(folder / ARCHITECTURE, architecture)
    model, progress = network(architecture), Progress()
    for path in options.weights:
        (load_released if is_keras_layout(path) else load_own_weights)(model, path)
    if tell:
        tell(model, split)
    if options.epochs:
        released = options.protocol == "released"
        settings = FitOptions(
            epochs=options.epochs,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            patience=options.patience,
            seed=options.seed,
            restore_best=not released,
            block=RELEASED_BLOCK if released and architecture.reads_patches else None,
            # XLA has no deterministic max-pooling, and hardly makes a network that reads patches faster.
            jit=not options.deterministic and not architecture.reads_patches,
        )
        rows, targets = inputs.rows["train"], unit_rows(items.factors)
        title = f"{NAMES[options.model]}, "
        progress = fit(model, rows, targets, split.train, split.validation, settings, folder, options.resume, title)
        plot_curves(folder / "curves.png", f"{NAMES[options.model]}, {name}", progress.history, progress.best_epoch)
    save_own_weights(folder / WEIGHTS, model)
    return model, progress


def _alone(inputs: Inputs, layout: Layout, items: Items) -> dict[str, Scores]:
    """How the branches of a late fusion score the songs by themselves; a song has the score of its artist by text."""
    found: dict[str, Scores] = {}
    for branch, path in inputs.runs.items():
        vectors, users = read_dense(path / PREDICTIONS), items.user_factors
        if branch == "text":  # artists have factors of their own, and users too
            vectors, users = vectors[owner_rows(layout, items, "test")], layout.load_user_factors(ARTISTS)
        if len(users) == len(items.user_factors):
            found[f"{NAMES[read_facts(path)['kind']]} alone"] = factor_scores(users, vectors)
    return found


def _checks(predict: Predictor, inputs: Inputs, items: Items, split: Split) -> dict[str, dict[str, float]]:
    """Loss and R2 of the inner splits of the training items, as tartarus logs them."""
    found = {}
    for name, rows in (("validation", split.validation), ("inner_test", split.test)):
        if len(rows):
            targets, predicted = unit_rows(items.factors[rows]), predict(inputs.rows["train"], rows)
            losses = np.asarray(half_cosine(targets, predicted), np.float64)
            found[name] = {
                "items": len(rows),
                "loss": float(losses.mean()),
                "mse": float(mean_squared_error(targets, predicted).mean()),
                "r2": float(r2(targets, predicted).mean()),
            }
    return found
