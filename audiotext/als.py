"""Factorisation of play counts by alternating least squares (ALS), for implicit feedback.

Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. Every cell of the matrix
counts: with r the plays of user u and item i, p = [r > 0] the preference and c the confidence in it, the factors x of
the users and y of the items minimise

    sum over all u, i of c (p - x.y)^2  +  lambda * (sum over u of m |x|^2  +  sum over i of m |y|^2)

where m = 1, or, if the regularisation is weighted, the number of items of a user (users of an item). With one side
fixed the other has a closed solution, row by row, so the loss never rises. A user or item without plays gets zeros.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from common.options import require

BLOCK = 2**17
"""Numbers in the largest array of a block of rows that are solved at once: 1 MB, which stays in the cache."""
Floats = NDArray[Any]


@dataclass(frozen=True)
class AlsOptions:
    """The model and how it is fitted."""

    factors: int = 200
    """Factors of a user and of an item."""
    als_sweeps: int = 15
    """Sweeps of alternating least squares; each solves for all users, then for all items."""
    als_confidence: Literal["linear", "log"] = "linear"
    """Confidence in r plays: linear is 1 + alpha r (Hu et al.), log is 1 + alpha log(1 + r / epsilon) (van den Oord et
    al., NIPS 2013)."""
    als_alpha: float = 40.0
    """alpha of the confidence."""
    als_epsilon: float = 1e-8
    """epsilon of the confidence; only with log."""
    als_regularisation: float = 0.1
    """lambda."""
    als_weighted: bool = False
    """Weight the regularisation of each user and item with the number of its plays' cells."""

    def __post_init__(self) -> None:
        require(self.factors >= 1, f"--factors is {self.factors}; it must be 1 or more")
        require(self.als_sweeps >= 1, f"--als-sweeps is {self.als_sweeps}; it must be 1 or more")
        positive = {"alpha": self.als_alpha, "epsilon": self.als_epsilon, "regularisation": self.als_regularisation}
        for name, value in positive.items():
            require(0 < value < np.inf, f"--als-{name} is {value:g}; it must be a positive number")


def excess_confidence(plays: sparse.csr_matrix, options: AlsOptions) -> sparse.csr_matrix:
    """c - 1 of every cell with plays: all others have confidence 1 and preference 0.

    Args:
        plays: (users, items) counts, 0 or more.

    Returns:
        (users, items) in double precision, without explicit zeros.
    """
    counts = sparse.csr_matrix(plays, dtype=np.float64, copy=True)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    require(bool(np.isfinite(counts.data).all() and (counts.data > 0).all()), "play counts must be finite, 0 or more")
    if options.als_confidence == "log":
        counts.data = np.log1p(counts.data / options.als_epsilon)
    counts.data *= options.als_alpha
    return counts


def loss(excess: sparse.csr_matrix, users: Floats, items: Floats, options: AlsOptions) -> float:
    """The exact loss over all cells; see the module.

    Args:
        excess: (users, items) as of :func:`excess_confidence`.
        users: (users, factors).
        items: (items, factors).
    """
    users, items = users.astype(np.float64), items.astype(np.float64)
    total = float(((users.T @ users) * (items.T @ items)).sum())  # of x.y squared, over all cells
    for block in _row_blocks(excess, users.shape[1]):
        row, column = block.row, block.col
        scores = np.einsum("nf,nf->n", users[row], items[column])
        total += float(((1 + block.data) * (1 - scores) ** 2 - scores**2).sum())
    for side, factors in ((excess, users), (excess.tocsc().T, items)):
        total += options.als_regularisation * float((_multiples(side, options) * (factors**2).sum(axis=1)).sum())
    return total


def _row_blocks(matrix: sparse.csr_matrix, width: int) -> Iterator[sparse.coo_matrix]:
    """The cells of ``matrix``, so many at once that ``width`` numbers for each fit in a block."""
    cells = matrix.tocoo()
    step = max(16 * BLOCK // width, 1)
    for first in range(0, cells.nnz, step):
        part = slice(first, first + step)
        yield sparse.coo_matrix((cells.data[part], (cells.row[part], cells.col[part])), shape=cells.shape)


def _multiples(rows: Any, options: AlsOptions) -> Floats:
    """m of each row; see the module."""
    return np.diff(rows.indptr).astype(np.float64) if options.als_weighted else np.ones(rows.shape[0])


def solve(excess: sparse.csr_matrix, fixed: Floats, options: AlsOptions) -> Floats:
    """The factors of the rows of ``excess`` that minimise the loss while those of its columns are ``fixed``.

    This is half a sweep, and also how a new user or item with some plays is folded in.

    Args:
        excess: (rows, columns) as of :func:`excess_confidence`; transposed, to solve for items.
        fixed: (columns, factors).

    Returns:
        (rows, factors) in the precision of ``fixed``; the arithmetic is in double precision.
    """
    # In the basis of its eigenvectors the Gram matrix of the fixed factors is diagonal, and only what the cells with
    # plays add to it remains to be dealt with row by row.
    fixed64 = fixed.astype(np.float64)
    spectrum, basis = np.linalg.eigh(fixed64.T @ fixed64)
    rotated = fixed64 @ basis
    counts = np.diff(excess.indptr)
    multiples = _multiples(excess, options)
    found = np.zeros((excess.shape[0], fixed.shape[1]), fixed.dtype)

    def solve_block(rows: NDArray[np.int64]) -> None:
        diagonal = np.maximum(spectrum, 0) + options.als_regularisation * multiples[rows, None]
        few = counts[rows[-1]] < fixed.shape[1]  # the last row of a block has the most cells
        solution = (_solve_few if few else _solve_many)(excess, rows, rotated, diagonal)
        found[rows] = solution @ basis.T

    # Small systems are solved several times faster by blocks side by side than by the threads of BLAS.
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(solve_block, _blocks(counts, fixed.shape[1])))
    return found


def _blocks(counts: NDArray[Any], width: int) -> Iterator[NDArray[np.int64]]:
    """Rows with cells, of about equal counts, so many at once as fit in a block; few and many cells never mixed."""
    order = np.argsort(counts, kind="stable")
    order = order[counts[order] > 0]
    first = 0
    while first < len(order):
        few = counts[order[first]] < width
        end = int(np.searchsorted(counts[order], width)) if few else len(order)
        heights = counts[order[first:end]]
        sizes = np.maximum(heights * width, heights**2 if few else width**2) * np.arange(1, len(heights) + 1)
        last = first + max(int(np.searchsorted(sizes, BLOCK, side="right")), 1)
        yield order[first:last]
        first = last


def _cells(excess: sparse.csr_matrix, rows: NDArray[np.int64], part: slice) -> tuple[NDArray[Any], Floats, Floats]:
    """Columns, c - 1 and c (rows, most cells) of the cells of ``rows`` that lie in ``part`` of each; all 0 beyond."""
    starts, counts = excess.indptr[rows], np.diff(excess.indptr)[rows]
    place = np.arange(part.start, min(part.stop, counts.max()))
    there = place < counts[:, None]
    at = np.where(there, starts[:, None] + place, 0)
    weight = np.where(there, excess.data[at], 0.0)
    return excess.indices[at], weight, weight + there


def _solve_few(excess: sparse.csr_matrix, rows: NDArray[np.int64], rotated: Floats, diagonal: Floats) -> Floats:
    """Fewer cells than factors: with D the diagonal, G the factors of a row's cells and W = diag(c - 1),

    (D + G'WG)^-1 G' c = D^-1 G' (1 + W G D^-1 G')^-1 c, so the system is only as large as the number of cells.
    """
    columns, weight, confidence = _cells(excess, rows, slice(0, rotated.shape[1]))
    gathered = rotated[columns]  # (rows, cells, factors)
    scaled = gathered / diagonal[:, None]
    system = weight[..., None] * (scaled @ gathered.transpose(0, 2, 1))
    places = np.arange(system.shape[1])
    system[:, places, places] += 1.0
    solution = np.linalg.solve(system, confidence[..., None])
    return (scaled * solution).sum(axis=1)


def _solve_many(excess: sparse.csr_matrix, rows: NDArray[np.int64], rotated: Floats, diagonal: Floats) -> Floats:
    """At least as many cells as factors: the normal equations, (D + G'WG) x = G' c."""
    width = rotated.shape[1]
    system = np.zeros((len(rows), width, width))
    places = np.arange(width)
    system[:, places, places] = diagonal
    target = np.zeros((len(rows), width))
    step = max(BLOCK // (len(rows) * width), 1)
    for first in range(0, int(np.diff(excess.indptr)[rows].max()), step):  # more than once for very long rows only
        columns, weight, confidence = _cells(excess, rows, slice(first, first + step))
        gathered = rotated[columns]
        system += gathered.transpose(0, 2, 1) @ (weight[..., None] * gathered)
        target += (confidence[:, None] @ gathered)[:, 0]
    return np.linalg.solve(system, target[..., None])[..., 0]


def start(items: int, options: AlsOptions, seed: int, dtype: Any = np.float64) -> Floats:
    """Item factors (items, factors) to begin with: normal, of standard deviation 0.01."""
    return (0.01 * np.random.default_rng(seed).standard_normal((items, options.factors))).astype(dtype)


def factorise(
    plays: sparse.csr_matrix,
    options: AlsOptions,
    seed: int,
    *,
    dtype: Any = np.float64,
    each_sweep: Callable[[Floats, Floats], object] | None = None,
) -> tuple[Floats, Floats]:
    """Factors of the users (users, factors) and of the items (items, factors).

    Args:
        plays: (users, items) counts.
        seed: of the factors to begin with.
        dtype: precision in which factors are kept.
        each_sweep: called with the factors of users and items after each sweep.
    """
    excess = excess_confidence(plays, options)
    transposed = excess.T.tocsr()
    items = start(plays.shape[1], options, seed, dtype)
    users = np.zeros((plays.shape[0], options.factors), dtype)
    for _ in range(options.als_sweeps):
        users = solve(excess, items, options)
        items = solve(transposed, users, options)
        if each_sweep is not None:
            each_sweep(users, items)
    return users, items
