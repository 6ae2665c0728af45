from __future__ import annotations

import itertools
import math
import os
from pathlib import Path

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from common import metrics
from common.metrics import Ranking, old_numpy

GOLDEN = Path(os.environ.get("GOLDEN_DIR", Path(__file__).parents[2] / "tests" / "golden")) / "seer" / "expected"
AT_K = {
    "recall": metrics.recall_at,
    "precision": metrics.precision_at,
    "hit_rate": metrics.hit_rate_at,
    "coverage": metrics.user_coverage_at,
    "reciprocal_rank": metrics.reciprocal_rank_at,
    "average_precision": metrics.average_precision_at,
    "ndcg": metrics.ndcg_at,
}


@given(st.lists(st.integers(0, 12), max_size=80))
def test_emulated_quicksort_sorts(values):
    order = old_numpy.argsort(np.array(values, float)).tolist()
    assert sorted(order) == list(range(len(values)))
    assert [values[i] for i in order] == sorted(values)
    if len(values) <= 16:
        assert order == sorted(range(len(values)), key=values.__getitem__)


@given(st.integers(0, 400), st.integers(1, 60), st.integers(1, 50), st.integers(0, 2**31))
def test_emulated_quicksort_is_the_one_that_numpy_still_has(size, levels, last, seed):
    """Of long double, which no vector instruction sorts: NumPy takes its old code there."""
    values = np.random.default_rng(seed).integers(0, levels, size).astype(float)
    expected = np.argsort(values.astype(np.longdouble))
    np.testing.assert_array_equal(old_numpy.argsort(values), expected)
    np.testing.assert_array_equal(old_numpy.argsort(values, last)[-last:], expected[-last:])


# --- against other implementations --------------------------------------------------------------------------


def test_equals_pytrec_eval_without_ties():
    random = np.random.default_rng(5)
    user = np.sort(random.integers(0, 40, 1500))
    score = random.permutation(1500) / 7.0
    gain = np.where(random.random(1500) < 0.2, random.integers(1, 5, 1500), 0)
    number_of_relevant = np.bincount(user, gain > 0)
    users = [u for u in range(40) if number_of_relevant[u]]
    truth = {str(u): {f"i{i}": int(gain[i]) for i in np.flatnonzero(user == u)} for u in users}
    run = {str(u): {f"i{i}": float(score[i]) for i in np.flatnonzero(user == u)} for u in users}
    wanted = {f"{name}.1,5,10,1000" for name in ("map_cut", "ndcg_cut", "recall", "P", "success")}
    wanted |= {"recip_rank", "map"}
    theirs = pytrec_eval.RelevanceEvaluator(truth, wanted).evaluate(run)

    ranking = Ranking.from_rows(user, score, gain)
    pairs = {"ndcg_cut": "ndcg", "recall": "recall", "P": "precision", "success": "hit_rate"}
    for k in (1, 5, 10, 1000):
        for name, own in pairs.items():
            expected = [theirs[str(u)][f"{name}_{k}"] for u in users]
            np.testing.assert_allclose(AT_K[own](ranking, k, per_user=True)[users], expected, rtol=0, atol=1e-12)
            assert AT_K[own](ranking, k) == pytest.approx(np.mean(expected), rel=0, abs=1e-12)
        # trec divides by R where we divide by min(K, R)
        ours = metrics.average_precision_at(ranking, k, per_user=True)[users]
        expected = [
            theirs[str(u)][f"map_cut_{k}"] * number_of_relevant[u] / min(k, number_of_relevant[u]) for u in users
        ]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    for own, name in ((metrics.reciprocal_rank_at, "recip_rank"), (metrics.average_precision_at, "map")):
        expected = [theirs[str(u)][name] for u in users]
        np.testing.assert_allclose(own(ranking, 1000, per_user=True)[users], expected, rtol=0, atol=1e-12)


def list_metrics(gains: list[float], k: int) -> dict[str, float]:
    """Textbook values of one user's candidates in a given order."""
    hits = [gain > 0 for gain in gains]
    top, total = hits[:k], sum(hits)
    ideal = sorted(gains, reverse=True)

    def dcg(values: list[float]) -> float:
        return sum(gain / math.log2(2 + i) for i, gain in enumerate(values[:k]))

    pairs = [(i, j) for i in range(len(hits)) for j in range(len(hits)) if hits[i] and not hits[j]]
    return {
        "recall": sum(top) / total,
        "precision": sum(top) / k,
        "hit_rate": float(any(top)),
        "coverage": float(any(top)),
        "reciprocal_rank": 1 / (1 + top.index(True)) if any(top) else 0.0,
        "average_precision": sum(sum(top[: i + 1]) / (i + 1) for i, hit in enumerate(top) if hit) / min(k, total),
        "ndcg": dcg(gains) / dcg(ideal),
        "auc": sum(i < j for i, j in pairs) / len(pairs) if pairs else math.nan,
    }


def brute_force(scores: list[float], gains: list[float], k: int) -> dict[str, float]:
    """Mean of :func:`list_metrics` over all orders of the candidates that are sorted by score."""
    orders = [
        order
        for order in itertools.permutations(range(len(scores)))
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order))
    ]
    values = [list_metrics([gains[i] for i in order], k) for order in orders]
    return {name: float(np.mean([value[name] for value in values])) for name in values[0]}


candidates = st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 0, 1, 1, 2.5])), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(st.lists(candidates, min_size=1, max_size=3), st.integers(1, 7))
def test_equals_the_mean_over_all_orders_of_ties(lists, k):
    user, score, gain = zip(*((u, s, g) for u, rows in enumerate(lists) for s, g in rows), strict=True)
    ranking = Ranking.from_rows(user, score, gain)
    ours = {name: metric(ranking, k, per_user=True) for name, metric in AT_K.items()}
    ours["auc"] = metrics.auc(ranking, per_user=True)
    assert all(values.shape == (len(lists),) and values.dtype == np.float64 for values in ours.values())
    for u, rows in enumerate(lists):
        if not any(gain for _, gain in rows):
            assert all(np.isnan(values[u]) for name, values in ours.items() if name != "coverage")
            assert ours["coverage"][u] == 0
            continue
        expected = brute_force([score for score, _ in rows], [gain for _, gain in rows], k)
        for name, values in ours.items():
            assert values[u] == pytest.approx(expected[name], rel=0, abs=1e-12, nan_ok=True), name
    for name, metric in AT_K.items():
        mean = np.mean(ours[name][~np.isnan(ours[name])]) if not np.isnan(ours[name]).all() else math.nan
        assert metric(ranking, k) == pytest.approx(mean, nan_ok=True)


def test_one_large_tie_group():
    """Seven relevant of 40 tied candidates below 5 others, by exact binomials."""
    ranking = Ranking(1, np.zeros(7), np.full(7, 5), np.full(7, 40), np.ones(7), np.array([50]))
    first = [math.comb(39 - j, 6) / math.comb(40, 7) for j in range(34)]
    for k in (3, 6, 20, 45, 10**9):
        assert metrics.hit_rate_at(ranking, k) == pytest.approx(sum(first[: max(k - 5, 0)]), rel=0, abs=1e-12)
        expected = sum(chance / (6 + j) for j, chance in enumerate(first) if 6 + j <= k)
        assert metrics.reciprocal_rank_at(ranking, k) == pytest.approx(expected, rel=0, abs=1e-12)


# --- properties ---------------------------------------------------------------------------------------------


def test_a_constant_model_scores_as_random():
    random = np.random.default_rng(2)
    user, gain = np.repeat(np.arange(30), 12), random.integers(-1, 2, 360)
    constant = Ranking.from_rows(user, np.zeros(360), gain)
    draws = [Ranking.from_rows(user, random.random(360), gain) for _ in range(400)]
    for metric in AT_K.values():
        values = [metric(draw, 5) for draw in draws]
        assert metric(constant, 5) == pytest.approx(np.mean(values), abs=5 * np.std(values) / math.sqrt(400))
    assert metrics.auc(constant) == pytest.approx(0.5, rel=0, abs=1e-12)


def test_nan_ranks_last_and_tied_with_nan():
    scores = [math.nan, -math.inf, 1.0, math.nan]
    ranking = Ranking.from_rows([0] * 4, scores, [1, 1, 0, 0])
    assert ranking.above.tolist() == [1, 2]
    assert ranking.tied.tolist() == [1, 2]
    diverged = Ranking.from_rows([0] * 4, [math.nan] * 4, [1, 0, 0, 0])
    assert metrics.recall_at(diverged, 1) == 0.25


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4), st.integers(-1, 3)), min_size=1), st.randoms())
def test_the_order_of_the_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    one, other = (Ranking.from_rows(*zip(*table, strict=True)) for table in (rows, shuffled))
    for metric in AT_K.values():
        left, right = (metric(ranking, 3, per_user=True) for ranking in (one, other))
        np.testing.assert_allclose(left, right, rtol=0, atol=1e-14)
    np.testing.assert_allclose(metrics.auc(one, per_user=True), metrics.auc(other, per_user=True), atol=1e-14)


def test_users_keep_apart_and_large_numbers_are_allowed():
    users = [2**60, 2**60 + 1, 2**60]
    ranking = Ranking.from_rows(users, [1, 2, 3], [1, 1, 0])
    assert ranking.candidates.tolist() == [2, 1]
    assert metrics.reciprocal_rank_at(ranking, 5, per_user=True).tolist() == [0.5, 1.0]


def test_items_of_a_ranking_may_come_in_any_order():
    ranking = Ranking(2, np.array([1, 0, 0]), np.array([4, 7, 0]), np.ones(3), np.array([1, 2, 3]), np.array([9, 9]))
    assert ranking.user.tolist() == [0, 0, 1]
    assert ranking.above.tolist() == [0, 7, 4]
    assert ranking.gain.tolist() == [3, 2, 1]


def test_no_relevant_item_at_all_is_nan():
    ranking = Ranking.from_rows([0, 1], [1, 2], [0, -1])
    for name, metric in AT_K.items():
        assert metric(ranking, 1) == pytest.approx(0 if name == "coverage" else math.nan, nan_ok=True)
    assert math.isnan(metrics.auc(ranking))
    assert math.isnan(metrics.auc(Ranking.from_rows([0], [1], [1])))


# --- modes of the official GRU4Rec code ---------------------------------------------------------------------


def test_named_tie_modes():
    ranking = Ranking.from_rows([0] * 6, [9, 5, 5, 5, 5, 1], [0, 0, 1, 0, 0, 0])
    ranks = {"standard": 2, "conservative": 5, "median": 3.5}
    for mode, rank in ranks.items():
        point = ranking.with_ties(mode)
        for k in range(1, 7):
            inside = rank <= k
            assert metrics.recall_at(point, k) == inside
            assert metrics.hit_rate_at(point, k) == inside
            assert metrics.precision_at(point, k) == inside / k
            assert metrics.reciprocal_rank_at(point, k) == pytest.approx(inside / rank)
            assert metrics.average_precision_at(point, k) == pytest.approx(inside / rank)
            assert metrics.ndcg_at(point, k) == pytest.approx(inside / math.log2(1 + rank))
        assert metrics.auc(point) == pytest.approx(1 - (rank - 1) / 5)
        assert point.with_ties(mode).above == point.above
    assert ranking.with_ties("expected") is ranking


def test_tied_relevant_items_have_no_point_rank():
    ranking = Ranking.from_rows([0, 0], [1, 1], [1, 1])
    with pytest.raises(ValueError, match="tied"):
        ranking.with_ties("standard")
    with pytest.raises(ValueError, match="optimistic"):
        ranking.with_ties("optimistic")


# --- sessions, intervals, arguments -------------------------------------------------------------------------


def test_accuracies_of_sessions():
    random = np.random.default_rng(4)
    true, predicted, mask = random.integers(0, 2, (3, 20, 10))
    mask[0], mask[:, 9] = 0, 0
    expected = []
    for row in range(20):
        hits = [t == p for t, p, valid in zip(true[row], predicted[row], mask[row], strict=True) if valid]
        terms = [sum(hits[: i + 1]) / (i + 1) for i, hit in enumerate(hits) if hit]
        expected.append(sum(terms) / len(hits) if hits else math.nan)
    ours = metrics.mean_average_accuracy(true, predicted, mask, per_session=True)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert metrics.mean_average_accuracy(true, predicted, mask) == pytest.approx(np.nanmean(expected))
    by_position = metrics.accuracy_by_position(true, predicted, mask)
    assert by_position[3] == pytest.approx(np.mean((true == predicted)[:, 3][mask[:, 3] == 1]))
    assert np.isnan(by_position[9])
    assert metrics.mean_average_accuracy(true, true) == 1


def test_bootstrap_interval():
    values = np.random.default_rng(0).normal(2, 1, 400)
    low, high = metrics.bootstrap_interval(np.append(values, math.nan), seed=7)
    assert (low, high) == metrics.bootstrap_interval(values, seed=7)
    assert (low, high) != metrics.bootstrap_interval(values, seed=8)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    narrow = metrics.bootstrap_interval(values, seed=7, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    assert all(math.isnan(end) for end in metrics.bootstrap_interval([math.nan], seed=1))


RANKING = Ranking.from_rows([0, 0], [1, 2], [1, 0])


@pytest.mark.parametrize(
    "call",
    [
        *(lambda metric=metric, k=k: metric(RANKING, k) for metric in AT_K.values() for k in (0, 1.5)),
        lambda: metrics.rmse([1, 2], [1]),
        lambda: metrics.mae([], []),
        lambda: Ranking.from_rows([0, 1], [1], [1, 1]),
        lambda: Ranking.from_rows([], [], []),
        lambda: Ranking.from_rows([0], [1], [math.inf]),
        lambda: Ranking(1, [1], [0], [1], [1], [5]),
        lambda: Ranking(1, [0], [0], [1], [0], [5]),
        lambda: Ranking(1, [0], [5], [1], [1], [5]),
        lambda: Ranking(1, [0], [0], [0], [1], [5]),
        lambda: Ranking(1, [0, 0], [0, 0], [1, 1], [1, 1], [5]),
        lambda: Ranking(2, [0], [0], [1], [1], [5]),
        lambda: metrics.accuracy_by_position([1], [1]),
        lambda: metrics.mean_average_accuracy([[1]], [[1, 1]]),
        lambda: metrics.bootstrap_interval([1], 0, level=1),
        lambda: metrics.bootstrap_interval([1], 0, samples=0),
    ],
)
def test_wrong_arguments_are_refused(call):
    with pytest.raises(ValueError):
        call()
