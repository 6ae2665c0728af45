"""The losses of GRU4Rec over the columns of a step: the targets of all rows, then the shared negatives.

Row i's positive is column i; r_i is its score, r_j the score of any column. Every loss is the sum over the rows that
are there, divided by the nominal batch size. Hidasi et al., arXiv 1511.06939 section 3.2 (BPR, TOP1); Hidasi and
Karatzoglou, arXiv 1706.03847 sections 3.2 to 3.4 (cross-entropy, TOP1-max, BPR-max).

All functions take
    scores (B, N): N = B + n columns; or only the first ones of these rows, against all columns,
    live (B,): 1 for rows that are there, 0 for absent ones, whose columns do not count either,
and return the loss of each row of the scores, of absent ones 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from gru4rec.options import LossName

SMALL = 1e-24
"""Added before a logarithm, as in the official code."""


def columns(scores: Any, live: Any) -> Any:
    """(N,): 1 for the columns of live rows and for all shared negatives."""
    negatives = ops.ones_like(scores[0, live.shape[0] :])
    return ops.concatenate([live, negatives])


def positives(scores: Any) -> Any:
    """(B, 1): the score of each row's own target."""
    return ops.expand_dims(ops.diagonal(scores[:, : scores.shape[0]]), 1)


def cross_entropy(scores: Any, live: Any) -> Any:
    """-log softmax(r)_i over all columns."""
    scores = ops.where(columns(scores, live)[None] > 0, scores, -1e30)
    share = ops.softmax(scores, axis=-1)
    return -ops.log(positives(share)[:, 0] + SMALL) * live[: scores.shape[0]]


def _of_others(scores: Any, live: Any) -> tuple[Any, Any]:
    """Softmax over the columns of a row but its own (B, N), and 1 for those columns."""
    rows = scores.shape[0]
    own = ops.eye(rows, scores.shape[1], dtype=scores.dtype)
    others = columns(scores, live)[None] * (1.0 - own)
    shifted = ops.where(others > 0, scores, -1e30)
    shifted = shifted - ops.stop_gradient(ops.max(shifted, axis=-1, keepdims=True))
    weights = ops.exp(shifted) * others
    # A single row without negatives has no other column: its loss is then that of no comparison at all.
    return weights / (ops.sum(weights, axis=-1, keepdims=True) + SMALL), others


def bpr_max(scores: Any, live: Any, regularisation: float) -> Any:
    """-log sum_j s_j sigmoid(r_i - r_j) + regularisation sum_j s_j r_j^2, s the softmax over the other columns."""
    softmax, _ = _of_others(scores, live)
    better = ops.sum(softmax * ops.sigmoid(positives(scores) - scores), axis=-1)
    penalty = ops.sum(softmax * ops.square(scores), axis=-1)
    return (-ops.log(better + SMALL) + regularisation * penalty) * live[: scores.shape[0]]


def top1_max(scores: Any, live: Any) -> Any:
    """sum_j s_j (sigmoid(r_j - r_i) + sigmoid(r_j^2)), s the softmax over the other columns."""
    softmax, _ = _of_others(scores, live)
    terms = ops.sigmoid(scores - positives(scores)) + ops.sigmoid(ops.square(scores))
    return ops.sum(softmax * terms, axis=-1) * live[: scores.shape[0]]


def bpr(scores: Any, live: Any) -> Any:
    """sum_j -log sigmoid(r_i - r_j) over all columns, the own one (which adds log 2) among them, as officially."""
    terms = ops.softplus(scores - positives(scores))
    return ops.sum(terms * columns(scores, live)[None], axis=-1) * live[: scores.shape[0]]


def top1(scores: Any, live: Any) -> Any:
    """mean_j (sigmoid(r_j - r_i) + sigmoid(r_j^2)) - sigmoid(r_i^2) / N over all columns."""
    counted = columns(scores, live)
    own = positives(scores)
    terms = ops.sigmoid(scores - own) + ops.sigmoid(ops.square(scores))
    total = ops.sum(terms * counted[None], axis=-1) - ops.sigmoid(ops.square(own[:, 0]))
    return total / ops.sum(counted) * live[: scores.shape[0]]


def elu(scores: Any, alpha: float) -> Any:
    """x above 0, alpha (e^x - 1) below; alpha 0 is linear, as in the official code."""
    if alpha == 0:
        return scores
    return ops.where(scores > 0, scores, alpha * (ops.exp(ops.minimum(scores, 0.0)) - 1.0))


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
