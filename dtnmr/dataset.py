"""The prepared data of a KKBOX-format dataset: what preprocessing writes and everything else reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.row_counts import RowCounts

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
