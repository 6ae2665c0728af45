"""What the ratings can learn where tastes differ: a dot product or a perceptron learns whose; linear cannot."""

import numpy as np
import pytest

from common.command import parse
from dtnmr import baselines
from dtnmr.evaluation import Scorer, evaluate, make_task, recommender
from dtnmr.model import Networks
from dtnmr.options import DtnmrOptions
from dtnmr.preprocess import prepare
from dtnmr.recommender import architecture_of
from dtnmr.sample import KkboxSampleOptions, write_sample
from dtnmr.training import train

SMALL = ("--mlp", "32", "--embedding", "16", "--lstm", "16", "--lstm-layers", "1", "--dropout", "0")
SMALL = (*SMALL, "--loss", "full-softmax", "--learning-rate", "0.01", "--deterministic", "--epochs", "4")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A slice of the sample: its law, with fewer users and songs."""
    folder = tmp_path_factory.mktemp("kkbox")
    write_sample(folder, KkboxSampleOptions(folder, users=200, songs=300))
    return prepare(folder, folder / "prepared")


@pytest.fixture(scope="module")
def figures(data, tmp_path_factory):
    """Rating or baseline -> its figures."""
    task = make_task(data, seed=1)
    found = {}
    for rating in ("linear", "dot", "mlp"):
        options = parse(DtnmrOptions, [*SMALL, "--rating", rating]).completed(synthetic=False)
        model = Networks(architecture_of(options, data), options.seed)
        train(model, options, data, tmp_path_factory.mktemp(rating))
        found[rating] = evaluate(recommender(Scorer(model, data)), task).figures()
    found["popularity"] = evaluate(baselines.popularity(data), task).figures()
    found["metadata popularity"] = evaluate(baselines.metadata_popularity(data), task).figures()
    return found


@pytest.mark.slow
def test_dot_and_mlp_beat_popularity_and_linear_does_not(figures):
    popular = figures["popularity"]
    for rating in ("dot", "mlp"):
        for name, margin in (("map", 0.08), ("ndcg@10", 0.08), ("auc", 0.1), ("next_recall@10", 0.1)):
            assert figures[rating][name] > popular[name] + margin, (rating, name, figures[rating], popular)
    for name in ("map", "ndcg@10", "next_recall@10"):
        best = max(popular[name], figures["metadata popularity"][name])
        assert figures["linear"][name] < best + 0.03, (name, figures["linear"], best)


@pytest.mark.slow
def test_linear_gives_all_users_one_order(data, tmp_path):
    options = parse(DtnmrOptions, [*SMALL[:-1], "1", "--rating", "linear"]).completed(synthetic=False)
    model = Networks(architecture_of(options, data), options.seed)
    train(model, options, data, tmp_path)
    queries = make_task(data, seed=1).users
    table = recommender(Scorer(model, data))(queries).astype(np.float64)
    centred = table - table.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(centred, np.broadcast_to(centred[0], centred.shape), atol=1e-5)
