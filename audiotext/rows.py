"""Feature rows of items, made when they are read: nothing larger than a batch is ever made dense or read from disk."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import scipy.sparse as sp

from audiotext.audio.scaler import Scaler


class Rows(Protocol):
    """Rows of numbers that are made when they are asked for."""

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray) -> np.ndarray:
        """The rows (k,) as float32 (k, ...)."""
        ...


class Selected:
    """Some rows of an array, in an order of their own; those of a memory-mapped one are read when they are asked for.

    Args:
        array: (n, ...)
        rows: (k,) numbers of its rows.
    """

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        self.array, self.rows = array, rows
        self.shape: tuple[int, ...] = (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self.array[self.rows[rows]]


class Dense:
    """Rows of an array, which may be memory-mapped."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Rows`."""
        return np.asarray(self.array[rows], np.float32)


class Sparse:
    """Rows of a sparse matrix, such as tf-idf."""

    def __init__(self, matrix: sp.csr_matrix | sp.csr_array) -> None:
        self.matrix = matrix.tocsr()

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Rows`."""
        return self.matrix[rows].astype(np.float32).toarray()


class Patches:
    """Patches of log-CQT (n, frames, bins), usually memory-mapped, each scaled as it is read."""

    def __init__(self, patches: np.ndarray | Selected, scaler: Scaler) -> None:
        self.patches, self.scaler = patches, scaler

    def __len__(self) -> int:
        return len(self.patches)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Rows`."""
        return self.scaler.transform(self.patches[rows])


class Repeated:
    """Rows of the owners of items: the biography of each song's artist.

    Args:
        source: one row for each owner.
        owners: (n,) the owner's row of each item.
    """

    def __init__(self, source: Rows, owners: np.ndarray) -> None:
        self.source, self.owners = source, owners

    def __len__(self) -> int:
        return len(self.owners)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """See :class:`Rows`."""
        return self.source.take(self.owners[rows])


def as_rows(source: Rows | np.ndarray | sp.csr_matrix | sp.csr_array) -> Rows:
    """``source`` itself, or the rows of an array or of a sparse matrix."""
    if isinstance(source, np.ndarray):
        return Dense(source)
    if sp.issparse(source):
        return Sparse(source)
    return source  # type: ignore[return-value]
