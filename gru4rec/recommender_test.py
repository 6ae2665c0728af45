"""GRU4Rec in Python: tables of all kinds, what is left out, and the contract of every recommender."""

import warnings
from typing import ClassVar

import duckdb
import numpy as np
import pandas as pd
import pytest

from common.command import parse
from common.options import UserError
from common.testing import metrics_of
from gru4rec import GRU4Rec
from gru4rec.options import GruOptions
from gru4rec.train import main
from tests.recommender_contract import RecommenderContract

SMALL = {"layers": [8], "negatives": 8, "batch_size": 16, "epochs": 2, "deterministic": True}


def events(sessions=40, first=0, items=12, seed=0):
    """Walks through a circle of items, in hours since 2026; ids of sessions from ``first``."""
    rng = np.random.default_rng(seed + first)
    start = rng.integers(items, size=sessions)
    track = (start[:, None] + np.arange(5)) % items
    return pd.DataFrame(
        {
            "session": np.repeat(np.arange(first, first + sessions), 5),
            "track": [f"t{item}" for item in track.ravel()],
            "when": pd.Timestamp("2026-01-01") + pd.to_timedelta(np.arange(sessions * 5) + first * 5, unit="h"),
        }
    )


COLUMNS = {"session": "session", "item": "track", "time": "when"}
USUAL = {"session": "SessionId", "track": "ItemId", "when": "Time"}


class TestContract(RecommenderContract):
    """The contract of every recommender."""

    kind, options, columns, ids = GRU4Rec, SMALL, COLUMNS, ("session", "track")
    asked: ClassVar = [["t1", "t2"], ["t5"], ["t7", "t8", "t9"]]
    unknown: ClassVar = ["nothing", "of", "this"]

    @staticmethod
    def tables():
        return events(), events(20, first=40)


@pytest.fixture(scope="module")
def fitted():
    return GRU4Rec(**SMALL).fit(events(), **COLUMNS)


def test_whatever_holds_the_events_the_model_is_the_same(fitted, tmp_path):
    table = events().rename(columns=USUAL)
    seconds = table.assign(Time=table.Time.astype("int64") // 10**9)
    seconds.to_csv(tmp_path / "events.csv", index=False)
    duckdb.sql(f"COPY (SELECT * FROM seconds) TO '{tmp_path / 'events.parquet'}' (FORMAT parquet)")
    seconds.to_json(tmp_path / "events.jsonl", orient="records", lines=True)
    (tmp_path / "parts").mkdir()
    for part, rows in enumerate(np.array_split(np.arange(len(seconds)), 2)):
        seconds.iloc[rows].to_csv(tmp_path / "parts" / f"{part}.csv", index=False)
    expected = fitted.recommend(["t1", "t2"])
    for source in (
        table,
        tmp_path / "events.csv",
        str(tmp_path / "events.parquet"),
        tmp_path / "events.jsonl",
        str(tmp_path / "parts" / "*.csv"),
        tmp_path / "parts",
    ):
        model = GRU4Rec(**SMALL)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(source)
        found = model.recommend(["t1", "t2"])
        assert set(found["item"]) == set(expected["item"]), source
        assert model.data.support.sum() == 200


def test_the_command_line_makes_the_same_model_of_the_same_events(tmp_path):
    train, test = (part.rename(columns=USUAL) for part in (events(), events(20, first=40)))
    for name, part in (("train", train), ("test", test)):
        part.assign(Time=part.Time.astype("int64") // 10**9).to_csv(tmp_path / f"{name}.tsv", sep="\t", index=False)
    model = GRU4Rec(**SMALL).fit(tmp_path / "train.tsv")
    run = tmp_path / "run"
    arguments = ["--layers=8", "--negatives=8", "--batch-size=16", "--epochs=2", "--deterministic"]
    main(parse(GruOptions, ["--data-dir", str(tmp_path), *arguments, "--run-dir", str(run)]))
    loaded, of_folder = GRU4Rec.load(run), GRU4Rec(**SMALL).fit(tmp_path)
    expected = model.recommend([["t1", "t2"], ["t3"]])
    for other in (loaded, of_folder):
        pd.testing.assert_frame_equal(other.recommend([["t1", "t2"], ["t3"]]), expected)
    metrics = metrics_of(run)["metrics"]
    for found in (model.evaluate(tmp_path / "test.tsv"), loaded.evaluate(), of_folder.evaluate()):
        assert dict(found.metrics) == metrics and found.baselines.keys() == metrics_of(run)["baselines"].keys()
    (tmp_path / "train.tsv").write_text((tmp_path / "train.tsv").read_text() + "999\tt1\t1\n")
    with pytest.raises(UserError, match="is not there any more, or has changed"):
        GRU4Rec.load(run).evaluate(tmp_path / "test.tsv")
    assert GRU4Rec.load(run).evaluate(tmp_path / "test.tsv", baselines=False).metrics == metrics


def test_ids_that_are_integers_come_back_as_integers(tmp_path):
    table = events().assign(track=lambda frame: frame.track.str[1:].astype(int))
    model = GRU4Rec(**SMALL).fit(table, **COLUMNS)
    found = model.recommend([1, 2], k=2)
    assert found["item"].dtype == np.int64
    pd.testing.assert_frame_equal(GRU4Rec.load(model.save(tmp_path / "kept")).recommend(np.array([1, 2]), k=2), found)


def test_sessions_may_come_in_any_form(fitted):
    expected = fitted.recommend(["t1", "t2"], k=2)
    for one in (("t1", "t2"), pd.Series(["t1", "t2"]), np.array(["t1", "t2"])):
        pd.testing.assert_frame_equal(fitted.recommend(one, k=2), expected)
    table = pd.DataFrame({"session_id": ["b", "a", "b"], "item": ["t1", "t9", "t2"], "time": [1, 2, 3]})
    for several in ({"b": ["t1", "t2"], "a": ["t9"]}, table):
        found = fitted.recommend(several, k=2)
        assert list(found["session"]) == ["b", "b", "a", "a"]
        pd.testing.assert_frame_equal(found[found.session == "b"].drop(columns="session"), expected)
    assert list(fitted.recommend([["t1"], ["t2"]], k=1)["session"]) == [0, 1]
    assert not set(fitted.recommend(["t1", "t2"], k=99, exclude_seen=True)["item"]) & {"t1", "t2"}


@pytest.mark.parametrize("wrong", [[], [[]], [["t1"], []], "t1", 3, {}, None])
def test_what_is_no_session_is_told(fitted, wrong):
    with pytest.raises(UserError, match="session"):
        fitted.recommend(wrong)


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", None])
def test_k_must_be_a_number(fitted, k):
    with pytest.raises(UserError, match="k is"):
        fitted.recommend(["t1"], k=k)


def test_unknown_items_are_named_and_passed_over(fitted):
    with pytest.warns(UserWarning, match="item t99 was not in the training data"):
        found = fitted.recommend(["t1", "t99", "t2"], k=2)
    pd.testing.assert_frame_equal(found, fitted.recommend(["t1", "t2"], k=2))


def test_rows_of_a_later_table_are_used_or_left_out(fitted):
    later = events(20, first=40)
    later.loc[:9, "track"] = "new"
    found = fitted.tested_on(fitted.data, later, COLUMNS)
    assert found.rows["files"]["the table"] == {
        "rows": 100, "used": 90, "left_out": {"test: items unknown in training, then short sessions": 10},
    }  # fmt: skip
    with pytest.raises(UserError, match=r"none of its 1 items was in the training data: the ids there are such as"):
        fitted.evaluate(later.assign(track="new"), **COLUMNS)


def test_wrong_tables_are_told(fitted):
    table = events()
    for wrong, words in (
        (table.drop(columns="when"), "column when"),
        (table.assign(when="soon"), "row 0"),
        (table[:0], "holds no row"),
        (3, "no table"),
        ("no such file.csv", "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            GRU4Rec(**SMALL).fit(wrong, **COLUMNS)
    with pytest.raises(UserError, match=r"column SessionId \(or session_id, sessionId, ...\) is missing"):
        GRU4Rec(**SMALL).fit(table.rename(columns={"session": "visit", "when": "time"}))
    with pytest.raises(UserError, match="two events"):
        GRU4Rec(**SMALL).fit(table.drop_duplicates("session"), **COLUMNS)
    with pytest.raises(UserError, match=r"not there|no test|nothing"):
        fitted.evaluate()


def test_a_validation_table_chooses_the_epoch():
    model = GRU4Rec(**SMALL | {"epochs": 3}).fit(events(), validation=events(20, first=40), **COLUMNS)
    assert len(model.data.validation) == 20 and len(model.data.train) == 40
    values = [row["val_mrr@20"] for row in model.progress.history]
    assert model.progress.best_epoch == 1 + int(np.argmax(values))


def test_it_is_said_if_sessions_were_learnt_from(fitted):
    with pytest.warns(UserWarning, match=r"the table: 40 of its 40 sessions, such as '0', were learnt from"):
        fitted.evaluate(events(), baselines=False, **COLUMNS)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fitted.evaluate(events(30, first=40), baselines=False, **COLUMNS)
    assert not [one for one in told if "learnt from" in str(one.message)]


def test_a_failed_fit_leaves_no_model():
    model = GRU4Rec(**SMALL | {"learning_rate": 1e30, "optimizer": "adam"})
    with pytest.raises(UserError, match="the loss is"):
        model.fit(events(), **COLUMNS)
    with pytest.raises(UserError, match=r"call fit\(\) first"):
        model.recommend(["t1"])


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_gives_nearly_the_scores_of_float32(fitted, precision):
    model = GRU4Rec(**SMALL, precision=precision).fit(events(), **COLUMNS)
    found, expected = (one.recommend(["t1", "t2"], k=12).set_index("item").score for one in (model, fitted))
    assert np.isfinite(found).all() and expected.std() > 0.1
    np.testing.assert_allclose(found[expected.index], expected, atol=0.1 * expected.std())
