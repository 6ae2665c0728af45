"""The command ``python seer/train.py`` as a user runs it: results, kill and resume, devices, precisions, mistakes."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from common.command import run_script
from common.options import PROJECT
from common.rundir import read_run
from common.testing import NOISE, arrays_of, in_process, metrics_of
from seer.options import SeerOptions
from seer.train import main

USERS, SONGS, STEPS = 25, 12, 10
SMALL = ("--sequence-length", "6", "--latent-features", "4", "--no-baselines", "--batch-size", "200")


def write_raw(folder: Path, seed: int = 0) -> Path:
    """A dataset in the released formats, small enough for a second of training."""
    rng = np.random.default_rng(seed)
    midi = rng.integers(0, 128, (SONGS, STEPS * 32)) * (rng.random((SONGS, STEPS * 32)) < 0.1)
    pairs = [divmod(int(code), SONGS) for code in rng.permutation(USERS * SONGS)]
    rated = [(user, song, int(np.clip(1 + song // 3 + rng.integers(0, 2), 1, 5))) for user, song in pairs]
    folder.mkdir(parents=True)
    (folder / "triplets.txt").write_text("".join(f"{u} {s} {r}\n" for u, s, r in rated))
    (folder / "midi_array.txt").write_text(json.dumps(midi.tolist()))
    (folder / "time_array.txt").write_text(json.dumps([[1000.0 * step for step in range(STEPS)]] * SONGS))
    ids = [f"S{number:02d}" for number in range(SONGS)]
    rows = [f"{n},{name},Artist {n},Title {n},Album,2000,200.0\n" for n, name in enumerate(ids)]
    header = ",song_id,artist_name,title,release,year,duration\n"
    (folder / "song_information.csv").write_text(header + "".join(rows))
    matching = "".join(f"{n},{name},{n}\n" for n, name in enumerate(ids))
    (folder / "song_to_number_matching.csv").write_text(",song_id,number\n" + matching)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return write_raw(tmp_path_factory.mktemp("raw") / "tiny")


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def cli(monkeypatch, capsys):
    return in_process(monkeypatch, capsys, main, SeerOptions)


def command(*arguments):
    return [sys.executable, str(PROJECT / "seer" / "train.py"), *map(str, arguments)]


def environment():
    # Without compiled modules the imports alone take 20 seconds.
    return {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


def script(*arguments, cwd=PROJECT):
    return subprocess.run(command(*arguments), cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)


def weights_of(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, node: found.update({name: node[()]} if isinstance(node, h5py.Dataset) else {}))
    return found


def assert_same_arrays(ours, theirs):
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, err_msg=name)


# --- released weights ----------------------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.slow
def test_released_weights_give_the_released_figures(golden_seer, tmp_path):
    """Ratings differ from Keras 2 on TensorFlow 1 by some 5e-7: float32 sums of another order (XLA's)."""
    names = ("LSTM", "GRU")
    files = [next((golden_seer / "weights").glob(f"SeER_{name}_latent_*.h5")) for name in names]
    run_dir = tmp_path / "run"
    arguments = ["--data_dir", golden_seer / "Data", "--epochs", 0, "--protocol", "released", "--run_dir", run_dir]
    done = script(*arguments, "--weights", *files)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and not any(word in done.stdout for word in NOISE)
    found = metrics_of(run_dir)
    assert list(found["details"]["comparison"]) == [file.stem for file in files]
    assert found["metrics"] == found["details"]["comparison"][files[0].stem]
    for name, file, predictions in zip(names, files, ("predictions.npz", "predictions_2.npz"), strict=True):
        reference = json.loads((golden_seer / "expected" / f"metrics_{name}.json").read_text())
        reference = reference["model_on_test"]["threshold_3"]
        ours = found["details"]["comparison"][file.stem]
        expected = {key.lower(): reference[key] for key in ("RMSE", "MAE")}
        for k in (5, 10, 100):
            expected |= {f"map@{k}_released": reference[f"MAP@{k}"], f"ndcg@{k}_released": reference[f"NDCG@{k}"]}
            expected[f"map@{k}_v2"] = reference[f"oldMAP@{k}"]
        for key, value in expected.items():
            assert ours[key] == pytest.approx(value, abs=1e-6), (name, key)
        saved = arrays_of(run_dir / predictions)
        theirs = np.load(golden_seer / "expected" / f"predictions_{name}.npz")
        assert list(saved) == ["user", "song", "true", "predicted"]
        np.testing.assert_array_equal(np.c_[saved["user"], saved["song"]], theirs["test_set"])
        np.testing.assert_array_equal(saved["true"], theirs["test_true"])
        np.testing.assert_allclose(saved["predicted"], theirs["test_pred"], atol=5e-6, rtol=0)
    assert "no reference" in done.stdout and files[0].stem in (run_dir / "report.md").read_text()


def write_keras2(path, layers):
    """A weight file as Keras 2 writes it."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, arrays in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in arrays]
            for name, array in arrays.items():
                group.create_dataset(f"{layer}/{name}:0", data=array)
    return path


@pytest.mark.slow
@pytest.mark.golden
def test_released_protocol_trains_from_given_weights_like_the_released_code(
    golden_seer, seer_golden_data, tmp_path, cli
):
    reference = np.load(golden_seer / "expected" / "train_nodropout_LSTM.npz")
    layers = {}
    for number, name in enumerate(map(str, reference["weight_names"])):
        layer, weight = name.split("/")
        layers.setdefault(layer, {})[weight.removesuffix(":0")] = reference[f"w0_{number}"]
    info = json.loads((golden_seer / "expected" / "train_reference_info.json").read_text())
    steps = info["sequence_length"]
    layers["flat_song_feature_input"] = {"embeddings": seer_golden_data.midi[:, :steps].reshape(-1, steps * 32)}
    layers["flat_song_feature_input"]["embeddings"] = layers["flat_song_feature_input"]["embeddings"].astype("f4")
    start, run_dir = write_keras2(tmp_path / "start.h5", layers), tmp_path / "run"
    arguments = ["--data-dir", golden_seer / "Data", "--run-dir", run_dir, "--protocol", "released", "--dropout", 0]
    arguments += ["--weights", start, "--epochs", info["epochs"], "--batch-size", info["batch"], "--no-shuffle"]
    status, out, err = cli(*arguments, "--learning-rate", info["lr"])
    assert (status, err) == (0, "")
    # Keras 2.2.4 takes Adam's bias correction of step t or of step t + 1, by chance: hence not closer.
    losses = [float(row.split(",")[1]) for row in (run_dir / "history.csv").read_text().splitlines()[1:]]
    np.testing.assert_allclose(losses, reference["epoch_losses"], rtol=1e-2)
    assert abs(losses[0] / losses[1] - 1) > 0.005
    found = metrics_of(run_dir)
    lines = [line for line in out.splitlines() if line.startswith("RMSE = ")]
    assert len(lines) == info["epochs"] and found["epochs"] == found["best_epoch"] == info["epochs"]
    figures = found["metrics"]
    cutoffs = [f"{name.upper()}@{k}: {figures[f'{name}@{k}_released']}" for name in ("map", "ndcg") for k in (5, 10)]
    assert lines[-1].startswith(f"RMSE = {figures['rmse']} MAE = {figures['mae']} MAP@5: ")
    assert all(part in lines[-1] for part in cutoffs)
    assert "auc" not in figures and not found["baselines"] and "released" in found["ties"]


# --- a run of ours, and its weights --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(raw, tmp_path_factory):
    """A small run by songs with sigmoid gates; tracing TensorFlow's functions takes longer than the run itself."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    arguments = ["--data-dir", raw, "--run-dir", folder, *SMALL, "--deterministic", "--epochs", 3]
    arguments += ["--batching", "songs", "--batch-size", 4]
    arguments += ["--variant", "dot", "--cell", "lstm", "--gate-activation", "sigmoid", "--learning-rate", 0.05]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["seer/train.py", *map(str, arguments)])
        tf.config.run_functions_eagerly(True)
        run_script(main, SeerOptions)
        tf.config.run_functions_eagerly(False)
    return folder


def test_a_run_directory_holds_what_is_needed(trained, raw):
    names = {path.name for path in trained.iterdir()}
    expected = {"options.json", "metrics.json", "history.csv", "curves.png", "comparison.png", "report.md"}
    assert names == expected | {"model.weights.h5", "checkpoint.npz", "predictions.npz", "tensorboard"}
    assert list((trained / "tensorboard").glob("events*"))
    found, run = metrics_of(trained), read_run(trained)
    assert found["protocol"] == "corrected" and found["seed"] == 1 and found["details"]["relevant"] == "rating >= 3"
    assert found["paper"].startswith("SeER") and "scikit-learn" in found["versions"]
    dataset = found["dataset"]
    assert dataset["counts"] == {"users": USERS, "songs": SONGS, "ratings": USERS * SONGS, "steps": STEPS}
    assert (dataset["name"], dataset["synthetic"]) == ("tiny", False) and len(dataset["fingerprint"]) == 64
    assert {"split", "ranking", "ties", "seconds", "train_seconds", "epochs", "best_epoch"} <= set(found)
    assert {"rmse", "mae", "map@10", "ndcg@10", "auc", "map@10_released", "map@10_v2"} <= set(found["metrics"])
    assert found["baselines"] == {}
    assert found["details"]["architecture"]["gate_activation"] == run["architecture"]["gate_activation"] == "sigmoid"
    assert run["options"]["data_dir"] == str(raw) and run["options"]["sequence_length"] == 6
    history = (trained / "history.csv").read_text().splitlines()
    assert history[0] == "epoch,loss,examples_per_second,val_rmse" and len(history) == 4


@pytest.mark.usefixtures("eagerly")
def test_weights_of_a_run_reproduce_its_figures_and_start_another(trained, raw, tmp_path, cli, monkeypatch):
    monkeypatch.chdir(trained)  # a bare file name is a path, too
    data = ["--data-dir", raw, "--weights", "model.weights.h5", "--deterministic"]
    status, _, err = cli(*data, "--epochs", 0, "--run-dir", tmp_path / "again")
    assert (status, err) == (0, "")
    before, again = metrics_of(trained), metrics_of(tmp_path / "again")
    assert again["metrics"] == before["metrics"] and again["model"] == "run"
    assert list(again["baselines"]) == ["random", "mean of all ratings", "mean of the song", "popularity"]
    assert_same_arrays(arrays_of(tmp_path / "again" / "predictions.npz"), arrays_of(trained / "predictions.npz"))

    # One epoch of tiny steps leaves the weights, one of larger steps improves them.
    status, _, err = cli(
        *data, *("--epochs", 1, "--run-dir", tmp_path / "on", "--no-baselines"), "--learning-rate", 1e-9
    )
    assert (status, err) == (0, "")
    assert read_run(tmp_path / "on")["architecture"]["gate_activation"] == "sigmoid"
    ours, theirs = (arrays_of(folder / "predictions.npz")["predicted"] for folder in (tmp_path / "on", trained))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.slow
def test_mixed_float16_and_one_mirrored_device_evaluate_and_train_alike(trained, raw, tmp_path, cli):
    data = ["--data-dir", raw, "--no-baselines", "--deterministic"]
    weights = ["--weights", trained / "model.weights.h5", "--epochs", 0]
    status, _, err = cli(*data, *weights, "--precision", "mixed_float16", "--run-dir", tmp_path / "half")
    assert (status, err) == (0, "")
    exact, half = metrics_of(trained)["metrics"], metrics_of(tmp_path / "half")["metrics"]
    assert half["rmse"] == pytest.approx(exact["rmse"], rel=0.02) and half["rmse"] != exact["rmse"]

    run_dir = tmp_path / "mirrored"
    mirrored = ["--distribute", "mirrored", "--precision", "mixed_float16", "--epochs", 6, "--run-dir", run_dir]
    status, _, err = cli(*data, *SMALL[:-1], 20, *mirrored, "--learning-rate", 0.02)
    assert (status, err) == (0, "")
    losses = [float(row.split(",")[1]) for row in (run_dir / "history.csv").read_text().splitlines()[1:]]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]
    assert {array.dtype for array in weights_of(run_dir / "model.weights.h5").values()} == {np.dtype("float32")}


# --- several devices -----------------------------------------------------------------------------------------------

REPLICAS = """
import common.runtime as runtime
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
import numpy as np
from common.optimizers import make_optimizer
from common.training import Trainer
from seer.training import PairBatches, SongBatches
from seer.preprocess import Ratings
from seer.model import Architecture, Networks

rng = np.random.default_rng(0)
# Small values: large ones saturate the gates, their gradients are rounding noise, and Adam makes steps of it.
midi = rng.integers(0, 3, (3, 4, 4)).astype(np.uint8)
ratings = Ratings(rng.integers(0, 9, 61), rng.integers(0, 3, 61), rng.integers(1, 6, 61).astype(np.float32))
strategies = {name: runtime.strategy(name) for name in ("none", "mirrored")}
assert [strategy.num_replicas_in_sync for strategy in strategies.values()] == [1, 2]

def fit(distribute, batching, cell, dropout=0.0, policy="float32", epochs=2, midi=midi, clip=None):
    '''61 ratings by 12 and 3 songs by 2: the last batch is one rating or one song, and one device gets nothing.'''
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(1)
    with strategies[distribute].scope():
        seer = Networks(Architecture(9, 4, "concat", cell, 4, channels=2, dropout=dropout))
        optimizer = make_optimizer("sgd" if clip else "adam", 0.01, policy == "mixed_float16", clip)
        trainer = Trainer(seer.model, optimizer, 1, jit=False)
    kind, size = {"pairs": (PairBatches, 12), "songs": (SongBatches, 2)}[batching]
    tf.config.run_functions_eagerly(distribute == "none")  # one device is faster without tracing
    trainer.fit(kind(ratings, midi, size, 1, parts=2 if distribute == "mirrored" else 1), epochs, quiet=True)
    return [row["loss"] for row in trainer.progress.history], seer.model.get_weights()

for batching, cell, clip in (("pairs", "lstm", None), ("songs", "rnn", 0.05)):
    one = fit("none", batching, cell, clip=clip)
    two = fit("mirrored", batching, cell, clip=clip)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-5)
    for a, b in zip(one[1], two[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6, rtol=0)
# Large values: at first gradients overflow float16, on one device or the other.
losses, weights = fit("mirrored", "pairs", "lstm", 0.3, "mixed_float16", 4, midi=midi * 60)
assert np.isfinite(losses).all() and losses[-1] < losses[0], losses
print("as on one device")
"""


@pytest.mark.slow
def test_two_devices_equal_one():
    done = subprocess.run(
        [sys.executable, "-c", REPLICAS],
        cwd=PROJECT, env=environment(), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout == "as on one device\n", done.stderr[-3000:]


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(trained, raw, tmp_path_factory):
    """Files that the mistakes below name."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "full").mkdir()
    (folder / "full" / "notes.txt").write_text("mine")
    (folder / "text.h5").write_text("no weights")
    shutil.copytree(trained, folder / "run")
    (folder / "alone").mkdir()
    shutil.copy(trained / "model.weights.h5", folder / "alone")
    for name, change in (("foreign", {"architecture": None}), ("strange", {"architecture": {"colour": "red"}})):
        shutil.copytree(trained, folder / name)
        content = read_run(trained) | change
        if change["architecture"] is None:
            del content["architecture"]
        (folder / name / "options.json").write_text(json.dumps(content))
    shutil.copytree(trained, folder / "wider")
    wider = read_run(trained)
    wider["architecture"]["latent_features"] = 7
    (folder / "wider" / "options.json").write_text(json.dumps(wider))
    write_raw(folder / "other", seed=1)
    rnn = {"kernel": np.zeros((32, 16)), "recurrent_kernel": np.zeros((4, 16)), "bias": np.zeros(16)}
    midi = np.array(json.loads((raw / "midi_array.txt").read_text()), np.float32)
    good = {"embedding_user": {"embeddings": np.zeros((USERS, 4))}, "LSTM_1": rnn}
    good |= {"flat_song_feature_input": {"embeddings": midi}}
    write_keras2(folder / "good.h5", good)
    write_keras2(folder / "users.h5", good | {"embedding_user": {"embeddings": np.zeros((USERS + 1, 4))}})
    write_keras2(folder / "songs.h5", good | {"flat_song_feature_input": {"embeddings": midi[::-1]}})
    write_keras2(folder / "model.h5", {"conv2d_1": {"kernel": np.zeros((3, 3))}})
    return folder


@pytest.mark.usefixtures("eagerly")
def test_without_a_liked_song_in_the_test_figures_are_null_and_all_is_written(raw, trained, tmp_path, cli):
    clone = tmp_path / "SeER_Keras"
    shutil.copytree(raw, clone / "Data")  # as in a clone of the released code
    ratings = [line.split() for line in (raw / "triplets.txt").read_text().splitlines()]
    (clone / "Data" / "triplets.txt").write_text("".join(f"{u} {s} {min(int(r), 2)}\n" for u, s, r in ratings))
    arguments = ["--data-dir", clone, *SMALL, "--epochs", 1, "--deterministic", "--run-dir", tmp_path / "run"]
    status, out, err = cli(*arguments)
    assert (status, err) == (0, "")
    found = metrics_of(tmp_path / "run")
    assert found["dataset"]["name"] == "SeER_Keras"
    without = ["map@10", "ndcg@10", "recall@10", "map@100", "ndcg@100", "recall@100", "mrr@10", "auc"]
    assert all(found["metrics"][name] is None for name in without)
    assert all(found["metrics"][name] is not None for name in ("rmse", "mae", "map@10_released", "ndcg@10_released"))
    report = (tmp_path / "run" / "report.md").read_text()
    for text in (" ".join(out.split()), report.replace("**", "")):
        assert "Warning: only 60 test ratings: the figures say little (expected 100 or more)." in text
        assert "Warning: no test rating reaches --interaction-threshold 3: nothing can be found." in text
        assert "No value (null in metrics.json): map@10, ndcg@10, recall@10" in text
    assert {path.name for path in (tmp_path / "run").iterdir()} == {path.name for path in trained.iterdir()}


@pytest.mark.usefixtures("eagerly")
def test_gates_of_given_weights_are_named_in_report_and_metrics(files, raw, tmp_path, cli):
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as archive:
        archive.write(files / "good.h5", "good.h5")
    given = ["--data-dir", raw, "--weights", tmp_path / "good.zip", "--no-baselines", "--deterministic"]
    gates, run_dir = "sigmoid (--gate-activation)", tmp_path / "run"
    status, out, err = cli(*given, "--gate-activation", "sigmoid", "--epochs", 0, "--run-dir", run_dir)
    assert (status, err) == (0, "")
    assert metrics_of(run_dir)["details"]["gates"] == {str(tmp_path / "good.zip"): gates}
    for text in (out, (run_dir / "report.md").read_text()):
        assert f"good.zip: its RNN has {gates} gates." in text
    run_dir = tmp_path / "on"
    status, out, err = cli(*given, "--gate-activation", "sigmoid", "--epochs", 1, "--run-dir", run_dir)
    assert (status, err) == (0, "") and "Started from good.zip: its RNN has sigmoid" in out
    assert read_run(run_dir)["architecture"]["gate_activation"] == "sigmoid"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--variant both", "both"),
        ("--latent-feature 3", "--latent-feature"),
        ("--latent-features 0", "--latent-features is 0; it must lie in 1..4096"),
        ("--channels 17", "--channels is 17; it must lie in 1..16"),
        ("--dropout 1", "--dropout is 1.0; it must be at least 0 and below 1"),
        ("--dropout nan", "--dropout is nan"),
        ("--interaction-threshold 6", "--interaction-threshold is 6.0; ratings lie in 1..5"),
        ("--sequence-length 11", "--sequence-length is 11, but the songs of this dataset have 10 steps"),
        ("--data-dir {f}/full", "lacks triplets.txt"),
        ("--run-dir {f}/text.h5", "--run-dir {f}/text.h5: "),
        ("--run-dir {f}/text.h5/below", "--run-dir {f}/text.h5/below: "),
        ("--weights {f}/good.h5 {f}/good.h5", "training starts from one file of --weights"),
        ("--epochs 0 --weights {f}/full", "--weights {f}/full: a folder, not a file"),
        ("--epochs 0 --weights {f}/text.h5", "text.h5: cannot be read as HDF5 weights"),
        ("--epochs 0 --weights {f}/model.h5", "model.h5: unknown layers conv2d_1"),
        ("--epochs 0 --weights {f}/good.h5 {f}/text.h5", "text.h5: cannot be read as HDF5 weights"),
        ("--epochs 0 --weights {f}/users.h5", "layer embedding_user holds 26 users but the dataset has 25"),
        ("--epochs 0 --weights {f}/songs.h5", "layer flat_song_feature_input, song 0 differs from the dataset's"),
        ("--epochs 0 --weights {f}/good.h5 --cell gru", "good.h5 holds cell = lstm, but --cell is gru; leave it out"),
        (
            "--epochs 0 --weights {f}/good.h5 --sequence-length 5",
            "holds sequence_length = 10, but --sequence-length is 5",
        ),
        ("--epochs 1 --weights {f}/good.h5 --variant concat", "holds variant = dot, but --variant is concat"),
        (
            "--epochs 0 --weights {f}/run/model.weights.h5 --gate-activation hard_sigmoid",
            "holds gate_activation = sigmoid, but --gate-activation is hard_sigmoid; leave it out",
        ),
        ("--epochs 0 --weights {f}/alone/model.weights.h5", "alone/options.json: cannot be read"),
        ("--epochs 0 --weights {f}/foreign/model.weights.h5", "options.json: not a run of seer/train.py"),
        ("--epochs 0 --weights {f}/strange/model.weights.h5", "options.json: not a run of seer/train.py"),
        ("--epochs 0 --weights {f}/wider/model.weights.h5", "do not fit the model of the run's options.json"),
        ("--epochs 0 --weights {f}/run/model.weights.h5 --data-dir {f}/other", "trained on the dataset tiny"),
        ("--epochs 0 --weights {f}/run/checkpoint.npz", "checkpoint.npz: cannot be read as HDF5 weights"),
    ],
)
def test_mistakes_end_in_one_line(arguments, message, files, raw, tmp_path, cli):
    words = arguments.format(f=files).split()
    words += [] if "--data-dir" in words else ["--data-dir", raw]
    words += [] if "--run-dir" in words else ["--run-dir", tmp_path / "run"]
    status, out, err = cli(*words)
    assert (status, out) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and message.format(f=files) in err, err
    assert not (tmp_path / "run").exists()
    assert [path.name for path in (files / "full").iterdir()] == ["notes.txt"]


def test_every_option_has_help(cli):
    status, out, err = cli("--help")
    text = " ".join(out.replace("│", " ").split())
    assert (status, err) == (0, "") and "Train SeER" in text
    for field in dataclasses.fields(SeerOptions):
        usage = re.search(rf" --{field.name.replace('_', '-')}[ ,](.*?)( --[a-z-]+[ ,]|$)", text)
        assert (usage and len(usage[1]) > 20) or field.type == "bool", field.name
    assert "default: None" not in text and text.count("paper") > 12
