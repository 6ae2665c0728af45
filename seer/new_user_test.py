"""Folding in a new user: the definition, the trained vector, and files of ratings."""

import unicodedata
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest

from common.optimizers import make_optimizer
from common.options import UserError
from common.training import Batch, Trainer
from seer.model import Architecture, Networks
from seer.new_user import default_ridge, fold_in, read_ratings

USERS, SONGS, LATENT = 6, 40, 4


def model(variant):
    keras.utils.set_random_seed(3)
    seer = Networks(Architecture(USERS, 12, variant, "gru", LATENT, dropout=0.0))
    midi = np.random.default_rng(1).integers(0, 3, (SONGS, 12, 32)).astype(np.float32)
    return seer, np.asarray(seer.encoder(midi)), midi


@pytest.mark.parametrize("ridge", [0.3, 20.0])
@pytest.mark.parametrize("variant", ["concat", "dot"])
def test_it_is_the_minimum_of_the_stated_sum(variant, ridge):
    seer, hidden, _ = model(variant)
    values = np.random.default_rng(0).uniform(1, 5, 9)
    songs = hidden[:9]
    mean = seer.user_vectors(np.arange(USERS)).mean(axis=0)

    def objective(p):
        return np.sum((values - seer.score_matrix(p[None], songs)[0]) ** 2) + ridge * np.sum((p - mean) ** 2)

    p = fold_in(seer, songs, values, ridge)
    for direction in np.eye(LATENT):
        assert objective(p) <= min(objective(p + 1e-3 * direction), objective(p - 1e-3 * direction))
    assert objective(p) < objective(mean)


def test_without_ridge_it_is_least_squares_and_with_much_the_average_user():
    seer, hidden, _ = model("dot")
    mean = seer.user_vectors(np.arange(USERS)).mean(axis=0)
    exact = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(fold_in(seer, hidden, hidden.astype(float) @ exact, 0.0), exact, atol=1e-8)
    np.testing.assert_allclose(fold_in(seer, hidden, np.full(SONGS, 5.0), 1e12), mean, atol=1e-6)
    one = fold_in(seer, hidden[:1], np.array([5.0]), 0.0)  # fewer songs than factors: nearest to the average user
    np.testing.assert_allclose(hidden[0] @ one, 5.0, atol=1e-6)
    assert np.linalg.matrix_rank(np.stack([one - mean, hidden[0]]), tol=1e-6) == 1


@pytest.mark.parametrize("variant", ["concat", "dot"])
def test_a_tiny_ridge_is_nearly_none(variant):
    """X'X + ridge I is singular to its last digit: fewer ratings than factors, or the same row for every song."""
    seer, hidden, _ = model(variant)
    values = np.array([5.0, 1.0])
    none = fold_in(seer, hidden[:2], values, 0.0)
    for ridge in (1e-300, 1e-20, 1e-12):
        np.testing.assert_allclose(fold_in(seer, hidden[:2], values, ridge), none, atol=1e-6)


@pytest.mark.slow
def test_it_equals_the_vector_that_training_found_for_the_same_ratings():
    """Training minimises the same sum without ridge, so both agree as far as training has converged.

    Adam is run on whole batches with falling step sizes until the gradient of the user's vector is about 1e-6; the
    distance to the minimum is then at most that over the smallest eigenvalue of X'X / n, which the tolerance states.
    """
    seer, _, midi = model("dot")
    rng = np.random.default_rng(2)
    users, songs = np.divmod(np.arange(USERS * SONGS), SONGS)
    values = rng.uniform(1, 5, len(users)).astype(np.float32)
    inputs = {"user_input": users.astype(np.int32), "song_input": songs.astype(np.int32), "song_feature_input": midi}
    batch = Batch(inputs, values, np.ones(len(users), np.float32))
    seer.model.get_layer("LSTM_1").trainable = False  # the songs are settled, as they are when somebody new comes
    for rate in (0.1, 0.01, 0.001, 1e-4):
        trainer = Trainer(seer.model, make_optimizer("adam", rate), seed=1)
        trainer.fit(lambda epoch: [[batch]] * 700, 1, quiet=True)
    hidden = np.asarray(seer.encoder(midi))
    smallest = np.linalg.eigvalsh(hidden.T.astype(float) @ hidden / SONGS)[0]
    for user in range(USERS):
        trained = seer.user_vectors(np.array([user]))[0]
        ours = fold_in(seer, hidden, values[users == user], 0.0)
        gradient = hidden.T @ (hidden @ trained - values[users == user]) / SONGS
        assert np.abs(gradient).max() < 2e-5
        np.testing.assert_allclose(trained, ours, atol=max(2e-5 * LATENT / smallest, 1e-4))
        assert np.linalg.norm(trained - ours) < 1e-2 * np.linalg.norm(ours)


def test_default_ridge_is_the_ratio_of_variances():
    seer, hidden, _ = model("dot")
    p = seer.user_vectors(np.arange(USERS))
    users, songs = np.divmod(np.arange(USERS * SONGS), SONGS)
    noise = np.tile([0.5, -0.5], len(users) // 2)
    data = SimpleNamespace(users=users, songs=songs, ratings=seer.score_matrix(p, hidden).ravel() + noise)
    assert default_ridge(seer, data, hidden) == pytest.approx(0.25 / p.var(axis=0).mean(), rel=1e-6)


INFORMATION = pd.DataFrame({"song_id": ["SA", "SB", "SC"]})


def test_reads_ratings_in_any_column_order(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("rating,comment,song_id\n5,great,SC\n1.5,,SA\n", "utf-8")
    found = read_ratings(path, INFORMATION)
    assert found.songs.tolist() == [2, 0] and found.values.tolist() == [5.0, 1.5]


def test_an_accent_written_in_two_ways_is_the_same_id(tmp_path):
    composed, apart = (unicodedata.normalize(form, "Björk") for form in ("NFC", "NFD"))
    assert composed != apart
    path = tmp_path / "mine.csv"
    path.write_text(f"song_id,rating\n{apart},5\n", "utf-8")
    assert read_ratings(path, pd.DataFrame({"song_id": ["SA", composed]})).songs.tolist() == [1]
    path.write_text(f"song_id,rating\n{apart},5\n{composed},4\n", "utf-8")
    with pytest.raises(UserError, match=r"line 3: .* is on line 2 already"):
        read_ratings(path, pd.DataFrame({"song_id": [composed]}))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("song_id,rating\nSX,3\n", ("line 2", "'SX'", "not in the dataset")),
        ("song_id,rating\nSA,6\n", ("line 2", "'6'", "1 to 5")),
        ("song_id,rating\nSA,nan\n", ("line 2", "'nan'")),
        ("song_id,rating\nSA,good\n", ("line 2", "'good'")),
        ("song_id,rating\nSA,3\nSA,4\n", ("line 3", "already")),
        ("song,rating\nSA,3\n", ("the column song_id is missing",)),
        ("song_id,rating\n", ("no row",)),
        ("", ("is empty",)),
    ],
)
def test_wrong_files_are_told_in_one_line(tmp_path, text, words):
    path = tmp_path / "mine.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(UserError) as error:
        read_ratings(path, INFORMATION)
    assert all(word in str(error.value) for word in (*words, "mine.csv")), error.value
    with pytest.raises(UserError, match="no such file"):
        read_ratings(tmp_path / "none.csv", INFORMATION)
    with pytest.raises(UserError, match="a folder, not a file"):
        read_ratings(tmp_path, INFORMATION)


def test_a_long_song_id_is_cut_in_the_message(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(f"song_id,rating\n{'x' * 5000},3\n")
    with pytest.raises(UserError) as error:
        read_ratings(path, INFORMATION)
    assert len(str(error.value)) < 1000
