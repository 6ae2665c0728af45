import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from audiotext.baselines import artist_popularity, collapsed, nearest, random_scores, ridge
from audiotext.evaluation import figures, rank_items, unit_rows


def planted(rng, n=400, terms=60, factors=8):
    x = sparse.random(n, terms, 0.2, random_state=rng, format="csr")
    return x, unit_rows(x @ rng.normal(size=(terms, factors)) + 0.02 * rng.normal(size=(n, factors)))


def cosine(a, b):
    return float((unit_rows(a) * unit_rows(b)).sum(axis=1).mean())


def test_ridge_equals_scikit_learn_and_finds_a_linear_law():
    x, y = planted(np.random.default_rng(1))
    new, penalty = ridge(x, y, np.arange(300), np.arange(300, 350), x[300:])
    norms = np.linalg.norm(x.toarray(), axis=1)
    rows = x.toarray() / np.where(norms > 0, norms, 1)[:, None]
    mean = y[:300].mean(axis=0)
    known = Ridge(penalty, fit_intercept=False, tol=1e-12).fit(rows[:300], y[:300] - mean)
    np.testing.assert_allclose(new, known.predict(rows[300:]) + mean, atol=1e-5)
    assert cosine(new, y[300:]) > 0.9


def test_ridge_of_dense_features_in_blocks_equals_that_of_sparse_ones(monkeypatch):
    monkeypatch.setattr("audiotext.baselines.CELLS", 1000)
    x, y = planted(np.random.default_rng(2))
    sparse_new, dense_new = (ridge(f, y, np.arange(300), np.arange(300, 350), f[300:])[0] for f in (x, x.toarray()))
    np.testing.assert_allclose(sparse_new, dense_new, atol=1e-6)


def test_all_ways_to_solve_the_equations_give_the_same_vectors(monkeypatch):
    rng = np.random.default_rng(6)
    text, y = planted(rng, n=200, terms=50)
    text = sparse.csr_matrix(sparse.vstack([text[:-1], sparse.csr_matrix((1, 50))]))  # the last item has no text
    sound = rng.normal(size=(200, 30))
    whole = sparse.csr_matrix(sparse.hstack([text, sparse.csr_matrix(sound)]))

    def predicted(features, fitted):
        return ridge(features, y, np.arange(fitted), np.arange(fitted, 190), features, [3.0])[0]

    monkeypatch.setattr("audiotext.baselines.SPARSE", 0)
    by_gradients = {fitted: predicted(whole, fitted) for fitted in (40, 170)}
    monkeypatch.setattr("audiotext.baselines.SPARSE", np.inf)
    for fitted, expected in by_gradients.items():  # fewer rows than columns, and more
        np.testing.assert_allclose(predicted(whole, fitted), expected, atol=1e-6)
        monkeypatch.setattr("audiotext.baselines.CELLS", 1000)  # several blocks
        both = ridge((text, sound), y, np.arange(fitted), np.arange(fitted, 190), (text, sound), [3.0])[0]
        np.testing.assert_allclose(both, expected, atol=1e-6)


def test_ridge_on_noise_is_near_the_mean():
    rng = np.random.default_rng(3)
    x, _ = planted(rng)
    y = unit_rows(rng.normal(size=(400, 8)))
    _, penalty = ridge(x, y, np.arange(300), np.arange(300, 400), x[300:])
    assert penalty >= 1


def test_nearest_is_the_weighted_mean_of_the_most_similar():
    known = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    factors = np.eye(3)
    new = nearest(sparse.csr_matrix(known), factors, sparse.csr_matrix([[2.0, 0.0], [0.0, 0.0]]), 2)
    np.testing.assert_allclose(new, [[1.0, 0.6, 0.0], [0.0, 0.0, 0.0]], atol=1e-12)
    np.testing.assert_allclose(nearest(known, factors, np.array([[2.0, 0.0]]), 99)[0], [1.0, 0.6, 0.0], atol=1e-12)


def test_songs_of_an_artist_are_one_row():
    features, factors = collapsed(
        np.array([[1.0], [2.0], [2.0]]), np.array([[2.0, 0], [0, 1], [3, 0]]), np.array([0, 1, 1])
    )
    np.testing.assert_allclose(features, [[1.0], [2.0]])
    np.testing.assert_allclose(factors, [[1, 0], [0.5, 0.5]])


def test_popularity_knows_artists_of_the_training_only():
    rng = np.random.default_rng(4)
    scores = artist_popularity(
        ["a", "b", "a"], np.array([[1.0], [3.0], [1.5]]), np.array([[1.0], [3.0]]), ["b", "c", "a"]
    )
    np.testing.assert_allclose(scores(np.arange(2)), [[6, 0, 5]] * 2)
    plays = sparse.csr_matrix(rng.integers(0, 2, (40, 30)))
    cold = artist_popularity(["a"], np.ones((1, 2)), np.ones((30, 2)), [f"new {i}" for i in range(40)])
    random = figures(rank_items(random_scores(40, 5), plays))
    assert figures(rank_items(cold, plays))["auc"] == 0.5
    assert random["auc"] == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(random_scores(40, 5)(np.array([3])), random_scores(40, 5)(np.arange(5))[3:4])
