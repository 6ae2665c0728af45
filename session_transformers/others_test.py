"""``train.py`` and ``recommend.py`` with the models that are no transformers: recurrent, auto-encoder, ddpg."""

import json
import shutil
import sys
from dataclasses import asdict

import keras
import numpy as np
import pytest

from common import experiment, report
from common.command import parse, run_script
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError
from common.reporting.comparison import ReportOptions
from common.reporting.comparison import main as compare_runs
from common.reporting.schema import faults
from common.testing import metrics_of
from session_transformers.options import SessionOptions
from session_transformers.predictors import rule_in_words
from session_transformers.recommend import RecommendOptions
from session_transformers.recommend import main as recommend
from session_transformers.recurrent.architecture import CORRECTED_RECURRENT, RELEASED_RECURRENT
from session_transformers.recurrent.released import recurrent_to_torch
from session_transformers.reinforcement.options import CORRECTED_DDPG, RELEASED_DDPG
from session_transformers.released import write_arrays
from session_transformers.train import main
from session_transformers.weights import WEIGHTS, load_network

pytestmark = pytest.mark.usefixtures("eagerly")

FAST = ("--deterministic", "--no-baselines", "--epochs", 1)
DDPG = ("--ddpg.embedding", 4, "--ddpg.hidden", 6, "--ddpg.walks", 32, "--ddpg.round-steps", 128, "--ddpg.buffer", 512)
DDPG += ("--batch-size", 32)
SIZES = {
    "transformer": ("--width", 32, "--feed-forward", 8, "--encoder-layers", 1, "--decoder-layers", 1, "--heads", 2),
    "lstm": ("--units", 6),
    "lstm-padding": ("--units", 6),
    "lstm-w2v": ("--units", 6, "--vectors", 4),
    "bigru": ("--units", 6, "--vectors", 4),
    "autoencoder": (),
    "ddpg": DDPG,
}
KINDS = [
    ("lstm", "skip"), ("lstm-padding", "skip"), ("lstm-w2v", "skip"), ("bigru", "skip"), ("lstm", "seq"),
    ("lstm-w2v", "seq"), ("autoencoder", "skip"), ("ddpg", "skip"), ("ddpg", "seq"),
]  # fmt: skip
TRACKS = {"free_maa", "free_accuracy", "free_first_accuracy"}
SKIPS = {"maa", "accuracy", "first_accuracy"}


@pytest.fixture(scope="module")
def raw(tmp_path_factory, private_data):
    folder = tmp_path_factory.mktemp("mssd")
    write_sample(folder, SessionSampleOptions(folder, sessions=120, tracks=100, days=2, seed=7))
    return folder


@pytest.fixture(autouse=True)
def pictures(monkeypatch):
    """Leave empty files instead of pictures, which take longer to draw than a tiny run."""
    for module, name in ((experiment, "plot_curves"), (report, "plot_comparison")):
        monkeypatch.setattr(module, name, lambda path, *_: path.touch())


def train(*arguments):
    return main(parse(SessionOptions, list(map(str, arguments))))


class Runs:
    """Runs that several tests need, each trained when it is first asked for."""

    def __init__(self, raw, folder):
        self.raw, self.folder = raw, folder

    def __call__(self, model, task, protocol="corrected"):
        folder = self.folder / f"{protocol} {model} {task}"
        if not folder.exists():
            kind = ("--model", model, "--task", task, "--protocol", protocol)
            train("--data-dir", self.raw, *FAST, *kind, *SIZES[model], "--run-dir", folder)
        return folder

    def again(self, model, task, weights, folder, protocol="corrected", *more):
        """The figures with given weights."""
        kind = ("--model", model, "--task", task, "--protocol", protocol, "--weights", weights, *more)
        train("--data-dir", self.raw, *FAST, "--epochs", 0, *kind, "--run-dir", folder)
        return metrics_of(folder)


@pytest.fixture(scope="module")
def runs(raw, tmp_path_factory):
    return Runs(raw, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def refused(raw, tmp_path, monkeypatch, capsys):
    """Run the script as a user does; it must end in one line that holds ``words`` and leave nothing behind."""

    def run(words, *arguments):
        folder = tmp_path / "refused"
        given = ["--data-dir", raw, *FAST, *arguments, "--run-dir", folder]
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, given)])
        with pytest.raises(SystemExit) as stop:
            run_script(main, SessionOptions)
        keras.config.set_dtype_policy("float32")
        err = capsys.readouterr().err
        assert stop.value.code == 2 and err.startswith("error: ") and err.count("\n") == 1, (arguments, err)
        assert words in err and not folder.exists(), (words, err)

    return run


@pytest.mark.parametrize(("model", "task"), KINDS)
def test_every_model_trains_and_its_weights_reproduce_its_figures(runs, tmp_path, model, task):
    folder = runs(model, task)
    found = metrics_of(folder)
    assert faults(found) == []
    assert (found["settings"]["model"], found["task"], found["protocol"], found["epochs"]) == (
        model,
        task,
        "corrected",
        1,
    )
    figures = found["metrics"]
    assert figures.keys() >= (SKIPS if task == "skip" else TRACKS) and np.isfinite(list(figures.values())).all()
    maa = "maa" if task == "skip" else "free_maa"
    low, high = found["intervals"][found["model"]][maa]
    assert low <= figures[maa] <= high and set(found["intervals"][found["model"]]) >= set(figures) - {"forced_log_loss"}
    assert (
        len(found["details"]["by_position"]["accuracy_by_position" if task == "skip" else "free_accuracy_by_position"])
        == 10
    )
    kept = {path.name for path in folder.iterdir()}
    assert kept >= {"options.json", "vocabulary.json", "report.md", "comparison.png", WEIGHTS}
    again = runs.again(model, task, folder / WEIGHTS, tmp_path / "again")
    assert again["metrics"] == figures
    assert again["details"]["by_position"] == found["details"]["by_position"]
    assert again["intervals"][again["model"]][maa] == pytest.approx([low, high])


def test_recurrent_figures_are_those_of_a_network(runs):
    skips, tracks = (metrics_of(runs("lstm", task)) for task in ("skip", "seq"))
    assert skips["metrics"].keys() == SKIPS | {"log_loss"}
    for mode in ("free", "forced"):
        assert 0 <= tracks["metrics"][f"{mode}_mrr@20"] <= tracks["metrics"][f"{mode}_recall@20"] <= 1
    assert tracks["metrics"]["forced_log_loss"] > 0 and tracks["best_epoch"] == 1
    assert tracks["details"]["architecture"]["units"] == 6
    assert skips["details"]["architecture"]["switches"] == asdict(CORRECTED_RECURRENT)


def test_ddpg_ranks_candidates_under_names_of_their_own(runs):
    skips, tracks = (metrics_of(runs("ddpg", task)) for task in ("skip", "seq"))
    assert tracks["metrics"].keys() >= {"hit@10_of_100", "ndcg@10_of_100"} and skips["metrics"].keys() == SKIPS
    for found in (skips, tracks):
        assert found["deviations"] == [] and found["details"]["validation"]
        assert found["details"]["steps"] == 128 and found["details"]["parameters"] > 0
        assert found["settings"]["ddpg"]["embedding"] == 4


def test_ddpg_stands_beside_baselines_that_rank_the_same_candidates(raw, runs, tmp_path):
    weights = runs("ddpg", "seq") / WEIGHTS
    kind = ("--model", "ddpg", "--task", "seq", "--epochs", 0, "--weights", weights)
    found = train("--data-dir", raw, "--deterministic", *kind, "--run-dir", tmp_path / "run")
    for name in ("start vectors alone", "Markov", "session-kNN", "repeat last track", "most popular"):
        row = found["baselines"][name]
        assert 0 < row["hit@1_of_100"] <= row["hit@10_of_100"] <= 1 and 0 <= row["free_maa"] <= 1
    report = (tmp_path / "run" / "report.md").read_text()
    assert "hit@10_of_100" in report and "start vectors alone: the track with" in report


def test_a_rule_that_is_repeat_last_skip_says_so(runs, tmp_path):
    folder = runs("autoencoder", "skip")
    found, report = metrics_of(folder), (folder / "report.md").read_text()
    assert (found["details"]["turned_share"] == 0) == ('the rule is "repeat last skip"' in report)
    assert rule_in_words(-1.42, 0.0).startswith("The threshold, -1.42, lies below every similarity")
    assert rule_in_words(0.1, 0.25).startswith("Of the tracks of the test part 25.0% lie below the threshold, 0.10")


def test_titles_name_protocol_and_deviations_and_a_leak_is_seen(raw, runs, tmp_path):
    plain, released = runs("lstm", "skip"), runs("lstm", "skip", "released")
    title, positions, *_ = _headings(released)
    assert title.startswith("# Session transformers, lstm-skip-released-") and title.endswith(
        ", released protocol (synthetic data)"
    )
    assert positions == "## Accuracy by position of the second half"
    text = (released / "report.md").read_text()
    row = [line for line in text.splitlines() if line.startswith("| lstm (skip, released protocol) |")][1]
    shown = [float(value) for value in row.strip("| ").split(" | ")[1:]]
    assert shown == pytest.approx(metrics_of(released)["details"]["by_position"]["accuracy_by_position"], abs=1e-4)
    assert "begins with the true skip of the last position (B8)" in text
    assert "protocol" not in _headings(plain)[0] and "by position" not in str(_headings(plain))
    given = ("--data-dir", raw, *FAST, "--model", "lstm", "--task", "skip", *SIZES["lstm"], "--bugs", "label_leak")
    assert train(*given, "--run-dir", tmp_path / "leak")["deviations"] == ["label_leak"]
    assert _headings(tmp_path / "leak")[0].endswith(", with label_leak (synthetic data)")
    groups = compare_runs(ReportOptions((released,))) + compare_runs(ReportOptions((plain, tmp_path / "leak")))
    assert [group.title.split(", ", 2)[2] for group in groups] == [
        f"{raw.name} (synthetic data), released protocol",
        f"{raw.name} (synthetic data)",
    ]
    assert list(groups[1].rows) == ["corrected lstm skip", "leak (with label_leak)"]


def _headings(folder):
    return [line for line in (folder / "report.md").read_text().splitlines() if line.startswith("#")]


@pytest.mark.parametrize(
    ("model", "task"), [("lstm", "skip"), ("lstm-padding", "skip"), ("bigru", "skip"), ("lstm-w2v", "seq")]
)
def test_a_state_dict_of_the_released_recurrent_code_gives_the_same_figures(runs, tmp_path, model, task):
    folder = runs(model, task, "released")
    found = metrics_of(folder)
    assert found["details"]["architecture"]["switches"] == asdict(RELEASED_RECURRENT)
    vocabulary = len(json.loads((folder / "vocabulary.json").read_text())["ids"])
    write_arrays(tmp_path / "released.npz", recurrent_to_torch(load_network(folder / WEIGHTS, vocabulary)))
    again = runs.again(model, task, tmp_path / "released.npz", tmp_path / "run", "released")
    assert again["metrics"] == pytest.approx(found["metrics"], rel=1e-5)


@pytest.mark.parametrize(("model", "task"), [("autoencoder", "skip"), ("ddpg", "skip"), ("ddpg", "seq")])
def test_released_behaviour_of_the_others(runs, tmp_path, model, task):
    folder = runs(model, task, "released")
    found = metrics_of(folder)
    assert found["protocol"] == "released" and np.isfinite(list(found["metrics"].values())).all()
    if model == "autoencoder":
        assert found["details"]["threshold"] == -0.3
    else:
        described = json.loads((folder / "options.json").read_text())["architecture"]["options"]
        noise = {"skip": "bernoulli", "seq": "none"}[task]
        assert described["switches"] == asdict(RELEASED_DDPG) and described["noise"] == noise
        assert described["embedding"] == 4
    again = runs.again(model, task, folder / WEIGHTS, tmp_path / "again", "released")
    assert again["metrics"] == found["metrics"]


def test_one_bug_can_be_brought_back_alone(raw, tmp_path):
    given = ("--data-dir", raw, *FAST, "--task", "skip")
    leaky = train(*given, "--model", "lstm", *SIZES["lstm"], "--bugs", "label_leak", "--run-dir", tmp_path / "lstm")
    assert leaky["details"]["architecture"]["switches"] == asdict(CORRECTED_RECURRENT) | {"label_leak": True}
    train(*given, "--model", "ddpg", *DDPG, "--bugs", "real_next_state", "--run-dir", tmp_path / "ddpg")
    described = json.loads((tmp_path / "ddpg" / "options.json").read_text())["architecture"]["options"]
    assert described["switches"] == asdict(CORRECTED_DDPG) | {"real_next_state": False}


def test_weights_of_another_model_are_refused(runs, refused, tmp_path):
    def weights(model, task="skip"):
        return runs(model, task) / WEIGHTS

    def evaluate(words, model, task, path, *more):
        refused(words, "--epochs", 0, "--model", model, "--task", task, "--weights", path, *more)

    evaluate("of --model lstm --task skip, not of lstm-padding skip", "lstm-padding", "skip", weights("lstm"))
    evaluate("of --model lstm-padding --task skip, not of lstm skip", "lstm", "skip", weights("lstm-padding"))
    evaluate("not of lstm seq", "lstm", "seq", weights("lstm"))
    evaluate("of --model lstm --task seq, not of transformer seq", "transformer", "seq", weights("lstm", "seq"))
    evaluate("of --model transformer --task seq", "lstm", "seq", weights("transformer", "seq"))
    evaluate("--units is 6 there, not 7", "lstm", "skip", weights("lstm"), "--units", 7)
    evaluate("was not trained with these --bugs", "lstm", "skip", weights("lstm"), "--bugs", "label_leak")
    evaluate("of --model ddpg --task seq, not of transformer seq", "transformer", "seq", weights("ddpg", "seq"))
    evaluate("of --model autoencoder --task skip, not of lstm skip", "lstm", "skip", weights("autoencoder"))
    evaluate("of --model ddpg --task skip, not of autoencoder skip", "autoencoder", "skip", weights("ddpg"))
    evaluate("of --model lstm --task skip, not of autoencoder skip", "autoencoder", "skip", weights("lstm"))
    evaluate("of --model autoencoder --task skip, not of ddpg skip", "ddpg", "skip", weights("autoencoder"))
    evaluate("of --model ddpg --task seq, not of ddpg skip", "ddpg", "skip", weights("ddpg", "seq"))
    evaluate("leave out --ddpg.*", "ddpg", "skip", weights("ddpg"), "--ddpg.embedding", 5)
    evaluate("leave out --ddpg.* and --bugs", "ddpg", "skip", weights("ddpg"), "--bugs", "done_at_end")
    other = "is of a run of --protocol corrected, which numbers the tracks otherwise"
    evaluate(other, "autoencoder", "skip", weights("autoencoder"), "--protocol", "released")
    evaluate(other, "ddpg", "skip", weights("ddpg"), "--protocol", "released")
    released = runs("lstm", "skip", "released") / WEIGHTS
    evaluate("is of a run of --protocol released, which", "lstm", "skip", released)
    evaluate("than --protocol corrected does; add --protocol released", "lstm", "skip", released)
    for model in ("autoencoder", "ddpg"):
        words = "does not train on from given ones; evaluate them with --epochs 0"
        evaluate(words, model, "skip", weights(model), "--epochs", 1)
    stray = tmp_path / "stray"
    shutil.copytree(runs("ddpg", "skip"), stray)
    shutil.copy(runs("lstm", "skip") / WEIGHTS, stray / WEIGHTS)
    evaluate("do not fit the model", "ddpg", "skip", stray / WEIGHTS)


def test_released_weights_of_another_recurrent_model_are_refused(runs, refused, tmp_path):
    folder = runs("lstm", "skip", "released")
    vocabulary = len(json.loads((folder / "vocabulary.json").read_text())["ids"])
    file = tmp_path / "released.npz"
    write_arrays(file, recurrent_to_torch(load_network(folder / WEIGHTS, vocabulary)))
    given = ("--epochs", 0, "--weights", file)
    refused("add --protocol released", *given, "--model", "lstm", "--task", "skip")
    released = (*given, "--protocol", "released", "--task", "skip")
    refused("missing for a bigru model", *released, "--model", "bigru", "--vectors", 0)
    refused("released.npz", *released, "--model", "transformer")
    refused("--task skip, not of lstm seq", *given, "--protocol", "released", "--task", "seq", "--model", "lstm")


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("--units is for recurrent models; --model transformer", ("--units", 6)),
        ("--heads is for transformer models; --model lstm is none", ("--model", "lstm", "--heads", 2)),
        ("--tied is for transformer models", ("--model", "lstm", "--tied")),
        ("--initialisation is for transformer models", ("--model", "lstm", "--initialisation", "torch")),
        ("--vectors is for recurrent models", ("--model", "ddpg", "--vectors", 3)),
        ("--dropout is for transformer and recurrent models", ("--model", "ddpg", "--dropout", 0.1)),
        ("--skip-input is for", ("--model", "autoencoder", "--task", "skip", "--skip-input", "token")),
        ("--negatives is for transformer and recurrent models", ("--model", "ddpg", "--negatives", 5)),
        ("--negatives is for --task seq", ("--model", "lstm", "--task", "skip", "--negatives", 5)),
        ("--warmup is for", ("--model", "autoencoder", "--task", "skip", "--warmup", 0.1)),
        ("--schedule is for", ("--model", "ddpg", "--schedule", "cosine")),
        ("--clip is for", ("--model", "ddpg", "--clip", 1)),
        ("--ddpg is for ddpg models; --model lstm is none", ("--model", "lstm", "--ddpg.embedding", 4)),
        ("computes in float32 only", ("--model", "ddpg", "--precision", "mixed_bfloat16")),
        ("computes in float32 only", ("--model", "autoencoder", "--task", "skip", "--precision", "mixed_float16")),
        ("--beam is for --task seq", ("--model", "ddpg", "--beam", 2)),
        ("--beam is for --task seq", ("--model", "lstm", "--task", "skip", "--beam", 2)),
        ("--forbid-repeats is for --task seq", ("--model", "ddpg", "--forbid-repeats")),
        ("--bugs label_leak: --model transformer has no such", ("--bugs", "label_leak")),
        ("--bugs padding_mask: --model ddpg has no such", ("--model", "ddpg", "--bugs", "padding_mask")),
        ("it has none", ("--model", "autoencoder", "--task", "skip", "--bugs", "label_leak")),
        ("--model autoencoder has no --task seq; give it --task skip", ("--model", "autoencoder")),
        ("--model bigru has no --task seq; give it --task skip", ("--model", "bigru")),
        ("--model lstm-padding has no --task seq", ("--model", "lstm-padding")),
        ("--bert is for the models that start from a BERT", ("--model", "lstm", "--bert", ".")),
        ("it must hold a batch", ("--model", "ddpg", "--batch-size", 60_000)),
        ("choose a larger --validation-share", ("--model", "autoencoder", "--task", "skip", "--validation-share", 0)),
        ("there are none of either", ("--model", "lstm", "--no-track-features")),
        ("--resume", ("--model", "ddpg", "--resume")),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_options_of_another_family_are_refused(refused, words, arguments):
    refused(words, *arguments)


@pytest.mark.parametrize(
    "model", [*(pytest.param(model, marks=pytest.mark.slow) for model in ("lstm", "ddpg")), "autoencoder"]
)
def test_a_run_goes_on_by_its_folder_alone(runs, raw, tmp_path, model):
    more = (*SIZES[model], "--learning-rate", 0.02)
    given = ("--data-dir", raw, *FAST, "--model", model, "--task", "skip", *more)
    train(*given, "--epochs", 2, "--run-dir", tmp_path / "whole")
    train(*given, "--run-dir", tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    train("--resume", "--run-dir", tmp_path / "run")
    assert metrics_of(tmp_path / "run")["epochs"] == 1
    train("--resume", "--run-dir", tmp_path / "run", "--epochs", 2)
    found, whole = metrics_of(tmp_path / "run"), metrics_of(tmp_path / "whole")
    assert found["metrics"] == whole["metrics"] and found["epochs"] == 2
    assert {**found["settings"], "resume": False, "run_dir": ""} == {**whole["settings"], "run_dir": ""}
    with pytest.raises(UserError, match=r"was started with seed = 1, not 2"):
        train("--resume", "--run-dir", tmp_path / "run", "--seed", 2)


def ask(folder, *arguments):
    return recommend(parse(RecommendOptions, ["--run-dir", str(folder), *map(str, arguments)]))["sessions"]


@pytest.fixture(scope="module")
def words(runs):
    """Ids of known tracks."""
    return [name for name in json.loads((runs("lstm", "seq") / "vocabulary.json").read_text())["ids"] if name]


def test_recurrent_runs_recommend(runs, words):
    seq, skip = runs("lstm", "seq"), runs("lstm", "skip")
    (session,) = ask(seq, *words[:4], "--beam", 2, "--skip-run", skip, "--forbid-repeats")
    assert len(session["continuations"]) == 2
    for one in session["continuations"]:
        tracks = [place["track"] for place in one["tracks"]]
        assert len(tracks) == len(set(tracks)) == 10 and not set(tracks) & set(words[:4])
        assert all(0 < place["probability"] <= 1 and 0 < place["skip_probability"] < 1 for place in one["tracks"])
    assert ask(runs("lstm-w2v", "seq"), *words[:4])[0]["continuations"][0]["log_probability"] < 0
    for model in ("lstm", "lstm-padding", "lstm-w2v", "bigru"):
        (session,) = ask(runs(model, "skip"), *words[:2], f"{words[2]}:skipped", "--next", *words[5:8])
        assert [one["track"] for one in session["next"]] == words[5:8]
        assert all(0 < one["skip_probability"] < 1 for one in session["next"])


def test_a_recurrent_continuation_is_that_of_the_model(runs, words):
    folder = runs("lstm", "seq")
    ids = json.loads((folder / "vocabulary.json").read_text())["ids"]
    (session,) = ask(folder, *words[:4])
    told = session["continuations"][0]["tracks"]
    source = np.array([[ids.index(name) for name in words[:4]] + [0] * 6])
    target = np.array([[ids.index(one["track"]) for one in told]])
    logits = np.asarray(load_network(folder / WEIGHTS, len(ids))({"source": source, "target": target}))[0]
    assert logits.argmax(-1).tolist() == target[0].tolist()
    chances = np.exp(logits - logits.max(-1, keepdims=True))
    expected = (chances / chances.sum(-1, keepdims=True)).max(-1)
    assert [one["probability"] for one in told] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("model", ["autoencoder", "ddpg"])
def test_rules_and_agents_foretell_skips(runs, words, model, capsys):
    """They tell no chances. What they tell here is what they told in the evaluation."""
    folder = runs(model, "skip")
    (session,) = ask(folder, words[0], f"{words[1]}:skipped", "--next", *words[2:5])
    assert [one["track"] for one in session["next"]] == words[2:5]
    assert all(type(one["skipped"]) is bool for one in session["next"])
    assert "skipped" in capsys.readouterr().out
    (beside,) = ask(runs("lstm", "seq"), words[0], "--skip-run", folder)
    assert all(type(one["skipped"]) is bool for one in beside["continuations"][0]["tracks"])


def test_an_agent_of_tracks_continues_sessions(runs, words):
    folder = runs("ddpg", "seq")
    (session,) = ask(folder, *words[:4])
    (only,) = session["continuations"]
    assert only.keys() == {"tracks"} and len(only["tracks"]) == 10
    assert all(one["track"] in words and one.keys() == {"track"} for one in only["tracks"])
    for more in (("--beam", 2), ("--forbid-repeats",)):
        with pytest.raises(UserError, match="are not for --model ddpg"):
            ask(folder, words[0], *more)


def test_a_run_whose_label_leaks_cannot_recommend(runs):
    folder = runs("lstm", "skip", "released")
    names = [name for name in json.loads((folder / "vocabulary.json").read_text())["ids"] if name]
    with pytest.raises(UserError, match=r"starts from the last true skip of the second half"):
        ask(folder, names[0], "--next", names[1])
