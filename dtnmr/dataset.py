"""Prepared data of a KKBOX-format dataset: arrays in memory and on the disk, and users with what they have heard."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import DAMAGE, META, Array, ArraySet, open_set, seal
from common.folders import replacing_folder
from common.options import UserError, require, write_json
from common.row_counts import RowCounts
from common.rundir import read_run
from common.vocabulary import digest, trained_vocabulary

Integers = NDArray[np.int32]
SONG_FEATURES = ("genre", "artist", "composer", "language")
"""Multi-hot blocks of a song's encoding, in this order, after its first column, the scaled length."""
USER_FEATURES = ("age", "gender", "city")
"""One-hot blocks of a user's encoding, before the block of the songs heard."""
ROWS, PLAYS, USED, BLANKS = "rows", "plays", "used", "blank lines"
"""What is counted of each file besides the rows left out."""
FILES = {
    "train": "train.csv", "test": "test.csv", "songs": "songs.csv", "members": "members.csv",
    "song_extra_info": "song_extra_info.csv",
}  # fmt: skip
TABLES = {
    "train": "plays", "test": "later plays", "songs": "songs", "members": "members", "song_extra_info": "songs",
}  # fmt: skip
"""Part of the data -> the file or the table that it comes from."""


@dataclass(frozen=True)
class Rows:
    """Lists of integers of different lengths, one behind the other (the index arrays of a CSR matrix).

    Attributes:
        indptr: (n + 1,) int64; list i is ``values[indptr[i] : indptr[i + 1]]``.
        values: (total,) int32.
    """

    indptr: NDArray[np.int64]
    values: Integers

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, row: int) -> Integers:
        return self.values[self.indptr[row] : self.indptr[row + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(n,) lengths of the lists."""
        return np.diff(self.indptr)


@dataclass(frozen=True)
class Points:
    """Examples: predict the song at ``positions`` of a playlist from what stands before it, (n,) int32 each.

    ``positions`` are offsets within the playlist; the history of an example is the playlist up to (without) it.
    """

    playlists: Integers
    positions: Integers

    def __len__(self) -> int:
        return len(self.playlists)


@dataclass(frozen=True)
class KkboxData:
    """Songs, users, playlists and examples as arrays; songs and users are numbered from 0.

    Attributes:
        song_ids: number -> song_id of songs.csv.
        user_ids: number -> msno of members.csv.
        lengths: (songs,) float32, length / ``longest_length``, rounded to 4 places: the first column of a song's
            encoding.
        song_bits: songs -> sorted distinct columns of the multi-hot blocks :data:`SONG_FEATURES`, numbered from 0
            across the blocks (the length is not among them).
        user_bits: users -> columns of the one-hot blocks :data:`USER_FEATURES`, numbered from 0 across the blocks.
        values: feature -> its sorted values; column = start of the block + place in the list. Keys:
            SONG_FEATURES + USER_FEATURES + ("behaviour",).
        songs_played: playlists -> songs in the order they were played.
        behaviours: playlists -> how each song was come by (number in ``values["behaviour"]`` of its
            source_system_tab; -1 for none of them, which is encoded as zeros); parallel to ``songs_played``.
        owners: (playlists,) int32: the user of each playlist. Corrected: playlist i is that of user i, plays of the
            training file and then of the test file. Released: playlists of the training file, then, on their own,
            those of the test file.
        trained: (playlists,) int32: how many songs at the start of a playlist are of the training file.
        train, validation, test: examples. Those of ``train`` and ``validation`` lie within the training part.
        plays: (songs,) int64 plays in the training playlists (validation included): the popularity.
        longest_length: seconds of the longest song played in training (released: of the longest one that is popular
            and short enough, whatever its names).
        released: whether everything was made as the released code does.
        fingerprint: SHA-256 over the files and options the arrays were made of.
        counts: figures for reports (rows read, dropped and why, ...).
        titles: song_id -> title, of the songs that have one.
        notes: what was recognised in the files, a sentence each.
        tables: whether it was made of tables in memory, not of KKBOX's files.
        longest_history: a history is at most that many songs, the last ones before the position: playlists are kept
            whole, so that all songs heard are known and none of them is a candidate. (Released: no history is longer.)
    """

    song_ids: list[str]
    user_ids: list[str]
    lengths: NDArray[np.float32]
    song_bits: Rows
    user_bits: Rows
    values: dict[str, list[str]]
    songs_played: Rows
    behaviours: Rows
    owners: Integers
    trained: Integers
    train: Points
    validation: Points
    test: Points
    plays: NDArray[np.int64]
    longest_length: float
    released: bool
    fingerprint: str
    counts: dict[str, Any] = field(default_factory=dict)
    longest_history: int = 2**31 - 1
    titles: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tables: bool = False

    def row_counts(self, parts: Sequence[str] = tuple(FILES)) -> RowCounts:
        """What became of the rows of each file, and what they became."""
        found, names = RowCounts(), TABLES if self.tables else FILES
        for part in parts:
            start = f"{part}: "
            own = {key.removeprefix(start): count for key, count in self.counts.items() if key.startswith(start)}
            if not own:
                continue
            rows, used, blanks = own.pop(PLAYS, 0) + own.pop(ROWS, 0), own.pop(USED, 0), own.pop(BLANKS, 0)
            found.add_file(names[part], rows, blanks)
            for reason, count in own.items():
                found.leave_out(names[part], reason, count)
            found.check_used(names[part], used)
        found.parts = {
            part: {"users": len(np.unique(self.owners[points.playlists])), "examples": len(points)}
            for part, points in (("train", self.train), ("validation", self.validation), ("test", self.test))
        }
        return found

    @property
    def rows(self) -> dict[str, Any]:
        """Rows of each file, used and left out; see :meth:`common.row_counts.RowCounts.as_json`."""
        return self.row_counts().as_json()

    def warnings(self) -> list[str]:
        """A line if most plays were left out, or if hardly anything is left to test.

        Not of the songs: most of those that are listed are never played.
        """
        return self.row_counts(("train", "test")).warnings(len(self.test), "test example")

    def histories(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) each: where in ``songs_played.values`` the history of each example begins and where it ends (excluded).

        What stands at the end is the song to predict.
        """
        starts = self.songs_played.indptr[points.playlists]
        return starts + np.maximum(points.positions - self.longest_history, 0), starts + points.positions

    @property
    def songs(self) -> int:
        """Number of songs."""
        return len(self.song_ids)

    @property
    def users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def song_width(self) -> int:
        """Columns of the multi-hot blocks of a song (the length comes in addition)."""
        return sum(len(self.values[name]) for name in SONG_FEATURES)

    @property
    def user_width(self) -> int:
        """Columns of the one-hot blocks of a user (the block of heard songs, ``song_width`` wide, comes besides)."""
        return sum(len(self.values[name]) for name in USER_FEATURES)


def training_part(data: KkboxData) -> KkboxData:
    """What training and the choice of the best epoch may see: songs and playlists of the training file alone.

    Users and columns stay as they are; songs are numbered among those that have a training play. So what only the
    test file names changes no draw, no order and no shape. Data of the released protocol stay whole: its negatives
    are drawn from all songs kept, which are those of the training file anyhow.
    """
    if data.released:
        return data
    songs, playlists = np.flatnonzero(data.plays > 0), np.flatnonzero(data.trained > 0)
    place_of_song, place_of_playlist = (np.full(size, -1, np.int32) for size in (data.songs, len(data.owners)))
    place_of_song[songs] = np.arange(len(songs))
    place_of_playlist[playlists] = np.arange(len(playlists))
    starts, lengths = data.songs_played.indptr[playlists], data.trained[playlists].astype(np.int64)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    plays = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], lengths)
    bits = [data.song_bits[song] for song in songs.tolist()]

    def renumbered(points: Points) -> Points:
        return Points(place_of_playlist[points.playlists], np.asarray(points.positions))

    nothing = Points(np.empty(0, np.int32), np.empty(0, np.int32))
    return replace(
        data,
        song_ids=[data.song_ids[song] for song in songs],
        lengths=np.asarray(data.lengths)[songs],
        song_bits=Rows(
            np.concatenate([[0], np.cumsum([len(row) for row in bits])]).astype(np.int64),
            np.concatenate([np.empty(0, np.int32), *bits]),
        ),
        songs_played=Rows(indptr, place_of_song[data.songs_played.values[plays]]),
        behaviours=Rows(indptr, np.asarray(data.behaviours.values[plays])),
        owners=np.asarray(data.owners)[playlists],
        trained=np.asarray(data.trained)[playlists],
        train=renumbered(data.train),
        validation=renumbered(data.validation),
        test=nothing,
        plays=np.asarray(data.plays)[songs],
    )


TEXTS = "texts.json"
FOLDER = "data"
"""Of the copy in the folder of a run."""
_ROWS = {"song_bits": "songs", "user_bits": "users", "songs_played": "playlists", "behaviours": "playlists"}
"""Lists, and of what there is one each."""
_POINTS = ("train", "validation", "test")
_IN_TEXTS = ("song_ids", "user_ids", "values", "titles")
_IN_META = ("longest_length", "released", "counts", "longest_history", "notes", "tables")
ARRAYS = (
    *(Array(f"{name}_indptr", np.int64, (f"{of}+1",), 0) for name, of in _ROWS.items()),
    *(Array(f"{name}_values", np.int32, (f"{name}_indptr[-1]",), -1) for name in _ROWS),
    *(Array(f"{name}_playlists", np.int32, (name,), 0, "playlists") for name in _POINTS),
    *(Array(f"{name}_positions", np.int32, (name,), 0) for name in _POINTS),
    Array("lengths", np.float32, ("songs",), -np.inf),
    Array("plays", np.int64, ("songs",), 0),
    Array("owners", np.int32, ("playlists",), 0, "users"),
    Array("trained", np.int32, ("playlists",), 0),
)
SET_FILES = {META, TEXTS, *(f"{array.name}.npy" for array in ARRAYS)}
"""Names of all files of a folder of prepared arrays."""


def save(data: KkboxData, folder: Path) -> dict[str, Any]:
    """Write ``data`` into the empty ``folder``; returns what else is to be known of them."""
    for name in ("lengths", "owners", "trained", "plays"):
        np.save(folder / f"{name}.npy", getattr(data, name))
    for name in (*_ROWS, *_POINTS):
        for part, array in vars(getattr(data, name)).items():
            np.save(folder / f"{name}_{part}.npy", array)
    write_json(folder / TEXTS, {name: getattr(data, name) for name in _IN_TEXTS})
    return {name: getattr(data, name) for name in _IN_META}


def opened(found: ArraySet) -> KkboxData:
    """The data of a set. Their fingerprint is its address: it covers the files and the options.

    Raises:
        LookupError, TypeError: its JSON is of another kind.
    """
    texts = found.json(TEXTS)
    fields: dict[str, Any] = {name: found.arrays[name] for name in ("lengths", "owners", "trained", "plays")}
    for kind, names in ((Rows, _ROWS), (Points, _POINTS)):
        for name in names:
            fields[name] = kind(*(found.arrays[f"{name}_{part.name}"] for part in dataclasses.fields(kind)))
    fields |= {name: texts[name] for name in _IN_TEXTS if name in texts}  # version 0.1 had no titles there
    fields |= {name: found.meta[name] for name in _IN_META if name in found.meta}
    return KkboxData(**fields, fingerprint=found.address)


def digest_of_arrays(data: KkboxData) -> str:
    """SHA-256 (hex) of all that ``data`` hold: the fingerprint of data that are made of no files."""
    found = hashlib.sha256(json.dumps([getattr(data, name) for name in (*_IN_TEXTS, *_IN_META)]).encode())
    for name in ("lengths", "owners", "trained", "plays", *_ROWS, *_POINTS):
        part = getattr(data, name)
        for array in vars(part).values() if name in (*_ROWS, *_POINTS) else (part,):
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def keep(data: KkboxData, folder: Path) -> None:
    """Write a copy of ``data`` into the empty ``folder`` of a run."""
    seal(folder, data.fingerprint, save(data, folder))


def load(folder: Path, fingerprint: str) -> KkboxData | None:
    """Open the copy of a run, every value of which is looked at; None if it is missing, damaged or another one's."""
    try:
        found = open_set(folder, fingerprint, ARRAYS, distrust=True)
        data = opened(found) if found else None
        return data if data and _texts_fit(data) and _numbers_fit(data) else None
    except DAMAGE:
        return None


def columns(data: KkboxData) -> list[str]:
    """What every column of a song's, a user's and a behaviour's encoding stands for: weights fit these alone."""
    return [f"{name}: {value}" for name in (*SONG_FEATURES, *USER_FEATURES, "behaviour") for value in data.values[name]]


def save_data(folder: Path, data: KkboxData) -> None:
    """Write ``data`` into the folder of a run, unless they are there."""
    target = folder / FOLDER
    if load(target, data.fingerprint) is None:
        with replacing_folder(target, lambda path: load(path, data.fingerprint) is not None) as beside:
            keep(data, beside)


def read_data(folder: Path) -> KkboxData:
    """The data that a run was trained on.

    Raises:
        UserError: they are missing, damaged, or of another run.
    """
    facts = read_run(folder).get("dataset")
    require(isinstance(facts, dict), f"{folder / 'options.json'}: not of a training run: it names no dataset")
    data = load(folder / FOLDER, str(facts.get("fingerprint")))  # type: ignore[union-attr]
    if data is None:
        raise UserError(f"{folder / FOLDER}: missing, damaged or of another run; restore the run's own folder")
    require(
        digest(columns(data)) == trained_vocabulary(folder),
        f"{folder / FOLDER}: has other columns than the run was trained on; restore the run's own folder",
    )
    return data


def _texts_fit(data: KkboxData) -> bool:
    """Whether all that is JSON is of the types it should be."""
    lists = [data.song_ids, data.user_ids, *data.values.values()]
    return (
        (data.songs, data.users) == (len(data.lengths), len(data.user_bits))
        and set(data.values) == {*SONG_FEATURES, *USER_FEATURES, "behaviour"}
        and all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists)
        and all(type(number) is int for number in data.counts.values())
        and isinstance(data.titles, dict)
        and all(isinstance(text, str) for text in (*data.titles.values(), *data.notes))
        and -float("inf") < data.longest_length < float("inf")
        and data.longest_length != 0
        and type(data.longest_history) is int
        and data.longest_history >= 1
    )


def _numbers_fit(data: KkboxData) -> bool:
    """Whether every number points at something: one that does not could read memory that is none of the arrays'."""
    playlists, lengths = len(data.owners), data.songs_played.lengths
    rows = [getattr(data, name) for name in _ROWS]
    bounds: list[tuple[NDArray[Any], float, Any]] = [
        (data.song_bits.values, 0, data.song_width),
        (data.user_bits.values, 0, data.user_width),
        (data.songs_played.values, 0, data.songs),
        (data.behaviours.values, -1, len(data.values["behaviour"])),
        (data.owners, 0, data.users),
        (data.trained, 0, lengths + 1),
        (data.plays, 0, np.inf),
        (data.lengths, -np.inf, np.inf),  # released: a length below 0 is taken as it is
    ]
    for points in (getattr(data, name) for name in _POINTS):
        bounds += [(points.playlists, 0, playlists), (points.positions, 0, lengths[points.playlists])]
    return (
        all(one.indptr[0] == 0 and bool((one.lengths >= 0).all()) for one in rows)
        and np.array_equal(data.songs_played.indptr, data.behaviours.indptr)
        and all(bool(((array >= low) & (array < high)).all()) for array, low, high in bounds)
    )


@dataclass(frozen=True)
class Queries:
    """Users and all that they have heard, the oldest song first.

    Attributes:
        users: (n,) numbers of the users; -1 for somebody who is not in the dataset.
        histories: n lists of songs.
        behaviours: how each of them was come by; parallel to ``histories``.
    """

    users: Integers
    histories: Rows
    behaviours: Rows

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: NDArray[np.integer]) -> Queries:
        """The queries with the numbers ``which`` (m,)."""
        return Queries(self.users[which], take_rows(self.histories, which), take_rows(self.behaviours, which))


def slices(rows: Rows, first: NDArray[np.int64], last: NDArray[np.int64]) -> Rows:
    """Lists ``rows.values[first[i] : last[i]]``, one for each i."""
    indptr = np.concatenate([[0], np.cumsum(last - first)]).astype(np.int64)
    places = np.arange(indptr[-1]) + np.repeat(first - indptr[:-1], last - first)
    return Rows(indptr, np.asarray(rows.values[places], np.int32))


def take_rows(rows: Rows, which: NDArray[np.integer]) -> Rows:
    """The lists with the numbers ``which``; a number below 0 gives an empty list."""
    starts, stops = (np.append(part, 0)[which] for part in (rows.indptr[:-1], rows.indptr[1:]))
    return slices(rows, np.where(which < 0, 0, starts), np.where(which < 0, 0, stops))


def of_users(data: KkboxData) -> Queries:
    """Every user of the dataset with the whole training playlist, which is empty for users new in the test."""
    first, last = _parts(data, training=True)
    histories, behaviours = (slices(rows, first, last) for rows in (data.songs_played, data.behaviours))
    return Queries(np.arange(data.users, dtype=np.int32), histories, behaviours)


def songs_to_come(data: KkboxData) -> Rows:
    """The songs that each user plays in the test, in order; a list for every user."""
    return slices(data.songs_played, *_parts(data, training=False))


def of_points(data: KkboxData, points: Points) -> tuple[Queries, Integers]:
    """The history before each example, and the song (n,) that comes next."""
    first = data.songs_played.indptr[points.playlists]
    label = first + points.positions
    histories, behaviours = (slices(rows, first, label) for rows in (data.songs_played, data.behaviours))
    songs = np.asarray(data.songs_played.values[label], np.int32)
    return Queries(data.owners[points.playlists].astype(np.int32), histories, behaviours), songs


def _parts(data: KkboxData, training: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the training (or the test) part of each user's playlist lies; a user has at most one of each."""
    start, stop = data.songs_played.indptr[:-1], data.songs_played.indptr[1:]
    border = start + data.trained
    low, high = (start, border) if training else (border, stop)
    there = np.flatnonzero(high > low)
    first, last = np.zeros(data.users, np.int64), np.zeros(data.users, np.int64)
    first[data.owners[there]], last[data.owners[there]] = low[there], high[there]
    return first, last
