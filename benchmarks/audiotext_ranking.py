"""MAP@500 of 10,000 users over all 64,477 test songs of MSD-A: seconds and memory, beside one user at a time."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from measuring import measure, peak_megabytes, recording, show
from scipy import sparse

from audiotext.evaluation import (
    factor_scores,
    figures,
    list_average_precision,
    rank_items,
    released_average_precision,
    unit_rows,
)
from common.command import run_script


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    users: int = 10_000
    """Users to evaluate (released: 10,000)."""
    items: int = 64_477
    """Test songs (MSD-A: 64,477)."""
    factors: int = 200
    """Size of the vectors (paper: 200)."""
    songs_of_user: int = 10
    """Mean number of relevant songs of a user."""
    loop_users: int = 200
    """Users of the straightforward loop, whose time is scaled up."""


def user_by_user(user_factors: np.ndarray, vectors: np.ndarray, plays: sparse.csr_matrix) -> list[float]:
    """AP@500 as the definition reads: per user a product, a full sort and a walk down the list."""
    columns, relevant = unit_rows(vectors).T, sparse.csr_matrix(plays.T)
    found = []
    for user, factor in enumerate(user_factors):
        order = np.argsort(factor @ columns)[::-1][:500]
        found.append(list_average_precision(relevant[user].indices.tolist(), order.tolist(), 500))
    return found


def main(options: Options) -> dict[str, float]:
    """Rank all songs for all users in blocks, with every figure, and for some of them one by one."""
    rng = np.random.default_rng(0)
    user_factors = rng.normal(size=(options.users, options.factors)).astype(np.float32)
    vectors = rng.normal(size=(options.items, options.factors)).astype(np.float32)
    pairs = options.users * options.songs_of_user
    songs = (options.items * rng.random(pairs) ** 3).astype(int)
    counts = np.ones(pairs, np.int32), (songs, rng.integers(0, options.users, pairs))
    plays = sparse.csr_matrix(counts, shape=(options.items, options.users))

    ranking = measure(lambda: rank_items(factor_scores(user_factors, vectors), plays))
    ranked = ranking.result
    evaluation = measure(lambda: (released_average_precision(ranked, 500), figures(ranked)))
    blocks, _ = evaluation.result
    found = {"ranking_seconds": ranking.best, "all_figures_seconds": ranking.best + evaluation.best}
    found["peak_memory_megabytes"] = peak_megabytes()

    some = min(options.loop_users, options.users)
    loop = measure(lambda: user_by_user(user_factors[:some], vectors, plays[:, :some]))
    found["loop_seconds"] = loop.best * options.users / some
    found["loop_ratio"] = found["loop_seconds"] / found["all_figures_seconds"]
    found["largest_difference"] = float(np.abs(blocks[:some] - loop.result).max())
    print(f"{options.users:,} users x {options.items:,} songs, {options.factors} factors, {os.cpu_count()} cores")
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
