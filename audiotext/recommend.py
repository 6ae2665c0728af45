"""Recommend songs that nobody has played to a user, or find listeners for a song that is in no dataset."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from audiotext.kinds import items_of
from audiotext.layout import ARTISTS
from audiotext.recommender import AudioText
from common import console
from common.command import run_script
from common.options import OptionalPath, require


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    run_dir: OptionalPath = None
    """Folder of a run of audiotext/train.py. Required."""
    user: Annotated[str | None, tyro.conf.arg(metavar="ID", help_behavior_hint="")] = None
    """Rank the test items, which nobody has played in training, for this user."""
    audio: OptionalPath = None
    """Sound file (WAV, FLAC, Ogg, MP3) of a new song, for a network that hears."""
    biography: OptionalPath = None
    """Text file with the biography of a new song's artist, for a network that reads."""
    terms: Annotated[tuple[str, ...], tyro.conf.arg(metavar="TERM ...", help_behavior_hint="")] = ()
    """Tags (a-tags) or entities (a-sem) of a new song's artist."""
    data_dir: OptionalPath = None
    """Folder of the dataset that the run was trained on. Default: where it was then."""
    top_k: int = 10
    """Items, or neighbours and users, to show."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print JSON instead of tables."""

    def __post_init__(self) -> None:
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")
        require(self.run_dir is not None, "--run-dir is missing: name the folder of a run of audiotext/train.py")
        require(bool(self.run_dir and self.run_dir.is_dir()), f"--run-dir {self.run_dir}: no such folder")
        new = self.audio is not None or self.biography is not None or bool(self.terms)
        require(new or self.user is not None, "name a user (--user ID) or a new song (--audio FILE --biography FILE)")
        require(not (new and self.user is not None), "--user and a new song are two questions; ask one of them")
        for name in ("audio", "biography"):
            path = getattr(self, name)
            require(path is None or path.is_file(), f"--{name} {path}: no such file")


def main(options: RecommendOptions) -> dict[str, Any]:
    """Rank songs that nobody has played for a user, or find the nearest known songs and the listeners of a new one."""
    assert options.run_dir is not None
    model = AudioText.load(options.run_dir, options.data_dir)
    assert model.settings is not None
    what = "artists" if items_of(model.settings.model) == ARTISTS else "songs"
    found: dict[str, Any]
    if options.user is not None:
        (listed,) = model.answers([options.user], options.top_k)
        rows = [{name: row[name] for name in row if name != "rank"} for row in listed]
        found = {"user": options.user, "recommended": rows}
        tables = [(f"New {what} for {options.user}", rows)]
    else:
        vector = model.item_vector(options.audio, options.biography or "", options.terms)
        found = {"factor": vector.tolist()} | model.nearest_and_listeners(vector, options.top_k)
        tables = [(f"Nearest known {what}", found["nearest"]), ("Users who may like it", found["users"])]
    if options.json:
        console.say_json(found)
        return found
    for title, rows in tables:
        _print(title, rows)
    return found


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name != "artist_id" or not all(row.get("artist") for row in rows)]
    cells = [[f"{row[name]:.4f}" if isinstance(row[name], float) else str(row[name]) for name in names] for row in rows]
    console.print_table(title, ["", *names], [[str(rank), *row] for rank, row in enumerate(cells, 1)])


if __name__ == "__main__":
    run_script(main, RecommendOptions)
