"""Dropout whose random numbers cost little, the same on every backend, compiled or not.

Keras leaves the choice of the generator to TensorFlow. Compiled with XLA for a CPU that one takes some forty times as
long as what it is multiplied with (``benchmarks/dropout.py``). Here a number of a mask is a hash of its place and of
the seed: integer arithmetic that compilers turn into vector instructions.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

# Multipliers of the finaliser of MurmurHash3 and of Knuth's multiplicative hashing: each bit of the input moves half
# of those of the output.
_SPREAD, _FIRST, _SECOND = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35


def random_bits(seed: Any, like: Any) -> Any:
    """Uniform 32-bit numbers.

    Args:
        seed: (2,) integers, such as a ``SeedGenerator`` hands out.
        like: a tensor of the shape that is wanted.

    Returns:
        uint32, of the shape of ``like``; the same seed gives the same numbers.
    """
    seed = ops.cast(seed, "uint32")
    # Both words are mixed before they meet the places: seeds that differ by one have nothing in common.
    seed = _mixed(seed * _number([_SPREAD, _FIRST]) + ops.flip(seed))
    places = ops.reshape(ops.arange(ops.size(like), dtype="int32"), ops.shape(like))
    x = ops.bitwise_xor(ops.cast(places, "uint32"), seed[0]) * _number(_SPREAD)
    return _mixed(ops.bitwise_xor(x, ops.right_shift(x, _number(15))) + seed[1])


def drop(inputs: Any, rate: float, seed: Any) -> Any:
    """Inverted dropout: a number becomes 0 with probability ``rate``, else it is divided by 1 - rate."""
    if rate == 0:
        return inputs
    kept = random_bits(seed, inputs) >= _number(round(rate * 2**32))
    return ops.where(kept, inputs / (1.0 - rate), ops.zeros_like(inputs))


@keras.saving.register_keras_serializable("encore")
class Dropout(keras.layers.Dropout):
    """``keras.layers.Dropout`` by :func:`drop`; without ``noise_shape``."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        """The inputs, in training with some of them dropped."""
        if not training or self.rate == 0:
            return inputs
        return drop(inputs, self.rate, self.seed_generator.next())


def _mixed(x: Any) -> Any:
    """The finaliser of MurmurHash3: a permutation of the 32-bit numbers without visible structure."""
    x = ops.bitwise_xor(x, ops.right_shift(x, _number(16))) * _number(_FIRST)
    x = ops.bitwise_xor(x, ops.right_shift(x, _number(13))) * _number(_SECOND)
    return ops.bitwise_xor(x, ops.right_shift(x, _number(16)))


def _number(value: int | list[int]) -> Any:
    return ops.convert_to_tensor(value, dtype="uint32")
