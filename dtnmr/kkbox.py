"""The csv files of KKBOX's WSDM Cup 2018 challenge, as Kaggle ships them, read by :mod:`common.tables`.

A broken file (a missing column, a line with too few or too many values, broken quoting, text that is not UTF-8) is a
mistake that names the file and the line. What the released files themselves contain (ages and lengths that are no
numbers, ids that come twice, plays of songs and users that have no entry) is read as it stands;
:mod:`dtnmr.selection` deals with it. Tables of one's own may stand in the place of the files (:data:`USUAL_NAMES`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.options import UserError, require
from common.row_counts import UNNEEDED
from common.sources import find_file
from common.tables import Column, Table, open_table
from dtnmr.dataset import BLANKS, ROWS, TABLES, USED, Integers

NAMES = ("train.csv", "test.csv", "songs.csv", "members.csv")
REQUIRED = tuple((name, f"{name}.gz", f"{name}.zip") for name in NAMES)
"""The files of the dataset, by all the names that will do."""
EXTRA = ("song_extra_info.csv", "song_extra_info.csv.gz", "song_extra_info.csv.zip")
"""The file of titles, which may be there, too."""
Sources = Mapping[str, Any]
"""``train``, ``songs`` and, where there are such, ``test``, ``members``, ``song_extra_info`` -> a file of KKBOX, or a
table of one's own."""
USUAL_NAMES = {
    "msno": ("msno", "user_id", "userId", "UserId", "user"),
    "song_id": ("song_id", "songId", "SongId", "song", "track_id", "track", "item_id", "ItemId", "item"),
    "song_length": ("song_length", "song_len", "length", "duration_ms", "ms"),
    "genre_ids": ("genre_ids", "genres", "genre"),
    "artist_name": ("artist_name", "artists", "artist"),
    "composer": ("composer", "composers"),
    "language": ("language", "lang"),
    "bd": ("bd", "age"),
    "gender": ("gender", "sex"),
    "city": ("city", "location", "country"),
    "source_system_tab": ("source_system_tab", "source"),
    "name": ("name", "title", "song_title", "track_name"),
}  # fmt: skip
"""Column of KKBOX's files -> what it is called in tables of one's own, where only the ids must be there."""
EVEN_LENGTH = "240000"
"""Milliseconds of all songs of a table without lengths: any number would do."""
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
        "composer": replace(_MAY_BE_EMPTY, names=("composer",)),
        "language": replace(_MAY_BE_EMPTY, names=("language",)),
    }


def members_columns(exact: bool) -> dict[str, Column]:
    """What is read of members.csv; ``exact`` as of :func:`songs_columns`."""
    age = replace(_MAY_BE_EMPTY, names=("bd",))
    gender, city = (replace(_MAY_BE_EMPTY, names=(name,)) for name in ("gender", "city"))
    return {"id": _id("msno", exact), "age": age, "gender": gender, "city": city}


def plays_columns(exact: bool) -> dict[str, Column]:
    """What is read of train.csv and test.csv; ``exact`` as of :func:`songs_columns`."""
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

    def of_all(self, rows: int, text: str = "") -> Integers:
        """(rows,) the number of one text."""
        return np.full(rows, self.numbers.setdefault(text, len(self.numbers)), np.int32)

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
    """The files as read; ``files`` holds the rows and blank lines of each, ``first_song`` the first id of songs.csv,
    ``notes`` what was recognised in them."""

    names: Names
    train: Plays
    test: Plays
    members: Entries
    songs: Entries
    files: dict[str, tuple[int, int]]
    first_song: str
    notes: list[str]


def kkbox_files(folder: Path) -> dict[str, Path]:
    """Name without ``.csv`` -> file, of the dataset in ``folder``: four, and that of titles if it is there.

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
    extra = find_file(folder, *EXTRA)
    return found | ({"song_extra_info": extra} if extra else {})


def told(sources: Sources, part: str) -> str:
    """What messages call a part of the data."""
    source = sources[part]
    return str(source) if isinstance(source, str | Path) else TABLES[part]


def is_of_kkbox(source: Any) -> bool:
    """Whether a table is a file of KKBOX, whose columns have its names and no others."""
    return isinstance(source, Path) and source.name.lower() in (*(name for names in REQUIRED for name in names), *EXTRA)


def open_part(sources: Sources, part: str, columns: Mapping[str, Column], named: Mapping[str, str]) -> Table:
    """A file of KKBOX, or a table of one's own, some of whose columns are ``named`` (argument -> name).

    Raises:
        UserError: it is broken, or holds no row.
    """
    source = sources[part]
    if not is_of_kkbox(source):
        columns = {key: of_table(column, named.get(key)) for key, column in columns.items()}
    try:
        table = open_table(source, columns, separator="," if is_of_kkbox(source) else None, multiline=True)
    except UserError as error:
        raise error if isinstance(source, Path) else UserError(f"{TABLES[part]}: {error}") from None
    require(table.rows > 0, f"{told(sources, part)}: holds no row below its header; expected one or more")
    return table


def of_table(column: Column, name: str | None) -> Column:
    """The same column in a table of one's own, of a name that is given or usual."""
    usual = USUAL_NAMES[column.names[0]] if name is None else (name,)
    return replace(column, names=usual, required=column.kind == "id" or name is not None)


def read_files(sources: Sources, exact: bool = False, named: Mapping[str, str] | None = None) -> Raw:
    """Read the files of :func:`kkbox_files`, or tables; without members nothing is known of the users.

    Args:
        sources: see :data:`Sources`.
        exact: as of :func:`songs_columns`.
        named: names of the columns ``user`` and ``song`` in tables, if they are none of :data:`USUAL_NAMES`.

    Raises:
        UserError: a file is broken, or holds no row.
    """
    names = Names(Numbering(), Numbering(), Numbering())
    counts: dict[str, tuple[int, int]] = {}
    first: dict[str, str] = {}
    notes: list[str] = []
    of_columns = named or {}

    def opened(part: str, columns: dict[str, Column], ids: Mapping[str, str]) -> Table:
        table = open_part(sources, part, columns, ids)
        notes.extend(table.notes)
        counts[part] = table.rows, sum(file.blanks for file in table.files)
        return table

    def plays(part: str) -> Plays:
        if part not in sources:
            return Plays(*(np.empty(0, np.int32) for _ in range(3)))
        with opened(part, plays_columns(exact), of_columns) as table:
            numberings = (("user", names.users), ("song", names.songs), ("tab", names.tabs))
            return Plays(
                *(
                    numbering.of_column(table, column) if column in table.columns else numbering.of_all(table.rows)
                    for column, numbering in numberings
                )
            )

    def entries(part: str, columns: dict[str, Column], known: dict[str, int]) -> Entries:
        pieces = []
        own = of_columns.get("user" if part == "members" else "song")
        with opened(part, columns, {"id": own} if own else {}) as table:
            for frame in table.chunks():
                ids = frame.id.tolist()
                first.setdefault(part, ids[0])
                # Two million songs are listed, and a sixth of them is played.
                wanted = [part == "members" or _is_known(name, known) for name in ids]
                pieces.append(with_all(frame[np.array(wanted, bool)], columns))
        texts = pd.concat(pieces, ignore_index=True)
        return Entries(texts, np.array([known.get(name, -1) for name in texts.id.tolist()], np.int32))

    train, test = plays("train"), plays("test")
    if "members" in sources:
        members = entries("members", members_columns(exact), names.users.numbers)
    else:
        users = pd.DataFrame({"id": list(names.users.numbers)}, dtype=object)
        members = Entries(with_all(users, members_columns(exact)), np.arange(len(users), dtype=np.int32))
        counts["members"] = len(users), 0
    songs = entries("songs", songs_columns(exact), names.songs.numbers)
    return Raw(names, train, test, members, songs, counts, first["songs"], notes)


def with_all(frame: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """``frame`` with all ``columns``: those that it lacks hold nothing, or one and the same length."""
    return frame.assign(**{n: EVEN_LENGTH if n == "length" else "" for n in columns if n not in frame})


def read_titles(
    sources: Sources,
    songs: set[str],
    exact: bool = False,
    counts: dict[str, int] | None = None,
    named: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """song_id -> title of ``songs``, from song_extra_info.csv (song_id, name, isrc).

    Args:
        sources: see :data:`Sources`; without such a file there are no titles.
        songs: ids of the songs wanted.
        exact: take ids as they stand, as of :func:`songs_columns`.
        counts: takes the rows of the file; those of other songs are not needed.
        named: name of the column ``id`` in a table.

    Raises:
        UserError: a column is missing, a row is broken, or the file is damaged.
    """
    part, found = "song_extra_info", dict[str, str]()
    if part not in sources:
        return found
    columns = {"id": _id("song_id", exact), "name": replace(_MAY_BE_EMPTY, names=("name",))}
    with open_part(sources, part, columns, named or {}) as table:
        if "name" not in table.columns:
            return found
        for frame in table.chunks():
            pairs = zip(frame.id.tolist(), frame["name"].tolist(), strict=True)
            found |= {song: title for song, title in pairs if song in songs}
        if counts is not None:
            counts |= {f"{part}: {ROWS}": table.rows, f"{part}: {USED}": len(found)}
            counts |= {f"{part}: {UNNEEDED}": table.rows - len(found)}
            counts |= {f"{part}: {BLANKS}": sum(file.blanks for file in table.files)}
    return found


def _is_known(song: str, played: dict[str, int]) -> bool:
    """Whether a song is played, or its id has several parts with ``|`` between them, all of which are.

    The released code takes the latter for popular, too.
    """
    return song in played or ("|" in song and all(part in played for part in song.split("|")))
