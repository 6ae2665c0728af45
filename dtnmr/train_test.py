"""The command ``python dtnmr/run.py`` as a user runs it: results, resume, weights of a run, released ones, mistakes."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from common.command import parse
from common.options import PROJECT
from common.testing import NOISE, in_process, metrics_of
from conftest import GOLDEN
from dtnmr import DTNMR
from dtnmr.model import Networks
from dtnmr.options import Architecture, DtnmrOptions
from dtnmr.preprocess import load_dataset
from dtnmr.sample import KkboxSampleOptions, write_sample
from dtnmr.train import main
from dtnmr.weights import save_released

TINY = ("--mlp", 8, "--embedding", 4, "--lstm", 4, "--lstm-layers", 1, "--no-baselines", "--test-points", 200)
TINY += ("--deterministic", "--batch-size", 512)  # without XLA: compiling takes longer than such a run


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """A small dataset in KKBOX's formats."""
    folder = tmp_path_factory.mktemp("kkbox")
    write_sample(folder, KkboxSampleOptions(folder, users=60, songs=300))
    return folder


@pytest.fixture
def cli(monkeypatch, capsys, private_data, eagerly):
    return in_process(monkeypatch, capsys, main, DtnmrOptions)


@pytest.mark.slow
def test_a_fresh_checkout_runs_the_whole_pipeline_on_the_sample(tmp_path, private_data):
    run_dir = tmp_path / "run"
    command = [sys.executable, "dtnmr/run.py", "--epochs", "1", "--run-dir", str(run_dir), "--lstm", "8", "--mlp", "16"]
    command += ["--lstm-layers", "1", "--deterministic"]
    command += ["--top", "0.001", "--test-points", "500"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert not any(word in done.stderr + done.stdout for word in NOISE), done.stderr
    found = metrics_of(run_dir)
    assert found["dataset"]["synthetic"] and "synthetic" in done.stdout and "sample is used" in done.stderr
    assert found["details"]["test_points"]["evaluated"] == 500 < found["details"]["test_points"]["in_all"]
    assert found["baselines"]["BPR-MF"]["map"] > found["baselines"]["popularity"]["map"]
    assert found["best_baseline"] in found["baselines"] and set(found["tests"]) <= set(
        found["intervals"][found["model"]]
    )
    names = {path.name for path in run_dir.iterdir()}
    expected = {"metrics.json", "options.json", "vocabulary.json", "report.md", "history.csv", "curves.png"}
    expected |= {"model.weights.h5", "comparison.png", "checkpoint.npz", "tensorboard", "data"}
    assert expected == names, names ^ expected
    report = (run_dir / "report.md").read_text()
    assert "synthetic" in report and "paper (no figure known)" in report and "could not be found" in report


def test_the_metrics_file_says_what_was_measured_and_weights_of_other_columns_are_refused(cli, db, tmp_path):
    status, out, err = cli("--db", db, *TINY, "--epochs", 1, "--cutoffs", 3, 7, "--run-dir", tmp_path / "run")
    assert status == 0, err
    found = metrics_of(tmp_path / "run")
    for name in ("paper", "model", "protocol", "dataset", "split", "ranking", "ties", "seconds", "seed", "versions"):
        assert found[name], name
    for name in ("precision@3", "recall@7", "f@3", "map", "user_coverage@7", "auc", "ndcg@3", "mrr", "next_recall@7"):
        assert 0 <= found["metrics"][name] <= 1, name
    assert set(found["details"]["apart"]) == {"cold_songs", "new_users"} and "accuracy@5_released" in found["metrics"]
    assert "no figure known" in out

    evaluate = ("--epochs", 0, "--no-baselines", "--weights", tmp_path / "run" / "model.weights.h5")
    status, _, err = cli("--db", db, *evaluate, "--name-filter", "--run-dir", tmp_path / "refused")
    assert status == 2 and "was trained on other columns" in err and not (tmp_path / "refused").exists()


@pytest.mark.slow
@pytest.mark.golden
def test_released_weights_are_evaluated(cli, tmp_path):
    """A run in the released protocol, written as the released network's state dict, gives the same figures."""
    run = tmp_path / "run"
    base = ("--db", GOLDEN / "dtnmr" / "csv", "--protocol", "released", "--no-baselines", "--deterministic")
    status, out, err = cli(*base, "--run-dir", run)
    assert status == 0, err
    assert "DTNMR (linear)" in out
    save_released(tmp_path / "torch.npz", DTNMR.load(run).networks)
    status, _, err = cli(*base, "--epochs", 0, "--weights", tmp_path / "torch.npz", "--run-dir", tmp_path / "again")
    assert status == 0 and "does not name its columns" in err
    ours, theirs = (metrics_of(path)["metrics"] for path in (run, tmp_path / "again"))
    assert ours == pytest.approx(theirs, abs=1e-6)


@pytest.mark.golden
def test_all_units_dead_is_reported(cli, tmp_path):
    """The ReLU that comes last in the released network can pass nothing: every score ties, which is no success."""
    base = ("--db", GOLDEN / "dtnmr" / "csv", "--protocol", "released", "--no-baselines", "--deterministic")
    _, data = load_dataset(parse(DtnmrOptions, [*map(str, base)]).of_data, "released")
    architecture = Architecture(
        data.song_width, data.user_width, len(data.values["behaviour"]), rating="linear", final_relu=True
    )
    model = Networks(architecture)
    model.named["song.2.bias"].assign(np.full(32, -100, np.float32))
    save_released(tmp_path / "dead.npz", model)
    status, _, err = cli(*base, "--epochs", 0, "--weights", tmp_path / "dead.npz", "--run-dir", tmp_path / "run")
    assert status == 0 and "warning: all units of the songs' vectors are dead" in err, err
    found = metrics_of(tmp_path / "run")["metrics"]
    assert found["auc"] == pytest.approx(0.5) and found["accuracy@5_released"] == 0


def test_mistakes_end_in_one_line(cli, db, tmp_path):
    run = ("--db", db, *TINY, "--epochs", 1)
    broken, other = tmp_path / "broken.npz", tmp_path / "other.npz"
    broken.write_bytes(b"PK\3\4 no npz")
    np.savez(other, a=np.zeros(3))
    empty, wrong = tmp_path / "empty", tmp_path / "wrong"
    empty.mkdir()
    shutil.copytree(db, wrong)
    lines = (wrong / "train.csv").read_text().splitlines()
    (wrong / "train.csv").write_text("\n".join([*lines[:5], "broken,line", *lines[5:]]) + "\n")
    released = ("--db", db, "--protocol", "released", "--epochs", 0, "--weights")
    cases = [
        ((*run, "--subset-size", 10_000), "--subset-size is 10000"),
        ((*run, "--min-playlist-len", 10), "--long-term-len is 20"),
        ((*run, "--data-dir", tmp_path), "two names for one folder"),
        (("--db", empty, *TINY), "train.csv"),
        (("--db", tmp_path / "none", *TINY), "no such folder"),
        (("--db", wrong, *TINY), "train.csv, line 6"),
        (("--db", db, "--epochs", 0), "--weights FILE"),
        ((*released, broken), "cannot be read as npz"),
        ((*released, other), "missing"),
        (("--db", db, "--epochs", 0, "--weights", other), "needs --protocol released"),
        (("--db", db, "--epochs", 0, "--weights", tmp_path / "no.h5"), "no such file"),
        ((*run, "--run-dir", db), "is not empty"),
        (("--resume", "--run-dir", empty), "holds no run"),
        ((*run, "--optimizer", "sgd", "--learning-rate", 1e30), "smaller --learning-rate"),
        ((*run, "--long-term-len", 20, "--short-term-len", 21), "--short-term-len is 21"),
    ]
    for arguments, words in cases:
        given = arguments if "--run-dir" in arguments else (*arguments, "--run-dir", tmp_path / "run")
        status, _, err = cli(*given)
        last = err.strip().splitlines()[-1]
        assert status == 2 and last.startswith("error: ") and words in last, (arguments, err)
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
