"""A sweep of alternating least squares: this project's, the package implicit's (extra als), and the plain way.

All three solve the same systems exactly, in double precision. The plain way is a loop over the rows, each with its
normal equations as they stand in the paper. Made-up plays: items and users are chosen in proportion to power laws. The
losses after the sweeps are compared too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from measuring import measure, recording
from numpy.typing import NDArray
from scipy import sparse
from threadpoolctl import threadpool_limits

from audiotext import als
from audiotext.factors import FactorOptions, solve_plays
from common.command import run_script
from common.options import require


@dataclass(frozen=True)
class Options:
    """Options of this benchmark; the default sizes are those of HetRec 2011 Last.fm."""

    users: int = 1_892
    """Users."""
    items: int = 17_632
    """Items."""
    cells: int = 93_000
    """Pairs of user and item drawn; some are drawn twice and count once."""
    factors: tuple[int, ...] = (20, 64, 200)
    """Numbers of factors, one after the other."""
    sweeps: int = 3
    """Sweeps of each measurement."""
    repeats: int = 2
    """Measurements; the fastest counts."""
    plain: bool = True
    """Measure the plain way too, which takes long."""

    def __post_init__(self) -> None:
        sizes = (self.users, self.items, self.cells, self.sweeps, self.repeats, *self.factors)
        require(min(sizes) >= 1, "all sizes must be 1 or more")


def made_up(options: Options) -> sparse.csr_matrix:
    """Play counts (users, items)."""
    rng = np.random.default_rng(1)

    def draw(count: int) -> NDArray[np.int64]:
        shares = 1 / (np.arange(count) + 10.0)
        return rng.choice(count, options.cells, p=shares / shares.sum())

    cells = np.unique(np.stack([rng.integers(0, options.users, options.cells), draw(options.items)]), axis=1)
    counts = 1 + np.minimum(rng.pareto(1.0, cells.shape[1]), 1000).astype(int)
    return sparse.csr_matrix((counts.astype(float), (cells[0], cells[1])), shape=(options.users, options.items))


def plainly(plays: sparse.csr_matrix, options: FactorOptions, seed: int) -> tuple[als.Floats, als.Floats]:
    """Row after row, as in the paper."""
    excess = als.excess_confidence(plays, options)
    sides = excess, excess.T.tocsr()
    factors = [np.zeros((plays.shape[0], options.factors)), als.start(plays.shape[1], options, seed)]
    ridge = options.als_regularisation * np.eye(options.factors)
    with threadpool_limits(1, "blas"):
        for _ in range(options.als_sweeps):
            for side, rows in enumerate(sides):
                fixed, found = factors[1 - side], factors[side]
                gram = fixed.T @ fixed + ridge
                for row in range(rows.shape[0]):
                    cells = slice(rows.indptr[row], rows.indptr[row + 1])
                    gathered, weight = fixed[rows.indices[cells]], rows.data[cells]
                    system = gram + gathered.T @ (gathered * weight[:, None])
                    found[row] = np.linalg.solve(system, gathered.T @ (1 + weight))
    return factors[0], factors[1]


def main(options: Options) -> dict[str, float]:
    """Seconds of a sweep, and how far the losses are apart."""
    plays = made_up(options)
    print(f"{plays.shape[0]:,} users, {plays.shape[1]:,} items, {plays.nnz:,} cells")
    found: dict[str, float] = {}
    for count in options.factors:
        model = FactorOptions(factors=count, als_sweeps=options.sweeps)
        ways: dict[str, Callable[[], tuple[als.Floats, als.Floats]]] = {
            "ours": lambda model=model: solve_plays(plays, model, 1),  # type: ignore[misc]
            "implicit": lambda model=model: solve_plays(plays, replace(model, als_engine="implicit"), 1),  # type: ignore[misc]
        }
        if options.plain:
            ways["plain"] = lambda model=model: plainly(plays, model, 1)  # type: ignore[misc]
        excess = als.excess_confidence(plays, model)
        seconds, losses = {}, {}
        for name, way in ways.items():
            taken = measure(way, options.repeats)
            seconds[name], losses[name] = taken.best / options.sweeps, als.loss(excess, *taken.result, model)
        for name in ways:
            apart = abs(losses[name] / losses["ours"] - 1)
            print(
                f"{count:4d} factors, {name:9s} {seconds[name]:8.3f} s a sweep, "
                f"{seconds[name] / seconds['ours']:6.1f}x ours, loss {losses[name]:.6g} ({apart:.1e} apart)"
            )
            found |= {f"{count}, {name}: s": seconds[name], f"{count}, {name}: loss apart": apart}
            found[f"{count}, {name}: ratio"] = seconds[name] / seconds["ours"]
    return found


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
