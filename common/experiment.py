"""Experiment: the order of a run, from data to report. The only module that knows it; papers fill in the steps.

    options -> dataset -> settings -> networks (new, or of given weights) -> run directory -> training -> weights kept
    -> test part ranked -> baselines -> means, intervals, tests -> report.md, comparison.png, metrics.json

The command line does all of it (:func:`run`), Python's ``fit`` and ``evaluate`` the parts of the same names.
"""

from __future__ import annotations

from common import runtime  # isort: skip  (first of all: it quiets TensorFlow)

import contextlib
import time
from pathlib import Path
from typing import Any

from common.checkpoint import Progress
from common.evaluation import Evaluation, evaluation
from common.folders import replacing_folder
from common.options import TrainingOptions, UserError, reason_of, require, write_json
from common.paper import WEIGHTS, Paper
from common.replicas import check_rows
from common.report import About, Part, finish
from common.reporting.charts import plot_curves
from common.reporting.schema import dataset_facts
from common.rundir import open_run, resumable
from common.sources import Dataset
from common.weights import save_own_weights

AnyPaper = Paper[Any, Any]


def run(model: AnyPaper, options: TrainingOptions, dataset: Dataset, data: Any) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory.

    Returns:
        What ``metrics.json`` holds.
    """
    started = time.perf_counter()
    model.require_tested(data)
    folder = fit(model, options, dataset, data, runs=True)
    assert folder is not None and model.settings is not None and model.progress is not None
    with resumable(folder), runtime.applied(model.settings):
        found = evaluate(model, data, model.settings.baselines)
        model.keep_predictions(folder, data)
        told = model.told(data, folder, found)
    details = dict(told.details)
    if found.against:
        details["tests"] = found.against
    if len(found.models) > 1:
        details["comparison"] = {name: found.rows[name] for name in found.models}
    about = About(
        paper=model.description.citation,
        dataset=model.recorded["dataset"],
        split=model.description.split,
        ranking=model.description.ranking,
        ties=model.description.ties,
        protocol=model.description.protocol,
        task=told.task,
        deviations=told.deviations,
        details=details,
    )
    columns = model.description.columns
    table = Part({**found.rows, **told.published}, [*columns, *told.more_columns], notes=told.notes)
    return finish(
        folder,
        f"{model.description.title}, {model.name_of_run(dataset)}",
        model.settings,
        about,
        found,
        [table, *told.parts],
        progress=model.progress,
        started=started,
        picture=columns,
        warned=model.warnings(data),
        following=told.following,
    )


def fit(
    model: AnyPaper,
    options: TrainingOptions,
    dataset: Dataset,
    data: Any,
    *,
    runs: bool = False,
) -> Path | None:
    """Train a model, or load the weights that its options name.

    Args:
        runs: whether it has a run directory: that of the options, or a new one below ``runs/``. Without it nothing is
            written.

    Returns:
        The run directory, if it has one.

    Raises:
        UserError: the options do not fit the data, or the loss is no longer finite.
    """
    settings = model.completed(options, dataset, data)
    with runtime.applied(settings):
        strategy = runtime.strategy(settings.distribute)
        if settings.batch_size:
            check_rows(settings.batch_size, strategy.num_replicas_in_sync)
        model.settings, model.dataset, model.data = settings, dataset, data
        with strategy.scope() if model.mirrored else contextlib.nullcontext():
            model.build(data, settings.weights[0] if settings.weights else None)
        model.recorded = model.facts(data) | {"dataset": described(model, dataset, data)}
        if not runs:
            model.progress = model.train(data, None) if settings.epochs else Progress()
            return None
        name = model.name_of_run(dataset)
        folder = open_run(model.description.folder, name, settings, model.recorded)
        model.keep(folder)
        with resumable(folder):
            model.progress = model.train(data, folder) if settings.epochs else Progress()
            if model.progress.history:
                title = f"{model.description.title}, {name}"
                plot_curves(folder / "curves.png", title, model.progress.history, model.progress.best_epoch)
            save_own_weights(folder / WEIGHTS, model.kept)
        return folder


def evaluate(model: AnyPaper, data: Any, baselines: bool) -> Evaluation:
    """Measure a model on the test part of ``data``, and the baselines, which learn from its training part."""
    assert model.settings is not None
    with runtime.applied(model.settings):
        models = model.measure_models(data)
        rows = models | (model.measure_baselines(data) if baselines else {})
    about = model.description
    return evaluation(rows, about.columns, model.settings.seed, list(models), about.bounds, about.against_all)


def described(model: AnyPaper, dataset: Dataset, data: Any) -> dict[str, Any]:
    """What ``options.json`` and ``metrics.json`` tell of a dataset."""
    return dataset_facts(
        dataset.name,
        dataset.synthetic,
        model.counts(data),
        data.fingerprint,
        data.rows,
        data.notes,
        model.inputs(data),
    )


def save(model: AnyPaper, folder: Path) -> Path:
    """Write what :meth:`common.recommender.Recommender.load` reads into a new folder, all or nothing."""
    assert model.settings is not None
    require(not folder.exists() or not any(folder.iterdir()), f"{folder}: is not empty; choose another folder")
    try:
        with replacing_folder(folder, lambda _: False) as beside:
            write_json(beside / "options.json", {"options": model.settings} | model.recorded)
            model.keep(beside)
            save_own_weights(beside / WEIGHTS, model.kept)
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {reason_of(error)}") from None
    return folder
