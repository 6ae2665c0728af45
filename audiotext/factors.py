"""Targets of all models: factors of the items that people have played, by ALS (:mod:`audiotext.als`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from audiotext import als
from common import console
from common.options import UserError, require, require_between

LIMITS: dict[str, tuple[float, float]] = {
    "factors": (1, 2**13), "als_alpha": (1e-9, 1e9), "als_epsilon": (1e-12, 1e12), "als_regularisation": (1e-9, 1e12),
}  # fmt: skip
"""Beyond them the sums of ALS leave double precision, or the memory."""


@dataclass(frozen=True)
class FactorOptions(als.AlsOptions):
    """How plays become factors. The paper's own choices besides the number of factors, 200, are not known to us."""

    als_engine: Literal["numpy", "implicit"] = "numpy"
    """numpy is this project's own; implicit is the package of that name (extra als), which gives the same factors."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(self, **LIMITS)
        require(
            self.als_engine == "numpy" or not self.als_weighted,
            "--als-weighted needs --als-engine numpy: implicit has no weighted regularisation",
        )


def factorise(
    plays: sparse.csr_matrix, options: FactorOptions | None = None, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """User factors (users, factors) and item factors (items, factors); items without plays get zeros.

    Args:
        plays: (users, items) play counts of the training items.

    Raises:
        UserError: there are no plays, the package implicit is asked for and missing, or the equations have no solution
            in double precision.
    """
    options = options or FactorOptions()
    require(plays.nnz > 0, "there are no plays of training items, so there are no factors to learn")
    try:
        users, items = solve_plays(plays, options, seed)
        solved = bool(np.isfinite(users).all() and np.isfinite(items).all())
    except np.linalg.LinAlgError:
        solved = False
    require(solved, "the factors of the plays are not finite; choose a greater --als-regularisation")
    return users.astype(np.float32), items.astype(np.float32)


def solve_plays(
    plays: sparse.csr_matrix, options: FactorOptions, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What :func:`factorise` does, in double precision."""
    return (_by_implicit if options.als_engine == "implicit" else _by_numpy)(plays, options, seed)


def fold_in(plays: sparse.csr_matrix, users: NDArray[Any], options: FactorOptions) -> NDArray[np.float32]:
    """Factors (items, factors) of items of which the plays are known, given those of the users.

    Args:
        plays: (items, users) play counts, as of ``matrix_test``.
        users: (users, factors).
    """
    excess = als.excess_confidence(plays, options)
    return als.solve(excess, users.astype(np.float64), options).astype(np.float32)


def _by_numpy(plays: sparse.csr_matrix, options: FactorOptions, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    with tqdm(
        total=options.als_sweeps, desc="factorising plays", unit=" sweeps", delay=2, disable=console.no_bar()
    ) as bar:
        return als.factorise(plays, options, seed, each_sweep=lambda users, items: bar.update())


def _by_implicit(plays: sparse.csr_matrix, options: FactorOptions, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    from threadpoolctl import threadpool_limits

    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        raise UserError('--als-engine implicit needs the package implicit: pip install -e ".[als]"') from None
    with threadpool_limits(1, "blas"):  # implicit runs threads of its own, and warns unless BLAS has one alone
        model = AlternatingLeastSquares(
            factors=options.factors,
            regularization=options.als_regularisation,
            alpha=1.0,
            dtype=np.float64,
            use_cg=False,
            iterations=options.als_sweeps,
        )
        model.item_factors = als.start(plays.shape[1], options, seed)
        model.user_factors = np.zeros((plays.shape[0], options.factors))
        # implicit takes the value of a stored cell for its confidence.
        confidence = als.excess_confidence(plays, options)
        confidence.data += 1.0
        model.fit(confidence, show_progress=False)
    return model.user_factors, model.item_factors
