"""Recommend songs to a user with a trained model."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from common import console
from common.command import run_script
from common.options import OptionalPath, require
from template.recommender import Template


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    user: str
    """Id of the user, as in plays.csv."""
    run_dir: OptionalPath = None
    """Folder of a run of train.py. Required."""
    top_k: int = 10
    """Songs to recommend."""

    def __post_init__(self) -> None:
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of train.py")
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")


def main(options: RecommendOptions) -> pd.DataFrame:
    """Recommend songs that a user has not played yet, best first."""
    assert options.run_dir is not None
    found = Template.load(options.run_dir).recommend(options.user, options.top_k)
    for song, score in zip(found["item"], found["score"], strict=True):
        console.say(f"{score:8.4f}  {song}")
    return found


if __name__ == "__main__":
    run_script(main, RecommendOptions)
