import numpy as np
import pytest

from common.options import UserError
from dtnmr.losses import make_loss

SCORES = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 0, 2], np.int32)


def by_hand(name):
    rows = []
    for scores, label in zip(SCORES.astype(float), LABELS, strict=True):
        others = np.delete(scores, label)
        if name == "bpr":
            rows.append(np.mean(np.log1p(np.exp(others - scores[label]))))
        else:
            rows.append(np.log(np.exp(scores).sum()) - scores[label])
    return rows


@pytest.mark.parametrize("name", ["softmax", "bpr", "full-softmax"])
def test_losses_by_hand(name):
    np.testing.assert_allclose(make_loss(name)(SCORES, LABELS), by_hand(name), rtol=1e-5)


def test_a_loss_that_there_is_not():
    with pytest.raises(UserError, match="expected one of softmax, bpr, full-softmax"):
        make_loss("hinge")
