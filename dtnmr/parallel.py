"""A training step shared out between replicas, so that any number of them gives the weights of one.

The batch is that of a single process. Of its B examples replica r of R computes those from r B / R up to (r + 1) B / R:
what was heard, by far the most work of ``dot`` and ``mlp``, their candidates and their scores. The vectors of the
batch's songs are computed by all. One sum over the replicas makes the gradients those of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from common.replicas import flat, summed

OF_EXAMPLES = ("history", "behaviours", "live", "candidates")
"""Inputs that have a row for each example."""


def shared_out(gradients: Callable[..., Any], units: int, strategy: Any, jit: bool) -> Callable[..., Any]:
    """``gradients`` of a step (see :class:`dtnmr.training.Trainer`), computed by all replicas together.

    Args:
        gradients: (weights, of_users, of_songs, inputs, live, whole, seeds, scale, own) -> (loss, hits, units alive,
            gradients of the first three). It is given one replica's examples; ``own`` picks them along an axis of all.
        units: of the songs' vectors, E.
        strategy: a ``tf.distribute`` strategy. Only its sum is used: the weights are plain variables of each process.
        jit: compile what a replica computes with XLA.

    Returns:
        The function of (weights, of_users, of_songs, inputs, live, whole, seeds, scale) with the results of the whole
        batch, whose rows are a multiple of the replicas.
    """

    @tf.function(jit_compile=jit)
    def share(
        replica: Any,
        weights: Any,
        of_users: Any,
        of_songs: Any,
        inputs: Any,
        live: Any,
        whole: Any,
        seeds: Any,
        scale: Any,
    ) -> Any:
        count = live.shape[0] // strategy.num_replicas_in_sync
        start = replica * count

        def own(values: Any, axis: int = 0) -> Any:
            return tf.gather(values, start + tf.range(count), axis=axis)

        here = inputs._replace(**{name: own(getattr(inputs, name)) for name in OF_EXAMPLES})
        of_inputs = (own(of_users), of_songs, here, own(live), whole, seeds, scale)
        value, hits, alive, found = gradients(weights, *of_inputs, own)
        d_dense, d_users, d_songs = found
        d_users = tf.roll(tf.pad(d_users, [(0, live.shape[0] - count), (0, 0)]), start, 0)  # where the examples stand
        return flat((value, hits, alive, (d_dense, d_users, d_songs)))

    def together(weights: Any, of_users: Any, of_songs: Any, *rest: Any) -> Any:
        like = (tf.zeros(()), tf.zeros(()), tf.zeros(units), (weights, of_users, of_songs))
        return summed(lambda replica: share(replica, weights, of_users, of_songs, *rest), like, strategy)

    return together
