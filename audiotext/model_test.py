"""The structure of the networks: sizes, start, zeros, embeddings, precision and wrong sizes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from audiotext.architecture import TARTARUS_AUDIO, architecture
from audiotext.losses import half_cosine
from audiotext.model import MODELS, UnitLength, build, embedding
from common.options import UserError

SMALL = {"factors": 5, "text_units": (7, 6), "frames": 40, "bins": 4, "filters": (3, 4, 5), "kernels": (4, 4, 1)}
SMALL |= {"pools": (4, 2, 1), "text": 11, "audio": 9}


def small(name, **more):
    fusion = {} if name == "mm-lf-lin" else {"fusion_units": 8}
    return build(name, **(SMALL | fusion | more))


def inputs_of(model, rows=6, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=(rows, *tensor.shape[1:])).astype(np.float32) for name, tensor in model.input.items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_network_gives_rows_of_length_one_and_starts_as_keras_2_does(name):
    keras.utils.set_random_seed(1)
    model = small(name)
    found = np.asarray(model(inputs_of(model)))
    assert found.shape == (6, 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    for layer in (layer for layer in model.layers if layer.weights):
        kernel, bias = layer.get_weights()
        assert not bias.any() and 0.02 < np.abs(kernel).max() <= 0.05 and abs(kernel.mean()) < 0.02


def test_the_audio_network_has_an_embedding_of_4096_values():
    a = architecture("audio")
    assert a.pooled_frames() * a.filters[-1] == 4096
    model = build("audio")
    assert embedding(model, "audio").output_shape == (None, 4096)
    # Counted by hand: kernels (4, 96, 256), (4, 256, 512), (4, 512, 1024), (1, 1024, 1024), (4096, 200), and biases.
    assert model.count_params() == 98_560 + 524_800 + 2_098_176 + 1_049_600 + 819_400
    a = architecture("audio", **TARTARUS_AUDIO)
    assert a.pooled_frames() * a.filters[-1] == 32_768


def test_a_convolution_over_time_is_the_one_over_the_whole_height():
    model = small("audio")
    (kernel, bias), x = model.get_layer("audio_convolution_1").get_weights(), inputs_of(model)["audio"]
    flat = keras.layers.Conv2D(3, (4, 4), activation="relu")
    flat.build((None, 40, 4, 1))
    flat.set_weights([kernel[:, :, None], bias])
    np.testing.assert_allclose(flat(x[..., None])[:, :, 0], model.get_layer("audio_convolution_1")(x), atol=1e-6)


def test_embeddings():
    for name, branch, width in (("a-text", "text", 6), ("seed", "text", 6), ("mm", "text", 6), ("mm", "audio", 15)):
        model = small(name)
        part = embedding(model, branch)
        given = inputs_of(model)
        found = np.asarray(part({branch: given[branch]}))
        assert found.shape == (6, width) and (found >= 0).all()
    model = small("a-text")
    hidden = np.asarray(embedding(model, "text")(given := inputs_of(model)))
    kernel, bias = model.get_layer("factors").get_weights()
    scores = hidden @ kernel + bias
    np.testing.assert_allclose(scores / np.linalg.norm(scores, axis=1, keepdims=True), model(given), atol=1e-6)
    with pytest.raises(ValueError, match="ready-made"):
        embedding(small("mm-lf-h1"), "audio")
    with pytest.raises(ValueError, match="ready-made"):
        embedding(small("seed"), "audio")


@pytest.mark.parametrize("name", ["seed", "mm", "mm-lf-h1"])
def test_rows_of_zeros_give_finite_values_and_gradients(name):
    model = small(name)
    given = inputs_of(model)
    given["text"][:3] = 0  # with biases of 0 the text branch ends in zeros
    targets = np.ones((6, 5), np.float32)
    targets[2] = 0
    with tf.GradientTape() as tape:
        rows = half_cosine(targets, model(given, training=True))
    gradients = tape.gradient(rows, [v.value for v in model.trainable_variables])
    assert np.isfinite(rows).all() and float(rows[2]) == 0.5
    assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_why_keras_own_normalisation_is_not_used():
    """It gives the same values, but a huge gradient at zeros; should that change, use it."""
    x = tf.constant([[0.0, 0.0], [3.0, 4.0]])
    ours, theirs = UnitLength("length"), keras.layers.UnitNormalization()
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-6)
    gradients = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(layer(x)[:, 0])
        gradients.append(np.asarray(tape.gradient(total, x)))
    np.testing.assert_allclose(gradients[0], [[0, 0], [0.128, -0.096]], rtol=1e-5)
    np.testing.assert_allclose(gradients[1][1], gradients[0][1], rtol=1e-5)
    assert np.abs(gradients[1][0]).max() > 1e9


@pytest.mark.parametrize("name", ["a-text", "mm-lf-lin"])
def test_an_item_without_any_input_does_not_stop_training(name):
    """Before training such an item's factors are zeros; the released loss has a gradient of 1e25 there."""
    model = small(name)
    optimizer = keras.optimizers.Adam()
    given = {key: np.zeros_like(array) for key, array in inputs_of(model).items()}
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(half_cosine(np.ones((6, 5), np.float32), model(given, training=True)))
        optimizer.apply(tape.gradient(loss, [v.value for v in model.trainable_variables]), model.trainable_variables)
        assert float(loss) == 0.5
    assert all(np.isfinite(array).all() for array in [*model.get_weights(), *map(np.asarray, optimizer.variables)])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_precisions(policy):
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        model = small("mm")
        given = inputs_of(model)
        given["text"][0] = 0
        found = model(given)
        assert found.dtype == ("float64" if policy == "float64" else "float32")
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-3)
    finally:
        keras.config.set_dtype_policy(before)


def test_wrong_names_and_sizes():
    with pytest.raises(UserError, match=r"--model a-sem: expected one of a-text"):
        build("a-sem")
    with pytest.raises(UserError, match=r"no size called depth"):
        build("a-text", depth=2)
    with pytest.raises(UserError, match=r"patches of 60 frames are too short"):
        build("audio", frames=60)
