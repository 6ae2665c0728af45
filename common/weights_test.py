"""Reading HDF5 weights: layouts of Keras 1, 2 and 3, and everything that must be refused."""

import errno
import json
import os
import zipfile
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pytest

from common.options import UserError
from common.weights import is_keras_layout, load_own_weights, read_weights, save_own_weights


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
    file = read_weights(path)
    assert list(file.layers) == ["dense_1"]
    model = small_model()
    file.load_into(model, {"dense_1": "dense_1"})
    np.testing.assert_array_equal(model.get_layer("dense_1").weights[0], np.ones((3, 2)))


def test_keras_1_gates_are_joined_in_the_order_of_keras_2(tmp_path):
    rng = np.random.default_rng(0)
    shapes = {"W": (3, 2), "U": (2, 2), "b": (2,)}
    arrays = {f"lstm_1_{w}_{g}:0": rng.normal(size=shapes[w]).astype("f") for g in "icfo" for w in "WUb"}
    found = read_weights(write(tmp_path / "w.h5", {"lstm_1": arrays})).layers["lstm_1"]
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
    read_weights(path).load_into(model, {"embedding_1": "table"})
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
        read_weights(path).load_into(model, {"dense_1": "dense_1"})
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


# --- what writes the layout, and which gates it means ----------------------------------------------------------------

RNN = {"kernel": np.ones((2, 12), "f"), "recurrent_kernel": np.ones((3, 12), "f"), "bias": np.ones(12, "f")}


def rnn_file(path, version=None, cell="", config=None, arrays=RNN):
    """A file with one recurrent layer; ``config`` makes it a whole model."""
    names = {f"rnn_1/{cell}{name}:0": array for name, array in arrays.items()}
    write(path, {"rnn_1": names}, None if config is None else "model_weights")
    with h5py.File(path, "a") as file:
        if version:
            file.attrs["keras_version"] = version
        if config is not None:
            layer = {"class_name": "LSTM", "config": {"name": "rnn_1"} | config}
            file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": {"layers": [layer]}})
    return path


@pytest.mark.parametrize(
    ("facts", "gates", "reason"),
    [
        ({}, "hard_sigmoid", "no keras_version"),
        ({"version": "1.2.2"}, "hard_sigmoid", "keras_version 1.2.2"),
        ({"version": "2.2.5"}, "hard_sigmoid", "keras_version 2.2.5"),
        ({"version": "2.1.6-tf"}, "hard_sigmoid", "keras_version 2.1.6-tf"),
        ({"version": "2.2.4-tf", "cell": "lstm_cell_1/"}, "sigmoid", "keras_version 2.2.4-tf"),
        ({"version": "2.3.1"}, "sigmoid", "keras_version 2.3.1"),
        ({"version": "2.4.0"}, "sigmoid", "keras_version 2.4.0"),
        ({"version": "2.10.0"}, "sigmoid", "keras_version 2.10.0"),
        ({"version": "3.15.1"}, "sigmoid", "keras_version 3.15.1"),
        ({"version": "2.2.4", "config": {"recurrent_activation": "sigmoid"}}, "sigmoid", "model_config"),
        ({"version": "2.2.4-tf", "config": {"recurrent_activation": "hard_sigmoid"}}, "hard_sigmoid", "model_config"),
        ({"version": "2.15.0", "config": {"recurrent_activation": "hard_sigmoid"}}, "hard_sigmoid", "model_config"),
        ({"version": "1.2.2", "config": {"inner_activation": "sigmoid"}}, "sigmoid", "model_config"),
        ({"version": "3.1.0", "config": {"recurrent_activation": "hard_sigmoid"}}, "keras3_hard_sigmoid", "model"),
        (
            {"version": "3.1.0", "config": {"recurrent_activation": {"class_name": "function", "config": "sigmoid"}}},
            "sigmoid",
            "model_config",
        ),
    ],
)
def test_the_file_says_which_gates_its_weights_mean(facts, gates, reason, tmp_path):
    found, source = read_weights(rnn_file(tmp_path / "w.h5", **facts)).gate_activation("rnn_1")
    assert found == gates and source.startswith(reason)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"version": "2.2.4-tf"}, "2.2.4-tf is of TensorFlow 1, .* say which with --gate-activation"),
        ({"version": "next"}, "keras_version is 'next'"),
        ({"version": "2.2.4", "config": {"recurrent_activation": "relu"}}, "recurrent_activation 'relu'"),
    ],
)
def test_gates_that_a_file_leaves_open_are_asked_for(facts, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read_weights(rnn_file(tmp_path / "w.h5", **facts)).gate_activation("rnn_1")


@pytest.mark.parametrize("setting", [{"activation": "relu"}, {"go_backwards": True}])
def test_settings_that_the_model_does_not_have_are_refused(setting, tmp_path):
    inputs = keras.Input((4, 2))
    model = keras.Model(inputs, keras.layers.LSTM(3, name="rnn_1")(inputs))
    good = {"activation": "tanh", "go_backwards": False}
    read_weights(rnn_file(tmp_path / "good.h5", config=good)).load_into(model, {"rnn_1": "rnn_1"})
    with pytest.raises(
        UserError, match=r"layer rnn_1 has (activation = 'relu'|go_backwards = True); the model expects"
    ):
        read_weights(rnn_file(tmp_path / "w.h5", config=good | setting)).load_into(model, {"rnn_1": "rnn_1"})


def cudnn(gates, units=3, inputs=2, seed=0):
    """What CuDNN is given: per gate a matrix (units, inputs), one (units, units), and two biases; in Keras's names."""
    rng = np.random.default_rng(seed)
    w, u = rng.normal(size=(gates, units, inputs)), rng.normal(size=(gates, units, units))
    b = rng.normal(size=(2, gates, units))
    arrays = {
        "kernel": np.hstack([block.ravel().reshape(inputs, units) for block in w]),
        "recurrent_kernel": np.hstack(list(u)),
        "bias": b.ravel(),
    }
    return SimpleNamespace(w=w, u=u, b=b), {name: array.astype("f") for name, array in arrays.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_cudnn_lstm_is_converted(tmp_path):
    m, arrays = cudnn(4)
    file = read_weights(rnn_file(tmp_path / "w.h5", "2.2.4", arrays=arrays))
    assert file.gate_activation("rnn_1") == ("sigmoid", "a CuDNN layer")
    x = np.random.default_rng(1).normal(size=(5, 2))
    h = c = np.zeros(3)
    for step in x:  # cuDNN's equations, gates in Keras's order
        i, f, g, o = (m.w[k] @ step + m.u[k] @ h + m.b[0, k] + m.b[1, k] for k in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    layer = keras.layers.LSTM(3, name="rnn_1")
    model = keras.Sequential([keras.Input((5, 2)), layer])
    file.load_into(model, {"rnn_1": "rnn_1"})
    np.testing.assert_allclose(model(x[None].astype("f"))[0], h, atol=1e-6)


def test_cudnn_gru_is_converted_to_the_gru_that_resets_after(tmp_path):
    m, arrays = cudnn(3)
    file = read_weights(rnn_file(tmp_path / "w.h5", "2.2.4", arrays=arrays))
    x = np.random.default_rng(1).normal(size=(5, 2))
    h = np.zeros(3)
    for step in x:
        z, r, inner = (m.w[k] @ step + m.b[0, k] for k in range(3))
        uz, ur, uh = (m.u[k] @ h + m.b[1, k] for k in range(3))
        z, r = sigmoid(z + uz), sigmoid(r + ur)
        h = z * h + (1 - z) * np.tanh(inner + r * uh)
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.GRU(3, reset_after=True, name="rnn_1")])
    file.load_into(model, {"rnn_1": "rnn_1"})
    np.testing.assert_allclose(model(x[None].astype("f"))[0], h, atol=1e-6)


def test_a_cudnn_bias_beside_the_names_of_a_plain_lstm_is_refused(tmp_path):
    _, arrays = cudnn(4)
    for facts in ({"cell": "lstm_cell/"}, {"config": {}}):
        with pytest.raises(UserError, match="layer rnn_1 has the bias of a CuDNN layer, but the names of another"):
            read_weights(rnn_file(tmp_path / "w.h5", "2.9.0", arrays=arrays, **facts))


def test_a_model_in_a_model_is_read_as_the_inner_one(tmp_path):
    names = {f"rnn_1/lstm_cell/{name}:0": array for name, array in RNN.items()} | DENSE
    layers = {"input_1": {}, "dense_1": {}, "model_1": names}  # as multi_gpu_model, whose last layer joins the parts
    file = read_weights(write(tmp_path / "w.h5", layers))
    assert {layer: set(arrays) for layer, arrays in file.layers.items()} == {
        "rnn_1": set(RNN),
        "dense_1": {"kernel", "bias"},
    }
    assert file.cells == {"rnn_1"}
    with pytest.raises(UserError, match="layer model_1 is a model itself, beside the layers dense_2; save that model"):
        read_weights(write(tmp_path / "two.h5", {"model_1": names, "dense_2": DENSE}))


def test_names_that_collide_are_refused(tmp_path):
    names = {"dense_1/a/kernel:0": DENSE["dense_1/kernel:0"], "a/dense_1/a/kernel:0": DENSE["dense_1/kernel:0"]}
    with pytest.raises(UserError, match="layer model_1 holds several weights called kernel"):
        read_weights(write(tmp_path / "w.h5", {"model_1": names}))


def test_models_of_keras_3(tmp_path):
    inner = keras.Sequential(
        [keras.Input((4, 2)), keras.layers.GRU(3, name="rnn_1"), keras.layers.Dense(1, name="out")]
    )
    inputs = keras.Input((4, 2))
    for name, model in (("plain.h5", inner), ("nested.h5", keras.Model(inputs, inner(inputs)))):
        model.save(tmp_path / name)
        file = read_weights(tmp_path / name)
        assert list(file.layers) == ["rnn_1", "out"] and file.layers["rnn_1"]["bias"].shape == (2, 9)
        assert file.gate_activation("rnn_1") == ("sigmoid", "model_config")
        fresh = keras.models.clone_model(inner)
        file.load_into(fresh, {"rnn_1": "rnn_1", "out": "out"})
        for ours, theirs in zip(fresh.get_weights(), inner.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_keras_3s_own_formats_are_named(tmp_path):
    model = small_model()
    model.save_weights(tmp_path / "model.weights.h5")
    assert not is_keras_layout(tmp_path / "model.weights.h5")
    (tmp_path / "model.weights.h5").rename(tmp_path / "own.h5")
    model.save(tmp_path / "model.keras")
    (tmp_path / "model.keras").rename(tmp_path / "whole.h5")
    for name, message in (
        ("own.h5", "own.h5: weights in Keras 3's own format"),
        ("whole.h5", "it is a zip archive, such as"),
    ):
        assert is_keras_layout(tmp_path / name)
        with pytest.raises(UserError, match=message):
            read_weights(tmp_path / name)


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_is_read_as_the_one_h5_in_it(tmp_path, monkeypatch):
    content = write(tmp_path / "w.h5", {"dense_1": DENSE}).read_bytes()
    members = {"README.txt": b"read me", "__MACOSX/._w.h5": b"x", "folder/w.h5": content}
    path = zipped(tmp_path / "W.ZIP", members)
    assert is_keras_layout(path)
    np.testing.assert_array_equal(read_weights(path).layers["dense_1"]["kernel"], np.ones((3, 2)))
    for members, message in (
        ({"README.txt": b""}, "holds 0 .h5 files; expected exactly one"),
        ({"a.h5": content, "b.h5": content}, r"holds 2 .h5 files \(a.h5, b.h5\); expected exactly one"),
        ({"a.h5": content[:900]}, "bad.zip: cannot be read as HDF5 weights"),
    ):
        with pytest.raises(UserError, match=message):
            read_weights(zipped(tmp_path / "bad.zip", members))
    monkeypatch.setattr("common.weights.LARGEST_ZIPPED", 1000)
    with pytest.raises(UserError, match=r"unpacks to .* bytes; expected at most 1,000"):
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
