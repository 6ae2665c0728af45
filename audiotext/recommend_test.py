"""Songs for a user, listeners for a new song, ``MusicRecommender``, and what is refused."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import tensorflow as tf

from audiotext.dataset import read_users
from audiotext.evaluation import unit_rows
from audiotext.layout import ARTISTS, SONGS, Layout
from audiotext.music_recommender import add_trained_model, best_tracks
from audiotext.recommend import RecommendOptions, main
from audiotext.recommender import AudioText, Names
from audiotext.testing import TINY, small_collection
from common.command import parse
from common.options import PROJECT, UserError
from common.sources import Dataset
from common.testing import NOISE, in_process
from conftest import GOLDEN
from MusicRecommender import MusicRecommender

pytestmark = pytest.mark.filterwarnings("ignore:Even though the .*experimental_run_functions_eagerly:UserWarning")


def open_items(run):
    data = AudioText.load(run).training_data(whole=False)
    return data.layout, data.items


CLIP, TEXT = "clips/SO00003.flac", "biographies/AR0005.txt"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return small_collection(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="module", autouse=True)
def eager():
    """Tracing TensorFlow's functions takes longer than a tiny run itself."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def runs(raw, tmp_path_factory, private_data, eager):
    """Finished runs by kind."""
    from audiotext.options import AudioTextOptions
    from audiotext.train import main as train

    folder = tmp_path_factory.mktemp("runs")
    for kind in ("a-tags", "mm-lf-h1", "mm"):
        options = ("--data-dir", str(raw), *TINY, "--no-baselines", "--model", kind, "--run-dir", str(folder / kind))
        train(parse(AudioTextOptions, options))
    return folder


@pytest.fixture
def cli(monkeypatch, capsys, private_data):
    return in_process(monkeypatch, capsys, main, RecommendOptions)


def test_songs_of_unknown_artists_are_ranked_for_a_user(cli, runs, raw):
    status, stdout, err = cli("--run-dir", runs / "mm", "--user", "u0003", "--top-k", 5, "--json")
    assert status == 0, err
    layout, items = open_items(runs / "mm")
    number = read_users(layout, len(items.user_factors)).index("u0003")
    scores = unit_rows(np.load(runs / "mm" / "predictions.npy")) @ items.user_factors[number]
    found = json.loads(stdout)["recommended"]
    assert [row["item"] for row in found] == [items.test[row] for row in np.argsort(-scores)[:5]]
    assert {row["artist_id"] for row in found} <= set(items.test_artists)
    titles = {line.split("\t")[0]: line.split("\t") for line in (raw / "songs.tsv").read_text().splitlines()[1:]}
    for row in found:
        assert (row["artist_id"], row["title"], row["artist"]) == tuple(titles[row["item"]][1:4])
    status, stdout, _ = cli("--run-dir", runs / "mm", "--user", "u0003", "--top-k", 1)
    assert status == 0 and found[0]["title"].split()[0] in stdout and "artist_id" not in stdout
    status, stdout, _ = cli("--run-dir", runs / "a-tags", "--user", "u0003")
    assert status == 0 and "New artists for u0003" in stdout and "The " in stdout


def test_names_that_are_not_there_or_only_in_part(tmp_path):
    layout = Layout(tmp_path, 4)
    ids, artists = ["s1", "s2"], ["a1", "a2"]
    assert Names(layout, SONGS).of(ids, artists, 0) == {"item": "s1", "artist_id": "a1"}
    assert Names(layout, SONGS).of(ids, None, 0) == {"item": "s1"}
    assert Names(layout, ARTISTS).of(artists, artists, 0) == {"item": "a1"}
    layout.save_names(SONGS, {"s1": ("One", "")})
    layout.save_names(ARTISTS, {"a1": ["First"]})
    assert Names(layout, SONGS).of(ids, artists, 0) == {
        "item": "s1", "title": "One", "artist_id": "a1", "artist": "First",
    }  # fmt: skip
    assert Names(layout, SONGS).of(ids, artists, 1) == {"item": "s2", "title": "", "artist_id": "a2", "artist": ""}
    assert Names(layout, ARTISTS).of(artists, artists, 1) == {"item": "a2", "name": ""}
    for content, message in (
        ("s1\tOne\n", "line 1: has 2 values; expected 3"),
        ("s1\ta\tb\ns1\ta\tc\n", "line 2: the id 's1' is there already"),
    ):
        layout.names_path(SONGS).write_text(content)
        with pytest.raises(UserError, match=message):
            Names(layout, SONGS)


@pytest.mark.parametrize("kind", ["mm", "mm-lf-h1"])
def test_a_known_song_given_as_files_gets_the_vector_that_the_run_predicts(kind, cli, runs, raw):
    layout, items = open_items(runs / kind)
    song = items.test[-1]
    artist = layout.load_artists_of_songs()[song]
    files = ("--audio", raw / "clips" / f"{song}.flac", "--biography", raw / "biographies" / f"{artist}.txt")
    lines = [line.split("\t") for line in (raw / "entities.tsv").read_text().splitlines()[1:]]
    entities = [line[1] for line in lines if line[0] == artist]
    status, stdout, err = cli("--run-dir", runs / kind, *files, "--terms", *dict.fromkeys(entities), "--json")
    assert status == 0, err
    found = json.loads(stdout)
    known = unit_rows(np.load(runs / kind / "predictions.npy"))[-1]
    assert np.asarray(found["factor"]) @ known > 0.99  # entities count by their mentions in the data
    assert len(found["nearest"]) == len(found["users"]) == 10
    assert {row["item"] for row in found["nearest"]} <= set(items.train)


def test_a_new_artist_by_tags(cli, runs, raw):
    tags = [line.split("\t")[1] for line in (raw / "tags.tsv").read_text().splitlines()[1:6]]
    status, stdout, err = cli("--run-dir", runs / "a-tags", "--terms", *tags)
    assert status == 0 and "Nearest known artists" in stdout and "Users who may like it" in stdout, err


def test_real_clips_that_are_no_music_and_mistakes_end_in_one_line(cli, runs, raw, tmp_path):
    silent, empty, unknown, cut = (tmp_path / name for name in ("silent.wav", "empty.txt", "unknown.txt", "cut.mp3"))
    soundfile.write(silent, np.zeros(22050), 22050)
    empty.write_text(" \n")
    unknown.write_text("qqqq wwww")
    rng = np.random.default_rng(1)
    soundfile.write(tmp_path / "whole.mp3", 0.1 * rng.normal(size=22050 * 4), 22050)
    cut.write_bytes((tmp_path / "whole.mp3").read_bytes()[:6000])
    (tmp_path / "no.ogg").write_text("no sound")
    mm, tags, clip, text = runs / "mm", runs / "a-tags", raw / CLIP, raw / TEXT
    half = shutil.copytree(runs / "mm", tmp_path / "half")
    (half / "predictions.npy").unlink()
    (half / "model.weights.h5").write_bytes(b"no weights")
    for arguments, message in (
        (("--run-dir", mm), "name a user"),
        (("--run-dir", mm, "--user", "u0003", "--audio", clip), "two questions"),
        (("--run-dir", mm, "--user", "nobody"), "no such user; ids are such as u"),
        (("--run-dir", tmp_path, "--user", "u0003"), "options.json"),
        (("--run-dir", half, "--user", "u0003"), "predictions.npy"),
        (("--run-dir", half, "--audio", clip, "--biography", text), "model.weights.h5"),
        (("--run-dir", mm, "--audio", clip), "text is missing"),
        (("--run-dir", mm, "--biography", text), "audio is missing"),
        (("--run-dir", tags, "--audio", clip, "--terms", "rock"), "audio: the a-tags network"),
        (("--run-dir", tags, "--biography", text), "reads tags"),
        (("--run-dir", mm, "--audio", silent, "--biography", text), "nothing is heard"),
        (("--run-dir", mm, "--audio", cut, "--biography", text), "cut.mp3"),
        (("--run-dir", mm, "--audio", tmp_path / "no.ogg", "--biography", text), "no.ogg"),
        (("--run-dir", mm, "--audio", clip, "--biography", empty), "is empty"),
        (("--run-dir", mm, "--audio", clip, "--biography", unknown), "knows none of its 2 words"),
        (("--run-dir", mm, "--audio", clip, "--biography", tmp_path / "missing"), "no such file"),
        (("--run-dir", mm, "--user", "u0003", "--top-k", 0), "--top-k"),
        (("--run-dir", mm, "--user", "u0003", "--data-dir", tmp_path), "holds neither"),
    ):
        status, _, err = cli(*arguments)
        assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and message in err, (arguments, err)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("options.json", {"options": {"data_dir": 5}}),
        ("options.json", {"options": {"split_seed": 1.5}}),
        ("architecture.json", {"dropout": 5}),
        ("architecture.json", {"dropout": "x"}),
        ("architecture.json", {"text": 7}),
        ("tfidf.json", {"terms": ["one"], "idf": [1.0]}),
    ],
)
def test_edited_files_of_a_run_end_in_one_line(file, change, cli, runs, raw, tmp_path):
    run = shutil.copytree(runs / "a-tags", tmp_path / "run")
    found = json.loads((run / file).read_text())
    nested = {key: found[key] | value if isinstance(value, dict) else value for key, value in change.items()}
    (run / file).write_text(json.dumps(found | nested))
    tags = [line.split("\t")[1] for line in (raw / "tags.tsv").read_text().splitlines()[1:6]]
    status, _, err = cli("--run-dir", run, "--terms", *tags, "one")
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, err


def test_another_dataset_than_the_run_s_is_refused(cli, runs, tmp_path):
    other = small_collection(tmp_path)
    (other / "plays.tsv").write_text("\n".join((other / "plays.tsv").read_text().splitlines()[:-3]) + "\n")
    status, _, err = cli("--run-dir", runs / "mm", "--user", "u0003", "--data-dir", other)
    assert status == 2 and "is not the dataset" in err


def test_music_recommender_runs_the_whole_chain(raw, runs, tmp_path, capsys):
    sizes = {"text_units": (8, 8), "filters": (4, 4, 4, 4), "fusion_units": 8, "epochs": 1, "factors": 4, "jobs": 1}
    options = {"baselines": False, "deterministic": True}
    recommender = MusicRecommender(data_dir=raw, run_dir=tmp_path / "run", **options, **sizes)
    result = recommender.recommend()
    printed, err = capsys.readouterr()
    assert not any(word in err for word in NOISE), err
    told = [
        "Training data points: ",
        "Validation data points: ",
        "Test data points",
        "Total params",
        "MusicRecommender, ",
    ]
    told += ["R2 avg: ", f"MAP@500: {result['metrics']['map@500_released']:.5f}"]
    places = [printed.index(words) for words in told]
    assert places == sorted(places) and printed.count("Training data points") == 1  # not of the branch
    assert "text_dropout_1 (Dropout)" in printed and "…" not in printed  # names of layers are never cut
    table = (tmp_path / "run" / "models" / "trained_models.tsv").read_text().splitlines()
    assert len(table) == 2 and table[1].startswith("model_1\t") and len(table[0].split("\t")) == 4
    model = dict(zip(table[0].split("\t"), table[1].split("\t"), strict=True))
    assert (
        json.loads(model["model_arch"])["text_units"] == [8, 8] and json.loads(model["training_params"])["epochs"] == 1
    )
    dataset = Dataset(raw, raw, "other", False)
    add_trained_model(tmp_path / "run" / "models" / "trained_models.tsv", recommender.options, dataset)
    more = pd.read_csv(tmp_path / "run" / "models" / "trained_models.tsv", sep="\t")
    assert more.model_id.tolist() == ["model_1", "model_2"]
    assert 0 < result["metrics"]["map@500_released"] < 1 and result["model"] == "MusicRecommender"
    layout, items = open_items(tmp_path / "run")
    best = [line.split("\t") for line in (tmp_path / "run" / "track_recommendations.tsv").read_text().splitlines()[1:]]
    assert [user for user, *_ in best] == read_users(layout, len(items.user_factors))
    assert all(title and artist for *_, title, artist in best)
    seed = (tmp_path / "run" / "track_recommendations_released.tsv").read_text().splitlines()[1:]
    assert sorted(line.split("\t")[0] for line in seed) == sorted(items.test)
    with pytest.raises(UserError, match="epochs is -1"):
        MusicRecommender(epochs=-1)


def test_best_tracks_of_users_and_best_users_of_tracks():
    rng = np.random.default_rng(2)
    users, vectors = rng.normal(size=(600, 3)), rng.normal(size=(40, 3))
    best, score, greatest = best_tracks(users, vectors)
    table = users @ unit_rows(vectors).T
    np.testing.assert_array_equal(best, table.argmax(axis=1))
    np.testing.assert_allclose(score, table.max(axis=1))
    np.testing.assert_allclose(greatest, table.max(axis=0))


@pytest.mark.golden
def test_old_weights_of_the_toy_run_are_evaluated_through_the_command(tmp_path):
    from audiotext.options import AudioTextOptions
    from audiotext.toy_test import FOLDER, write_toy
    from audiotext.train import main as train

    folder = write_toy(tmp_path / "dlrs-data")
    known = json.loads((FOLDER / "toyrun_tartarus.json").read_text())["runs"]
    for name in ("a_sem", "mm_lf_lin", "mm_lf_h1"):
        sizes = dict(pair.split("=") for pair in known[name]["extra"].split("&"))
        units = ["--text-units", sizes["cnn.n_dense"], sizes["cnn.n_dense"]] if name == "a_sem" else []
        units += ["--fusion-units", sizes["cnn.n_dense"]] if name == "mm_lf_h1" else []
        weights = GOLDEN / "audiotext" / f"toyrun_{name}.weights.h5"
        command = ["--data-dir", str(folder), "--model", name.replace("_", "-"), *units, "--epochs", "0"]
        command += ["--weights", str(weights), "--no-baselines", "--deterministic", "--run-dir", str(tmp_path / name)]
        found = train(parse(AudioTextOptions, command))["metrics"]["map@500_released"]
        assert found == pytest.approx(known[name]["MAP@500"], abs=1e-4), name


@pytest.mark.slow
def test_a_network_loaded_late_says_nothing_on_the_console(runs):
    code = "import sys; from audiotext import AudioText; AudioText.load(sys.argv[1]).network"
    command = [sys.executable, "-c", code, str(runs / "a-tags")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
