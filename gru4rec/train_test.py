"""The command ``python gru4rec/run.py`` as a user runs it: results, resume, official weights, mistakes."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from common.options import PROJECT
from common.testing import NOISE, arrays_of, in_process, metrics_of
from conftest import GOLDEN
from gru4rec.evaluation import NextItemRanks
from gru4rec.options import GruOptions
from gru4rec.recommender import GRU4Rec
from gru4rec.train import main

FOLDER = GOLDEN / "gru4rec"
SMALL = ("--layers", "8", "--negatives", "16", "--no-baselines")


@pytest.fixture
def data(tmp_path):
    """The golden sessions alone, in a folder of their own."""
    folder = tmp_path / "sessions"
    folder.mkdir()
    for name in ("train.tsv", "test.tsv"):
        shutil.copy(FOLDER / name, folder)
    return folder


@pytest.fixture
def cli(monkeypatch, capsys, private_data):
    return in_process(monkeypatch, capsys, main, GruOptions)


@pytest.mark.slow
def test_a_fresh_checkout_runs_the_whole_pipeline_on_the_sample(tmp_path, private_data):
    run_dir = tmp_path / "run"
    command = [sys.executable, "gru4rec/run.py", "--epochs", "2", "--layers", "16", "--run-dir", str(run_dir)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not any(word in done.stderr + done.stdout for word in NOISE), done.stderr
    found = metrics_of(run_dir)
    assert found["dataset"]["synthetic"] and "synthetic" in done.stdout
    assert found["metrics"]["recall@20"] > found["baselines"]["most popular"]["recall@20"]
    names = {path.name for path in run_dir.iterdir()}
    expected = {"metrics.json", "options.json", "vocabulary.json", "report.md", "history.csv", "model.weights.h5"}
    assert expected <= names and not any(name.startswith(".") for name in names)


@pytest.mark.slow
@pytest.mark.golden
def test_it_reaches_the_recall_of_the_official_run_with_its_settings(cli, data, tmp_path):
    """The official code's trained weights (eval_A) against ours after training with the same settings: two seeds."""
    official = json.loads((FOLDER / "eval_metrics.json").read_text())["A_shared_xe_logq1"]["official_standard"]
    found = []
    for seed in (1, 2):
        run_dir = tmp_path / str(seed)
        arguments = ("--data-dir", data, "--layers", 32, "--negatives", 64, "--logq", 1, "--gru", "cudnn")
        status, _, err = cli(*arguments, "--seed", seed, "--no-baselines", "--run-dir", run_dir)
        assert status == 0, err
        found.append(metrics_of(run_dir)["details"]["official_ties"]["standard"])
    for key in ("recall@20", "mrr@20"):
        mean = np.mean([row[key] for row in found])
        assert mean > official[key] - 0.03, (key, mean, official[key])


@pytest.mark.usefixtures("eagerly")
def test_sessions_of_one_event_have_no_figures_and_it_is_said(cli, tmp_path):
    """Nothing follows an event in the test: figures are null, with one line; the rest of the run is whole."""
    data, run_dir = small_sessions(tmp_path / "a", "a"), tmp_path / "run"
    (data / "test.tsv").write_text(
        "SessionId\tItemId\tTime\n" + "".join(f"{n}\ta{n % 9}\t{n}\n" for n in range(900, 920))
    )
    arguments = ("--data-dir", data, *SMALL[:4], "--batch-size", 20, "--epochs", 1, "--deterministic")
    status, out, err = cli(*arguments, "--run-dir", run_dir)
    assert status == 0 and err == "", err
    found = metrics_of(run_dir)
    assert set(found["metrics"].values()) == {None} and found["epochs"] == 1
    for text in (out, (run_dir / "report.md").read_text()):
        assert text.count("no session of the test part has two events") == 1


@pytest.mark.usefixtures("eagerly")
def test_with_a_validation_part_the_weights_of_its_best_epoch_stay(cli, tmp_path, monkeypatch):
    data, run_dir, kept = small_sessions(tmp_path / "a", "a"), tmp_path / "run", {}
    planned = iter([0.2, 0.4, 0.4])
    original = GRU4Rec.train

    def fit(model, *rest):
        with monkeypatch.context() as patch:  # figures of the validation part only
            patch.setattr(NextItemRanks, "figures", lambda ranks: {"mrr@20": next(planned), "recall@20": 0.5})
            progress = original(model, *rest)
        kept.update({name: np.array(variable) for name, variable in model.networks.named.items()})
        return progress

    monkeypatch.setattr(GRU4Rec, "train", fit)
    arguments = ("--data-dir", data, *SMALL, "--batch-size", 20, "--epochs", 3, "--validation-share", 0.3)
    status, _, err = cli(*arguments, "--deterministic", "--run-dir", run_dir)
    assert status == 0 and err == "", err
    assert metrics_of(run_dir)["best_epoch"] == 2  # of equal ones the first
    header = (run_dir / "history.csv").read_text().splitlines()[0]
    assert header == "epoch,loss,examples_per_second,val_recall@20,val_mrr@20"
    saved = arrays_of(run_dir / "checkpoint.npz")
    for name, array in kept.items():
        np.testing.assert_array_equal(array, saved[f"best.model.{name}"])
    assert not np.array_equal(kept["Wy"], saved["model.Wy"])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_trains_and_evaluates(cli, tmp_path, precision):
    data, run_dir = small_sessions(tmp_path / "a", "a"), tmp_path / "run"
    arguments = ("--data-dir", data, *SMALL[:4], "--batch-size", 20, "--epochs", 1, "--precision", precision)
    status, _, err = cli(*arguments, "--run-dir", run_dir)
    assert status == 0 and err == "", err
    found = arrays_of(run_dir / "checkpoint.npz")
    assert {array.dtype.name for name, array in found.items() if name.startswith("model.")} == {"float32"}
    assert ("optimizer.loss_scale" in found) == (precision == "mixed_float16")


@pytest.mark.golden
def test_official_weights_are_evaluated_as_officially(cli, data, tmp_path):
    arrays = arrays_of(FOLDER / "eval_A_shared_xe_logq1.npz")
    path = tmp_path / "official.npz"
    np.savez(path, **{k.removeprefix("weights/"): v for k, v in arrays.items() if k.startswith("weights/")})
    arguments = ("--data-dir", data, "--epochs", 0, "--weights", path, "--no-baselines", "--run-dir", tmp_path / "run")
    status, _, err = cli(*arguments)
    assert status == 0, err
    expected = json.loads((FOLDER / "eval_metrics.json").read_text())["A_shared_xe_logq1"]
    found = metrics_of(tmp_path / "run")["details"]["official_ties"]
    for mode in ("standard", "conservative"):
        for key, value in expected[f"official_{mode}"].items():
            assert found[mode][key] == pytest.approx(value, abs=1e-6), (mode, key)


def test_mistakes_end_in_one_line(cli, data, tmp_path):
    run = ("--data-dir", data, *SMALL, "--epochs", 1)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\3\4 no npz")
    other = tmp_path / "other.npz"
    np.savez(other, a=np.zeros(3))
    shapeless = tmp_path / "shapeless.npz"
    np.savez(shapeless, Wy=np.zeros((3, 2)), By=np.zeros(3))
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        ((*run, "--inputs", "content"), "has none"),
        ((*run, "--loss", "bpr-max", "--logq", 1), "--logq corrects cross-entropy"),
        ((*run, "--optimizer", "adam", "--momentum", 0.1), "--momentum belongs to"),
        ((*run, "--negatives", 0, "--batch-size", 1), "needs --batch-size of 2"),
        ((*run, "--alpha", 2), "--alpha is 2"),
        ((*run, "--layers", 0), "--layers"),
        ((*run, "--preset", "none"), "--preset is none"),
        ((*run, "--protocol", "released"), "one protocol"),
        (("--data-dir", data, "--epochs", 0), "--weights FILE"),
        (("--data-dir", data, "--epochs", 0, "--weights", broken), "cannot be read as npz"),
        (("--data-dir", data, "--epochs", 0, "--weights", other), "not weights of GRU4Rec"),
        (("--data-dir", data, "--epochs", 0, "--weights", shapeless), "other shapes than the official ones"),
        ((*run, "--distribute", "multiworker"), "needs TF_CONFIG"),
        ((*run, "--batch-size", 10**6), "--batch-size is 1000000"),
        ((*run, "--drop-featureless"), "belongs to mssd"),
        ((*run, "--session-key", "ItemId"), "name three columns"),
        ((*run, "--test-file", "train.tsv"), "are both train.tsv"),
        (("--data-dir", empty), "holds no"),
        (("--data-dir", tmp_path / "none"), "no such folder"),
    ]
    for arguments, words in cases:
        status, _, err = cli(*arguments, "--run-dir", tmp_path / "run")
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and words in err, (arguments, err)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
    (data / "test.tsv").write_text("SessionId\tItemId\tTime\n1\tnobody\t5\n1\tnothing\t6\n")
    status, _, err = cli(*run, "--run-dir", tmp_path / "run")
    assert status == 2 and err.count("\n") == 1, err


def official_arrays(items, units=4):
    shapes = {"Wy": (items, units), "By": (items, 1), "G0.Wx": (units, 3 * units), "G0.Wrz": (units, 2 * units)}
    shapes |= {"G0.Wh": (units, units), "G0.Bh": (1, 3 * units)}
    rng = np.random.default_rng(1)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def small_sessions(folder, prefix):
    folder.mkdir()
    rows = [f"{s}\t{prefix}{(s * k) % 9}\t{s * 10_000 + k}\n" for s in range(60) for k in range(4)]
    (folder / "train.tsv").write_text("SessionId\tItemId\tTime\n" + "".join(rows))
    return folder


@pytest.mark.slow
def test_weights_of_another_dataset_with_as_many_items_are_refused(cli, tmp_path):
    one, other = (small_sessions(tmp_path / prefix, prefix) for prefix in "ab")
    run = tmp_path / "run"
    assert cli("--data-dir", one, *SMALL, "--epochs", 1, "--run-dir", run)[0] == 0
    evaluate = ("--epochs", 0, "--no-baselines", "--weights", run / "model.weights.h5")
    status, _, err = cli("--data-dir", one, *evaluate, "--run-dir", tmp_path / "again")
    assert status == 0 and metrics_of(tmp_path / "again")["metrics"] == metrics_of(run)["metrics"], err
    status, _, err = cli("--data-dir", other, *evaluate, "--run-dir", tmp_path / "refused")
    assert status == 2 and err.startswith(f"error: {run / 'model.weights.h5'}: was trained on other items"), err
    assert not (tmp_path / "refused").exists()

    official = tmp_path / "official.npz"  # it cannot be told what its items are
    np.savez(official, **official_arrays(9))
    evaluate = ("--data-dir", other, "--epochs", 0, "--no-baselines", "--weights", official)
    status, _, err = cli(*evaluate, "--run-dir", tmp_path / "official")
    assert status == 0 and "does not name its items" in err
    for wrong in (np.full((9, 4), np.nan, np.float32), np.full((9, 4), "x"), np.zeros((9, 4), np.int64)):
        np.savez(official, **official_arrays(9) | {"Wy": wrong})
        status, _, err = cli(*evaluate, "--run-dir", tmp_path / "refused")
        assert status == 2 and "Wy holds values that are no finite numbers" in err and err.count("\n") == 1
        assert not (tmp_path / "refused").exists()
