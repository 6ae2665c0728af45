"""Figures against brute force, ties, the groups reported apart, and what is no candidate."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from common.metrics import Ranking
from dtnmr import evaluation
from dtnmr.dataset import Points, of_points, of_users, songs_to_come, take_rows
from dtnmr.evaluation import COLD, RELEASED_ACCURACY, WARM, evaluate, make_task, marked, of_group, user_values
from dtnmr.testing import rows_of, tiny_data

DATA = tiny_data()
TASK = make_task(DATA, seed=1)


def scores_by_hand(seed=0):
    """A score for each user and song, whatever the history."""
    table = np.random.default_rng(seed).normal(size=(DATA.users, DATA.songs)).astype(np.float32)
    return lambda queries: table[queries.users], table


def test_queries_are_the_training_playlists():
    everybody, played = of_users(DATA), songs_to_come(DATA)
    for user in range(DATA.users):
        whole = DATA.songs_played[user]
        border = DATA.trained[user]
        np.testing.assert_array_equal(everybody.histories[user], whole[:border])
        np.testing.assert_array_equal(everybody.behaviours[user], DATA.behaviours[user][:border])
        np.testing.assert_array_equal(played[user], whole[border:])
    some = everybody.take(np.array([5, 5, 39, 0]))
    assert [list(some.histories[i]) for i in range(4)] == [list(everybody.histories[u]) for u in (5, 5, 39, 0)]
    assert take_rows(DATA.user_bits, np.array([-1, 3])).lengths.tolist() == [0, 3]


def test_playlists_of_both_files_belong_to_one_user():
    """The released protocol keeps the playlists of the two files apart."""
    data = replace(
        DATA,
        songs_played=rows_of([[0, 1], [2], [3, 4], [1, 7]]),
        behaviours=rows_of([[0, 0], [0], [0, 0], [0, 0]]),
        owners=np.array([2, 0, 2, 5], np.int32),
        trained=np.array([2, 1, 0, 0], np.int32),
        test=Points(np.array([2, 3], np.int32), np.array([1, 1], np.int32)),
    )
    everybody, played = of_users(data), songs_to_come(data)
    assert [list(everybody.histories[u]) for u in (0, 1, 2, 5)] == [[2], [], [0, 1], []]
    assert [list(played[u]) for u in (0, 1, 2, 5)] == [[], [], [3, 4], [1, 7]]
    points, labels = of_points(data, data.test)
    assert points.users.tolist() == [2, 5] and labels.tolist() == [4, 7]
    assert [list(points.histories[i]) for i in (0, 1)] == [[3], [1]]
    task = make_task(data, 1)
    assert task.users.users.tolist() == [2, 5] and task.known.tolist() == [True, False]


def test_figures_of_users_equal_brute_force():
    scores, table = scores_by_hand()
    found = evaluate(scores, TASK, (3, 5))
    known = [user for user in range(DATA.users) if DATA.trained[user]]
    for place, user in enumerate(known):
        heard = set(DATA.songs_played[user][: DATA.trained[user]].tolist())
        wanted = set(DATA.songs_played[user][DATA.trained[user] :].tolist())
        ranked = sorted(set(range(DATA.songs)) - heard, key=lambda song: -table[user, song])
        hit = np.array([song in wanted for song in ranked])
        ranks = np.flatnonzero(hit) + 1
        for k in (3, 5):
            hits = hit[:k].sum()
            precision, recall = hits / k, hits / len(wanted)
            f = 2 * precision * recall / (precision + recall) if hits else 0
            dcg = (1 / np.log2(1 + ranks[ranks <= k])).sum()
            ideal = (1 / np.log2(1 + np.arange(1, min(k, len(wanted)) + 1))).sum()
            expected = {
                "precision": precision, "recall": recall, "f": f, "user_coverage": float(hits > 0), "ndcg": dcg / ideal,
            }  # fmt: skip
            for name, value in expected.items():
                assert found.users[f"{name}@{k}"][place] == pytest.approx(value), (name, k)
        assert found.users["map"][place] == pytest.approx((np.arange(1, len(ranks) + 1) / ranks).mean())
        assert found.users["mrr"][place] == pytest.approx(1 / ranks[0])
        pairs = [(a, b) for a in wanted for b in set(ranked) - wanted]
        assert found.users["auc"][place] == pytest.approx(np.mean([table[user, a] > table[user, b] for a, b in pairs]))


def test_figures_of_points_equal_brute_force():
    scores, table = scores_by_hand(3)
    found = evaluate(scores, TASK, (5,)).points
    queries, labels = of_points(DATA, DATA.test)
    for place, label in enumerate(labels):
        row = table[queries.users[place]]
        candidates = np.setdiff1d(np.arange(DATA.songs), queries.histories[place])
        rank = 1 + (row[candidates] > row[label]).sum()
        assert found["next_recall@5"][place] == (rank <= 5)
        assert found["next_mrr"][place] == pytest.approx(1 / rank)
        assert found[RELEASED_ACCURACY][place] == (row[label] > row[TASK.negatives[place]].max())


def test_a_song_played_twice_or_known_from_training_counts_once_or_not_at_all():
    played = [DATA.songs_played[user].tolist() for user in range(DATA.users)]
    border = int(DATA.trained[0])
    played[0] = [*played[0], played[0][border], played[0][0]]
    data = replace(DATA, songs_played=rows_of(played), behaviours=rows_of([[0] * len(one) for one in played]))
    task = make_task(data, 1)
    np.testing.assert_array_equal(task.relevant, TASK.relevant)


@pytest.mark.parametrize("value", [0.0, -1.5, float("nan")])
def test_a_constant_model_scores_as_chance(value):
    found = evaluate(lambda queries: np.full((len(queries), DATA.songs), value, np.float32), TASK, (5,))
    figures = found.figures()
    assert figures["auc"] == pytest.approx(0.5)
    ranking = evaluation.rank_users(lambda queries: np.zeros((len(queries), DATA.songs), np.float32), TASK)
    expected = of_group(ranking, TASK.known)
    assert figures["precision@5"] == pytest.approx((expected.relevant / expected.candidates).mean())
    assert figures["recall@5"] == pytest.approx((5 / expected.candidates).mean())
    assert figures[RELEASED_ACCURACY] == 0 and figures["next_ties"] == 1  # the released code says 1


def test_f_measure_and_coverage_under_ties_are_expectations():
    """Four candidates, two relevant, two tied at the border of the top 2: both orders by hand."""
    ranking = Ranking.from_rows([0] * 4, [0.9, 0.5, 0.5, 0.1], [0, 1, 0, 1])
    found = user_values(ranking, (2,))
    orders = [[0, 1, 0, 1], [0, 0, 1, 1]]
    hits = np.array([sum(order[:2]) for order in orders])
    precision, recall = hits / 2, hits / 2
    f = np.divide(2 * precision * recall, precision + recall, out=np.zeros(2), where=hits > 0)
    assert found["f@2"][0] == pytest.approx(f.mean())
    assert found["user_coverage@2"][0] == pytest.approx((hits > 0).mean())


def test_cold_songs_and_new_users_are_apart():
    last = DATA.songs - 1

    def scores(queries):
        table = np.zeros((len(queries), DATA.songs), np.float32)
        table[:, last] = 1
        return table

    assert DATA.plays[last] == 0
    found = evaluate(scores, TASK, (1,))
    apart = found.apart()
    assert apart["cold_songs"]["users"] == sum(last in DATA.songs_played[u] for u in range(DATA.users))
    assert apart["cold_songs"]["recall@1"] == 1 and apart["cold_songs"]["auc"] == 1
    assert apart["new_users"]["users"] == 1 and len(found.users["map"]) == DATA.users - 1
    ranking = evaluation.rank_users(scores, TASK)
    assert len(marked(ranking, COLD).user) + len(marked(ranking, WARM).user) == len(ranking.user)


def test_neither_blocks_nor_their_size_matter(monkeypatch):
    scores, _ = scores_by_hand(5)
    whole = evaluate(scores, TASK)
    monkeypatch.setattr(evaluation, "CELLS", 7 * DATA.songs)
    parts = evaluate(scores, TASK)
    for name, values in (whole.users | whole.points).items():
        np.testing.assert_array_equal({**parts.users, **parts.points}[name], values, err_msg=name)


def test_points_are_drawn_and_candidates_frozen_by_the_seed():
    one, same, other = (make_task(DATA, seed, 50) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.negatives, same.negatives)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert len(one.points) == 50 and one.points_in_all == len(DATA.test)
    assert not np.array_equal(one.negatives, other.negatives)
    rows = TASK.negatives
    assert rows.shape == (len(DATA.test), 4) and all(len(set(row)) == 4 for row in rows.tolist())
    counts = np.bincount(evaluation.frozen_negatives(20_000, 10, 1).ravel(), minlength=10)
    assert np.abs(counts / 8_000 - 1).max() < 0.04


def test_a_catalogue_smaller_than_the_candidates():
    assert evaluation.frozen_negatives(3, 2, 1).shape == (3, 2)


def test_nobody_to_evaluate():
    data = replace(DATA, trained=DATA.songs_played.lengths.astype(np.int32), test=Points(*[np.zeros(0, np.int32)] * 2))
    found = evaluate(scores_by_hand()[0], make_task(data, 1), (5,))
    assert all(np.isnan(value) for value in found.figures().values())


def test_all_orders_of_a_small_tie_agree_with_the_expectation():
    """Every figure of users is linear in, or computed over, the orders of the tied songs."""
    gains = np.array([1, 0, 1, 0])
    tied = user_values(Ranking.from_rows([0] * 4, [1.0] * 4, gains), (1, 2, 3))
    each = [
        user_values(Ranking.from_rows([0] * 4, -np.arange(4.0), gains[list(order)]), (1, 2, 3))
        for order in itertools.permutations(range(4))
    ]
    for name, value in tied.items():
        assert value[0] == pytest.approx(np.mean([one[name][0] for one in each])), name
