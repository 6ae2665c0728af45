"""Figures against a plain reading of their definitions, tied items included."""

import itertools

import numpy as np
import pytest
from scipy import sparse

from audiotext.evaluation import (
    factor_scores,
    figures,
    list_average_precision,
    per_user,
    rank_items,
    released_average_precision,
    released_figures,
    unit_rows,
)


def world(rng, users, items, levels):
    scores = rng.integers(0, levels, (users, items)).astype(float)
    plays = sparse.csr_matrix(rng.poisson(0.4, (items, users)))
    return scores, plays


def ranked_of(scores, plays, **more):
    return rank_items(lambda users: scores[users].copy(), plays, **more)


@pytest.mark.parametrize("levels", [3, 10**9])
def test_released_figures_equal_a_plain_loop(levels):
    scores, plays = world(np.random.default_rng(levels), 40, 60, levels)
    ranked, table = ranked_of(scores, plays, block=7), plays.toarray()
    for k in (3, 10, 500):
        expected = []
        for user, row in enumerate(scores):
            # NumPy sorts long double as it sorted all numbers until version 1.24, whatever the processor.
            order = np.argsort(row.astype(np.longdouble))[::-1].tolist()
            expected.append(list_average_precision(np.flatnonzero(table[:, user]), order[:k], k))
        np.testing.assert_allclose(released_average_precision(ranked, k), expected, atol=1e-12)


def test_expected_figures_are_means_over_all_orders_of_tied_items():
    scores = np.array([[2.0, 1.0, 1.0, 1.0, 0.0]])
    plays = sparse.csr_matrix([[0], [3], [0], [1], [1]])
    orders = [
        order
        for order in itertools.permutations(range(5))
        if all(scores[0][a] >= scores[0][b] for a, b in itertools.pairwise(order))
    ]
    expected = np.mean([list_average_precision([1, 3, 4], order, 500) for order in orders])
    assert per_user(ranked_of(scores, plays))["map@500"][0] == pytest.approx(expected, abs=1e-12)


def test_a_constant_model_scores_as_random():
    rng = np.random.default_rng(3)
    _, plays = world(rng, 30, 60, 2)
    constant = figures(ranked_of(np.zeros((30, 60)), plays))
    drawn = [figures(ranked_of(rng.random((30, 60)), plays)) for _ in range(200)]
    for name, value in constant.items():
        values = [row[name] for row in drawn]
        assert abs(value - np.mean(values)) < 4 * np.std(values) / np.sqrt(200) + 1e-12, name


def test_blocks_threads_and_slices_change_nothing():
    scores, plays = world(np.random.default_rng(4), 33, 50, 20)
    whole = ranked_of(scores, plays)
    for other in (ranked_of(scores, plays, block=5), ranked_of(scores, plays, threads=1, block=100)):
        assert figures(other) == figures(whole) and released_figures(other) == released_figures(whole)
    part = ranked_of(scores, plays, users=slice(30, 90))
    assert part.users == 3
    np.testing.assert_array_equal(released_average_precision(part, 10), released_average_precision(whole, 10)[30:])


def test_equal_vectors_score_equally_and_nan_and_zero_rows_score_zero():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(40, 6))[np.repeat(np.arange(40), 60)].astype(np.float32)
    vectors[7], vectors[9, 2] = 0, np.nan
    table = factor_scores(rng.normal(size=(20, 6)).astype(np.float32), vectors)(np.arange(20))
    assert table.dtype == np.float32 and (table[:, 7] == 0).all() and np.isfinite(table).all()
    for artist in range(1, 40):
        assert (table[:, 60 * artist : 60 * artist + 60] == table[:, [60 * artist]]).all()
    np.testing.assert_allclose(np.linalg.norm(unit_rows(vectors), axis=1)[10:], 1, atol=1e-6)


@pytest.mark.parametrize("items", [1999, 2000])
def test_factors_are_multiplied_in_their_own_precision(items):
    """Rounded to float32 the items would be tied."""
    angles = np.arange(items) * 1e-9
    vectors = np.stack([np.sin(angles), np.cos(angles)], axis=1)
    plays = sparse.csr_matrix(([1.0] * 10, (np.arange(items - 10, items), np.zeros(10, int))), (items, 1))
    found = figures(rank_items(factor_scores(np.array([[1.0, 0.0]]), vectors), plays))
    assert found["map@10"] == 1.0


@pytest.mark.parametrize("plays", [-1.0, np.nan, np.inf])
def test_play_counts_that_cannot_be_are_refused(plays):
    with pytest.raises(ValueError, match="play counts"):
        ranked_of(np.array([[0.3, 0.1]]), sparse.csr_matrix([[plays], [1.0]]))


def test_users_without_items_and_catalogues_below_the_list_length():
    ranked = ranked_of(np.array([[0.3, 0.1], [0.1, 0.2]]), sparse.csr_matrix([[2, 0], [0, 0]]))
    assert figures(ranked)["map@500"] == 1 and released_figures(ranked)["map@500_released"] == 0.5
    assert figures(ranked)["catalogue_coverage@10"] == 1
