"""A run of a session transformer from prepared sessions to the run directory."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from common import runtime
from common.options import replacing, require, write_json
from common.report import markdown_table, plot_comparison, plot_curves, print_table
from common.rundir import open_run, resumable
from common.sources import Dataset
from common.vocabulary import digest, save_vocabulary, trained_vocabulary
from common.weights import save_own_weights
from session_transformers import baselines
from session_transformers.architecture import Architecture
from session_transformers.baselines import TrackResult
from session_transformers.evaluation import CUTOFFS, Outcome, against_best
from session_transformers.fitting import fit
from session_transformers.model import Bert, SessionModel, build_model, copy_pretrained
from session_transformers.options import SessionOptions
from session_transformers.preprocess import SequenceData
from session_transformers.released import architecture_of, from_torch, read_arrays
from session_transformers.stored import WEIGHTS, load_bert, load_model
from session_transformers.testing import Tester

SKIP_COLUMNS = ("maa", "accuracy", "first_accuracy", "log_loss")
TRACK_COLUMNS = (
    "free_maa", "free_accuracy", "free_first_accuracy", "free_recall@20", "forced_recall@1", "forced_recall@20",
    "forced_mrr@20",
)  # fmt: skip
MASKED_COLUMNS = ("masked_loss", "masked_recall@1", "masked_recall@20", "masked_mrr@20")
PAPER: dict[str, dict[str, dict[str, float]]] = {
    "skip": {
        # Khan, Cui, Arora 2020, table 1; the LSTM's figure holds a label leak (B8 on the paper's page).
        "paper: transformer": {"maa": 0.571, "log_loss": 0.625},
        "paper: BERT-augmented": {"maa": 0.441, "log_loss": 0.714},
        "paper: LSTM, word2vec (leak)": {"maa": 0.614, "log_loss": 0.523},
        # The challenge (Brost et al. 2019), other sessions: arXiv 1902.04743 and 1904.10273.
        "challenge: winner": {"maa": 0.651},
        "challenge: repeat last skip": {"maa": 0.537, "first_accuracy": 0.742},
    },
    "seq": {
        # Tables 2 and 3; accuracies from the notebooks.
        "paper: transformer": {"free_maa": 0.178, "free_accuracy": 0.1843, "free_first_accuracy": 0.2774},
        "paper: BERT fine-tuned": {"free_maa": 0.144},
        "paper: BERT-augmented": {"free_maa": 0.157, "free_accuracy": 0.1651, "free_first_accuracy": 0.2457},
        "paper: LSTM, word2vec": {"free_maa": 0.008},
    },
}
NOTE = (
    "The paper's and the challenge's figures are of other sessions and vocabularies: no reference for these. "
    "free: told from its own predictions; forced: the true tracks before each one are known."
)


def run(options: SessionOptions, dataset: Dataset, data: SequenceData) -> dict[str, Any]:
    """Train (or, with ``--epochs 0``, load weights), evaluate, compare with the baselines, write the run directory."""
    started = time.perf_counter()
    runtime.configure(options)
    options = options.completed(dataset.synthetic)
    strategy = runtime.strategy(options.distribute)
    with strategy.scope():
        model = make_model(options, data)
        architecture = model.architecture
        name = f"{options.model}-{options.task}-{dataset.name}"
        facts = describe(architecture, dataset, data)
        folder = open_run("session_transformers", name, options, facts)
        save_vocabulary(folder, data.track_ids)
        with resumable(folder):
            progress = fit(model, options, data.train, data.validation, data.plays, folder)
            if progress.history:
                title = f"{options.model}, {options.task}{' (synthetic data)' if dataset.synthetic else ''}"
                plot_curves(folder / "curves.png", title, progress.history, progress.best_epoch)
            save_own_weights(folder / WEIGHTS, model)
            measured = evaluate(model, options, data)
    summary = {
        "epochs": progress.epochs,
        "best_epoch": progress.best_epoch,
        "train_seconds": progress.seconds,
        "seconds": time.perf_counter() - started,
    }
    return finish(folder, name, options, facts, measured, summary)


def describe(architecture: Architecture, dataset: Dataset, data: SequenceData) -> dict[str, Any]:
    """What a later session needs to know of a run."""
    counts = {"tracks": data.vocabulary_size - data.ids.first_track}
    counts |= {f"{part}_sessions": len(getattr(data, part)) for part in ("train", "validation", "test")}
    return {
        "architecture": asdict(architecture),
        "dataset": {
            "name": dataset.name,
            "synthetic": dataset.synthetic,
            "counts": counts,
            "fingerprint": data.fingerprint,
        },
        "vocabulary": digest(data.track_ids),
    }


def make_model(options: SessionOptions, data: SequenceData) -> SessionModel:
    """The model to train or to evaluate: new, from a pre-trained BERT, or from ``--weights``.

    Raises:
        UserError: weights or BERT are of another model, task or vocabulary.
    """
    if options.weights:
        return _from_weights(options, options.weights[0], data)
    bert = None
    if options.bert is not None:
        _same_vocabulary(options.bert, data, f"--bert {options.bert}")
        bert = load_bert(options.bert)
    columns = data.features.shape[1]
    architecture = options.architecture(data.vocabulary_size, columns, data.ids, bert.architecture if bert else None)
    model = build_model(architecture, np.asarray(data.features), options.seed, options.initialisation)
    if bert:
        copy_pretrained(model, bert)
    return model


def _from_weights(options: SessionOptions, path: Path, data: SequenceData) -> SessionModel:
    if path.suffix == ".npz":
        arrays = read_arrays(path)
        heads = options.architecture(data.vocabulary_size, 1, data.ids, None).heads
        model = build_model(architecture_of(arrays, heads))
        from_torch(model, arrays, str(path))
    else:
        _same_vocabulary(path.parent, data, f"--weights {path}")
        model = load_model(path)
    found = model.architecture
    require(
        (found.model, found.task) == (options.model, options.task),
        f"--weights {path}: of --model {found.model} --task {found.task}, not of {options.model} {options.task}",
    )
    require(
        found.vocabulary == data.vocabulary_size,
        f"--weights {path}: knows {found.vocabulary:,} ids, the dataset has {data.vocabulary_size:,}; use its own",
    )
    return model


def _same_vocabulary(folder: Path, data: SequenceData, where: str) -> None:
    require(
        trained_vocabulary(folder) == digest(data.track_ids),
        f"{where}: was trained on other tracks than those of this dataset; name its own dataset with --data-dir",
    )


def evaluate(model: SessionModel, options: SessionOptions, data: SequenceData) -> dict[str, Any]:
    """Figures on the test sessions: of the model, of the baselines, and how they compare.

    Returns:
        ``rows`` (name -> figures, the model's first), ``metrics`` (the model's), ``details`` (by position),
        ``intervals`` and ``tests``.
    """
    tester = Tester(model, jit=not options.deterministic)
    name = f"{options.model} ({options.task})"
    if options.model == "bert":
        figures = tester.masked(data.test, options.seed)
        return {"rows": {name: figures}, "metrics": figures, "details": {}, "intervals": {}, "tests": {}}
    if options.task == "skip":
        ours = tester.skips(data.test)
        figures, details = ours.figures(), ours.details()
        others: dict[str, Outcome] = {}
        if options.baselines:
            others = baselines.skip_results(data.train, data.test, data.vocabulary_size)
        rows = {name: figures} | {key: other.figures() for key, other in others.items()}
        judged = ours
    else:
        judged, free_ranks = tester.free(data.test, options.beam, options.forbid_repeats)
        result = TrackResult(judged, tester.forced(data.test))
        figures = result.figures() | free_ranks.figures(CUTOFFS)
        if model.architecture.task == "seq" and not isinstance(model, Bert):
            figures["forced_log_loss"] = tester.mean_loss(data.test, options.seed)
        details = judged.details() | result.forced.by_position(CUTOFFS) | free_ranks.by_position(CUTOFFS)
        tracks: dict[str, TrackResult] = {}
        if options.baselines:
            tracks = baselines.track_results(data.train, data.test, data.vocabulary_size, data.ids)
        rows = {name: figures} | {key: other.figures() for key, other in tracks.items()}
        others = {key: other.free for key, other in tracks.items()}
    tests = {}
    if others:
        best, test = against_best(judged, others)
        tests["maa"] = {"best_baseline": best, **asdict(test)}
    return {
        "rows": rows,
        "metrics": figures,
        "details": details,
        "intervals": {"maa": judged.interval(options.seed)},
        "tests": tests,
    }


def finish(
    folder: Path,
    name: str,
    options: SessionOptions,
    facts: dict[str, Any],
    measured: dict[str, Any],
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Write ``metrics.json``, the table and the picture, and print the table."""
    synthetic = facts["dataset"]["synthetic"]
    headline = f"{name}{' (synthetic data)' if synthetic else ''}"
    rows = measured["rows"]
    ours = next(iter(rows))
    result = {
        "paper": "Khan, Cui, Arora: Sessions Based Music Recommendations Using Deep Learning (2020)",
        "model": options.model,
        "task": options.task,
        "protocol": options.protocol,
        **facts,
        "split": "by session id, drawn once; no session in two parts",
        "ranking": "all tracks of the vocabulary",
        "ties": "expected rank",
        "metrics": measured["metrics"],
        "details": measured["details"],
        "confidence_95": measured["intervals"],
        "tests": measured["tests"],
        "baselines": {key: row for key, row in rows.items() if key != ours},
        "settings": options.described(),
        **summary,
        "seed": options.seed,
        "versions": runtime.versions(),
    }
    write_json(folder / "metrics.json", result)
    columns = MASKED_COLUMNS if options.model == "bert" else SKIP_COLUMNS if options.task == "skip" else TRACK_COLUMNS
    shown = rows if options.model == "bert" else rows | PAPER[options.task]
    print_table(headline, shown, columns)
    lines = _words(measured)
    if shown is not rows:
        lines.append(NOTE)
    print("\n".join(lines))
    with replacing(folder / "report.md", "w") as file:
        file.write(f"# {headline}\n\n{markdown_table(shown, columns)}\n" + "\n\n".join(lines) + "\n")
    if options.model != "bert":
        plot_comparison(folder / "comparison.png", headline, rows, columns, [ours])
    print(f"Written to {folder}")
    return result


def _words(measured: dict[str, Any]) -> list[str]:
    """The confidence interval and the test in words."""
    lines = []
    for name, (low, high) in measured["intervals"].items():
        lines.append(f"{name.upper()}: 95 % confidence interval {low:.4f} to {high:.4f} (bootstrap over sessions)")
    for name, test in measured["tests"].items():
        lines.append(
            f"{name.upper()} minus that of the best baseline, {test['best_baseline']}: {test['difference']:+.4f} "
            f"[{test['low']:+.4f}, {test['high']:+.4f}], p = {test['wilcoxon_p']:.3g} (Wilcoxon)"
        )
    return lines
