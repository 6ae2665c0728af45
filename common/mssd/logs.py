"""The session logs of the Music Streaming Sessions Dataset (Brost, Mehrotra, Jehan, WWW 2019; arXiv 1901.09851).

They are read straight from the released files, ``log_*.csv``, ``log_*.csv.gz`` or archives ``*.tar.gz`` of them,
in tables of a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.csvtext import Column, Source, read_table
from common.mssd.files import LOG_COLUMNS
from common.options import UserError, require

MAX_POSITION = 20
"""Longest session in the released logs, which were cut there."""
LONGEST_ID = 500
"""Characters; those of the released files have 42."""

_READ = {
    "session_id": Column("text"),
    "session_position": Column("integer", 1, MAX_POSITION),
    "session_length": Column("integer", 1, MAX_POSITION),
    "track_id_clean": Column("text"),
    "skip_2": Column("flag"),
    "hour_of_day": Column("integer", 0, 23),
    "date": Column("date"),
}


@dataclass(frozen=True)
class Log:
    """The sessions of one or several logs, in the order of the files; events in the order of their positions."""

    session_ids: NDArray[np.bytes_]
    """(sessions,)"""
    starts: NDArray[np.float64]
    """(sessions,) date and hour of the first event kept, in seconds since 1970 (UTC)."""
    session_lengths: NDArray[np.uint8]
    """(sessions,) ``session_length`` of the first event: more than the events here if some are not in the log."""
    offsets: NDArray[np.int64]
    """(sessions + 1,): session s has the events ``offsets[s]:offsets[s + 1]``."""
    positions: NDArray[np.uint8]
    """(events,) ``session_position``: 1 is the first."""
    tracks: NDArray[np.int32]
    """(events,) rows of ``track_ids``."""
    skipped: NDArray[np.bool_]
    """(events,) ``skip_2``: only played briefly."""
    track_ids: NDArray[np.bytes_]
    """(tracks,) distinct, in the order of their first appearance."""

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class LogPart:
    """A log, or some of the sessions of a large one, as arrays in a folder, to be loaded when its turn comes."""

    source: str
    """The file, and the member of the archive: for messages."""
    folder: Path
    date: float
    """The median of the starts of the whole log, in seconds since 1970 (UTC)."""

    def load(self) -> Log:
        """The log; as large as the file's own."""
        return Log(**{field.name: np.load(self.folder / f"{field.name}.npy") for field in fields(Log)})

    @classmethod
    def save(cls, folder: Path, log: Log, source: Source, date: float) -> None:
        """Write the arrays to ``folder``, which must not exist."""
        folder.mkdir(parents=True)
        for field in fields(Log):
            np.save(folder / f"{field.name}.npy", getattr(log, field.name))
        np.save(folder / "source.npy", np.array(str(source)))
        np.save(folder / "date.npy", date)

    @classmethod
    def at(cls, folder: Path) -> LogPart:
        """The part that :meth:`save` wrote to ``folder``."""
        return cls(str(np.load(folder / "source.npy")), folder, float(np.load(folder / "date.npy")))


def is_log(source: Source) -> bool:
    """Whether a member of an archive has what listeners did, which the second halves of a test (log_input) lack."""
    return not source.member or not Path(source.member).name.startswith("log_input_")


def read_log(source: Source, stream: IO[bytes]) -> Log:
    """Read one log; its rows may be in any order.

    Raises:
        UserError: it lacks one of the 21 columns, holds no row, has a wrong value, or a position twice or beyond its
            session's length.
    """
    sessions, tracks = Numbering(), Numbering()
    pieces: list[tuple[Any, ...]] = []
    for table in read_table(source, stream, _READ, required=LOG_COLUMNS):
        days = {text: np.datetime64(text, "s").astype(np.float64) for text in table["date"].unique()}
        pieces.append(
            (
                sessions(table["session_id"], source),
                table["session_position"].to_numpy(np.uint8),
                table["session_length"].to_numpy(np.uint8),
                tracks(table["track_id_clean"], source),
                table["skip_2"].to_numpy(bool),
                table["date"].map(days).to_numpy(np.float64) + 3600.0 * table["hour_of_day"].to_numpy(),
            )
        )
    require(bool(pieces), f"{source}: holds no row; expected one for each track played")
    session, position, length, track, skipped, time = (np.concatenate(column) for column in zip(*pieces, strict=True))
    del pieces
    order = np.lexsort((position, session))
    session, position = session[order], position[order]
    twice = np.flatnonzero((np.diff(session) == 0) & (np.diff(position) == 0))
    ids = sessions.names()
    if twice.size:
        name, at = ids[session[twice[0]]].decode(), position[twice[0]]
        raise UserError(f"{source}: session {name} has session_position {at} twice; remove one of the rows")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(session))])
    first = order[offsets[:-1]]
    beyond = np.flatnonzero(position > length[first][session])
    if beyond.size:
        name, at = ids[session[beyond[0]]].decode(), position[beyond[0]]
        listed = length[first][session[beyond[0]]]
        raise UserError(f"{source}: session {name} has session_position {at}, but session_length {listed}; mend one")
    return Log(ids, time[first], length[first], offsets, position, track[order], skipped[order], tracks.names())


class Numbering:
    """Numbers texts from 0 in the order of their first appearance, table by table."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, texts: pd.Series, source: Source) -> NDArray[np.int32]:
        """The number of each text of a column of ``source``.

        Raises:
            UserError: a text cannot be an id: one holds a NUL character or is too long.
        """
        codes, distinct = pd.factorize(texts.to_numpy(dtype=object))
        numbers, ids = self._numbers, distinct.tolist()
        for text in ids:  # in an array all texts take the space of the longest, and lose NULs at their ends
            if len(text) > LONGEST_ID or "\0" in text:
                what = "a NUL character" if "\0" in text else f"{len(text):,} characters, over {LONGEST_ID}"
                raise UserError(f"{source}: {texts.name} {text[:20]!r} is no id: it has {what}; mend the file")
        known = [numbers.setdefault(text, len(numbers)) for text in ids]
        return np.array(known, dtype=np.int32)[codes]

    def names(self) -> NDArray[np.bytes_]:
        """The texts by number, in UTF-8."""
        return np.array([text.encode() for text in self._numbers], dtype=np.bytes_)


def join_logs(parts: Sequence[LogPart]) -> Log:
    """One log, in memory, of several.

    Raises:
        UserError: a session is in two of them.
    """
    loaded = [(part.source, part.load()) for part in parts]
    _check_distinct(loaded)
    numbers: dict[bytes, int] = {}
    lengths, tracks = [], []
    for _, log in loaded:
        known = [numbers.setdefault(name, len(numbers)) for name in log.track_ids.tolist()]
        tracks.append(np.array(known, dtype=np.int32)[log.tracks])
        lengths.append(np.diff(log.offsets))
    columns = {
        name: [getattr(log, name) for _, log in loaded]
        for name in ("session_ids", "starts", "session_lengths", "positions", "skipped")
    }
    loaded.clear()  # half the memory
    return Log(
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(lengths))]),
        tracks=np.concatenate(tracks),
        track_ids=np.array(list(numbers), dtype=np.bytes_),
        **{name: np.concatenate(arrays) for name, arrays in columns.items()},
    )


def _check_distinct(loaded: list[tuple[str, Log]]) -> None:
    ids = np.concatenate([log.session_ids for _, log in loaded])
    order = np.argsort(ids)
    same = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if same.size:
        of = np.repeat(np.arange(len(loaded)), [len(log) for _, log in loaded])
        one, other = (loaded[of[place]][0] for place in sorted(order[same[0] : same[0] + 2]))
        raise UserError(f"session {ids[order[same[0]]].decode()} is in {one} and in {other}; remove one of these files")
