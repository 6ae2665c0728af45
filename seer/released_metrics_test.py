"""The released metrics: equal to what the released code gave, and why they cannot tell models apart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator

import numpy as np
import pytest

from common import metrics
from common.metrics import Ranking
from conftest import GOLDEN
from seer.released_metrics import map_released, map_v2, ndcg_released

EXPECTED = GOLDEN / "seer" / "expected"


def golden_cases(model: str) -> Iterator[tuple[str, dict, np.ndarray, np.ndarray, np.ndarray]]:
    """Case and threshold, expected values, then user, true and predicted rating of the rows."""
    expected = json.loads((EXPECTED / f"metrics_{model}.json").read_text())
    assert expected
    shared, own = np.load(EXPECTED / "metric_cases.npz"), np.load(EXPECTED / f"predictions_{model}.npz")
    for case, thresholds in expected.items():
        if case == "model_on_test":
            pairs, true, predicted = own["test_set"], own["test_true"], own["test_pred"]
        else:
            big = "big_" if case.startswith("big_") else ""
            pairs, true = shared[f"{big}test_set"], shared[f"{big}test_true"]
            predicted = shared[f"{big}pred_{case.removeprefix('big_')}"]
        for threshold, values in thresholds.items():
            yield threshold.removeprefix("threshold_"), values, pairs[:, 0], true, predicted


@pytest.mark.golden
@pytest.mark.parametrize("model", ["LSTM", "GRU"])
def test_released_metrics_equal_the_released_code(model):
    """Every case, also the MAP under many ties: the release's unstable sort is reproduced."""
    for threshold, expected, user, true, predicted in golden_cases(model):
        for name, value in expected.items():
            name, _, k = name.partition("@")
            if name == "RMSE":
                ours = metrics.rmse(true, predicted)
            elif name == "MAE":
                ours = metrics.mae(true, predicted)
            elif name == "MAP":
                ours = map_released(user, true, predicted, int(k), float(threshold))
            elif name == "oldMAP":
                ours = map_v2(user, true, predicted, int(k), float(threshold))
            elif name == "NDCG":
                ours = ndcg_released(user, true, predicted, int(k))
            else:
                assert name == "standard"
                continue
            assert ours == pytest.approx(value, rel=0, abs=1e-9), (model, threshold, name, k)


@pytest.mark.golden
@pytest.mark.parametrize("model", ["LSTM", "GRU"])
def test_standard_metrics_equal_the_textbook_values(model):
    """Where no user has tied predictions (elsewhere those values depend on the order of the rows)."""
    compared = 0
    for threshold, expected, user, true, predicted in golden_cases(model):
        if len(np.unique(np.stack([user, predicted], 1), axis=0)) < len(user):
            continue
        ranking = Ranking.from_rows(user, predicted, true >= float(threshold))
        for name, values in expected.items():
            if name.startswith("standard@"):
                k = int(name.removeprefix("standard@"))
                expected_map, expected_ndcg = values["MAP_minKR_relusers"], values["NDCG_binary_relusers"]
                assert metrics.average_precision_at(ranking, k) == pytest.approx(expected_map, rel=0, abs=1e-9)
                assert metrics.ndcg_at(ranking, k) == pytest.approx(expected_ndcg, rel=0, abs=1e-9)
                compared += 1
    assert compared


def test_several_cutoffs_at_once():
    user, true, predicted = np.random.default_rng(3).integers(0, 6, (3, 90))
    for released in (map_released, map_v2, ndcg_released):
        assert released(user, true, predicted, [1, 5]) == [released(user, true, predicted, k) for k in (1, 5)]


def test_released_ndcg_of_short_lists_is_one_whatever_the_model():
    random = np.random.default_rng(0)
    user = np.repeat(np.arange(50), 10)
    assert ndcg_released(user, random.random(500), random.random(500), 10) == 1


def test_nan_ranks_last():
    assert map_released([0, 0], [5, 1], [math.nan, -9.0], 1) == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: map_released([0], [1], [1], 0),
        lambda: map_v2([0], [1], [1], [1, -1]),
        lambda: ndcg_released([0], [1], [1], 0),
        lambda: ndcg_released([0, 1], [1], [1], 1),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(ValueError):
        call()


@pytest.mark.slow
def test_random_predictions_get_a_near_perfect_released_ndcg():
    rng = np.random.default_rng(0)
    users = rng.integers(0, 32_180, 188_209)
    true, predicted = rng.integers(1, 6, len(users)).astype(np.float64), rng.random(len(users))
    ndcg = ndcg_released(users, true, predicted, 10)
    assert ndcg == pytest.approx(0.9947, abs=2e-3)
    assert ndcg_released(users, true, predicted, 100) == 1.0
    assert map_released(users, true, predicted, 10) < 0.75
