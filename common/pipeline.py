"""Input pipeline of the trainers: batches as tensors through ``tf.data``, prefetched."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

AHEAD = 2
"""Batches that are made while one is computed."""


class Pipeline:
    """Turns batches, nested tuples and dictionaries of arrays, into tensors.

    All batches have the types and numbers of axes of the first one. The ``tf.data`` pipeline is built
    once: building takes as long as many a small epoch.
    """

    def __init__(self) -> None:
        self._batches: Iterator[Any] = iter(())
        self._error: BaseException | None = None
        self._dataset: Any = None

    def __call__(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches of an epoch, nested as they are. What goes wrong in making them is raised here."""
        iterator = iter(batches)
        first = next(iterator, None)
        if first is None:
            return
        self._batches, self._error = itertools.chain([first], iterator), None
        if self._dataset is None:
            signature = tf.nest.map_structure(_loose, first)
            self._dataset = tf.data.Dataset.from_generator(self._made, output_signature=signature).prefetch(AHEAD)
        yield from self._dataset
        if self._error is not None:
            raise self._error

    def _made(self) -> Iterator[Any]:
        try:
            yield from self._batches
        except BaseException as error:  # Ctrl-C, too; TensorFlow would make a message of it that nobody can read
            self._error = error


def _loose(array: Any) -> tf.TensorSpec:
    """The type of ``array``, its axes of any length."""
    array = np.asarray(array)
    return tf.TensorSpec((None,) * array.ndim, array.dtype)
