"""Weight files that are not what the user thinks: one line, and the network unchanged. See also golden_test.py."""

import h5py
import keras
import numpy as np
import pytest

from audiotext.model import build
from audiotext.weights import load_released
from common.options import UserError
from common.weights import is_keras_layout, save_own_weights

SIZES = {"factors": 4, "text": 6, "audio": 5, "text_units": (3, 3), "fusion_units": 3}


def write(path, layers):
    """A file of Keras 2: layer -> (kernel, bias)."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in layers])
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = np.array([f"{name}/{kind}:0".encode() for kind in ("kernel", "bias")])
            for kind, array in zip(("kernel", "bias"), arrays, strict=True):
                group.create_dataset(f"{name}/{kind}:0", data=np.asarray(array, np.float32))
    return path


def layers_of(model, first=1):
    """The weights of a network under the names and numbers that Keras 2 gives them."""
    order = [layer for layer in model.layers if layer.weights]
    order = sorted(order, key=lambda layer: (layer.name == "factors", layer.name.startswith("fusion"), layer.name))
    return {f"dense_{first + i}": layer.get_weights() for i, layer in enumerate(order)}


@pytest.mark.parametrize("name", ["a-text", "seed", "mm-lf-lin", "mm-lf-h1"])
def test_numbers_of_the_layers_depend_on_what_was_built_before(name, tmp_path):
    sizes = SIZES | ({"fusion_units": 0} if name == "mm-lf-lin" else {})
    model, other = build(name, **sizes), build(name, **sizes)
    layers = layers_of(model, first=9)  # dense_10 comes before dense_9 in the alphabet
    path = write(tmp_path / "old.h5", dict(sorted(layers.items())))
    assert is_keras_layout(path)
    load_released(other, path)
    for ours, theirs in zip(other.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_own_and_released_files_are_told_apart_by_content(tmp_path):
    model = build("mm-lf-h1", **SIZES)
    save_own_weights(tmp_path / "model.weights.h5", model)
    assert not is_keras_layout(tmp_path / "model.weights.h5")
    write(tmp_path / "old.weights.h5", layers_of(model))
    assert is_keras_layout(tmp_path / "old.weights.h5")
    (tmp_path / "text.weights.h5").write_text("no HDF5")
    assert not is_keras_layout(tmp_path / "text.weights.h5")


def test_other_networks_and_sizes_are_refused(tmp_path):
    model = build("mm-lf-h1", **SIZES)
    before = model.get_weights()
    layers = layers_of(model)
    one = dict(list(layers.items())[:1])
    wide = layers | {"dense_2": (np.zeros((7, 4)), np.zeros(4))}
    cases = [
        (one, r"1 dense layers; mm_lf_h1 has 2 \(fusion_dense, factors\)"),
        (layers | {"lstm_1": layers["dense_1"]}, r"layers lstm_1; the released networks have only dense_<number>"),
        (wide, r"layer dense_2, weight kernel has shape \(7, 4\); the model expects \(3, 4\)"),
        (layers | {"dense_1": (np.full((11, 3), np.nan), np.zeros(3))}, r"NaN"),
    ]
    for content, words in cases:
        with pytest.raises(UserError, match=words):
            load_released(model, write(tmp_path / "bad.h5", content))
    (tmp_path / "cut.h5").write_bytes((tmp_path / "bad.h5").read_bytes()[:500])
    with pytest.raises(UserError, match="cannot be read"):
        load_released(model, tmp_path / "cut.h5")
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_no_weights_of_the_audio_network_are_known(tmp_path):
    keras.utils.set_random_seed(1)
    small = {"frames": 20, "bins": 4, "filters": (3,), "kernels": (4,), "pools": (4,)}
    for name in ("audio", "mm"):
        with pytest.raises(UserError, match=r"no weights of the audio network"):
            load_released(build(name, **(SIZES | small)), tmp_path / "audio.h5")
