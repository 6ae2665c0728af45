"""Logs of the Music Streaming Sessions Dataset that are larger than the memory, read by DuckDB (extra ``big``).

DuckDB parses the files on all cores, keeps the rows in a database on disk and sorts them there, within a fixed memory.
The result is that of :func:`common.mssd_logs.read_logs`, bit for bit, as memory-mapped arrays.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.csvtext import Source, is_archive, open_sources
from common.mssd import LOG_COLUMNS, LOG_PATTERNS
from common.mssd_logs import LONGEST_ID, MAX_POSITION, Log, available_cores, is_log, read_log
from common.options import UserError, require

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "512MB"
"""That DuckDB may use; it moves what does not fit to the disk."""
CHUNK = 50
"""Vectors of 2,048 rows that are taken over at a time."""
LONGEST_HEADER = 2**16
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)


def _integer(column: str) -> str:
    """SQL: an integer in decimal digits, else NULL; DuckDB alone would take 0x1 and 1_0 too."""
    return f"CASE WHEN regexp_full_match({column}, ' *[+-]?[0-9]+ *') THEN TRY_CAST({column} AS UTINYINT) END"


_EVENTS = f"""
CREATE TABLE events AS
SELECT file, session_id AS session, track_id_clean AS track, {_integer("session_position")} AS position,
       {_integer("session_length")} AS listed, lower(skip_2) = 'true' AS skipped,
       epoch(day) + 3600.0 * hour AS time,
       position BETWEEN 1 AND {MAX_POSITION} AND listed BETWEEN 1 AND {MAX_POSITION}
       AND hour BETWEEN 0 AND 23 AND day BETWEEN '1000-01-01' AND '9999-12-31' AND strftime(day, '%Y-%m-%d') = date
       AND lower(skip_2) IN ('true', 'false')
       AND length(session) BETWEEN 1 AND {LONGEST_ID} AND NOT regexp_matches(session, '[\\x00\\n]')
       AND length(track) BETWEEN 1 AND {LONGEST_ID} AND NOT regexp_matches(track, '[\\x00\\n]') AS fine
FROM (
    SELECT *, list_position($paths, filename) AS file, TRY_CAST(date AS DATE) AS day,
           {_integer("hour_of_day")} AS hour
    FROM read_csv($paths, header = true, delim = ',', quote = '"', escape = '"', all_varchar = true,
                  comment = '', skip = 0, filename = true, union_by_name = true, hive_partitioning = false)
)
"""
# The order of the rows in the files is that of rowid. Sessions are numbered file by file, in the order of their first
# rows; the files by the median of the starts, then by name.
_SESSIONS = """
CREATE TABLE sessions AS
SELECT file, session, min(rowid) AS first, arg_min(time, position) AS start,
       arg_min(listed, position) AS listed, count(*) AS events, count(DISTINCT position) AS positions
FROM events GROUP BY file, session
"""
_NUMBERED = """
CREATE TABLE numbered AS
SELECT file, session, start, listed, events,
       row_number() OVER (ORDER BY list_position($order, file), first) - 1 AS number
FROM sessions
"""
_TRACKS = """
CREATE TABLE tracks AS
SELECT track, row_number() OVER (ORDER BY min((list_position($order, file), events.rowid))) - 1 AS number
FROM events GROUP BY track
"""


def read_logs_on_disk(paths: Sequence[Path], scratch: Path) -> Log:
    """As :func:`common.mssd_logs.read_logs`, in bounded memory; the disk holds the rows and what is sorted.

    Raises:
        UserError: as there; or DuckDB is not installed, or cannot read a file that the other reader can.
    """
    try:
        import duckdb
    except ImportError:
        raise UserError("--engine duckdb: DuckDB is not installed; install the extra: pip install -e .[big]") from None
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files = _files(paths, folder)
        require(bool(files), f"{', '.join(map(str, paths))}: no log_*.csv or log_*.csv.gz is in there")
        settings: dict[str, Any] = {"memory_limit": MEMORY, "temp_directory": name, "threads": available_cores()}
        with duckdb.connect(str(folder / "logs.duckdb"), config=settings) as database:
            database.execute("SET enable_progress_bar = false")  # it would go to the standard output
            try:
                _load(database, [str(file) for _, file in files])
            except duckdb.OutOfMemoryException as error:
                raise UserError(
                    f"--engine duckdb: {str(error).splitlines()[0]}; is the disk of {scratch} full?"
                ) from None
            except (duckdb.Error, ValueError, UserError, *_DAMAGED) as error:
                reason = str(error).splitlines()[0]
                for source, file in files:
                    _read_plainly(source)  # the other reader tells the line and what was expected
                    reason = reason.replace(str(file), str(source))
                raise UserError(f"DuckDB cannot read the logs ({reason}); use --engine numpy") from None
            sources = [source for source, _ in files]
            order = _order(database, sources)
            _check_distinct(database, sources, order)
            return _arrays(database, order, folder)


def _files(paths: Sequence[Path], folder: Path) -> list[tuple[Source, Path]]:
    """Where each log comes from, and the file to read in ``folder``: a link, or the unpacked member of an archive."""
    files: list[tuple[Source, Path]] = []
    for path in paths:
        if not is_archive(path):  # DuckDB takes brackets and stars in a name for a pattern; in a link there are none
            suffix = ".csv.gz" if path.name.lower().endswith(".gz") else ".csv"
            files.append((Source(path), folder / f"{len(files):06}{suffix}"))
            files[-1][1].symlink_to(path.resolve())
            continue
        for source, stream in open_sources(path, *LOG_PATTERNS):
            if is_log(source):
                files.append((source, folder / f"{len(files):06}.csv"))
                try:
                    with files[-1][1].open("wb") as file:
                        shutil.copyfileobj(stream, file)
                except _DAMAGED:
                    _read_plainly(source)  # which tells what is wrong
                    raise
    return files


def _load(database: DuckDBPyConnection, paths: list[str]) -> None:
    """Fill the tables events and sessions; ValueError if a row is not as it must be."""
    for path in paths:
        _check_header(Path(path))
    database.execute(_EVENTS, {"paths": paths})
    database.execute(_SESSIONS)
    empty = "SELECT count(DISTINCT file) FROM sessions"
    wrong = "SELECT count(*) FROM events WHERE fine IS DISTINCT FROM true"
    twice = "SELECT count(*) FROM sessions WHERE events <> positions"
    if _one(database, empty) < len(paths) or _one(database, wrong) or _one(database, twice):
        raise ValueError("a row is wrong")


def _check_header(file: Path) -> None:
    for _, stream in open_sources(file):
        line = stream.readline(LONGEST_HEADER).decode("utf-8-sig").rstrip("\r\n")
        names = line.replace('"', "").split(",")
        if "\r" in line or not set(LOG_COLUMNS) <= set(names) or len(set(names)) < len(names):
            raise ValueError("the columns in its first line are not those of a log")


def _one(database: DuckDBPyConnection, query: str) -> Any:
    row = database.execute(query).fetchone()
    assert row
    return row[0]


def _read_plainly(source: Source) -> None:
    for found, stream in open_sources(source.path, *LOG_PATTERNS):
        if found == source:
            read_log(found, stream)


def _order(database: DuckDBPyConnection, sources: list[Source]) -> list[int]:
    """The numbers of the files, which count from 1, by the median of the starts, then by name."""
    medians = dict(database.execute("SELECT file, median(start) FROM sessions GROUP BY file").fetchall())
    return sorted(medians, key=lambda file: (medians[file], str(sources[file - 1])))


def _check_distinct(database: DuckDBPyConnection, sources: list[Source], order: list[int]) -> None:
    query = "SELECT session, list(file) FROM sessions GROUP BY session HAVING count(*) > 1 ORDER BY session LIMIT 1"
    for session, files in database.execute(query).fetchall():
        one, other = (sources[file - 1] for file in sorted(files, key=order.index)[:2])
        raise UserError(f"session {session} is in {one} and in {other}; remove one of these files")


def _arrays(database: DuckDBPyConnection, order: list[int], folder: Path) -> Log:
    database.execute(_NUMBERED, {"order": order})
    database.execute(_TRACKS, {"order": order})
    sessions = "SELECT session, start, listed, events FROM numbered ORDER BY number"
    events = (
        "SELECT position, tracks.number AS track, skipped FROM events JOIN numbered USING (file, session) "
        "JOIN tracks USING (track) ORDER BY numbered.number, position"
    )
    kinds = [_text(database, "session", "numbered"), np.float64, np.uint8, np.int64]
    ids, starts, lengths, counts = _taken(database, sessions, folder, "sessions", kinds)
    positions, tracks, skipped = _taken(database, events, folder, "events", [np.uint8, np.int32, np.bool_])
    names = "SELECT track FROM tracks ORDER BY number"
    (track_ids,) = _taken(database, names, folder, "tracks", [_text(database, "track", "tracks")])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Log(ids, starts, lengths, offsets, positions, tracks, skipped, track_ids)


def _text(database: DuckDBPyConnection, column: str, table: str) -> str:
    return f"S{_one(database, f'SELECT max(strlen({column})) FROM {table}')}"


def _taken(
    database: DuckDBPyConnection, query: str, folder: Path, name: str, kinds: Sequence[Any]
) -> list[NDArray[Any]]:
    """The columns of ``query`` as arrays of ``kinds`` in files of ``folder``, which are mapped."""
    rows = _one(database, f"SELECT count(*) FROM ({query})")
    arrays = [
        np.lib.format.open_memmap(folder / f"{name}_{i}.npy", mode="w+", dtype=np.dtype(kind), shape=(rows,))
        for i, kind in enumerate(kinds)
    ]
    found, done = database.execute(query), 0
    while len(chunk := found.fetch_df_chunk(CHUNK)):
        for array, (_, column) in zip(arrays, chunk.items(), strict=True):
            text = array.dtype.kind == "S"
            array[done : done + len(chunk)] = [value.encode() for value in column] if text else column.to_numpy()
        done += len(chunk)
    return list(arrays)
