"""SeER's models against the released code (golden data), and their structure."""

import json

import keras
import numpy as np
import pytest

from common.training import BlockPredictor
from seer.baselines import Rater
from seer.evaluation import personalisation
from seer.model import Architecture, Networks
from seer.preprocess import Ratings, select_channels
from seer.training import Evaluator, PairBatches, model_input
from seer.weights import read_released

VARIANTS = ("LSTM", "GRU")
SIZES = {"num_users": 9, "sequence_length": 12, "latent_features": 5}


@pytest.fixture(params=VARIANTS)
def released(request, golden_seer):
    (path,) = (golden_seer / "weights").glob(f"SeER_{request.param}_*.h5")
    return request.param, read_released(path)


def recommender_of(weights, data) -> Rater:
    weights.check_songs(data.midi)
    return Evaluator(weights.build(), model_input(data, weights.architecture), jit=True).rater()


@pytest.mark.golden
def test_sizes_are_read_from_the_file(released, seer_golden_data):
    variant, weights = released
    a = weights.architecture
    assert (a.variant, a.cell) == {"LSTM": ("concat", "lstm"), "GRU": ("dot", "gru")}[variant]
    assert a.num_users == seer_golden_data.num_users
    assert len(weights.midi) == seer_golden_data.num_songs
    assert f"latent_{a.latent_features}_seq{a.sequence_length}_" in weights.path.name


@pytest.mark.golden
def test_released_weights_give_released_numbers(released, seer_golden_data, golden_seer):
    variant, weights = released
    expected = np.load(golden_seer / "expected" / f"predictions_{variant}.npz")
    seer = weights.build()
    midi = model_input(seer_golden_data, weights.architecture)
    hidden = BlockPredictor(seer.encoder, 16)(midi)
    np.testing.assert_allclose(hidden, expected["song_hidden"], atol=2e-6)
    recommender = recommender_of(weights, seer_golden_data)
    for pairs, scores in (("pairs", "pair_pred"), ("test_set", "test_pred")):
        users, songs = expected[pairs].T
        np.testing.assert_allclose(recommender.rate(users, songs), expected[scores], atol=5e-6)
    np.testing.assert_allclose(recommender.scores(expected["users_full"]), expected["full_pred"], atol=5e-6)


@pytest.mark.golden
def test_concat_ranks_songs_alike_for_all_users_and_dot_does_not(released, seer_golden_data, golden_seer):
    variant, weights = released
    facts = json.loads((golden_seer / "expected" / f"facts_{variant}.json").read_text())
    found = personalisation(recommender_of(weights, seer_golden_data), facts["num_users"])
    assert found["distinct_rankings"] == facts["distinct_full_rankings_over_200_users"]
    assert found["distinct_top5"] == facts["distinct_top5_lists"]


@pytest.mark.golden
def test_channel_reduction_keeps_the_released_columns(seer_golden_data, golden_seer):
    info = json.loads((golden_seer / "expected" / "train_reference_info.json").read_text())
    columns = np.tile(np.arange(96).reshape(3, 32), (1, 1))
    for channels, expected in info["reduce_num_channels"].items():
        kept = select_channels(columns, int(channels))
        assert kept.ravel().tolist() == expected["columns_kept_of_first_96"]
        step = select_channels(seer_golden_data.midi, int(channels))[0, 0]
        assert step.tolist() == expected["checksum_song0_first_step"]


@pytest.mark.parametrize("variant", ["concat", "dot"])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_layer_names_are_the_released_ones(variant, cell):
    seer = Networks(Architecture(**SIZES, variant=variant, cell=cell))
    names = {layer.name for layer in seer.model.layers if layer.weights}
    assert names == {"embedding_user", "LSTM_1"} | ({"dense_1"} if variant == "concat" else set())
    users, latent, features = 9, 5, 32
    rnn = {"lstm": 4, "gru": 3, "rnn": 1}[cell] * (features * latent + latent * latent + latent)
    assert seer.model.count_params() == users * latent + rnn + (2 * latent + 1 if variant == "concat" else 0)


@pytest.mark.parametrize("variant", ["concat", "dot"])
def test_three_views_agree_and_length_is_free(variant):
    seer = Networks(Architecture(**SIZES, variant=variant, channels=3))
    rng = np.random.default_rng(0)
    midi = rng.integers(0, 128, (4, 12, 6)).astype(np.uint8)
    users, songs = rng.integers(0, 9, 20), rng.integers(0, 4, 20)
    hidden = BlockPredictor(seer.encoder, 3)(midi)
    by_head = BlockPredictor(seer.head, 7)(users.astype(np.int32), hidden[songs])
    inputs = {"user_input": users, "song_input": songs, "song_feature_input": midi}
    np.testing.assert_allclose(np.asarray(seer.model(inputs)), by_head, atol=1e-6)
    np.testing.assert_allclose(
        seer.score_matrix(seer.user_vectors(users), hidden)[np.arange(20), songs], by_head, atol=1e-6
    )
    assert seer.encoder(midi[:, :5]).shape == (4, 5)


@pytest.mark.parametrize("variant", ["concat", "dot"])
def test_encoding_each_song_once_changes_neither_loss_nor_gradients(variant):
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    seer = Networks(Architecture(**SIZES, variant=variant, dropout=0.0))
    rng = np.random.default_rng(0)
    midi = rng.integers(0, 128, (6, 12, 32)).astype(np.uint8)
    ratings = Ratings(rng.integers(0, 9, 40), rng.integers(0, 6, 40), rng.integers(1, 6, 40).astype(np.float32))
    results = []
    for distinct in (True, False):
        ((batch,),) = PairBatches(ratings, midi, 48, seed=3, distinct=distinct)(0)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(batch.weights * (seer.model(batch.inputs, training=True) - batch.targets) ** 2)
        gradients = tape.gradient(loss, [v.value for v in seer.model.trainable_variables])
        results.append(
            (len(batch.inputs["song_feature_input"]), float(loss), [tf.convert_to_tensor(g) for g in gradients])
        )
    (few, loss, gradients), (many, expected_loss, expected) = results
    assert few == 6 and many == 48
    assert loss == pytest.approx(expected_loss, rel=1e-6)
    for gradient, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, atol=2e-6 * np.abs(reference).max())


def test_fractions_in_the_midi_array_reach_the_model():
    seer = Networks(Architecture(**SIZES))
    low = np.full((1, 12, 32), 3.0, np.float32)
    assert np.abs(np.asarray(seer.encoder(low)) - np.asarray(seer.encoder(low + 0.5))).max() > 1e-4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_users", "5"),
        ("num_users", 0),
        ("channels", True),
        ("sequence_length", 2.5),
        ("latent_features", 10**12),
        ("channels", 17),
        ("variant", "sum"),
        ("variant", []),
        ("cell", None),
        ("gate_activation", 3),
        ("dropout", -0.1),
        ("midi_scale", float("nan")),
        ("midi_scale", "1"),
    ],
)
def test_an_impossible_architecture_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is .*expected"):
        Architecture(**SIZES | {name: value})
