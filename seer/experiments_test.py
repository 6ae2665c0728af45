"""The command ``python seer/experiments.py`` as a user runs it: every sub-command on a tiny dataset, and mistakes."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.command import parse
from common.testing import in_process
from seer import baselines, train
from seer.experiments import Command, main
from seer.options import SeerOptions

pytestmark = pytest.mark.usefixtures("eagerly")
USERS, SONGS, STEPS = 24, 14, 40
SMALL = ("--sequence-length", 8, "--epochs", 2, "--batch-size", 7, "--deterministic")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A dataset in the released formats: songs of two kinds, a step every half second."""
    folder, rng = tmp_path_factory.mktemp("raw") / "tiny", np.random.default_rng(0)
    midi = np.zeros((SONGS, STEPS, 32), np.int64)
    for song in range(SONGS):
        midi[song, :, 2 * (song % 2)] = rng.integers(30, 90, STEPS)
        midi[song, :, 2 * (song % 2) + 1] = rng.integers(40, 100, STEPS)
    rated = [(u, s, 5 if u % 2 == s % 2 else int(rng.integers(1, 3))) for u in range(USERS) for s in range(SONGS)]
    rated = [row for row in rated if (row[0] + row[1]) % 5 or row[0] == row[1]]
    folder.mkdir(parents=True)
    (folder / "triplets.txt").write_text("".join(f"{u} {s} {r}\n" for u, s, r in rated))
    (folder / "midi_array.txt").write_text(json.dumps(midi.reshape(SONGS, -1).tolist()))
    (folder / "time_array.txt").write_text(json.dumps([[5e5 * step + 1 for step in range(STEPS)]] * SONGS))
    header = ",song_id,artist_name,title,release,year,duration\n"
    rows = [f"{n},S{n:02d},Artist,Title {n},Album,2000,21.0\n" for n in range(SONGS)]
    (folder / "song_information.csv").write_text(header + "".join(rows))
    matching = "".join(f"{n},S{n:02d},{n}\n" for n in range(SONGS))
    (folder / "song_to_number_matching.csv").write_text(",song_id,number\n" + matching)
    return folder


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def cli(monkeypatch, capsys):
    return in_process(monkeypatch, capsys, main, Command)


def finished(folder, experiment):
    """``metrics.json`` of a complete run, whose header is checked."""
    for name in ("options.json", "report.md", "comparison.png"):
        assert (folder / name).stat().st_size > 100, name
    found = json.loads((folder / "metrics.json").read_text("utf-8"))
    assert found["experiment"] == experiment and found["seed"] == 1 and found["seconds"] > 0
    assert found["dataset"]["name"] == "tiny" and not found["dataset"]["synthetic"]
    assert found["dataset"]["counts"]["songs"] == SONGS and "tensorflow" in found["versions"]
    return found


@pytest.fixture(scope="module")
def weights(raw, tmp_path_factory):
    """A trained model, made by the ordinary command."""
    folder = tmp_path_factory.mktemp("runs") / "dot"
    arguments = ["--data-dir", raw, "--run-dir", folder, *SMALL, "--variant", "dot", "--latent-features", 4]
    arguments += ["--no-baselines", "--batching", "songs"]
    tf.config.run_functions_eagerly(True)
    train.main(parse(SeerOptions, [*map(str, arguments)]))
    tf.config.run_functions_eagerly(False)
    return folder / "model.weights.h5"


@pytest.mark.slow
def test_cold_start_and_resume(raw, tmp_path, cli):
    arguments = ["cold-start", "--data-dir", raw, "--run-dir", tmp_path / "run", *SMALL, "--latent-features", 4]
    arguments += ["--seeds", 1, "--share", 0.3]
    status, out, err = cli(*arguments)
    assert status == 0, err
    found = finished(tmp_path / "run", "cold-start")
    assert len(found["by_seed"]["SeER concat (lstm)"]) == len(found["by_seed"]["SeER dot (gru)"]) == 1
    assert len(found["training"]) == 2 and len(found["training"][0]["history"]) == 2
    low, high = found["intervals"]["mean of all ratings"]["rmse"][1:]
    assert low < found["metrics"]["mean of all ratings"]["rmse"] < high
    assert "ridge per user" in out and "Paired differences" in (tmp_path / "run" / "report.md").read_text()

    status, out, err = cli(*arguments)
    assert status == 2 and "not empty" in err
    status, out, err = cli(*arguments, "--resume")  # nothing is left to train
    assert status == 0, err
    again = finished(tmp_path / "run", "cold-start")
    assert again["metrics"] == found["metrics"] and again["training"] == found["training"]


def test_study_chooses_the_size_then_the_cell(raw, tmp_path, cli):
    arguments = ["study", "--data-dir", raw, "--run-dir", tmp_path / "run", *SMALL, "--sizes", 3, 50]
    status, out, err = cli(*arguments, "--cells", "lstm", "rnn")
    assert status == 0, err
    found = finished(tmp_path / "run", "study")
    rows, size = found["metrics"], found["best"]["latent_features"]
    assert {name for name, row in rows.items() if "map@10_v2" in row} == {
        "lstm, latent size 3", "lstm, latent size 50", f"rnn, latent size {size}"}  # fmt: skip
    assert rows["lstm, latent size 50"]["paper v2"] == 0.1236 and rows["gru, latent size 150"] == {"paper v2": 0.1437}
    tried = {s: rows[f"lstm, latent size {s}"]["map@10_v2"] for s in (3, 50)}
    assert tried[size] == max(tried.values())
    assert "no reference" in out or "its own dataset" in out


@pytest.mark.slow
def test_replicates_are_compared_by_paired_tests(raw, tmp_path, cli, monkeypatch):
    whole = baselines.matrix_factorisation

    def short(train, validation, users, songs, factors, epochs, *others):
        return whole(train, validation, users, songs, factors, 3, *others)

    monkeypatch.setattr(baselines, "matrix_factorisation", short)  # it takes 3,000 steps otherwise
    arguments = ["replicates", "--data-dir", raw, "--run-dir", tmp_path / "run", *SMALL, "--latent-features", 4]
    status, _, err = cli(*arguments, "--replicates", 2)
    assert status == 0, err
    found = finished(tmp_path / "run", "replicates")
    seer, mf = (found["by_seed"][name] for name in ("SeER dot (gru)", "MF (4)"))
    values = [row["rmse"] for row in seer]
    assert found["metrics"]["SeER dot (gru): mean"]["rmse"] == pytest.approx(np.mean(values))
    assert found["metrics"]["SeER dot (gru): sd"]["rmse"] == pytest.approx(np.std(values, ddof=1))
    assert found["metrics"]["paper v2: SeER: mean"]["map@10_v2"] == pytest.approx(0.1437, abs=1e-4)
    test = found["tests"]["rmse, over seeds"]
    assert test["pairs"] == 2 and test["difference"] == pytest.approx(
        np.mean(values) - np.mean([r["rmse"] for r in mf])
    )
    assert found["tests"]["rmse, over users"]["pairs"] >= USERS - 2  # with a test rating
    assert test["t_p Holm"] >= test["t_p"]


def test_sections(raw, weights, tmp_path, cli):
    status, out, err = cli(
        "sections", "--data-dir", raw, "--run-dir", tmp_path / "run", "--weights", weights, "--users", 9, "--top-k", 2
    )
    assert status == 0, err
    found = finished(tmp_path / "run", "sections")
    assert len(found["users"]) == found["test"]["pairs"] == 9 and found["model"]["variant"] == "dot"
    rows = found["metrics"]
    assert found["test"]["difference"] == pytest.approx(rows["explanations"]["mean"] - rows["random sections"]["mean"])
    rated = {tuple(map(int, line.split()[:2])) for line in (raw / "triplets.txt").read_text().splitlines()}
    for one in found["users"]:
        assert len(one["songs"]) == 2 and not {(one["user"], song) for song in one["songs"]} & rated
        assert all(stop - first == 20 for _, first, stop in one["explained"] + one["random"])  # ten seconds
    assert "explanations - random" in out


@pytest.mark.slow
def test_tags(raw, weights, tmp_path, cli):
    tags = tmp_path / "tags.csv"
    tags.write_text("song_id,tag\n" + "".join(f"S{n:02d},{('even', 'odd')[n % 2]}\n" for n in range(SONGS)))
    arguments = ["tags", "--data-dir", raw, "--weights", weights, "--users", 8, "--top-k", 2, "--units", 4]
    arguments += ["--min-liked", 2, "--classifier-epochs", 2]
    status, _, err = cli(*arguments, "--run-dir", tmp_path / "no")
    assert status == 2 and "--tags" in err and not (tmp_path / "no").exists()
    status, _, err = cli(*arguments, "--tags", tags, "--run-dir", tmp_path / "no")
    assert status == 2 and "--min-songs" in err and not (tmp_path / "no").exists()
    status, _, err = cli(*arguments, "--tags", tags, "--min-songs", 2, "--run-dir", tmp_path / "run")
    assert status == 0, err
    found = finished(tmp_path / "run", "tags")
    assert found["metrics"]["recommendations, their own tags"]["k = 2"] <= 100
    assert set(found["tests"]) == {"k = 1", "k = 2", "k = 3"} and sorted(found["tag_names"]) == ["even", "odd"]


COMMANDS = ("cold-start", "study", "replicates", "sections")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "cold-start"),
        (("warm-start",), "warm-start"),
        (("cold-start", "--share", "0.7"), "--share"),
        (("cold-start", "--seeds", "0"), "--seeds"),
        (("cold-start", "--epochs", "0"), "--epochs"),
        (("cold-start", "--protocol", "released"), "--protocol"),
        (("study", "--sizes", "0"), "--sizes"),
        (("study", "--latent-features", "8"), "latent-features"),
        (("replicates", "--replicates", "1"), "--replicates"),
        (("sections", "--top-k", "1"), "--top-k"),
        (("sections", "--section-seconds", "-1"), "--section-seconds"),
        (("sections", "--weights", __file__, "--epochs", "3"), "--epochs"),
        (("tags", "--tags", "missing.csv"), "missing.csv"),
        (("tags", "--data-dir", "missing"), "missing"),
    ],
)
def test_a_wrong_option_ends_in_one_line_and_status_2(arguments, message, cli):
    status, out, err = cli(*arguments)
    assert status == 2 and message in err and err.startswith("error: ") and err.count("\n") == 1, err
    assert not out


def test_weights_of_something_else_leave_no_run_directory(raw, tmp_path, cli):
    (tmp_path / "model.h5").write_bytes(b"nonsense")
    for command in ("sections", "cold-start"):
        status, _, err = cli(
            command, "--data-dir", raw, "--weights", tmp_path / "model.h5", "--run-dir", tmp_path / "run"
        )
        assert status == 2 and err.count("\n") == 1 and not (tmp_path / "run").exists(), err


def test_options_that_do_not_fit_the_dataset_leave_no_run_directory(raw, tmp_path, cli):
    for command, *arguments in (["cold-start", "--share", 0.01], *([c, "--sequence-length", 999] for c in COMMANDS)):
        status, _, err = cli(command, *arguments, "--data-dir", raw, "--run-dir", tmp_path / "run")
        assert status == 2 and arguments[0] in err and err.count("\n") == 1 and not (tmp_path / "run").exists(), err


def test_sections_longer_than_any_song_are_the_whole_song(raw, weights, tmp_path, cli):
    arguments = ["sections", "--data-dir", raw, "--weights", weights, "--users", 4, "--section-seconds", 500]
    status, _, err = cli(*arguments, "--run-dir", tmp_path / "run")
    assert status == 0, err
    test = finished(tmp_path / "run", "sections")["test"]
    assert test["difference"] == 0 and test["t_p"] == 1
