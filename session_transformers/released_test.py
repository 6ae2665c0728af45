from dataclasses import replace

import numpy as np
import pytest

from common.options import UserError
from session_transformers.architecture import CORRECTED, RELEASED, Architecture
from session_transformers.kinds import RELEASED_IDS
from session_transformers.model import build_model
from session_transformers.released import architecture_of, from_torch, read_arrays, to_torch, write_arrays

SMALL = Architecture(
    "transformer", "seq", 20, width=12, features=4, feed_forward=16, dropout=0.0, half=5,
    ids=RELEASED_IDS, switches=RELEASED,
)  # fmt: skip
KINDS = {
    "seq": SMALL,
    "skip": replace(SMALL, task="skip", skip_input="token"),
    "bert": replace(SMALL, model="bert", features=0, decoder_layers=0),
    "bert for skips": replace(SMALL, model="bert-finetuned", task="skip", features=0, decoder_layers=0),
    "augmented": replace(SMALL, model="bert-augmented"),
}


@pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS)
def test_exported_weights_tell_their_architecture_and_come_back(architecture, tmp_path):
    model = build_model(architecture, seed=1)
    path = tmp_path / "weights.npz"
    write_arrays(path, to_torch(model))
    arrays = read_arrays(path)
    assert architecture_of(arrays, heads=2, dropout=0.0) == architecture
    other = build_model(architecture, seed=2)
    from_torch(other, arrays)
    for ours, theirs in zip(model.weights, other.weights, strict=True):
        if not ours.path.endswith("seed_generator_state"):
            np.testing.assert_array_equal(ours, theirs)


def test_a_shared_norm_becomes_two():
    arrays = to_torch(build_model(SMALL))
    arrays["layer_norm.weight"] = np.arange(12, dtype=np.float32)
    model = build_model(replace(SMALL, switches=replace(CORRECTED, load_features=False)))
    from_torch(model, arrays)
    for norm in (model.encoder_norm, model.decoder_norm):
        np.testing.assert_array_equal(norm.gamma, np.arange(12))
    assert model.encoder_norm is not model.decoder_norm


def test_arrays_that_do_not_fit_are_named_and_change_nothing():
    model = build_model(SMALL)
    before = to_torch(model)
    layer = "transformer_decoder.layers.1.linear1.weight"
    cases = [
        ({**before, layer: np.zeros((16, 11), np.float32)}, rf"{layer} has shape \(16, 11\); .* \(16, 12\)"),
        ({name: array for name, array in before.items() if name != layer}, f"{layer} missing"),
        ({**before, "more.weight": np.zeros(3, np.float32)}, "more.weight has no place"),
    ]
    for arrays, message in cases:
        arrays = {**arrays, "fc.bias": arrays["fc.bias"] + 1}
        with pytest.raises(UserError, match=message):
            from_torch(model, arrays)
    for name, array in to_torch(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_what_is_no_state_dict(tmp_path):
    with pytest.raises(UserError, match="not weights of a session transformer"):
        architecture_of({"Wy": np.zeros((3, 2))}, heads=2)
    with pytest.raises(UserError, match=r"fc.weight"):
        architecture_of({"track_embed.weight": np.zeros((3, 2))}, heads=2)
    path = tmp_path / "bad.npz"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"bad.npz: cannot be read"):
        read_arrays(path)
    np.savez(path, fc=np.array([1.0, np.nan]))
    with pytest.raises(UserError, match="fc is not an array of finite"):
        read_arrays(path)
    with pytest.raises(UserError, match=r"nowhere.npz"):
        read_arrays(tmp_path / "nowhere.npz")
