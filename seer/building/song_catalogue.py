"""What the songs are called and which MIDI file each has: Million Song Dataset tables and Lakh's matches."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import math
import re
import sqlite3
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

from common.options import UserError, require
from common.row_counts import RowCounts
from common.sources import open_text_or_zip
from seer.midi_file import ENDINGS, song_name
from seer.tables import integer, positive, read_bytes, read_table

SEPARATOR = b"<SEP>"
LONGEST_LINE = 10_000
"""Bytes; the longest line of unique_tracks.txt has some 400."""
_track = re.compile(r"TR[A-Z]{3}[A-Z0-9]{1,40}")
_md5 = re.compile(r"[0-9a-f]{32}")


class Song(NamedTuple):
    """A row of song metadata. A song may have several tracks, and then as many rows."""

    song_id: str
    title: str
    artist_name: str
    release: str = ""
    year: int = 0
    """0 is unknown."""
    duration: float = math.nan
    """Seconds; NaN is unknown."""
    track_id: str = ""


class Skipped(NamedTuple):
    """A file or song that does not become part of the dataset, and why."""

    song_id: str
    file: str
    reason: str


class Matches(NamedTuple):
    """The MIDI file of each song, relative to the folder; or of each track, with its score."""

    kind: str
    """Where the matches come from, for people to read."""
    files: dict[str, str]
    """song id -> file; empty if ``tracks`` has them."""
    tracks: dict[str, tuple[float, str]]
    """MSD track id -> (score, file)."""
    skipped: list[Skipped]
    mapping: Path | None = None
    """The table that names them."""
    rows: int = 0
    """Its rows."""

    def spelling(self, song: str) -> str | None:
        """The song's id as ``files`` writes it: macOS takes letters and accents apart (NFD); None if it has no file."""
        ways = (song, *(unicodedata.normalize(form, song) for form in ("NFC", "NFD")))
        return next((way for way in ways if way in self.files), None)


def read_songs(path: Path, counts: RowCounts | None = None) -> Iterator[Song]:
    """Read song metadata: a CSV table, ``unique_tracks.txt`` or the database ``track_metadata.db`` (table songs).

    A CSV file (UTF-8) names song_id, title, artist_name, release and year on its first line, and may have track_id and
    duration (seconds). An empty year is 0 (unknown), an empty duration is taken from the MIDI file.

    ``counts`` takes the rows, once all have been read.

    Raises:
        UserError: a line or column is wrong, or, in a CSV file without track_id, a song occurs again.
    """
    require(path.is_file(), f"{path}: no such file with songs")
    with open_lines(path) as stream:
        start = stream.readline(LONGEST_LINE)
    if start.startswith(b"SQLite format 3\0"):
        return _counted(_database_songs(path), path, counts)
    if SEPARATOR in start:
        return _counted(_unique_tracks(path), path, counts)
    return _table_songs(path, counts)


def _counted(songs: Iterator[Song], path: Path, counts: RowCounts | None) -> Iterator[Song]:
    rows = 0
    for song in songs:
        rows += 1
        yield song
    if counts is not None:
        counts.add_file(path, rows)


def _table_songs(path: Path, counts: RowCounts | None) -> Iterator[Song]:
    table = read_table(path, "song_id", "title", "artist_name", "release", "year", optional=("track_id", "duration"))
    columns = table.columns
    if counts is not None:
        counts.add(table.read)
    if "track_id" not in columns:
        table.unique("song_id")
    years = table.converted("year", lambda text: integer(text) if text else 0, "an integer, 0 or empty if unknown")
    durations = [math.nan] * len(years)
    if "duration" in columns:
        expected = "a positive number of seconds, or nothing"
        durations = table.converted("duration", lambda text: positive(text) if text else math.nan, expected)
    tracks = columns.get("track_id", [""] * len(years))
    texts = (columns[name] for name in ("song_id", "title", "artist_name", "release"))
    return (Song(*row) for row in zip(*texts, years, durations, tracks, strict=True))


def _unique_tracks(path: Path) -> Iterator[Song]:
    """Line by line, and not by :mod:`common.tables`: its separators, as DuckDB's csv reader's, are shorter."""
    with open_lines(path) as stream:
        for number, line in enumerate(iter(partial(stream.readline, LONGEST_LINE), b""), 1):
            fields = line.decode("utf-8", "replace").rstrip("\r\n").split("<SEP>")
            require(
                len(fields) == 4 and bool(fields[0]) and bool(fields[1]) and fields[0][0] != "\ufeff",
                f"{path}: line {number} is {line[:60]!r}; expected 'track id<SEP>song id<SEP>artist<SEP>title'",
            )
            track, song, artist, title = fields
            yield Song(song, title, artist, track_id=track)


def _database_songs(path: Path) -> Iterator[Song]:
    columns = "song_id, title, artist_name, release, year, duration, track_id"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            for song, title, artist, release, year, seconds, track in database.execute(f"SELECT {columns} FROM songs"):
                duration = seconds if isinstance(seconds, float | int) and 0 < seconds < math.inf else math.nan
                year = year if isinstance(year, int) and 0 <= year < 10**9 else 0
                yield Song(str(song), title or "", artist or "", release or "", year, duration, str(track))
    except sqlite3.Error as error:
        raise UserError(f"{path}: {error}; expected the Million Song Dataset's track_metadata.db") from error


def match_files(folder: Path, mapping: Path | None) -> Matches:
    """Find out which MIDI file in ``folder`` belongs to which song.

    ``mapping`` is a CSV table with the columns song_id and file (relative to ``folder``), or Lakh's
    ``match_scores.json`` ({track id: {md5: score}}; the files lie in A/B/C/TRABC.../md5.mid, below ``lmd_matched/``
    or not; the best score wins, of equal scores the first md5). Without it, ``mapping.csv`` or ``match_scores.json``
    in the folder is taken (the latter also from beside it); else the name of each MIDI file, without its ending, is its
    song's id. Files of other endings are counted.

    Raises:
        UserError: ``mapping`` cannot be read.
    """
    found = [folder / "mapping.csv", folder / "match_scores.json", folder.parent / "match_scores.json"]
    mapping = mapping or next((path for path in found if path.is_file()), None)
    if mapping is None:
        return _matches_by_name(folder)
    return _lakh_matches(folder, mapping) if mapping.suffix.lower() == ".json" else _mapped_files(folder, mapping)


def _matches_by_name(folder: Path) -> Matches:
    matches = Matches("the name of each file is a song id", {}, {}, [])
    others: Counter[str] = Counter()
    for path in sorted(folder.rglob("*")):
        file, song = path.relative_to(folder).as_posix(), song_name(path.name)
        if song is None:
            others[path.suffix.lower() or "no ending"] += path.is_file()
        elif not path.is_file():
            matches.skipped.append(Skipped(song, file, "is a folder" if path.is_dir() else "leads to no file"))
        elif same := matches.spelling(song):
            matches.skipped.append(Skipped(song, file, f"the song has a file: {matches.files[same]}"))
        else:
            matches.files[song] = file
    for ending, count in sorted((+others).items()):
        files = "a file" if count == 1 else f"{count:,} files"
        name = f"*{ending}" if ending[0] == "." else ending
        reason = f"{files} whose ending is not that of a MIDI file ({', '.join(ENDINGS)}, also with .gz)"
        matches.skipped.append(Skipped("", name, reason))
    return matches


def _mapped_files(folder: Path, mapping: Path) -> Matches:
    table = read_table(mapping, "song_id", "file")
    songs = table.unique("song_id")
    kind = f"{mapping.name} names a file for {'1 song' if len(songs) == 1 else f'each of {len(songs):,} songs'}"
    matches = Matches(kind, {}, {}, [], mapping, table.read.rows)
    named = set()
    for song, file in zip(songs, table.columns["file"], strict=True):
        file = _on_disk(folder, file)
        named.add(Path(file))
        reason = _unusable(folder, file)
        if reason:
            matches.skipped.append(Skipped(song, file, reason))
        else:
            matches.files[song] = file
    others = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if song_name(path.name) is not None]
    if unnamed := [path for path in others if path not in named and (folder / path).is_file()]:
        more = f", and {len(unnamed) - 1:,} more MIDI files" if len(unnamed) > 1 else ""
        matches.skipped.append(Skipped("", unnamed[0].as_posix(), f"not in {mapping.name}{more}"))
    return matches


def _on_disk(folder: Path, file: str) -> str:
    """The path as the disk has it, which may write accents in another way than the table."""
    ways = (file, *(unicodedata.normalize(form, file) for form in ("NFC", "NFD")))
    return next((way for way in ways if not _unusable(folder, way)), file)


def _unusable(folder: Path, file: str) -> str:
    parts = Path(file).parts
    if not parts or Path(file).is_absolute() or ".." in parts or "\0" in file:
        return "leads out of the folder; expected a path relative to it"
    try:
        path = folder / file
        return "" if path.is_file() else "is a folder" if path.is_dir() else "no such file"
    except OSError as error:  # a name that is too long
        return f"no such file ({error.strerror})"


def _lakh_matches(folder: Path, mapping: Path) -> Matches:
    expected = "expected {track id: {md5 of the MIDI file: score}}"
    try:
        scores = json.loads(read_bytes(mapping))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{mapping}: is no JSON ({error}); {expected}") from error
    require(isinstance(scores, dict), f"{mapping}: is a {type(scores).__name__}; {expected}")
    below = "lmd_matched/" if (folder / "lmd_matched").is_dir() else ""
    matches = Matches(f"{mapping.name} has scores of {len(scores):,} tracks", {}, {}, [], mapping, len(scores))
    for track, files in scores.items():
        good = isinstance(files, dict) and all(isinstance(score, int | float) for score in files.values())
        require(good, f"{mapping}: track {track[:40]!r} is wrong; {expected}")
        score, md5 = min(((-score, md5) for md5, score in files.items()), default=(0.0, ""))
        if not (_track.fullmatch(track) and _md5.fullmatch(md5)):
            matches.skipped.append(Skipped("", track, f"track id or md5 {md5[:40]!r} is wrong, or it has no file"))
            continue
        matches.tracks[track] = (-score, f"{below}{track[2]}/{track[3]}/{track[4]}/{track}/{md5}.mid")
    return matches


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
