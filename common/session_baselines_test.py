"""The session baselines against plain Python, on small random sessions, and by hand."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import common.session_baselines as baselines
from common.session_baselines import (
    BASELINES,
    REGULARISATION,
    UNIT,
    ItemKnn,
    Markov,
    MostPopular,
    Popularity,
    Prefixes,
    ScoreRows,
    SessionKnn,
    SessionPopular,
    score_table,
)
from common.sessions import Sessions

ITEMS, NEIGHBOURS, SAMPLE = 40, 4, 9


def of(*sessions):
    """Sessions of lists, the newest last."""
    items = np.array(list(itertools.chain(*sessions)), np.int32)
    return Sessions(items, np.cumsum([0, *map(len, sessions)]), np.arange(len(sessions), dtype=float))


def lists(sessions):
    return [sessions.items[a:b].tolist() for a, b in itertools.pairwise(sessions.offsets)]


def made_up(count, seed, items=ITEMS, longest=9):
    """Sessions of 1 to 9 events with repeats, few items often."""
    rng = np.random.default_rng(seed)
    return of(
        *((items * rng.random(length) ** 2).astype(int).tolist() for length in rng.integers(1, longest + 1, count))
    )


class Plainly:
    """The definitions, item by item: (items so far) -> the score of every item, and what settles ties."""

    def __init__(self, train, items=ITEMS, neighbours=NEIGHBOURS, sample=SAMPLE):
        self.train, self.items = lists(train), range(items)
        self.neighbours, self.sample = neighbours, sample
        self.plays = [sum(session.count(i) for session in self.train) for i in self.items]
        self.follows = Counter(pair for session in self.train for pair in itertools.pairwise(session))
        self.within = [{place for place, session in enumerate(self.train) if i in session} for i in self.items]

    def most_popular(self, so_far):
        return [(0, self.plays[i]) for i in self.items]

    def session_popular(self, so_far):
        return [(so_far.count(i), self.plays[i]) for i in self.items]

    def markov(self, so_far):
        return [(self.follows[so_far[-1], i], self.plays[i]) for i in self.items]

    def item_knn(self, so_far):
        last = so_far[-1]

        def score(i):
            weight = [1.0 / np.sqrt(len(self.within[j]) + REGULARISATION) for j in (last, i)]
            return len(self.within[last] & self.within[i]) * weight[0] * weight[1] * (i != last)

        return [(score(i), 0) for i in self.items]

    def session_knn(self, so_far):
        position = {item: place for place, item in enumerate(so_far, 1)}  # the last one counts
        like = []
        for age, session in enumerate(reversed(self.train)):
            shared = [position[item] for item in set(session) & set(so_far)]
            if shared:
                like.append((sum(shared), -age, len(so_far) - max(shared) + 1, set(session)))
        like = sorted(like[: self.sample], key=lambda one: one[:2], reverse=True)[: self.neighbours]
        return [
            (sum(similar * UNIT // back for similar, _, back, session in like if i in session), self.plays[i])
            for i in self.items
        ]


PLAIN = {
    MostPopular: Plainly.most_popular,
    SessionPopular: Plainly.session_popular,
    Markov: Plainly.markov,
    ItemKnn: Plainly.item_knn,
    SessionKnn: Plainly.session_knn,
}


def fitted(kind, train, items=ITEMS):
    return kind(train, items, NEIGHBOURS, SAMPLE) if kind is SessionKnn else kind(train, items)


def assert_plain(kind, train, test, items=ITEMS):
    """Ranks, best items and orders are those of the plain definition, for every prefix of the test sessions."""
    baseline, score = fitted(kind, train, items), PLAIN[kind]
    plain = Plainly(train, items)
    prefixes, targets = Prefixes.of(test)
    above, level = baseline.ranks(prefixes, targets)
    best = baseline.best(prefixes)
    some = np.tile(np.arange(0, items, 5), (len(prefixes), 1))
    order = baseline.scores(prefixes, some)
    so_far = [session[:end] for session in lists(test) for end in range(1, len(session))]
    assert len(prefixes) == len(so_far)
    for row, heard in enumerate(so_far):
        scores = score(plain, heard)
        own = scores[targets[row]]
        assert above[row] == sum(s > own for s in scores), (heard, targets[row])
        assert level[row] == sum(s == own for s in scores), (heard, targets[row])
        assert best[row] == scores.index(max(scores))
        for (i, a), (j, b) in itertools.combinations(zip(some[row], order[row], strict=True), 2):
            assert (a > b, a == b) == (scores[i] > scores[j], scores[i] == scores[j])


@pytest.fixture(params=[2**19, 20], ids=["one-block", "many-blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(baselines, "PAIRS", request.param)


@pytest.mark.parametrize("kind", BASELINES, ids=lambda kind: kind.name)
def test_ranks_are_those_of_the_plain_definition(kind, blocks):
    train, test = made_up(15, 1), made_up(20, 2)
    plays = np.bincount(train.items, minlength=ITEMS)
    assert (plays == 0).any() and len(np.unique(plays)) < ITEMS  # items never played, and ties
    assert_plain(kind, train, test)
    assert_plain(kind, made_up(60, 3), made_up(10, 4))  # more sessions with an item than are sought among


@pytest.mark.parametrize("kind", BASELINES, ids=lambda kind: kind.name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_small_sessions_of_any_kind(kind, data):
    session = st.lists(st.integers(0, 5), min_size=1, max_size=5)
    train = data.draw(st.lists(session, min_size=1, max_size=8))
    test = data.draw(st.lists(session, min_size=1, max_size=3))
    assert_plain(kind, of(*train), of(*test), items=6)


@pytest.mark.parametrize("kind", BASELINES, ids=lambda kind: kind.name)
def test_other_numbers_of_the_items_give_the_same_ranks(kind):
    train, test = made_up(60, 5), made_up(40, 6)
    numbers = np.random.default_rng(7).permutation(ITEMS).astype(np.int32)
    renamed = [Sessions(numbers[part.items], part.offsets, part.starts) for part in (train, test)]
    expected = fitted(kind, train).ranks(*Prefixes.of(test))
    np.testing.assert_array_equal(fitted(kind, renamed[0]).ranks(*Prefixes.of(renamed[1])), expected)


def test_what_comes_later_in_a_session_changes_nothing():
    train, test = made_up(60, 5), made_up(40, 6)
    longer = of(*([*session, 3, 3, 7] for session in lists(test)))
    for kind in BASELINES:
        prefixes, targets = Prefixes.of(longer)
        whole = fitted(kind, train).ranks(prefixes, targets)
        inside = np.concatenate([np.arange(len(s) + 2) < len(s) - 1 for s in lists(test)])
        np.testing.assert_array_equal(fitted(kind, train).ranks(*Prefixes.of(test)), np.array(whole)[:, inside])


def test_a_planted_example_by_hand():
    train = of([0, 1, 2], [0, 1], [3, 0, 1])  # plays: 3, 3, 1, 1, 0
    prefixes, targets = Prefixes.of(of([4, 4, 1, 4], [0, 1], [4, 2]))
    # S-POP after 4: itself, then 0 = 1, 2 = 3; after 4 4 the same; after 4 4 1: 4, 1.
    above, level = SessionPopular(train, 5).ranks(prefixes, targets)
    assert above.tolist() == [0, 1, 0, 1, 3] and level.tolist() == [1, 2, 1, 1, 2]
    # Markov: 4 never occurred, so popularity decides; after 1 came 2; after 0 came 1.
    above, level = Markov(train, 5).ranks(prefixes, targets)
    assert above.tolist() == [4, 0, 4, 0, 2] and level.tolist() == [1, 2, 1, 1, 2]
    # Session-kNN: 4 has no neighbours; after 4 4 1 all three have 1, and say 0 = 1 (score 3 x 3), then 2 = 3 (3).
    above, level = SessionKnn(train, 5).ranks(prefixes, targets)
    assert above.tolist() == [4, 0, 4, 0, 2] and level.tolist() == [1, 2, 1, 2, 2]


def test_the_newest_sessions_and_those_most_like_the_last_items_are_the_neighbours():
    train = of([0, 5], [1, 6], [1, 7], [0, 1, 8], [0, 9])
    prefixes, _ = Prefixes.of(of([0, 1, 2]))
    so_far = prefixes[[1]]  # 0, then 1: weights 1 and 2
    every = np.arange(10)[None]

    def scores(**chosen):
        found = SessionKnn(train, 10, **chosen)
        return found.scores(so_far, every)[0] // found.popularity.levels / UNIT

    # [0, 1, 8] has 3; [1, 6] and [1, 7] have 2; [0, 5] and [0, 9] have 1, which counts half: 0 is one further back.
    assert scores().tolist() == [4, 7, 0, 0, 0, 0.5, 2, 2, 3, 0.5]
    assert scores(neighbours=2).tolist() == [3, 5, 0, 0, 0, 0, 0, 2, 3, 0]  # of two alike the newer one
    assert scores(sample=2).tolist() == [3.5, 3, 0, 0, 0, 0, 0, 0, 3, 0.5]  # the two newest


def test_sessions_of_one_event_give_nothing_to_rank_or_to_learn_from():
    nobody, one = of([0], [1]), of([0, 1])
    for kind in BASELINES:
        baseline = kind(of([0], [1], [2]), 3)
        assert [len(part) for part in baseline.ranks(*Prefixes.of(nobody))] == [0, 0]
        assert baseline.best(Prefixes.of(nobody)[0]).tolist() == []
        above, level = baseline.ranks(*Prefixes.of(one))
        # All were played once, so they tie; of the session itself 0 alone is known, and not 1.
        known = kind in (SessionPopular, SessionKnn)
        assert (above.tolist(), level.tolist()) == ([int(known)], [3 - known])


def test_nothing_to_learn_from_at_all_and_sessions_without_events():
    empty = Sessions(np.zeros(0, np.int32), np.array([0, 0, 0]), np.zeros(2))
    assert len(Prefixes.of(empty)[0]) == 0
    for kind in BASELINES:
        above, level = kind(empty, 3).ranks(*Prefixes.of(of([], [0, 1, 0], [])))
        # All are level, but where the session itself counts: after 0 it is above both others, after 0 1 level with 1.
        known = kind is SessionPopular
        assert (above.tolist(), level.tolist()) == (([1, 0], [2, 2]) if known else ([0, 0], [3, 3]))


def test_unknown_items_are_refused():
    train = of([0, 1], [1, 2])
    for kind in BASELINES:
        for test in (of([0, 3]), of([3, 0]), of([0, -1]), of([-1, 0])):
            with pytest.raises(ValueError, match=r"an item is not in 0\.\.2"):
                kind(train, 3).ranks(*Prefixes.of(test))
    with pytest.raises(ValueError, match="a prefix is empty"):
        Prefixes(np.array([0, 1]), np.array([1]), np.array([1]))


def test_scores_of_any_size_are_ranked():
    """Where score, popularity and row do not fit into one number, the scores' order stands for them."""
    popularity = Popularity(np.array([1, 2, 3, 4]))
    rows, items = np.array([0, 0, 1]), np.array([0, 1, 2])
    for scores in ([5, 2**61, 5], [5, 7, 5]):
        ranked = ScoreRows(score_table(rows, items, np.array(scores), 2, 4), popularity)
        above, level = ranked.ranks(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 1, 2, 3, 2, 0]))
        assert above.tolist() == [1, 0, 3, 2, 0, 3] and level.tolist() == [1] * 6
        assert ranked.best().tolist() == [1, 2]


def test_rows_without_a_score_follow_popularity():
    plays = np.array([2, 5, 5, 0])
    rows = ScoreRows(
        score_table(np.array([1, 1, 1]), np.array([0, 3, 0]), np.array([1, 1, 1]), 3, 4), Popularity(plays)
    )
    assert rows.best().tolist() == [1, 0, 1]
    above, level = rows.ranks(np.array([0, 0, 1, 1, 1, 2]), np.array([3, 2, 0, 3, 1, 0]))
    assert above.tolist() == [3, 0, 0, 1, 2, 2] and level.tolist() == [1, 2, 1, 1, 2, 1]
