"""The command ``python session_transformers/train.py`` as a user runs it: every model, its figures, mistakes."""

import json
import shutil
from dataclasses import asdict, fields
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from common.command import parse
from common.mssd.sample import SessionSampleOptions, write_sample
from common.testing import NOISE, in_process, metrics_of
from session_transformers.architecture import CORRECTED, DEFAULTS, RELEASED, Switches
from session_transformers.options import SessionOptions
from session_transformers.preprocess import load_dataset
from session_transformers.preprocess_test import HEADER, log_rows
from session_transformers.recurrent.word2vec import Word2VecOptions, fit_vectors
from session_transformers.released import to_torch, write_arrays
from session_transformers.train import main
from session_transformers.weights import WEIGHTS, load_network, make_network

pytestmark = pytest.mark.usefixtures("eagerly")

SMALL = ("--width", 32, "--feed-forward", 16, "--encoder-layers", 1, "--decoder-layers", 1, "--heads", 2)
FAST = ("--deterministic", "--epochs", 1, "--batch-size", 64)  # deterministic: nothing is compiled, which takes longest
FILES = {
    "metrics.json", "options.json", "vocabulary.json", "report.md", "history.csv", "curves.png", "checkpoint.npz",
    "model.weights.h5", "tensorboard", "comparison.png",
}  # fmt: skip


def write_small(folder, seed=7):
    write_sample(folder, SessionSampleOptions(folder, sessions=200, tracks=100, days=2, seed=seed))
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory, private_data):
    return write_small(tmp_path_factory.mktemp("mssd"))


@pytest.fixture
def cli(monkeypatch, capsys):
    yield in_process(monkeypatch, capsys, main, SessionOptions)
    keras.config.set_dtype_policy("float32")


class Runs:
    """Runs that several tests need, each trained when it is first asked for."""

    def __init__(self, raw: Path, folder: Path) -> None:
        self.raw, self.folder = raw, folder

    def __call__(self, protocol: str, model: str, task: str) -> Path:
        folder = self.folder / f"{protocol} {model} {task}"
        if not folder.exists():
            arguments = [
                "--data-dir",
                self.raw,
                *SMALL,
                *FAST,
                "--protocol",
                protocol,
                "--model",
                model,
                "--task",
                task,
            ]
            arguments += ["--bert", self(protocol, "bert", "seq")] if model.startswith("bert-") else []
            train([*arguments, "--no-baselines", "--run-dir", folder])
        return folder


def train(arguments):
    return main(parse(SessionOptions, list(map(str, arguments))))


@pytest.fixture(scope="module")
def runs(raw, tmp_path_factory):
    return Runs(raw, tmp_path_factory.mktemp("runs"))


def finite(figures):
    return bool(figures) and all(np.isfinite(value) for value in figures.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "model", "task"),
    [("corrected", *key) for key in DEFAULTS] + [("released", "bert-augmented-dropnet", "seq")],
)
def test_every_model_trains_and_its_weights_reproduce_its_figures(runs, cli, tmp_path, protocol, model, task):
    folder = runs(protocol, model, task)
    names = {path.name for path in folder.iterdir()}
    assert names == FILES
    found = metrics_of(folder)
    assert (found["settings"]["model"], found["task"], found["protocol"]) == (model, task, protocol)
    assert finite(found["metrics"]) and found["epochs"] == found["best_epoch"] == 1
    assert found["details"]["architecture"]["switches"] == asdict(RELEASED if protocol == "released" else CORRECTED)
    assert (
        found["details"]["architecture"]["width"] == 32 and len((folder / "history.csv").read_text().splitlines()) == 2
    )
    if protocol == "released" and model != "transformer":  # their weights are loaded below, as released ones
        return
    again = tmp_path / "again"
    evaluate = ("--data-dir", runs.raw, "--epochs", 0, "--deterministic", "--no-baselines", "--protocol", protocol)
    kind = ("--model", model, "--task", task, "--weights", folder / WEIGHTS)
    status, _, err = cli(*evaluate, *kind, "--run-dir", again)
    assert status == 0, err
    assert (
        metrics_of(again)["metrics"] == found["metrics"]
        and metrics_of(again)["details"]["by_position"] == found["details"]["by_position"]
    )


@pytest.mark.slow
@pytest.mark.parametrize(("model", "task"), [key for key in DEFAULTS if "dropnet" not in key[0]])
def test_a_state_dict_of_the_released_code_gives_the_same_figures(runs, cli, tmp_path, model, task):
    folder = runs("released", model, task)
    vocabulary = len(json.loads((folder / "vocabulary.json").read_text())["ids"])
    write_arrays(tmp_path / "released.npz", to_torch(load_network(folder / WEIGHTS, vocabulary)))
    evaluate = ["--data-dir", runs.raw, "--epochs", 0, "--deterministic", "--no-baselines", "--protocol", "released"]
    evaluate += ["--model", model, "--task", task, "--heads", 2, "--weights", tmp_path / "released.npz"]
    if model.startswith("bert-augmented"):
        status, _, err = cli(*evaluate, "--run-dir", tmp_path / "refused")
        assert status == 2 and "which is not in the file; name it with --bert" in err
        evaluate += ["--bert", runs("released", "bert", "seq")]
    status, _, err = cli(*evaluate, "--run-dir", tmp_path / "run")
    assert status == 0, err
    for name, value in metrics_of(folder)["metrics"].items():
        assert metrics_of(tmp_path / "run")["metrics"][name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.slow
def test_what_a_run_of_tracks_reports(raw, cli, tmp_path):
    folder = tmp_path / "run"
    status, out, err = cli("--data-dir", raw, *SMALL, *FAST, "--run-dir", folder)
    assert status == 0 and not any(word in out + err for word in NOISE), err
    found = metrics_of(folder)
    assert "Khan" in found["paper"] and found["ranking"] == "all tracks of the vocabulary"
    assert found["ties"] == "expected rank" and found["seed"] == 1 and found["seconds"] > found["train_seconds"] > 0
    dataset = found["dataset"]
    assert dataset["synthetic"] and dataset["name"] == raw.name and len(dataset["fingerprint"]) == 64
    assert min(dataset["counts"].values()) > 0 and {"tensorflow", "keras", "numpy"} <= found["versions"].keys()
    for mode in ("free", "forced"):
        for k in (1, 5, 10, 20):
            assert 0 <= found["metrics"][f"{mode}_mrr@{k}"] <= found["metrics"][f"{mode}_recall@{k}"] <= 1
            assert len(found["details"]["by_position"][f"{mode}_recall@{k}_by_position"]) == 10
    assert {"free_maa", "free_accuracy", "free_first_accuracy", "forced_log_loss"} <= found["metrics"].keys()
    assert found["metrics"]["free_recall@1"] == pytest.approx(found["metrics"]["free_accuracy"])
    assert sum(found["details"]["by_position"]["free_sessions_by_number_right"]) == pytest.approx(1)
    assert {"most popular", "Markov", "session-kNN", "repeat last track"} <= found["baselines"].keys()
    low, high = found["intervals"][found["model"]]["free_maa"]
    assert low <= found["metrics"]["free_maa"] <= high and found["tests"]["free_maa"]["baseline"] in found["baselines"]
    assert "synthetic" in out and "(synthetic data)" in (folder / "report.md").read_text()
    assert "forced" in out and "paper: transformer" in out


def test_what_a_run_of_skips_reports(raw, cli, tmp_path):
    folder = tmp_path / "run"
    status, out, err = cli("--data-dir", raw, *SMALL, *FAST, "--task", "skip", "--run-dir", folder)
    assert status == 0 and not any(word in out + err for word in NOISE), err
    found = metrics_of(folder)
    assert found["metrics"].keys() == {"maa", "accuracy", "first_accuracy", "log_loss"} and finite(found["metrics"])
    assert {"all skip", "repeat last skip", "session majority"} <= found["baselines"].keys()
    assert (
        len(found["details"]["by_position"]["accuracy_by_position"]) == 10
        and found["details"]["architecture"]["skip_input"] == "embedding"
    )
    assert "challenge: winner" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("--negatives", 20, "--alpha", 0.5, "--schedule", "cosine", "--warmup", 0.3),
        ("--tied", "--beam", 3, "--forbid-repeats", "--initialisation", "normal", "--clip", 0.5),
        ("--any-length", "--no-track-features", "--validation-share", 0),
        ("--any-length", "--task", "skip"),
        ("--skip-input", "embedding", "--precision", "mixed_bfloat16"),
        ("--skip-input", "token", "--task", "skip", "--precision", "mixed_float16"),
        ("--one-feature-row", "--protocol", "released", "--negatives", 5),
        ("--pretrained-tracks", "--task", "skip", "--protocol", "released"),
    ],
    ids=lambda arguments: " ".join(map(str, arguments)),
)
def test_options(raw, cli, tmp_path, arguments):
    settings = ("--data-dir", raw, *SMALL, *FAST, "--no-baselines", "--run-dir", tmp_path / "run")
    status, out, err = cli(*settings, *arguments)
    assert status == 0 and not any(word in out + err for word in NOISE), err
    assert finite(metrics_of(tmp_path / "run")["metrics"])


@pytest.mark.parametrize(("protocol", "heard"), [("corrected", "all"), ("released", "skipped")])
def test_a_track_embedding_can_start_from_skip_grams(raw, protocol, heard):
    words = ["--pretrained-tracks", "--width", "32", "--heads", "2", "--protocol", protocol]
    options = parse(SessionOptions, words).completed(synthetic=True)
    _, data = load_dataset(raw, options.of_data)
    table = np.asarray(make_network(options, data).embedding.tracks)
    wanted = Word2VecOptions(columns=32 - data.features.shape[1], seed=1, heard=heard)
    tracks = fit_vectors(data.train.tracks, data.train.skips, len(table), data.ids.first_track, wanted, quiet=True)
    assert tracks.any() and np.array_equal(table, tracks)


@pytest.mark.parametrize("bug", [field.name for field in fields(Switches)])
def test_every_bug_can_be_brought_back_alone(bug):
    switches = parse(SessionOptions, ["--bugs", bug]).switches
    assert asdict(switches) == asdict(CORRECTED) | {bug: getattr(RELEASED, bug)} != asdict(CORRECTED)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "task", "bugs"),
    [
        ("transformer", "seq", ("load_features", "equal_layers", "shared_final_norm", "padding_mask")),
        ("transformer", "seq", ("predict_specials",)),
        ("transformer", "skip", ("mask_skips_eval",)),
        ("bert-finetuned", "skip", ("bert_loss_everywhere",)),
        ("bert-augmented", "skip", ("bert_train_mode", "decoder_residual")),
        ("bert-augmented-dropnet", "seq", ("dropnet_eval_random",)),
    ],
    ids=str,
)
def test_models_with_bugs_train(runs, cli, tmp_path, model, task, bugs):
    arguments = ["--data-dir", runs.raw, *SMALL, *FAST, "--no-baselines", "--model", model, "--task", task]
    arguments += ["--bert", runs("corrected", "bert", "seq")] if model.startswith("bert-") else []
    arguments += ["--skip-input", "token"] if "mask_skips_eval" in bugs else []
    status, _, err = cli(*arguments, "--bugs", *bugs, "--run-dir", tmp_path / "run")
    assert status == 0, err
    found = metrics_of(tmp_path / "run")
    expected = asdict(CORRECTED) | {bug: getattr(RELEASED, bug) for bug in bugs}
    assert finite(found["metrics"]) and found["details"]["architecture"]["switches"] == expected


def refused(cli, folder, arguments, words):
    status, _, err = cli(*arguments, "--run-dir", folder)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1, (arguments, err)
    assert words in err, (words, err)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--model", "bert-augmented"), "make one with `python session_transformers/train.py --model bert`"),
        (("--model", "bert-finetuned", "--task", "skip"), "name its folder with --bert"),
        (("--bert", "."), "--model transformer is none of them"),
        (("--model", "bert-augmented", "--bert", "/no/such"), "--bert /no/such: no such folder"),
        (("--model", "bert-augmented", "--bert", "."), "options.json: cannot be read"),
        (("--model", "bert", "--task", "skip"), "--model bert has no --task skip"),
        (("--model", "nothing"), "--model"),
        (("--heads", 3), "width 32 cannot be split among 3 heads"),
        (("--heads", 0), "--heads is 0"),
        (("--width", 16), "leaves nothing for the track's embedding"),
        (("--width", 10**5), "--width is 100000"),
        (("--dropout", 1), "--dropout is 1"),
        (("--bugs", "nothing"), "nothing"),
        (("--bugs", "label_leak"), "label_leak"),
        (("--task", "skip", "--negatives", 3), "--negatives is for --task seq"),
        (("--task", "skip", "--tied"), "only the track sequence has an output that can be tied"),
        (("--warmup", 2), "--warmup is 2"),
        (("--beam", 0), "--beam is 0"),
        (("--beam", 2, "--task", "skip"), "--beam is for --task seq"),
        (("--forbid-repeats", "--model", "bert"), "--forbid-repeats is for --task seq"),
        (("--pretrained-tracks", "--model", "bert-finetuned"), "bert-finetuned has its BERT's"),
        (("--beam", 200), "too small for 200 beams"),
        (("--epochs", 0), "--weights FILE"),
        (("--weights", "/no/such.h5"), "no such file"),
        (("--min-plays", 10**6), "choose a smaller --min-plays"),
        (("--one-feature-row",), "needs --protocol released"),
        (("--data-dir", "/no/such"), "--data-dir /no/such: no such folder"),
        (("--resume",), "holds no run"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_mistakes_end_in_one_line_and_leave_nothing_behind(raw, cli, tmp_path, arguments, words):
    refused(cli, tmp_path / "run", ("--data-dir", raw, *SMALL, *FAST, *arguments), words)


def test_data_that_do_not_do(cli, tmp_path):
    folder = tmp_path / "mssd"
    folder.mkdir()
    settings = ("--data-dir", folder, *SMALL, *FAST)
    refused(cli, tmp_path / "run", settings, "holds no log_*.csv")
    tracks = [f"t{number}" for number in range(12)]
    rows = [log_rows(f"s{number}", tracks) for number in range(60)]
    (folder / "log_0.csv").write_text(HEADER + "".join(rows))
    refused(cli, tmp_path / "run", (*settings, "--min-plays", 1), "sessions need exactly 20 tracks")
    refused(cli, tmp_path / "run", (*settings, "--min-plays", 1, "--any-length"), "there are no track features")
    (folder / "log_0.csv").write_text(HEADER + "".join(rows)[:-30])
    refused(cli, tmp_path / "run", settings, "log_0.csv, line 721")


@pytest.mark.slow
def test_weights_and_berts_of_other_runs_are_refused(runs, cli, tmp_path):
    seq, bert = runs("corrected", "transformer", "seq"), runs("corrected", "bert", "seq")
    other = write_small(tmp_path / "other", seed=8)
    mine, theirs = (("--data-dir", folder, "--epochs", 0, "--deterministic") for folder in (runs.raw, other))
    weights = ("--weights", seq / WEIGHTS)
    npz = tmp_path / "released.npz"
    vocabulary = len(json.loads((seq / "vocabulary.json").read_text())["ids"])
    arrays = to_torch(load_network(seq / WEIGHTS, vocabulary))
    write_arrays(npz, arrays)
    short = tmp_path / "short.npz"
    write_arrays(short, arrays | {"pos_embed.weight": arrays["pos_embed.weight"][:5]})
    nothing = tmp_path / "nothing.npz"
    np.savez(nothing, Wy=np.zeros((3, 2), np.float32))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK\3\4 no npz")
    stray = tmp_path / "stray.weights.h5"
    shutil.copy(seq / WEIGHTS, stray)
    released = ("--protocol", "released")
    cases = [
        ((*theirs, *weights), "was trained on other tracks"),
        ((*mine, *weights, *released), "is of a run of --protocol corrected, which numbers the tracks otherwise"),
        ((*mine, *weights, "--task", "skip"), "of --model transformer --task seq, not of transformer skip"),
        ((*mine, *weights, "--model", "bert"), "not of bert seq"),
        ((*mine, *weights, "--heads", 4), "--heads is 2 there, not 4"),
        ((*mine, *weights, "--tied"), "is not --tied"),
        ((*mine, *weights, "--bugs", "equal_layers"), "was not trained with these --bugs"),
        ((*mine, "--weights", stray), "options.json: cannot be read"),
        ((*mine, "--weights", npz), "add --protocol released"),
        ((*mine, "--weights", npz, *released, "--heads", 2), "ids, the dataset has"),
        ((*mine, "--weights", short, *released, "--heads", 2), "for halves of 5 tracks"),
        ((*mine, "--weights", npz, *released, "--heads", 3), "width 32 cannot be split among 3 heads"),
        ((*mine, "--weights", nothing, *released), "nothing.npz: not weights of a session transformer"),
        ((*mine, "--weights", broken, *released), "cannot be read"),
        ((*theirs, *FAST, *SMALL, "--model", "bert-augmented", "--bert", bert), "was trained on other tracks"),
        ((*mine, *FAST, *SMALL, "--model", "bert-augmented", "--bert", seq), "its model is transformer"),
        ((*mine, *FAST, "--model", "bert-augmented", "--bert", bert, "--width", 64), "BERT is 32 wide, the model 64"),
    ]
    for arguments, words in cases:
        refused(cli, tmp_path / "refused", arguments, words)


@pytest.mark.slow
def test_damaged_files_of_a_run(runs, cli, tmp_path):
    whole = runs("corrected", "bert", "seq")
    damages = [
        ("options.json", "", "cannot be read"),
        ("options.json", '{"options": {}}', "names no vocabulary"),
        (WEIGHTS, "no weights", "do not fit the model"),
        (WEIGHTS, None, "the run is not finished"),
    ]
    settings = ("--data-dir", runs.raw, *SMALL, *FAST, "--model", "bert-finetuned")
    for number, (name, content, words) in enumerate(damages):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        (folder / name).unlink()
        if content is not None:
            (folder / name).write_text(content)
        refused(cli, tmp_path / "refused", (*settings, "--bert", folder), words)
    folder = tmp_path / "nan"
    shutil.copytree(whole, folder)
    with h5py.File(folder / WEIGHTS, "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        large = max((item for item in found if item.dtype.kind == "f"), key=lambda item: item.size)
        large.write_direct(np.full(large.shape, np.nan, np.float32))
    refused(cli, tmp_path / "refused", (*settings, "--bert", folder), "do not fit the model")


@pytest.mark.slow
def test_a_run_that_diverges_says_so(raw, cli, tmp_path):
    status, _, err = cli("--data-dir", raw, *SMALL, *FAST, "--learning-rate", 1e30, "--run-dir", tmp_path / "run")
    assert status == 2 and err.count("\n") == 1 and "try a smaller --learning-rate" in err
    assert not (tmp_path / "run" / WEIGHTS).exists()


def test_a_folder_that_is_not_empty_is_kept(raw, cli, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    status, _, err = cli("--data-dir", raw, *SMALL, *FAST, "--run-dir", tmp_path)
    assert status == 2 and err.count("\n") == 1 and "is not empty" in err
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
