"""The networks, their losses, gradients, training steps and weight files against Keras 2.2.4 and tartarus."""

import json
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from audiotext.losses import half_cosine, mean_squared_error, r2, unit_rows
from audiotext.model import build, embedding
from audiotext.training import EPSILON, Predictor
from audiotext.weights import load_released
from common.weights import is_keras_layout
from conftest import GOLDEN

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "audiotext"
NETWORKS = {"seed": "seed", "mm_lf_lin": "mm-lf-lin", "mm_lf_h1": "mm-lf-h1", "text_ff": "a-text"}
TOY = {"a_sem": "a-text", "mm_lf_lin": "mm-lf-lin", "mm_lf_h1": "mm-lf-h1"}
SEED_LAYERS = (
    *("text", "text_dropout_0", "text_dense_1", "text_dropout_1", "text_dense_2", "text_dropout_2"),
    *("audio", "text_length", "audio_length", "fusion", "fusion_dropout", "fusion_dense", "factors", "factors_length"),
)


@cache
def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


@cache
def info(name):
    return json.loads((FOLDER / name).read_text())


def weights_of(arrays, prefix):
    names = sorted(key for key in arrays if key.startswith(prefix))
    return [arrays[name] for name in names]


def network(name, kernels, text, audio):
    """The network of the sizes of golden weights (kernel, bias, kernel, bias, ...)."""
    sizes = {"text": text, "audio": audio, "factors": kernels[-1].shape[0]}
    units = [kernel.shape[1] for kernel in kernels[:-2:2]]
    if name == "a-text":
        sizes |= {"text_units": tuple(units)}
    elif name == "seed":
        sizes |= {"text_units": tuple(units[:2]), "fusion_units": units[2]}
    elif name == "mm-lf-h1":
        sizes |= {"fusion_units": units[0]}
    return build(name, **sizes)


def set_weights(model, arrays):
    kinds = [layer for layer in model.layers if layer.weights]
    order = sorted(kinds, key=lambda layer: (layer.name == "factors", layer.name.startswith("fusion"), layer.name))
    for layer, pair in zip(order, zip(arrays[::2], arrays[1::2], strict=True), strict=True):
        layer.set_weights(pair)
    return [variable for layer in order for variable in layer.trainable_variables]


def golden_network(name):
    arrays = load(f"{name}_keras224")
    given = weights_of(arrays, "init_w")
    model = network(NETWORKS[name], given, arrays["text"].shape[1], arrays["audio"].shape[1])
    inputs = {key: arrays[key] for key in ("text", "audio") if key in model.input}
    return model, set_weights(model, given), arrays, inputs


def assert_close(ours, theirs, tolerance=1e-6):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=tolerance * max(np.abs(theirs).max(), 1e-3))


@pytest.fixture(params=NETWORKS)
def golden(request):
    return request.param, *golden_network(request.param)


def test_predictions(golden):
    _, model, _, arrays, inputs = golden
    assert_close(Predictor(model, 7)(inputs), arrays["pred"])
    assert_close(np.linalg.norm(arrays["pred"], axis=1), np.linalg.norm(model(inputs), axis=1))


def test_every_layer_of_the_seed():
    model, _, arrays, inputs = golden_network("seed")
    theirs = info("keras224_info.json")["models"]["seed"]["layers"]
    ours = dict(zip(theirs, SEED_LAYERS, strict=True))
    compared = {key.removeprefix("act_"): array for key, array in arrays.items() if key.startswith("act_")}
    assert len(compared) == len(theirs) - 2
    for name, expected in compared.items():
        part = keras.Model(model.input, model.get_layer(ours[name]).output)
        assert_close(part(inputs), expected)
    hidden = embedding(model, "text")({"text": inputs["text"]})
    assert_close(hidden, compared["dropout_3"])


def test_losses(golden):
    arrays = golden[3]
    for targets, suffix in (("y_norm", ""), ("y_raw", "_rawy")):
        rows = np.asarray(half_cosine(arrays[targets], tf.constant(arrays["pred"])))
        assert_close(rows, arrays[f"loss_cosine_half_rows{suffix}"])
        assert_close(mean_squared_error(arrays[targets], arrays["pred"]), arrays[f"mse_rows{suffix}"])
        empty = ~arrays[targets].any(axis=1)
        assert empty.any() and (rows[empty] == 0.5).all()
    cosine = (arrays["y_norm"] * arrays["pred"]).sum(axis=1)
    assert_close(-cosine, arrays["loss_cosine_proximity_rows"])  # Keras 2's own: another figure altogether
    assert_close(unit_rows(arrays["y_raw"]), arrays["y_norm"])


def test_gradients(golden):
    _, model, variables, arrays, inputs = golden
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(half_cosine(arrays["y_norm"], model(inputs, training=False)))
    assert float(loss) == pytest.approx(float(arrays["loss_cosine_half"]), rel=1e-6)
    expected = weights_of(arrays, "grad_w")
    assert len(expected) == len(variables)
    for ours, theirs in zip(tape.gradient(loss, [v.value for v in variables]), expected, strict=True):
        assert_close(ours, theirs, 2e-6)


def test_loss_and_its_gradient_of_tartarus(golden):
    name, _, _, arrays, _ = golden
    theirs = load("tartarus_cosine_theano101")
    for targets, suffix in (("y_norm", ""), ("y_raw", "_rawy")):
        predicted = tf.constant(arrays["pred"])
        with tf.GradientTape() as tape:
            tape.watch(predicted)
            rows = half_cosine(arrays[targets], predicted)
            loss = tf.reduce_mean(rows)
        assert_close(rows, theirs[f"{name}_loss_rows{suffix}"])
        if not suffix:
            assert_close(tape.gradient(loss, predicted), theirs[f"{name}_grad_wrt_pred"], 2e-6)


@pytest.fixture
def float64():
    before, policy = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(before)
    keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("name", NETWORKS)
def test_training_steps_in_float64(name, rule, float64):
    (path,) = FOLDER.glob("train*_float64_keras224_theano.npz")
    arrays = {key: a.astype(float) for key, a in load(path.stem).items() if a.dtype.kind == "f"}
    expected_figures = arrays[f"{name}_{rule}_loss_mse_per_step"]
    given = weights_of(arrays, f"{name}_init_w")
    model = network(NETWORKS[name], given, arrays["text"].shape[1], arrays["audio"].shape[1])
    variables = set_weights(model, given)
    inputs = {key: tf.constant(arrays[key]) for key in ("text", "audio") if key in model.input}
    targets = arrays["y_norm"]
    optimizer = keras.optimizers.SGD(0.1) if rule == "sgd" else keras.optimizers.Adam(1e-3, epsilon=EPSILON)
    optimizer.build(variables)
    figures = []
    for _ in expected_figures:
        with tf.GradientTape() as tape:
            predicted = model(inputs, training=False)
            loss = tf.reduce_mean(half_cosine(targets, predicted))
        assert predicted.dtype == loss.dtype == tf.float64
        figures.append((float(loss), mean_squared_error(targets, predicted.numpy()).mean()))
        optimizer.apply(tape.gradient(loss, [v.value for v in variables]), variables)
    tolerance = 1e-10 if rule == "sgd" else 1e-5
    assert_close(figures, expected_figures, tolerance)
    expected = weights_of(arrays, f"{name}_{rule}_w")
    assert expected or rule == "adam"  # the tests' own copy has Adam's predictions and losses only
    for ours, theirs in zip(variables if expected else [], expected, strict=True):
        assert_close(ours, theirs, tolerance)
    assert_close(model(inputs), arrays[f"{name}_{rule}_pred_after{len(figures)}"], tolerance)


def test_parameters_at_full_size():
    full = info("paper_models_param_count.json")
    assert build("seed").count_params() == info("seed_fullsize_param_count.json")["total"] == 7_845_576
    assert build("mm-lf-lin").count_params() == full["mm_lf_lin a-sem-emb2048 audio4096"] == 1_229_000
    assert build("mm-lf-h1").count_params() == full["mm_lf_h1 2048 4096 h512"] == 3_248_840
    assert build("a-text").count_params() == full["text_ff 10000 2048 2048"] == 25_088_200


def test_weight_file_of_keras_2_on_tensorflow():
    model, variables, arrays, inputs = golden_network("seed")
    expected = [np.array(v) for v in variables]
    for variable in variables:
        variable.assign(np.zeros(variable.shape))
    path = FOLDER / "seed_init.weights.h5"
    assert is_keras_layout(path)
    load_released(model, path)
    for variable, array in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable, array)
    assert_close(model(inputs), arrays["pred"])


@pytest.mark.parametrize("run", TOY)
def test_weight_files_of_tartarus_give_its_predictions(run):
    arrays = load("toyrun_tartarus")
    found = info("toyrun_tartarus.json")["runs"][run]
    sources = [name for name in found["inputs"] if name]
    given = dict(zip(("text", "audio"), (arrays[f"X_test_{name}"] for name in sources), strict=False))
    sizes = dict(part.split("=") for part in found["extra"].split("&"))
    units = int(sizes["cnn.n_dense"])
    options = {"text_units": (units, int(sizes.get("cnn.n_dense_2", units)))} if TOY[run] == "a-text" else {}
    options |= {"fusion_units": units} if TOY[run].startswith("mm") else {}
    columns = {name: array.shape[1] for name, array in given.items()}
    model = build(TOY[run], factors=int(sizes["dataset.dim"]), **columns, **options)
    load_released(model, FOLDER / f"toyrun_{run}.weights.h5")
    predicted = Predictor(model, 64)(given)
    assert_close(predicted, arrays[f"pred_{run}"])


def test_r2_of_each_item():
    arrays = load("map_tartarus")
    found = r2(arrays["r2_y"], arrays["r2_pred"])
    np.testing.assert_allclose(found, arrays["r2_rows"], rtol=1e-12)
    assert found.mean() == pytest.approx(float(info("map_tartarus.json")["r2_avg"]), rel=1e-12)
