"""The baselines on GRU4Rec's events, and the most popular figures of the golden data."""

import json

import numpy as np
import pytest

from common.session_baselines import BASELINES, MostPopular, Prefixes
from common.session_baselines_test import ITEMS, made_up, of
from gru4rec.evaluation import baseline_ranks
from gru4rec.golden_test import FOLDER, load, sessions_of


def test_all_baselines_rank_the_same_events():
    train, test = made_up(60, 1), made_up(50, 2)
    found = baseline_ranks(train, test, ITEMS)
    lengths = np.diff(test.offsets) - 1
    assert list(found) == ["most popular", "session popular", "item-kNN", "Markov", "session-kNN"]
    assert list(found) == [kind.name for kind in BASELINES]
    for ranks in found.values():
        np.testing.assert_array_equal(ranks.session, np.repeat(np.arange(50), lengths))
        assert (ranks.equal >= 1).all() and (ranks.greater + ranks.equal <= ITEMS).all()


def test_no_event_with_a_next_one():
    for ranks in baseline_ranks(of([0], [1], [2]), of([0], [1]), 3).values():
        assert len(ranks) == 0 and np.isnan(ranks.figures()["recall@20"])


@pytest.mark.golden
def test_most_popular_equals_the_golden_figures():
    batches = load("batches_train_b32")
    test = sessions_of(load("batches_test_b32"))
    train = of(batches["data_items"].tolist())
    support = np.bincount(train.items)
    golden = json.loads((FOLDER / "meta.json").read_text())["mostpop"]
    # Its ties go to the item that appeared first in training, which ours are not told; so rank like that here.
    targets = np.delete(test.items, test.offsets[:-1])
    earlier = np.array([(support[:item] == support[item]).sum() for item in targets])
    prefixes, wanted = Prefixes.of(test)
    np.testing.assert_array_equal(wanted, targets)
    greater, equal = MostPopular(train, len(support)).ranks(prefixes, targets)
    ranks = 1 + greater + earlier
    assert (earlier < equal).all()
    for k in (1, 5, 10, 20):
        assert (ranks <= k).mean() == pytest.approx(golden[f"recall@{k}"], abs=1e-12)
        assert np.where(ranks <= k, 1 / ranks, 0).mean() == pytest.approx(golden[f"mrr@{k}"], abs=1e-12)
