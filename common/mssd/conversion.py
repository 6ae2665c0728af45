"""Session logs of MSSD as arrays, in the order of their dates: read, checked and sorted by DuckDB in bounded memory."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from common import console
from common.mssd.files import LOG_PATTERNS
from common.mssd.logs import COLUMNS, Log, LogPart, is_log, join_logs
from common.options import UserError, require
from common.table_sources import Source, open_sources
from common.tables import open_table

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

PART_SESSIONS = 250_000
"""Most sessions of a part: some four million events, 200 MB while they are worked on."""

SMALL_BYTES = 2**24
"""Smaller files do without a database of their own, with its folder for what does not fit into the memory."""
_EVENTS = """
CREATE TEMP TABLE events AS
SELECT row, session_id AS session, track_id_clean AS track, session_position::UTINYINT AS position,
       session_length::UTINYINT AS listed, skip_2 AS skipped, epoch(date) + 3600.0 * hour_of_day AS time
FROM {rows}
"""
# Sessions and tracks are numbered by their first rows.
_SESSIONS = """
CREATE TEMP TABLE sessions AS
SELECT row_number() OVER (ORDER BY first) - 1 AS number, * EXCLUDE first FROM (
    SELECT session, arg_min(time, position) AS start, arg_min(listed, position) AS listed, count(*) AS events,
           count(DISTINCT position) AS positions, max(position) AS last, min(row) AS first
    FROM events GROUP BY session
)
"""
_TRACKS = """
CREATE TEMP TABLE tracks AS
SELECT row_number() OVER (ORDER BY first) - 1 AS number, track
FROM (SELECT track, min(row) AS first FROM events GROUP BY track)
"""
_PLACED = """
CREATE TEMP TABLE placed AS
SELECT sessions.number AS number, position, tracks.number AS track, skipped
FROM events JOIN sessions USING (session) JOIN tracks USING (track)
ORDER BY ALL
"""
_TWICE = """
SELECT session, min(position) FROM (
    SELECT session, position FROM events
    WHERE session = (SELECT session FROM sessions WHERE events <> positions ORDER BY number LIMIT 1)
    GROUP BY session, position HAVING count(*) > 1
) GROUP BY session
"""
_BEYOND = """
SELECT session, min(position), any_value(sessions.listed) FROM events JOIN sessions USING (session)
WHERE position > sessions.listed AND number = (SELECT min(number) FROM sessions WHERE last > listed)
GROUP BY session
"""


def read_logs(paths: Sequence[Path], scratch: Path) -> Log:
    """Read logs into memory and bring them into the order of their dates (the median of the starts, then the name).

    Args:
        paths: CSV files and archives of them.
        scratch: an existing folder for temporary files; they are removed at the end.

    Raises:
        UserError: no log is found, a log is wrong (the message names the file, the line and what was expected),
            or a session occurs in two of them.
    """
    with converted_logs(paths, scratch) as parts:
        return join_logs(parts)


@contextlib.contextmanager
def converted_logs(paths: Sequence[Path], scratch: Path) -> Iterator[list[LogPart]]:
    """The logs in the order of their dates, for those who want no more than one in memory at a time.

    Arguments and errors are those of :func:`read_logs`, but that nobody has looked for sessions in two logs. The
    arrays are removed at the end of the block.
    """
    with tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as name:
        folder = Path(name).absolute()
        jobs = [(path, folder / f"{number:06}") for number, path in enumerate(paths)]
        done = tqdm(jobs, desc="reading logs", unit=" files", delay=5, disable=console.no_bar())
        yield in_order([part for job in done for part in convert_file(*job)], paths)


def in_order(folders: Sequence[Path], paths: Sequence[Path]) -> list[LogPart]:
    """The parts in ``folders`` by the dates of their logs, then by the names of these, then as they come.

    Raises:
        UserError: there is none, so that no log is in ``paths``.
    """
    require(bool(folders), f"{', '.join(map(str, paths))}: no log_*.csv or log_*.csv.gz is in there")
    return sorted(map(LogPart.at, folders), key=lambda part: (part.date, part.source))


def available_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def convert_file(path: Path, folder: Path) -> list[Path]:
    """Write the parts of each log in ``path`` to folders below ``folder``, all or none; returns these folders.

    Raises:
        UserError: a log lacks one of the seven columns, holds no row, has a wrong value, or a position twice or beyond
            its session's length.
    """
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        parts = 0
        for source, stream in open_sources(path, *LOG_PATTERNS):
            if is_log(source):
                parts += _convert_log(source, stream, beside, parts)
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another machine, taken for lost, has written the same meanwhile
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return sorted(folder.iterdir())


def _convert_log(source: Source, stream: IO[bytes], folder: Path, before: int) -> int:
    """Write the parts of one log to ``folder``, in which there are some ``before``; returns how many."""
    import duckdb

    scratch = folder if source.path.stat().st_size > SMALL_BYTES else None
    with open_table(source, COLUMNS, separator=",", scratch=scratch, stream=stream) as table:
        require(table.rows > 0, f"{source}: holds no row; expected one for each track played")
        database = table.database
        try:
            for query in (_EVENTS.format(rows=table.name), _SESSIONS, _TRACKS):
                database.execute(query)
            _check(database, source)
            database.execute(_PLACED)
            return _write_parts(database, source, folder, before, table.files[0].blanks)
        except duckdb.OutOfMemoryException as error:
            raise UserError(f"{source}: {str(error).splitlines()[0]}; is the disk of {folder.parent} full?") from None


def _check(database: DuckDBPyConnection, source: Source) -> None:
    """No position may be there twice, or beyond what the first event kept says of its session's length."""
    twice = database.execute(_TWICE).fetchone()
    if twice:
        raise UserError(f"{source}: session {twice[0]} has session_position {twice[1]} twice; remove one of the rows")
    beyond = database.execute(_BEYOND).fetchone()
    if beyond:
        name, at, listed = beyond
        raise UserError(f"{source}: session {name} has session_position {at}, but session_length {listed}; mend one")


def _write_parts(database: DuckDBPyConnection, source: Source, folder: Path, before: int, blanks: int) -> int:
    starts, counts = _columns(database, "SELECT start, count(*) FROM sessions GROUP BY start ORDER BY start", {})
    until = np.cumsum(counts)
    middle = np.searchsorted(until, [(until[-1] - 1) // 2, until[-1] // 2], "right")
    date = float(starts[middle].mean())  # the median: DuckDB's own would need all of them in memory
    (names,) = _columns(database, "SELECT track FROM tracks ORDER BY number", {})
    parts = 0
    for low in range(0, int(until[-1]), PART_SESSIONS):
        bounds = {"low": low, "high": low + PART_SESSIONS}
        within = "number >= $low AND number < $high ORDER BY number"
        ids, starts, listed, counts = _columns(
            database, f"SELECT session, start, listed, events FROM sessions WHERE {within}", bounds
        )
        positions, tracks, skipped = _columns(
            database, f"SELECT position, track, skipped FROM placed WHERE {within}, position", bounds
        )
        here, numbers = np.unique(tracks, return_inverse=True)
        log = Log(
            _utf8(ids),
            starts.astype(np.float64),
            listed.astype(np.uint8),
            np.concatenate([[0], np.cumsum(counts)]),
            positions.astype(np.uint8),
            numbers.astype(np.int32),
            skipped.astype(np.bool_),
            _utf8(names[here]),
        )
        LogPart.save(folder / f"{before + parts:06}", log, source, date, 0 if parts else blanks)
        parts += 1
    return parts


def _columns(database: DuckDBPyConnection, query: str, values: dict[str, int]) -> list[NDArray[Any]]:
    return [np.asarray(column) for column in database.execute(query, values).fetchnumpy().values()]


def _utf8(texts: NDArray[Any]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts.tolist()], dtype=np.bytes_)
