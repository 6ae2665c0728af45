"""What a network over biographies and sound has to beat, and what no item vector can be expected to beat.

All but the first two predict an item vector, which is then used as a network's: see :mod:`audiotext.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from audiotext.evaluation import Scores, unit_rows
from common.metrics import Integers

PENALTIES = (100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Of ridge regression on rows of norm 1; the best one on held-out items is taken."""
ROUNDS = 100
"""Of conjugate gradients, at most."""
CELLS = 2**24
"""Similarities, or features, that are held at a time."""
Features: TypeAlias = Any
"""(n, columns), dense or a sparse CSR matrix."""
Product: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]


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
    known, targets = _unit(features), unit_rows(factors)
    wanted, k = _unit(new), min(k, known.shape[0])
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
    features: Features,
    factors: NDArray[Any],
    fitted: Integers,
    held_out: Integers,
    new: Features,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[NDArray[Any], float]:
    """Item vectors (new, f) by ridge regression from features (rows brought to norm 1) to unit factors.

    min |X W - (Y - mean Y)|^2 + penalty |W|^2 over the rows ``fitted``, with the penalty whose predictions of the rows
    ``held_out`` have the highest mean cosine. Dense features, which may be memory-mapped, are read in blocks.

    Returns:
        The vectors and the penalty.
    """
    targets, wanted = unit_rows(factors[fitted]).astype(np.float64), unit_rows(factors[held_out])
    centre = targets.mean(axis=0)
    product, right = _normal_equations(features, fitted, targets - centre)
    weights, best = np.zeros_like(right), (-np.inf, 0.0, np.empty(0))
    for penalty in penalties:  # the largest first: each solution is the next one's start
        weights = _solve(product, right, penalty, weights)
        cosine = float((unit_rows(_times(features, weights, held_out) + centre) * wanted).sum(axis=1).mean())
        best = max(best, (cosine, penalty, weights), key=lambda found: found[0])
    return _times(new, best[2], np.arange(new.shape[0])) + centre, best[1]


def _normal_equations(x: Features, rows: Integers, y: NDArray[Any]) -> tuple[Product, NDArray[Any]]:
    """W -> X'X W, and X'Y, for the rows of ``x`` brought to norm 1."""
    if sparse.issparse(x):
        known = _unit(x[rows])
        return lambda w: known.T @ (known @ w), known.T @ y
    gram, right = np.zeros((x.shape[1], x.shape[1])), np.zeros((x.shape[1], y.shape[1]))
    for part in _blocks(x, rows):
        known = _unit(x[rows[part]])
        gram += known.T @ known
        right += known.T @ y[part]
    return lambda w: gram @ w, right


def _times(x: Features, weights: NDArray[Any], rows: Integers) -> NDArray[Any]:
    """X W for some rows of ``x``, brought to norm 1."""
    if sparse.issparse(x):
        return _unit(x[rows]) @ weights
    return np.concatenate([_unit(x[rows[part]]) @ weights for part in _blocks(x, rows)])


def _blocks(x: NDArray[Any], rows: Integers) -> list[slice]:
    step = max(1, CELLS // x.shape[1])
    return [slice(first, first + step) for first in range(0, max(len(rows), 1), step)]


def _solve(product: Product, right: NDArray[Any], penalty: float, start: NDArray[Any]) -> NDArray[Any]:
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


def _unit(features: Features) -> Features:
    if not sparse.issparse(features):
        return unit_rows(np.asarray(features, np.float64))
    norms = np.sqrt(np.asarray(features.multiply(features).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.where(norms > 0, norms, 1)) @ features)
