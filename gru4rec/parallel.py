"""A session-parallel step shared out between replicas, so that any number of them gives the weights of one.

The batch is that of a single process: the same sessions in the same rows at the same step. Of its B rows replica r of R
computes rows r B / R up to (r + 1) B / R, against the columns of all rows, and places their states and gradients among
zeros. One sum over the replicas then makes them those of the whole batch, which is all that an update needs; the states
come along because rows change places, and so replicas, while the batch shrinks at the end of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from common.replicas import flat, summed


def shared_out(gradients: Callable[..., Any], batch_size: int, strategy: Any, jit: bool) -> Callable[..., Any]:
    """``gradients`` of a step (see :class:`gru4rec.training.SessionTrainer`), computed by all replicas together.

    Args:
        gradients: (weights, rows, hidden, keep, offset, seeds, scale, own) -> (loss, gradients of weights and of rows,
            states). It is given the inputs and states of one replica's rows, but the columns of all rows, those of
            its own first; ``own`` picks its rows from an array of all.
        batch_size: rows of a batch, a multiple of the replicas.
        strategy: a ``tf.distribute`` strategy. Only its sum is used: the weights are plain variables of each process.
        jit: compile what a replica computes with XLA.

    Returns:
        The function of (weights, rows, hidden, keep, offset, seeds, scale) with the results of the whole batch.
    """
    count = batch_size // strategy.num_replicas_in_sync

    @tf.function(jit_compile=jit)
    def share(start: Any, weights: Any, rows: Any, hidden: Any, keep: Any, offset: Any, seeds: Any, scale: Any) -> Any:
        def turned(values: Any, by: Any = -start) -> Any:
            """The first ``batch_size`` of ``values`` turned round, so that this replica's come first."""
            return tf.concat([tf.roll(values[:batch_size], by, 0), values[batch_size:]], 0)

        def own(values: Any) -> Any:
            return turned(values)[:count]

        def placed(values: Any) -> Any:
            """``values`` of this replica's rows, or of all columns, where they stand in the whole batch."""
            missing = batch_size - count if values.shape[0] == count else 0
            return turned(tf.pad(values, [(0, missing), (0, 0)]), start)

        here = {"Wy": turned(rows["Wy"]), "By": turned(rows["By"]), "x": own(rows["x"])}
        states = [own(h) for h in hidden]
        of_columns = turned(keep), turned(offset)
        value, d_dense, d_rows, after = gradients(weights, here, states, *of_columns, seeds, scale, own)
        d_rows = {name: placed(found) for name, found in d_rows.items()}
        return flat((value, d_dense, d_rows, [placed(h) for h in after]))

    def together(*arguments: Any) -> Any:
        weights, rows, hidden = arguments[:3]
        like = (tf.zeros(()), weights, rows, hidden)
        return summed(lambda replica: share(replica * count, *arguments), like, strategy)

    return together
