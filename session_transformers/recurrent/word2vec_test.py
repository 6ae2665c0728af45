import numpy as np
import pytest
import tensorflow as tf

from common.options import UserError
from session_transformers.recurrent.word2vec import (
    Word2VecOptions,
    fit_vectors,
    pair_weights,
    sentences,
    skip_gram_loss,
)
from session_transformers.sessions import streaming

LISTS, TRACKS = 12, 10
VOCABULARY = 3 + LISTS * TRACKS + 1  # the last track is never played


def playlists(count, seed=0):
    """Sessions that draw nine tracks in ten from one playlist."""
    rng = np.random.default_rng(seed)
    tracks = 3 + rng.integers(0, LISTS, (count, 1)) * TRACKS + rng.integers(0, TRACKS, (count, 20))
    other = rng.random((count, 20)) < 0.1
    tracks = np.where(other, 3 + rng.integers(0, LISTS * TRACKS, (count, 20)), tracks).astype(np.int32)
    return tracks, rng.integers(0, 2, (count, 20)).astype(np.uint8)


def nearest_share(vectors):
    """Share of the five nearest tracks, by the cosine, that are of the same playlist."""
    known = vectors[3:-1] / np.linalg.norm(vectors[3:-1], axis=1, keepdims=True)
    likeness = known @ known.T
    np.fill_diagonal(likeness, -1)
    group = np.arange(len(known)) // TRACKS
    return float((group[np.argsort(-likeness, axis=1)[:, :5]] == group[:, None]).mean())


OPTIONS = Word2VecOptions(columns=16, epochs=3, batch_size=64, drawn=32)


@pytest.mark.parametrize("heard", ["all", "skipped"])
def test_tracks_of_a_playlist_are_near_each_other(heard):
    tracks, skips = playlists(1200)
    options = Word2VecOptions(columns=16, epochs=4, batch_size=64, drawn=32, heard=heard)
    vectors = fit_vectors(tracks, skips, VOCABULARY, 3, options, quiet=True)
    assert vectors.shape == (VOCABULARY, 16) and vectors.dtype == np.float32 and np.isfinite(vectors).all()
    assert nearest_share(vectors) > 0.9
    assert not vectors[:3].any() and not vectors[-1].any()
    shuffled = np.random.default_rng(0).permutation(tracks.ravel()).reshape(tracks.shape)
    assert nearest_share(fit_vectors(shuffled, skips, VOCABULARY, 3, options, quiet=True)) < 0.3


def test_the_same_seed_gives_the_same_vectors_whatever_holds_the_sessions(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 100)
    tracks, skips = playlists(330)
    np.save(tmp_path / "tracks.npy", tracks)
    mapped = np.load(tmp_path / "tracks.npy", mmap_mode="r")
    first, again = (fit_vectors(held, skips, VOCABULARY, 3, OPTIONS, quiet=True) for held in (tracks, mapped))
    np.testing.assert_array_equal(first, again)
    other = Word2VecOptions(columns=16, epochs=3, batch_size=64, drawn=32, seed=2)
    assert not np.array_equal(first, fit_vectors(tracks, skips, VOCABULARY, 3, other, quiet=True))


def test_sentences_close_up():
    tracks, skips = np.array([[5, 6, 7, 0, 8, 9]]), np.array([[1, 0, 1, 0, 0, 1]])
    assert sentences(tracks, skips, "all").tolist() == [[5, 6, 7, 8, 9, 0]]
    assert sentences(tracks, skips, "skipped").tolist() == [[5, 7, 9, 0, 0, 0]]
    assert sentences(tracks, skips, "played").tolist() == [[6, 8, 0, 0, 0, 0]]


def test_pair_weights_are_the_mean_of_drawn_windows():
    drawn = np.random.default_rng(0).integers(1, 4, 20_000)
    distance = np.abs(np.arange(6)[:, None] - np.arange(6))
    mean = np.mean([(distance <= b) & (distance > 0) for b in drawn], axis=0)
    np.testing.assert_allclose(pair_weights(6, 3), mean, atol=0.02)


def test_the_loss_equals_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    v, u, n = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4, 3)), rng.normal(size=(5, 3))
    there, near = np.array([[1, 1, 1, 1], [1, 1, 0, 0.0]]), pair_weights(4, 2)
    expected = 0.0
    for row in range(2):
        for i in range(4):
            for j in range(4):
                weight = near[i, j] * there[row, i] * there[row, j]
                negatives = np.logaddexp(0, n @ v[row, i]).mean()
                expected += weight * (np.logaddexp(0, -v[row, i] @ u[row, j]) + 6 * negatives)
    tensors = (tf.constant(array, tf.float32) for array in (v, u, n, there, near))
    assert float(skip_gram_loss(*tensors, 6)) == pytest.approx(expected, rel=1e-5)


def test_mistakes_end_in_one_clear_line():
    tracks, skips = playlists(5)
    with pytest.raises(UserError, match="need sessions with two tracks"):
        fit_vectors(tracks, np.ones_like(skips), VOCABULARY, 3, Word2VecOptions(heard="played"))
    with pytest.raises(UserError, match="1 or more"):
        Word2VecOptions(columns=0)
    with pytest.raises(UserError, match="alpha"):
        Word2VecOptions(alpha=2)
