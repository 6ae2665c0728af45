"""Play counts of the Taste Profile, and the ratings that the paper makes of them.

Source: arXiv 1907.01640 v2, section 3.1 and figure 3.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common.options import UserError, require
from common.sources import open_text_or_zip

LONGEST_LINE = 1000
"""Bytes; a line of the Taste Profile has about 64."""
HIGHEST_COUNT = 10**9
"""Plays of one song by one user; the real maximum is 3,532."""
RATING_FROM = (1, 2, 3, 4, 6)
"""The fewest plays for a rating of 1, 2, 3, 4 and 5 (figure 3)."""
_expected = "expected user, song id and play count (1 or more), separated by tabs"


@dataclass(frozen=True)
class PlayCounts:
    """Who played which song how often; each pair of user and song occurs once."""

    user_ids: list[str]
    """In alphabetical order; their places are the user numbers."""
    song_ids: list[str]
    """In alphabetical order; their places are the song numbers."""
    users: NDArray[np.int64]
    """(n,) user number."""
    songs: NDArray[np.int64]
    """(n,) song number."""
    counts: NDArray[np.int64]
    """(n,) plays."""
    lines: NDArray[np.int64]
    """(n,) lines of the file that name the pair."""

    def keep(self, rows: NDArray[np.bool_]) -> PlayCounts:
        """The chosen rows, and only the users and songs that they mention, numbered anew."""
        users, user = np.unique(self.users[rows], return_inverse=True)
        songs, song = np.unique(self.songs[rows], return_inverse=True)
        user_ids, song_ids = [self.user_ids[i] for i in users], [self.song_ids[i] for i in songs]
        return PlayCounts(user_ids, song_ids, user, song, self.counts[rows], self.lines[rows])

    def keep_songs(self, song_ids: Collection[str]) -> PlayCounts:
        """The plays of ``song_ids`` only."""
        return self.keep(np.array([song in song_ids for song in self.song_ids], dtype=bool)[self.songs])

    def keep_active_users(self, min_songs: int) -> PlayCounts:
        """The plays of users with at least ``min_songs`` distinct songs (paper: 20)."""
        return self.keep(np.bincount(self.users, minlength=1)[self.users] >= min_songs)

    def ratings(self) -> NDArray[np.int64]:
        """(n,) 1..5 by figure 3: 1, 2 and 3 plays are the same rating; 4 and 5 plays a 4; 6 and more a 5.

        >>> PlayCounts([], [], *np.array([[0] * 7] * 2 + [[1, 2, 3, 4, 5, 6, 3532]] * 2)).ratings().tolist()
        [1, 2, 3, 4, 4, 5, 5]
        """
        return np.searchsorted(RATING_FROM, self.counts, side="right")


def read_play_counts(path: Path, songs: Collection[str]) -> tuple[PlayCounts, int]:
    """Read ``train_triplets.txt``: user, song id and play count per line, separated by tabs; .gz and .zip as well.

    The file is read line by line and only the plays of ``songs`` are kept, so memory is bounded by these: the whole
    Taste Profile has 48 million lines. Counts of a pair that occurs again are added up. The plays stay in the
    order of the first occurrence of each pair.

    Returns:
        The plays of ``songs``, and the number of lines in the file.

    Raises:
        UserError: the file cannot be read, is empty, or a line is malformed (the first one is named).
    """
    numbers = {song: number for number, song in enumerate(sorted(songs))}
    # Accents may be written in another way there: macOS takes them apart (NFD).
    number_of = {normalize(form, song).encode(): number for form in ("NFC", "NFD") for song, number in numbers.items()}
    number_of |= {song.encode(): number for song, number in numbers.items()}
    user_of: dict[bytes, int] = {}
    users, plays, counts = array("q"), array("q"), array("q")
    number = 0
    with open_lines(path) as stream:
        # A line of any length would fill the memory; disable=None: no bar unless stderr is a terminal.
        lines = iter(partial(stream.readline, LONGEST_LINE), b"")
        for number, line in enumerate(tqdm(lines, f"reading {path.name}", unit=" lines", delay=5, disable=None), 1):
            fields = line.rstrip(b"\r\n").split(b"\t")
            if len(fields) != 3 or not fields[2].isdigit() or not fields[0] or not fields[1]:
                raise _wrong(path, number, line)
            song = number_of.get(fields[1])
            if song is None:
                continue
            user = user_of.get(fields[0])
            if user is None:
                # Two lines, the end of the first one lost; or two files, one behind the other.
                if b"\r" in fields[0] or fields[0].startswith(codecs.BOM_UTF8):
                    raise _wrong(path, number, line)
                user = user_of[fields[0]] = len(user_of)
            count = int(fields[2][:12])
            if not 1 <= count <= HIGHEST_COUNT:
                raise _wrong(path, number, line)
            users.append(user)
            plays.append(song)
            counts.append(count)
    require(number > 0, f"{path}: is empty; {_expected}")
    try:
        user_ids = [user.decode() for user in user_of]
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the user {error.object[:40]!r} is not UTF-8; save the file in UTF-8") from None
    order = np.argsort(np.array(user_ids, dtype=object), kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    user_ids = [user_ids[i] for i in order]
    whole = _added_up(place[np.asarray(users)], np.asarray(plays), np.asarray(counts), len(number_of))
    everything = PlayCounts(user_ids, sorted(songs), *whole)
    return everything.keep(np.ones(len(everything.users), dtype=bool)), number


def _added_up(
    users: NDArray[np.int64], songs: NDArray[np.int64], counts: NDArray[np.int64], num_songs: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    _, first, pair = np.unique(users * num_songs + songs, return_index=True, return_inverse=True)
    total = np.zeros(len(first), dtype=np.int64)
    np.add.at(total, pair, counts)
    order = np.argsort(first)
    return users[first[order]], songs[first[order]], total[order], np.bincount(pair, minlength=len(first))[order]


def _wrong(path: Path, number: int, line: bytes) -> UserError:
    text = line.rstrip(b"\r\n")
    start = text[:60].decode("utf-8", "replace")
    more = "" if len(text) <= 60 else f"... (of {LONGEST_LINE:,} bytes or more)" if len(line) == LONGEST_LINE else "..."
    return UserError(f"{path}: line {number} is {start!r}{more}; {_expected}")


@contextlib.contextmanager
def open_lines(path: Path) -> Iterator[IO[bytes]]:
    """Open a plain, gzipped (``.gz``) or zipped (``.zip``) text file as a stream of bytes, without a byte order mark.

    Raises:
        UserError: the file cannot be opened or (while reading, too) its compression is damaged.
    """
    with open_text_or_zip(path) as stream:
        if path.suffix.lower() != ".gz":
            yield _without_mark(stream)
            return
        try:
            with gzip.open(stream) as unpacked:
                yield _without_mark(unpacked)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: the gzip file is damaged: {error}; download it again") from error


def _without_mark(stream: Any) -> IO[bytes]:
    buffered = io.BufferedReader(stream)
    if buffered.peek(3).startswith(codecs.BOM_UTF8):
        buffered.read(3)
    return buffered
