"""Recommend songs to a user with a trained model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from common import console
from common.options import OptionalPath, UserError, require, run_script
from template.preprocess import load_dataset


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    user: str
    """Id of the user, as in plays.csv."""
    run_dir: OptionalPath = None
    """Folder of a run of train.py. Required."""
    data_dir: OptionalPath = None
    """Folder with the plays that it was trained on. Default: as for train.py."""
    top_k: int = 10
    """Songs to recommend."""

    def __post_init__(self) -> None:
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of train.py")
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")


def main(options: RecommendOptions) -> list[tuple[str, float]]:
    """Recommend songs that a user has not played yet, best first."""
    assert options.run_dir is not None
    _, data = load_dataset(options.data_dir)
    if options.user not in data.user_ids:
        raise UserError(f"--user {options.user}: not in the data; users are {data.user_ids[0]}, ...")
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from template.experiment import WEIGHTS, load
    from template.model import score_matrix

    number = data.user_ids.index(options.user)
    _, model = load(options.run_dir / WEIGHTS, data)
    scores = score_matrix(model, np.array([number]))[0]
    for users, songs in (data.train, data.test):
        scores[songs[users == number]] = -np.inf
    best = [song for song in np.argsort(-scores, kind="stable")[: options.top_k] if np.isfinite(scores[song])]
    found = [(data.song_ids[song], float(scores[song])) for song in best]
    for song, score in found:
        console.say(f"{score:8.4f}  {song}")
    return found


if __name__ == "__main__":
    run_script(main, RecommendOptions)
