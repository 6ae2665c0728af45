"""Raw material of a music collection: who played what, biographies, tags and entities of artists, clips of songs.

A folder holds (tables are UTF-8, with a header, separated by tabs):

- ``songs.tsv``: ``song_id``, ``artist_id`` and perhaps ``title`` and ``artist``, the names to show, and ``audio``, a
  path below the folder; where that is empty or not there, ``clips/<song_id>.wav``, ``.ogg``, ``.mp3`` or ``.flac`` is
  taken if there is one
- ``plays.tsv`` or ``plays.tsv.gz``: ``user_id``, ``song_id``, ``plays``
- ``biographies/<artist_id>.txt``
- ``tags.tsv`` (may be missing): ``artist_id``, ``tag``, ``count``
- ``entities.tsv`` (may be missing): ``artist_id``, ``entity``; a line for each mention
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from audiotext.tsv import Line, read_tsv
from common.csvtext import Column, open_sources, read_table
from common.options import UserError, require
from common.sources import find_file

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
    songs, artists, artist_of, audio, names = _read_songs(folder)
    users, plays, counts = _read_plays(folder, songs)
    biographies, strangers = _read_biographies(folder / "biographies", artists)
    tags = _read_terms(folder / "tags.tsv", artists, "tag", counted=True)
    entities = _read_terms(folder / "entities.tsv", artists, "entity", counted=False)
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
    numbers = np.array(artist_of, np.int64)
    return RawData(
        list(songs), list(artists), users, numbers, plays, biographies, tags, entities, audio, counts=counts,
        song_names=names, artist_names=_artist_names(list(songs), list(artists), artist_of, names),
    )  # fmt: skip


def _artist_names(
    songs: list[str], artists: list[str], artist_of: list[int], names: Mapping[str, tuple[str, str]]
) -> dict[str, str]:
    """The name that most of an artist's songs have, of several the first."""
    given: dict[str, Counter[str]] = {}
    for song, artist in zip(songs, artist_of, strict=True):
        if name := names.get(song, ("", ""))[1]:
            given.setdefault(artists[artist], Counter())[name] += 1
    return {artist: found.most_common(1)[0][0] for artist, found in given.items()}


def _read_songs(
    folder: Path,
) -> tuple[dict[str, int], dict[str, int], list[int], list[Path | None], dict[str, tuple[str, str]]]:
    path = folder / "songs.tsv"
    clips = _named_files(clip for clip in _files(folder / "clips") if clip.suffix.lower() in SOUND)
    songs: dict[str, int] = {}
    artists: dict[str, int] = {}
    artist_of, audio = [], []
    names: dict[str, tuple[str, str]] = {}
    for line in read_tsv(path, ["song_id", "artist_id"]):
        song, artist = line.text("song_id"), line.text("artist_id")
        require(song not in songs, f"{line.where}: the song {song!r} is there already")
        songs[song] = len(songs)
        artist_of.append(artists.setdefault(artist, len(artists)))
        named = line.values.get("audio", "").strip()
        audio.append(_named_clip(folder, named, line) if named else _file_of(song, clips))
        title, name = (" ".join(line.values.get(column, "").split()) for column in ("title", "artist"))
        if title or name:
            names[song] = title, name
    require(bool(songs), f"{path}: holds no song")
    return songs, artists, artist_of, audio, names


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


def _named_clip(folder: Path, named: str, line: Line) -> Path:
    inside = not PurePosixPath(named).is_absolute() and ".." not in PurePosixPath(named).parts
    require(inside, f"{line.where}: audio is {named!r}; expected a path below {folder}")
    for written in (named, *(unicodedata.normalize(form, named) for form in ("NFC", "NFD"))):
        if (folder / written).is_file():
            return folder / written
    raise UserError(f"{line.where}: there is no {folder / named}; leave audio empty or mend it")


def _read_plays(folder: Path, songs: Mapping[str, int]) -> tuple[list[str], sparse.csr_matrix, dict[str, int]]:
    path = find_file(folder, "plays.tsv", "plays.tsv.gz")
    if path is None:
        raise UserError(f"{folder / 'plays.tsv'}: no such file, nor plays.tsv.gz")
    columns = {"user_id": Column("text"), "song_id": Column("text"), "plays": Column("integer", 1, MOST_PLAYS)}
    users: dict[str, int] = {}
    parts: list[tuple[NDArray[Any], ...]] = []
    for source, stream in open_sources(path):
        for table in read_table(source, stream, columns, separator="\t"):
            known = table.song_id.map(songs)
            strange = known.isna().to_numpy()
            if strange.any():
                place = int(strange.argmax())
                raise UserError(
                    f"{path}, line {table.index[place] + 2}: the song {table.song_id.iloc[place]!r} is not in songs.tsv"
                )
            codes, names = pd.factorize(table.user_id)
            numbers = np.array([users.setdefault(name, len(users)) for name in names], np.int64)
            parts.append((numbers[codes], known.to_numpy().astype(np.int64), table.plays.to_numpy().astype(np.int64)))
    require(bool(parts), f"{path}: holds no plays")
    user, song, count = (np.concatenate(column) for column in zip(*parts, strict=True))
    _require_once(path, user * len(songs) + song)
    plays = sparse.csr_matrix((count.astype(np.float32), (user, song)), shape=(len(users), len(songs)))
    figures = {"users": len(users), "pairs of user and song": plays.nnz, "plays": int(count.sum())}
    figures["songs without plays"] = int((plays.getnnz(axis=0) == 0).sum())
    return list(users), plays, figures


def _require_once(path: Path, keys: NDArray[np.int64]) -> None:
    order = np.argsort(keys, kind="stable")
    again = np.flatnonzero(keys[order][1:] == keys[order][:-1]) + 1
    if len(again):
        place = again[order[again].argmin()]
        lines = order[place] + 2, order[place - 1] + 2
        raise UserError(f"{path}, line {lines[0]}: repeats the user and song of line {lines[1]}; add up their plays")


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


def _read_terms(path: Path, artists: Mapping[str, int], column: str, *, counted: bool) -> list[Counter[str]]:
    """Terms of each artist; one that is counted stands in one line, others in a line for each mention."""
    terms: list[Counter[str]] = [Counter() for _ in artists]
    if not path.is_file():
        return terms
    for line in read_tsv(path, ["artist_id", column, "count"] if counted else ["artist_id", column]):
        artist, term = line.text("artist_id"), line.text(column)
        require(artist in artists, f"{line.where}: the artist {artist!r} is not in songs.tsv")
        own = terms[artists[artist]]
        require(not counted or term not in own, f"{line.where}: the {column} {term!r} of {artist!r} is there already")
        own[term] += line.count("count", 0, MOST_TAGS) if counted else 1
    return terms
