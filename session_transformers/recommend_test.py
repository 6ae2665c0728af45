"""Continuing sessions and foretelling skips from run directories: the right ones, and one clear line for mistakes."""

import gzip
import io
import json
import sys
from dataclasses import asdict, replace

import h5py
import numpy as np
import pytest

from common.command import parse
from common.options import UserError
from common.vocabulary import digest, save_vocabulary
from session_transformers.architecture import RELEASED, Architecture
from session_transformers.kinds import RELEASED_IDS
from session_transformers.model import build_model
from session_transformers.preprocess_test import HEADER, log_rows
from session_transformers.recommend import RecommendOptions, main
from session_transformers.weights import WEIGHTS

pytestmark = pytest.mark.usefixtures("eagerly")

TRACKS = [f"t{i}" for i in range(40)]
SEQ = Architecture(
    "transformer", "seq", 43, width=12, features=4, encoder_layers=1, decoder_layers=1, feed_forward=8, dropout=0.5
)
SKIP = replace(SEQ, task="skip", skip_input="embedding")
BERT = replace(SEQ, model="bert", features=0)
KINDS = {
    "seq": SEQ,
    "skip": SKIP,
    "bert for tracks": replace(BERT, model="bert-finetuned"),
    "bert for skips": replace(BERT, model="bert-finetuned", task="skip", skip_input="embedding"),
    "augmented": replace(SEQ, model="bert-augmented", bert=BERT),
    "drop-net": replace(SKIP, model="bert-augmented-dropnet", bert=BERT, dropnet=0.8),
}


def write_run(folder, architecture, tracks=TRACKS, seed=3):
    """A run directory as train.py leaves it; returns its model."""
    folder.mkdir(exist_ok=True)
    features = np.random.default_rng(0).standard_normal((architecture.vocabulary, architecture.features))
    model = build_model(architecture, features.astype(np.float32), seed)
    model.head.bias.assign(np.random.default_rng(1).standard_normal(architecture.classes))
    model.save_weights(folder / WEIGHTS)
    options = {"model": architecture.model, "task": architecture.task}
    ids = [""] * architecture.ids.first_track + list(tracks)
    (folder / "options.json").write_text(
        json.dumps({"options": options, "architecture": asdict(architecture), "vocabulary": digest(ids)})
    )
    save_vocabulary(folder, ids)
    return model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs that no test changes, and their models."""
    folder = tmp_path_factory.mktemp("runs")
    return {name: (folder / name, write_run(folder / name, kind)) for name, kind in KINDS.items()}


@pytest.fixture
def run(tmp_path):
    """A run to be damaged."""
    write_run(tmp_path / "run", SEQ)
    return tmp_path / "run"


def recommend(folder, *arguments):
    return main(parse(RecommendOptions, ["--run-dir", str(folder), *map(str, arguments)]))["sessions"]


def row(tracks, length=10):
    return np.array([[int(name[1:]) + 3 for name in tracks] + [0] * (length - len(tracks))])


def chances(logits):
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def names(tracks):
    return [one["track"] for one in tracks]


@pytest.mark.parametrize("kind", ["seq", "bert for tracks", "augmented"])
def test_continuations_are_those_of_the_model(runs, kind, capsys):
    folder, model = runs[kind]
    (session,) = recommend(folder, "t3", "t29", "t3", "--json")
    assert json.loads(capsys.readouterr().out)["sessions"] == [session]
    assert session["heard"] == [{"track": name, "skipped": False} for name in ("t3", "t29", "t3")]
    (best,) = session["continuations"]
    tracks = names(best["tracks"])
    logits = np.asarray(model({"source": row(["t3", "t29", "t3"]), "target": row(tracks)}))[0]
    assert tracks == [TRACKS[token - 3] for token in logits.argmax(-1)]
    expected = chances(logits).max(-1)
    assert [one["probability"] for one in best["tracks"]] == pytest.approx(expected, rel=1e-4)
    assert best["log_probability"] == pytest.approx(np.log(expected).sum(), rel=1e-4)


@pytest.mark.parametrize("kind", ["skip", "bert for skips", "drop-net"])
def test_skips_are_those_of_the_model(runs, kind):
    folder, model = runs[kind]
    (session,) = recommend(folder, "t1", "t2:skipped", "t3", "--next", "t4", "t5", "t4")
    assert [one["skipped"] for one in session["heard"]] == [False, True, False]
    assert names(session["next"]) == ["t4", "t5", "t4"]
    inputs = {"source": row(["t1", "t2", "t3"]), "target": row(["t4", "t5", "t4"])}
    logits = np.asarray(model(inputs | {"source_skips": np.array([[0, 1] + [0] * 8])}))[0, :3]
    assert [one["skip_probability"] for one in session["next"]] == pytest.approx(chances(logits)[:, 1], rel=1e-4)
    (played,) = recommend(folder, "t1", "t2", "t3", "--next", "t4", "t5", "t4")
    assert played["next"] != session["next"]


def test_a_skip_run_foretells_the_skips_of_every_beam(runs):
    (session,) = recommend(runs["seq"][0], "t1", "t2:skipped", "--skip-run", runs["skip"][0], "--beam", 3)
    assert len(session["continuations"]) == 3
    for beam in session["continuations"]:
        (alone,) = recommend(runs["skip"][0], "t1", "t2:skipped", "--next", *names(beam["tracks"]))
        ours = [one["skip_probability"] for one in beam["tracks"]]
        assert ours == pytest.approx([one["skip_probability"] for one in alone["next"]], rel=1e-4)


def test_beams_are_sorted_and_at_least_as_good_as_greedy(runs, capsys):
    folder, _ = runs["seq"]
    (session,) = recommend(folder, "t7", "--beam", 4)
    out = capsys.readouterr().out
    totals = [beam["log_probability"] for beam in session["continuations"]]
    assert totals == sorted(totals, reverse=True)
    assert len({tuple(names(beam["tracks"])) for beam in session["continuations"]}) == 4
    (greedy,) = recommend(folder, "t7")
    assert totals[0] >= greedy["continuations"][0]["log_probability"] - 1e-4
    assert f"beam 4, log-probability {totals[3]:.3f}" in out.replace("\n", " ") and "probability" in out


def test_repeats_can_be_forbidden(runs):
    (session,) = recommend(runs["seq"][0], "t3", "t5", "--forbid-repeats", "--beam", 2)
    for beam in session["continuations"]:
        assert len({"t3", "t5", *names(beam["tracks"])}) == 12


def test_ids_are_no_markup(tmp_path, capsys):
    write_run(tmp_path, SEQ, [f"[red]{i}[/]" for i in range(40)])
    recommend(tmp_path, "[red]3[/]", "--beam", 2)
    assert capsys.readouterr().out.count("[red]") == 1 + 10 + 2 * 10


def test_a_released_model_may_continue_with_what_is_no_track(tmp_path):
    released = replace(SEQ, ids=RELEASED_IDS, switches=RELEASED, vocabulary=42)
    model = write_run(tmp_path, released)
    for bias, expected in (([9, 0], "(padding)"), ([0, 9], "(mask)")):
        model.head.bias.assign(np.array([*bias, *[-9] * 40], np.float32))
        model.save_weights(tmp_path / WEIGHTS)
        (session,) = recommend(tmp_path, "t1", "t2")
        assert names(session["continuations"][0]["tracks"]) == [expected] * 10


def test_unknown_tracks_are_named_and_left_out(runs, capsys):
    (session,) = recommend(runs["seq"][0], "t3", "nobody:skipped", "t5:skipped", "\x1b[2J")
    assert session["heard"] == [{"track": "t3", "skipped": False}, {"track": "t5", "skipped": True}]
    err = capsys.readouterr().err
    assert "track nobody was not in the training data" in err and "\x1b" not in err
    assert "does not look at what was skipped" in err and err.count("\n") == 3
    (skips,) = recommend(runs["skip"][0], "t3", "--next", "nobody", "t5")
    assert names(skips["next"]) == ["t5"] and "--next: track nobody" in capsys.readouterr().err


def test_of_a_long_session_the_last_ten_tracks_count(runs, capsys):
    folder, _ = runs["skip"]
    words = [f"t{i}" + ":skipped" * (i % 3 == 0) for i in range(14)]
    (session,) = recommend(folder, *words[:12], "nobody", *words[12:], "--next", "t20")
    assert names(session["heard"]) == TRACKS[4:14]
    assert [one["skipped"] for one in session["heard"]] == [i % 3 == 0 for i in range(4, 14)]
    assert "the session: of its 14 tracks the last 10 count" in capsys.readouterr().err
    assert session["next"] == recommend(folder, *words[4:], "--next", "t20")[0]["next"]


def test_several_sessions_of_a_file_or_of_the_standard_input(runs, tmp_path, monkeypatch):
    folder, _ = runs["seq"]
    text = "\ufefft1 t2\r\n\r\nt3,t4:skipped, t5\n  t6 unknown\n"
    file = tmp_path / "sessions.txt"
    file.write_text(text, encoding="utf-8")
    found = recommend(folder, "--session-file", file)
    assert [names(one["heard"]) for one in found] == [["t1", "t2"], ["t3", "t4", "t5"], ["t6"]]
    assert [one["session"] for one in found] == [f"{file}, line {number}" for number in (1, 3, 4)]
    (alone,) = recommend(folder, "t3", "t4", "t5")
    assert names(alone["continuations"][0]["tracks"]) == names(found[1]["continuations"][0]["tracks"])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert [one["continuations"] for one in recommend(folder)] == [one["continuations"] for one in found]


@pytest.fixture
def log(tmp_path):
    """Whole sessions, halves as the challenge has them, and sessions of which nothing is known."""
    rows = log_rows("whole", TRACKS[:20], [0, 1] * 10) + log_rows("half", TRACKS[20:25], length=11)
    rows += log_rows("new", ["x"] * 10) + log_rows("later", [*TRACKS[:5], *["x"] * 5])
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress((HEADER + rows).encode()))
    return tmp_path / "log.csv.gz"


def test_a_log_to_continue(runs, log, capsys):
    found = recommend(runs["seq"][0], "--log", log)
    assert [one["session"] for one in found] == ["whole", "half", "later"]
    assert [len(one["heard"]) for one in found] == [10, 5, 5]
    assert "1 session without a known track left out" in capsys.readouterr().err
    (alone,) = recommend(runs["seq"][0], *TRACKS[:10])
    assert names(alone["continuations"][0]["tracks"]) == names(found[0]["continuations"][0]["tracks"])


def test_a_log_to_foretell_the_skips_of_its_second_halves(runs, log, capsys):
    folder, _ = runs["skip"]
    (session,) = recommend(folder, "--log", log)
    assert session["session"] == "whole" and names(session["next"]) == TRACKS[10:20]
    assert "3 sessions without a known track in one of their halves" in capsys.readouterr().err
    words = [name + ":skipped" * (i % 2) for i, name in enumerate(TRACKS[:10])]
    assert session["next"] == recommend(folder, *words, "--next", *TRACKS[10:20])[0]["next"]
    log.write_bytes(gzip.compress((HEADER + log_rows("half", TRACKS[:5], length=10)).encode()))
    with pytest.raises(UserError, match=r"log.csv.gz: no session has a known track in its second half"):
        recommend(folder, "--log", log)


def test_more_sessions_than_are_continued_at_a_time(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("session_transformers.predictors.BLOCK", 2)
    file = tmp_path / "sessions.txt"
    file.write_text("t1\nt2 t3\nt4 t5 t6\n")
    found = recommend(runs["seq"][0], "--session-file", file, "--skip-run", runs["skip"][0])
    assert [names(one["heard"]) for one in found] == [["t1"], ["t2", "t3"], ["t4", "t5", "t6"]]
    (alone,) = recommend(runs["seq"][0], "t2", "t3")
    assert names(alone["continuations"][0]["tracks"]) == names(found[1]["continuations"][0]["tracks"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no session in it"),
        (b"\n , \n", "no session in it"),
        (b"t1\nt2 \xff\n", "line 2: not UTF-8"),
        (b"t1 t2\na b\n", "line 2: none of its tracks was in the training data: a b"),
    ],
)
def test_a_file_without_sessions(runs, tmp_path, content, message):
    file = tmp_path / "sessions.txt"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"sessions.txt.*{message}"):
        recommend(runs["seq"][0], "--session-file", file)


@pytest.mark.parametrize("terminal", [True, False])
def test_next_does_not_swallow_the_session(runs, monkeypatch, terminal):
    """``--next A ID ID`` has no session: it says so instead of waiting for one."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    with pytest.raises(UserError, match=r"--next takes every id after it: name the session before it.* --next t1$"):
        recommend(runs["skip"][0], "--next", "t1", "t2", "t3")
    with pytest.raises(UserError, match=r"--next names 12 tracks.*name the session before it"):
        parse(RecommendOptions, ["--run-dir", ".", "--next", *["t1"] * 12])


def test_nothing_given_at_a_terminal(runs, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(UserError, match="no session: name it"):
        recommend(runs["seq"][0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["t1"], "--run-dir is missing"),
        (["t1", "--run-dir", "/no/such"], "--run-dir /no/such: no such folder"),
        (["t1", "--run-dir", ".", "--skip-run", "/no/such"], "--skip-run /no/such: no such folder"),
        (["t1", "--run-dir", ".", "--beam", "0"], "--beam is 0"),
        (["t1", "--run-dir", ".", "--log", __file__], "choose one of them"),
        (["--run-dir", ".", "--session-file", "/no/such"], "--session-file /no/such: no such file"),
        (["--run-dir", ".", "--log", "/no/such"], "--log /no/such: no such file"),
        (["--run-dir", ".", "--log", __file__, "--next", "t1"], "--next and --log"),
        (["t1", "--run-dir", ".", "--next", *["t1"] * 11], "--next names 11 tracks"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(UserError, match=message):
        parse(RecommendOptions, arguments)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("seq", ["--next", "t2"], "--next is for a run of --task skip"),
        ("seq", ["--beam", "50"], "too small for 50 beams"),
        ("skip", [], "name the tracks whose skips it shall foretell with --next"),
        ("skip", ["--next", "t2", "--beam", "2"], "--beam is for a run of --task seq"),
        ("skip", ["--next", "t2", "--forbid-repeats"], "--forbid-repeats is for a run of --task seq"),
        ("skip", ["--next", "x", "y"], "--next: none of its tracks was in the training data: x y"),
    ],
)
def test_what_a_run_cannot_answer(runs, kind, arguments, message):
    with pytest.raises(UserError, match=message):
        recommend(runs[kind][0], "t1", *arguments)


def test_a_bert_that_is_only_pre_trained(tmp_path):
    write_run(tmp_path, BERT)
    with pytest.raises(UserError, match=r"only pre-trained .* --model bert-finetuned --bert"):
        recommend(tmp_path, "t1")
    write_run(tmp_path / "seq", SEQ)
    with pytest.raises(UserError, match=r"--skip-run .*: is one of --task seq"):
        recommend(tmp_path / "seq", "t1", "--skip-run", tmp_path)


def test_a_skip_run_of_other_tracks(runs, tmp_path):
    write_run(tmp_path, SKIP, TRACKS[::-1])
    with pytest.raises(UserError, match=r"--skip-run .*: was trained on other tracks"):
        recommend(runs["seq"][0], "t1", "--skip-run", tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("options.json", None, "cannot be read"),
        ("options.json", '{"options": {}, "architecture": {}}', "names no vocabulary"),
        ("vocabulary.json", None, "cannot be read"),
        ("vocabulary.json", '{"ids": ["t1"]}', "holds other ids than the run was trained on"),
        ("vocabulary.json", '{"ids": [1, null]}', "must be a list"),
        (WEIGHTS, None, "the run is not finished"),
        (WEIGHTS, "no weights", "do not fit"),
    ],
)
def test_a_run_that_is_not_whole(run, file, content, message):
    if content is None:
        (run / file).unlink()
    else:
        (run / file).write_text(content)
    with pytest.raises(UserError, match=f"{file}: .*{message}"):
        recommend(run, "t1")


def test_weights_of_another_run(run, tmp_path):
    write_run(tmp_path / "other", SKIP)
    (tmp_path / "other" / WEIGHTS).replace(run / WEIGHTS)
    with pytest.raises(UserError, match="do not fit the model"):
        recommend(run, "t1")


@pytest.mark.parametrize("kind", ["seq", "skip"])
def test_a_diverged_model_tells_nothing(tmp_path, kind):
    model = write_run(tmp_path, KINDS[kind])
    model.head.bias.assign(np.full(model.head.bias.shape, 1e38, np.float32))
    model.head.kernel.assign(np.full(model.head.kernel.shape, 1e38, np.float32))
    model.embedding.tracks.assign(np.full(model.embedding.tracks.shape, 1e38, np.float32))
    model.save_weights(tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="its training has diverged"):
        recommend(tmp_path, "t1", *(("--next", "t2") if kind == "skip" else ()))


def test_weights_that_are_not_finite(run):
    with h5py.File(run / WEIGHTS, "a") as file:
        found = []
        file.visititems(lambda name, item: found.append(item) if isinstance(item, h5py.Dataset) else None)
        large = max((item for item in found if item.dtype.kind == "f"), key=lambda item: item.size)
        large.write_direct(np.full(large.shape, np.nan, np.float32))
    with pytest.raises(UserError, match="do not fit the model"):
        recommend(run, "t1")
