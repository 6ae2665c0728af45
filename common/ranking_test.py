"""Ranking a catalogue in blocks."""

import numpy as np
import pytest

from common import metrics
from common.ranking import catalogue_ranking


def test_equals_ranking_of_rows_and_does_not_depend_on_the_block():
    rng = np.random.default_rng(0)
    users, items = 37, 23
    table = rng.integers(0, 8, (users, items)).astype(np.float64)  # many ties
    seen = rng.random((users, items)) < 0.3
    liked = (rng.random((users, items)) < 0.2) & ~seen
    evaluated = np.unique(np.nonzero(liked)[0])
    user, item = np.nonzero(liked)
    shuffled = rng.permutation(len(user))
    for block in (1, 5, 100):
        ranking = catalogue_ranking(
            lambda u: table[u],
            evaluated,
            (user[shuffled], item[shuffled], np.ones(len(user))),
            np.nonzero(seen),
            items,
            block,
        )
        rows = [(u, table[u, i], float(liked[u, i])) for u in evaluated for i in range(items) if not seen[u, i]]
        expected = metrics.Ranking.from_rows(*map(np.array, zip(*rows, strict=True)))
        for metric in (metrics.ndcg_at, metrics.average_precision_at, metrics.recall_at):
            assert metric(ranking, 5) == pytest.approx(metric(expected, 5), rel=1e-12)
        assert metrics.auc(ranking) == pytest.approx(metrics.auc(expected), rel=1e-12)


def test_constant_and_nan_scores_rank_as_random_and_last():
    users = np.arange(50)
    relevant = (users, users % 20, np.ones(50))
    nothing = (np.zeros(0, int), np.zeros(0, int))
    constant = catalogue_ranking(lambda u: np.zeros((len(u), 20)), users, relevant, nothing, 20)
    assert metrics.recall_at(constant, 5) == pytest.approx(5 / 20)

    def not_a_number(u):
        table = np.zeros((len(u), 20))
        table[np.arange(len(u)), u % 20] = np.nan
        return table

    last = catalogue_ranking(not_a_number, users, relevant, nothing, 20)
    assert metrics.recall_at(last, 19) == 0


def test_relevant_item_among_the_seen_is_an_error():
    one = (np.array([0]), np.array([3]))
    with pytest.raises(ValueError, match="also in seen"):
        catalogue_ranking(lambda u: np.zeros((len(u), 5)), np.array([0]), (*one, np.ones(1)), one, 5)
