"""NDCG as released cannot tell models apart at the real data's size: a claim of the page, measured."""

import numpy as np
import pytest

from common.metrics import map_released, ndcg_released


@pytest.mark.slow
def test_random_predictions_get_a_near_perfect_released_ndcg():
    rng = np.random.default_rng(0)
    users = rng.integers(0, 32_180, 188_209)
    true, predicted = rng.integers(1, 6, len(users)).astype(np.float64), rng.random(len(users))
    ndcg = ndcg_released(users, true, predicted, 10)
    assert ndcg == pytest.approx(0.9947, abs=2e-3)
    assert ndcg_released(users, true, predicted, 100) == 1.0
    assert map_released(users, true, predicted, 10) < 0.75
