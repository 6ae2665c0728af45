from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from common.options import UserError
from common.pipeline import Pipeline


class Batch(NamedTuple):
    rows: Any
    extra: dict[str, Any]
    count: Any


def batches(number, first=0):
    for n in range(first, first + number):
        yield Batch(np.arange(n, dtype=np.int32), {"x": np.full((n, 2), n, np.float32)}, np.int64(n))


def test_batches_keep_order_nesting_types_and_lengths_epoch_after_epoch():
    pipeline = Pipeline()
    assert not list(pipeline([]))
    for first in (0, 5):  # the first batch says nothing of the lengths of the others
        found = list(pipeline(batches(4, first)))
        for ours, theirs in zip(found, batches(4, first), strict=True):
            assert isinstance(ours, Batch) and all(isinstance(part, tf.Tensor) for part in tf.nest.flatten(ours))
            for one, other in zip(tf.nest.flatten(ours), tf.nest.flatten(theirs), strict=True):
                assert one.dtype == other.dtype and one.shape == other.shape
                np.testing.assert_array_equal(one, other)


def test_what_goes_wrong_in_making_a_batch_is_told_as_it_is():
    def broken(stop):
        yield from batches(stop)
        raise UserError("line 3: wrong")

    pipeline, seen = Pipeline(), []
    for stop in (0, 3):
        with pytest.raises(UserError, match="line 3: wrong"):
            seen.extend(pipeline(broken(stop)))
    assert len(seen) == 3 and len(list(pipeline(batches(2)))) == 2
