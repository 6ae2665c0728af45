"""Preprocessing: plays of users, checked, and a small synthetic dataset in the same format."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.command import run_script
from common.interactions import Interactions, PreprocessOptions, preprocess
from common.sources import mark_synthetic

PAPER, FILE, STYLES = Path(__file__).parent.name, "plays.csv", 4


def write_sample(folder: Path, users: int = 200, songs: int = 80, seed: int = 7, taste: float = 0.8) -> None:
    """Write ``plays.csv``: 12 songs for each user, who mostly plays songs of an own one of four styles.

    Args:
        taste: share of a user's plays that are drawn within the user's style; 0 is noise.
    """
    rng = np.random.default_rng(seed)
    lines = ["user,song\n"]
    for user in range(users):
        own = np.arange(songs) % STYLES == user % STYLES
        chance = taste * own / own.sum() + (1 - taste) / songs
        lines += [f"u{user:04d},s{song:03d}\n" for song in rng.choice(songs, 12, replace=False, p=chance)]
    (folder / FILE).write_text("".join(lines), "utf-8")
    mark_synthetic(folder)


def main(options: PreprocessOptions) -> Interactions:
    """Check a file of plays and say what is in it."""
    return preprocess(PAPER, FILE, write_sample, options)


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
