"""The session logs of the Music Streaming Sessions Dataset (Brost, Mehrotra, Jehan, WWW 2019; arXiv 1901.09851).

They are read straight from the released files, ``log_*.csv``, ``log_*.csv.gz`` or archives ``*.tar.gz`` of them.
Of their 21 columns seven are used; a file may lack the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.options import UserError
from common.table_sources import Source
from common.tables import LONGEST_ID as LONGEST_ID
from common.tables import Column

MAX_POSITION = 20
"""Longest session in the released logs, which were cut there."""

COLUMNS = {
    "session_id": Column("id"),
    "session_position": Column("integer", 1, MAX_POSITION),
    "session_length": Column("integer", 1, MAX_POSITION),
    "track_id_clean": Column("id"),
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
    events: int
    """Rows of the log that are in this part."""
    blanks: int
    """Blank lines of the log; of a log in several parts the first has them all."""

    def load(self) -> Log:
        """The log; as large as the file's own."""
        return Log(**{field.name: np.load(self.folder / f"{field.name}.npy") for field in fields(Log)})

    @classmethod
    def save(cls, folder: Path, log: Log, source: Source, date: float, blanks: int = 0) -> None:
        """Write the arrays to ``folder``, which must not exist."""
        folder.mkdir(parents=True)
        for field in fields(Log):
            np.save(folder / f"{field.name}.npy", getattr(log, field.name))
        np.save(folder / "source.npy", np.array(str(source)))
        np.save(folder / "date.npy", date)
        np.save(folder / "counts.npy", np.array([len(log.tracks), blanks], dtype=np.int64))

    @classmethod
    def at(cls, folder: Path) -> LogPart:
        """The part that :meth:`save` wrote to ``folder``."""
        counts = np.load(folder / "counts.npy").tolist()
        return cls(str(np.load(folder / "source.npy")), folder, float(np.load(folder / "date.npy")), *counts)


def is_log(source: Source) -> bool:
    """Whether a member of an archive has what listeners did, which the second halves of a test (log_input) lack."""
    return not source.member or not Path(source.member).name.startswith("log_input_")


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
