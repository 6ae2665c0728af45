"""Recommend songs to a user of the dataset, or to a new one, with a trained DTNMR; new songs may be among them."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import dataclasses
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from common import console
from common.command import run_script
from common.options import OptionalInt, OptionalPath, require
from common.tables import open_table
from dtnmr.dataset import SONG_FEATURES, Integers, KkboxData, Rows
from dtnmr.encoding import encode_song, encode_user, make_rows, unknown_values
from dtnmr.filters import MILLISECONDS, UNKNOWN_AGE
from dtnmr.kkbox import songs_columns
from dtnmr.queries import of_users
from dtnmr.stored import WEIGHTS, load_model, read_data, titles

LONGEST_SECONDS = 86_400.0
"""A new song that lasts longer is taken for a mistake in its file."""
EXAMPLES = 3
"""Values named as examples where many are left out."""
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
    songs: Annotated[tuple[str, ...], tyro.conf.arg(metavar="ID ...", help_behavior_hint="")] = ()
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
        told = (self.age, self.gender, self.city) != (None, None, None)
        require(not (self.user and told), "--user names a user of the dataset; leave out --age, --gender and --city")
        require(
            self.user is not None or told or bool(self.songs),
            "nobody to recommend to: name --user, or tell of a new one with --age, --gender, --city and --songs",
        )
        require(self.new_songs is None or self.new_songs.is_file(), f"--new-songs {self.new_songs}: no such file")


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend songs to a user of the dataset, or to a new one, with a trained DTNMR."""
    assert options.run_dir is not None
    known = read_data(options.run_dir)
    data = with_new_songs(known, options.new_songs) if options.new_songs else known
    bits, songs, behaviours, skipped = listener(options, data)
    names = titles(options.run_dir)
    scores = scores_of(options.run_dir / WEIGHTS, known, data, songs, behaviours, bits)
    require(bool(np.isfinite(scores).all()), "the model's scores are not finite: its training has diverged")
    if np.ptp(scores) == 0:
        _tell("the model scores all songs alike, as its music network is dead: the order below means nothing")
    ranked = scores.astype(np.float64)
    ranked[songs] = -np.inf
    best = np.argsort(-ranked, kind="stable")[: min(options.top_k, int(np.isfinite(ranked).sum()))]
    found = {
        "user": options.user,
        "heard": [data.song_ids[song] for song in songs],
        "skipped": skipped,
        "recommended": [
            {
                "song": data.song_ids[song],
                "title": names.get(data.song_ids[song]),
                "artists": artists_of(data, int(song)),
                "new": bool(song >= known.songs or data.plays[song] == 0),
                "score": float(scores[song]),
            }
            for song in best
        ],
    }
    if options.json:
        console.say_json(found)
    else:
        _print(found)
    return found


def listener(options: RecommendOptions, data: KkboxData) -> tuple[Integers, Integers, Integers, list[str]]:
    """Columns of the user, songs heard and how they were come by, and the ids that are skipped.

    Raises:
        UserError: the user is not in the dataset, or nothing that is told of a new one is known.
    """
    numbers = {name: number for number, name in enumerate(data.song_ids)}
    skipped = [name for name in options.songs if name not in numbers]
    for name in skipped:
        _tell(f"--songs: {console.short(name)} is not among the songs of the run; it is skipped")
    more = np.array([numbers[name] for name in options.songs if name in numbers], np.int32)
    unknown = np.full(len(more), -1, np.int32)
    if options.user is None:
        return _new_user(options, data, more), more, unknown, skipped
    require(
        options.user in data.user_ids,
        f"--user {console.short(options.user)}: not among the {data.users:,} users of the run; tell of a new one with "
        "--age, --gender, --city and --songs",
    )
    user = data.user_ids.index(options.user)
    own = of_users(data).take(np.array([user]))
    songs, behaviours = (
        np.concatenate([rows[0], after]) for rows, after in ((own.histories, more), (own.behaviours, unknown))
    )
    return data.user_bits[user], songs, behaviours, skipped


def _new_user(options: RecommendOptions, data: KkboxData, songs: Integers) -> Integers:
    told = {"age": options.age, "gender": options.gender, "city": options.city}
    given = {name: str(value) for name, value in told.items() if value is not None}
    for name, value in given.items():
        for odd in unknown_values(data, name, value):
            other = name == "age" and UNKNOWN_AGE in data.values[name]
            then = "it counts as unknown" if other else "it is left out"
            _tell(f"--{name} {console.short(odd)}: no user of the training data has it; {then}")
    bits = encode_user(data, *(given.get(name, "\0") for name in ("age", "gender", "city")))
    require(
        len(songs) > 0 or (bool(given) and len(bits) > 0),
        "nothing that is told of the user is known to the run; give --songs that are in its dataset",
    )
    return bits


def with_new_songs(data: KkboxData, file: Path) -> KkboxData:
    """``data`` with the songs of ``file`` behind its own; values without a column are left out, which is summed up.

    Raises:
        UserError: the file is broken, a length is no positive number, or there is no new song in it.
    """
    ids, lengths, bits = list(data.song_ids), [], []
    known, new = set(ids), set[str]()
    there: list[str] = []
    again: list[str] = []
    nameless: list[str] = []  # their artists
    unknown: dict[str, list[str]] = {name: [] for name in SONG_FEATURES}  # a value for each song that has it
    with open_table(file, songs_columns(data.released), separator=",", multiline=True) as table:
        for note in table.notes:
            _tell(note)
        for row in table.frame().to_dict("records"):
            song = str(row["id"])
            if not song.strip():
                nameless.append(str(row["artist"]))
                continue
            if song in known or song in new:
                (there if song in known else again).append(song)
                continue
            new.add(song)
            fields = {name: str(row[name]) for name in SONG_FEATURES}
            for name, text in fields.items():
                unknown[name] += unknown_values(data, name, text)
            length, columns = encode_song(data, _seconds(file, song, str(row["length"])), **_of_song(fields))
            ids.append(song)
            lengths.append(length)
            bits.append(columns)
    _sum_up(f"{file}: songs skipped, as they are among those of the run already", there)
    _sum_up(f"{file}: songs skipped, as they are listed again", again)
    _sum_up(f"{file}: songs skipped, as they have no id; their artists", nameless)
    for name, values in unknown.items():
        _sum_up(f"{file}: values of {name} left out, as the run does not know them", values)
    require(bool(bits), f"{file}: holds no song that the run does not have")
    of_new = make_rows(bits)
    rows = Rows(
        np.concatenate([data.song_bits.indptr, data.song_bits.indptr[-1] + of_new.indptr[1:]]),
        np.concatenate([data.song_bits.values, of_new.values]),
    )
    return dataclasses.replace(
        data,
        song_ids=ids,
        lengths=np.concatenate([data.lengths, np.array(lengths, np.float32)]),
        song_bits=rows,
        plays=np.concatenate([data.plays, np.zeros(len(bits), np.int64)]),
    )


def _sum_up(what: str, values: list[str]) -> None:
    """Tell how many ``values`` there are, and the most frequent ones; nothing if there are none."""
    if values:
        counts = Counter(values)
        examples = ", ".join(f"{console.short(value)!r}" for value, _ in counts.most_common(EXAMPLES))
        more = f" ({len(counts):,} different ones)" if len(counts) < len(values) else ""
        _tell(f"{what}: {len(values):,}{more}, such as {examples}")


def _of_song(fields: dict[str, str]) -> dict[str, str]:
    plural = {"genre": "genres", "artist": "artists", "composer": "composers", "language": "language"}
    return {plural[name]: text for name, text in fields.items()}


def _seconds(file: Path, song: str, text: str) -> float:
    try:
        seconds = float(text) / MILLISECONDS
    except ValueError:
        seconds = math.nan
    require(
        0 < seconds <= LONGEST_SECONDS,
        f"{file}: {console.short(song)}: the length is {console.short(text)!r}; expected milliseconds, a day at most",
    )
    return seconds


def scores_of(
    weights: Path, known: KkboxData, data: KkboxData, songs: Integers, behaviours: Integers, bits: Integers
) -> np.ndarray:
    """Score of every song of ``data`` (songs,) for one listener; ``known`` is what the run was trained on."""
    model = load_model(weights, known)
    from dtnmr.scoring import Scorer

    one = (make_rows([part]) for part in (songs, behaviours, bits))
    return np.asarray(Scorer(model, data).scores(*one)[0], np.float32)


def artists_of(data: KkboxData, song: int) -> list[str]:
    """Names of the artists of a song, as far as they are among the columns."""
    start = len(data.values["genre"])
    columns = data.song_bits[song] - start
    return [data.values["artist"][column] for column in columns if 0 <= column < len(data.values["artist"])]


def _tell(line: str) -> None:
    console.notify(line)


def _print(found: dict[str, Any]) -> None:
    whom = found["user"] or "a new user"
    titled = any(one["title"] for one in found["recommended"])
    rows = [
        [
            str(rank),
            *((one["title"] or "–",) if titled else ()),
            ", ".join(one["artists"]) or "–",
            one["song"] + (" (new)" if one["new"] else ""),
            f"{one['score']:.4f}",
        ]
        for rank, one in enumerate(found["recommended"], 1)
    ]
    title = f"For {console.short(whom)} after {len(found['heard'])} songs"
    console.print_table(title, ["", *(("title",) if titled else ()), "artists", "song", "score"], rows)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
