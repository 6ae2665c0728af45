"""Sessions from disk in a drawn order, without holding them all in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

BLOCK = 4096
"""Sessions read at once, one after the other in the file; the order of blocks and of the sessions in one is drawn."""


def session_batches(
    arrays: tuple[np.ndarray, ...], batch_size: int, seed: int, epoch: int
) -> Iterator[tuple[np.ndarray, ...]]:
    """The batches of an epoch, many at a time: (batches, batch_size, T) of each array (sessions, T).

    The order follows from (seed, epoch). The last batch of a block is filled up with zeros.
    """
    rng = np.random.default_rng((seed, epoch, 1))
    size = len(arrays[0])
    for start in rng.permutation(np.arange(0, size, BLOCK)):
        count = min(BLOCK, size - start)
        order = rng.permutation(count)
        full = -(-count // batch_size) * batch_size
        found = []
        for array in arrays:
            block = np.zeros((full, array.shape[1]), array.dtype)
            block[:count] = np.asarray(array[start : start + count])[order]
            found.append(block.reshape(-1, batch_size, array.shape[1]))
        yield tuple(found)
