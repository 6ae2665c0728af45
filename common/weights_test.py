"""Reading HDF5 weights: layouts of Keras 1 and 2, and everything that must be refused."""

import errno
import os

import h5py
import keras
import numpy as np
import pytest

from common.options import UserError
from common.weights import load_own_weights, load_weights, read_weights, save_own_weights


def write(path, layers, group=None):
    """A file in the layout of Keras: {layer: {full weight name: array}}."""
    with h5py.File(path, "w") as file:
        root = file.create_group(group) if group else file
        root.attrs["layer_names"] = [name.encode() for name in layers]
        for layer, arrays in layers.items():
            node = root.create_group(layer)
            node.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                node.create_dataset(name, data=array)
    return path


def small_model():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(2, name="dense_1")(inputs))
    return model


DENSE = {"dense_1/kernel:0": np.ones((3, 2), np.float32), "dense_1/bias:0": np.zeros(2, np.float32)}


@pytest.mark.parametrize("group", [None, "model_weights"])
def test_weight_files_and_whole_models(tmp_path, group):
    path = write(tmp_path / "w.h5", {"input_1": {}, "dense_1": DENSE}, group)
    weights = read_weights(path)
    assert list(weights) == ["dense_1"]
    model = small_model()
    load_weights(model, path, weights, {"dense_1": "dense_1"})
    np.testing.assert_array_equal(model.get_layer("dense_1").weights[0], np.ones((3, 2)))


def test_keras_1_gates_are_joined_in_the_order_of_keras_2(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"W": (3, 2), "U": (2, 2), "b": (2,)}
    arrays = {f"lstm_1_{w}_{g}:0": rng.normal(size=shapes[w]).astype("f") for g in "icfo" for w in "WUb"}
    found = read_weights(write(tmp_path / "w.h5", {"lstm_1": arrays}))["lstm_1"]
    assert {name: array.shape for name, array in found.items()} == {
        "kernel": (3, 8),
        "recurrent_kernel": (2, 8),
        "bias": (8,),
    }
    np.testing.assert_array_equal(found["kernel"][:, 2:4], arrays["lstm_1_W_f:0"])


def test_keras_1_embedding(tmp_path):
    path = write(tmp_path / "w.h5", {"embedding_1": {"embedding_1_W:0": np.ones((4, 2), np.float32)}})
    inputs = keras.Input((), dtype="int32")
    model = keras.Model(inputs, keras.layers.Embedding(4, 2, name="table")(inputs))
    load_weights(model, path, read_weights(path), {"embedding_1": "table"})
    np.testing.assert_array_equal(model.get_layer("table").weights[0], np.ones((4, 2)))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "layers missing: dense_1"),
        ({"dense_1": DENSE, "dense_2": DENSE}, "layers that the model does not have: dense_2"),
        ({"dense_1": {"dense_1/kernel:0": np.ones((3, 2), "f")}}, "holds kernel; expected bias, kernel"),
        ({"dense_1": DENSE | {"dense_1/kernel:0": np.ones((2, 3), "f")}}, r"kernel has shape \(2, 3\).*\(3, 2\)"),
        ({"dense_1": DENSE | {"dense_1/bias:0": np.array([0, np.nan], "f")}}, "NaN"),
        ({"dense_1": DENSE | {"dense_1/bias:0": np.array([b"x", b"y"])}}, "not an array of floating-point"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(tmp_path, layers, message):
    path = write(tmp_path / "w.h5", layers)
    model = small_model()
    before = [np.asarray(w).copy() for w in model.weights]
    with pytest.raises(UserError, match=message) as error:
        load_weights(model, path, read_weights(path), {"dense_1": "dense_1"})
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    for old, new in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1.0]
    whole = write(tmp_path / "whole.h5", {"dense_1": DENSE}).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    for name in ("empty", "text", "other", "cut"):
        with pytest.raises(UserError, match=f"{name}.h5"):
            read_weights(tmp_path / f"{name}.h5")


def test_listed_but_missing_layer_and_weight(tmp_path):
    path = write(tmp_path / "w.h5", {"dense_1": DENSE})
    with h5py.File(path, "a") as file:
        del file["dense_1/dense_1/bias:0"]
    with pytest.raises(UserError, match="bias:0 is listed but missing"):
        read_weights(path)
    with h5py.File(path, "a") as file:
        del file["dense_1"]
    with pytest.raises(UserError, match="layer dense_1 is listed but missing"):
        read_weights(path)


def test_links_out_of_the_file_are_not_followed(tmp_path):
    secret = write(tmp_path / "secret.h5", {"dense_1": DENSE})
    path = write(tmp_path / "w.h5", {"dense_1": DENSE})
    with h5py.File(path, "a") as file:
        del file["dense_1/dense_1/bias:0"]
        file["dense_1/dense_1/bias:0"] = h5py.ExternalLink(str(secret), "dense_1/dense_1/bias:0")
    with pytest.raises(UserError, match="missing"):
        read_weights(path)
    with h5py.File(path, "a") as file:
        del file["dense_1/dense_1/bias:0"]
        (tmp_path / "raw").write_bytes(b"\0" * 8)
        file["dense_1/dense_1"].create_dataset("bias:0", (2,), "f4", external=[(str(tmp_path / "raw"), 0, 8)])
    with pytest.raises(UserError, match="not an array"):
        read_weights(path)


def test_own_weights_that_are_no_numbers_are_refused(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="last")])
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    load_own_weights(model, path)
    model.layers[-1].bias.assign([np.nan])
    model.save_weights(path)
    with pytest.raises(UserError, match=r"last/bias holds NaN"):
        load_own_weights(model, path)


def test_own_weights_that_say_they_are_huge_are_refused_before_they_are_read(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, name="last")])
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        del file[names[0]]
        file.create_dataset(names[0], (40_000, 40_000), "f4", chunks=True, compression="gzip")
    with pytest.raises(UserError, match=r"model.weights.h5: .* 6,400,000,000 bytes, but far fewer are stored"):
        load_own_weights(model, path)


def test_a_full_disk_is_told_as_such_before_anything_is_written(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/model.weights.h5'") as caught:
        save_own_weights(tmp_path / "model.weights.h5", model)
    assert caught.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_a_file_system_that_takes_no_space_beforehand_will_do(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", unable)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    save_own_weights(tmp_path / "model.weights.h5", model)
    load_own_weights(model, tmp_path / "model.weights.h5")


@pytest.mark.parametrize(("dense", "others"), [(1, 0), (40, 0), (3, 40)])
def test_the_space_taken_before_is_enough(dense, others, tmp_path, monkeypatch):
    layers = [keras.layers.Reshape((2, 1)), keras.layers.Bidirectional(keras.layers.LSTM(3))]
    layers += [keras.layers.Dense(8) for _ in range(dense)] + [keras.layers.Dropout(0.5) for _ in range(others)]
    model, taken = keras.Sequential([keras.Input((2,)), *layers]), []
    monkeypatch.setattr(os, "posix_fallocate", lambda file, start, size: taken.append(size))
    save_own_weights(tmp_path / "model.weights.h5", model)
    assert (tmp_path / "model.weights.h5").stat().st_size <= taken[0]
