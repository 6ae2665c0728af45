"""Session transformers in Python: the contract of every recommender for each family, tables, skips, continuations."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from common.command import parse
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError
from common.testing import metrics_of
from session_transformers import SessionTransformer
from session_transformers.options import SessionOptions
from session_transformers.recommend import RecommendOptions
from session_transformers.recommend import main as recommend
from session_transformers.train import main
from tests.recommender_contract import RecommenderContract

SIZES = {"width": 8, "feed_forward": 8, "encoder_layers": 1, "decoder_layers": 1, "heads": 2}
SMALL = {**SIZES, "batch_size": 64, "epochs": 2, "learning_rate": 0.01, "deterministic": True}
LSTM = {
    "model": "lstm-w2v", "units": 6, "vectors": 4, "batch_size": 64, "epochs": 2, "learning_rate": 0.01,
    "deterministic": True,
}  # fmt: skip
DDPG = {
    "model": "ddpg", "epochs": 2, "batch_size": 32, "deterministic": True,
    "ddpg": {"embedding": 4, "hidden": 6, "walks": 32, "round_steps": 128, "buffer": 512},
}  # fmt: skip
COLUMNS = {"session": "visit", "item": "track", "time": "when", "skipped": "short"}


def plays(sessions=40, first=0, tracks=12, length=8, seed=0):
    """Walks through a circle of tracks, of which every third is skipped by most; sessions from ``first``."""
    rng = np.random.default_rng(seed + first)
    start = rng.integers(tracks, size=sessions)
    track = (start[:, None] + np.arange(length)) % tracks
    return pd.DataFrame(
        {
            "visit": np.repeat(np.arange(first, first + sessions), length),
            "track": [f"t{item}" for item in track.ravel()],
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(sessions * length), unit="m"),
            "short": rng.random(track.size) < np.where(track.ravel() % 3 == 0, 0.9, 0.1),
        }
    )


class Contract(RecommenderContract):
    """What is the same for all families."""

    kind, columns, ids = SessionTransformer, COLUMNS, ("visit", "track")
    asked: ClassVar = [["t1", "t2"], ["t5"], ["t7", "t8", "t9"]]
    unknown: ClassVar = ["nothing", "of", "this"]

    @staticmethod
    def tables():
        return plays(), plays(20, first=40)


class TestTransformer(Contract):
    """The transformer of tracks."""

    options = SMALL

    @pytest.mark.slow
    def test_two_models_do_not_disturb_each_other(self, fitted):
        super().test_two_models_do_not_disturb_each_other(fitted)

    @pytest.mark.slow
    def test_a_run_that_is_resumed_equals_an_uninterrupted_one(self, fitted, tmp_path):
        super().test_a_run_that_is_resumed_equals_an_uninterrupted_one(fitted, tmp_path)


@pytest.mark.slow
class TestAgent(Contract):
    """The reinforcement learner of tracks."""

    options = DDPG


@pytest.fixture(scope="module", autouse=True)
def eager():
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


MODELS_OF_SKIPS = {
    "transformer": SMALL,
    "lstm": LSTM,
    "autoencoder": {"model": "autoencoder", "epochs": 1, "batch_size": 16, "validation_share": 0.2},
    "ddpg": DDPG,
}


@pytest.fixture(scope="module", params=MODELS_OF_SKIPS)
def foretelling(request, eager):
    options = MODELS_OF_SKIPS[request.param] | {"task": "skip", "deterministic": True}
    return SessionTransformer(**options).fit(plays(), **COLUMNS)


UPCOMING = ["t3", "t4", "t5"]


def test_skips_are_foretold(foretelling, tmp_path):
    asked = [["t1", ("t2", True)], ["t5"]]
    one = foretelling.predict_skips(asked[0], UPCOMING)
    assert list(one["position"]) == [1, 2, 3] and list(one["item"]) == UPCOMING and one["skipped"].dtype == bool
    several = foretelling.predict_skips(asked, [UPCOMING, UPCOMING[:1]])
    assert list(several["session"]) == [0, 0, 0, 1]
    pd.testing.assert_frame_equal(several[:3].drop(columns="session"), one)
    if "probability" in one:
        assert one["probability"].between(0, 1).all() and (one["skipped"] == (one["probability"] > 0.5)).all()
    found = foretelling.evaluate(plays(20, first=40), **COLUMNS)
    assert 0 <= found.metrics["maa"] <= found.metrics["accuracy"] <= 1 and "repeat last skip" in found.baselines
    again = SessionTransformer.load(foretelling.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.predict_skips(asked[0], UPCOMING), one)
    assert again.evaluate(plays(20, first=40), **COLUMNS).rows == found.rows
    for network in again.network.values():
        assert type(network).__name__ == "Functional"
    with pytest.raises(UserError, match="take one of task seq"):
        foretelling.recommend(["t1"])
    with pytest.raises(UserError, match="take one of task seq"):
        foretelling.continue_session(["t1"])


def test_the_command_line_answers_as_python_does(foretelling, tmp_path):
    folder = foretelling.save(tmp_path / "kept")
    words = ["--run-dir", str(folder), "t1", "t2:skipped", "--next", *UPCOMING]
    (session,) = recommend(parse(RecommendOptions, words))["sessions"]
    found = foretelling.predict_skips(["t1", ("t2", True)], UPCOMING)
    assert [one["track"] for one in session["next"]] == UPCOMING
    if "probability" in found:
        assert [one["skip_probability"] for one in session["next"]] == pytest.approx(list(found["probability"]))
    else:
        assert [one["skipped"] for one in session["next"]] == list(found["skipped"])


@pytest.fixture(scope="module", params=["transformer", "lstm", "ddpg"])
def telling(request, eager):
    options = {"transformer": SMALL, "lstm": LSTM, "ddpg": DDPG}[request.param]
    return SessionTransformer(**options).fit(plays(), **COLUMNS)


def test_sessions_are_continued(telling):
    found = telling.continue_session(["t1", "t2"], tracks=4)
    assert list(found["position"]) == [1, 2, 3, 4]
    best = telling.recommend(["t1", "t2"], k=99)
    assert found["item"][0] == best["item"][0] and len(best) == 12
    assert not {"t1", "t2"} & set(telling.recommend(["t1", "t2"], k=99, exclude_seen=True)["item"])
    several = telling.continue_session({"a": ["t1", "t2"], "b": ["t9"]}, tracks=4)
    assert list(several["session"]) == ["a"] * 4 + ["b"] * 4
    pd.testing.assert_frame_equal(several[:4].drop(columns="session"), found)
    if telling.options.model == "ddpg":
        assert "probability" not in found
        with pytest.raises(UserError, match="not for model ddpg"):
            telling.continue_session(["t1"], beams=2)
    else:
        beams = telling.continue_session(["t1", "t2"], tracks=4, beams=3)
        assert set(beams["beam"]) == {1, 2, 3} and found["probability"].between(0, 1).all()
        assert len({tuple(of) for _, of in beams.groupby("beam")["item"]}) == 3
        with pytest.raises(UserError, match="too small for 1 beams without repeats"):
            telling.continue_session(["t1"], forbid_repeats=True)
    with pytest.raises(UserError, match="is one of task seq; take one of task skip"):
        telling.predict_skips(["t1"], ["t2"])
    for wrong in (0, 11, 1.5):
        with pytest.raises(UserError, match="tracks is"):
            telling.continue_session(["t1"], tracks=wrong)


def test_sessions_may_come_in_any_form(telling):
    expected = telling.recommend(["t1", "t2"], k=2)
    for one in (("t1", "t2"), pd.Series(["t1", "t2"]), np.array(["t1", "t2"]), [("t1", False), ("t2", False)]):
        pd.testing.assert_frame_equal(telling.recommend(one, k=2), expected)
    table = pd.DataFrame({"session_id": ["b", "a", "b"], "item": ["t1", "t9", "t2"], "time": [1, 2, 3]})
    for several in ({"b": ["t1", "t2"], "a": ["t9"]}, table):
        found = telling.recommend(several, k=2)
        assert list(found["session"]) == ["b", "b", "a", "a"]
        pd.testing.assert_frame_equal(found[found.session == "b"].drop(columns="session"), expected)
    for wrong in ([], [[]], [["t1"], []], "t1", 3, {}, None):
        with pytest.raises(UserError, match="session"):
            telling.recommend(wrong)
    for k in (0, -1, 1.5, "3", None):
        with pytest.raises(UserError, match="k is"):
            telling.recommend(["t1"], k=k)
    with pytest.warns(UserWarning, match="track t99 was not in the training data"):
        found = telling.recommend(["t1", "t99", "t2"], k=2)
    pd.testing.assert_frame_equal(found, expected)
    with pytest.warns(UserWarning, match="of its 12 tracks the last 10 count"):
        telling.recommend([f"t{number}" for number in range(12)])


@pytest.mark.parametrize("wrong", ["t3", [], ["t3"] * 11, 3])
def test_what_is_no_upcoming_track_is_told(wrong):
    from session_transformers.open_sessions import upcoming_of

    with pytest.raises(UserError, match="upcoming has"):
        upcoming_of(wrong, None)
    with pytest.raises(UserError, match="for 1 sessions, and there are 2"):
        upcoming_of([["t3"]], [0, 1])
    with pytest.raises(UserError, match="nothing for session b"):
        upcoming_of({"a": ["t3"]}, ["a", "b"])


@pytest.mark.slow
def test_a_run_of_the_command_line_is_the_same_model(tmp_path):
    raw = tmp_path / "mssd"
    raw.mkdir()
    write_sample(raw, SessionSampleOptions(raw, sessions=200, tracks=100, days=2, seed=7))
    options = {**SMALL, "width": 32, "batch_size": 64, "epochs": 1}
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if name != "deterministic"]
    run = tmp_path / "run"
    main(parse(SessionOptions, ["--data-dir", str(raw), *words, "--deterministic", "--run-dir", str(run)]))
    loaded, of_folder = SessionTransformer.load(run), SessionTransformer(**options).fit(raw)
    track = next(name for name in loaded.ids if name)
    pd.testing.assert_frame_equal(loaded.recommend([track]), of_folder.recommend([track]))
    expected = metrics_of(run)
    found = loaded.evaluate()
    assert dict(found.metrics) == expected["metrics"] and found.baselines.keys() == expected["baselines"].keys()
    assert dict(of_folder.evaluate(baselines=False).metrics) == expected["metrics"]
    for log in raw.glob("log_*"):
        log.unlink()
    with pytest.raises(UserError, match="holds no log"):
        SessionTransformer.load(run).evaluate()


@pytest.mark.slow
def test_a_bert_is_fine_tuned_and_asked(tmp_path):
    sizes = {name: SMALL[name] for name in ("batch_size", "epochs", "deterministic")}
    bert = SessionTransformer(model="bert", width=8, feed_forward=8, encoder_layers=1, heads=2, **sizes)
    with pytest.raises(UserError, match="starts from a pre-trained BERT"):
        SessionTransformer(model="bert-finetuned", **sizes).fit(plays(), **COLUMNS)
    folder = bert.fit(plays(), **COLUMNS).save(tmp_path / "bert")
    with pytest.raises(UserError, match="cannot continue sessions"):
        bert.recommend(["t1"])
    assert bert.evaluate(plays(20, first=40), **COLUMNS).baselines == {}
    for model in ("bert-finetuned", "bert-augmented"):
        options = {"model": model, "bert": folder, "feed_forward": 8, **sizes}
        options |= {} if model == "bert-finetuned" else {"encoder_layers": 1, "decoder_layers": 1, "heads": 2}
        fitted = SessionTransformer(**options).fit(plays(), **COLUMNS)
        found = fitted.recommend(["t1", "t2"], k=3)
        again = SessionTransformer.load(fitted.save(tmp_path / model))
        pd.testing.assert_frame_equal(again.recommend(["t1", "t2"], k=3), found)


def test_rows_of_a_later_table_are_used_or_left_out(telling):
    later = plays(20, first=40)
    later.loc[:6, "track"] = "new"
    found = telling.tested_on(telling.data, later, COLUMNS)
    assert found.rows["files"]["the table"]["rows"] == 160 and len(found.test) == 19
    assert found.rows["files"]["the table"]["left_out"] == {
        "tracks that training does not know": 7, "single tracks of sessions": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match=r"none of its 1 tracks was in the training data: the ids there are such as"):
        telling.evaluate(later.assign(track="new"), **COLUMNS)
    with pytest.warns(UserWarning, match=r"40 of its 40 sessions, such as '0', were learnt from"):
        telling.evaluate(plays(), baselines=False, **COLUMNS)


def test_long_sessions_are_cut_into_pieces():
    from session_transformers.tables import pieces_of, read_plays

    table = pd.DataFrame({"session": ["a"] * 45 + ["b"] * 3 + ["c"], "item": [f"i{n}" for n in range(49)]})
    read = read_plays(table, {})
    assert "no column of times" in read.notes[-1]
    pieces = pieces_of(read, np.arange(3, 52, dtype=np.int32))
    assert pieces.session.tolist() == [0, 0, 0, 1] and pieces.used.sum() == 48
    np.testing.assert_array_equal(pieces.halves.tracks[0], np.arange(3, 23))
    np.testing.assert_array_equal(pieces.halves.source[2], [43, 44] + [0] * 8)
    np.testing.assert_array_equal(pieces.halves.target[2], [45, 46, 47] + [0] * 7)
    np.testing.assert_array_equal(pieces.halves.source[3], [48] + [0] * 9)


def test_a_validation_table_chooses_the_epoch():
    model = SessionTransformer(**SMALL).fit(plays(), validation=plays(20, first=40), **COLUMNS)
    assert len(model.data.validation) == 20 and len(model.data.train) == 40
    losses = [row["val_loss"] for row in model.progress.history]
    assert model.progress.best_epoch == 1 + int(np.argmin(losses))


def test_wrong_tables_are_told(telling):
    table = plays()
    for wrong, words in (
        (table.drop(columns="when"), "column when"),
        (table.assign(when="soon"), "row 0"),
        (table.assign(short="perhaps"), "true or false"),
        (table[:0], "holds no row"),
        (3, "no table"),
        ("no such file.csv", "no such file"),
        (table.drop_duplicates("visit"), "no session has two tracks"),
    ):
        with pytest.raises(UserError, match=words):
            SessionTransformer(**SMALL).fit(wrong, **COLUMNS)
    with pytest.raises(UserError, match=r"lower min_plays"):
        SessionTransformer(**SMALL, min_plays=1000).fit(table, **COLUMNS)
    with pytest.raises(UserError, match="no test session"):
        telling.evaluate()


def test_ids_that_are_integers_come_back_as_integers(tmp_path):
    table = plays().assign(track=lambda frame: frame.track.str[1:].astype(int))
    model = SessionTransformer(**SMALL).fit(table, **COLUMNS)
    found = model.recommend([1, 2], k=2)
    assert found["item"].dtype == np.int64
    again = SessionTransformer.load(model.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.recommend(np.array([1, 2]), k=2), found)


def test_rows_that_are_recognised_are_told():
    table = plays().rename(columns={"visit": "session"})[["session", "track"]]
    model = SessionTransformer(**SMALL | {"epochs": 1}).fit(table)
    assert any("order of listening" in note for note in model.recorded["dataset"]["notes"])
