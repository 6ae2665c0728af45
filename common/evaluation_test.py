"""Means, intervals and paired tests of what a run measured, against plain ways to compute them."""

import numpy as np
import pytest

from common import evaluation as module
from common.evaluation import Measured, Sample, better, evaluation
from common.metrics import intervals
from common.reporting.schema import TEST_KEYS
from common.significance import signed_rank_p

RNG = np.random.default_rng(0)
BASE = RNG.random(200)
OURS = BASE + 0.1 * RNG.random(200)


def row(values, units="users", unit=None, others=None, **options):
    return Measured([Sample({"map": values}, units, unit, **options)], others or {})


def test_the_figures_of_a_row_are_means_and_roots_and_those_that_are_neither():
    values = Sample(
        {"mae": np.array([1.0, np.nan, 3.0]), "rmse": np.array([1.0, np.nan, 7.0])}, "users", roots={"rmse"}
    )
    found = Measured([values, Sample({"auc": np.full(2, np.nan)}, "users")], {"coverage": 0.5}).figures
    assert found.pop("auc") is not None and found == {"mae": 2.0, "rmse": 2.0, "coverage": 0.5}


def test_an_interval_is_that_of_drawing_units_again():
    found = evaluation({"ours": row(OURS)}, ["map"], 3)
    low, high = found.intervals["ours"]["map"]
    means = [OURS[np.random.default_rng(n).integers(200, size=200)].mean() for n in range(1000)]
    width = np.quantile(means, 0.975) - np.quantile(means, 0.025)
    assert low < OURS.mean() < high and high - low == pytest.approx(width, rel=0.15)
    assert found.resampled == {"map": "users"} and found.tests == {} and found.best_baseline is None
    assert evaluation({"ours": row(OURS)}, ["map"], 3).intervals == found.intervals
    assert evaluation({"ours": row(OURS)}, ["map"], 4).intervals != found.intervals


def test_events_of_a_session_are_drawn_together():
    session = np.repeat(np.arange(100), 9)
    alike = RNG.random(100)[session]  # all events of a session have one value
    of_sessions = evaluation({"ours": row(alike, "sessions", session)}, ["map"], 1).intervals["ours"]["map"]
    of_events = evaluation({"ours": row(alike, "events")}, ["map"], 1).intervals["ours"]["map"]
    assert np.ptp(of_sessions) == pytest.approx(3 * np.ptp(of_events), rel=0.2)
    few = evaluation({"ours": row(alike[::9], "sessions")}, ["map"], 1).intervals["ours"]["map"]
    assert of_sessions == pytest.approx(few)


def test_many_units_are_dealt_into_groups_and_the_interval_is_as_wide(monkeypatch):
    values = RNG.random(5000)
    whole = np.ptp(intervals.bootstrap_interval(values, 1))
    monkeypatch.setattr(intervals, "GROUPS", 500)
    assert len(np.unique(intervals.groups_of(5000, 1))) == 500
    assert np.ptp(intervals.bootstrap_interval(values, 1)) == pytest.approx(whole, rel=0.15)
    monkeypatch.setattr(intervals, "DRAWN", 1)
    columns = np.ones((7, 1))
    assert (intervals.resampled_sums(columns, 1) == 7).all()


def test_the_model_is_tested_against_the_baseline_that_is_best_at_each_figure():
    def of(maps, losses):
        return Measured([Sample({"map": maps, "loss": losses}, "users")])

    rows = {"ours": of(OURS, BASE), "good": of(BASE, BASE + 1), "bad": of(BASE - 1, BASE + 0.5)}
    rows["bound"] = of(BASE + 9, BASE - 9)
    found = evaluation(rows, ["map", "loss"], 1, bounds=["bound"], against_all=True)
    assert found.best_baseline == "good" and found.metrics == found.rows["ours"] and "ours" not in found.baselines
    assert {figure: test["baseline"] for figure, test in found.tests.items()} == {"map": "good", "loss": "bad"}
    test = found.tests["map"]
    assert list(test) == list(TEST_KEYS) and test["pairs"] == 200 and test["units"] == "users"
    assert (
        test["difference"] == pytest.approx((OURS - BASE).mean())
        and 0 < test["low"] < test["difference"] < test["high"]
    )
    assert test["wilcoxon_p"] == signed_rank_p(OURS - BASE) < 1e-6
    assert test["wilcoxon_p_holm"] == pytest.approx(min(2 * test["wilcoxon_p"], 1))
    low, high = found.intervals["ours"]["map"]
    assert test["high"] - test["low"] < (high - low) / 3  # both by the same draws
    assert set(found.against) == {"good", "bad", "bound"} and found.against["bad"]["loss"][
        "difference"
    ] == pytest.approx(-0.5)
    assert "map of ours less that of the best baseline, good: +0.0" in found.sentence()
    assert "200 users; Wilcoxon p < 0.0001" in found.sentence()
    assert list(found.table().index) == list(rows) and list(found.table().columns) == ["map", "loss"]


def test_two_rows_of_the_same_values_do_not_differ():
    found = evaluation({"ours": row(BASE), "other": row(BASE)}, ["map"], 1).tests["map"]
    assert (found["difference"], found["low"], found["high"], found["wilcoxon_p"]) == (0, 0, 0, 1)


def test_what_cannot_be_told_is_left_out():
    found = evaluation({"ours": row(np.array([0.5, np.nan])), "other": row(np.array([0.25, np.nan]))}, ["map"], 1)
    assert found.intervals == {} and found.tests == {} and found.sentence() == "" and found.best_baseline == "other"
    nothing = evaluation({"ours": row(np.full(5, np.nan)), "other": row(np.zeros(0))}, ["map"], 1)
    assert nothing.intervals == {} and nothing.best_baseline is None and np.isnan(nothing.metrics["map"])
    plain = evaluation({"ours": Measured((), {"map": 0.5}), "other": row(BASE)}, ["map"], 1)
    assert plain.tests == {} and set(plain.intervals) == {"other"} and plain.beside() == {}


def test_rows_on_other_units_are_refused():
    with pytest.raises(ValueError, match="not measured on the same users"):
        evaluation({"ours": row(BASE), "other": row(BASE[:50])}, ["map"], 1)
    with pytest.raises(ValueError, match="arrays of one length needed"):
        Sample({"map": BASE, "auc": BASE[:3]}, "users")


def test_a_million_events_take_bounded_time_and_memory():
    session = np.repeat(np.arange(100_000), 10)
    values = RNG.random(1_000_000)
    low, high = evaluation({"ours": row(values, "sessions", session)}, ["map"], 1).intervals["ours"]["map"]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 1000, rel=0.15)


@pytest.mark.parametrize(
    ("figure", "expected"),
    [("val_loss", "lower"), ("rmse", "lower"), ("next_mrr", "higher"), ("f@10", "higher"), ("seconds", "")],
)
def test_the_name_of_a_figure_says_what_is_better(figure, expected):
    assert better(figure) == expected
    assert module.LEVEL == 0.95
