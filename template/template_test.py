"""What the template learns, refuses and recommends; the command itself is under tests/contract_test.py."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from common.command import parse
from common.interactions import RecommendOptions, split_of
from common.options import UserError
from template.model import build, score_matrix
from template.options import TemplateOptions
from template.preprocess import write_sample
from template.recommend import main as recommend
from template.recommender import Template
from template.train import main as train
from tests.recommender_contract import RecommenderContract


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    write_sample(folder)
    return folder


def plays_of(seed):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "user": [f"u{user}" for user in np.repeat(np.arange(20), 6)],
            "song": [f"s{song}" for song in rng.integers(15, size=120)],
        }
    )


class TestContract(RecommenderContract):
    """The contract of every recommender."""

    kind, ids = Template, ("user", "song")
    options: ClassVar = {"factors": 2, "epochs": 2, "batch_size": 64, "deterministic": True}
    asked: ClassVar = ["u1", "u7", "u3"]
    unknown = "nobody"

    @staticmethod
    def tables():
        return plays_of(1), plays_of(2)


def fitted(raw, run_dir):
    return train(parse(TemplateOptions, ["--data-dir", str(raw), "--deterministic", "--run-dir", str(run_dir)]))


def test_it_learns_taste_and_recommends_by_it(raw, tmp_path):
    found = fitted(raw, tmp_path / "run")
    assert found["metrics"]["recall@10"] > found["baselines"]["popularity"]["recall@10"] + 0.2
    best = recommend(RecommendOptions("u0002", tmp_path / "run", top_k=5))["item"]
    data = split_of(raw / "plays.csv")
    played = {data.item_ids[song] for user, song in zip(*data.train, strict=True) if user == 2}
    assert len(best) == 5 and not played & set(best)
    assert sum(int(song[1:]) % 4 == 2 for song in best) >= 3  # of the user's own style
    with pytest.raises(UserError, match="not in the data"):
        recommend(RecommendOptions("nobody", tmp_path / "run"))


def test_it_learns_nothing_from_noise(tmp_path):
    write_sample(tmp_path, taste=0.0)
    assert fitted(tmp_path, tmp_path / "run")["metrics"]["auc"] < 0.55


def test_a_pair_scores_as_in_the_matrix():
    model = build(users=3, songs=5, factors=2)
    pairs = {"user": np.array([0, 2]), "item": np.array([4, 1])}
    np.testing.assert_allclose(model(pairs), score_matrix(model, np.arange(3))[[0, 2], [4, 1]], rtol=1e-5)
