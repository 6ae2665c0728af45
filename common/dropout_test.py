"""Masks of dropout: their rate, their independence, and that they follow from the seed alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from common.dropout import Dropout, drop, random_bits


def bits(seed, shape):
    return np.asarray(random_bits(np.array(seed, np.uint32), np.zeros(shape, np.float32)))


def correlation(a, b):
    return abs(np.corrcoef(a.ravel().astype(np.float64), b.ravel().astype(np.float64))[0, 1])


def test_numbers_are_uniform_in_every_bit():
    found = bits((1, 2), (400, 500))
    assert found.dtype == np.uint32 and len(np.unique(found)) > 0.9999 * found.size
    counts = np.bincount(found.ravel() >> 24, minlength=256)
    expected = found.size / 256
    assert ((counts - expected) ** 2 / expected).sum() < 360  # chi-square, 255 degrees of freedom: p about 1e-5
    for bit in range(32):
        assert abs(((found >> np.uint32(bit)) & np.uint32(1)).mean() - 0.5) < 0.006  # five standard deviations


@pytest.mark.parametrize(
    ("one", "two"), [((1, 0), (1, 1)), ((1, 0), (2, 0)), ((7, 9), (9, 7)), ((0, 0), (2**32 - 1, 0))]
)
def test_seeds_that_are_near_each_other_have_nothing_in_common(one, two):
    a, b = bits(one, (200, 300)), bits(two, (200, 300))
    assert correlation(a, b) < 0.02 and (a == b).mean() < 1e-3
    for shift in (1, 2, 300):  # nor is one a part of the other
        assert (a.ravel()[shift:] == b.ravel()[:-shift]).mean() < 1e-3


def test_neighbours_in_a_mask_are_independent():
    found = bits((3, 4), (500, 512))
    assert correlation(found[1:], found[:-1]) < 0.01 and correlation(found[:, 1:], found[:, :-1]) < 0.01


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_what_is_kept_is_scaled(rate):
    x = np.full((300, 400), 2.0, np.float32)
    found = np.asarray(drop(x, rate, np.array([5, 6])))
    assert set(np.unique(found)) == {0.0, np.float32(2.0) / np.float32(1 - rate)}
    assert abs((found == 0).mean() - rate) < 0.008
    assert np.asarray(drop(x, 0.0, np.array([5, 6]))) is not None and (np.asarray(drop(x, 0, [5, 6])) == x).all()


def test_compiled_and_of_unknown_shape_it_is_the_same():
    x, seed = tf.random.normal((12, 5, 7)), tf.constant([3, 9])
    plain = np.asarray(drop(x, 0.3, seed))
    for jit in (True, False):
        of_any_size = [tf.TensorSpec((None, 5, 7)), tf.TensorSpec((2,), tf.int32)]
        loose = tf.function(lambda x, seed: drop(x, 0.3, seed), jit_compile=jit, input_signature=of_any_size)
        np.testing.assert_allclose(loose(x, seed), plain, rtol=1e-6)  # the last bit may differ, no zero does


def test_the_layer_draws_anew_in_training_only():
    layer = Dropout(0.5, seed=1)
    x = ops.ones((40, 50))
    first, second = np.asarray(layer(x, training=True)), np.asarray(layer(x, training=True))
    assert (first != second).any() and (np.asarray(layer(x)) == 1).all()
    again = Dropout.from_config(layer.get_config())
    np.testing.assert_array_equal(again(x, training=True), first)
    half = Dropout(0.5, dtype="mixed_float16", seed=1)(ops.ones((40, 50)), training=True)
    assert keras.backend.standardize_dtype(half.dtype) == "float16" and ((np.asarray(half) == 0) == (first == 0)).all()


def test_the_gradient_is_that_of_the_mask():
    x = tf.Variable(tf.ones((30, 30)))
    with tf.GradientTape() as tape:
        y = tf.reduce_sum(drop(x, 0.25, tf.constant([1, 1])))
    np.testing.assert_allclose(tape.gradient(y, x), drop(tf.ones((30, 30)), 0.25, tf.constant([1, 1])))
