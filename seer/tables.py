"""Read and check the small released files of SeER: the ratings and the three tables."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common import tables
from common.console import counted
from common.options import UserError, reason_of, require
from common.row_counts import RowCounts

Ints = NDArray[np.int32]
LARGEST = 2**31
"""Bytes of a table, which is read as a whole; the released ones have some ten million."""
_wrong_triplet = re.compile(rb"^(?![0-9]{1,9} [0-9]{1,9} [1-5]$)", re.MULTILINE)
_integer = re.compile(r"-?[0-9]{1,9}")


def read_bytes(path: Path) -> bytes:
    """The whole file without byte order mark; a UserError if it cannot be read or is empty."""
    try:
        size = path.stat().st_size
        require(size <= LARGEST, f"{path}: has {size:,} bytes; expected a small table (data/README.md)")
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error
    require(content.strip() != b"", f"{path}: is empty; get the file again (data/README.md)")
    return content


def read_triplets(path: Path) -> tuple[Ints, Ints, NDArray[np.float32]]:
    """Read ``triplets.txt``: one ``user song rating`` per line, integers separated by single blanks.

    It has its own reader, and not :mod:`common.tables`: one pattern holds for every line of the file, which has neither
    header nor quoting nor optional columns, so that each line is used or refused. There are as many rows as ratings.

    Returns:
        users, songs (both int32) and ratings (float32, 1..5), each (ratings,) in the order of the file.

    Raises:
        UserError: a line is malformed (the first one is named), or the user or song numbers have a gap.
    """
    text = read_bytes(path).replace(b"\r\n", b"\n").rstrip(b"\n")
    wrong = _wrong_triplet.search(text)
    if wrong:
        line = text[wrong.start() :].split(b"\n", 1)[0].decode("utf-8", "replace")
        number = text.count(b"\n", 0, wrong.start()) + 1
        raise UserError(
            f"{path}: line {number} is {line[:60]!r}: {_what_is_wrong(line)}; "
            "expected 'user song rating', three integers separated by single blanks, rating 1..5"
        )
    table = np.fromstring(text.decode("ascii"), np.int32, sep=" ").reshape(-1, 3)
    for column, what in enumerate(("user", "song")):
        present = np.unique(table[:, column])
        gaps = np.flatnonzero(present != np.arange(present.size))
        require(
            gaps.size == 0,
            f"{path}: {what} {gaps[0] if gaps.size else 0} has no line; expected {what} numbers from 0 up to "
            f"the largest ({present[-1]}) without a gap: renumber them",
        )
    users, songs = (np.ascontiguousarray(table[:, column]) for column in (0, 1))
    return users, songs, table[:, 2].astype(np.float32)


def _what_is_wrong(line: str) -> str:
    fields = line.split(" ")
    if len(fields) != 3 or "" in fields:
        return (
            f"it has {counted(len(line.split()), 'field')}"
            if len(line.split()) != 3
            else "its blanks are not single blanks"
        )
    for name, field in zip(("user", "song", "rating"), fields, strict=True):
        if not re.fullmatch(r"-?[0-9]+", field, re.ASCII):
            return f"the {name} is no integer"
        if name != "rating" and field.startswith("-"):
            return f"the {name} is negative"
        if name != "rating" and len(field) > 9:
            return f"the {name} is too large"
    return "the rating is not one of 1, 2, 3, 4, 5"


@dataclass(frozen=True)
class Table:
    """Chosen columns of a CSV file as text."""

    path: Path
    columns: dict[str, list[str]]
    read: tables.Table
    """Where the rows are from; closed."""

    def error(self, row: int, message: str) -> UserError:
        """An error about ``row`` (counted from 0, without the header)."""
        return self.read.error(row, message)

    def line(self, row: int) -> str:
        """The line on which a row begins, in words."""
        return self.read.where(row).rpartition(", ")[2]

    def converted(self, column: str, convert: Callable[[str], Any], expected: str) -> list[Any]:
        """The column, converted; ``convert`` raises ValueError on values it does not take."""
        values = []
        for row, text in enumerate(self.columns[column]):
            try:
                values.append(convert(text))
            except ValueError:
                raise self.error(row, f"column '{column}' is {text[:40]!r}; expected {expected}") from None
        return values

    def ids(self, column: str) -> list[str]:
        """The column in Unicode's composed form (NFC): an accent may be written in two ways, by macOS for example."""
        return [unicodedata.normalize("NFC", text) for text in self.columns[column]]

    def unique(self, column: str) -> list[str]:
        """The ids in the column, which must be neither empty nor repeated; see :meth:`ids`."""
        seen: dict[str, int] = {}
        found = self.ids(column)
        for row, text in enumerate(found):
            if not text:
                raise self.error(row, f"column '{column}' is empty; expected an id")
            if text in seen:
                raise self.error(row, f"{column} {text!r} is on {self.line(seen[text])} already; remove one")
            seen[text] = row
        return found

    def numbered(self, count: int, because: str) -> None:
        """Check that the column ``number`` is 0, 1, 2, ... up to ``count`` - 1, row by row."""
        numbers = self.converted("number", integer, "an integer")
        for row, number in enumerate(numbers):
            if number != row:
                raise self.error(row, f"column 'number' is {number}; expected {row}, the number of the row from 0")
        require(
            len(numbers) == count,
            f"{self.path}: column 'number' ends at {len(numbers) - 1} ({self.line(len(numbers) - 1)}); "
            f"expected {count - 1}, as {because}",
        )


def read_table(path: Path, *columns: str, optional: Sequence[str] = ()) -> Table:
    """Read ``columns`` of a CSV file (UTF-8, first line names the columns; other columns are ignored).

    Args:
        optional: columns that the file may lack; then the table lacks them too.

    Raises:
        UserError: as :func:`common.tables.open_table`, or there is no row.
    """
    declared = {name: tables.Column("text", empty=True) for name in columns}
    declared |= {name: tables.Column("text", empty=True, required=False) for name in optional}
    with tables.open_table(path, declared, separator=",", multiline=True) as read:
        require(read.rows > 0, f"{path}: has no row after line 1; get the file again (data/README.md)")
        frame = read.frame()
    return Table(path, {name: frame[name].tolist() for name in read.columns}, read)


def read_song_information(
    information: Path, matching: Path, num_songs: int, counts: RowCounts | None = None
) -> pd.DataFrame:
    """Read ``song_information.csv`` in the order of the song numbers of ``song_to_number_matching.csv``.

    Returns:
        A frame indexed by song number with song_id, artist_name, title, release, year (0 is unknown) and
        duration (seconds).

    Raises:
        UserError: a number, id or duration is wrong, or the two files have different songs.
    """
    numbers = read_table(matching, "song_id", "number")
    ids = numbers.unique("song_id")
    numbers.numbered(num_songs, f"triplets.txt has {counted(num_songs, 'distinct song')}")
    table = read_table(information, "song_id", "artist_name", "title", "release", "year", "duration")
    for read in (numbers, table):
        if counts is not None:
            counts.add(read.read)
    rows = {song: row for row, song in enumerate(table.unique("song_id"))}
    known = set(ids)
    for song, row in rows.items():
        if song not in known:
            raise table.error(row, f"song_id {song!r} is not in {matching.name}; expected the same songs in both")
    for row, song in enumerate(ids):
        if song not in rows:
            raise numbers.error(row, f"song_id {song!r} is not in {information.name}; expected the same songs in both")
    content: dict[str, list[Any]] = dict(table.columns) | {"song_id": list(rows)}
    content["year"] = table.converted("year", integer, "an integer, 0 if unknown")
    content["duration"] = table.converted("duration", positive, "a positive number of seconds")
    frame = pd.DataFrame(content).set_index("song_id", drop=False).loc[ids]
    return frame.set_index(pd.RangeIndex(num_songs, name="number"))


def check_users(path: Path, num_users: int, counts: RowCounts | None = None) -> None:
    """Check ``user_to_number_matching.csv``; nobody uses its ids, but a wrong file tells of a mix-up."""
    table = read_table(path, "user_id", "number")
    if counts is not None:
        counts.add(table.read)
    table.unique("user_id")
    table.numbered(num_users, f"triplets.txt has {counted(num_users, 'distinct user')}")


def integer(text: str) -> int:
    """An integer of at most nine digits; ValueError if it is none."""
    if not _integer.fullmatch(text):
        raise ValueError
    return int(text)


def positive(text: str) -> float:
    """A positive finite number; ValueError if it is none."""
    value = float(text)
    if not (0 < value < math.inf) or "_" in text:
        raise ValueError
    return value
