"""Losses over the scores of a label and of songs to tell it from.

All functions take scores (B, N) and the column of each row's label (B,), and return the loss of each row (B,).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from keras import ops

from common.options import UserError

LossName = Literal["softmax", "bpr", "full-softmax"]
Loss = Callable[[Any, Any], Any]


def of_labels(scores: Any, labels: Any) -> Any:
    """(B, 1): the score of each row's label."""
    return ops.take_along_axis(scores, ops.expand_dims(labels, 1), axis=1)


def softmax(scores: Any, labels: Any) -> Any:
    """-log softmax(scores)_label (released)."""
    return ops.logsumexp(scores, axis=-1) - of_labels(scores, labels)[:, 0]


def bpr(scores: Any, labels: Any) -> Any:
    """Mean of -log sigmoid(score_label - score_j) over the other columns j (Rendle et al., UAI 2009)."""
    terms = ops.softplus(scores - of_labels(scores, labels))
    others = 1.0 - ops.one_hot(labels, scores.shape[1], dtype=scores.dtype)
    return ops.sum(terms * others, axis=-1) / (scores.shape[1] - 1)


def make_loss(name: LossName) -> Loss:
    """The loss ``name``; ``full-softmax`` is ``softmax`` with all songs as columns.

    Raises:
        UserError: there is none of that name.
    """
    losses: dict[str, Loss] = {"softmax": softmax, "bpr": bpr, "full-softmax": softmax}
    if name not in losses:
        raise UserError(f"--loss {name}: expected one of {', '.join(losses)}")
    return losses[name]
