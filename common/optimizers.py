"""Keras optimizers with exact gradients for embeddings.

On the TensorFlow backend the gradient of an ``Embedding`` is a list of rows (``tf.IndexedSlices``) in which an id
that occurs n times in the batch has n rows. Keras squares those rows one by one where Adam, Adagrad, RMSprop and
Nadam need the square of their sum: after three Adam steps weights are off by 0.1. Here repeated rows are summed first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import keras

from common.options import require

_CLASSES = {
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "nadam": keras.optimizers.Nadam,
}
OPTIMIZERS = tuple(_CLASSES)


class SummedRows:
    """Mix-in for a Keras optimizer: gradients given as rows become dense, with repeated rows summed.

    Dense, because these optimizers move every row at every step (their moments decay), as Keras 1 and 2 did.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Apply ``grads``; see ``keras.optimizers.Optimizer.apply``."""
        super().apply([sum_rows(g) for g in grads], trainable_variables)  # type: ignore[misc]


def sum_rows(gradient: Any) -> Any:
    """A gradient as a tensor; if it is a list of rows (TensorFlow), the rows of the same id are added up."""
    if not hasattr(gradient, "indices"):
        return gradient
    import tensorflow as tf  # only its backend has such gradients

    return tf.convert_to_tensor(gradient)


def make_optimizer(
    name: str, learning_rate: Any, mixed_float16: bool = False, clip: float | None = None
) -> keras.optimizers.Optimizer:
    """The optimizer ``name`` with Keras's defaults (Adam: beta 0.9 and 0.999, epsilon 1e-7, as in Keras 2).

    Args:
        name: one of :data:`OPTIMIZERS`.
        learning_rate: step size, or a Keras schedule of it.
        mixed_float16: wrap it with dynamic loss scaling.
        clip: largest norm of the gradient of all weights together; a longer one is shortened to it.
    """
    require(name in _CLASSES, f"--optimizer {name}: expected one of {', '.join(OPTIMIZERS)}")
    kind = _CLASSES[name]
    exact = type(f"Exact{kind.__name__}", (SummedRows, kind), {})
    optimizer = exact(learning_rate=learning_rate, global_clipnorm=clip)
    return keras.optimizers.LossScaleOptimizer(optimizer) if mixed_float16 else optimizer


class LossScale:
    """Dynamic loss scaling for float16, as ``keras.optimizers.LossScaleOptimizer`` has it; for the TensorFlow backend.

    Gradients are those of the loss times ``factor``, so that small ones are not rounded to zero. A step whose gradients
    are not finite is left out and halves the factor; 2,000 finite ones in a row double it.
    """

    START, STEPS = 2.0**15, 2000

    def __init__(self) -> None:
        import tensorflow as tf

        self._tf, self.factor, self._finite = tf, tf.Variable(self.START), tf.Variable(0)

    @property
    def state(self) -> dict[str, Any]:
        """See :class:`RowOptimizer`."""
        return {"loss_scale": self.factor, "finite_steps": self._finite}

    def apply(self, gradients: Any, update: Callable[[Any], None]) -> None:
        """Call ``update`` with ``gradients`` (nested tensors) divided by the factor, unless one is not finite."""
        tf = self._tf
        scale = tf.convert_to_tensor(self.factor)
        found = tf.nest.map_structure(lambda gradient: gradient / scale, gradients)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in tf.nest.flatten(found)])

        def apply() -> Any:
            update(found)
            return tf.constant(0)

        tf.cond(finite, apply, lambda: tf.constant(0))
        count = tf.where(finite, self._finite + 1, 0)
        full = count >= self.STEPS
        self.factor.assign(tf.where(finite, tf.where(full, 2.0 * scale, scale), tf.maximum(scale / 2.0, 1.0)))
        self._finite.assign(tf.where(full, 0, count))


class RowOptimizer(ABC):
    """Updates named weights, of tables only the rows that a step has touched; for the TensorFlow backend.

    A table's row keeps its state while it is not touched, so a step costs what its rows cost. Gradients of a row that
    occurs several times have to be summed before; it may then be given once, or each time with the same sum.

    Args:
        variables: name -> weight.
        learning_rate: step size.
        scaled: for networks in float16: whoever computes the gradients uses ``scale``.
    """

    def __init__(self, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False) -> None:
        self.variables, self.learning_rate = dict(variables), learning_rate
        self.scale = LossScale() if scaled else None

    @property
    def state(self) -> dict[str, Any]:
        """Name -> variable of everything that a checkpoint has to keep."""
        return dict(self.scale.state) if self.scale else {}

    @abstractmethod
    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """Apply ``gradients`` (n, ...) to the rows ``indices`` (n,) of a table, equal ones to equal rows."""

    def repeated_rows(
        self, name: str, indices: Any, gradients: Any, again: Any, first: Any, compiled: bool = False
    ) -> None:
        """Apply ``gradients`` (n, ...) to the rows ``indices`` (n,), whose repeated rows are summed here.

        Args:
            name: of the table.
            indices: see above.
            gradients: see above.
            again: (D,) places in ``indices`` of rows that stood there before, each once; padded with 0.
            first: (D,) the first places of those rows; padded with 0.
            compiled: XLA compiles it.
        """
        self.rows(name, indices, _summed(gradients, again, first))

    @abstractmethod
    def whole(self, name: str, gradient: Any) -> None:
        """Apply ``gradient`` to a weight all of whose rows are used in every step."""


def _summed(gradients: Any, again: Any, first: Any) -> Any:
    """``gradients`` with the sum of all places of a row in each of them; see :meth:`RowOptimizer.repeated_rows`."""
    import tensorflow as tf

    there = tf.cast(again > 0, tf.float32)[:, None]  # (0, 0) is padding, as nothing stands before place 0
    total = tf.tensor_scatter_nd_add(gradients, first[:, None], there * tf.gather(gradients, again))
    return tf.tensor_scatter_nd_update(total, again[:, None], tf.gather(total, first))


def _block(rows: int) -> int:
    """The rows that are updated at a time, a divisor of all: so few that their arrays stay in a processor's cache."""
    fitting = [size for size in range(64, 193) if rows % size == 0]
    return min(fitting, key=lambda size: abs(size - 128), default=rows)


class RowAdagrad(RowOptimizer):
    """Adagrad as the official GRU4Rec has it, with optional momentum (heavy ball).

    acc += g^2;  step = lr g / sqrt(acc + 1e-6);  without momentum w -= step, else v = m v - step, w += v

    Keras's own starts acc at 0.1 and adds epsilon outside the root, which learns differently. Here acc starts at 1e-6
    instead of 0, which is the same and is what TensorFlow's kernels for whole and for sparse updates compute.
    """

    EPSILON = 1e-6

    def __init__(
        self,
        variables: Mapping[str, keras.Variable],
        learning_rate: float,
        momentum: float = 0.0,
        scaled: bool = False,
    ) -> None:
        import tensorflow as tf

        super().__init__(variables, learning_rate, scaled)
        self._tf, self.momentum = tf, momentum
        shapes = {name: variable.shape for name, variable in self.variables.items()}
        self._sums = {name: tf.Variable(tf.fill(shape, self.EPSILON)) for name, shape in shapes.items()}
        self._moves = {name: tf.Variable(tf.zeros(shape)) for name, shape in shapes.items()} if momentum else {}

    @property
    def state(self) -> dict[str, Any]:
        """See :class:`RowOptimizer`."""
        moves = {f"move.{name}": variable for name, variable in self._moves.items()}
        return super().state | {f"sum.{name}": variable for name, variable in self._sums.items()} | moves

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`RowOptimizer`."""
        self._update(name, indices, gradients, 1.0)

    def repeated_rows(
        self, name: str, indices: Any, gradients: Any, again: Any, first: Any, compiled: bool = False
    ) -> None:
        """See :class:`RowOptimizer`."""
        tf, count = self._tf, gradients.shape[0]
        size = _block(count) if compiled else count
        if size == count:
            return super().repeated_rows(name, indices, gradients, again, first)
        gradients = _summed(gradients, again, first)
        # A row that comes again in the block of its first place gets the same values there; in a later one it is read
        # as it is by then, and must stay so.
        later = tf.cast(again // size > first // size, tf.float32)
        moves = tf.tensor_scatter_nd_update(tf.ones(count), again[:, None], 1.0 - later)[:, None]

        def block(start: Any) -> Any:
            parts = (
                tf.slice(a, [start] + [0] * (len(a.shape) - 1), [size, *a.shape[1:]])
                for a in (indices, gradients, moves)
            )
            self._update(name, *parts)
            return [start + size]

        tf.while_loop(lambda start: start < count, block, [tf.constant(0)], parallel_iterations=1)
        return None

    def _update(self, name: str, indices: Any, gradients: Any, moves: Any) -> None:
        """Update rows; ``moves`` (n, 1) is 0 for those that stay as they are, else 1."""
        tf = self._tf
        gradients = gradients * moves
        # Rows are read, changed and written back: the kernels that change them in place are twice as slow on a CPU.
        places = [self.variables[name].value, self._sums[name], *([self._moves[name]] if self.momentum else [])]
        row, total, *move = (tf.gather(place, indices) for place in places)
        total += tf.square(gradients)
        step = -self._step(gradients, total)
        if self.momentum:
            step = (self.momentum * move[0] + step) * moves
            move = [step + move[0] * (1.0 - moves)]
        for place, values in zip(places, (row + step, total, *move), strict=True):
            tf.raw_ops.ResourceScatterUpdate(resource=place.handle, indices=indices, updates=values)

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`RowOptimizer`."""
        tf, weight, sums = self._tf, self.variables[name].value, self._sums[name]
        if not self.momentum:
            rate = tf.constant(self.learning_rate, tf.float32)
            tf.raw_ops.ResourceApplyAdagrad(var=weight.handle, accum=sums.handle, lr=rate, grad=gradient)
            return
        step = self._step(gradient, sums.assign_add(tf.square(gradient)))
        weight.assign_add(self._moves[name].assign(self.momentum * self._moves[name] - step))

    def _step(self, gradient: Any, total: Any) -> Any:
        # Not rsqrt, which XLA computes number by number; the maximum, of no effect, keeps it from making one of this.
        return self.learning_rate * gradient / self._tf.maximum(self._tf.sqrt(total), 1e-30)


class RowAdam(RowOptimizer):
    """Keras's Adam: every row moves at every step, touched or not, so a step costs what the catalogue costs."""

    def __init__(self, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False) -> None:
        super().__init__(variables, learning_rate, scaled)
        self._adams = {}
        for name, variable in self.variables.items():
            self._adams[name] = keras.optimizers.Adam(learning_rate)
            self._adams[name].build([variable])

    @property
    def state(self) -> dict[str, Any]:
        """See :class:`RowOptimizer`."""
        return super().state | {
            f"{n}.{i}": v.value for n, adam in self._adams.items() for i, v in enumerate(adam.variables)
        }

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`RowOptimizer`."""
        import tensorflow as tf

        nothing = tf.zeros(self.variables[name].shape, gradients.dtype)
        self.whole(name, tf.tensor_scatter_nd_update(nothing, indices[:, None], gradients))

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`RowOptimizer`."""
        self._adams[name].apply([gradient], [self.variables[name]])
