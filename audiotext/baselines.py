"""What a network over biographies and sound has to beat, and what no item vector can be expected to beat.

All but the first two predict an item vector, which is then used as a network's: see :mod:`audiotext.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from audiotext.evaluation import Scores, unit_rows
from common.metrics import Integers

UPPER = "upper bound (true factors)"
"""What no item vector can be expected to beat."""
PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Of ridge regression on rows of norm 1; the best one on held-out items is taken."""
ROUNDS = 100
"""Of conjugate gradients, at most."""
SPARSE = 30
"""How many times as long an operation takes in a product with a sparse matrix as in Cholesky's factors."""
CELLS = 2**24
"""Similarities, or features, that are held at a time."""
Features: TypeAlias = Any
"""(n, columns), dense or a sparse CSR matrix."""
Product: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]
Solve: TypeAlias = Callable[[float], NDArray[Any]]
"""Penalty -> the weights of the columns (columns, f)."""


def random_scores(items: int, seed: int) -> Scores:
    """An order of its own for every user, drawn from (seed, user)."""

    def scores(users: Integers) -> NDArray[Any]:
        return np.stack([np.random.default_rng((seed, int(user))).random(items, np.float32) for user in users])

    return scores


def artist_popularity(
    train_artists: Sequence[str], train_factors: NDArray[Any], user_factors: NDArray[Any], artists: Sequence[str]
) -> Scores:
    """The artist's popularity in training: how much the mean user prefers the artist's songs, in sum; the same for all.

    An artist without a training song has none: cold-start artists are all tied at 0, which the suite's figures count
    as a random order.
    """
    preference = np.asarray(train_factors, np.float64) @ np.asarray(user_factors, np.float64).mean(axis=0)
    total: dict[str, float] = {}
    for artist, value in zip(train_artists, preference.tolist(), strict=True):
        total[artist] = total.get(artist, 0.0) + max(value, 0.0)
    row = np.array([total.get(artist, 0.0) for artist in artists])
    return lambda users: np.tile(row, (len(users), 1))


def collapsed(features: Features, factors: NDArray[Any], groups: Integers) -> tuple[Features, NDArray[Any]]:
    """A row for each group of items with the same features, such as the songs of an artist: their mean unit factors."""
    distinct, first, which = np.unique(groups, return_index=True, return_inverse=True)
    total = sparse.csr_matrix((np.ones(len(which)), (which, np.arange(len(which)))), (len(distinct), len(which)))
    return features[first], np.asarray(total @ unit_rows(factors)) / np.bincount(which)[:, None]


def nearest(features: Features, factors: NDArray[Any], new: Features, k: int) -> NDArray[Any]:
    """Item vectors (new, f): unit factors of the k most similar training items, weighted by their cosines and summed.

    An item without any similar one (an empty biography, say) gets a zero vector.
    """
    (known,), targets = _unit([features], np.arange(features.shape[0])), unit_rows(factors)
    (wanted,), k = _unit([new], np.arange(new.shape[0])), min(k, known.shape[0])
    rows = max(1, CELLS // known.shape[0])
    found = []
    for start in range(0, wanted.shape[0], rows):
        product = wanted[start : start + rows] @ known.T
        cosine = np.asarray(product.todense()) if sparse.issparse(product) else np.asarray(product)
        best = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        weight = np.maximum(np.take_along_axis(cosine, best, axis=1), 0)
        found.append(np.einsum("nk,nkf->nf", weight, targets[best]))
    return np.concatenate(found)


def ridge(
    features: Features | Sequence[Features],
    factors: NDArray[Any],
    fitted: Integers,
    held_out: Integers,
    new: Features | Sequence[Features],
    penalties: Sequence[float] = PENALTIES,
) -> tuple[NDArray[Any], float]:
    """Item vectors (new, f) by ridge regression from features to unit factors.

    min |X W - (Y - mean Y)|^2 + penalty |W|^2 over the rows ``fitted``, with the penalty whose predictions of the rows
    ``held_out`` have the highest mean cosine. X are the features, or the columns of several matrices side by side, each
    row of the whole brought to norm 1. Dense features, which may be memory-mapped, are read in blocks of rows.

    Returns:
        The vectors and the penalty.
    """
    x, wanted_x = _side_by_side(features), _side_by_side(new)
    targets, wanted = unit_rows(factors[fitted]).astype(np.float64), unit_rows(factors[held_out])
    centre = targets.mean(axis=0)
    solve = _solver(x, fitted, targets - centre, len(penalties))
    best = (-np.inf, 0.0, np.empty(0))
    for penalty in penalties:
        weights = solve(penalty)
        cosine = float((unit_rows(_times(x, weights, held_out) + centre) * wanted).sum(axis=1).mean())
        best = max(best, (cosine, penalty, weights), key=lambda found: found[0])
    return _times(wanted_x, best[2], np.arange(wanted_x[0].shape[0])) + centre, best[1]


def _side_by_side(features: Features | Sequence[Features]) -> list[Features]:
    return list(features) if isinstance(features, list | tuple) else [features]


def _solver(x: list[Features], rows: Integers, y: NDArray[Any], times: int) -> Solve:
    """Solves (X'X + penalty) W = X'Y for ``times`` penalties, in the way that takes least.

    Conjugate gradients need nothing but products with a sparse X. Else the equations are solved exactly: in the columns
    of X, or where there are fewer rows in these, as W = X' (XX' + penalty)^-1 Y.
    """
    columns, size = sum(part.shape[1] for part in x), min(len(rows), sum(part.shape[1] for part in x))
    if all(sparse.issparse(part) for part in x):
        known = sparse.csr_matrix(sparse.hstack(_unit(x, rows)))
        steps = times * ROUNDS * 4 * known.nnz * y.shape[1] * SPARSE
        if steps < times * size**3 / 3:
            return _by_conjugate_gradients(known, y)
    return _by_rows(x, rows, y) if len(rows) < columns else _by_columns(x, rows, y)


def _by_conjugate_gradients(known: sparse.csr_matrix, y: NDArray[Any]) -> Solve:
    right = known.T @ y
    weights = np.zeros_like(right)

    def solve(penalty: float) -> NDArray[Any]:
        nonlocal weights  # each solution is the next one's start
        weights = _descend(lambda w: known.T @ (known @ w), right, penalty, weights)
        return weights

    return solve


def _by_rows(x: list[Features], rows: Integers, y: NDArray[Any]) -> Solve:
    known = _unit(x, rows)
    gram = np.zeros((len(rows), len(rows)))
    for part in known:
        gram += _dense(part @ part.T)

    def solve(penalty: float) -> NDArray[Any]:
        within = _exactly(gram, penalty, y)
        return np.concatenate([part.T @ within for part in known])

    return solve


def _by_columns(x: list[Features], rows: Integers, y: NDArray[Any]) -> Solve:
    ends = np.cumsum([0, *(part.shape[1] for part in x)])
    places = [slice(first, after) for first, after in pairwise(ends)]
    gram, right = np.zeros((ends[-1], ends[-1])), np.zeros((ends[-1], y.shape[1]))
    for block in _blocks(x, len(rows)):
        known = _unit(x, rows[block])
        for here, one in zip(places, known, strict=True):
            right[here] += one.T @ y[block]
            for there, other in zip(places, known, strict=True):
                if here.start < there.start:
                    product = _dense(one.T @ other)
                    gram[here, there] += product
                    gram[there, here] += product.T
                elif here == there:
                    gram[here, here] += _dense(one.T @ one)
    return lambda penalty: _exactly(gram, penalty, right)


def _exactly(gram: NDArray[Any], penalty: float, right: NDArray[Any]) -> NDArray[Any]:
    """(gram + penalty)^-1 right, by Cholesky's factors."""
    shifted = gram.T.copy(order="K")  # symmetric; in columns, as LAPACK has matrices, so that it is not copied again
    shifted[np.diag_indices_from(shifted)] += penalty
    return linalg.cho_solve(linalg.cho_factor(shifted, overwrite_a=True, check_finite=False), right, check_finite=False)


def _times(x: list[Features], weights: NDArray[Any], rows: Integers) -> NDArray[Any]:
    """X W for some rows of ``x``."""
    ends = np.cumsum([0, *(part.shape[1] for part in x)])
    found = []
    for block in _blocks(x, len(rows)):
        known = _unit(x, rows[block])
        found.append(
            sum(part @ weights[first:after] for part, (first, after) in zip(known, pairwise(ends), strict=True))
        )
    return np.concatenate(found)


def _blocks(x: list[Features], rows: int) -> list[slice]:
    """Blocks of so many rows, each of few enough dense numbers to be held in memory."""
    step = max(1, CELLS // max(1, sum(part.shape[1] for part in x if not sparse.issparse(part))))
    return [slice(first, first + step) for first in range(0, max(rows, 1), step)]


def _descend(product: Product, right: NDArray[Any], penalty: float, start: NDArray[Any]) -> NDArray[Any]:
    """W of (X'X + penalty) W = X'Y by conjugate gradients, all columns at once."""
    w = start.copy()
    residual = right - product(w) - penalty * w
    direction, square = residual.copy(), np.square(residual).sum(axis=0)
    enough = 1e-14 * np.maximum(np.square(right).sum(axis=0), np.finfo(float).tiny)
    for _ in range(ROUNDS):
        if (square <= enough).all():
            break
        image = product(direction) + penalty * direction
        curvature = (direction * image).sum(axis=0)
        step = np.divide(square, curvature, out=np.zeros_like(square), where=curvature > 0)
        w += step * direction
        residual -= step * image
        before, square = square, np.square(residual).sum(axis=0)
        direction = residual + np.divide(square, before, out=np.zeros_like(square), where=before > 0) * direction
    return w


def _unit(parts: Sequence[Features], rows: Integers) -> list[Features]:
    """Some rows of matrices that stand side by side, in double precision, each row of the whole brought to norm 1."""
    chosen = [
        part[rows].astype(np.float64) if sparse.issparse(part) else np.array(part[rows], np.float64) for part in parts
    ]
    norms = np.sqrt(sum(_squares(part) for part in chosen))
    scale = 1 / np.where(norms > 0, norms, 1)
    return [
        sparse.csr_matrix(sparse.diags(scale) @ part) if sparse.issparse(part) else part * scale[:, None]
        for part in chosen
    ]


def _squares(part: Features) -> NDArray[Any]:
    """(rows,) sum of the squares of each row."""
    return np.asarray(part.multiply(part).sum(axis=1)).ravel() if sparse.issparse(part) else np.square(part).sum(axis=1)


def _dense(matrix: Any) -> NDArray[Any]:
    return matrix.toarray() if sparse.issparse(matrix) else matrix
