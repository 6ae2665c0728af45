"""Ranking a catalogue in blocks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


NEAR = np.nextafter(4.0, 5.0)
ODD = [0.0, -0.0, 1.0, 4.0, NEAR, np.float32(0.1), 0.1, 1e300, -1e300, math.inf, -math.inf, math.nan, 5e-324]


def brute_force(row: list[float], item: int, hidden: set[int]) -> tuple[int, int]:
    """How many of the others stand above an item, and how many are tied with it, it included."""

    def above(one: float, other: float) -> bool:  # NaN stands below everything
        return not math.isnan(one) and (math.isnan(other) or one > other)

    others = [score for place, score in enumerate(row) if place not in hidden]
    beaten = [above(row[item], score) for score in others]
    beats = [above(score, row[item]) for score in others]
    return sum(beats), sum(not a and not b for a, b in zip(beats, beaten, strict=True))


@pytest.mark.parametrize("wide", [0, 4000])
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(ODD), min_size=4, max_size=4), min_size=1, max_size=4),
    st.lists(
        st.lists(st.sampled_from(["", "seen", 1.0, 2.5, 0.0, -1.0]), min_size=4, max_size=4), min_size=4, max_size=4
    ),
    st.integers(1, 5),
)
def test_both_ways_into_a_ranking_equal_brute_force(wide, rows, roles, block):
    """Also of catalogues that are long enough to be compared in another way."""
    table = np.pad(np.array(rows), ((0, 0), (0, wide)), constant_values=-7.0)
    cells = [(u, i, roles[u][i]) for u, i in itertools.product(range(len(rows)), range(4))]
    pairs = [(u, i, role) for u, i, role in cells if isinstance(role, float)]
    seen = [(u, i) for u, i, role in cells if role == "seen"]
    users = np.arange(len(rows))
    ranking = catalogue_ranking(
        lambda some: table[some],
        users,
        _columns(pairs, 3),
        _columns(seen, 2),
        table.shape[1],
        block,
    )
    hidden = [{i for who, i in seen if who == u} for u in users]
    expected = sorted((u, *brute_force(table[u].tolist(), i, hidden[u]), gain) for u, i, gain in pairs if gain > 0)
    found = zip(ranking.user, ranking.above, ranking.tied, ranking.gain, strict=True)
    assert sorted(tuple(row) for row in found) == expected
    assert ranking.candidates.tolist() == [table.shape[1] - len(some) for some in hidden]

    gains = {(u, i): gain for u, i, gain in pairs}
    candidates = [
        (u, table[u, i], gains.get((u, i), 0.0)) for u in users for i in range(table.shape[1]) if i not in hidden[u]
    ]
    other = metrics.Ranking.from_rows(*zip(*candidates, strict=True)) if not wide else ranking
    found = zip(other.user, other.above, other.tied, other.gain, strict=True)
    if len(other.candidates) == len(users):  # a user whose items are all seen has no row
        assert sorted(tuple(row) for row in found) == expected


def _columns(rows: list, width: int) -> tuple:
    columns = zip(*rows, strict=True) if rows else [()] * width
    return tuple(np.array(column, float if place == 2 else int) for place, column in enumerate(columns))


@pytest.mark.parametrize("items", [1999, 2000, 5000])
@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "longdouble"])
def test_scores_are_ranked_in_their_own_precision(items, dtype):
    """Rounded to float32, or integers above 2**53 to float64, they would be tied with one another."""
    step = np.arange(items)
    row = (step + 2**60).astype(dtype) if "int" in dtype else 4 + step.astype(dtype) * 1e-9
    nothing = (np.zeros(0, int), np.zeros(0, int))
    one = (np.zeros(10, int), step[-10:], np.ones(10))
    ranking = catalogue_ranking(lambda u: row[None], np.array([0]), one, nothing, items)
    assert metrics.recall_at(ranking, 10) == 1.0
    rows = metrics.Ranking.from_rows(np.zeros(items, int), row, step >= items - 10)
    assert metrics.recall_at(rows, 10) == 1.0


def test_scores_of_half_precision_are_ranked():
    row = np.arange(16, dtype=np.float16)
    nothing = (np.zeros(0, int), np.zeros(0, int))
    ranking = catalogue_ranking(lambda u: row[None], np.array([3]), ([3], [14], [1.0]), nothing, 16)
    assert ranking.above.tolist() == [1]


@pytest.mark.parametrize(
    ("relevant", "seen", "users", "message"),
    [
        (([0], [-1], [1.0]), ([], []), [0], "items must lie in 0..4"),
        (([0], [5], [1.0]), ([], []), [0], "items must lie in 0..4"),
        (([0], [1], [1.0]), ([0], [-1]), [0], "items must lie in 0..4"),
        (([0], [1], [math.nan]), ([], []), [0], "gain must be finite"),
        (([0], [1], [math.inf]), ([], []), [0], "gain must be finite"),
        (([0, 0], [1, 1], [1.0, 1.0]), ([], []), [0], "occurs twice"),
        (([0], [1], [1.0]), ([], []), [1, 0], "distinct and sorted"),
        (([0], [1], [1.0]), ([], []), [0, 1, 2], "scores"),
    ],
)
def test_numbers_that_cannot_be_are_refused(relevant, seen, users, message):
    relevant = tuple(map(np.array, relevant))
    seen = tuple(np.array(column, int) for column in seen)
    with pytest.raises(ValueError, match=message):
        catalogue_ranking(lambda u: np.zeros((min(len(u), 2), 5)), np.array(users), relevant, seen, 5)


def test_rows_with_gains_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="gain must be finite"):
        metrics.Ranking.from_rows([0, 0], [1.0, 2.0], [1.0, math.nan])


def test_negative_users_are_users():
    table = {-2: [1.0, 3.0, 2.0], 7: [3.0, 2.0, 1.0]}
    relevant = (np.array([7, -2, 99]), np.array([2, 2, 0]), np.ones(3))
    nothing = (np.zeros(0, int), np.zeros(0, int))
    users = np.array([-2, 7])
    ranking = catalogue_ranking(lambda u: np.array([table[int(one)] for one in u]), users, relevant, nothing, 3)
    assert ranking.above.tolist() == [1, 2]
    empty = catalogue_ranking(lambda u: np.zeros((0, 3)), users[:0], relevant, nothing, 3)
    assert empty.users == len(empty.above) == 0


def test_relevant_item_among_the_seen_is_an_error():
    one = (np.array([0]), np.array([3]))
    with pytest.raises(ValueError, match="also in seen"):
        catalogue_ranking(lambda u: np.zeros((len(u), 5)), np.array([0]), (*one, np.ones(1)), one, 5)
