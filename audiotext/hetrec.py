"""Plays and tags of artists from Last.fm: the public dataset HetRec 2011 Last.fm 2K, read as it is given out.

Cantador, Brusilovsky, Kuflik: Second Workshop on Information Heterogeneity and Fusion in Recommender Systems (HetRec
2011), RecSys 2011. 92,834 play counts of 1,892 users and 17,632 artists (at most 50 of a user), and 186,479 tags. There
are no songs, biographies or clips: every artist is an item, and tags are its only text.
"""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np
from scipy import sparse

from audiotext.raw import MOST_PLAYS, RawData
from audiotext.tsv import Line, read_tsv
from common.options import UserError, require
from common.sources import check_listing, find_file

ARCHIVE = "hetrec2011-lastfm-2k.zip"
MEMBERS = ("artists.dat", "user_artists.dat", "tags.dat", "user_taggedartists.dat")
MOST = 2**31 - 1
LARGEST = 2**28
"""Bytes of a file of the dataset; the real ones have up to 4 MB, and are unpacked into memory."""


def is_hetrec(path: Path) -> bool:
    """Whether ``path`` is the archive, or a folder with it or with its files."""
    if path.is_dir():
        return find_file(path, ARCHIVE) is not None or find_file(path, "user_artists.dat") is not None
    return path.name.lower() == ARCHIVE


def read_hetrec(path: Path) -> RawData:
    """Read and check the archive, or a folder with it or with its files.

    The result is :attr:`RawData.artist_level`: ``songs`` are the artists. The count of a tag is the number of users who
    gave it to the artist.

    Raises:
        UserError: a file or column is missing, or a line has an unknown id, a bad number or what another line has said
            already. The message names the file, the line and what was expected.
    """
    number: dict[int, int] = {}
    names: dict[str, str] = {}
    for line in _lines(path, "artists.dat", "id", "name"):
        artist = line.count("id", 0, MOST)
        if artist in number:
            raise UserError(f"{line.where}: the artist {artist} is there already")
        number[artist] = len(number)
        if name := " ".join(line.values["name"].split()):
            names[str(artist)] = name
    require(bool(number), f"{path}: artists.dat holds no artist")
    users, plays = _read_plays(path, number)
    tags, unknown = _read_tags(path, number)
    counts = {
        "artists": len(number),
        "users": len(users),
        "pairs of user and artist": plays.nnz,
        "plays": int(plays.sum(dtype=np.int64)),
        "artists without plays": int((plays.getnnz(axis=0) == 0).sum()),
        "artists without tags": tags.count(Counter()),
        "tags of unknown artists": unknown,
    }
    ids = [str(artist) for artist in number]
    none: list[Counter[str]] = [Counter() for _ in ids]
    return RawData(
        ids, ids, users, np.arange(len(ids)), plays, [""] * len(ids), tags, none, [None] * len(ids), True, counts,
        artist_names=names,
    )  # fmt: skip


def _read_plays(path: Path, number: dict[int, int]) -> tuple[list[str], sparse.csr_matrix]:
    users: dict[int, int] = {}
    cells: dict[tuple[int, int], int] = {}
    for line in _lines(path, "user_artists.dat", "userID", "artistID", "weight"):
        user, artist = line.count("userID", 0, MOST), line.count("artistID", 0, MOST)
        if artist not in number:
            raise UserError(f"{line.where}: the artist {artist} is not in artists.dat")
        cell = users.setdefault(user, len(users)), number[artist]
        if cell in cells:
            raise UserError(f"{line.where}: user {user} and artist {artist} are there already")
        cells[cell] = line.count("weight", 1, MOST_PLAYS)
    require(bool(cells), f"{path}: user_artists.dat holds no plays")
    rows, columns = zip(*cells, strict=True)
    plays = sparse.csr_matrix(
        (np.array(list(cells.values()), np.float32), (rows, columns)), shape=(len(users), len(number))
    )
    return [str(user) for user in users], plays


def _read_tags(path: Path, number: dict[int, int]) -> tuple[list[Counter[str]], int]:
    """Tags of each artist with the number of users who gave them, and tags of artists that artists.dat lacks.

    The dataset itself has such tags: artists whom nobody plays.
    """
    names = {
        line.count("tagID", 0, MOST): line.text("tagValue")
        for line in _lines(path, "tags.dat", "tagID", "tagValue", encoding="latin-1")
    }
    tags: list[Counter[str]] = [Counter() for _ in number]
    given: set[tuple[int, int, int]] = set()
    unknown = 0
    for line in _lines(path, "user_taggedartists.dat", "userID", "artistID", "tagID"):
        user, artist, tag = (line.count(column, 0, MOST) for column in ("userID", "artistID", "tagID"))
        if tag not in names:
            raise UserError(f"{line.where}: the tag {tag} is not in tags.dat")
        if artist not in number:
            unknown += 1
        elif (user, artist, tag) not in given:
            given.add((user, artist, tag))
            tags[number[artist]][names[tag]] += 1
    return tags, unknown


def _lines(path: Path, member: str, *columns: str, encoding: str = "utf-8") -> Iterator[Line]:
    with _open(path, member) as (name, stream):
        yield from read_tsv(name, columns, stream=stream, encoding=encoding)


@contextlib.contextmanager
def _open(path: Path, member: str) -> Iterator[tuple[Path, IO[bytes]]]:
    """A file of the dataset, from the folder or out of the archive; nothing is unpacked to disk."""
    plain = find_file(path, member)
    if plain is not None:
        with plain.open("rb") as stream:
            yield plain, stream
        return
    archive = find_file(path, ARCHIVE) if path.is_dir() else path
    require(archive is not None and archive.is_file(), f"{path}: lacks {member} and {ARCHIVE}; see data/README.md")
    assert archive is not None
    try:
        check_listing(archive)
        with zipfile.ZipFile(archive) as opened:
            found = [info for info in opened.infolist() if PurePosixPath(info.filename).name.lower() == member]
            require(len(found) == 1, f"{archive}: holds {len(found)} files {member}; expected one")
            size = found[0].file_size
            require(size <= LARGEST, f"{archive}: {member} unpacks to {size:,} bytes; expected at most {LARGEST:,}")
            content = opened.read(found[0])
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive}: the archive is damaged: {error}; download it again") from error
    yield archive / member, io.BytesIO(content)
