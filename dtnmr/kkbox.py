"""The csv files of KKBOX's WSDM Cup 2018 challenge, as Kaggle ships them, read in pieces of bounded size.

A broken file (a missing column, a line with too few or too many values, none at all, text that is not UTF-8) is a
mistake that names the file and the line. What the released files themselves contain is dealt with and counted: ages
and lengths that are no numbers, ids that come twice, plays of songs and users that have no entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.options import UserError, require
from common.sources import find_file
from dtnmr.csvtables import read_table, unmarked
from dtnmr.dataset import SONG_FEATURES, Integers

NAMES = ("train.csv", "test.csv", "songs.csv", "members.csv")
REQUIRED = tuple((name, f"{name}.gz", f"{name}.zip") for name in NAMES)
"""The files of the dataset, by all the names that will do."""
MILLISECONDS = 1000.0
_PLAYS = {"msno": ("msno",), "song_id": ("song_id",), "source_system_tab": ("source_system_tab",)}
_MEMBERS = {name: (name,) for name in ("msno", "bd", "gender", "city")}
_SONGS = {
    "song_id": ("song_id",),
    "length": ("song_length", "song_len"),  # the released code reads the second, Kaggle's file has the first
    "genre": ("genre_ids",),
    "artist": ("artist_name",),
    "composer": ("composer",),
    "language": ("language",),
}


class Numbering:
    """Numbers texts from 0 in the order in which it first meets them."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def __call__(self, column: pd.Series) -> Integers:
        """The numbers of a categorical column's values."""
        texts, numbers = column.cat.categories, self.numbers
        known = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts), np.int32, len(texts))
        return known[column.cat.codes.to_numpy()]

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
class Members:
    """members.csv in the order of the file, without users listed before.

    ``texts`` holds ``age`` (as ``ages``), ``gender`` and ``city`` of each user; ``ages`` is -1 where it is no whole
    number.
    """

    ids: list[str]
    ages: NDArray[np.int64]
    texts: dict[str, list[str]]
    counts: dict[str, int]


@dataclass(frozen=True)
class Songs:
    """The songs of songs.csv that are played, in the order of the file, without songs listed before.

    Attributes:
        ids: song_id of each.
        numbers: (songs,) their numbers in :class:`Names`.
        seconds: (songs,) lengths; NaN where the file has no positive number.
        texts: feature of SONG_FEATURES -> its text in the file, such as ``465|458``.
    """

    ids: list[str]
    numbers: Integers
    seconds: NDArray[np.float64]
    texts: dict[str, list[str]]
    counts: dict[str, int]


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


def read_plays(path: Path, names: Names) -> Plays:
    """Read train.csv or test.csv.

    Raises:
        UserError: the file is broken, or holds no row.
    """
    pieces: list[tuple[Integers, ...]] = []
    for table in read_table(path, _PLAYS, "category"):
        pieces.append((names.users(table.msno), names.songs(table.song_id), names.tabs(table.source_system_tab)))
    require(bool(pieces), f"{path}: holds no row below its header; expected one for each play")
    return Plays(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def read_members(path: Path) -> Members:
    """Read members.csv.

    Raises:
        UserError: the file is broken, or holds no row.
    """
    table, twice = _without_repeats(list(read_table(path, _MEMBERS, "str")), "msno", path)
    numbers = pd.to_numeric(table.bd, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    whole = np.isfinite(numbers) & (numbers == np.floor(numbers)) & (np.abs(numbers) < 2**31)
    ages = np.where(whole, numbers, -1).astype(np.int64)
    texts = {"age": [str(age) for age in ages.tolist()], "gender": table.gender.tolist(), "city": table.city.tolist()}
    counts = {"members": len(table), "members listed again": twice, "ages that are no number": int((~whole).sum())}
    return Members(table.msno.tolist(), ages, texts, counts)


def read_songs(path: Path, played: Numbering) -> Songs:
    """Read the entries in songs.csv of the songs that are ``played``.

    Raises:
        UserError: the file is broken, or holds no row.
    """
    pieces, rows = [], 0
    for table in read_table(path, _SONGS, "str"):
        rows += len(table)
        numbers = [played.numbers.get(song, -1) for song in table.song_id.tolist()]
        pieces.append(table.assign(number=np.array(numbers, np.int32)).query("number >= 0"))
    table, twice = _without_repeats(pieces, "song_id", path)
    seconds = pd.to_numeric(table.length, errors="coerce").to_numpy(np.float64, na_value=np.nan) / MILLISECONDS
    wrong = ~(np.isfinite(seconds) & (seconds > 0))
    texts = {name: unmarked(table[name]) for name in SONG_FEATURES}
    # Kaggle's file has 52.0 for 52, as there are songs without a language.
    texts["language"] = texts["language"].str.replace(r"^(-?\d+)\.0$", r"\1", regex=True)
    counts = {"songs in the file": rows, "songs listed again": twice, "lengths that are no number": int(wrong.sum())}
    return Songs(
        table.song_id.tolist(),
        table.number.to_numpy(np.int32),
        np.where(wrong, np.nan, seconds),
        {name: column.tolist() for name, column in texts.items()},
        counts,
    )


def _without_repeats(pieces: list[pd.DataFrame], key: str, path: Path) -> tuple[pd.DataFrame, int]:
    """The first row of every id, and how many rows go."""
    require(bool(pieces), f"{path}: holds no row below its header; expected one for each {key}")
    table = pd.concat(pieces, ignore_index=True)
    again = table[key].duplicated()
    return table[~again].reset_index(drop=True), int(again.sum())
