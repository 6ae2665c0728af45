"""Large ``.npy`` files, written from front to back.

Not through a memory map: so a full disk is an error that can be told instead of a crash, and written pages do not count
as memory of this process.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def write_header(file: IO[bytes], dtype: DTypeLike, shape: tuple[int, ...]) -> None:
    """Begin an array; its numbers are to follow."""
    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})


def write_blocks(path: Path, dtype: DTypeLike, shape: tuple[int, ...], blocks: Iterable[NDArray[Any]]) -> None:
    """Write an array of ``shape`` whose parts along its first axis are ``blocks``.

    Raises:
        OSError: the disk is full.
        ValueError: the blocks do not make up that shape.
    """
    rows = 0
    with path.open("wb") as file:
        write_header(file, dtype, shape)
        for block in blocks:
            if block.shape[1:] != shape[1:]:
                raise ValueError(f"a block of shape {block.shape} in an array of shape {shape}")
            rows += len(block)
            file.write(np.ascontiguousarray(block, dtype).data)
    if rows != shape[0]:
        raise ValueError(f"{rows} rows for an array of shape {shape}")
