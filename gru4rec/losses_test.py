"""The losses against their sums written out in Python, and what absent rows and extreme scores do to them."""

import math

import numpy as np
import pytest
import tensorflow as tf

from gru4rec.losses import elu, make_loss

KINDS = ("cross-entropy", "bpr-max", "top1-max", "bpr", "top1")
BPREG, ELU = 1.3, 0.5


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def by_hand(kind, r, i):
    """The loss of a row with scores ``r`` (a list) and positive ``i``, term by term."""
    if kind != "cross-entropy":
        r = [x if x > 0 else ELU * (math.exp(x) - 1) for x in r]
    n = len(r)
    others = [j for j in range(n) if j != i]
    total = sum(math.exp(r[j]) for j in others)
    s = {j: math.exp(r[j]) / total for j in others} if others else {}
    return {
        "cross-entropy": lambda: -math.log(math.exp(r[i]) / sum(map(math.exp, r))),
        "bpr-max": lambda: (
            -math.log(sum(s[j] * sigmoid(r[i] - r[j]) for j in others) + 1e-24)
            + BPREG * sum(s[j] * r[j] ** 2 for j in others)
        ),
        "top1-max": lambda: sum(s[j] * (sigmoid(r[j] - r[i]) + sigmoid(r[j] ** 2)) for j in others),
        "bpr": lambda: sum(-math.log(sigmoid(r[i] - r[j])) for j in range(n)),
        "top1": lambda: sum(sigmoid(r[j] - r[i]) + sigmoid(r[j] ** 2) for j in range(n)) / n - sigmoid(r[i] ** 2) / n,
    }[kind]()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("live", [4, 3, 1])
def test_losses_are_the_written_sums_over_the_columns_that_are_there(kind, live):
    rows, negatives = 4, 5
    scores = np.random.default_rng(3).normal(0, 2, (rows, rows + negatives)).astype(np.float32)
    there = (np.arange(rows) < live).astype(np.float32)
    found = np.asarray(make_loss(kind, BPREG, ELU)(scores, there))
    columns = [*range(live), *range(rows, rows + negatives)]
    expected = [by_hand(kind, scores[i, columns].astype(float).tolist(), i) if i < live else 0.0 for i in range(rows)]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def gradient(kind, scores, there, upstream):
    """The derivative of ``upstream`` times the losses by the scores."""
    scores = tf.constant(scores)
    with tf.GradientTape() as tape:
        tape.watch(scores)
        value = tf.reduce_sum(make_loss(kind, BPREG, ELU)(scores, there) * upstream)
    return tape.gradient(value, scores).numpy()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("live", [4, 3, 1])
def test_gradients_are_the_differences_of_the_written_sums(kind, live):
    rows, negatives, upstream, step = 4, 5, np.array([0.3, 1.0, 2.0, 0.7], np.float32), 1e-5
    scores = np.random.default_rng(3).normal(0, 2, (rows, rows + negatives)).astype(np.float32)
    found = gradient(kind, scores, (np.arange(rows) < live).astype(np.float32), upstream)
    columns, expected = [*range(live), *range(rows, rows + negatives)], np.zeros(scores.shape)
    for i in range(live):
        for j in columns:
            moved = [scores[i].astype(float) + sign * step * (np.arange(len(scores[i])) == j) for sign in (1, -1)]
            above, below = (by_hand(kind, row[columns].tolist(), i) for row in moved)
            expected[i, j] = upstream[i] * (above - below) / (2 * step)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_columns_beyond_the_targets_may_be_absent_too(kind):
    scores, there = np.random.default_rng(6).normal(size=(3, 8)).astype(np.float32), np.ones(8, np.float32)
    there[[2, 7]] = 0  # a row with its target, and a last column
    loss, upstream = make_loss(kind, BPREG, ELU), np.ones(3, np.float32)
    np.testing.assert_allclose(loss(scores, there), loss(scores[:, :7], there[:3]), rtol=1e-6)
    found, expected = (gradient(kind, *given, upstream) for given in ((scores, there), (scores[:, :7], there[:3])))
    np.testing.assert_allclose(found[:, :7], expected, rtol=1e-5, atol=1e-7)
    assert not found[:, 7].any()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_are_gone_change_nothing(kind):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 7)).astype(np.float32)
    there = np.array([1, 1, 0], np.float32)
    other = scores.copy()
    other[2], other[:, 2] = rng.normal(size=7), rng.normal(size=3)
    loss = make_loss(kind, BPREG, ELU)
    np.testing.assert_allclose(loss(scores, there), loss(other, there), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_some_rows_alone_have_the_losses_that_they_have_among_all(kind):
    scores = np.random.default_rng(4).normal(size=(4, 9)).astype(np.float32)
    there = np.array([1, 1, 1, 0], np.float32)
    loss = make_loss(kind, BPREG, ELU)
    turned = [2, 3, 0, 1]  # rows 2 and 3 first, as their replica has them
    found = loss(scores[turned[:2]][:, [*turned, *range(4, 9)]], there[turned])
    np.testing.assert_allclose(found, loss(scores, there)[2:], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_extreme_scores_stay_finite(kind):
    scores = np.zeros((2, 4), np.float32)
    scores[0, 0], scores[1, 3] = -80.0, 80.0
    there = np.ones(2, np.float32)
    assert np.isfinite(np.asarray(make_loss(kind, BPREG, ELU)(scores, there))).all()
    assert np.isfinite(gradient(kind, scores, there, there)).all()


def test_elu():
    x = np.array([-3.0, -0.5, 0.0, 2.0], np.float32)
    np.testing.assert_allclose(elu(x, 0.5), np.where(x > 0, x, 0.5 * np.expm1(x)), rtol=1e-6)
    assert elu(x, 0.0) is x
