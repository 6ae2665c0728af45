"""Test helpers of several papers: scripts run in this process, and what is in the folder of a run."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import META, read_sealed, seal, write_sealed
from common.command import run_script
from common.epochs import SPEED, TENSORBOARD
from common.reporting.schema import SCHEMA, dataset_facts

if TYPE_CHECKING:
    import pytest

NOISE = (
    "WARNING",
    "absl",
    "cuda",
    "Traceback",
    "UserWarning",
    "RuntimeWarning",
    "FutureWarning",
    "DeprecationWarning",
    "oneDNN",
)
"""What a console should not show."""
Command = Callable[..., tuple[int, str, str]]


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: Any, main: Callable[[Any], object], options: type) -> Command:
    """A script to be run in this process, which returns exit status, stdout and stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, arguments)])
        try:
            run_script(main, options)
            status: Any = 0
        except SystemExit as stop:
            status = stop.code
        return (status, *capsys.readouterr())

    return run


def metrics_of(folder: Path) -> dict[str, Any]:
    """``metrics.json`` of a run, which must be JSON by the standard: without NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads((folder / "metrics.json").read_text("utf-8"), parse_constant=refuse)


def run_result(**changes: Any) -> dict[str, Any]:
    """The content of a ``metrics.json`` that keeps the schema; those of ``dataset`` are merged into its own."""
    dataset = dataset_facts("sample", True, {"users": 9}, "f") | changes.pop("dataset", {})
    words = {"paper": "GRU4Rec (Hidasi et al. 2016)", "model": "ours", "protocol": "corrected", "split": "by time"}
    words |= {"ranking": "all items", "ties": "expected rank"}
    numbers = {"epochs": 1, "best_epoch": 1, "train_seconds": 1.0, "seconds": 2.0, "seed": 1, "schema": SCHEMA}
    objects = ("metrics", "baselines", "intervals", "resampled", "tests", "settings", "versions", "details")
    empty: dict[str, Any] = {name: {} for name in objects} | {"deviations": [], "warnings": []}
    empty |= {"task": None, "best_baseline": None}
    return words | numbers | empty | {"dataset": dataset} | changes


def paired_result(baseline: str, **changes: Any) -> dict[str, Any]:
    """A paired test as ``metrics.json`` holds it."""
    found = {"baseline": baseline, "difference": 0.1, "low": 0.05, "high": 0.15, "pairs": 9, "units": "users"}
    return found | {"wilcoxon_p": 0.2, "wilcoxon_p_holm": 0.4} | changes


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file such as ``checkpoint.npz``, without its ``progress``, which tells times as well."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def history_of(folder: Path) -> list[dict[str, str]]:
    """The rows of ``history.csv`` of a run, without the column that tells how fast it was."""
    with (folder / "history.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != SPEED} for row in rows]


def events_of(folder: Path) -> tuple[dict[str, list[tuple[int, float]]], dict[str, Any]]:
    """What TensorBoard shows of a run: curve -> (epoch, value) of its points, and the hyper-parameters."""
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG, parse_session_start_info_plugin_data

    found = EventAccumulator(str(folder / TENSORBOARD), {"tensors": 0}).Reload()
    curves = {
        tag: [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in found.Tensors(tag)]
        for tag in found.Tags()["tensors"]
        if tag != SESSION_START_INFO_TAG
    }
    if SESSION_START_INFO_TAG not in found.Tags()["tensors"]:
        return curves, {}
    content = found.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content
    values = parse_session_start_info_plugin_data(content).hparams
    return curves, {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def reseal(folder: Path, **changes: Any) -> None:
    """Make a set of prepared arrays whose files were edited, or with other entries, pass for one that was made so."""
    meta = read_sealed(folder / META) | changes
    seal(folder, meta["address"], meta["meta"])
    if "fingerprint" in changes:
        write_sealed(folder / META, read_sealed(folder / META) | {"fingerprint": changes["fingerprint"]})
