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

from common.options import require


def check_rows(batch_size: int, replicas: int) -> None:
    """Refuse a batch whose rows cannot be shared out evenly.

    Raises:
        UserError: see above.
    """
    require(
        batch_size % replicas == 0,
        f"--batch-size {batch_size} cannot be shared out between {replicas} devices; take a multiple of {replicas}",
    )


def shared_out(gradients: Callable[..., Any], batch_size: int, strategy: Any, jit: bool) -> Callable[..., Any]:
    """``gradients`` of a step (see :class:`gru4rec.training.SessionTrainer`), computed by all replicas together.

    Args:
        gradients: (weights, rows, hidden, keep, offset, seeds, own) -> (loss, gradients of weights and of rows,
            states). It is given the inputs and states of one replica's rows, but the columns of all rows, those of
            its own first; ``own`` picks its rows from an array of all.
        batch_size: rows of a batch, a multiple of the replicas.
        strategy: a ``tf.distribute`` strategy. Only its sum is used: the weights are plain variables of each process.
        jit: compile what a replica computes with XLA.

    Returns:
        The function of (weights, rows, hidden, keep, offset, seeds) with the results of the whole batch.
    """
    count = batch_size // strategy.num_replicas_in_sync

    @tf.function(jit_compile=jit)
    def share(start: Any, weights: Any, rows: Any, hidden: Any, keep: Any, offset: Any, seeds: Any) -> Any:
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
        value, d_dense, d_rows, after = gradients(weights, here, states, turned(keep), turned(offset), seeds, own)
        d_rows = {name: placed(found) for name, found in d_rows.items()}
        found = tf.nest.flatten((value, d_dense, d_rows, [placed(h) for h in after]))
        return tf.concat([tf.reshape(one, [-1]) for one in found], 0)  # a single array: a sum has its latency

    def together(*arguments: Any) -> Any:
        def of_replica() -> Any:
            context = tf.distribute.get_replica_context()
            return context.all_reduce("SUM", share(context.replica_id_in_sync_group * count, *arguments))

        total = strategy.experimental_local_results(strategy.run(of_replica))[0]
        weights, rows, hidden = arguments[:3]
        like = (tf.zeros(()), weights, rows, hidden)
        shapes = [one.shape for one in tf.nest.flatten(like)]
        parts = tf.split(total, [shape.num_elements() for shape in shapes])
        return tf.nest.pack_sequence_as(like, [tf.reshape(p, s) for p, s in zip(parts, shapes, strict=True)])

    return together
