import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from audiotext import als
from audiotext.als import AlsOptions, excess_confidence, factorise, loss, solve
from common.options import UserError


def plays_of(users, items, share, seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 50, (users, items)) * (rng.random((users, items)) < share)
    return sparse.csr_matrix(counts)


def dense_loss(plays, users, items, options):
    """The formula of the paper, cell by cell."""
    counts = plays.toarray().astype(float)
    grown = counts if options.als_confidence == "linear" else np.log(1 + counts / options.als_epsilon)
    confidence = 1 + options.als_alpha * grown
    total = (confidence * ((counts > 0) - users @ items.T) ** 2).sum()
    for factors, cells in ((users, (counts > 0).sum(1)), (items, (counts > 0).sum(0))):
        multiples = cells if options.als_weighted else 1
        total += options.als_regularisation * (multiples * (factors**2).sum(1)).sum()
    return total


def dense_solve(plays, fixed, options):
    """Row by row, the normal equations as they stand in the paper."""
    excess = excess_confidence(plays, options).toarray()
    rows = []
    for row in excess:
        multiple = (row > 0).sum() if options.als_weighted else 1
        system = fixed.T @ (fixed * (1 + row)[:, None]) + options.als_regularisation * multiple * np.eye(fixed.shape[1])
        target = fixed.T @ ((1 + row) * (row > 0))
        rows.append(np.linalg.solve(system, target) if (row > 0).any() else np.zeros(fixed.shape[1]))
    return np.array(rows)


def variants(**changes):
    base = AlsOptions(factors=5, als_sweeps=3, **changes)
    return [
        base,
        dataclasses.replace(base, als_confidence="log", als_epsilon=0.5, als_alpha=2.0),
        dataclasses.replace(base, als_weighted=True),
    ]


@pytest.mark.parametrize("options", variants())
def test_loss_is_that_of_the_paper(options):
    plays, rng = plays_of(17, 23, 0.3, 1), np.random.default_rng(2)
    users, items = rng.standard_normal((17, 5)), rng.standard_normal((23, 5))
    expected = dense_loss(plays, users, items, options)
    assert loss(excess_confidence(plays, options), users, items, options) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("options", variants())
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
@pytest.mark.parametrize("block", [1, 40, 300, 2**17])
def test_solution_is_that_of_the_normal_equations(options, share, block, monkeypatch):
    monkeypatch.setattr(als, "BLOCK", block)
    plays, fixed = plays_of(31, 27, share, 3), np.random.default_rng(4).standard_normal((27, 5))
    found = solve(excess_confidence(plays, options), fixed, options)
    np.testing.assert_allclose(found, dense_solve(plays, fixed, options), rtol=1e-8, atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 12), st.floats(0.1, 1), st.integers(0, 2**31), st.integers(1, 8), st.booleans()
)
def test_loss_never_rises(users, items, share, seed, factors, weighted):
    plays = plays_of(users, items, share, seed)
    options = AlsOptions(factors=factors, als_sweeps=4, als_weighted=weighted, als_alpha=5.0)
    excess = excess_confidence(plays, options)
    y = als.start(items, options, seed)
    x, losses = np.zeros((users, factors)), []
    for _ in range(options.als_sweeps):
        x = solve(excess, y, options)
        losses.append(loss(excess, x, y, options))
        y = solve(excess.T.tocsr(), x, options)
        losses.append(loss(excess, x, y, options))
    assert np.all(np.diff(losses) <= 1e-9 * max(losses[0], 1))


def test_factors_tell_groups_apart():
    group = np.arange(40) % 2
    likes = (group[:, None] == np.arange(30) % 2) * (np.random.default_rng(1).random((40, 30)) < 0.5)
    users, items = factorise(sparse.csr_matrix(likes), AlsOptions(factors=2, als_sweeps=10), seed=1)
    scores = users @ items.T
    own = group[:, None] == np.arange(30) % 2
    assert scores[own].mean() > 0.5 > 0.1 > abs(scores[~own]).mean()


def test_rows_without_plays_are_zero_and_seeds_and_precision_are_kept():
    plays = plays_of(9, 8, 0.5, 5).tolil()
    plays[4], plays[:, 2] = 0, 0
    plays = plays.tocsr()
    options, seen = AlsOptions(factors=3, als_sweeps=2), []
    users, items = factorise(plays, options, 7, dtype=np.float32, each_sweep=lambda u, i: seen.append(u.shape))
    assert not users[4].any() and not items[2].any() and (users.any(1).sum(), items.any(1).sum()) == (8, 7)
    assert users.dtype == items.dtype == np.float32 and seen == [(9, 3)] * 2
    again = factorise(plays, options, 7)
    np.testing.assert_array_equal(again[0], factorise(plays, options, 7)[0])
    np.testing.assert_allclose(users, again[0], rtol=1e-2, atol=1e-4)
    assert not np.array_equal(again[0], factorise(plays, options, 8)[0])


def test_stored_zeros_are_no_plays():
    plays = sparse.csr_matrix(([2.0, 0.0, 1.0], ([0, 0, 1], [0, 1, 1])), shape=(2, 2))
    assert excess_confidence(plays, AlsOptions(als_alpha=3.0)).toarray().tolist() == [[6, 0], [0, 3]]
    assert plays.nnz == 3


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_counts_that_are_none_are_refused(value):
    with pytest.raises(UserError, match="play counts must be finite"):
        excess_confidence(sparse.csr_matrix([[value, 1.0]]), AlsOptions())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"factors": 0}, "--factors is 0"),
        ({"als_sweeps": 0}, "--als-sweeps is 0"),
        ({"als_alpha": -1.0}, "--als-alpha is -1"),
        ({"als_regularisation": 0.0}, "--als-regularisation is 0"),
        ({"als_epsilon": float("nan")}, "--als-epsilon is nan"),
    ],
)
def test_options(changes, message):
    with pytest.raises(UserError, match=message):
        AlsOptions(**changes)
