import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_transformers.reinforcement.replay import EPSILON, PrioritisedReplay, SumTree

FIELDS = {"number": ((), "int64"), "pair": ((2,), "float32")}
WEIGHTS = st.lists(st.one_of(st.just(0.0), st.floats(1e-3, 1e3)), min_size=1, max_size=40)


def naive_find(weights, sums):
    """The definition, one leaf after the other."""
    ends = np.cumsum(weights).tolist()
    return np.array([next(leaf for leaf, end in enumerate(ends) if value < end) for value in sums])


@settings(deadline=None, max_examples=60)
@given(WEIGHTS, st.integers(0, 2**31))
def test_tree_finds_what_a_loop_finds(weights, seed):
    weights = np.array(weights)
    tree, rng = SumTree(len(weights)), np.random.default_rng(seed)
    for leaves in np.array_split(rng.permutation(len(weights)), 3):
        tree.update(leaves, weights[leaves])
    assert tree.total == pytest.approx(weights.sum())
    if weights.sum() == 0:
        return
    # Amid the leaves, so that a rounding error of a sum does not decide.
    ends = np.cumsum(weights)
    sums = np.repeat(ends - weights, 3) + np.tile([0.25, 0.5, 0.75], len(weights)) * np.repeat(weights, 3)
    sums = sums[np.repeat(weights, 3) > 0]
    np.testing.assert_array_equal(tree.find(sums), naive_find(weights, sums))


@settings(deadline=None, max_examples=60)
@given(WEIGHTS, st.integers(0, 2**31))
def test_a_leaf_without_weight_is_never_found(weights, seed):
    weights = np.array([*weights, 1.0])
    tree = SumTree(len(weights))
    tree.update(np.arange(len(weights)), weights)
    sums = np.random.default_rng(seed).uniform(0, tree.total, 50)
    found = tree.find(np.append(sums, [0.0, tree.total]))
    assert (found < len(weights)).all() and (weights[found] > 0).all()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 12), st.floats(0, 10)), min_size=1, max_size=60))
def test_of_a_leaf_that_is_set_several_times_the_last_counts(changes):
    tree, expected = SumTree(13), np.zeros(13)
    leaves, weights = np.array([c[0] for c in changes]), np.array([c[1] for c in changes])
    for leaf, weight in changes:
        expected[leaf] = weight
    tree.update(leaves, weights)
    np.testing.assert_allclose(tree.sums[tree.first : tree.first + 13], expected)
    assert tree.total == pytest.approx(expected.sum())


def filled(size=8, added=8, alpha=0.6):
    replay = PrioritisedReplay(size, FIELDS, alpha)
    for number in range(added):
        replay.add({"number": np.array([number]), "pair": np.full((1, 2), number, np.float32)})
    return replay


def test_decisions_are_drawn_as_often_as_their_priority_says():
    replay, rng = filled(), np.random.default_rng(1)
    errors = np.arange(8) / 4
    replay.update(np.arange(8), -errors)
    chances = (errors + EPSILON) ** 0.6
    chances /= chances.sum()
    draws = np.concatenate([replay.sample(500, 0.5, rng)[0] for _ in range(40)])
    np.testing.assert_allclose(np.bincount(draws, minlength=8) / len(draws), chances, atol=0.003)
    places, found, weights = replay.sample(200, 0.5, rng)
    np.testing.assert_array_equal(found["number"], places)
    expected = (8 * chances[places]) ** -0.5
    np.testing.assert_allclose(weights, expected / expected.max(), rtol=1e-6)


def test_weighted_draws_have_the_mean_of_even_ones():
    replay, rng = filled(), np.random.default_rng(1)
    replay.update(np.arange(8), np.arange(8.0))
    places, _, weights = replay.sample(200_000, 1.0, rng)
    assert np.average(places, weights=weights) == pytest.approx(3.5, abs=0.05)


def test_without_exponent_all_are_drawn_evenly():
    replay = filled(alpha=0.0)
    replay.update(np.arange(8), np.arange(8.0))
    places, _, weights = replay.sample(8000, 0.4, np.random.default_rng(1))
    np.testing.assert_array_equal(np.bincount(places), 1000)
    np.testing.assert_allclose(weights, 1.0)


def test_the_oldest_go_first_and_what_is_not_there_is_not_drawn():
    replay = filled(size=8, added=3)
    assert len(replay) == 3
    places, _, _ = replay.sample(100, 0.5, np.random.default_rng(1))
    assert set(places) == {0, 1, 2}
    replay.add({"number": np.arange(10, 17), "pair": np.zeros((7, 2), np.float32)})
    assert len(replay) == 8
    assert sorted(replay.arrays["number"]) == [2, *range(10, 17)]


def test_new_decisions_have_the_highest_priority():
    replay = filled(added=7)
    replay.update(np.arange(7), np.full(7, 3.0))
    replay.add({"number": np.array([7]), "pair": np.zeros((1, 2), np.float32)})
    leaves = replay.tree.sums[replay.tree.first :]
    assert leaves[7] == pytest.approx((3 + EPSILON) ** 0.6)


def test_state_goes_out_and_in():
    replay = filled(size=6, added=9)
    replay.update(np.arange(6), np.arange(6.0))
    other = PrioritisedReplay(6, FIELDS, 0.6)
    other.restore(replay.state())
    one, two = (r.sample(50, 0.5, np.random.default_rng(3)) for r in (replay, other))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1]["pair"], two[1]["pair"])
    np.testing.assert_array_equal(one[2], two[2])
    assert (other.count, other.highest) == (replay.count, replay.highest)
