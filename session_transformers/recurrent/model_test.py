import dataclasses
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from common.options import UserError
from common.weights import load_own_weights, save_own_weights
from session_transformers.decoding import continue_sessions
from session_transformers.kinds import PAD
from session_transformers.recurrent.architecture import (
    RECURRENT_DEFAULTS,
    RELEASED_RECURRENT,
    RecurrentArchitecture,
    default_recurrent,
    recurrent_examples,
    recurrent_from_json,
)
from session_transformers.recurrent.decoding import RecurrentSearch
from session_transformers.recurrent.layers import Recurrent
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.recurrent.released import recurrent_architecture_of, recurrent_from_torch, recurrent_to_torch
from session_transformers.softmax import cross_entropy

VOCABULARY, FEATURES, UNITS = 33, 5, 8
KINDS = list(RECURRENT_DEFAULTS)


def architecture(model="lstm", task="skip", **changes):
    settings = {"units": UNITS, "dropout": 0.0} | changes
    if RECURRENT_DEFAULTS[model, task].vectors:
        settings = {"vectors": 4} | settings
    return default_recurrent(model, task, VOCABULARY, FEATURES, **settings)


def tables(settings):
    rng = np.random.default_rng(7)
    return {
        "features": rng.normal(size=(settings.vocabulary, settings.features)).astype(np.float32),
        "vectors": rng.normal(size=(settings.vocabulary, settings.vectors)).astype(np.float32)
        if settings.vectors
        else None,
    }


def build(settings, seed=1, loud=True):
    """A model; loud ones have weights ten times as large, so that what they read makes a difference."""
    model = RecurrentModel(settings, **tables(settings), seed=seed)
    if loud:
        for variable in model.trainable_variables:
            variable.assign(10 * variable)
    return model


def sessions(rng, count, first=3):
    tracks = rng.integers(first, VOCABULARY, (count, 20)).astype(np.int32)
    return tracks, rng.integers(0, 2, (count, 20)).astype(np.uint8)


def inputs_of(settings, count=6, seed=0):
    return recurrent_examples(settings, *sessions(np.random.default_rng(seed), count))[0]


def logits(model, inputs, training=False):
    return np.asarray(model({name: ops.convert_to_tensor(array) for name, array in inputs.items()}, training=training))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_cells_and_their_gradients_equal_those_of_keras(cell):
    ours = Recurrent(cell, 3, 4, "ours")
    rng = np.random.default_rng(0)
    for weight in ours.weights:
        weight.assign(rng.normal(size=weight.shape))
    theirs = (keras.layers.LSTM if cell == "lstm" else keras.layers.GRU)(4, return_sequences=True)
    theirs.build((None, 6, 3))
    kernel, recurrent, bias, recurrent_bias = (np.asarray(w) for w in ours.weights)
    if cell == "gru":  # Keras orders the gates z, r, n
        order = np.r_[4:8, 0:4, 8:12]
        theirs.set_weights([kernel[:, order], recurrent[:, order], np.stack([bias, recurrent_bias])[:, order]])
    else:
        theirs.set_weights([kernel, recurrent, bias + recurrent_bias])
    x = tf.constant(rng.normal(size=(2, 6, 3)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        after = tf.stack(ours(x)[0], 1)
        value, wanted = tf.reduce_sum(after**2), tf.reduce_sum(theirs(x) ** 2)
    np.testing.assert_allclose(after, theirs(x), atol=1e-6)
    np.testing.assert_allclose(tape.gradient(value, x), tape.gradient(wanted, x), atol=1e-5)
    got = tape.gradient(value, ours.kernel.value).numpy()
    expected = tape.gradient(wanted, theirs.cell.kernel.value).numpy()
    np.testing.assert_allclose(got[:, order] if cell == "gru" else got, expected, atol=1e-5)


@pytest.mark.parametrize(("model", "task"), KINDS)
@pytest.mark.parametrize("released", [False, True])
def test_shapes_and_one_session_equal_to_many(model, task, released):
    settings = architecture(model, task, released=released)
    built, inputs = build(settings), inputs_of(settings)
    found = logits(built, inputs)
    assert found.shape == (6, 10, 2 if task == "skip" else VOCABULARY) and np.isfinite(found).all()
    alone = logits(built, {name: array[2:3] for name, array in inputs.items()})
    np.testing.assert_allclose(alone[0], found[2], atol=1e-6)
    weights, bias = built.head.weights_of()
    hidden = np.asarray(built.hidden(**inputs))
    np.testing.assert_allclose(hidden @ np.asarray(weights).T + np.asarray(bias), found, rtol=1e-5, atol=1e-5)


def test_the_seed_s_parameters_and_sizes():
    built = RecurrentModel(default_recurrent("lstm", "skip", 40, 26, released=True))
    assert sum(int(np.prod(v.shape)) for v in built.trainable_variables) == 2_212_866
    assert default_recurrent("bigru", "skip", 40, 26, released=True).columns == 126


@pytest.mark.parametrize(("model", "task"), KINDS)
def test_padding_changes_nothing(model, task):
    settings = architecture(model, task)
    built, inputs = build(settings), inputs_of(settings)
    inputs["source"][:, 7:] = PAD
    other = {name: array.copy() for name, array in inputs.items()}
    if "source_skips" in other:
        other["source_skips"][:, 7:] = 1 - other["source_skips"][:, 7:]
    found = logits(built, inputs)
    np.testing.assert_array_equal(found, logits(built, other))
    shorter = {name: array[:, :7] if name.startswith("source") else array for name, array in inputs.items()}
    np.testing.assert_allclose(found, logits(built, shorter), atol=1e-6)


def changed(inputs, name, places):
    other = {key: array.copy() for key, array in inputs.items()}
    other[name][:, places] = 1 - other[name][:, places] if name.endswith("skips") else 3 + other[name][:, places] % 19
    return other


@pytest.mark.parametrize("model", ["lstm", "lstm-padding", "lstm-w2v", "bigru"])
def test_what_the_decoder_for_skips_knows(model):
    settings = architecture(model)
    built, inputs = build(settings), inputs_of(settings)
    free, forced = logits(built, inputs), logits(built, inputs, training=True)
    np.testing.assert_array_equal(logits(built, changed(inputs, "target_skips", slice(None))), free)
    after = logits(built, changed(inputs, "target_skips", [4]), training=True)
    np.testing.assert_array_equal(after[:, :5], forced[:, :5])
    assert np.abs(after[:, 5] - forced[:, 5]).min() > 0
    after = logits(built, changed(inputs, "target", [4]))
    np.testing.assert_array_equal(after[:, :4], free[:, :4])
    assert np.abs(after[:, 4] - free[:, 4]).max() > 0
    assert np.abs(logits(built, changed(inputs, "source_skips", [9])) - free).max() > 0


def test_the_decoder_for_tracks_reads_the_track_before():
    for released, first in ((False, 5), (True, 4)):
        settings = architecture("lstm", "seq", released=released)
        built, inputs = build(settings), inputs_of(settings)
        found, after = logits(built, inputs), logits(built, changed(inputs, "target", [4]))
        np.testing.assert_array_equal(after[:, :first], found[:, :first])
        assert np.abs(after[:, first] - found[:, first]).max() > 0


def test_tables_are_used_and_stay():
    settings = architecture("lstm-w2v")
    built, given = build(settings, loud=False), tables(settings)
    np.testing.assert_array_equal(built.table.vectors, given["vectors"])
    np.testing.assert_array_equal(built.table.features, given["features"])
    assert built.decoder_table is built.table
    assert not any(v.path.startswith("table") for v in built.trainable_variables)
    learned = dataclasses.replace(settings, train_vectors=True)
    assert any(v is m.table.vectors for m in [build(learned)] for v in m.trainable_variables)
    noise = RecurrentModel(architecture("lstm-w2v", released=True))
    assert np.abs(np.asarray(noise.table.features)).max() <= 0.08
    assert not np.array_equal(noise.table.features, noise.decoder_table.features)
    with pytest.raises(UserError, match="vectors must be"):
        RecurrentModel(settings, given["features"])
    with pytest.raises(UserError, match=r"features must be \(33, 5\); found \(33, 4\)"):
        RecurrentModel(settings, given["features"][:, 1:], given["vectors"])


def test_skips_are_told_by_another_id():
    source, skips = np.array([[5, 6, 0]], np.int32), np.array([[1, 0, 0]])
    for changes, expected in (
        ({}, [2, 6, 0]), ({"replaced": "played"}, [5, 2, 0]), ({"skip_input": "none"}, [5, 6, 0]),
        ({"released": True}, [5, 0, 0]), ({"released": True, "replaced": "skipped"}, [0, 6, 0]),
    ):  # fmt: skip
        built = build(architecture("lstm-padding", **changes))
        np.testing.assert_array_equal(
            built.shown(ops.convert_to_tensor(source), ops.convert_to_tensor(skips))[0], expected
        )


@pytest.mark.parametrize(("model", "task"), KINDS)
def test_save_and_load_and_seeds(model, task, tmp_path):
    settings = architecture(model, task)
    built, inputs = build(settings), inputs_of(settings)
    save_own_weights(tmp_path / "model.weights.h5", built)
    again = build(recurrent_from_json(json.loads(json.dumps(dataclasses.asdict(settings)))), seed=2, loud=False)
    assert again.architecture == settings
    load_own_weights(again, tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(logits(built, inputs), logits(again, inputs))
    same, other = build(settings), build(settings, seed=2)
    np.testing.assert_array_equal(same.encoder.kernel, built.encoder.kernel)
    assert not np.array_equal(other.encoder.kernel, built.encoder.kernel)
    with pytest.raises(UserError, match="do not fit"):
        load_own_weights(build(dataclasses.replace(settings, units=UNITS + 1)), tmp_path / "model.weights.h5")


def test_mixed_precision_is_finite_and_near():
    settings = architecture("bigru")
    inputs = inputs_of(settings)
    exact = logits(build(settings, loud=False), inputs, training=True)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built = build(settings, loud=False)
        found = logits(built, inputs, training=True)
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, exact, atol=0.02)


def naive(model, source, steps=10):
    """Greedy decoding that reads everything anew at each step, teacher-forced with its own tokens."""
    target = np.full((len(source), steps), PAD, np.int32)
    for t in range(steps):
        scores = logits(model, {"source": source, "target": target})
        target[:, t] = scores[:, t].argmax(-1)
    return target, scores


@pytest.mark.parametrize("model", ["lstm", "lstm-w2v"])
def test_search_equals_reading_everything_anew(model):
    settings = architecture(model, "seq")
    built, source = build(settings), inputs_of(settings)["source"]
    expected, scores = naive(built, source)
    run = continue_sessions(RecurrentSearch(built), source, batch_size=4)
    np.testing.assert_array_equal(run.tokens[:, 0], expected)
    chances = scores.max(-1) - np.log(np.exp(scores).sum(-1))
    np.testing.assert_allclose(run.log_probabilities[:, 0], chances, atol=1e-5)
    assert run.tokens.min() >= 3
    best = continue_sessions(RecurrentSearch(built, beams=4, forbid_repeats=True), source)
    assert best.tokens.shape == (6, 4, 10)
    whole = np.concatenate([np.repeat(source[:, None], 4, axis=1), best.tokens], axis=-1)
    for row, told in zip(whole.reshape(-1, 20), best.tokens.reshape(-1, 10), strict=True):
        assert len(set(told)) == 10 and not set(told) & set(row[:10])
    with pytest.raises(UserError, match="cannot continue"):
        RecurrentSearch(build(architecture("lstm")))


def test_examples():
    rng = np.random.default_rng(0)
    tracks, skips = sessions(rng, 3)
    tracks[0, 17:] = PAD
    inputs, labels, weights = recurrent_examples(architecture("lstm"), tracks, skips)
    assert set(inputs) == {"source", "target", "source_skips", "target_skips"}
    np.testing.assert_array_equal(labels, skips[:, 10:])
    np.testing.assert_array_equal(weights, tracks[:, 10:] != PAD)
    inputs, labels, weights = recurrent_examples(architecture("lstm", "seq", released=True), tracks, skips)
    assert set(inputs) == {"source", "target"}
    np.testing.assert_array_equal(labels, tracks[:, 10:])
    assert weights[:, 0].sum() == 0 and weights[1:, 1:].all()


def test_mistakes_end_in_one_clear_line():
    with pytest.raises(UserError, match="--model bigru has no --task seq"):
        default_recurrent("bigru", "seq", 9, 2)
    with pytest.raises(UserError, match="need vectors or features"):
        default_recurrent("lstm", "skip", 9, 0)
    with pytest.raises(UserError, match="not the architecture"):
        recurrent_from_json({"model": "lstm"})
    with pytest.raises(UserError, match="not weights of a recurrent"):
        recurrent_architecture_of({"fc.weight": np.zeros((2, 3))})
    built = RecurrentModel(RecurrentArchitecture("lstm", "skip", 9, 1, 2, 4, switches=RELEASED_RECURRENT))
    arrays = recurrent_to_torch(built)
    assert recurrent_architecture_of(arrays, vectors=1, features=2).columns == 3
    recurrent_from_torch(built, arrays)
    with pytest.raises(UserError, match=r"w.pt: decoder.rnn.bias_hh_l0 has shape \(3,\); the model expects \(16,\)"):
        recurrent_from_torch(built, arrays | {"decoder.rnn.bias_hh_l0": np.zeros(3)}, "w.pt")
    with pytest.raises(UserError, match="more has no place"):
        recurrent_from_torch(built, arrays | {"more": np.zeros(3)})
    with pytest.raises(UserError, match="a table for each side"):
        recurrent_from_torch(build(architecture("lstm")), arrays)


def trained_on_coin_flips(released, steps):
    """A model trained on fresh coin flips, the best on held-out sessions: so the released code chooses, too."""
    settings = default_recurrent("lstm", "skip", VOCABULARY, 26, released=released, units=24, dropout=0.0)
    model = build(settings, loud=False)
    optimizer = keras.optimizers.Adam(0.04, global_clipnorm=1.0)
    optimizer.build(model.trainable_variables)
    weights = [variable.value for variable in model.trainable_variables]

    @tf.function
    def step(inputs, labels, counts):
        with tf.GradientTape() as tape:
            states = model.hidden(**inputs, training=True)
            value = cross_entropy(states, labels, counts, *model.head.weights_of()) / tf.reduce_sum(counts)
        optimizer.apply(tape.gradient(value, weights), model.trainable_variables)

    rng = np.random.default_rng(1)
    held_out = sessions(rng, 1000)
    best, kept = -1.0, []
    for number in range(1, steps + 1):
        step(*tf.nest.map_structure(tf.constant, recurrent_examples(settings, *sessions(rng, 256))))
        if number % 25 == 0 and (found := accuracy(model, *held_out)[-1]) > best:
            best, kept = found, [np.array(weight) for weight in weights]
            if best > 0.98:
                break
    for variable, value in zip(model.trainable_variables, kept, strict=True):
        variable.assign(value)
    return model


def accuracy(model, tracks, skips):
    """(10,) share of right skips at each position."""
    inputs, labels, _ = recurrent_examples(model.architecture, tracks, skips)
    return (logits(model, inputs).argmax(-1) == labels).mean(axis=0)


@pytest.mark.slow
def test_the_released_protocol_leaks_the_label_and_the_corrected_one_cannot():
    test = sessions(np.random.default_rng(2), 5000)
    released = accuracy(trained_on_coin_flips(True, 400), *test)
    corrected = accuracy(trained_on_coin_flips(False, 150), *test)
    assert released[9] > 0.97
    deviation = 0.5 / np.sqrt(5000)
    assert np.abs(released[:8] - 0.5).max() < 4.5 * deviation
    assert np.abs(corrected - 0.5).max() < 4.5 * deviation
