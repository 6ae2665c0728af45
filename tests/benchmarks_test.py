"""Every benchmark records its figures, and those recorded are such as it measures."""

import ast
import dataclasses
import importlib.util
import json
import os
import subprocess
import sys

import pytest

from common.options import PROJECT
from common.reporting.figures import read_figures

RESULTS = PROJECT / "benchmarks" / "results"
NOT_RECORDED = {"seer_pop909", "gpu", "measuring"}
"""The first makes a dataset, the second waits for a GPU, the third is what all others measure with."""
SCRIPTS = sorted(path for path in (PROJECT / "benchmarks").glob("*.py") if path.stem not in NOT_RECORDED)
TINY = {
    "als": {"users": 50, "items": 80, "cells": 300, "sweeps": 1, "repeats": 1},
    "audiotext_ranking": {"users": 50, "items": 600, "factors": 4, "loop_users": 5},
    "audiotext_ridge": {"songs": 60, "terms": 40, "sound": 30, "factors": 4},
    "gru4rec_evaluation": {"items": 100, "events": 200, "batch_size": 8, "repeats": 1},
    "metrics": {"repeats": 1},
    "session_baselines": {"sessions": 300, "events": 200, "items": 400, "looped": 50},
}
"""Options with which these take a second; their figures have the same names with any."""


def leaves(tree, start=""):
    """Names of all figures, of nested ones as a/b."""
    for name, value in tree.items():
        yield from leaves(value, f"{start}{name}/") if isinstance(value, dict) else [start + name]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_every_benchmark_records_what_it_measures(path):
    block = ast.parse(path.read_text("utf-8")).body[-1]
    assert isinstance(block, ast.If) and "run_script(recording(main, __file__), " in ast.unparse(block)
    assert (RESULTS / f"{path.stem}.json").is_file()


def test_every_record_is_of_a_benchmark():
    assert {path.stem for path in RESULTS.glob("*.json")} == {path.stem for path in SCRIPTS}


@pytest.mark.parametrize("name", TINY)
def test_recorded_figures_and_options_are_those_of_the_benchmark(name, monkeypatch):
    monkeypatch.syspath_prepend(str(PROJECT / "benchmarks"))
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", PROJECT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    recorded = read_figures(RESULTS / f"{name}.json")
    measured = json.loads(json.dumps(module.main(module.Options(**TINY[name]))))
    assert set(leaves(recorded["figures"])) <= set(leaves(measured))
    assert set(recorded["options"]) <= {field.name for field in dataclasses.fields(module.Options)}


@pytest.mark.slow
def test_networks_give_equal_losses_in_both_precisions_and_are_timed():
    """Here by TensorFlow, which the tests have."""
    command = [sys.executable, "benchmarks/gpu.py", "--only", "audiotext/mm-lf-lin", "--scale", "0.01", "--steps", "2"]
    environment = os.environ | {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run([*command, "--seconds", "0.1"], cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mixed_float16: relative difference of losses" in done.stdout and "float32: steps/s" in done.stdout
