"""Recommend songs that nobody has played to a user, or find listeners for a song that is in no dataset."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from audiotext.data_options import PrepareOptions
from audiotext.dataset import Items, read_items, read_users
from audiotext.evaluation import unit_rows
from audiotext.kinds import items_of
from audiotext.layout import ARTISTS, SONGS, ItemSet, Layout
from audiotext.matrices import read_dense, read_ids
from audiotext.preprocess import open_dataset
from audiotext.stored import PREDICTED, PREDICTIONS, read_facts
from common import console
from common.command import run_script
from common.options import OptionalPath, UserError, require


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


def open_items(run: Path, data_dir: Path | None) -> tuple[Layout, Items]:
    """The dataset of a run.

    Raises:
        UserError: it is gone, or is not the one that the run was trained on.
    """
    facts = read_facts(run)
    started = facts["options"]
    known = {field.name: started[field.name] for field in fields(PrepareOptions) if field.name in started}
    try:
        options = PrepareOptions(**known)
        folder = data_dir or (Path(started["data_dir"]) if started.get("data_dir") else None)
    except UserError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{run / 'options.json'}: not of a training run of audiotext/train.py ({error})") from None
    whole = [getattr(options, name) for name in ("factors", "als_sweeps", "terms", "split_seed", "frames")]
    right = all(number is None or isinstance(number, int) for number in whole)
    require(right, f"{run / 'options.json'}: not of a training run of audiotext/train.py (a number is no integer)")
    _, layout = open_dataset(folder, options, ["factors"])
    items = read_items(layout, items_of(facts["kind"]))
    require(
        facts["dataset"].get("fingerprint") == items.fingerprint,
        f"{layout.folder}: is not the dataset that {run} was trained on; name that with --data-dir",
    )
    return layout, items


def for_user(run: Path, layout: Layout, items: Items, user: str, top_k: int) -> dict[str, Any]:
    """The test items ranked for a user.

    Raises:
        UserError: no such user, or the run is not finished.
    """
    users = read_users(layout, len(items.user_factors))
    require(user in users, f"--user {console.short(user)}: no such user; ids are such as {', '.join(users[:3])}")
    require((run / PREDICTIONS).is_file(), f"{run / PREDICTIONS}: not there; continue the run with --resume")
    vectors, ids = read_dense(run / PREDICTIONS), read_ids(run / PREDICTED)
    require(
        ids == items.test and vectors.shape == (len(ids), items.user_factors.shape[1]),
        f"{run / PREDICTIONS}: is not of the dataset's {len(items.test):,} test items; run audiotext/train.py anew",
    )
    number = users.index(user)
    scores = unit_rows(vectors) @ items.user_factors[number]
    plays = np.asarray(items.plays[:, [number]].todense()).ravel()
    best, names = np.argsort(-scores, kind="stable")[:top_k], Names(layout, items.kind)
    listed = [
        {**names.of(items.test, items.test_artists, row), "score": float(scores[row]), "plays": int(plays[row])}
        for row in best
    ]
    return {"user": user, "recommended": listed}


def for_new(items: Items, layout: Layout, vector: NDArray[Any], top_k: int) -> dict[str, Any]:
    """The known items nearest to a new one by the cosine of their factors, and the users with the highest scores."""
    unit = unit_rows(vector[None])[0]
    cosines, scores = unit_rows(items.factors) @ unit, items.user_factors @ unit
    nearest, best = (np.argsort(-values, kind="stable")[:top_k] for values in (cosines, scores))
    users, names = read_users(layout, len(scores)), Names(layout, items.kind)
    return {
        "factor": vector.tolist(),
        "nearest": [
            {**names.of(items.train, items.train_artists, row), "score": float(cosines[row])} for row in nearest
        ],
        "users": [{"user": users[row], "score": float(scores[row])} for row in best],
    }


class Names:
    """What the songs or artists of a dataset are called, where it says so."""

    def __init__(self, layout: Layout, kind: ItemSet) -> None:
        self._kind, self._artists = kind, layout.load_names(ARTISTS)
        self._songs = layout.load_names(SONGS) if kind == SONGS else {}

    def of(self, ids: list[str], artists: list[str] | None, row: int) -> dict[str, Any]:
        """``item`` and, as far as they are known, ``title``, ``artist_id`` and ``artist`` (the name) of a song, or the
        ``name`` of an artist. All rows have the same keys.
        """
        item = ids[row]
        if self._kind == ARTISTS:
            return {"item": item, **({"name": self._artists.get(item, ("",))[0]} if self._artists else {})}
        title, artist = self._songs.get(item, ("", ""))
        found = {"item": item, **({"title": title} if self._songs else {})}
        if artists is not None:
            found["artist_id"] = artists[row]
            artist = artist or self._artists.get(artists[row], ("",))[0]
        return {**found, **({"artist": artist} if self._songs or self._artists else {})}


def main(options: RecommendOptions) -> dict[str, Any]:
    """Rank songs that nobody has played for a user, or find the nearest known songs and the listeners of a new one."""
    assert options.run_dir is not None
    layout, items = open_items(options.run_dir, options.data_dir)
    if options.user is not None:
        found = for_user(options.run_dir, layout, items, options.user, options.top_k)
    else:
        from audiotext.new_song import item_vector  # imported late: it takes its time

        vector = item_vector(options.run_dir, options.audio, options.biography, options.terms)
        require(
            bool(np.isfinite(vector).all()), f"{options.run_dir}: the network predicts NaN; its training has failed"
        )
        found = for_new(items, layout, vector, options.top_k)
    if options.json:
        console.say_json(found)
        return found
    what = "artists" if items.kind == ARTISTS else "songs"
    if options.user is not None:
        _print(f"New {what} for {options.user}", found["recommended"])
    else:
        _print(f"Nearest known {what}", found["nearest"])
        _print("Users who may like it", found["users"])
    return found


def _print(title: str, rows: list[dict[str, Any]]) -> None:
    names = [name for name in rows[0] if name != "artist_id" or not all(row.get("artist") for row in rows)]
    cells = [[f"{row[name]:.4f}" if isinstance(row[name], float) else str(row[name]) for name in names] for row in rows]
    console.print_table(title, ["", *names], [[str(rank), *row] for rank, row in enumerate(cells, 1)])


if __name__ == "__main__":
    run_script(main, RecommendOptions)
