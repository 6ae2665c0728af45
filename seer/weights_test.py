"""Released weights and others in their layout: each file gives the numbers of the Keras that wrote it."""

import json
from pathlib import Path

import keras
import numpy as np
import pytest

from common.options import UserError
from seer.weights import read_released

FILES = Path(__file__).parent / "testdata"
PREDICTED = json.loads((FILES / "predicted.json").read_text("utf-8"))["predicted"]
GATES = {
    "sigmoid.h5": ("lstm", "sigmoid (keras_version 2.21.0)"),
    "hard_sigmoid_model.h5": ("lstm", "hard_sigmoid (model_config)"),
    "gru_reset_after.h5": ("gru_reset_after", "sigmoid (keras_version 2.21.0)"),
    "cudnn_lstm.h5": ("lstm", "sigmoid (a CuDNN layer)"),
    "cudnn_gru.h5": ("gru_reset_after", "sigmoid (a CuDNN layer)"),
    "nested.h5": ("lstm", "sigmoid (keras_version 2.21.0)"),
}


def ratings(weights):
    """Of all songs by all users, (users, songs)."""
    seer = weights.build()
    hidden = np.asarray(seer.encoder(weights.midi))
    return seer.score_matrix(seer.user_vectors(np.arange(weights.architecture.num_users)), hidden)


@pytest.mark.parametrize("name", GATES)
def test_a_file_gives_the_numbers_of_the_keras_that_wrote_it(name):
    weights = read_released(FILES / name)
    assert (weights.architecture.cell, weights.gates) == GATES[name]
    np.testing.assert_allclose(ratings(weights), PREDICTED[name], atol=2e-6)


def test_the_gates_can_be_named_instead():
    weights = read_released(FILES / "sigmoid.h5", "hard_sigmoid")
    assert weights.architecture.gate_activation == "hard_sigmoid"
    assert weights.gates == "hard_sigmoid (--gate-activation)"
    assert np.abs(ratings(weights) - PREDICTED["sigmoid.h5"]).max() > 1e-3


@pytest.mark.parametrize("gates", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("layer", [keras.layers.LSTM, keras.layers.GRU])
def test_whole_models_of_keras_3(layer, gates, tmp_path):
    users, songs, steps, features, latent = 5, 4, 6, 4, 3
    midi = np.random.default_rng(0).integers(0, 128, (songs, steps * features)).astype(np.float32)
    user, song = keras.Input((1,), name="user_input"), keras.Input((1,), name="song_input")
    frozen = keras.layers.Embedding(songs, steps * features, trainable=False, name="flat_song_feature_input")
    state = keras.layers.Reshape((steps, features))(frozen(song))
    state = layer(latent, recurrent_activation=gates, dropout=0.2, recurrent_dropout=0.2, name="LSTM_1")(state)
    vector = keras.layers.Flatten()(keras.layers.Embedding(users, latent, name="embedding_user")(user))
    rating = keras.layers.Dense(1, name="dense")(keras.layers.Concatenate()([vector, state]))
    model = keras.Model([user, song], rating)
    frozen.set_weights([midi])
    model.save(tmp_path / "x.h5")
    weights = read_released(tmp_path / "x.h5")
    assert weights.architecture.gate_activation == {"hard_sigmoid": "keras3_hard_sigmoid"}.get(gates, gates)
    pairs = np.indices((users, songs)).reshape(2, -1, 1)
    np.testing.assert_allclose(ratings(weights), np.reshape(model(list(pairs)), (users, songs)), atol=1e-6)


def test_other_settings_than_the_models_are_refused(tmp_path):
    content = (FILES / "hard_sigmoid_model.h5").read_bytes()
    (tmp_path / "relu.h5").write_bytes(content.replace(b'"activation": "tanh"', b'"activation": "relu"'))
    with pytest.raises(UserError, match=r"layer LSTM_1 has activation = 'relu'; the model expects 'tanh'"):
        read_released(tmp_path / "relu.h5").build()
