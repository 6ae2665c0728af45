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

LOGITS = 2**25
"""Most logits at once (128 MB, and as much for their gradient): more are made some positions at a time."""


def cross_entropy(hidden: Any, labels: Any, weights: Any, table: Any, bias: Any, batch_size: int | None = None) -> Any:
    """sum_t w_t (log sum_v exp(h_t . W_v + b_v) - (h_t . W_y + b_y)) over the whole vocabulary.

    Args:
        batch_size: of ``hidden`` where its shape does not tell: how many positions are scored at once depends on it.
    """
    hidden, table, bias, weights = (ops.cast(value, "float32") for value in (hidden, table, bias, weights))
    steps = hidden.shape[1]
    at_once = max(LOGITS // ((batch_size or hidden.shape[0]) * table.shape[0]), 1)
    if at_once < steps:
        at_once = max(size for size in range(1, at_once + 1) if steps % size == 0)
        return _some_positions_at_a_time(hidden, labels, weights, table, bias, at_once)
    logits = ops.matmul(hidden, ops.transpose(table)) + bias  # (batch, steps, vocabulary)
    own = ops.take_along_axis(logits, ops.expand_dims(ops.cast(labels, "int32"), -1), axis=-1)[..., 0]
    return ops.sum(weights * (ops.logsumexp(logits, axis=-1) - own))


def _some_positions_at_a_time(hidden: Any, labels: Any, weights: Any, table: Any, bias: Any, at_once: int) -> Any:
    """As :func:`cross_entropy`, with the logits of ``at_once`` positions at a time, which must divide the steps.

    A loss is the end of the computation, so its gradient can be made along with it and the logits forgotten:
    d/dlogit = w (softmax - onehot).
    """
    blocks, width = hidden.shape[1] // at_once, hidden.shape[2]

    def split(array: Any, *columns: int) -> Any:
        """(batch, steps, ...) -> (batch, blocks, at_once, ...)."""
        return ops.reshape(array, (-1, blocks, at_once, *columns))

    labels, weights = split(ops.cast(labels, "int32")), split(weights)

    @ops.custom_gradient
    def total(hidden: Any, table: Any, bias: Any) -> Any:
        states = split(hidden, width)

        def block(number: Any, so_far: Any) -> Any:
            value, d_states, d_table, d_bias = so_far
            h = ops.reshape(ops.take(states, number, axis=1), (-1, width))  # (batch at_once, width)
            label = ops.reshape(ops.take(labels, number, axis=1), (-1, 1))
            weight = ops.reshape(ops.take(weights, number, axis=1), (-1, 1))
            logits = ops.matmul(h, ops.transpose(table)) + bias  # (batch at_once, vocabulary)
            scale = ops.logsumexp(logits, axis=-1, keepdims=True)
            value = value + ops.sum(weight * (scale - ops.take_along_axis(logits, label, axis=-1)))
            here = ops.cast(ops.arange(table.shape[0])[None] == label, "float32")
            d = weight * (ops.exp(logits - scale) - here)
            d_h = ops.reshape(ops.matmul(d, table), (-1, 1, at_once, width))
            at_block = ops.reshape(ops.cast(ops.arange(blocks) == number, "float32"), (1, blocks, 1, 1))
            d_table = d_table + ops.matmul(ops.transpose(d), h)
            return value, d_states + at_block * d_h, d_table, d_bias + ops.sum(d, axis=0)

        start = (ops.sum(0.0 * bias), *(ops.zeros_like(array) for array in (states, table, bias)))
        value, d_states, d_table, d_bias = ops.fori_loop(0, blocks, block, start)

        def gradient(*upstream: Any, **named: Any) -> tuple[Any, ...]:
            factor = named.get("upstream", upstream[0])
            return factor * ops.reshape(d_states, ops.shape(hidden)), factor * d_table, factor * d_bias

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
