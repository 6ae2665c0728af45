"""The three kinds of file in ``dlrs-data/``: sparse matrices (.npz), dense matrices (.npy) and lists of ids (.tsv).

All are written atomically and checked when read; a damaged or foreign file is named in one line.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from common.checkpoint import check_unpacked_size
from common.options import UserError, replacing, require

CSR_KEYS = ("data", "indices", "indptr", "shape")
BLOCK = 2**24
"""Numbers of a dense matrix that are looked at at once."""
LARGEST = 1e15
"""Number beyond which the sums of squares of a row leave single precision: taken for damage."""
DAMAGED = (
    OSError, ValueError, EOFError, LookupError, TypeError, AttributeError, MemoryError, OverflowError, RuntimeError,
    SyntaxError, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What ``numpy.load`` and SciPy raise for damaged and foreign files."""


def write_csr(path: Path, matrix: sparse.spmatrix | sparse.sparray) -> None:
    """Write a sparse matrix as npz with the keys ``data``, ``indices``, ``indptr`` and ``shape``, as tartarus does."""
    rows = sparse.csr_matrix(matrix)
    with replacing(path) as file:
        np.savez_compressed(
            file, data=rows.data, indices=rows.indices, indptr=rows.indptr, shape=np.array(rows.shape, np.int64)
        )


def read_csr(path: Path) -> sparse.csr_matrix:
    """Read what :func:`write_csr` or ``scipy.sparse.save_npz`` wrote; indices are sorted, duplicates summed.

    Raises:
        UserError: the file is missing, no such matrix, damaged, or holds NaN or infinite numbers.
    """
    require(path.is_file(), f"{path}: no such file")
    try:
        check_unpacked_size(path)
        with np.load(path, allow_pickle=False) as file:
            if "format" in file.files:  # the mark of scipy.sparse.save_npz
                matrix = sparse.csr_matrix(sparse.load_npz(path))
            else:
                missing = [key for key in CSR_KEYS if key not in file.files]
                require(
                    not missing,
                    f"{path}: lacks {', '.join(missing)} among its arrays {', '.join(file.files)}; expected a sparse "
                    f"matrix with {', '.join(CSR_KEYS)}",
                )
                data, indices, indptr, shape = (file[key] for key in CSR_KEYS)
                whole = all(array.dtype.kind in "iu" for array in (indices, indptr, shape))
                require(whole, f"{path}: indices, indptr and shape must be integers")
                matrix = sparse.csr_matrix((data, indices, indptr), shape=tuple(int(n) for n in shape))
        matrix.check_format(full_check=True)
        require(matrix.dtype.kind in "fiub", f"{path}: holds {matrix.dtype}; expected real numbers")
    except UserError:
        raise
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a sparse matrix: {error}; write or download it again") from error
    matrix.sum_duplicates()
    _require_finite(matrix.data, path)
    return matrix


def write_dense(path: Path, matrix: NDArray[Any]) -> None:
    """Write a dense matrix as .npy."""
    with replacing(path) as file:
        np.save(file, matrix, allow_pickle=False)


def read_dense(path: Path) -> NDArray[Any]:
    """A dense matrix of real numbers, memory-mapped for reading.

    Raises:
        UserError: the file is missing, damaged, no matrix of real numbers, or holds NaN or infinite numbers.
    """
    require(path.is_file(), f"{path}: no such file")
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as a matrix: {error}; write or download it again") from error
    require(
        isinstance(matrix, np.ndarray) and matrix.ndim == 2 and matrix.dtype.kind in "fiu",
        f"{path}: expected a matrix of real numbers with a row for each item",
    )
    _require_finite(matrix, path)
    return matrix


def _require_finite(array: NDArray[Any], path: Path) -> None:
    step = max(BLOCK // max(array[:1].size, 1), 1)
    for first in range(0, len(array), step):
        usual = np.abs(array[first : first + step]) <= LARGEST
        if not usual.all():
            places = np.argwhere(~usual)
            where = f"row {first + places[0][0] + 1} holds" if array.ndim == 2 else "its values hold"
            raise UserError(f"{path}: {where} NaN or infinite numbers, or some beyond 1e15; make the file again")


def write_ids(path: Path, ids: Sequence[str]) -> None:
    """Write one id per line."""
    with replacing(path, "w") as file:
        file.writelines(f"{name}\n" for name in ids)


def read_ids(path: Path) -> list[str]:
    """The ids of a file with one per line, each once.

    Raises:
        UserError: the file is missing or empty, no UTF-8 text, or a line is empty or repeats an id.
    """
    require(path.is_file(), f"{path}: no such file")
    try:
        ids = path.read_bytes().decode("utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    ids = [name.removesuffix("\r") for name in ids]
    seen: dict[str, int] = {}
    for line, name in enumerate(ids, start=1):
        require(bool(name.strip()), f"{path}, line {line}: is empty; expected an id")
        require(
            seen.setdefault(name, line) == line, f"{path}, line {line}: the id {name!r} is that of line {seen[name]}"
        )
    return ids


def zero_rows(matrix: NDArray[Any] | sparse.csr_matrix) -> int:
    """How many rows are all zero: items without text, or factors of items that nobody has played."""
    if sparse.issparse(matrix):
        return int(matrix.shape[0] - (abs(matrix).sum(axis=1) > 0).sum())
    step = max(BLOCK // max(matrix[:1].size, 1), 1)
    return sum(int((~np.any(matrix[i : i + step], axis=1)).sum()) for i in range(0, len(matrix), step))
