from dataclasses import replace

import numpy as np
import pytest

from common.options import UserError
from dtnmr.batches import Examples
from dtnmr.dataset import of_users, take_rows
from dtnmr.evaluation import Scorer
from dtnmr.model import Networks
from dtnmr.model_test import DATA, SMALL


@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_scores_equal_those_of_the_model(rating, monkeypatch):
    model = Networks(replace(SMALL, rating=rating, final_relu=rating == "linear"))
    asked = of_users(DATA)  # the last one has heard nothing
    bits = take_rows(DATA.user_bits, asked.users)
    scorer = Scorer(model, DATA)
    found = scorer.scores(asked.histories, asked.behaviours, bits)
    candidates = np.tile(np.arange(DATA.songs, dtype=np.int32), (DATA.users, 1))
    examples = Examples(SMALL, DATA, asked.histories, asked.behaviours, bits)
    inputs = examples.inputs(asked.users, asked.histories.lengths.astype(np.int32), candidates)
    np.testing.assert_allclose(found, np.asarray(model(inputs)), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32 and not scorer.dead
    monkeypatch.setattr("dtnmr.evaluation.USERS", 3)
    monkeypatch.setattr("dtnmr.evaluation.CACHED", 100)
    np.testing.assert_allclose(scorer.scores(asked.histories, asked.behaviours, bits), found, atol=1e-6)
    none = [take_rows(rows, np.empty(0, np.int64)) for rows in (asked.histories, asked.behaviours, bits)]
    assert scorer.scores(*none).shape == (0, DATA.songs)


def test_dead_songs_are_noticed():
    model = Networks(replace(SMALL, final_relu=True))
    model.named["song.2.bias"].assign(np.full(6, -100.0))
    scorer = Scorer(model, DATA)
    asked = of_users(DATA)
    scores = scorer.scores(asked.histories, asked.behaviours, take_rows(DATA.user_bits, asked.users))
    assert scorer.dead and np.ptp(scores) == 0.0


def test_data_of_other_columns_are_refused():
    with pytest.raises(UserError, match="another preparation than the run"):
        Scorer(Networks(replace(SMALL, user_width=3)), DATA)
