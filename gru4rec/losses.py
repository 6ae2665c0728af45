"""The losses of GRU4Rec over the columns of a step: the targets of all rows, then the shared negatives.

Row i's positive is column i; r_i is its score, r_j the score of any column. Every loss is the sum over the rows that
are there, divided by the nominal batch size. Hidasi et al., arXiv 1511.06939 section 3.2 (BPR, TOP1); Hidasi and
Karatzoglou, arXiv 1706.03847 sections 3.2 to 3.4 (cross-entropy, TOP1-max, BPR-max).

All functions take
    scores (B, N): N = B + n columns; or only the first ones of these rows, against all columns,
    live (B,): 1 for rows that are there, 0 for absent ones, whose columns do not count either; more than B numbers
        tell of columns after those, too,
and return the loss of each row of the scores, of absent ones 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from gru4rec.options import LossName

SMALL = 1e-24
"""Added before a logarithm, as in the official code."""
ABSENT = -1e30
"""The score of a column that is not there."""


def columns(scores: Any, live: Any) -> Any:
    """(N,): ``live`` of the columns that it tells of, 1 for the negatives after them."""
    return ops.concatenate([live, ops.ones_like(scores[0, live.shape[0] :])])


def positives(scores: Any) -> Any:
    """(B, 1): the score of each row's own target."""
    return ops.expand_dims(ops.diagonal(scores[:, : scores.shape[0]]), 1)


def own(scores: Any) -> Any:
    """(B, N): whether a column is its row's target."""
    rows, count = scores.shape
    return ops.arange(rows)[:, None] == ops.arange(count)[None]


def _without_absent(scores: Any, live: Any) -> Any:
    """``scores``, those of absent columns so low that they have no share of a softmax."""
    return scores + ABSENT * (1.0 - columns(scores, live))


def _total(terms: Any) -> Any:
    """(B, 1): sums of the rows, as a product, which XLA computes faster than a sum of products."""
    return ops.matmul(terms, ops.ones((terms.shape[-1], 1), terms.dtype))


def cross_entropy(scores: Any, live: Any) -> Any:
    """-log softmax(r)_i over all columns. Its derivative by r_j is softmax(r)_j - [j = i]."""
    rows = live[: scores.shape[0]]

    @ops.custom_gradient
    def loss(scores: Any) -> Any:
        shifted = _without_absent(scores, live)
        weights = ops.exp(shifted - ops.max(shifted, axis=-1, keepdims=True))
        total = _total(weights)
        share = positives(weights) / total

        def gradient(upstream: Any) -> Any:
            factor = (upstream * rows)[:, None] * (share / (share + SMALL))
            return weights * (factor / total) - ops.where(own(scores), factor, 0.0)

        return -ops.log(share + SMALL)[:, 0] * rows, gradient

    return loss(scores)


def _share_of_others(scores: Any, live: Any) -> Any:
    """(B, N): s, the softmax over the columns of a row but its own."""
    shifted = ops.where(own(scores), ABSENT, _without_absent(scores, live))
    # A single row without negatives has no other column: its loss is then that of no comparison at all.
    largest = ops.maximum(ops.max(shifted, axis=-1, keepdims=True), ABSENT / 10)
    weights = ops.exp(shifted - ops.stop_gradient(largest))
    return weights * (1.0 / (_total(weights) + SMALL))


def bpr_max(scores: Any, live: Any, regularisation: float) -> Any:
    """-log sum_j s_j sigmoid(r_i - r_j) + regularisation sum_j s_j r_j^2, s the softmax over the other columns.

    With g_j = sigmoid(r_i - r_j), b = sum_j s_j g_j and p = sum_j s_j r_j^2 the derivatives are
    s_j ((b - g_j^2) / b + regularisation (r_j^2 + 2 r_j - p)) by r_j and -sum_j s_j g_j (1 - g_j) / b by r_i.
    """
    rows = live[: scores.shape[0]]

    @ops.custom_gradient
    def loss(scores: Any) -> Any:
        s, g = _share_of_others(scores, live), ops.sigmoid(positives(scores) - scores)
        b, p = _total(s * g), _total(s * ops.square(scores))

        def gradient(upstream: Any) -> Any:
            by_other = s * ((b - ops.square(g)) / (b + SMALL) + regularisation * (scores * (scores + 2.0) - p))
            by_own = (_total(s * ops.square(g)) - b) / (b + SMALL)
            return (upstream * rows)[:, None] * ops.where(own(scores), by_own, by_other)

        return (regularisation * p - ops.log(b + SMALL))[:, 0] * rows, gradient

    return loss(scores)


def top1_max(scores: Any, live: Any) -> Any:
    """sum_j s_j (sigmoid(r_j - r_i) + sigmoid(r_j^2)), s the softmax over the other columns."""
    terms = ops.sigmoid(scores - positives(scores)) + ops.sigmoid(ops.square(scores))
    return ops.sum(_share_of_others(scores, live) * terms, axis=-1) * live[: scores.shape[0]]


def bpr(scores: Any, live: Any) -> Any:
    """sum_j -log sigmoid(r_i - r_j) over all columns, the own one (which adds log 2) among them, as officially."""
    terms = ops.softplus(scores - positives(scores))
    return ops.sum(terms * columns(scores, live)[None], axis=-1) * live[: scores.shape[0]]


def top1(scores: Any, live: Any) -> Any:
    """mean_j (sigmoid(r_j - r_i) + sigmoid(r_j^2)) - sigmoid(r_i^2) / N over all columns."""
    counted = columns(scores, live)
    positive = positives(scores)
    terms = ops.sigmoid(scores - positive) + ops.sigmoid(ops.square(scores))
    total = ops.sum(terms * counted[None], axis=-1) - ops.sigmoid(ops.square(positive[:, 0]))
    return total / ops.sum(counted) * live[: scores.shape[0]]


def elu(scores: Any, alpha: float) -> Any:
    """x above 0, alpha (e^x - 1) below; alpha 0 is linear, as in the official code."""
    if alpha == 0:
        return scores

    @ops.custom_gradient
    def bent(scores: Any) -> Any:
        found = ops.where(scores > 0, scores, alpha * (ops.exp(ops.minimum(scores, 0.0)) - 1.0))
        return found, lambda upstream: upstream * ops.where(found > 0, 1.0, found + alpha)

    return bent(scores)


def make_loss(name: LossName, bpreg: float = 1.0, elu_param: float = 0.0) -> Callable[[Any, Any], Any]:
    """The loss ``name`` on raw scores: cross-entropy takes them as they are, the others after :func:`elu`."""
    if name == "cross-entropy":
        return cross_entropy
    kinds: dict[str, Callable[[Any, Any], Any]] = {
        "bpr-max": lambda scores, live: bpr_max(scores, live, bpreg),
        "top1-max": top1_max,
        "bpr": bpr,
        "top1": top1,
    }
    return lambda scores, live: kinds[name](elu(scores, elu_param), live)
