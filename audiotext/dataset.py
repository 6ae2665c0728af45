"""Datasets: where dlrs-data, raw material or HetRec's files are; the artists and songs of dlrs-data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from audiotext import hetrec, raw
from audiotext.layout import ARTISTS, SONGS, ItemSet, Layout, Split
from audiotext.matrices import read_ids
from audiotext.sample import write_sample
from common import console
from common.console import counted
from common.options import UserError, require
from common.sources import MARKER, Dataset, data_root, dataset_folder, sample_dataset

FOLDER = "dlrs-data"
USERS = "users_index.tsv"
"""In ``splits/``: ids of the users, in the order of their factors. Not among the released files."""


def kind_of(folder: Path) -> Literal["dlrs", "raw", "hetrec"] | None:
    """What a folder holds; None if nothing that is known."""
    if factors_in(folder):
        return "dlrs"
    if (folder / "songs.tsv").is_file():
        return "raw"
    return "hetrec" if hetrec.is_hetrec(folder) else None


def factors_in(folder: Path) -> list[int]:
    """Numbers of factors, one for each factorisation, from the names of the files."""
    names = [path.name for part in ("splits", "test_data") for path in (folder / part).glob("*_als_*_MSD-A-*.npy")]
    return sorted({int(match[1]) for name in names if (match := re.search(r"_als_(\d+)_", name))})


def find_dataset(data_dir: Path | None) -> tuple[Dataset, Literal["dlrs", "raw", "hetrec"]]:
    """The user's folder, else the released dlrs-data below ``data/audiotext``, else the sample.

    Raises:
        UserError: the folder holds nothing that can be read.
    """
    if data_dir is not None:
        require(data_dir.is_dir(), f"--data-dir {data_dir}: no such folder")
        folder = data_dir / FOLDER if kind_of(data_dir / FOLDER) == "dlrs" else data_dir
        kind = kind_of(folder)
        if kind is None:
            raise UserError(
                f"--data-dir {data_dir}: holds neither dlrs-data (splits/y_train_als_200_MSD-A-songs.npy, ...), nor "
                "raw material (songs.tsv, plays.tsv), nor HetRec 2011 Last.fm files; see data/README.md"
            )
        return dataset_folder("audiotext", folder, raw.FILES if kind == "raw" else [], write_sample), kind
    home = data_root() / "audiotext"
    for folder in (home, home / FOLDER, home / "released", home / "released" / FOLDER):
        if kind_of(folder) == "dlrs":
            return Dataset(folder, folder / "prepared", "released", (folder / MARKER).is_file()), "dlrs"
    console.notify(
        f"The released files are missing in {home / FOLDER} (data/README.md says where to get them): "
        f"the synthetic sample in {home / 'sample'} is used.",
    )
    return sample_dataset("audiotext", raw.FILES, write_sample), "raw"


@dataclass(frozen=True)
class Items:
    """Artists or songs: what they are called, whose they are, and what is to be predicted of them."""

    kind: ItemSet
    train: list[str]
    """Ids; numbers from 1 where the data have no index."""
    test: list[str]
    factors: NDArray[Any]
    """(train, f) of any length."""
    user_factors: NDArray[Any]
    """(users, f)"""
    plays: sparse.csr_matrix
    """(test, users)"""
    train_artists: list[str] | None
    """Of each training item; None where the data do not say whose the songs are."""
    test_artists: list[str] | None
    fingerprint: str
    """SHA-256 over the files of the items, their plays, factors, artists and names, and of the users."""

    @property
    def counts(self) -> dict[str, int]:
        """For ``metrics.json``."""
        users, used = self.plays.shape[1], int((self.plays.getnnz(axis=0) > 0).sum())
        found = {"train_items": len(self.train), "test_items": len(self.test), "users": users}
        found |= {"users_with_test_plays": used, "factors": self.factors.shape[1]}
        if self.train_artists is not None and self.test_artists is not None:
            test = set(self.test_artists)
            found |= {"test_artists": len(test), "cold_start_artists": len(test - set(self.train_artists))}
        return found


@dataclass(frozen=True)
class Collection:
    """What a network learns from and is measured on: items, and where what it reads of them lies."""

    layout: Layout
    items: Items
    rows: dict[str, Any]
    """What became of the rows of the files, see :meth:`common.row_counts.RowCounts.as_json`."""
    notes: list[str] = field(default_factory=list)
    """What was recognised in the files."""
    folder: Any = None
    """A temporary folder that the layout lies in; it goes when this does."""

    @property
    def fingerprint(self) -> str:
        """That of the items."""
        return self.items.fingerprint

    @classmethod
    def of(cls, layout: Layout, kind: ItemSet, **more: Any) -> Collection:
        """The artists or the songs of a dataset."""
        rows = dict(layout.counted or {"files": {}, "parts": {}})
        return cls(layout, read_items(layout, kind), **({"rows": rows} | more))


def read_items(layout: Layout, kind: ItemSet) -> Items:
    """Factors, plays and ids of the artists or the songs.

    Raises:
        UserError: a file is missing, damaged or does not fit the others.
    """
    factors, plays = layout.load_factors(kind), layout.load_matrix_test(kind)
    train, test = (_ids(layout, split, kind, len(rows)) for split, rows in _splits(factors, plays))
    names = [layout.factors_name(kind), layout.user_factors_name(kind), layout.matrix_test_name(kind), USERS]
    files = [layout.find(name) for name in (*names, *(layout.index_name(split, kind) for split in ("train", "test")))]
    files += [layout.artists_of_songs, layout.names_path(SONGS)] if kind == SONGS else [layout.names_path(ARTISTS)]
    users = layout.load_user_factors(kind)
    artists = [_artists(layout, kind, ids) for ids in (train, test)]
    return Items(kind, train, test, factors, users, plays, artists[0], artists[1], layout.fingerprint(files))


def _splits(factors: Any, plays: sparse.csr_matrix) -> list[tuple[Split, range]]:
    return [("train", range(len(factors))), ("test", range(plays.shape[0]))]


def _ids(layout: Layout, split: Split, kind: ItemSet, rows: int) -> list[str]:
    there = layout.find(layout.index_name(split, kind)).is_file()
    return layout.load_index(split, kind) if there else [str(number) for number in range(1, rows + 1)]


def _artists(layout: Layout, kind: ItemSet, ids: list[str]) -> list[str] | None:
    if kind == ARTISTS:
        return ids
    if not layout.artists_of_songs.is_file():
        return None
    of_song = layout.load_artists_of_songs()
    missing = [song for song in ids if song not in of_song]
    require(not missing, f"{layout.artists_of_songs}: lacks the song {(missing or [''])[0]!r}")
    return [of_song[song] for song in ids]


def owner_rows(layout: Layout, items: Items, split: Split) -> NDArray[np.int64]:
    """The row of each song's artist among the artists of the split.

    Raises:
        UserError: the data do not say whose the songs are, or name an artist that the split has not.
    """
    assert items.kind == SONGS
    artists = items.train_artists if split == "train" else items.test_artists
    if artists is None:
        raise UserError(f"{layout.artists_of_songs}: no such file; write lines of song, tab, artist into it")
    row = {artist: number for number, artist in enumerate(layout.load_index(split, ARTISTS))}
    missing = [artist for artist in artists if artist not in row]
    index = layout.find(layout.index_name(split, ARTISTS))
    require(not missing, f"{index}: lacks {(missing or [''])[0]!r}, an artist of {layout.artists_of_songs}")
    return np.array([row[artist] for artist in artists], np.int64)


def read_users(layout: Layout, count: int) -> list[str]:
    """Ids of the users; numbers from 1 where the data have none."""
    path = layout.path(USERS)
    if not path.is_file():
        return [str(number) for number in range(1, count + 1)]
    ids = read_ids(path)
    require(
        len(ids) == count,
        f"{path}: has {counted(len(ids), 'line')}; expected {count:,}, one for each row of user factors",
    )
    return ids
