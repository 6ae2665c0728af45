"""Plays and tags of artists from Last.fm: the public dataset HetRec 2011 Last.fm 2K, read as it is given out.

Cantador, Brusilovsky, Kuflik: Second Workshop on Information Heterogeneity and Fusion in Recommender Systems (HetRec
2011), RecSys 2011. 92,834 play counts of 1,892 users and 17,632 artists (at most 50 of a user), and 186,479 tags. There
are no songs, biographies or clips: every artist is an item, and tags are its only text.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from scipy import sparse

from audiotext.raw import MOST_PLAYS, RawData, first_row, open_lines
from common.options import UserError, require
from common.row_counts import RowCounts
from common.sources import check_listing, find_file
from common.table_sources import Source
from common.tables import Column, Table

ARCHIVE = "hetrec2011-lastfm-2k.zip"
MEMBERS = ("artists.dat", "user_artists.dat", "tags.dat", "user_taggedartists.dat")
NUMBER = Column("integer", 0, 2**31 - 1)
ANYTHING = Column("text", empty=True)
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
    rows, notes = RowCounts(), list[str]()
    with _open(path, "artists.dat", {"id": NUMBER, "name": ANYTHING}, rows, notes) as table:
        frame = table.frame()
        require(len(frame) > 0, f"{path}: artists.dat holds no artist")
        if (again := first_row(frame, frame.id.duplicated())) is not None:
            raise table.error(again, f"the artist {frame.id.iloc[again]} is there already")
        number = {artist: row for row, artist in enumerate(frame.id.tolist())}
        shown = {str(artist): " ".join(name.split()) for artist, name in zip(number, frame.name, strict=True)}
    users, plays = _read_plays(path, number, rows, notes)
    tags, unknown = _read_tags(path, number, rows, notes)
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
        rows, notes, artist_names={artist: name for artist, name in shown.items() if name},
    )  # fmt: skip


def _read_plays(
    path: Path, number: dict[int, int], rows: RowCounts, notes: list[str]
) -> tuple[list[str], sparse.csr_matrix]:
    columns = {"userID": NUMBER, "artistID": NUMBER, "weight": Column("integer", 1, MOST_PLAYS)}
    with _open(path, "user_artists.dat", columns, rows, notes) as table:
        frame = table.frame()
        require(len(frame) > 0, f"{path}: user_artists.dat holds no plays")
        artist = frame.artistID.map(number)
        if (row := first_row(frame, artist.isna())) is not None:
            raise table.error(row, f"the artist {frame.artistID.iloc[row]} is not in artists.dat")
        if (row := first_row(frame, frame.duplicated(["userID", "artistID"]))) is not None:
            pair = f"user {frame.userID.iloc[row]} and artist {frame.artistID.iloc[row]}"
            raise table.error(row, f"{pair} are there already")
    user, users = pd.factorize(frame.userID)
    cells = frame.weight.to_numpy(np.float32), (user, artist.to_numpy(np.int64))
    return [str(one) for one in users], sparse.csr_matrix(cells, shape=(len(users), len(number)))


def _read_tags(path: Path, number: dict[int, int], rows: RowCounts, notes: list[str]) -> tuple[list[Counter[str]], int]:
    """Tags of each artist with the number of users who gave them, and tags of artists that artists.dat lacks.

    The dataset itself has such tags: artists whom nobody plays.
    """
    columns = {"tagID": NUMBER, "tagValue": Column("text")}
    with _open(path, "tags.dat", columns, rows, notes, encoding="latin-1") as table:
        frame = table.frame()
        if (again := first_row(frame, frame.tagID.duplicated())) is not None:
            raise table.error(again, f"the tag {frame.tagID.iloc[again]} is there already")
        names = dict(zip(frame.tagID.tolist(), frame.tagValue.tolist(), strict=True))
    columns = {"userID": NUMBER, "artistID": NUMBER, "tagID": NUMBER}
    with _open(path, "user_taggedartists.dat", columns, rows, notes) as table:
        given = table.frame()
        if (row := first_row(given, ~given.tagID.isin(names))) is not None:
            raise table.error(row, f"the tag {given.tagID.iloc[row]} is not in tags.dat")
        file = table.files[0].name
    known = given[given.artistID.isin(number)]
    once = known.drop_duplicates(["userID", "artistID", "tagID"])
    rows.leave_out(file, "tags of artists that artists.dat lacks", len(given) - len(known))
    rows.leave_out(file, "tags that the user gave the artist before", len(known) - len(once))
    tags: list[Counter[str]] = [Counter() for _ in number]
    for artist, tag in zip(once.artistID.tolist(), once.tagID.tolist(), strict=True):
        tags[number[artist]][names[tag]] += 1
    return tags, len(given) - len(known)


@contextlib.contextmanager
def _open(
    path: Path,
    member: str,
    columns: dict[str, Column],
    rows: RowCounts,
    notes: list[str],
    encoding: str = "utf-8",
) -> Iterator[Table]:
    """A file of the dataset, from the folder or out of the archive; nothing is unpacked to disk."""
    plain = find_file(path, member)
    name, content = (plain, plain.read_bytes()) if plain else _member(path, member)
    if encoding != "utf-8" and not content.startswith(codecs.BOM_UTF8):
        content = content.decode(encoding).encode()
    source = Source(name, None if plain else member, lambda: io.BytesIO(content))
    with open_lines(source, columns, rows, notes) as table:
        yield table


def _member(path: Path, member: str) -> tuple[Path, bytes]:
    """The archive, and the content of a file in it."""
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
            return archive, opened.read(found[0])
    except (OSError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise UserError(f"{archive}: the archive is damaged: {error}; download it again") from error
