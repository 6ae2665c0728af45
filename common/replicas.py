"""Gradient clipping and overflow checks across replicas, which Keras does for each replica alone."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from common.options import UserError, require


def spread(strategy: Any, parts: tuple[Any, ...]) -> Any:
    """The parts of a batch, one for each replica of ``strategy``, as the values that ``strategy.run`` hands out."""
    if strategy.num_replicas_in_sync == 1:
        return parts
    choose = strategy.experimental_distribute_values_from_function
    flat = [tf.nest.flatten(part) for part in parts]
    values = [choose(lambda c, i=i: flat[c.replica_id_in_sync_group][i]) for i in range(len(flat[0]))]
    return (tf.nest.pack_sequence_as(parts[0], values),)


def check_rows(batch_size: int, replicas: int) -> None:
    """Refuse a batch whose rows cannot be shared out evenly.

    Raises:
        UserError: see above.
    """
    require(
        batch_size % replicas == 0,
        f"--batch-size {batch_size} cannot be shared out between {replicas} devices; take a multiple of {replicas}",
    )


def flat(nested: Any) -> Any:
    """Tensors of one type as a single array: a sum over replicas has its latency, whatever its size."""
    return tf.concat([tf.reshape(one, [-1]) for one in tf.nest.flatten(nested)], 0)


def summed(share: Callable[[Any], Any], like: Any, strategy: Any) -> Any:
    """Sums over the replicas of what each of them computes.

    Args:
        share: number of the replica -> its share, made one array by :func:`flat`.
        like: nested tensors of the shapes that went into that array.
        strategy: a ``tf.distribute`` strategy.

    Returns:
        The sums, nested as ``like``.
    """

    def of_replica() -> Any:
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", share(context.replica_id_in_sync_group))

    total = strategy.experimental_local_results(strategy.run(of_replica))[0]
    shapes = [one.shape for one in tf.nest.flatten(like)]
    parts = tf.split(total, [shape.num_elements() for shape in shapes])
    return tf.nest.pack_sequence_as(like, [tf.reshape(p, s) for p, s in zip(parts, shapes, strict=True)])


@contextlib.contextmanager
def said_if_a_worker_is_gone(strategy: Any) -> Iterator[None]:
    """Turn what TensorFlow raises when another worker of the cluster has ended into a line that says what to do."""
    try:
        yield
    except tf.errors.OpError:
        if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            raise
        again = "start all workers again as before, with --resume"
        raise UserError(f"another worker is gone; whole epochs are kept: {again}") from None


class TogetherBeforeUpdate:
    """What has to be done to the gradients of each replica before the optimizer adds them up.

    Keras shortens long gradients, and looks for an overflow in float16, before it adds up those of the replicas; for
    the overflow it looks at the first replica only. The sum of shortened gradients is not the shortened sum, and an
    overflow on another replica would go into the weights. Clipping is therefore taken from the optimizer.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.optimizer = optimizer
        self.scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        inner = optimizer.inner_optimizer if self.scales else optimizer
        self.longest, inner.global_clipnorm = inner.global_clipnorm, None

    def __call__(self, gradients: list[Any]) -> list[Any]:
        """Gradients of this replica, to be added to those of the others as they are."""
        if self.scales:
            gradients = _overflow_together(gradients)
        if self.longest:
            gradients = _clipped_together(gradients, self.optimizer.scale_loss(tf.constant(self.longest)))
        return gradients


def _overflow_together(gradients: list[Any]) -> list[Any]:
    """Gradients of one replica, all NaN if those of any replica are not finite."""
    broken = tf.reduce_any([tf.reduce_any(~tf.math.is_finite(gradient)) for gradient in gradients])
    anywhere = _sum(tf.cast(broken, tf.float32)) > 0
    return [tf.where(anywhere, tf.constant(math.nan, gradient.dtype), gradient) for gradient in gradients]


def _clipped_together(gradients: list[Any], longest: Any) -> list[Any]:
    """Gradients of one replica, shortened so that the norm of their sum over the replicas is at most ``longest``."""
    norm = tf.linalg.global_norm([_sum(gradient) for gradient in gradients])
    return [gradient * (longest / tf.maximum(norm, longest)) for gradient in gradients]


def _sum(value: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)
