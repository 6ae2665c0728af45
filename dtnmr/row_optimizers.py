"""Optimizers that touch only the rows of a kernel that a step has used; for the TensorFlow backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import keras

from common.optimizers import RowAdagrad, RowAdam, RowOptimizer
from common.options import UserError

OptimizerName = Literal["sgd", "adam", "lazy-adam", "adagrad"]


class RowSGD(RowOptimizer):
    """w -= lr g: rows that are not touched have no gradient, so this is plain SGD, exactly."""

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        _subtract(self.variables[name], indices, self.learning_rate * gradients)

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        self.variables[name].value.assign_sub(self.learning_rate * gradient)


class LazyRowAdam(RowOptimizer):
    """Adam whose moments of a row stand still while the row is not touched: not Adam, but as cheap as the batch.

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + e), with
    Keras's b1 = 0.9, b2 = 0.999, e = 1e-7 and t the steps of all rows. Weights that every step uses get Adam itself.
    """

    BETAS, EPSILON = (0.9, 0.999), 1e-7

    def __init__(self, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False) -> None:
        import tensorflow as tf

        super().__init__(variables, learning_rate, scaled)
        self._tf = tf
        self._means, self._squares = (
            {name: tf.Variable(tf.zeros(variable.shape)) for name, variable in self.variables.items()} for _ in range(2)
        )
        self._steps = {name: tf.Variable(0.0) for name in self.variables}

    @property
    def state(self) -> dict[str, Any]:
        """See :class:`~common.optimizers.RowOptimizer`."""
        kinds = {"mean": self._means, "square": self._squares, "steps": self._steps}
        return super().state | {f"{kind}.{n}": v for kind, variables in kinds.items() for n, v in variables.items()}

    def rows(self, name: str, indices: Any, gradients: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        tf = self._tf
        mean, square = tf.gather(self._means[name], indices), tf.gather(self._squares[name], indices)
        mean, square, step = self._step(name, gradients, mean, square)
        for place, values in ((self._means[name], mean), (self._squares[name], square)):
            tf.raw_ops.ResourceScatterUpdate(resource=place.handle, indices=indices, updates=values)
        _subtract(self.variables[name], indices, step)

    def whole(self, name: str, gradient: Any) -> None:
        """See :class:`~common.optimizers.RowOptimizer`."""
        mean, square, step = self._step(name, gradient, self._means[name], self._squares[name])
        self._means[name].assign(mean)
        self._squares[name].assign(square)
        self.variables[name].value.assign_sub(step)

    def _step(self, name: str, gradient: Any, mean: Any, square: Any) -> tuple[Any, Any, Any]:
        tf, (b1, b2) = self._tf, self.BETAS
        t = self._steps[name].assign_add(1.0)
        mean, square = b1 * mean + (1.0 - b1) * gradient, b2 * square + (1.0 - b2) * tf.square(gradient)
        rate = self.learning_rate * tf.sqrt(1.0 - tf.pow(b2, t)) / (1.0 - tf.pow(b1, t))
        return mean, square, rate * mean / (tf.sqrt(square) + self.EPSILON)


def _subtract(variable: keras.Variable, indices: Any, values: Any) -> None:
    """Subtract ``values`` from the distinct rows ``indices`` in place."""
    import tensorflow as tf

    # Read, change, write back: the kernel that subtracts in place is twice as slow on a CPU.
    rows = tf.gather(variable.value, indices) - values
    tf.raw_ops.ResourceScatterUpdate(resource=variable.value.handle, indices=indices, updates=rows)


def make_optimizer(
    name: OptimizerName, variables: Mapping[str, keras.Variable], learning_rate: float, scaled: bool = False
) -> RowOptimizer:
    """The optimizer ``name``: ``adam`` is Keras's, exactly, but writes every row of a kernel in every step.

    ``scaled``: of networks in float16, see :class:`common.optimizers.RowOptimizer`.

    Raises:
        UserError: there is none of that name.
    """
    kinds: dict[str, type[RowOptimizer]] = {
        "sgd": RowSGD,
        "adam": RowAdam,
        "lazy-adam": LazyRowAdam,
        "adagrad": RowAdagrad,
    }
    if name not in kinds:
        raise UserError(f"--optimizer {name}: expected one of {', '.join(kinds)}")
    return kinds[name](variables, learning_rate, scaled=scaled)
