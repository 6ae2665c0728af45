import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from audiotext.losses import half_cosine, mean_squared_error, r2, unit_rows, weighted_half_cosine


def loss(targets, predictions, dtype=np.float32):
    return np.asarray(half_cosine(np.asarray(targets, dtype), np.asarray(predictions, dtype)))


def test_worked_values():
    found = loss([[1, 0], [1, 0], [1, 0], [3, 4], [0, 0]], [[2, 0], [0, 5], [-1, 0], [4, 3], [1, 1]])
    np.testing.assert_allclose(found, [0, 0.5, 1, 0.02, 0.5], atol=1e-7)


@given(st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([1e-12, 1.0, 1e12]))
def test_depends_on_the_angle_only_and_lies_in_0_to_1(width, seed, scale):
    rng = np.random.default_rng(seed)
    targets, predictions = rng.normal(size=(2, 4, width))
    found = loss(targets, predictions)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(loss(targets * scale, predictions / scale), found, atol=1e-6)
    np.testing.assert_allclose(loss(predictions, targets), found, atol=1e-6)
    np.testing.assert_allclose(loss(-targets, predictions), 1 - found, atol=1e-6)
    # For unit vectors: MSE = 4 loss / width (spec: how the seed's log tells which loss was used).
    a, b = unit_rows(targets), unit_rows(predictions)
    np.testing.assert_allclose(mean_squared_error(a, b), 4 * found / width, atol=1e-6)


def test_precision_follows_the_predictions():
    assert loss([[1, 2]], [[2, 1]], np.float16).dtype == np.float32
    assert loss([[1, 2]], [[2, 1]], np.float64).dtype == np.float64


def test_weights():
    targets, predictions = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    weights = np.array([1, 0, 2, 0.5, 0], np.float32)
    expected = (loss(targets, predictions) * weights).sum()
    assert float(weighted_half_cosine(targets, predictions, weights)) == pytest.approx(expected, rel=1e-6)


def test_r2_is_scikit_learns_row_by_row():
    targets, predictions = np.random.default_rng(0).normal(size=(2, 6, 4))
    targets[3], targets[4] = 1, 1
    predictions[4] = 1
    expected = [r2_score(y, p) for y, p in zip(targets, predictions, strict=True)]
    np.testing.assert_allclose(r2(targets, predictions), expected, rtol=1e-12)


def test_unit_rows_keeps_zeros():
    found = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0]])
