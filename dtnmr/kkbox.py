"""The csv files of KKBOX's WSDM Cup 2018 challenge, as Kaggle ships them, read by :mod:`common.tables`.

A broken file (a missing column, a line with too few or too many values, broken quoting, text that is not UTF-8) is a
mistake that names the file and the line. What the released files themselves contain (ages and lengths that are no
numbers, ids that come twice, plays of songs and users that have no entry) is read as it stands;
:mod:`dtnmr.selection` deals with it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common import console
from common.options import UserError, require
from common.sources import find_file
from common.tables import Column, Table, open_table
from dtnmr.dataset import Integers

NAMES = ("train.csv", "test.csv", "songs.csv", "members.csv")
REQUIRED = tuple((name, f"{name}.gz", f"{name}.zip") for name in NAMES)
"""The files of the dataset, by all the names that will do."""
EXTRA = ("song_extra_info.csv", "song_extra_info.csv.gz", "song_extra_info.csv.zip")
"""The file of titles, which may be there, too."""
_MAY_BE_EMPTY = Column("text", empty=True)


def songs_columns(exact: bool) -> dict[str, Column]:
    """What is read of songs.csv, or of a file of new songs.

    Args:
        exact: take ids as they stand, as the released code does; else a whole column such as 101.0 is of integers.
    """
    return {
        "id": _id("song_id", exact),
        # The released code reads the second, Kaggle's file has the first.
        "length": replace(_MAY_BE_EMPTY, names=("song_length", "song_len")),
        "genre": replace(_MAY_BE_EMPTY, names=("genre_ids",)),
        "artist": replace(_MAY_BE_EMPTY, names=("artist_name",)),
        "composer": _MAY_BE_EMPTY,
        "language": _MAY_BE_EMPTY,
    }


def _members_columns(exact: bool) -> dict[str, Column]:
    age = replace(_MAY_BE_EMPTY, names=("bd",))
    return {"id": _id("msno", exact), "age": age, "gender": _MAY_BE_EMPTY, "city": _MAY_BE_EMPTY}


def _plays_columns(exact: bool) -> dict[str, Column]:
    tab = replace(_MAY_BE_EMPTY, names=("source_system_tab",))
    return {"user": _id("msno", exact), "song": _id("song_id", exact), "tab": tab}


def _id(name: str, exact: bool) -> Column:
    return Column("text" if exact else "id", names=(name,), empty=True)


class Numbering:
    """Numbers texts from 0 in the order in which it first meets them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of_column(self, table: Table, column: str) -> Integers:
        """(rows,) the numbers of a column's texts."""
        query = f"SELECT {column}, min(row) AS first FROM {table.name} GROUP BY 1 ORDER BY 2"
        texts = [text for text, _ in table.database.execute(query).fetchall()]
        table.database.execute(
            f"CREATE OR REPLACE TEMP TABLE places AS SELECT {column} AS text, "
            f"row_number() OVER (ORDER BY min(row)) - 1 AS place FROM {table.name} GROUP BY 1"
        )
        query = f"SELECT place::INTEGER AS place FROM {table.name} JOIN places ON text = {column} ORDER BY row"
        places = table.database.execute(query).fetchnumpy()["place"]
        numbers = self.numbers
        known = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int32, len(texts))
        require(len(places) == table.rows, f"{table.files[0].name}: {len(places):,} of {table.rows:,} rows came back")
        return known[np.asarray(places)]

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Plays:
    """Rows of train.csv or test.csv in the order of the file, (rows,) each, as numbers of :class:`Names`."""

    users: Integers
    songs: Integers
    tabs: Integers

    def __len__(self) -> int:
        return len(self.users)

    def keep(self, rows: NDArray[Any]) -> Plays:
        """Only ``rows``, given as a mask or as places."""
        return Plays(self.users[rows], self.songs[rows], self.tabs[rows])


@dataclass(frozen=True)
class Names:
    """What the numbers in :class:`Plays` stand for; shared by train.csv and test.csv."""

    users: Numbering
    songs: Numbering
    tabs: Numbering


@dataclass(frozen=True)
class Entries:
    """Rows of songs.csv or members.csv in the order of the file, an id being listed as often as it is there.

    Attributes:
        texts: id and features of the rows that are read, as they stand in the file.
        numbers: (rows read,) number of the id in the plays; -1 if it is in none.
    """

    texts: pd.DataFrame
    numbers: Integers


@dataclass(frozen=True)
class Raw:
    """The files as read; ``files`` holds the rows and blank lines of each, ``first_song`` the first id of songs.csv."""

    names: Names
    train: Plays
    test: Plays
    members: Entries
    songs: Entries
    files: dict[str, tuple[int, int]]
    first_song: str


def kkbox_files(folder: Path) -> dict[str, Path]:
    """Name without ``.csv`` -> file, for the four files of the dataset in ``folder``.

    Raises:
        UserError: one is missing, or only there as a ``.7z`` archive.
    """
    found = {}
    for name, choices in zip(NAMES, REQUIRED, strict=True):
        file = find_file(folder, *choices)
        if file is None:
            archive = find_file(folder, f"{name}.7z")
            require(archive is None, f"{archive}: cannot be read as it is; extract it first: 7z x {name}.7z")
            raise UserError(f"{folder}: lacks {' or '.join(choices)}; data/README.md says where to get the files")
        found[name.removesuffix(".csv")] = file
    return found


def read_files(files: dict[str, Path], exact: bool = False) -> Raw:
    """Read the four files of :func:`kkbox_files`; what is recognised in them is told on the console.

    Args:
        exact: as of :func:`songs_columns`.

    Raises:
        UserError: a file is broken, or holds no row.
    """
    names = Names(Numbering(), Numbering(), Numbering())
    counts: dict[str, tuple[int, int]] = {}
    first: dict[str, str] = {}

    def opened(part: str, columns: dict[str, Column]) -> Table:
        table = open_table(files[part], columns, separator=",", multiline=True)
        for note in table.notes:
            console.notify(note)
        require(table.rows > 0, f"{files[part]}: holds no row below its header; expected one or more")
        counts[part] = table.rows, sum(file.blanks for file in table.files)
        return table

    def plays(part: str) -> Plays:
        with opened(part, _plays_columns(exact)) as table:
            numberings = (("user", names.users), ("song", names.songs), ("tab", names.tabs))
            return Plays(*(numbering.of_column(table, column) for column, numbering in numberings))

    def entries(part: str, columns: dict[str, Column], known: dict[str, int]) -> Entries:
        pieces = []
        with opened(part, columns) as table:
            for frame in table.chunks():
                ids = frame.id.tolist()
                first.setdefault(part, ids[0])
                # Two million songs are listed, and a sixth of them is played.
                wanted = [part == "members" or _is_known(name, known) for name in ids]
                pieces.append(frame[np.array(wanted, bool)])
        texts = pd.concat(pieces, ignore_index=True)
        return Entries(texts, np.array([known.get(name, -1) for name in texts.id.tolist()], np.int32))

    train, test = plays("train"), plays("test")
    members = entries("members", _members_columns(exact), names.users.numbers)
    songs = entries("songs", songs_columns(exact), names.songs.numbers)
    return Raw(names, train, test, members, songs, counts, first["songs"])


def _is_known(song: str, played: dict[str, int]) -> bool:
    """Whether a song is played, or its id has several parts with ``|`` between them, all of which are.

    The released code takes the latter for popular, too.
    """
    return song in played or ("|" in song and all(part in played for part in song.split("|")))
