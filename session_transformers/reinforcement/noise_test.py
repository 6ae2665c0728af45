import numpy as np
import pytest

from session_transformers.reinforcement.noise import THETA, OrnsteinUhlenbeck, bernoulli_mask, strength


def test_strength_falls_to_its_floor():
    assert [strength(0.5, 0.9, 0.0, step) for step in range(3)] == pytest.approx([0.5, 0.45, 0.405])
    assert strength(0.5, 0.9, 0.1, 100) == 0.1


def test_ornstein_uhlenbeck_keeps_its_deviation_and_goes_on():
    noise = OrnsteinUhlenbeck(20_000, 2, np.random.default_rng(1))
    steps = np.stack([noise(0.3) for _ in range(6)])
    assert steps.dtype == np.float32
    np.testing.assert_allclose(steps.std(axis=(1, 2)), 0.3, rtol=0.02)
    together = np.corrcoef(steps[0].ravel(), steps[1].ravel())[0, 1]
    assert together == pytest.approx(1 - THETA, abs=0.02)


def test_ornstein_uhlenbeck_begins_anew_where_a_session_is_over():
    noise = OrnsteinUhlenbeck(4, 3, np.random.default_rng(1))
    before = noise.values.copy()
    noise.renew(np.array([True, False, False, True]))
    assert (noise.values[[1, 2]] == before[[1, 2]]).all() and (noise.values[[0, 3]] != before[[0, 3]]).all()


def test_bernoulli_mask_sets_its_share_to_zero():
    scores = bernoulli_mask(np.ones((1000, 10), np.float32), 0.3, np.random.default_rng(1))
    assert scores.dtype == np.float32 and (scores == 0).mean() == pytest.approx(0.3, abs=0.02)
    assert set(np.unique(scores)) == {0.0, 1.0}
