from dataclasses import replace

import keras
import numpy as np
import pytest

from common.options import UserError
from dtnmr.batches import Examples
from dtnmr.model import Networks, lstm, summed_rows
from dtnmr.options import Architecture
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
    model = Networks(replace(SMALL, rating=rating, final_relu=final_relu))
    together = np.asarray(model(batch(5)))
    np.testing.assert_allclose(np.asarray(model(batch(5, songs=40))), together, atol=1e-6)
    points, candidates = DATA.train, np.random.default_rng(3).integers(0, DATA.songs, (5, 4)).astype(np.int32)
    for row in range(5):
        some = slice(row, row + 1)
        inputs = Examples.of(SMALL, DATA).inputs(points.playlists[some], points.positions[some], candidates[some])
        np.testing.assert_allclose(np.asarray(model(inputs))[0], together[row], atol=1e-6)


@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_rating_all_songs_equals_rating_candidates(rating):
    layer = Networks(replace(SMALL, rating=rating)).rating
    rng = np.random.default_rng(1)
    user, songs = (rng.normal(size=(n, 6)).astype(np.float32) for n in (3, 11))
    every = np.broadcast_to(songs, (3, *songs.shape))
    np.testing.assert_allclose(layer(user, every), layer(user, songs), atol=1e-5)


def test_length_is_a_column_of_its_own():
    model = Networks(SMALL)
    first = np.zeros((2, 12), np.float32)
    found = [np.asarray(model.music(first, np.full(2, length, np.float32))) for length in (0.0, 0.5)]
    assert np.abs(found[0] - found[1]).max() > 1e-4


def test_initial_weights_are_torchs_and_follow_from_the_seed():
    architecture = Architecture(400, 60, 8)
    one, same, other = (Networks(architecture, seed) for seed in (1, 1, 2))
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


def answers(network, given):
    return np.asarray(network({name: np.asarray(given[name]) for name in (one.name for one in network.inputs)}))


def parts_of(model, rows=5):
    """Part -> what it is asked and answers: what one gives, the next takes."""
    given = batch(rows)._asdict()
    found = {"MFC": (given, answers(model.parts["MFC"], given)), "USFC": (given, answers(model.parts["USFC"], given))}
    heard = given | {"songs": found["MFC"][1][given["history"]]}
    found["UDFC"] = heard, answers(model.parts["UDFC"], heard)
    asked = {"user": found["USFC"][1] + found["UDFC"][1], "songs": found["MFC"][1][given["candidates"]]}
    return found | {"RC": (asked, answers(model.parts["RC"], asked)), "whole": (given, answers(model.whole, given))}


def test_nothing_is_a_subclass_and_the_summary_reads_as_the_figure(capsys):
    model = Networks(SMALL)
    for network in (model.whole, *model.parts.values()):
        assert type(network) is keras.src.models.functional.Functional
    model.whole.summary(print_fn=print)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("song_columns", "user_3", "long_history", "lstm_2", "head_1", "rating"))
    assert model.whole.count_params() == sum(np.prod(shape) for shape in SMALL.shapes().values())
    assert sum(part.count_params() for part in model.parts.values()) == model.whole.count_params()


@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_the_four_parts_make_the_whole(rating):
    found = parts_of(Networks(replace(SMALL, rating=rating)))
    np.testing.assert_allclose(found["RC"][1], found["whole"][1], atol=1e-6)


def test_saved_as_keras_or_exported_the_networks_answer_alike(tmp_path):
    import tensorflow as tf

    model = Networks(replace(SMALL, rating="mlp", lstm_layers=1))
    found = parts_of(model)
    for name, (given, expected) in found.items():
        network = model.whole if name == "whole" else model.parts[name]
        network.save(tmp_path / "network.keras")
        again = keras.models.load_model(tmp_path / "network.keras")
        np.testing.assert_allclose(answers(again, given), expected, atol=1e-6, err_msg=name)
    given, expected = found["whole"]
    model.whole.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    asked = {one.name: tf.constant(np.asarray(given[one.name])) for one in model.whole.inputs}
    np.testing.assert_allclose(exported.serve(asked), expected, atol=1e-6)


@pytest.mark.parametrize("half", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_nearly_the_same_scores(half):
    expected = np.asarray(Networks(SMALL)(batch()))
    try:
        keras.config.set_dtype_policy(half)
        model = Networks(SMALL)
    finally:
        keras.config.set_dtype_policy("float32")
    found = np.asarray(model(batch()), np.float32)
    assert {variable.dtype for variable in model.named.values()} == {"float32"}
    np.testing.assert_allclose(found, expected, atol=0.02)
    assert np.abs(found - expected).max() > 0


def test_weights_of_version_01_are_read(tmp_path):
    import h5py

    from common.weights import load_weights_of_run

    model, other = Networks(SMALL, 1), Networks(SMALL, 2)
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:  # one list of weights
        for number, variable in enumerate(model.named.values()):
            file[f"vars/{number}"] = np.asarray(variable)
    load_weights_of_run(other.whole, tmp_path / "model.weights.h5", other.named)
    np.testing.assert_array_equal(np.asarray(other(batch())), np.asarray(model(batch())))
