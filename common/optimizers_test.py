"""Repeated ids in a batch: the optimizers must see the sum of their gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.optimizers import OPTIMIZERS, LossScale, RowAdagrad, make_optimizer
from common.options import UserError

IDS = np.array([2, 0, 2, 2, 4], np.int32)
TARGETS = np.arange(10, dtype=np.float32).reshape(5, 2)


def train(optimizer, one_hot, steps=3):
    """Fit rows of a (6, 2) table to TARGETS, by lookup or by the equal product with one-hot rows."""
    start = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
    if one_hot:
        layer = keras.layers.Dense(2, use_bias=False)
        layer.build((None, 6))
        inputs = np.eye(6, dtype=np.float32)[IDS]
    else:
        layer = keras.layers.Embedding(6, 2)
        layer.build()
        inputs = IDS
    layer.weights[0].assign(start)
    optimizer.build(layer.trainable_variables)
    for _ in range(steps):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((layer(inputs) - TARGETS) ** 2)
        gradients = tape.gradient(loss, [layer.weights[0].value])
        assert one_hot or isinstance(gradients[0], tf.IndexedSlices)
        optimizer.apply(gradients, layer.trainable_variables)
    return np.asarray(layer.weights[0])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_lookup_trains_like_one_hot_product(name):
    lookup, product = (train(make_optimizer(name, 0.1), one_hot) for one_hot in (False, True))
    np.testing.assert_allclose(lookup, product, atol=1e-6)


@pytest.mark.parametrize("name", ["Adam", "Adagrad", "RMSprop", "Nadam"])
def test_plain_keras_does_not(name):
    """The reason for this module; if this fails, Keras has mended it and the module can go."""
    kind = getattr(keras.optimizers, name)
    lookup, product = (train(kind(learning_rate=0.1), one_hot) for one_hot in (False, True))
    assert np.abs(lookup - product).max() > 1e-3


def test_loss_scaling_wraps_the_exact_optimizer():
    optimizer = make_optimizer("adam", 0.1, mixed_float16=True)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert type(optimizer.inner_optimizer).__name__ == "ExactAdam"


def test_unknown_optimizer_is_refused():
    with pytest.raises(UserError, match="expected one of adam"):
        make_optimizer("adagard", 0.1)


def test_the_loss_scale_of_row_optimizers_doubles_after_finite_steps_and_halves_after_others():
    scale = LossScale()
    scale.STEPS = 3
    applied = []
    for value, factor, count in (
        (1, 2.0**15, 1),
        (np.inf, 2.0**14, 0),
        (2, 2.0**14, 1),
        (3, 2.0**14, 2),
        (4, 2.0**15, 0),
    ):
        scale.apply({"w": tf.constant([float(value)])}, lambda found: applied.append(float(found["w"][0])))
        assert (float(scale.factor), int(scale.state["finite_steps"])) == (factor, count)
    np.testing.assert_allclose(applied, [1 / 2**15, 2 / 2**14, 3 / 2**14, 4 / 2**14])


@pytest.mark.parametrize("momentum", [0.0, 0.4])
def test_repeated_rows_are_summed_wherever_they_stand_and_however_many_are_updated_at_a_time(momentum):
    """Rows that come again in the same block of 128 places, in a later one, three times, and rows that come once."""
    rng = np.random.default_rng(0)
    indices = np.concatenate([rng.permutation(400)[:250], rng.integers(0, 400, 134)]).astype(np.int32)  # 3 blocks
    _, places, inverse = np.unique(indices, return_index=True, return_inverse=True)
    first = places[inverse]
    again = np.flatnonzero(first < np.arange(len(indices)))
    pairs = [np.pad(each, (0, 200 - len(again))).astype(np.int32) for each in (again, first[again])]
    start = rng.normal(size=(400, 3)).astype(np.float32)
    weight, total, move = start.astype(float), np.zeros((400, 3)), np.zeros((400, 3))
    variables = [keras.Variable(start, name="t") for _ in range(2)]
    optimizers = [RowAdagrad({"t": variable}, 0.1, momentum) for variable in variables]

    @tf.function(jit_compile=True)
    def compiled(gradients):
        optimizers[1].repeated_rows("t", tf.constant(indices), gradients, *map(tf.constant, pairs), compiled=True)

    for _ in range(3):
        gradients = rng.normal(size=(len(indices), 3)).astype(np.float32)
        optimizers[0].repeated_rows("t", indices, gradients, *pairs)
        compiled(tf.constant(gradients))
        whole = np.zeros((400, 3))
        np.add.at(whole, indices, gradients.astype(float))
        rows = np.unique(indices)
        total[rows] += whole[rows] ** 2
        move[rows] = momentum * move[rows] - 0.1 * whole[rows] / np.sqrt(total[rows] + 1e-6)
        weight[rows] += move[rows]
    for variable in variables:
        np.testing.assert_allclose(np.asarray(variable), weight, atol=2e-6)
