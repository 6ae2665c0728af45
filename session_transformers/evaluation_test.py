"""Figures of skips and tracks: golden, by hand, by brute force, and with masks."""

import json
import math

import numpy as np
import pytest

from common.options import UserError
from conftest import GOLDEN
from session_transformers.evaluation import Outcome, TrackRanks, skip_outcome, track_outcome

FOLDER = GOLDEN / "session_transformers"


@pytest.fixture(scope="module")
def golden():
    with np.load(FOLDER / "metrics.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.golden
def test_golden_skips(golden):
    logits, target = golden["sk_logits"].astype(np.float64), golden["sk_target"]
    chances = np.exp(logits[..., 1]) / np.exp(logits).sum(axis=-1)
    for predicted in (chances, golden["sk_pred"], golden["sk_pred"].astype(bool)):
        found = skip_outcome(predicted, target)
        np.testing.assert_allclose(found.average_accuracy(), golden["sk_aa_per_session"], atol=1e-12)
        np.testing.assert_allclose(found.by_position(), golden["sk_acc_at_position"], atol=1e-12)
        figures = found.figures()
        assert figures["maa"] == pytest.approx(float(golden["sk_maa"]), abs=1e-12)
        assert figures["accuracy"] == pytest.approx(float(golden["sk_accuracy"]), abs=1e-12)
        assert figures["first_accuracy"] == pytest.approx(float(golden["sk_first_accuracy"]), abs=1e-12)
    assert "log_loss" not in figures  # labels have none


@pytest.mark.golden
def test_golden_tracks(golden):
    target = golden["tr_target"]
    found = track_outcome(golden["tr_pred"], target, "free")
    np.testing.assert_allclose(found.average_accuracy(), golden["tr_aa_per_session"], atol=1e-12)
    np.testing.assert_allclose(found.by_position(), golden["tr_acc_at_position"], atol=1e-12)
    assert found.figures()["free_maa"] == pytest.approx(float(golden["tr_maa"]), abs=1e-12)
    right = golden["tr_correct_per_session"]
    np.testing.assert_allclose(found.histogram() * len(target), np.bincount(right, minlength=11))
    ranks = TrackRanks.from_scores(golden["tr_logits"], target, 0, "forced")
    assert ranks.figures()["forced_recall@1"] == pytest.approx(right.sum() / target.size)
    by_position = ranks.by_position()["forced_recall@1_by_position"]
    np.testing.assert_allclose(by_position, golden["tr_acc_at_position"], atol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("masked", [False, True])
def test_golden_hand_worked_sessions(masked):
    for case in json.loads((FOLDER / "metrics_hand.json").read_text()):
        truth, predicted = np.array([case["truth"]]), np.array([case["pred"]])
        mask = None
        if masked:  # the same in a longer row
            truth, predicted = (np.pad(row, ((0, 0), (0, 3)), constant_values=1) for row in (truth, predicted))
            mask = np.arange(truth.shape[1])[None] < len(case["truth"])
        found = skip_outcome(predicted, truth, mask)
        assert found.figures()["maa"] == pytest.approx(case["aa"], abs=1e-12)


def test_shorter_sessions_count_by_their_own_length():
    target = np.array([[5, 6, 7], [5, 6, 0]])
    found = track_outcome([[5, 6, 9], [9, 6, 0]], target, "forced")
    assert found.figures() == {
        "forced_maa": pytest.approx((2 / 3 + 1 / 4) / 2),
        "forced_accuracy": pytest.approx(3 / 5),
        "forced_first_accuracy": pytest.approx(1 / 2),
    }
    assert found.session_accuracy().tolist() == pytest.approx([2 / 3, 1 / 2])
    assert found.details() == {
        "forced_accuracy_by_position": [0.5, 1.0, 0.0],
        "forced_sessions_by_number_right": [0.0, 0.5, 0.5, 0.0],
    }


def test_log_loss_of_probabilities():
    found = skip_outcome([[0.9, 0.2], [0.5, 1.0]], [[1, 1], [0, 0]], [[True, True], [True, False]])
    expected = -(math.log(0.9) + math.log(0.2) + math.log(0.5)) / 3
    assert found.figures()["log_loss"] == pytest.approx(expected)
    assert found.right.tolist() == [[True, False], [True, False]]  # 0.5 is no skip
    assert skip_outcome([[1.0]], [[0]]).figures()["log_loss"] == pytest.approx(-math.log(1e-7), rel=1e-6)
    for wrong in (float("nan"), 1.5):
        with pytest.raises(UserError, match=r"a probability is not within 0\.\.1"):
            skip_outcome([[wrong]], [[0]])
    assert skip_outcome([[0.5, float("nan")]], [[0, 0]], [[True, False]]).figures()["accuracy"] == 1


def test_ranks_against_every_order_of_ties():
    rng = np.random.default_rng(1)
    scores = rng.integers(0, 4, (6, 3, 9)).astype(float)
    scores[..., :3] = 99  # ids that are no tracks are no candidates
    target = rng.integers(3, 9, (6, 3))
    target[0, 2] = target[4, 1:] = 0
    ranks = TrackRanks.from_scores(scores, target, 3, "forced")
    assert ranks.tracks == 6
    expected = {"recall": np.full((6, 3), np.nan), "mrr": np.full((6, 3), np.nan)}
    for session, position in np.argwhere(target):
        row = scores[session, position, 3:]
        own = row[target[session, position] - 3]
        places = [(row > own).sum() + 1 + i for i in range((row == own).sum())]
        expected["recall"][session, position] = np.mean([place <= 2 for place in places])
        expected["mrr"][session, position] = np.mean([1 / place if place <= 2 else 0 for place in places])
    found = ranks.values(2)
    assert list(found) == ["forced_recall@2", "forced_mrr@2"]
    for values, wanted in zip(found.values(), expected.values(), strict=True):
        np.testing.assert_allclose(values, wanted)
    np.testing.assert_allclose(ranks.per_session(2)["forced_mrr@2"], np.nanmean(expected["mrr"], axis=1))
    assert ranks.figures((2,))["forced_recall@2"] == pytest.approx(np.nanmean(expected["recall"]))
    by_position = ranks.by_position((2,))["forced_mrr@2_by_position"]
    np.testing.assert_allclose(by_position, np.nanmean(expected["mrr"], axis=0))


def test_a_constant_model_ranks_as_chance():
    ranks = TrackRanks.from_scores(np.zeros((4, 10, 53)), np.full((4, 10), 7), 3, "free")
    assert ranks.figures()["free_recall@10"] == pytest.approx(10 / 50)


def test_scores_that_are_not_finite():
    with pytest.raises(UserError, match="scores are not finite"):
        TrackRanks.from_scores(np.full((1, 10, 5), np.nan), np.full((1, 10), 4), 3, "forced")


def test_no_session_and_wrong_shapes():
    none = np.zeros((0, 10), int)
    assert all(math.isnan(value) for value in skip_outcome(none, none).figures().values())
    assert all(math.isnan(v) for v in TrackRanks.from_scores(np.zeros((0, 10, 5)), none, 3, "free").figures().values())
    assert isinstance(skip_outcome(none, none), Outcome)
    with pytest.raises(ValueError, match=r"got \(1, 2\), \(1, 3\)"):
        skip_outcome([[1, 0]], [[1, 0, 1]])
