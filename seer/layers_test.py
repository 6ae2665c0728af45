"""The recurrent layers of Keras 2: activations, gate order, dropout masks, and the written-out gradient."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.dropout import drop
from seer.layers import HardSigmoidLSTM, hard_sigmoid, recurrent

UNITS, FEATURES, STEPS, BATCH = 7, 6, 23, 5


def numpy_hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def numpy_lstm(x, kernel, recurrent_kernel, bias):
    h = c = np.zeros((len(x), UNITS))
    for t in range(x.shape[1]):
        i, f, g, o = np.split(x[:, t] @ kernel + h @ recurrent_kernel + bias, 4, axis=-1)
        c = numpy_hard_sigmoid(f) * c + numpy_hard_sigmoid(i) * np.tanh(g)
        h = numpy_hard_sigmoid(o) * np.tanh(c)
    return h


def numpy_gru(x, kernel, recurrent_kernel, bias):
    h = np.zeros((len(x), UNITS))
    (kz, kr, kh), (uz, ur, uh), (bz, br, bh) = (np.split(w, 3, axis=-1) for w in (kernel, recurrent_kernel, bias))
    for t in range(x.shape[1]):
        z = numpy_hard_sigmoid(x[:, t] @ kz + h @ uz + bz)
        r = numpy_hard_sigmoid(x[:, t] @ kr + h @ ur + br)
        h = z * h + (1 - z) * np.tanh(x[:, t] @ kh + (r * h) @ uh + bh)
    return h


def songs(seed=0):
    return np.random.default_rng(seed).normal(size=(BATCH, STEPS, FEATURES)).astype(np.float32) * 2


def test_hard_sigmoid_is_that_of_keras_2_not_of_keras_3():
    x = np.linspace(-4, 4, 41, dtype=np.float32)
    np.testing.assert_allclose(hard_sigmoid(x), numpy_hard_sigmoid(x), atol=1e-7)
    assert np.abs(np.asarray(keras.activations.hard_sigmoid(x)) - numpy_hard_sigmoid(x)).max() > 0.03


@pytest.mark.parametrize(("cell", "reference"), [("lstm", numpy_lstm), ("gru", numpy_gru)])
def test_hidden_state_equals_float64_numpy(cell, reference):
    layer = recurrent(cell, UNITS, "hard_sigmoid")
    state = np.asarray(layer(songs()))
    weights = [np.asarray(w, np.float64) for w in layer.weights]
    np.testing.assert_allclose(state, reference(songs().astype(np.float64), *weights), atol=2e-6)


def loss_and_gradients(layer, x, jit):
    target = np.random.default_rng(1).normal(size=(BATCH, UNITS)).astype(np.float32)

    @tf.function(jit_compile=jit)
    def run(x):
        with tf.GradientTape() as tape:
            state = layer(x, training=True)
            # Rows are picked, some twice, as a batch of ratings picks its songs.
            picked = tf.gather(state, [0, 3, 3, 1])
            loss = tf.reduce_sum((picked - tf.gather(target, [0, 1, 2, 3])) ** 2)
        return loss, tape.gradient(loss, [v.value for v in layer.trainable_variables])

    loss, gradients = run(tf.constant(x))
    return float(loss), [g.numpy() for g in gradients]


@pytest.mark.slow
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("jit", [False, True])
def test_written_out_gradient_equals_the_traced_one(dropout, jit):
    keras.utils.set_random_seed(3)
    options = {
        "dropout": dropout,
        "recurrent_dropout": dropout,
        "implementation": 1,
        "recurrent_activation": hard_sigmoid,
    }
    ours, traced = HardSigmoidLSTM(UNITS, **options), keras.layers.LSTM(UNITS, **options)
    ours.build((None, STEPS, FEATURES))
    traced.build((None, STEPS, FEATURES))
    for from_, to in zip(ours.weights, traced.weights, strict=True):
        to.assign(from_)
    for layer in (ours, traced):  # the same masks
        layer.cell.seed_generator.state.assign([11, 12])
    loss, gradients = loss_and_gradients(ours, songs(), jit)
    expected_loss, expected = loss_and_gradients(traced, songs(), jit)
    assert loss == pytest.approx(expected_loss, rel=2e-6)
    for gradient, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, atol=3e-6 * np.abs(reference).max())


def test_each_gate_has_its_own_dropout_mask():
    layer = recurrent("lstm", UNITS, "hard_sigmoid", dropout=0.5)
    layer.build((None, STEPS, FEATURES))
    masks = np.asarray(layer.cell.get_dropout_mask(np.ones((400, FEATURES), np.float32)))
    assert masks.shape == (4, 400, FEATURES)
    for k in range(3):
        assert 0.4 < np.mean(masks[k] != masks[k + 1]) < 0.6


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_masks_are_the_cheap_ones(cell):
    layer = recurrent(cell, UNITS, "hard_sigmoid", dropout=0.5)
    layer.build((None, STEPS, FEATURES))
    layer.cell.seed_generator.state.assign([3, 4])
    ones = np.ones((5, FEATURES), np.float32)
    masks = layer.cell.get_dropout_mask(ones)
    first = masks if cell == "rnn" else masks[0]
    np.testing.assert_array_equal(first, drop(ones, 0.5, np.array([3, 4])))


def test_cells_that_are_not_written_out_still_drop_only_in_training():
    for cell in ("gru", "rnn"):
        layer = recurrent(cell, UNITS, "hard_sigmoid", dropout=0.5)
        still = [np.asarray(layer(songs(), training=False)) for _ in range(2)]
        np.testing.assert_array_equal(*still)
        assert np.abs(np.asarray(layer(songs(), training=True)) - still[0]).max() > 1e-3
