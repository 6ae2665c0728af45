from dataclasses import replace

import keras
import numpy as np
import pytest

from common.options import UserError
from dtnmr.architecture import Architecture
from dtnmr.batches import Examples
from dtnmr.lstm import lstm
from dtnmr.model import DTNMR, music, rate, rate_all, summed_rows
from dtnmr.testing import tiny_data

DATA = tiny_data()
SMALL = Architecture(
    DATA.song_width, DATA.user_width, 2, embedding=6, mlp=(12, 8), lstm=7, long_length=6, short_length=3
)


def batch(rows=5, songs=0):
    points = DATA.train
    candidates = np.random.default_rng(3).integers(0, DATA.songs, (rows, 4)).astype(np.int32)
    return Examples.of(SMALL, DATA).inputs(points.playlists[:rows], points.positions[:rows], candidates, songs)


def dense(bits, rows, count, width):
    found = np.zeros((count, width), np.float32)
    found[rows, bits] = 1.0
    return found


def test_summed_rows_equal_the_dense_product():
    rng = np.random.default_rng(1)
    kernel = rng.uniform(-0.1, 0.1, (900, 64)).astype(np.float32)
    columns = [rng.choice(900, rng.integers(0, 8), replace=False) for _ in range(50)]
    bits = np.concatenate(columns).astype(np.int32)
    rows = np.repeat(np.arange(50, dtype=np.int32), [len(part) for part in columns])
    expected = dense(bits, rows, 50, 900) @ kernel
    np.testing.assert_allclose(summed_rows(kernel, bits, rows, 50), expected, rtol=0, atol=1e-6)


def test_lstm_equals_keras_from_the_beginning_of_each_sequence():
    rng = np.random.default_rng(1)
    layer = keras.layers.LSTM(5, return_sequences=True)
    x = rng.normal(size=(4, 9, 3)).astype(np.float32)
    layer.build(x.shape)
    kernel, recurrent, bias = (np.asarray(weight) for weight in layer.weights)
    lengths = np.array([9, 4, 1, 0])
    live = (np.arange(9)[::-1, None] < lengths).astype(np.float32)[..., None]
    found = np.asarray(lstm(x.transpose(1, 0, 2) @ kernel + bias, recurrent, live))
    for row, length in enumerate(lengths):
        assert not found[: 9 - length, row].any()
        if length:
            expected = np.asarray(layer(x[row : row + 1, 9 - length :]))[0]
            np.testing.assert_allclose(found[9 - length :, row], expected, atol=1e-6)


def test_gradient_of_the_lstm_equals_finite_differences():
    import tensorflow as tf

    rng = np.random.default_rng(2)
    live = tf.constant((np.arange(4)[:, None] >= [0, 2]).astype(np.float32)[..., None])
    upstream = tf.constant(rng.normal(size=(4, 2, 3)), tf.float32)
    x, kernel = (tf.constant(rng.normal(size=shape), tf.float32) for shape in ((4, 2, 12), (3, 12)))

    def loss(x, kernel):
        return tf.reduce_sum(lstm(x, kernel, live) * upstream)

    theory, numeric = tf.test.compute_gradient(loss, [x, kernel], delta=1e-2)
    for one, other in zip(theory, numeric, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)


@pytest.mark.parametrize("final_relu", [False, True])
@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_scores_do_not_depend_on_the_other_rows_or_on_padding(rating, final_relu):
    model = DTNMR(replace(SMALL, rating=rating, final_relu=final_relu))
    together = np.asarray(model(batch(5)))
    np.testing.assert_allclose(np.asarray(model(batch(5, songs=40))), together, atol=1e-6)
    points, candidates = DATA.train, np.random.default_rng(3).integers(0, DATA.songs, (5, 4)).astype(np.int32)
    for row in range(5):
        some = slice(row, row + 1)
        inputs = Examples.of(SMALL, DATA).inputs(points.playlists[some], points.positions[some], candidates[some])
        np.testing.assert_allclose(np.asarray(model(inputs))[0], together[row], atol=1e-6)


@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_rating_all_songs_equals_rating_candidates(rating):
    architecture = replace(SMALL, rating=rating)
    weights = DTNMR(architecture).weights_now
    rng = np.random.default_rng(1)
    user, songs = (rng.normal(size=(n, 6)).astype(np.float32) for n in (3, 11))
    every = np.broadcast_to(songs, (3, *songs.shape))
    one, all_of_them = rate(architecture, weights, user, every), rate_all(architecture, weights, user, songs)
    np.testing.assert_allclose(one, all_of_them, atol=1e-5)


def test_length_is_a_column_of_its_own():
    weights = DTNMR(SMALL).weights_now
    first = np.zeros((2, 12), np.float32)
    found = [np.asarray(music(SMALL, weights, first, np.full(2, length, np.float32))) for length in (0.0, 0.5)]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_initial_weights_are_torchs_and_follow_from_the_seed():
    architecture = Architecture(400, 60, 8)
    one, same, other = (DTNMR(architecture, seed) for seed in (1, 1, 2))
    for name, variable in one.named.items():
        values = np.asarray(variable)
        np.testing.assert_array_equal(values, same.named[name])
        assert not np.array_equal(values, other.named[name])
    bounds = {"song.length": 401, "song.0.kernel": 401, "song.0.bias": 401, "user.0.bias": 460, "song.1.bias": 512}
    bounds |= {"user.2.kernel": 64, "lstm.0.input": 256, "lstm.1.recurrent_bias": 256, "head.1.bias": 256}
    for name, inputs in bounds.items():
        largest = np.abs(np.asarray(one.named[name])).max() * np.sqrt(inputs)
        assert 0.9 < largest <= 1.0, name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_length": 7}, "short history has 7 songs, the long one 6"),
        ({"rating": "cosine"}, "rating is cosine; expected linear, dot, mlp"),
        ({"mlp": ()}, "mlp is"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"embedding": 0}, "embedding is 0"),
    ],
)
def test_impossible_architectures_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        replace(SMALL, **changes)
