"""The baselines against dense scores, and against the most popular figures of the golden data."""

import itertools
import json

import numpy as np
import pytest

import gru4rec.baselines
from common.sessions import Sessions
from gru4rec.baselines import REGULARISATION, all_ranks, figures, item_knn, markov, most_popular, session_popular
from gru4rec.golden_test import FOLDER, load, sessions_of

ITEMS = 40


def made_up(count, seed, items=ITEMS):
    """Sessions of 1 to 9 events with repeats."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 10, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    played = (items * rng.random(offsets[-1]) ** 2).astype(np.int32)
    return Sessions(played, offsets, np.arange(count, dtype=float))


def of(*sessions):
    return Sessions(
        np.concatenate([np.array(s, np.int32) for s in sessions]),
        np.concatenate([[0], np.cumsum([len(s) for s in sessions])]),
        np.arange(len(sessions), dtype=float),
    )


def split(sessions):
    return [sessions.items[a:b].tolist() for a, b in zip(sessions.offsets, sessions.offsets[1:], strict=False)]


def counts_by(score, test):
    """Greater and equal counts by ``score(items so far) -> list of (score, second score)``, item by item."""
    found = []
    for session in split(test):
        for place in range(1, len(session)):
            scores = score(session[:place])
            own = scores[session[place]]
            found.append((sum(s > own for s in scores), sum(s == own for s in scores)))
    return np.array(found).T


@pytest.fixture(params=[2**22, 20], ids=["one-block", "many-blocks"])
def setting(request, monkeypatch):
    monkeypatch.setattr(gru4rec.baselines, "PAIRS", request.param)
    train, test = made_up(15, 1), made_up(50, 2)
    support = np.bincount(train.items, minlength=ITEMS)
    assert (support == 0).any() and len(np.unique(support)) < ITEMS  # unseen items and ties
    return train, test, support


def test_most_popular_ranks_by_support(setting):
    _, test, support = setting
    np.testing.assert_array_equal(most_popular(test, support), counts_by(lambda so_far: support.tolist(), test))


def test_session_popular_ranks_by_session_then_support(setting):
    _, test, support = setting
    expected = counts_by(lambda so_far: [(so_far.count(i), support[i]) for i in range(ITEMS)], test)
    np.testing.assert_array_equal(session_popular(test, support), expected)


def test_markov_ranks_by_transitions_then_support(setting):
    train, test, support = setting
    follows = np.zeros((ITEMS, ITEMS))
    for session in split(train):
        for before, after in itertools.pairwise(session):
            follows[before, after] += 1
    expected = counts_by(lambda so_far: [(follows[so_far[-1], i], support[i]) for i in range(ITEMS)], test)
    np.testing.assert_array_equal(markov(train, test, support), expected)


def test_item_knn_ranks_by_regularised_cosine_of_the_last_item(setting):
    train, test, _ = setting
    within = np.array([[float(i in session) for i in range(ITEMS)] for session in split(train)])
    weight = 1.0 / np.sqrt(within.sum(0) + REGULARISATION)
    cosine = (within.T @ within) * weight[:, None] * weight
    np.fill_diagonal(cosine, 0)
    expected = counts_by(lambda so_far: cosine[so_far[-1]].tolist(), test)
    np.testing.assert_array_equal(item_knn(train, test, ITEMS), expected)


def test_a_planted_example_by_hand():
    train = of([0, 1, 2], [0, 1], [3, 0, 1])
    support = np.bincount(train.items, minlength=5)  # 3, 3, 1, 1, 0
    test = of([4, 4, 1, 4], [0, 1], [4, 2])
    # S-POP after 4: itself, then 0 = 1, 2 = 3; after 4 4 the same; after 4 4 1: 4, 1.
    greater, equal = session_popular(test, support)
    assert greater.tolist() == [0, 1, 0, 1, 3] and equal.tolist() == [1, 2, 1, 1, 2]
    # Markov: 4 never occurred, so popularity decides; after 1 came 2; after 0 came 1.
    greater, equal = markov(train, test, support)
    assert greater.tolist() == [4, 0, 4, 0, 2] and equal.tolist() == [1, 2, 1, 1, 2]


def test_all_baselines_rank_the_same_events():
    train, test = made_up(60, 1), made_up(50, 2)
    found = all_ranks(train, test, ITEMS)
    lengths = np.diff(test.offsets) - 1
    assert list(found) == ["most popular", "session popular", "item-kNN", "Markov"]
    for ranks in found.values():
        np.testing.assert_array_equal(ranks.session, np.repeat(np.arange(50), lengths))
        assert (ranks.equal >= 1).all() and (ranks.greater + ranks.equal <= ITEMS).all()
    assert figures(train, test, ITEMS) == {name: ranks.figures() for name, ranks in found.items()}


def test_no_event_with_a_next_one_and_no_transition_in_training():
    for test, events in ((of([0], [1]), 0), (of([0, 1]), 1)):
        for ranks in all_ranks(of([0], [1], [2]), test, 3).values():
            assert len(ranks) == events
    assert ranks.equal.tolist() == [3]


@pytest.mark.golden
def test_most_popular_equals_the_golden_figures():
    batches = load("batches_train_b32")
    test = sessions_of(load("batches_test_b32"))
    support = np.bincount(batches["data_items"])
    golden = json.loads((FOLDER / "meta.json").read_text())["mostpop"]
    # Its ties go to the item that appeared first in training, which ours are not told; so rank like that here.
    targets = np.delete(test.items, test.offsets[:-1])
    earlier = np.array([(support[:item] == support[item]).sum() for item in targets])
    greater, equal = most_popular(test, support)
    ranks = 1 + greater + earlier
    assert (earlier < equal).all()
    for k in (1, 5, 10, 20):
        assert (ranks <= k).mean() == pytest.approx(golden[f"recall@{k}"], abs=1e-12)
        assert np.where(ranks <= k, 1 / ranks, 0).mean() == pytest.approx(golden[f"mrr@{k}"], abs=1e-12)
