import keras
import numpy as np
import pytest
import tensorflow as tf

from session_transformers import softmax


def arrays(vocabulary, seed=0, batch=3, steps=4, width=5):
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((batch, steps, width)).astype(np.float32)
    labels = rng.integers(0, vocabulary, (batch, steps)).astype(np.int32)
    weights = rng.random((batch, steps)).astype(np.float32)
    weights[0, -1] = 0
    table = rng.standard_normal((vocabulary, width)).astype(np.float32)
    return hidden, labels, weights, table, rng.standard_normal(vocabulary).astype(np.float32)


def with_gradients(loss, hidden, labels, weights, table, bias, *more, jit=True):
    @tf.function(jit_compile=jit)
    def run(hidden, table, bias):
        with tf.GradientTape() as tape:
            tape.watch((hidden, table, bias))
            value = 3.0 * loss(hidden, labels, weights, table, bias, *more)
        return value, [tf.convert_to_tensor(g) for g in tape.gradient(value, (hidden, table, bias))]

    value, gradients = run(*(tf.constant(a) for a in (hidden, table, bias)))
    return float(value), [g.numpy() for g in gradients]


def test_cross_entropy_is_the_weighted_sum_of_negative_log_shares():
    hidden, labels, weights, table, bias = arrays(11)
    logits = hidden.astype(np.float64) @ table.T + bias
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    own = np.take_along_axis(shares, labels[..., None], -1)[..., 0]
    value, _ = with_gradients(softmax.cross_entropy, hidden, labels, weights, table, bias)
    assert value == pytest.approx(3 * -(weights * np.log(own)).sum(), rel=1e-5)


@pytest.mark.parametrize("jit", [True, False])
def test_positions_one_by_one_give_the_same_loss_and_gradients(monkeypatch, jit):
    data = arrays(11)
    value, gradients = with_gradients(softmax.cross_entropy, *data, jit=jit)
    monkeypatch.setattr(softmax, "LOGITS", 2 * 3 * 11)  # two of the four positions at a time
    value2, gradients2 = with_gradients(softmax.cross_entropy, *data, jit=jit)
    assert value2 == pytest.approx(value, rel=1e-6)
    for one, two in zip(gradients, gradients2, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_half_precision_states_give_a_float32_loss():
    hidden, labels, weights, table, bias = arrays(11)
    low = [keras.ops.cast(a, "float16") for a in (hidden * 30, table)]
    value = softmax.cross_entropy(low[0], labels, weights, low[1], bias)
    assert keras.backend.standardize_dtype(value.dtype) == "float32" and np.isfinite(float(value))


def test_a_sample_that_is_the_vocabulary_gives_the_whole_loss():
    hidden, labels, weights, table, bias = arrays(11)
    # Every track once: the target's own occurrence does not count, so its share is counted exactly once.
    negatives, log_expected = np.arange(11, dtype=np.int32), np.zeros(11, np.float32)
    value, gradients = with_gradients(
        softmax.sampled_cross_entropy, hidden, labels, weights, table, bias, negatives, log_expected
    )
    whole, of_whole = with_gradients(softmax.cross_entropy, hidden, labels, weights, table, bias)
    assert value == pytest.approx(whole, rel=1e-5)
    for one, two in zip(gradients, of_whole, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)


def test_a_large_sample_gives_nearly_the_whole_loss_whatever_it_is_drawn_from():
    hidden, labels, weights, table, bias = arrays(50, seed=1)
    rng = np.random.default_rng(2)
    chance = np.arange(1, 51) ** -0.7
    chance /= chance.sum()
    n = 200_000
    negatives = rng.choice(50, n, p=chance).astype(np.int32)
    expected = np.log(n * chance).astype(np.float32)
    value = softmax.sampled_cross_entropy(hidden, labels, weights, table, bias, negatives, expected)
    assert float(value) == pytest.approx(float(softmax.cross_entropy(hidden, labels, weights, table, bias)), rel=0.01)
