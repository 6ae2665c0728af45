import keras
import numpy as np
import pytest
import tensorflow as tf

from conftest import GOLDEN
from session_transformers.decoding import continue_sessions
from session_transformers.recurrent.decoding import RecurrentSearch
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.recurrent.released import (
    recurrent_architecture_of,
    recurrent_from_torch,
    recurrent_to_torch,
)

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "session_transformers"
FILES = ["lstm_seq", "lstm_skip_notebook", "bigru_skip_notebook"]


def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        arrays = {key: file[key] for key in file.files}
    weights = {key.removeprefix("w__"): array for key, array in arrays.items() if key.startswith("w__")}
    return arrays, weights


def build(weights, **changes):
    model = RecurrentModel(recurrent_architecture_of(weights, **changes))
    recurrent_from_torch(model, weights)
    return model


def near(ours, theirs):
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


def loss_of_last_nine(logits, target):
    logits = logits.astype(np.float64)
    own = np.take_along_axis(logits, target[..., None], -1)[..., 0]
    return float((np.log(np.exp(logits).sum(-1)) - own)[:, 1:].mean())


def maa(right):
    shares = np.cumsum(right, 1) / np.arange(1, right.shape[1] + 1)
    return (shares * right).mean()


def test_free_running_tracks():
    arrays, weights = load("lstm_seq")
    model = build(weights)
    run = continue_sessions(RecurrentSearch(model), arrays["in_src"], with_hidden=True)
    tokens, logits = run.tokens[:, 0], np.asarray(model.head(run.hidden[:, 0]))
    near(logits, arrays["out_logits_tf0"])
    np.testing.assert_array_equal(tokens, arrays["out_logits_tf0"].argmax(-1))
    assert loss_of_last_nine(logits, arrays["in_tgt"]) == pytest.approx(
        float(arrays["out_loss_tf0_positions_1_to_9"]), rel=1e-5
    )
    assert maa(tokens == arrays["in_tgt"]) == pytest.approx(float(arrays["out_maa_tf0"]), abs=1e-6)
    every = logits - np.log(np.exp(logits.astype(np.float64)).sum(-1, keepdims=True))
    np.testing.assert_allclose(run.log_probabilities[:, 0], every.max(-1), atol=1e-5)


def test_unshifted_forcing_of_tracks():
    arrays, weights = load("lstm_seq")
    model = build(weights)
    logits = np.asarray(tf.function(model, jit_compile=True)({"source": arrays["in_src"], "target": arrays["in_tgt"]}))
    near(logits, arrays["out_logits_tf1"])
    assert loss_of_last_nine(logits, arrays["in_tgt"]) == pytest.approx(
        float(arrays["out_loss_tf1_positions_1_to_9"]), rel=1e-5
    )
    right = logits.argmax(-1) == arrays["in_tgt"]
    assert maa(right) == pytest.approx(float(arrays["out_maa_tf1"]), abs=1e-6)


@pytest.mark.parametrize("name", ["lstm_skip_notebook", "bigru_skip_notebook"])
@pytest.mark.parametrize("training", [False, True])
def test_skips_from_the_last_true_one(name, training):
    arrays, weights = load(name)
    plain = build(weights, dropout=0.0)
    replaced = build(weights, dropout=0.0, skip_input="token", replaced="played")
    skips = {"source_skips": arrays["in_src_skips"], "target_skips": arrays["in_tgt_skips"]}
    inputs = {"source": arrays["in_src"], "target": arrays["in_tgt"], **skips}
    np.testing.assert_array_equal(arrays["in_first_decoder_token"], arrays["in_tgt_skips"][:, -1])
    shown = replaced.shown(*(keras.ops.convert_to_tensor(inputs[key]) for key in ("source", "source_skips")))
    half = arrays["in_src"].shape[1]
    np.testing.assert_array_equal(shown, arrays["in_full_skip_padded"][:, :half])
    for model, key in ((plain, "out_logits_leaky_first_input"), (replaced, "out_logits_skip_padded")):
        near(model(inputs, training=training), arrays[key])
    right = np.asarray(plain(inputs)).argmax(-1) == arrays["in_tgt_skips"]
    assert maa(right) == pytest.approx(float(arrays["out_maa"]), abs=1e-6)


@pytest.mark.parametrize("name", FILES)
def test_weights_go_back_as_they_came(name):
    _, weights = load(name)
    again = recurrent_to_torch(build(weights))
    assert again.keys() == weights.keys()
    for key, array in weights.items():
        np.testing.assert_allclose(again[key], array, atol=1e-7, err_msg=key)
