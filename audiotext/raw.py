"""Raw material of a music collection: who played what, biographies, tags and entities of artists, clips of songs.

A folder holds (tables are UTF-8, with a header, separated by tabs, without quoting: a quotation mark is a character):

- ``songs.tsv``: ``song_id``, ``artist_id`` and perhaps ``title`` and ``artist``, the names to show, and ``audio``, a
  path below the folder; where that is empty or not there, ``clips/<song_id>.wav``, ``.ogg``, ``.mp3`` or ``.flac`` is
  taken if there is one
- ``plays.tsv`` or ``plays.tsv.gz``: ``user_id``, ``song_id``, ``plays``
- ``biographies/<artist_id>.txt``
- ``tags.tsv`` (may be missing): ``artist_id``, ``tag``, ``count``
- ``entities.tsv`` (may be missing): ``artist_id``, ``entity``; a line for each mention
"""

from __future__ import annotations

import contextlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from common.options import UserError, require
from common.row_counts import RowCounts
from common.sources import find_file
from common.table_sources import Source
from common.table_values import quoted
from common.tables import Column, Table, open_table

FILES: tuple[str | tuple[str, ...], ...] = ("songs.tsv", ("plays.tsv", "plays.tsv.gz"))
"""Files that a folder must have; a tuple lists names of which any will do."""
SOUND = (".wav", ".ogg", ".mp3", ".flac")
MOST_PLAYS = 10**9
MOST_TAGS = 10**6


@dataclass(frozen=True)
class ArtistSplit:
    """Artists and their songs, numbered as in :class:`RawData`, in ascending order. No test artist is known."""

    train_artists: NDArray[np.int64]
    test_artists: NDArray[np.int64]
    train_songs: NDArray[np.int64]
    test_songs: NDArray[np.int64]


@dataclass(frozen=True)
class RawData:
    """A collection; songs, artists and users are numbered from 0.

    Attributes:
        songs, artists, users: number -> id. Songs stand in the order of ``songs.tsv``, artists and users in the order
            in which they are first named.
        artist_of: (songs,) number of each song's artist. In a collection without songs (:attr:`artist_level`)
            ``songs`` are the artists themselves.
        plays: (users, songs) play counts.
        biographies: text of each artist, empty if there is none.
        tags: tag -> count, of each artist.
        entities: entity -> mentions, of each artist.
        audio: the sound file of each song, or None.
        artist_level: whether there are no songs.
        counts: what was read and what is missing, for reports.
        rows: what became of the rows of each file.
        notes: what was recognised in the files, such as ids with ``.0``; a sentence each.
        song_names: song id -> title and artist as they are to be shown, either perhaps empty; only songs that have one.
        artist_names: artist id -> name; only artists that have one.
    """

    songs: list[str]
    artists: list[str]
    users: list[str]
    artist_of: NDArray[np.int64]
    plays: sparse.csr_matrix
    biographies: list[str]
    tags: list[Counter[str]]
    entities: list[Counter[str]]
    audio: list[Path | None]
    artist_level: bool = False
    counts: dict[str, int] = field(default_factory=dict)
    rows: RowCounts = field(default_factory=RowCounts)
    notes: list[str] = field(default_factory=list)
    song_names: dict[str, tuple[str, str]] = field(default_factory=dict)
    artist_names: dict[str, str] = field(default_factory=dict)

    def artist_plays(self) -> sparse.csr_matrix:
        """(users, artists) plays of all songs of each artist."""
        songs = len(self.songs)
        ownership = (np.ones(songs), (np.arange(songs), self.artist_of))
        return sparse.csr_matrix(self.plays @ sparse.csr_matrix(ownership, shape=(songs, len(self.artists))))

    def split_by_artist(self, seed: int, test_share: float = 0.2) -> ArtistSplit:
        """Hold out a share of the artists with all their songs.

        Raises:
            UserError: there are too few artists for both parts.
        """
        count = len(self.artists)
        held_out = round(test_share * count)
        require(
            0 < held_out < count, f"{count} artists cannot be split: a share of {test_share:g} leaves a part without"
        )
        test = np.zeros(count, bool)
        test[np.random.default_rng((seed, 0)).permutation(count)[:held_out]] = True
        of_test = test[self.artist_of]
        return ArtistSplit(*(np.flatnonzero(mask) for mask in (~test, test, ~of_test, of_test)))


def read_raw(folder: Path) -> RawData:
    """Read and check the collection in ``folder``.

    Raises:
        UserError: a file, column or clip is missing, or a line has an unknown id, a bad count or what another line
            has said already. The message names the file, the line and what was expected.
    """
    rows, notes = RowCounts(), list[str]()
    songs, artists, artist_of, audio, names = _read_songs(folder, rows, notes)
    users, plays, counts = _read_plays(folder, songs, rows, notes)
    biographies, strangers = _read_biographies(folder / "biographies", artists)
    tags = _read_terms(folder / "tags.tsv", artists, "tag", rows, notes, counted=True)
    entities = _read_terms(folder / "entities.tsv", artists, "entity", rows, notes, counted=False)
    counts = {
        "songs": len(songs),
        "artists": len(artists),
        **counts,
        "songs without audio": audio.count(None),
        "artists without biography": sum(not text.strip() for text in biographies),
        "biographies of unknown artists": strangers,
        "artists without tags": tags.count(Counter()),
        "artists without entities": entities.count(Counter()),
    }
    return RawData(
        list(songs), list(artists), users, artist_of, plays, biographies, tags, entities, audio, counts=counts,
        rows=rows, notes=notes, song_names=names, artist_names=_artist_names(songs, artists, artist_of, names),
    )  # fmt: skip


def _artist_names(
    songs: Iterable[str], artists: Iterable[str], artist_of: NDArray[np.int64], names: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    """The name that most of an artist's songs have, of several the first."""
    given, ids = dict[str, Counter[str]](), list(artists)
    for song, artist in zip(songs, artist_of.tolist(), strict=True):
        if name := names.get(song, ("", ""))[1]:
            given.setdefault(ids[artist], Counter())[name] += 1
    return {artist: found.most_common(1)[0][0] for artist, found in given.items()}


@contextlib.contextmanager
def open_lines(
    source: Path | Source, columns: Mapping[str, Column], rows: RowCounts, notes: list[str]
) -> Iterator[Table]:
    """A table separated by tabs, without quoting: a quotation mark is a character. Its rows are counted.

    Raises:
        UserError: as :func:`common.tables.open_table`, or a value of one of ``columns`` that is needed is blank.
    """
    with open_table(source, columns, separator="\t", quotes=False) as table:
        rows.add(table)
        notes += table.notes
        for name, column in table.columns.items():
            if column.kind in ("text", "id") and not column.empty:
                blank = table.database.execute(
                    f"SELECT min(row) FROM {table.name} WHERE trim({quoted(name)}, ' \t\r') = ''"
                ).fetchone()
                if blank and blank[0] is not None:
                    raise table.error(blank[0], f"{name} is blank; expected {column.expected}")
        yield table


def first_row(frame: pd.DataFrame, mask: Any) -> int | None:
    """The number of the first row for which ``mask`` (rows,) holds; None if there is none."""
    places = np.flatnonzero(mask)
    return int(frame.index[places[0]]) if len(places) else None


def _read_songs(
    folder: Path, rows: RowCounts, notes: list[str]
) -> tuple[dict[str, int], dict[str, int], NDArray[np.int64], list[Path | None], dict[str, tuple[str, str]]]:
    path = folder / "songs.tsv"
    optional = Column("text", required=False, empty=True)
    columns = {"song_id": Column("id"), "artist_id": Column("id"), "title": optional, "artist": optional}
    clips = _named_files(clip for clip in _files(folder / "clips") if clip.suffix.lower() in SOUND)
    audio = list[Path | None]()
    with open_lines(path, columns | {"audio": optional}, rows, notes) as table:
        frame = table.frame()
        require(len(frame) > 0, f"{path}: holds no song")
        if (again := first_row(frame, frame.song_id.duplicated())) is not None:
            raise table.error(again, f"the song {frame.at[again, 'song_id']!r} is there already")
        ids = frame.song_id.tolist()
        named = frame.audio.str.strip().tolist() if "audio" in frame else [""] * len(ids)
        for row, (song, clip) in enumerate(zip(ids, named, strict=True)):
            try:
                audio.append(_named_clip(folder, clip) if clip else _file_of(song, clips))
            except UserError as error:
                raise table.error(row, str(error)) from None
    artist_of, artists = pd.factorize(frame.artist_id)
    shown = (
        [" ".join(text.split()) for text in frame[column]] if column in frame else [""] * len(ids)
        for column in ("title", "artist")
    )
    names = {song: (title, artist) for song, title, artist in zip(ids, *shown, strict=True) if title or artist}
    numbers = {artist: number for number, artist in enumerate(artists)}
    return {song: row for row, song in enumerate(ids)}, numbers, artist_of.astype(np.int64), audio, names


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _named_files(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by their names without endings, composed (NFC): macOS writes ``é`` as ``e`` and an accent.

    Raises:
        UserError: two names are the same but for that.
    """
    found: dict[str, Path] = {}
    for path in paths:
        before = found.setdefault(unicodedata.normalize("NFC", path.stem), path)
        twice = before.stem != path.stem
        require(
            not twice, f"{path}: has the name of {before.name}, written otherwise (NFC and NFD); remove one of them"
        )
        found[unicodedata.normalize("NFC", path.stem)] = path
    return found


def _file_of(item: str, files: Mapping[str, Path]) -> Path | None:
    return files.get(unicodedata.normalize("NFC", item))


def _named_clip(folder: Path, named: str) -> Path:
    inside = not PurePosixPath(named).is_absolute() and ".." not in PurePosixPath(named).parts
    require(inside, f"audio is {named!r}; expected a path below {folder}")
    for written in (named, *(unicodedata.normalize(form, named) for form in ("NFC", "NFD"))):
        if (folder / written).is_file():
            return folder / written
    raise UserError(f"there is no {folder / named}; leave audio empty or mend it")


def _read_plays(
    folder: Path, songs: Mapping[str, int], rows: RowCounts, notes: list[str]
) -> tuple[list[str], sparse.csr_matrix, dict[str, int]]:
    path = find_file(folder, "plays.tsv", "plays.tsv.gz")
    if path is None:
        raise UserError(f"{folder / 'plays.tsv'}: no such file, nor plays.tsv.gz")
    columns = {"user_id": Column("id"), "song_id": Column("id"), "plays": Column("integer", 1, MOST_PLAYS)}
    users: dict[str, int] = {}
    parts: list[tuple[NDArray[Any], ...]] = []
    with open_lines(path, columns, rows, notes) as table:
        require(table.rows > 0, f"{path}: holds no plays")
        for frame in table.chunks():
            known = frame.song_id.map(songs)
            if (row := first_row(frame, known.isna())) is not None:
                example = f"songs.tsv, whose ids are such as {next(iter(songs))!r}"
                raise table.error(row, f"the song {frame.at[row, 'song_id']!r} is not in {example}")
            codes, names = pd.factorize(frame.user_id)
            numbers = np.array([users.setdefault(name, len(users)) for name in names], np.int64)
            parts.append((numbers[codes], known.to_numpy().astype(np.int64), frame.plays.to_numpy().astype(np.int64)))
        user, song, count = (np.concatenate(column) for column in zip(*parts, strict=True))
        _require_once(table, user * len(songs) + song)
    plays = sparse.csr_matrix((count.astype(np.float32), (user, song)), shape=(len(users), len(songs)))
    figures = {"users": len(users), "pairs of user and song": plays.nnz, "plays": int(count.sum())}
    figures["songs without plays"] = int((plays.getnnz(axis=0) == 0).sum())
    return list(users), plays, figures


def _require_once(table: Table, keys: NDArray[np.int64]) -> None:
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    if len(again):
        place = again[order[again].argmin()]
        before = table.where(order[place - 1]).rpartition(", ")[2]
        raise table.error(order[place], f"repeats the user and song of {before}; add up their plays")


def _read_biographies(folder: Path, artists: Mapping[str, int]) -> tuple[list[str], int]:
    """Texts by artist, and the number of files of no known artist."""
    files = _named_files(path for path in _files(folder) if path.suffix.lower() == ".txt")
    texts, read = [""] * len(artists), set()
    for artist, number in artists.items():
        path = _file_of(artist, files)
        if path is None:
            continue
        read.add(path)
        try:
            texts[number] = path.read_bytes().decode("utf-8")  # line ends as they are
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return texts, len(files) - len(read)


def _read_terms(
    path: Path, artists: Mapping[str, int], column: str, rows: RowCounts, notes: list[str], *, counted: bool
) -> list[Counter[str]]:
    """Terms of each artist; one that is counted stands in one line, others in a line for each mention."""
    terms: list[Counter[str]] = [Counter() for _ in artists]
    if not path.is_file():
        return terms
    columns = {"artist_id": Column("id"), column: Column("text")}
    columns |= {"count": Column("integer", 0, MOST_TAGS)} if counted else {}
    with open_lines(path, columns, rows, notes) as table:
        for frame in table.chunks():
            counts = frame["count"].tolist() if counted else [1] * len(frame)
            for row, artist, term, count in zip(frame.index, frame.artist_id, frame[column], counts, strict=True):
                if artist not in artists:
                    example = f"songs.tsv, whose ids are such as {next(iter(artists))!r}"
                    raise table.error(row, f"the artist {artist!r} is not in {example}")
                own = terms[artists[artist]]
                if counted and term in own:
                    raise table.error(row, f"the {column} {term!r} of {artist!r} is there already")
                own[term] += count
    return terms
