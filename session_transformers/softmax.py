"""The training losses over a vocabulary of tracks: cross-entropy over all of it, or over a sample.

Both take the decoder's states instead of logits, so that the logits of 2,560 targets over 104,000 tracks (1 GB, and
as much again for their gradient) never exist at once.

    hidden (batch, steps, width), labels (batch, steps), weights (batch, steps): 0 where there is nothing to predict,
    table (vocabulary, width) and bias (vocabulary,) of the output layer; the result is sum(weights * loss).

Everything here is computed in float32, whatever the precision of the model.
"""

from __future__ import annotations

from typing import Any

from keras import ops

LARGE = 20_000
"""From this vocabulary on the logits are made position by position."""


def cross_entropy(hidden: Any, labels: Any, weights: Any, table: Any, bias: Any) -> Any:
    """sum_t w_t (log sum_v exp(h_t . W_v + b_v) - (h_t . W_y + b_y)) over the whole vocabulary."""
    hidden, table, bias, weights = (ops.cast(value, "float32") for value in (hidden, table, bias, weights))
    if table.shape[0] >= LARGE:
        return _position_by_position(hidden, labels, weights, table, bias)
    logits = ops.matmul(hidden, ops.transpose(table)) + bias  # (batch, steps, vocabulary)
    own = ops.take_along_axis(logits, ops.expand_dims(ops.cast(labels, "int32"), -1), axis=-1)[..., 0]
    return ops.sum(weights * (ops.logsumexp(logits, axis=-1) - own))


def _position_by_position(hidden: Any, labels: Any, weights: Any, table: Any, bias: Any) -> Any:
    """As :func:`cross_entropy`, with the logits of one position at a time.

    A loss is the end of the computation, so its gradient can be made along with it and the logits forgotten:
    d/dlogit = w (softmax - onehot).
    """
    steps = hidden.shape[1]

    @ops.custom_gradient
    def total(hidden: Any, table: Any, bias: Any) -> Any:
        def position(t: Any, so_far: Any) -> Any:
            value, d_hidden, d_table, d_bias = so_far
            h = ops.take(hidden, t, axis=1)  # (batch, width)
            label = ops.take(ops.cast(labels, "int32"), t, axis=1)
            weight = ops.take(weights, t, axis=1)
            logits = ops.matmul(h, ops.transpose(table)) + bias  # (batch, vocabulary)
            scale = ops.logsumexp(logits, axis=-1, keepdims=True)
            own = ops.take_along_axis(logits, label[:, None], axis=-1)
            value = value + ops.sum(weight[:, None] * (scale - own))
            here = ops.cast(ops.arange(table.shape[0])[None] == label[:, None], "float32")
            d = weight[:, None] * (ops.exp(logits - scale) - here)
            d_h = ops.matmul(d, table)
            at_t = ops.cast(ops.arange(steps) == t, "float32")[None, :, None]
            return (
                value,
                d_hidden + at_t * d_h[:, None],
                d_table + ops.matmul(ops.transpose(d), h),
                d_bias + ops.sum(d, axis=0),
            )

        start = (ops.sum(0.0 * bias), *(ops.zeros_like(value) for value in (hidden, table, bias)))
        value, *gradients = ops.fori_loop(0, steps, position, start)

        def gradient(*upstream: Any, **named: Any) -> tuple[Any, ...]:
            factor = upstream[0] if upstream else named["upstream"]
            return tuple(factor * found for found in gradients)

        return value, gradient

    return total(hidden, table, bias)


def sampled_cross_entropy(
    hidden: Any, labels: Any, weights: Any, table: Any, bias: Any, negatives: Any, log_expected: Any
) -> Any:
    """Cross-entropy over each target and ``negatives`` that all targets of the batch share.

    exp(h . W_y + b_y) is exact, and the sum over all other tracks is estimated by the negatives, each divided by how
    often it was to be expected: an unbiased estimate, so that the loss tends to :func:`cross_entropy` as negatives are
    added. (The usual correction is applied to the target as well, which it does not.) A negative that is the target
    does not count.

    Args:
        negatives: (n,) tracks.
        log_expected: (vocabulary,) logarithm of the expected number of draws of each track among ``negatives``.
    """
    labels = ops.cast(labels, "int32")
    hidden, table, bias, weights = (ops.cast(value, "float32") for value in (hidden, table, bias, weights))
    own = ops.sum(hidden * ops.take(table, labels, axis=0), axis=-1) + ops.take(bias, labels)  # (batch, steps)
    offset = ops.take(bias - log_expected, negatives)
    others = ops.matmul(hidden, ops.transpose(ops.take(table, negatives, axis=0))) + offset  # (batch, steps, n)
    others = ops.where(labels[..., None] == negatives, -1e30, others)
    scale = ops.logsumexp(ops.concatenate([own[..., None], others], axis=-1), axis=-1)
    return ops.sum(weights * (scale - own))
