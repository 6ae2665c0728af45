import numpy as np
import pytest
import tensorflow as tf

from common.metrics import mean_average_accuracy
from common.options import UserError
from common.weights import load_own_weights, save_own_weights
from session_transformers.autoencoder import fitting as autoencoder
from session_transformers.autoencoder.fitting import fit_autoencoder
from session_transformers.autoencoder.model import AutoEncoder, encode, exact_loss, held_logits, once, sampled_loss
from session_transformers.autoencoder.options import AutoEncoderOptions
from session_transformers.autoencoder.skip_rule import (
    RELEASED_THRESHOLD,
    choose_threshold,
    last_heard,
    predict_skips,
    similarities,
)
from session_transformers.sessions import streaming
from session_transformers.sessions.halves import Halves

LISTS, TRACKS = 8, 12
VOCABULARY = 3 + LISTS * TRACKS


def moods(count, seed=0):
    """Sessions from two playlists each; the tracks of one are skipped, those of the other are not."""
    rng = np.random.default_rng(seed)
    lists = np.argsort(rng.random((count, LISTS)), axis=1)[:, :2]
    which = (rng.random((count, 20)) < 0.5).astype(int)
    tracks = 3 + np.take_along_axis(lists, which, axis=1) * TRACKS + rng.integers(0, TRACKS, (count, 20))
    skips = which ^ rng.integers(0, 2, (count, 1))
    return Halves(tracks.astype(np.int32), skips.astype(np.uint8))


def playlists(count, seed=0):
    """Sessions of one playlist each, to learn vectors from."""
    rng = np.random.default_rng(seed)
    return (3 + rng.integers(0, LISTS, (count, 1)) * TRACKS + rng.integers(0, TRACKS, (count, 20))).astype(np.int32)


def options(**changes):
    return AutoEncoderOptions(**({"code": 8, "epochs": 12, "batch_size": 64, "negatives": 32} | changes))


@pytest.mark.parametrize(("negatives", "epochs"), [(32, 12), (0, 4)])
def test_the_rule_on_sessions_with_structure(negatives, epochs):
    model, _ = fit_autoencoder(playlists(1500), VOCABULARY, 3, options(negatives=negatives, epochs=epochs), quiet=True)
    validation, test = moods(500, 1), moods(500, 2)
    threshold = choose_threshold(similarities(model.vectors, validation), validation)
    _, last = last_heard(test)
    similar = similarities(model.vectors, test)
    ours = mean_average_accuracy(test.target_skips, predict_skips(similar, last, threshold))
    repeat = mean_average_accuracy(test.target_skips, np.repeat(last[:, None], 10, axis=1))
    assert ours > 0.95 and repeat < 0.6
    noise = Halves(test.tracks, np.random.default_rng(3).integers(0, 2, (500, 20)).astype(np.uint8))
    assert (predict_skips(similar, last_heard(noise)[1], threshold) == noise.target_skips).mean() < 0.55


def test_sampled_gradients_are_right_on_average():
    rng = np.random.default_rng(0)
    tokens = tf.constant([[3, 4, 4, 0], [7, 8, 9, 3], [0, 0, 0, 0]])
    codes = tf.constant(np.abs(rng.normal(size=(3, 5))), tf.float32)
    rows, bias = tf.constant(rng.normal(size=(10, 5)), tf.float32), tf.constant(rng.normal(size=10), tf.float32)
    counts, possible = once(tokens), tf.cast(tf.range(10) >= 3, tf.float32)
    chance = rng.random(7) + 0.2
    chance /= chance.sum()
    drawn = tf.constant(3 + rng.choice(7, 60_000, p=chance), tf.int32)
    weights = tf.gather(tf.constant(1 / (chance * 60_000), tf.float32), drawn - 3)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(codes)
        held = held_logits(codes, tf.gather(rows, tokens), tf.gather(bias, tokens))
        logits = codes @ tf.transpose(rows) + bias
        exact = exact_loss(held, counts, logits, possible)
        sampled = sampled_loss(held, counts, tf.gather(logits, drawn, axis=1), drawn, weights, tokens)
    z, truth = logits.numpy()[:2, 3:], np.zeros((2, 7))
    truth[0, [0, 1]] = truth[1, [4, 5, 6, 0]] = 1
    loop = (truth * np.logaddexp(0, -z) + (1 - truth) * np.logaddexp(0, z)).sum()
    assert float(exact) == pytest.approx(loop, rel=1e-5) and float(sampled) == pytest.approx(loop, rel=0.01)
    np.testing.assert_allclose(tape.gradient(sampled, codes), tape.gradient(exact, codes), atol=0.05)


def test_a_session_is_the_set_of_its_tracks():
    model = AutoEncoder(10, 4)
    same = np.asarray(model(tf.constant([[3, 4, 0, 0], [4, 3, 3, 4]])))
    np.testing.assert_allclose(same[0], same[1], atol=1e-6)
    rows = model.vectors[[3, 4]]
    np.testing.assert_allclose(same[0], np.maximum(rows.sum(0), 0), atol=1e-6)
    assert encode(tf.ones((1, 2, 3)), tf.zeros(3), tf.constant([[1.0, 0.0]])).numpy().tolist() == [[1, 1, 1]]


def test_all_tracks_in_parts_equal_all_at_once(monkeypatch):
    tracks = playlists(100)
    whole, _ = fit_autoencoder(tracks, VOCABULARY, 3, options(negatives=0, epochs=1), quiet=True)
    monkeypatch.setattr(autoencoder, "LOGITS", 10 * VOCABULARY)  # ten sessions at a time, the last part overlapping
    parts, _ = fit_autoencoder(tracks, VOCABULARY, 3, options(negatives=0, epochs=1), quiet=True)
    for name, variable in whole.named.items():
        np.testing.assert_allclose(variable, parts.named[name], atol=2e-5, err_msg=name)


@pytest.mark.usefixtures("eagerly")
def test_resumed_it_equals_an_uninterrupted_one_and_its_loss_falls(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 64)
    tracks = playlists(150)
    whole, progress = fit_autoencoder(tracks, VOCABULARY, 3, options(negatives=0, epochs=3), quiet=True)
    losses = [row["loss"] for row in progress.history]
    assert losses[0] > losses[2] > 0
    fit_autoencoder(tracks, VOCABULARY, 3, options(negatives=0, epochs=1), quiet=True, run_dir=tmp_path)
    again, done = fit_autoencoder(
        tracks, VOCABULARY, 3, options(negatives=0, epochs=3), quiet=True, run_dir=tmp_path, resume=True
    )
    assert [row["loss"] for row in done.history] == losses
    for name, variable in whole.named.items():
        np.testing.assert_array_equal(variable, again.named[name], err_msg=name)


def test_the_same_seed_and_save_and_load(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 64)
    tracks = playlists(150)
    first, again = (fit_autoencoder(tracks, VOCABULARY, 3, options(epochs=1), quiet=True)[0] for _ in range(2))
    np.testing.assert_array_equal(first.vectors, again.vectors)
    save_own_weights(tmp_path / "model.weights.h5", first)
    other = AutoEncoder(VOCABULARY, 8, seed=5)
    load_own_weights(other, tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(tracks), first(tracks))
    with pytest.raises(UserError, match="do not fit"):
        load_own_weights(AutoEncoder(VOCABULARY, 9), tmp_path / "model.weights.h5")


def test_the_rule_by_hand():
    vectors = np.array([[0, 0], [1, 0], [2, 0], [-1, 0.1], [0, 3]])
    tracks, skips = np.zeros((2, 20), np.int32), np.zeros((2, 20), np.uint8)
    tracks[0, :3], tracks[0, 10:14] = [3, 4, 1], [1, 2, 3, 4]
    tracks[1, :10], tracks[1, 10:12] = 4, [4, 1]
    skips[0, 2] = 1
    halves = Halves(tracks, skips)
    last, last_skips = last_heard(halves)
    assert last.tolist() == [1, 4] and last_skips.tolist() == [1, 0]
    similar = similarities(vectors, halves)
    np.testing.assert_allclose(similar[0, :4], [1, 1, -1 / np.hypot(1, 0.1), 0], atol=1e-6)
    assert predict_skips(similar, last_skips, 0.5)[:, :4].tolist() == [[1, 1, 0, 0], [0, 1, 1, 1]]
    released = similarities(vectors, halves, released=True)
    np.testing.assert_allclose(released[0, :4], [-1, 0, 1, 0])
    assert predict_skips(released, last_skips, RELEASED_THRESHOLD)[0, :3].tolist() == [0, 1, 1]


def test_a_threshold_below_all_repeats_the_last_skip():
    rng = np.random.default_rng(0)
    halves = moods(200)
    halves.skips[:] = halves.skips[:, 9:10]
    similar = rng.random((200, 10)).astype(np.float32)
    threshold = choose_threshold(similar, halves)
    assert threshold < similar.min()
    np.testing.assert_array_equal(predict_skips(similar, last_heard(halves)[1], threshold), halves.target_skips)


def test_mistakes_end_in_one_clear_line():
    with pytest.raises(UserError, match="needs sessions"):
        fit_autoencoder(np.zeros((0, 20), np.int32), 9, 3)
    with pytest.raises(UserError, match="1 or more"):
        AutoEncoderOptions(code=0)
