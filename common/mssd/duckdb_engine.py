"""Logs of the Music Streaming Sessions Dataset within a fixed memory, read by DuckDB (extra ``big``).

DuckDB parses a few files at a time on all cores, keeps their rows in a database on disk and sorts them there. The
parts are those of :func:`common.mssd.conversion.converted_logs`, bit for bit, but that a large log is cut into several.
"""

from __future__ import annotations

import gzip
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from common.csvtext import Source, is_archive, open_sources
from common.mssd.conversion import available_cores
from common.mssd.files import LOG_COLUMNS, LOG_PATTERNS
from common.mssd.logs import LONGEST_ID, MAX_POSITION, Log, LogPart, is_log, read_log
from common.options import UserError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY = "512MB"
"""That DuckDB may use; it moves what does not fit to the disk."""
PART_SESSIONS = 250_000
"""Most sessions of a part: some four million events, 200 MB while they are worked on."""
LONGEST_HEADER = 2**16
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)


def _integer(column: str) -> str:
    """SQL: an integer in decimal digits, else NULL; DuckDB alone would take 0x1 and 1_0 too."""
    return f"CASE WHEN regexp_full_match({column}, ' *[+-]?[0-9]+ *') THEN TRY_CAST({column} AS UTINYINT) END"


_EVENTS = f"""
CREATE OR REPLACE TABLE events AS
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
# Of one file. The order of its rows is that of rowid; sessions and tracks are numbered by their first rows.
_SESSIONS = """
CREATE OR REPLACE TABLE sessions AS
SELECT session, arg_min(time, position) AS start, arg_min(listed, position) AS listed, count(*) AS events,
       count(DISTINCT position) AS positions, max(position) AS last
FROM events WHERE file = $file GROUP BY session ORDER BY min(rowid)
"""
_TRACKS = """
CREATE OR REPLACE TABLE tracks AS
SELECT track FROM events WHERE file = $file GROUP BY track ORDER BY min(rowid)
"""
_PLACED = """
CREATE OR REPLACE TABLE placed AS
SELECT sessions.rowid AS number, position, tracks.rowid AS track, skipped
FROM events JOIN sessions USING (session) JOIN tracks USING (track)
WHERE file = $file ORDER BY number, position
"""


def convert_on_disk(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Turn all logs into parts below ``folder``; returns the folder of each part.

    Raises:
        UserError: a log is wrong, DuckDB is not installed, or it cannot read a file that the other reader can.
    """
    try:
        import duckdb
    except ImportError:
        raise UserError("--engine duckdb: DuckDB is not installed; install the extra: pip install -e .[big]") from None
    settings: dict[str, Any] = {"memory_limit": MEMORY, "temp_directory": str(folder), "threads": available_cores()}
    parts: list[Path] = []
    with duckdb.connect(str(folder / "logs.duckdb"), config=settings) as database:
        database.execute("SET enable_progress_bar = false")  # it would go to the standard output
        waiting = _files(paths, folder)
        while True:
            files: list[tuple[Source, Path]] = []
            try:
                for found in islice(waiting, available_cores()):
                    files.append(found)  # one by one: an archive may turn out damaged
                if not files:
                    break
                _check_unpacked([file for _, file in files if file.suffix == ".gz"])
                _load(database, [str(file) for _, file in files])
                for number, (source, _) in enumerate(files, 1):
                    parts += _write_parts(database, number, source, folder / f"{len(parts):06}")
            except duckdb.OutOfMemoryException as error:
                raise UserError(
                    f"--engine duckdb: {str(error).splitlines()[0]}; is the disk of {folder.parent} full?"
                ) from None
            except (duckdb.Error, ValueError, UserError, *_DAMAGED) as error:
                reason = str(error).splitlines()[0]
                for source, file in files:
                    _read_plainly(source)  # the other reader tells the line and what was expected
                    reason = reason.replace(str(file), str(source))
                if isinstance(error, UserError):
                    raise
                raise UserError(f"DuckDB cannot read the logs ({reason}); use --engine numpy") from None
            for _, file in files:
                file.unlink()
    return parts


def _files(paths: Sequence[Path], folder: Path) -> Iterator[tuple[Source, Path]]:
    """Where each log comes from, and the file to read in ``folder``: a link, or the unpacked member of an archive."""
    number = 0
    for path in paths:
        if not is_archive(path):  # DuckDB takes brackets and stars in a name for a pattern; in a link there are none
            file = folder / f"{number:06}{'.csv.gz' if path.name.lower().endswith('.gz') else '.csv'}"
            file.symlink_to(path.resolve())
            number += 1
            yield Source(path), file
            continue
        for source, stream in open_sources(path, *LOG_PATTERNS):
            if is_log(source):
                file = folder / f"{number:06}.csv"
                number += 1
                try:
                    with file.open("wb") as copy:
                        head = stream.readline(LONGEST_HEADER)
                        _check_header(head)  # before a member that is no log is unpacked
                        copy.write(head)
                        shutil.copyfileobj(stream, copy)
                except (ValueError, *_DAMAGED):
                    _read_plainly(source)  # which tells what is wrong
                    raise
                yield source, file


def _check_unpacked(files: Sequence[Path]) -> None:
    """Unpack gzip files to their ends for the checksums, which DuckDB never looks at; raises what gzip does."""

    def check(file: Path) -> None:
        with gzip.open(file) as stream:
            while stream.read(2**20):
                pass

    with ThreadPoolExecutor(available_cores()) as pool:
        for _ in pool.map(check, files):
            pass


def _load(database: DuckDBPyConnection, paths: list[str]) -> None:
    """Fill the table of events; ValueError if a row is not as it must be."""
    for path in paths:
        for _, stream in open_sources(Path(path)):
            _check_header(stream.readline(LONGEST_HEADER))
    database.execute(_EVENTS, {"paths": paths})
    if _one(database, "SELECT count(*) FROM events WHERE fine IS DISTINCT FROM true"):
        raise ValueError("a row is wrong")


def _check_header(head: bytes) -> None:
    line = head.decode("utf-8-sig").rstrip("\r\n")
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


def _write_parts(database: DuckDBPyConnection, file: int, source: Source, first: Path) -> list[Path]:
    """Write the parts of one file to ``first`` and its successors; ValueError if its rows are not as they must be."""
    for query in (_SESSIONS, _TRACKS, _PLACED):
        database.execute(query, {"file": file})
    sessions = _one(database, "SELECT count(*) FROM sessions")
    if not sessions or _one(database, "SELECT count(*) FROM sessions WHERE events <> positions OR last > listed"):
        raise ValueError("there is no row, one twice, or one beyond its session")
    date = _median_start(database)
    (names,) = _columns(database, "SELECT track FROM tracks ORDER BY rowid", {})
    parts: list[Path] = []
    for start in range(0, sessions, PART_SESSIONS):
        bounds = {"low": start, "high": start + PART_SESSIONS}
        ids, starts, listed, counts = _columns(
            database,
            "SELECT session, start, listed, events FROM sessions WHERE rowid >= $low AND rowid < $high ORDER BY rowid",
            bounds,
        )
        positions, tracks, skipped = _columns(
            database,
            "SELECT position, track, skipped FROM placed WHERE number >= $low AND number < $high ORDER BY rowid",
            bounds,
        )
        here, numbers = np.unique(tracks, return_inverse=True)
        log = Log(
            _bytes(ids),
            starts.astype(np.float64),
            listed.astype(np.uint8),
            np.concatenate([[0], np.cumsum(counts)]),
            positions.astype(np.uint8),
            numbers.astype(np.int32),
            skipped.astype(np.bool_),
            _bytes(names[here]),
        )
        parts.append(first.with_name(f"{int(first.name) + len(parts):06}"))
        LogPart.save(parts[-1], log, source, date)
    return parts


def _median_start(database: DuckDBPyConnection) -> float:
    """The median over the sessions; DuckDB's own would need all of them in memory, where there are few hours."""
    starts, counts = _columns(database, "SELECT start, count(*) FROM sessions GROUP BY start ORDER BY start", {})
    until = np.cumsum(counts)
    middle = np.searchsorted(until, [(until[-1] - 1) // 2, until[-1] // 2], "right")
    return float(starts[middle].mean())


def _columns(database: DuckDBPyConnection, query: str, values: dict[str, int]) -> list[NDArray[Any]]:
    return [np.asarray(column) for column in database.execute(query, values).fetchnumpy().values()]


def _bytes(texts: NDArray[Any]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts.tolist()], dtype=np.bytes_)
