"""Recommend songs to a user of the dataset, or to a new one, with a trained DTNMR; new songs may be among them."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import tyro

from common import console
from common.command import run_script
from common.options import OptionalInt, OptionalPath, require
from dtnmr.cold_start import Listener
from dtnmr.recommender import DTNMR, Answer

Text_ = Annotated[str | None, tyro.conf.arg(metavar="TEXT", help_behavior_hint="")]


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    run_dir: OptionalPath = None
    """Folder of a run of dtnmr/train.py. Required."""
    user: Text_ = None
    """msno of a user of the dataset, with the training playlist. Either this or --age, --gender, --city."""
    age: OptionalInt = None
    """Age in years of a new user."""
    gender: Text_ = None
    """Gender of a new user: female or male, as in members.csv."""
    city: Text_ = None
    """City of a new user: its number in members.csv."""
    history: Annotated[
        tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="", aliases=("--songs",))
    ] = ()
    """Ids of songs that the user has heard, the oldest first; after the training playlist of a user of the dataset."""
    new_songs: OptionalPath = None
    """File with the columns of songs.csv: songs to rank with those of the dataset, by their metadata."""
    top_k: int = 10
    """Songs to recommend."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of a table."""

    def __post_init__(self) -> None:
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of dtnmr/train.py")
        require(bool(self.run_dir and self.run_dir.is_dir()), f"--run-dir {self.run_dir}: no such folder")
        require(self.new_songs is None or self.new_songs.is_file(), f"--new-songs {self.new_songs}: no such file")
        self.listener()

    def listener(self) -> Listener:
        """Whom to recommend to."""
        age = None if self.age is None else str(self.age)
        return Listener(self.user, age, self.gender, self.city, self.history)


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend songs to a user of the dataset, or to a new one, with a trained DTNMR."""
    assert options.run_dir is not None
    (answer,) = DTNMR.load(options.run_dir).answers([options.listener()], options.top_k, options.new_songs)
    if options.json:
        console.say_json(asdict(answer))
    else:
        _print(answer)
    return asdict(answer)


def _print(answer: Answer) -> None:
    titled = any(one["title"] for one in answer.recommended)
    rows = [
        [
            str(rank),
            *((one["title"] or "–",) if titled else ()),
            ", ".join(one["artists"]) or "–",
            one["song"] + (" (new)" if one["new"] else ""),
            f"{one['score']:.4f}",
        ]
        for rank, one in enumerate(answer.recommended, 1)
    ]
    title = f"For {console.short(answer.user or 'a new user')} after {len(answer.heard)} songs"
    console.print_table(title, ["", *(("title",) if titled else ()), "artists", "song", "score"], rows)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
