"""A small synthetic dataset in the raw format: users who mostly play songs of their own of four styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.sources import mark_synthetic

STYLES = 4


def write_sample(folder: Path, users: int = 200, songs: int = 80, seed: int = 7, taste: float = 0.8) -> None:
    """Write ``plays.csv``: 12 songs for each user.

    Args:
        taste: share of a user's plays that are drawn within the user's style; 0 is noise.
    """
    rng = np.random.default_rng(seed)
    lines = ["user,song\n"]
    for user in range(users):
        own = np.arange(songs) % STYLES == user % STYLES
        chance = taste * own / own.sum() + (1 - taste) / songs
        lines += [f"u{user:04d},s{song:03d}\n" for song in rng.choice(songs, 12, replace=False, p=chance)]
    (folder / "plays.csv").write_text("".join(lines), "utf-8")
    mark_synthetic(folder)
