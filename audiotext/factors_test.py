import warnings

import numpy as np
import pytest
from scipy import sparse

from audiotext.als import excess_confidence, loss
from audiotext.factors import FactorOptions, factorise, fold_in
from common.options import UserError


def plays(users=40, items=30):
    rng = np.random.default_rng(1)
    return sparse.csr_matrix(rng.integers(1, 20, (users, items)) * (rng.random((users, items)) < 0.2))


def test_implicit_gives_the_same_factors_and_loss_without_a_warning():
    counts, found = plays(), {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for engine in ("numpy", "implicit"):
            options = FactorOptions(factors=8, als_sweeps=5, als_engine=engine)
            found[engine] = factorise(counts, options, seed=3)
    for ours, theirs in zip(*found.values(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(ours).max())
    excess = excess_confidence(counts, options)
    losses = [loss(excess, *factors, options) for factors in found.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_folding_in_repeats_the_last_half_sweep():
    counts = plays()
    options = FactorOptions(factors=6, als_sweeps=5)
    users, items = factorise(counts, options)
    np.testing.assert_allclose(fold_in(counts.T.tocsr(), users, options), items, atol=1e-4 * np.abs(items).max())


def test_mistakes():
    with pytest.raises(UserError, match="no plays of training items"):
        factorise(sparse.csr_matrix((3, 4)))
    with pytest.raises(UserError, match="--als-weighted needs --als-engine numpy"):
        FactorOptions(als_weighted=True, als_engine="implicit")


@pytest.mark.parametrize(
    "wrong", [{"factors": 10**30}, {"als_alpha": 1e308}, {"als_epsilon": 1e-320}, {"als_regularisation": float("nan")}]
)
def test_options_that_leave_double_precision_are_refused(wrong):
    with pytest.raises(UserError, match="it must"):
        FactorOptions(**wrong)
