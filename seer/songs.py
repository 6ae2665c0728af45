"""Songs and ratings that a user hands over in Python: MIDI files, arrays or a dataset; tables of ratings."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from common import console
from common.arrays import DAMAGE
from common.checkpoint import read_npz
from common.options import UserError, replacing, require
from common.row_counts import RowCounts
from common.sources import missing_files
from common.tables import Column, open_table
from seer.json_arrays import FEATURES
from seer.midi import midi_to_array, read_note_ons, steps_of
from seer.midi_file import song_name
from seer.preprocess import NONE, REQUIRED, Ratings, SeerData, Split, held_out, load_dataset

KEPT = "ratings_and_songs.npz"
"""What a model learnt from, beside its weights, where that is in no dataset."""
STEPS = 5000
"""Steps of a song that are kept at most, as many as the released array has."""
TITLES = {"artist_name": "", "title": "", "release": "", "year": 0}
"""What is told of songs of which nothing is known but their sound."""
USUAL_NAMES = {
    "user": ("user", "user_id", "userId", "UserId", "listener", "user_id:token"),
    "song": (
        "song", "song_id", "songId", "SongId", "track", "track_id", "item", "item_id", "ItemId", "item_id:token",
    ),
    "rating": ("rating", "Rating", "stars", "score", "rating:float"),
}  # fmt: skip
"""Column of a table of ratings -> what it is usually called."""
TIMES = "microseconds from its start, which never decrease, the last one above 0"


@dataclass(frozen=True, eq=False)
class Songs:
    """What songs sound like.

    Attributes:
        ids: of the songs, distinct.
        steps: of each song (T, 32): 16 times note and velocity, 0..127.
        times: of each song (T,): microseconds from its start to each step.
        titles: columns ``artist_name``, ``title``, ``release``, ``year`` and ``duration`` (seconds), a row per song.
    """

    ids: list[str]
    steps: list[np.ndarray]
    times: list[np.ndarray]
    titles: pd.DataFrame

    def __len__(self) -> int:
        return len(self.ids)


def songs_of(source: Any) -> Songs:
    """Songs of whatever kind.

    Args:
        source: a folder with a dataset in the released formats, or with MIDI files that are named by song id; or a
            mapping song id -> MIDI file, ``pretty_midi.PrettyMIDI``, or a pair of arrays (T, 32) and (T,) as in
            :class:`Songs`; or a table with the columns ``song`` and ``file``, and ``title`` and ``artist`` if known.

    Raises:
        UserError: there is no song, or one has no notes, is damaged, or is named twice.
    """
    if isinstance(source, Songs):
        return source
    if isinstance(source, str | Path) and Path(source).is_dir():
        folder = Path(source)
        place = next((p for p in (folder, folder / "Data") if not missing_files(p, list(REQUIRED.values()))), None)
        if place is not None:
            return _of_dataset(load_dataset(folder)[1])
        files: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            name = song_name(path.name) if path.is_file() else None
            if name is not None:
                require(name not in files, f"{folder}: two files are of the song {name}; remove one")
                files[name] = path
        require(bool(files), f"{folder}: holds neither a dataset of SeER nor MIDI files")
        return _read(files, {})
    if isinstance(source, Mapping):
        require(bool(source), "songs is empty; expected song id -> MIDI file or arrays")
        return _read({str(name): one for name, one in source.items()}, {})
    optional = {name: Column("text", required=False, empty=True) for name in ("title", "artist")}
    columns = {"song": Column("id", names=USUAL_NAMES["song"]), "file": Column("text"), **optional}
    with open_table(source, columns) as table:
        frame, beside = table.frame(), Path(source).parent if isinstance(source, str | Path) else Path()
        twice = frame.index[frame["song"].duplicated()]
        if len(twice):
            raise table.error(twice[0], f"the song {console.short(frame['song'][twice[0]])} is there already")
    require(len(frame) > 0, "songs holds no row; expected a song and its file in each")
    known = {new: frame[old].tolist() for old, new in (("title", "title"), ("artist", "artist_name")) if old in frame}
    return _read({song: beside / file for song, file in zip(frame["song"], frame["file"], strict=True)}, known)


def _of_dataset(data: SeerData) -> Songs:
    about, found = data.song_information, Songs([], [], [], data.song_information[[*TITLES, "duration"]])
    for number, name in enumerate(about["song_id"]):
        times = np.asarray(data.times[number])
        count = _steps(times)
        found.ids.append(str(name))
        found.steps.append(np.asarray(data.midi[number, :count]))
        found.times.append(times[:count])
    return found


def _read(sources: Mapping[str, Any], known: Mapping[str, Sequence[str]]) -> Songs:
    """Read every song; ``known`` are columns of titles."""
    ids, steps, times, seconds = [], [], [], []
    for name, source in tqdm(sources.items(), "reading songs", unit=" songs", delay=2, disable=console.no_bar()):
        of_song, at, end = _song(name, source)
        ids.append(_composed(name))
        steps.append(of_song[:STEPS])
        times.append(at[:STEPS])
        seconds.append(end / 1e6)
    require(len(set(ids)) == len(ids), "songs: an id is there twice, its accents written in two ways")
    titles = pd.DataFrame({name: [default] * len(ids) for name, default in TITLES.items()} | dict(known))
    return Songs(ids, steps, times, titles.assign(duration=seconds))


def _song(name: str, source: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """Steps (T, 32), their times (T,) and the end of the song, both in microseconds."""
    if isinstance(source, str | Path):
        note_ons = read_note_ons(Path(source))
        steps, times, end = *steps_of(note_ons), note_ons.end
        require(len(steps) > 0 and end > 0, f"{source}: has no note that lasts; leave the song out")
        return steps, times, end
    where = f"songs[{name!r:.60}]"
    if hasattr(source, "instruments"):
        steps, times = midi_to_array(source)
        end = float(source.get_end_time()) * 1e6
        require(len(steps) > 0 and end > 0, f"{where}: has no note that lasts; leave the song out")
        return steps, times, end
    pair = isinstance(source, tuple | list) and len(source) == 2
    require(
        pair, f"{where} is {type(source).__name__}; expected a MIDI file, or arrays (steps, {FEATURES}) and (steps,)"
    )
    steps, times = np.asarray(source[0]), np.asarray(source[1], np.float64)
    fits = steps.ndim == 2 and steps.shape == (len(steps), FEATURES) and times.shape == (len(steps),) and len(steps) > 0
    require(
        fits,
        f"{where} has shapes {steps.shape} and {times.shape}; expected (steps, {FEATURES}) and (steps,), not empty",
    )
    require(bool(((steps >= 0) & (steps < 128)).all()), f"{where}: a note or velocity lies outside 0..127")
    ascending = bool((np.diff(times, prepend=0.0) >= 0).all()) and 0 < times[-1] < np.inf
    require(ascending, f"{where}: its times are no {TIMES}")
    whole = steps.astype(np.uint8)
    return (whole if (whole == steps).all() else steps.astype(np.float32)), times, float(times[-1])


# Ratings.


@dataclass(frozen=True, eq=False)
class RatingTable:
    """The rows of a table of ratings, (rows,) each."""

    users: np.ndarray
    songs: np.ndarray
    values: np.ndarray
    counts: RowCounts
    notes: list[str]

    @property
    def name(self) -> str:
        """Of its file."""
        return next(iter(self.counts.rows))


def _steps(times: np.ndarray) -> int:
    """The steps of a song by their times, which are 0 in the padding, and at the first step."""
    return int(np.flatnonzero(times)[-1]) + 1 if times.any() else 1


def read_rating_table(source: Any, names: Mapping[str, Any], with_users: bool = True) -> RatingTable:
    """Read a table of ratings.

    Args:
        source: a file, or a pandas, Polars or Arrow table, see :mod:`common.tables`.
        names: of the columns ``user``, ``song`` and ``rating``; of those that are None see :data:`USUAL_NAMES`.
        with_users: whether it must have users; otherwise it may.

    Raises:
        UserError: a column is missing, a rating is not in 1..5, or there is no row.
    """
    given = {name: (str(names[name]),) if names.get(name) else usual for name, usual in USUAL_NAMES.items()}
    columns = {
        "user": Column("id", names=given["user"], required=with_users or bool(names.get("user"))),
        "song": Column("id", names=given["song"]),
        "rating": Column("number", 1, 5, names=given["rating"]),
    }
    counts = RowCounts()
    with open_table(source, columns) as table:
        require(table.rows > 0, f"{table.files[0].name}: holds no row; expected a rating in each")
        counts.add(table)
        frame = table.frame()
        usual = [name for name in table.named if not names.get(name) and table.named[name] != name]
        notes = [*table.notes, *(f"the column {table.named[name]} is read as {name}" for name in usual)]
    users = frame["user"] if "user" in frame else pd.Series([""] * len(frame))
    by_name = {name: column.map(_composed).to_numpy(object) for name, column in (("u", users), ("s", frame["song"]))}
    return RatingTable(by_name["u"], by_name["s"], frame["rating"].to_numpy(float), counts, notes)


def _composed(text: Any) -> str:
    """An id in Unicode's composed form: an accent may be written in two ways."""
    return unicodedata.normalize("NFC", str(text))


def ratings_of_tables(
    table: Any, validation: Any, songs: Songs, names: Mapping[str, Any], validated: bool, seed: int
) -> SeerData:
    """Ratings to learn from, and their songs.

    Args:
        table: of ratings, all of which are learnt from.
        validation: a table that chooses the epoch; None: if ``validated``, a tenth of the ratings, drawn by ``seed``.
        songs: all songs that can be recommended.
        names: of the columns, see :func:`read_rating_table`.

    Raises:
        UserError: as :func:`read_rating_table`, or none of the rated songs is known.
    """
    read = read_rating_table(table, names)
    place = pd.Index(songs.ids).get_indexer(pd.Index(read.songs))
    read.counts.leave_out(read.name, "songs whose sound is not known", int((place < 0).sum()))
    _require_known(read, place >= 0, "songs", songs.ids)
    kept = place >= 0
    numbers, user_ids = pd.factorize(read.users[kept], sort=True)
    ratings = Ratings(numbers.astype(np.int32), place[kept].astype(np.int32), read.values[kept].astype(np.float32))
    train, held = held_out(ratings, seed) if validated and validation is None else (ratings, NONE)
    data = _assembled(songs, ratings, Split(train, held, NONE), tuple(map(str, user_ids)))
    if validation is not None:
        read_too = read_rating_table(validation, names)
        held = _numbered(read_too, data)
        data = replace(data, split=Split(train, held, NONE))
        read.counts.append(read_too.counts)
    read.counts.parts = {"train": {"ratings": len(train)}, "validation": {"ratings": len(held)}}
    return replace(data, rows=read.counts.as_json(), notes=read.notes)


def tested_on(data: SeerData, table: Any, names: Mapping[str, Any]) -> SeerData:
    """The data with another table's ratings as their test part, without users and songs that are not known.

    Raises:
        UserError: as :func:`read_rating_table`, or nothing of it is known.
    """
    read = read_rating_table(table, names)
    test = _numbered(read, data)
    pairs, learnt = (part.users.astype(np.int64) * data.num_songs + part.songs for part in (test, data.split.train))
    again = int(np.isin(pairs, learnt).sum())
    if again:
        rows = console.counted(again, "row")
        told = f"of the {len(pairs):,} that are measured rate a song that the same user rated in training"
        console.notify(f"warning: {read.name}: {rows} {told}")
    read.counts.parts = {"test": {"ratings": len(test)}}
    return replace(data, split=replace(data.split, test=test), rows=read.counts.as_json(), notes=read.notes)


def _numbered(read: RatingTable, data: SeerData) -> Ratings:
    """The ratings of known users and songs by their numbers; the others are counted as left out."""
    user_ids = data.user_ids or tuple(map(str, range(data.num_users)))
    users = pd.Index(user_ids).get_indexer(pd.Index(read.users))
    songs = pd.Index(data.song_information["song_id"]).get_indexer(pd.Index(read.songs))
    for what, place, ids in (("users", users, user_ids), ("songs", songs, data.song_information["song_id"].tolist())):
        _require_known(read, place >= 0, what, ids)
    known = (users >= 0) & (songs >= 0)
    read.counts.leave_out(read.name, "users or songs that the model does not know", int((~known).sum()))
    values = read.values[known].astype(np.float32)
    return Ratings(users[known].astype(np.int32), songs[known].astype(np.int32), values)


def _require_known(read: RatingTable, known: np.ndarray, what: str, ids: Sequence[str]) -> None:
    here = (read.songs if what == "songs" else read.users)[0]
    require(
        bool(known.any()),
        f"{read.name}: none of its {what} is known: the ids known are such as {console.short(ids[0])}, here such as "
        f"{console.short(here)}",
    )


def _assembled(songs: Songs, ratings: Ratings, split: Split, user_ids: tuple[str, ...]) -> SeerData:
    """The data of songs of any length, padded to the longest."""
    longest = max(map(len, songs.steps))
    dtype = np.result_type(*{steps.dtype for steps in songs.steps})
    midi, times = np.zeros((len(songs), longest, FEATURES), dtype), np.zeros((len(songs), longest))
    for number, (steps, at) in enumerate(zip(songs.steps, songs.times, strict=True)):
        midi[number, : len(steps)], times[number, : len(at)] = steps, at
    information = pd.DataFrame({"song_id": songs.ids}).join(songs.titles.reset_index(drop=True))
    data = SeerData(
        midi, times, ratings.users, ratings.songs, ratings.values, information, "", len(user_ids),
        split=split, user_ids=user_ids,
    )  # fmt: skip
    return replace(data, fingerprint=_fingerprint(data))


def _fingerprint(data: SeerData) -> str:
    found = hashlib.sha256(json.dumps([data.user_ids, data.song_information.to_dict("list")]).encode())
    for array in (data.midi, data.times, data.users, data.songs, data.ratings):
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def write_kept(folder: Path, data: SeerData) -> None:
    """Keep ratings and songs that are in no dataset beside the weights of a model."""
    lengths = [_steps(times) for times in data.times]
    about = {
        "users": data.user_ids,
        "songs": data.song_information.to_dict("list"),
        "rows": data.rows,
        "notes": data.notes,
        "fingerprint": data.fingerprint,
    }
    parts = {
        f"{name}_{column}": array
        for name, part in vars(data.split).items()
        if name != "test"
        for column, array in vars(part).items()
    }
    with replacing(folder / KEPT) as file:
        np.savez(
            file,
            allow_pickle=False,
            about=np.array(json.dumps(about)),
            lengths=np.array(lengths),
            steps=np.concatenate([midi[:count] for midi, count in zip(data.midi, lengths, strict=True)]),
            times=np.concatenate([times[:count] for times, count in zip(data.times, lengths, strict=True)]),
            users=data.users,
            songs=data.songs,
            values=data.ratings,
            **parts,
        )


def read_kept(folder: Path) -> SeerData:
    """What :func:`write_kept` has kept.

    Raises:
        UserError: it is damaged.
    """
    file = folder / KEPT
    try:
        arrays = read_npz(file)
        about = json.loads(str(arrays["about"]))
        information = pd.DataFrame(about["songs"])
        cuts = np.cumsum(arrays["lengths"])[:-1]
        steps, times = (np.split(arrays[name], cuts) for name in ("steps", "times"))
        songs = Songs(information["song_id"].tolist(), steps, times, information.drop(columns="song_id"))
        ratings = Ratings(arrays["users"], arrays["songs"], arrays["values"])
        train, validation = (
            Ratings(*(arrays[f"{name}_{column}"] for column in ("users", "songs", "values")))
            for name in ("train", "validation")
        )
        data = _assembled(songs, ratings, Split(train, validation, NONE), tuple(about["users"]))
        data = replace(data, rows=about["rows"], notes=about["notes"])
        whole = data.fingerprint == about["fingerprint"]
    except DAMAGE as error:
        raise UserError(f"{file}: cannot be read ({error}); save the model again") from None
    require(whole, f"{file}: is not as it was written; save the model again")
    return data
