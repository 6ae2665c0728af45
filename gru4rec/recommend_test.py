"""Recommending from a run directory: the right items, and one clear line for every mistake."""

import io
import json
import sys
from dataclasses import asdict

import h5py
import numpy as np
import pytest

from common.command import parse
from common.options import UserError
from common.paper import WEIGHTS
from common.vocabulary import digest, save_vocabulary
from gru4rec.evaluation import next_scores
from gru4rec.model import Networks
from gru4rec.options import Architecture
from gru4rec.recommend import RecommendOptions, main
from gru4rec.weights import load_model

ITEMS = 30


def write_run(folder, **settings):
    """A run directory as train.py leaves it; returns its model."""
    architecture = Architecture(ITEMS, (8, 6), **settings)
    rng = np.random.default_rng(1)
    features = None
    if architecture.input_table is None:
        features = rng.normal(size=(ITEMS, architecture.features)).astype(np.float32)
        np.save(folder / "features.npy", features)
    model = Networks(architecture, features)
    for variable in model.named.values():
        variable.assign(rng.normal(0, 0.5, variable.shape).astype(np.float32))
    model.step.save_weights(folder / "model.weights.h5")
    name_items(folder, [f"t{i}" for i in range(ITEMS)], architecture)
    return model


def name_items(folder, ids, architecture):
    facts = {"options": {}, "architecture": asdict(architecture), "vocabulary": digest(ids)}
    (folder / "options.json").write_text(json.dumps(facts))
    save_vocabulary(folder, ids)


def best_by_hand(model, session):
    hidden = model.start(1)
    for item in session:
        scores, hidden = model(np.array([item]), hidden)
    return np.asarray(scores)[0]


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder, write_run(folder)


def recommend(folder, *arguments):
    return main(parse(RecommendOptions, ["--run-dir", str(folder), *arguments]))


@pytest.mark.parametrize(
    "settings", [{}, {"inputs": "one-hot", "gru": "cudnn"}, {"inputs": "content-mlp", "features": 5}]
)
def test_the_best_items_are_those_of_the_model(tmp_path, settings, capsys):
    model = write_run(tmp_path, **settings)
    found = recommend(tmp_path, "t3", "t29", "t3", "t0", "--top-k", "5", "--json")
    scores = best_by_hand(model, [3, 29, 3, 0])
    (session,) = found["sessions"]
    assert [one["item"] for one in session["recommended"]] == [f"t{i}" for i in np.argsort(-scores)[:5]]
    assert [one["score"] for one in session["recommended"]] == pytest.approx(np.sort(scores)[::-1][:5], abs=1e-5)
    assert json.loads(capsys.readouterr().out) == found


def test_a_table_is_printed_and_more_items_than_there_are_is_all(run, capsys):
    folder, _ = run
    found = recommend(folder, "t3", "--top-k", "99")
    assert len(found["sessions"][0]["recommended"]) == ITEMS
    out = capsys.readouterr().out
    assert "After t3" in out and found["sessions"][0]["recommended"][0]["item"] in out


def test_ids_are_no_markup(run, capsys):
    folder, model = run
    name_items(folder, [f"[red]{i}[/]" for i in range(ITEMS)], model.architecture)
    recommend(folder, "[red]3[/]", "--top-k", "30")
    assert capsys.readouterr().out.count("[red]") == ITEMS + 1


def test_seen_items_can_be_left_out(run):
    folder, _ = run
    (session,) = recommend(folder, "t3", "t5", "t3", "--exclude-seen", "--top-k", "30")["sessions"]
    assert {one["item"] for one in session["recommended"]} == {f"t{i}" for i in range(ITEMS)} - {"t3", "t5"}


def test_unknown_items_are_named_and_skipped(run, capsys):
    folder, _ = run
    (session,) = recommend(folder, "t3", "nobody", "t5")["sessions"]
    assert (session["session"], session["skipped"]) == (["t3", "t5"], ["nobody"])
    assert "nobody" in capsys.readouterr().err
    assert recommend(folder, "t3", "t5")["sessions"][0]["recommended"] == session["recommended"]


def test_a_session_of_unknown_items_only_is_an_error(run, tmp_path):
    folder, _ = run
    with pytest.raises(UserError, match="none of its items was in the training data: a b"):
        recommend(folder, "a", "b")
    file = tmp_path / "sessions.txt"
    file.write_text("t1 t2\na b\n")
    with pytest.raises(UserError, match=r"sessions.txt, line 2: none of its items"):
        recommend(folder, "--session-file", str(file))


def test_several_sessions_of_a_file_or_of_the_standard_input(run, tmp_path, monkeypatch):
    folder, model = run
    text = "\ufefft1 t2\r\n\r\nt3,t4, t5\n  t6 t7 unknown\n"
    file = tmp_path / "sessions.txt"
    file.write_text(text, encoding="utf-8")
    found = recommend(folder, "--session-file", str(file))
    assert [one["session"] for one in found["sessions"]] == [["t1", "t2"], ["t3", "t4", "t5"], ["t6", "t7"]]
    for one, items in zip(found["sessions"], ([1, 2], [3, 4, 5], [6, 7]), strict=True):
        assert one["recommended"][0]["item"] == f"t{best_by_hand(model, items).argmax()}"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert recommend(folder) == found


def test_more_sessions_than_are_scored_at_a_time(run, monkeypatch):
    folder, model = run
    monkeypatch.setattr("gru4rec.evaluation.BLOCK", 2)
    sessions = [[1], [2, 3], [4, 5, 6], [7], [8, 9]]
    for session, scores in zip(sessions, next_scores(load_model(folder / WEIGHTS, ITEMS), sessions), strict=True):
        np.testing.assert_allclose(scores, best_by_hand(model, session), atol=1e-5)


def test_equal_scores_are_ordered_by_item(run):
    folder, model = run
    for name in ("Wy", "By"):
        model.named[name].assign(np.zeros(model.named[name].shape, np.float32))
    model.step.save_weights(folder / "model.weights.h5")
    (session,) = recommend(folder, "t3", "--top-k", "4")["sessions"]
    assert [one["item"] for one in session["recommended"]] == ["t0", "t1", "t2", "t3"]


@pytest.mark.parametrize("content", ["", "\n \n", ","])
def test_no_session_in_a_file(run, tmp_path, content):
    file = tmp_path / "empty.txt"
    file.write_text(content)
    with pytest.raises(UserError, match=r"empty.txt: no session in it"):
        recommend(run[0], "--session-file", str(file))


def test_a_file_that_is_no_text(run, tmp_path):
    file = tmp_path / "sessions.bin"
    file.write_bytes(b"t1\nt2 \xff\n")
    with pytest.raises(UserError, match=r"sessions.bin, line 2: not UTF-8"):
        recommend(run[0], "--session-file", str(file))


def test_nothing_given_at_a_terminal(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(UserError, match="no session: name it"):
        recommend(run[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["t1"], "--run-dir is missing"),
        (["t1", "--run-dir", "/no/such"], "no such folder"),
        (["t1", "--run-dir", ".", "--top-k", "0"], "--top-k is 0"),
        (["t1", "--run-dir", ".", "--session-file", "x"], "leave out one"),
        (["--run-dir", ".", "--session-file", "/no/such"], "no such file"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(RecommendOptions, arguments)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("options.json", None, "cannot be read"),
        ("options.json", '{"options": {}}', "not of a training run"),
        ("options.json", '{"options": {}, "architecture": {"variant": "dot", "layers": [3]}}', "not of a training run"),
        ("vocabulary.json", None, "cannot be read"),
        ("vocabulary.json", '{"ids": ["t1"]}', "holds other ids than the run was trained on"),
        ("vocabulary.json", '{"ids": "t1"}', "must be a list"),
        ("vocabulary.json", '{"ids": [1, null]}', "must be a list"),
        ("vocabulary.json", "[" * 100_000, "cannot be read"),
        ("vocabulary.json", "[]", "cannot be read"),
        ("features.npy", None, "cannot be read"),
        ("features.npy", "no array", "cannot be read"),
        ("options.json", '{"options": {}, "architecture": {"num_items": 30, "layers": [8]}}', "not of a training run"),
        ("model.weights.h5", None, "the run is not finished"),
        ("model.weights.h5", "no weights", "do not fit"),
    ],
)
def test_a_run_that_is_not_whole(tmp_path, file, content, message):
    write_run(tmp_path, inputs="content", features=5)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content)
    with pytest.raises(UserError, match=message):
        recommend(tmp_path, "t1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"layers": []},
        {"layers": ["x"]},
        {"layers": [4.0, 6]},
        {"layers": [10**9]},
        {"inputs": "none"},
        {"gru": 3},
        {"features": True},
        {"num_items": 10**15},
        {"num_items": "x"},
    ],
)
def test_a_damaged_architecture(tmp_path, wrong):
    write_run(tmp_path, inputs="content", features=5)
    content = json.loads((tmp_path / "options.json").read_text())
    content["architecture"] |= wrong
    (tmp_path / "options.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"options.json: (not of a training run|its architecture has)"):
        recommend(tmp_path, "t1")


def test_the_vocabulary_of_another_run_with_as_many_items(run):
    folder, _ = run
    save_vocabulary(folder, [f"t{i}" for i in reversed(range(ITEMS))])
    with pytest.raises(UserError, match=r"vocabulary.json: holds other ids than the run was trained on"):
        recommend(folder, "t1")


def _edit_weights(folder, edit):
    with h5py.File(folder / "model.weights.h5", "a") as file:
        names = []
        file.visit(names.append)
        name = next(name for name in names if isinstance(file[name], h5py.Dataset))
        edit(file, name)


def _replace(value):
    def edit(file, name):
        value_here = value(file[name]) if callable(value) else value
        del file[name]
        file[name] = value_here

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        lambda file, name: file.pop(name),
        lambda file, name: (file.pop(name), file.create_group(name)),
        lambda file, name: file[name].write_direct(np.full(file[name].shape, np.nan, np.float32)),
        _replace(lambda old: np.full(old.shape, b"x")),
        _replace(lambda old: np.zeros((2, *old.shape), np.float32)),
        _replace(h5py.SoftLink("/nowhere")),
        _replace(h5py.ExternalLink("/etc/passwd", "/x")),
    ],
)
def test_damaged_weights(run, edit):
    folder, _ = run
    _edit_weights(folder, edit)
    with pytest.raises(UserError, match="do not fit the model"):
        recommend(folder, "t1")


@pytest.mark.parametrize(
    "features",
    [np.full((ITEMS, 5), np.nan, np.float32), np.full((ITEMS, 5), "x"), np.zeros((ITEMS, 5), np.int64)],
)
def test_features_that_are_no_numbers(tmp_path, features):
    write_run(tmp_path, inputs="content", features=5)
    np.save(tmp_path / "features.npy", features)
    with pytest.raises(UserError, match=r"features.npy: holds values that are no finite numbers"):
        recommend(tmp_path, "t1")


def test_control_characters_and_endless_ids_are_not_printed(run, tmp_path, capsys):
    folder, _ = run
    file = tmp_path / "sessions.txt"
    file.write_text(f"\x1b[2J {'x' * 100_000} t1\n")
    assert recommend(folder, "--session-file", str(file))["sessions"][0]["session"] == ["t1"]
    err = capsys.readouterr().err
    assert "\x1b" not in err and len(err) < 1000 and err.count("\n") == 2


def test_features_of_another_catalogue(tmp_path):
    write_run(tmp_path, inputs="content", features=5)
    np.save(tmp_path / "features.npy", np.zeros((4, 5), np.float32))
    with pytest.raises(UserError, match=r"features.npy: has shape \(4, 5\); the run's model expects \(30, 5\)"):
        recommend(tmp_path, "t1")


def test_a_diverged_model_recommends_nothing(run):
    folder, model = run
    model.named["By"].assign(np.full((ITEMS, 1), np.nan, np.float32))
    model.step.save_weights(folder / "model.weights.h5")
    with pytest.raises(UserError, match="diverged"):
        recommend(folder, "t1")
