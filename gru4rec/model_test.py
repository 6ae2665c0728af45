"""The functional networks: what they show, and that whatever is saved of them answers as they do."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from common.paper import WEIGHTS
from common.weights import save_own_weights
from gru4rec.model import Core, Networks
from gru4rec.options import Architecture
from gru4rec.recommend_test import name_items
from gru4rec.weights import load_model

ITEMS, ROWS = 12, 3
KINDS = ("shared", "separate", "one-hot", "content", "content-mlp")


def networks(inputs="shared", gru="original", layers=(6, 5)):
    """With random weights, biases too."""
    rng = np.random.default_rng(1)
    architecture = Architecture(ITEMS, layers, inputs, embedding=4, features=7, gru=gru)
    features = rng.normal(size=(ITEMS, 7)).astype(np.float32) if inputs.startswith("content") else None
    model = Networks(architecture, features)
    for variable in model.named.values():
        variable.assign(rng.normal(0, 0.5, variable.shape).astype(np.float32))
    return model


def example(model):
    rng = np.random.default_rng(2)
    states = {
        f"state_{i}": np.tanh(rng.normal(size=(ROWS, units))) for i, units in enumerate(model.architecture.layers, 1)
    }
    return {"item": np.array([3, 0, 11], np.int32)} | {name: state.astype(np.float32) for name, state in states.items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6, err_msg=name)


def test_nothing_is_a_subclass_and_the_summary_reads_as_the_figure(capsys):
    model = networks("separate", layers=(6,))
    for network in (model.step, model.core.network):
        assert type(network) is keras.src.models.functional.Functional
    names = [layer.name for layer in model.step.layers]
    assert [name for name in names if name not in ("item", "state_1")] == ["E", "gru_1", "items"]
    model.step.summary(print_fn=print)
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("item", "state_1", "gru_1", "items"))
    assert model.step.count_params() == sum(np.prod(shape) for shape in model.architecture.shapes().values())


@pytest.mark.parametrize(("inputs", "gru"), list(zip(KINDS, ("original", "cudnn") * 3, strict=False)))
def test_saved_as_keras_or_exported_the_network_answers_alike(inputs, gru, tmp_path):
    model = networks(inputs, gru)
    given = example(model)
    expected = {name: np.asarray(values) for name, values in model.step(given).items()}
    assert expected["scores"].shape == (ROWS, ITEMS)
    model.step.save(tmp_path / "step.keras")
    assert_same(keras.models.load_model(tmp_path / "step.keras")(given), expected)
    model.step.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    found = exported.serve({name: tf.constant(values) for name, values in given.items()})
    assert_same(found, expected)


@pytest.mark.parametrize("inputs", KINDS)
def test_core_and_step_share_weights_and_agree(inputs):
    model = networks(inputs)
    given = example(model)
    states = [given["state_1"], given["state_2"]]
    scores, after = model(given["item"], states)
    x = np.asarray(model.source)[given["item"]]
    core = model.core.network({"x": x, "state_1": states[0], "state_2": states[1]})
    for i, state in enumerate(after, 1):
        np.testing.assert_allclose(core[f"state_{i}"], state, atol=1e-6)
    by_hand = np.asarray(after[-1]) @ np.asarray(model.named["Wy"]).T + np.asarray(model.named["By"])[:, 0]
    np.testing.assert_allclose(scores, by_hand, atol=1e-5)
    assert {id(weight) for weight in model.core.network.weights} <= {id(weight) for weight in model.step.weights}
    assert set(model.core.named) | set(model.tables) == set(model.architecture.shapes())


def test_a_core_of_its_own_precision():
    core = Core(Architecture(ITEMS, (4,)), "float64")
    assert {weight.dtype for weight in core.network.weights} == {"float64"}


@pytest.mark.parametrize("inputs", ["shared", "content-mlp"])
def test_weights_of_a_run_are_read_back_those_of_version_01_too(inputs, tmp_path):
    model = networks(inputs)
    name_items(tmp_path, [f"t{i}" for i in range(ITEMS)], model.architecture)
    if model.features is not None:
        np.save(tmp_path / "features.npy", model.features)
    for older in (False, True):
        if older:  # its one list of weights
            with h5py.File(tmp_path / WEIGHTS, "w") as file:
                for number, variable in enumerate(model.named.values()):
                    file[f"vars/{number}"] = np.asarray(variable)
        else:
            save_own_weights(tmp_path / WEIGHTS, model.step)
        found = load_model(tmp_path / WEIGHTS, ITEMS)
        assert_same(found.step(example(model)), model.step(example(model)))


@pytest.mark.parametrize("inputs", KINDS)
@pytest.mark.parametrize("half", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_computes_nearly_the_same_scores_in_float32(inputs, half):
    model = networks(inputs)
    expected = np.asarray(model.step(example(model))["scores"])
    try:
        keras.config.set_dtype_policy(half)
        found = networks(inputs).step(example(model))
    finally:
        keras.config.set_dtype_policy("float32")
    assert keras.backend.standardize_dtype(found["scores"].dtype) == "float32"
    np.testing.assert_allclose(found["scores"], expected, atol=0.1)
    assert np.abs(np.asarray(found["scores"]) - expected).max() > 0
