"""The contract: what every paper does alike, checked on one tiny run of each.

A paper is a folder with a ``train.py``; a new one is found by itself and needs only a tiny dataset in ``TINY``. The
template is a paper, too: copied under another name, as somebody who adds a paper would, so that it stays in order.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from common.command import run_script
from common.epochs import SPEED
from common.options import PROJECT, TrainingOptions
from common.reporting.schema import faults
from common.testing import arrays_of, events_of, history_of, metrics_of
from tests.tiny_datasets import DATASETS

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*experimental_run_functions_eagerly:UserWarning")

PAPERS = sorted(path.parent.name for path in PROJECT.glob("*/train.py") if path.parent.name != "template")
COPY = "mypaper"
MODULES = ("README.md", "__init__.py", "model.py", "options.py", "preprocess.py", "train.py")
SECTIONS = ("## From raw data to the table", "## Deviations", "## Results", "## Speed")
RUN = {
    "options.json", "metrics.json", "report.md", "comparison.png", "history.csv", "curves.png", "checkpoint.npz",
    "model.weights.h5", "tensorboard",
}  # fmt: skip
Drawing = Callable[[], contextlib.AbstractContextManager[object]]
NOISE = ("WARNING", "absl", "cuda", "Traceback", "oneDNN")
HELP = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        assert not stop.code, (script, stop.code)
    late = {"keras", "tensorflow"} & set(sys.modules)
    assert not late, f"{script} --help waits for {late}"
"""


def copied_template(into: Path) -> Path:
    """The template under another name, by the commands of CONTRIBUTING.md."""
    shutil.copytree(PROJECT / "template", into / "template")
    commands = re.search(r"```\n( *cp -r template .*?)```", (PROJECT / "CONTRIBUTING.md").read_text("utf-8"), re.DOTALL)
    assert commands
    subprocess.run(["bash", "-euc", commands[1]], cwd=into, check=True)
    shutil.rmtree(into / "template")
    return into / COPY


def _plays(folder: Path) -> None:
    importlib.import_module(f"{COPY}.preprocess").write_sample(folder, users=40, songs=20)


# Paper -> what writes a tiny dataset into an empty folder, and options that make a run of it a matter of a second.
TINY: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "audiotext": (DATASETS["audiotext"], ("--model=a-tags", "--text-units", "8", "8", "--jobs=1", "--factors=4")),
    "dtnmr": (
        DATASETS["dtnmr"],
        ("--mlp=8", "--embedding=4", "--lstm=4", "--lstm-layers=1", "--test-points=50", "--batch-size=1024"),
    ),
    "gru4rec": (DATASETS["gru4rec"], ("--layers=8", "--negatives=16", "--batch-size=96")),
    "seer": (DATASETS["seer"], ("--sequence-length=6", "--latent-features=4", "--batch-size=200")),
    "session_transformers": (
        DATASETS["session_transformers"],
        ("--width=32", "--feed-forward=8", "--encoder-layers=1", "--decoder-layers=1", "--heads=2", "--batch-size=128"),
    ),
    COPY: (_plays, ("--factors=2",)),
}


@dataclass(frozen=True)
class Paper:
    """A paper's folder, its command, and the options of a tiny run."""

    folder: Path
    main: Callable[[typing.Any], typing.Any]
    tiny: tuple[str, ...]

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Run ``train.py`` in this process: exit status, stdout, stderr."""
        options, out, err = typing.get_type_hints(self.main)["options"], io.StringIO(), io.StringIO()
        status: object = 0
        with (
            mock.patch.object(sys, "argv", ["train.py", *map(str, arguments)]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                run_script(self.main, options)
            except SystemExit as stop:
                status = stop.code
        assert isinstance(status, int)
        return status, out.getvalue(), err.getvalue()

    def refuses(self, *arguments: object) -> str:
        """The one line in which ``train.py`` says what is wrong with ``arguments``."""
        status, _, err = self(*arguments)
        lines = err.strip().splitlines()
        assert status == 2 and lines and lines[-1].startswith("error: "), (arguments, status, err)
        assert not any(line.startswith(("Traceback", "error: ")) for line in lines[:-1]), err
        return lines[-1]


@pytest.fixture(scope="module", autouse=True)
def eager() -> Iterator[None]:
    """Tracing TensorFlow's functions takes longer than a tiny run itself."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = copied_template(tmp_path_factory.mktemp("papers"))
    with mock.patch.object(sys, "path", [str(folder.parent), *sys.path]):
        yield folder


@pytest.fixture(scope="module", params=[*PAPERS, COPY])
def paper(request: pytest.FixtureRequest, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Paper:
    name = request.param
    assert name in TINY, f"a tiny dataset of {name} is missing in TINY"
    write, options = TINY[name]
    raw = tmp_path_factory.mktemp(f"raw-{name}")
    write(raw)
    tiny = ("--data-dir", str(raw), "--no-baselines", "--deterministic", *options)
    main = importlib.import_module(f"{name}.train").main
    return Paper(template if name == COPY else PROJECT / name, main, tiny)


@pytest.fixture(scope="module")
def whole(paper: Paper, tmp_path_factory: pytest.TempPathFactory, drawing: Drawing) -> tuple[Path, str, str]:
    """The folder of a run of two epochs, and what it printed; options may be spelled with underscores."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    with drawing():
        status, out, err = paper(*paper.tiny, "--epochs", 2, "--run_dir", folder)
    assert status == 0, err
    return folder, out, err


def test_the_project_knows_every_paper():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["tool"]
    lists = (project["setuptools"]["packages"], project["pytest"]["ini_options"]["testpaths"], project["mypy"]["files"])
    for known in lists:
        assert set(PAPERS) <= set(known)


def test_a_folder_has_the_modules_and_the_page_of_a_paper(paper):
    assert all((paper.folder / name).is_file() for name in MODULES)
    assert list(paper.folder.glob("recommend*.py")) and list(paper.folder.glob("*_test.py"))
    page = (paper.folder / "README.md").read_text("utf-8")
    assert page.startswith("# ") and "\n> " in page, "a title, and the citation as a quotation"
    places = [page.find(f"\n{section}") for section in SECTIONS]
    assert -1 not in places and places == sorted(places)


def test_scripts_tell_their_options_without_waiting_for_keras(paper):
    scripts = [paper.folder / "train.py", paper.folder / "preprocess.py", *sorted(paper.folder.glob("recommend*.py"))]
    scripts = [script for script in scripts if "__main__" in script.read_text("utf-8")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(PROJECT), str(paper.folder.parent)])}
    command = [sys.executable, "-c", HELP, *map(str, scripts)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    for field in fields(TrainingOptions):
        assert f"--{field.name.replace('_', '-')}" in done.stdout, field.name


def test_the_preparation_tells_what_became_of_every_row(paper, tmp_path, monkeypatch, capsys):
    """``preprocess.py --json`` prints exactly one JSON object."""
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    name = paper.folder.name
    raw = paper.tiny[paper.tiny.index("--data-dir") + 1]
    extra = ("--parts", "factors", "text", "--factors=4", "--out", tmp_path / "out") if name == "audiotext" else ()
    module = importlib.import_module(f"{name}.preprocess")
    monkeypatch.setattr(sys, "argv", ["preprocess.py", "--data-dir", raw, "--json", *map(str, extra)])
    run_script(module.main, module.PreprocessOptions)
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"files", "parts"} and found["files"] and found["parts"]
    for file in found["files"].values():
        assert file["rows"] == file["used"] + sum(file["left_out"].values()), file
        assert min(file["used"], *file["left_out"].values(), file["rows"]) >= 0, file
    assert sum(file["used"] for file in found["files"].values()) > 0


def test_a_run_leaves_its_files_and_says_what_was_measured(paper, whole):
    folder, out, err = whole
    for told in (out, (folder / "report.md").read_text("utf-8")):
        assert re.search(r"\d rows = [\d,]+ used", told)
    report = (folder / "report.md").read_text("utf-8")
    assert all(re.search(rf"^- {fact}: .", report, re.M) for fact in ("data", "split", "seed")), report
    assert "(comparison.png)" in report and "(curves.png)" in report
    names = {path.name for path in folder.iterdir()}
    assert all((folder / name).stat().st_size > 1000 for name in ("comparison.png", "curves.png"))
    assert names >= RUN and not any(name.startswith(".") for name in names)
    assert not any(word in out + err for word in NOISE) and str(folder) in out
    found = metrics_of(folder)
    assert faults(found) == []
    assert set(found["intervals"]) == {found["model"]} and found["best_baseline"] is None and found["tests"] == {}
    assert found["dataset"]["rows"]["files"] and found["settings"]["seed"] == 1
    assert "95 % interval" in out and "95 % interval" in report
    assert found["versions"].keys() >= {"python", "tensorflow", "keras", "numpy"}
    assert (found["epochs"], found["seed"]) == (2, 1) and len(history_of(folder)) == 2
    assert found["metrics"] and all(value is None or np.isfinite(value) for value in found["metrics"].values())


def test_every_epoch_is_in_the_history_and_in_tensorboard(paper, whole):
    """The columns are ``epoch``, ``loss``, further figures of the training, its speed, and those of validation."""
    header, *rows = [line.split(",") for line in (whole[0] / "history.csv").read_text("utf-8").splitlines()]
    assert header[:2] == ["epoch", "loss"] and [row[0] for row in rows] == ["1", "2"]
    own, validated = (header[: header.index(SPEED)], header[header.index(SPEED) + 1 :])
    assert all(name.startswith("val_") for name in validated) and not any(name.startswith("val") for name in own)
    assert all(float(row[header.index(SPEED)]) > 0 for row in rows)
    assert not validated or 1 <= metrics_of(whole[0])["best_epoch"] <= 2
    curves, settings = events_of(whole[0])
    assert curves.keys() == set(header) - {"epoch"}
    for name, points in curves.items():
        assert points == [(int(row[0]), pytest.approx(float(row[header.index(name)]), rel=1e-6)) for row in rows]
    assert settings["seed"] == 1 and settings["learning_rate"] > 0 and settings["batch_size"] > 0


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(paper, whole, tmp_path):
    status, _, err = paper(*paper.tiny, "--epochs", 1, "--run-dir", tmp_path / "parts")
    assert status == 0 and history_of(tmp_path / "parts") == history_of(whole[0])[:1], err  # the seed repeats the run
    status, _, err = paper("--epochs", 2, "--run-dir", tmp_path / "parts", "--resume")
    assert status == 0 and history_of(tmp_path / "parts") == history_of(whole[0]), err
    expected, arrays = (arrays_of(run / "checkpoint.npz") for run in (whole[0], tmp_path / "parts"))
    assert arrays.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(arrays[name], array, err_msg=name)
    assert metrics_of(tmp_path / "parts")["metrics"] == metrics_of(whole[0])["metrics"]


def test_the_weights_of_a_run_have_its_figures(paper, whole, tmp_path):
    weights = whole[0] / "model.weights.h5"
    status, _, err = paper(*paper.tiny, "--epochs", 0, "--weights", weights, "--run-dir", tmp_path / "again")
    assert status == 0, err
    assert metrics_of(tmp_path / "again")["metrics"] == metrics_of(whole[0])["metrics"]


def test_mistakes_end_in_one_line_and_leave_nothing(paper, tmp_path):
    folder, empty = tmp_path / "run", tmp_path / "empty"
    empty.mkdir()
    run = (*paper.tiny, "--run-dir", folder)
    for arguments, word in (
        ((*run, "--epochs", -1), "--epochs"),
        ((*run, "--batch-size", 0), "--batch-size"),
        ((*run, "--learning-rate", "nan"), "--learning-rate"),
        ((*run, "--seed", -1), "--seed"),
        ((*run, "--precision", "float8"), "--precision"),
        ((*run, "--no-such-option"), "no-such-option"),
        ((*run, "--epochs", 0), "--weights"),
        ((*run, "--epochs", 0, "--weights", tmp_path / "none.h5"), "no such file"),
        ((*run, "--resume"), "no run"),
        ((*paper.tiny, "--resume"), "--run-dir"),
        ((*run, "--data-dir", tmp_path / "none"), "no such folder"),
        ((*run, "--data-dir", empty), str(empty)),
        ((*paper.tiny, "--run-dir", paper.tiny[1]), "not empty"),
    ):
        assert word in paper.refuses(*arguments), arguments
        assert not folder.exists(), arguments


def test_a_run_goes_on_only_as_it_was_started(paper, whole, tmp_path):
    folder = shutil.copytree(whole[0], tmp_path / "copy")
    resume = ("--resume", "--run-dir", folder, "--epochs", 3)
    assert "learning_rate" in paper.refuses(*resume, "--learning-rate", 0.5)
    file = folder / "options.json"
    text = file.read_text("utf-8")
    fingerprint = json.loads(text)["dataset"]["fingerprint"]
    for wrong in (text[: len(text) // 2], "[]", text.replace(fingerprint, "0" * 64)):
        file.write_text(wrong, "utf-8")
        paper.refuses(*resume)
    weights = folder / "model.weights.h5"
    for content in (weights.read_bytes()[:1000], b""):
        weights.write_bytes(content)
        refused = paper.refuses(*paper.tiny, "--epochs", 0, "--weights", weights, "--run-dir", tmp_path / "again")
        assert folder.name in refused and not (tmp_path / "again").exists()


@pytest.mark.slow
def test_the_template_passes_its_own_tests_under_another_name(template, tmp_path):
    path = os.pathsep.join([str(PROJECT), str(template.parent)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conftest", "-c", PROJECT / "pyproject.toml", template]
    environment = os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]
