"""Tables of sessions: any table with a session and a track in each row becomes sessions in two halves.

Times order the plays of a session; a column that tells which were skipped is of use for skips. There are no features of
tracks. A session of more than twenty tracks is cut into pieces of twenty, as the models read halves of ten.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common import console
from common.arrays import fingerprint
from common.options import require
from common.row_counts import RowCounts, short
from common.sessions import Events, group_events
from common.tables import Column, TableFile, open_table
from session_transformers.data_options import DataOptions
from session_transformers.kinds import HALF, PAD, Ids
from session_transformers.preprocess import SequenceData
from session_transformers.sessions.halves import Halves

USUAL_NAMES = {
    "session": ("session", "SessionId", "session_id", "sessionId", "SessionID", "sessionid"),
    "item": ("item", "ItemId", "item_id", "itemId", "track", "track_id", "song", "song_id", "track_id_clean"),
    "time": ("time", "Time", "timestamp", "Timestamp", "ts", "played_at", "session_position"),
    "skipped": ("skipped", "skip", "skip_2"),
}
"""Column -> what it is called in tables."""
LEAST = 2
"""Tracks of a session: one to go on from, and one to tell."""


@dataclass(frozen=True, eq=False)
class Plays:
    """The rows of a table, by session."""

    events: Events
    """Items are numbered as in ``item_ids``."""
    skips: NDArray[np.bool_]
    """(events,)"""
    item_ids: list[str]
    session_ids: list[str]
    files: tuple[TableFile, ...]
    notes: tuple[str, ...]
    """What was recognised."""

    @property
    def session(self) -> NDArray[np.int64]:
        """(events,) the number of each one's session."""
        return np.repeat(np.arange(len(self.session_ids)), np.diff(self.events.offsets))


def read_plays(source: Any, columns: Mapping[str, str | None]) -> Plays:
    """Read a table; further columns are ignored, sessions are numbered in the order of their first rows.

    Args:
        source: see :func:`common.tables.open_table`.
        columns: names of the columns ``session``, ``item``, ``time`` and ``skipped``; those that are not named are
            recognised. Without times the rows of a session stand in the order of listening; without a column of skips
            nothing was skipped.

    Raises:
        UserError: a column is missing, a value is wrong, or there is no row.
    """
    kinds: dict[str, Any] = {"session": "id", "item": "id", "time": "time", "skipped": "flag"}
    declared = {}
    for name, kind in kinds.items():
        given = columns.get(name)
        needed = given is not None or name in ("session", "item")
        declared[name] = Column(kind, names=(given,) if given else USUAL_NAMES[name], required=needed)
    with open_table(source, declared) as table:
        require(table.rows > 0, f"{table.files[0].name}: holds no row; expected one for each track played")
        sessions, session_ids = table.numbered("session")
        items, item_ids = table.numbered("item")
        here = table.columns
        times = table.values("time").astype(np.float64) if "time" in here else np.arange(table.rows, dtype=np.float64)
        skips = table.values("skipped").astype(bool) if "skipped" in here else np.zeros(table.rows, bool)
        notes = [f"the column {name} is read as {column}" for column, name in table.named.items() if name != column]
        if "time" not in here:
            notes.append("there is no column of times: the rows of a session stand in the order of listening")
        events = group_events(sessions, items, times, np.arange(len(session_ids)))
        return Plays(
            events,
            skips[events.rows],
            list(map(str, item_ids)),
            list(map(str, session_ids)),
            tuple(table.files),
            (*table.notes, *notes),
        )


@dataclass(frozen=True, eq=False)
class Pieces:
    """Sessions of known tracks, those of more than twenty cut."""

    halves: Halves
    session: NDArray[np.int64]
    """(pieces,) the number of each one's session."""
    used: NDArray[np.bool_]
    """(events,) whether a play is in one of them."""


def pieces_of(plays: Plays, tokens: NDArray[np.int32]) -> Pieces:
    """Lay out sessions, the first half being the smaller one; ``tokens`` (items,) are ids, PAD for what is left out."""
    token = tokens[plays.events.items]
    known = np.flatnonzero(token != PAD)
    session = plays.session[known]
    counts = np.bincount(session, minlength=len(plays.session_ids))
    place = (np.arange(len(known)) - np.repeat(np.cumsum(counts) - counts, counts)) % (2 * HALF)
    piece = np.cumsum(place == 0) - 1
    lengths = np.bincount(piece)
    enough = lengths >= LEAST
    kept = enough[piece]
    known, place, row = known[kept], place[kept], (np.cumsum(enough) - 1)[piece[kept]]
    first = (lengths[enough] // 2)[row]
    column = np.where(place < first, place, HALF + place - first)
    shape = (int(enough.sum()), 2 * HALF)
    halves = Halves(np.full(shape, PAD, np.int32), np.zeros(shape, np.uint8))
    halves.tracks[row, column] = token[known]
    halves.skips[row, column] = plays.skips[known]
    used = np.zeros(len(token), bool)
    used[known] = True
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return Pieces(halves, plays.session[known][starts], used)


def prepare_tables(
    train: Any, validation: Any, options: DataOptions, columns: Mapping[str, str | None]
) -> SequenceData:
    """The sessions of tables, all of which are learnt from: there is no test part.

    Args:
        train: a table, see :func:`read_plays`.
        validation: a table to choose the best epoch by; None: a share of the sessions, as the options say, drawn.
        options: of the data; tracks of fewer plays than ``min_plays`` (default: 1) are left out.
        columns: see :func:`read_plays`.

    Raises:
        UserError: a table is wrong, or nothing can be learnt from it.
    """
    plays = read_plays(train, columns)
    drawn = np.zeros(len(plays.session_ids), bool)
    if validation is None:
        drawn = np.random.default_rng(options.split_seed).random(len(drawn)) < options.validation_share
    counted = np.bincount(plays.events.items[~drawn[plays.session]], minlength=len(plays.item_ids))
    least, name = options.min_plays or 1, plays.files[0].name
    known = np.flatnonzero(counted >= least)
    require(known.size > 0, f"{name}: no track is played {least} times in the training part; lower --min-plays")
    released = options.protocol == "released"
    order = np.argsort(np.array(plays.item_ids)[known]) if released else np.argsort(-counted[known], kind="stable")
    tracks = known[order]
    ids, first = options.ids, options.ids.first_track
    tokens = np.full(len(counted), PAD, np.int32)
    tokens[tracks] = np.arange(len(tracks), dtype=np.int32) + first
    pieces = pieces_of(plays, tokens)
    held_back = drawn[pieces.session]
    parts = {"train": _of(pieces.halves, ~held_back), "validation": _of(pieces.halves, held_back)}
    require(len(parts["train"]) > 0, f"{name}: no session has two tracks; nothing can be learnt")
    rows = RowCounts()
    _count(rows, plays, tokens, pieces, f"tracks of fewer than {least} plays in training")
    notes, session_ids = list(plays.notes), set(plays.session_ids)
    if validation is not None:
        other = read_plays(validation, columns)
        theirs = _renumbered(other, plays.item_ids, tokens)
        found = pieces_of(other, theirs)
        require(len(found.halves) > 0, f"{other.files[0].name}: no session has two tracks that training knows")
        _count(rows, other, theirs, found, UNKNOWN, "validation: ")
        parts["validation"] = found.halves
        session_ids |= set(other.session_ids)
    rows.parts = {part: {"sessions": len(one), "events": int((one.tracks != PAD).sum())} for part, one in parts.items()}
    track_ids = [""] * first + [plays.item_ids[track] for track in tracks]
    plays_of = np.concatenate([np.zeros(first, np.int64), counted[tracks]])
    return of_parts(
        parts["train"],
        parts["validation"],
        track_ids,
        ids,
        plays=plays_of,
        rows=rows.as_json(),
        notes=notes,
        session_ids=frozenset(session_ids),
    )


UNKNOWN = "tracks that training does not know"


def of_parts(
    train: Halves,
    validation: Halves,
    track_ids: list[str],
    ids: Ids,
    plays: NDArray[np.int64] | None = None,
    rows: dict[str, Any] | None = None,
    notes: list[str] | None = None,
    session_ids: frozenset[str] = frozenset(),
    known_as: str = "",
) -> SequenceData:
    """Sessions in memory as prepared data: without features and without a test part.

    Args:
        train, validation: sessions.
        track_ids: the vocabulary.
        ids: those that are no tracks.
        plays: (V,) of each track in training; None counts them.
        rows, notes, session_ids: see :class:`~session_transformers.preprocess.SequenceData`.
        known_as: the fingerprint; empty computes it.
    """
    if plays is None:
        plays = np.bincount(train.tracks.ravel(), minlength=len(track_ids)) * (np.array(track_ids) != "")
    arrays = {"train": train.tracks, "skips": train.skips, "validation": validation.tracks}
    digests = {
        name: hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest() for name, array in arrays.items()
    }
    digests["ids"] = hashlib.sha256("\0".join(track_ids).encode()).hexdigest()
    return SequenceData(
        train,
        validation,
        none(),
        np.zeros((len(track_ids), 0), np.float32),
        [],
        plays,
        track_ids,
        ids,
        0,
        {},
        rows or {},
        known_as or fingerprint(digests),
        notes or [],
        session_ids,
    )


def tested_on(data: SequenceData, table: Any, columns: Mapping[str, str | None]) -> SequenceData:
    """The data with the sessions of another table as their test part; tracks that training does not know are left out.

    Raises:
        UserError: the table is wrong, or none of its tracks is known.
    """
    plays = read_plays(table, columns)
    own = [name for name in data.track_ids if name]
    first = data.ids.first_track
    tokens = _renumbered(plays, own, np.arange(first, first + len(own), dtype=np.int32))
    name = plays.files[0].name
    require(
        bool((tokens != PAD).any()),
        f"{name}: none of its {len(tokens):,} tracks was in the training data: the ids there are such as {own[0]!r}, "
        f"here such as {plays.item_ids[0]!r}",
    )
    if shared := data.session_ids.intersection(plays.session_ids):
        console.notify(
            f"warning: {name}: {len(shared):,} of its {len(plays.session_ids):,} sessions, such as {min(shared)!r}, "
            "were learnt from, too: the figures say little of sessions that are new"
        )
    pieces, rows = pieces_of(plays, tokens), RowCounts()
    _count(rows, plays, tokens, pieces, UNKNOWN)
    rows.parts = {"test": {"sessions": len(pieces.halves), "events": int(pieces.used.sum())}}
    return replace(data, test=pieces.halves, rows=rows.as_json(), notes=list(plays.notes))


def are_integers(table: Any, item: str | None) -> bool:
    """Whether the ids of a pandas table's items are integers, so that its user expects such."""
    if not isinstance(table, pd.DataFrame):
        return False
    column = next((name for name in ([item] if item else USUAL_NAMES["item"]) if name in table.columns), None)
    return column is not None and pd.api.types.is_integer_dtype(table[column].dtype)


def name_of(source: Any) -> str:
    """What reports call a table."""
    return Path(source).name if isinstance(source, str | Path) else "table"


def none() -> Halves:
    """No sessions."""
    return Halves(np.zeros((0, 2 * HALF), np.int32), np.zeros((0, 2 * HALF), np.uint8))


def _of(halves: Halves, which: NDArray[np.bool_]) -> Halves:
    return Halves(halves.tracks[which], halves.skips[which])


def _renumbered(plays: Plays, names: list[str], tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """(items,) the tokens of a table's items by the tokens of ``names``; PAD for what is not among them."""
    known = dict(zip(names, tokens.tolist(), strict=True))
    return np.array([known.get(name, PAD) for name in plays.item_ids], np.int32)


def _count(
    counts: RowCounts, plays: Plays, tokens: NDArray[np.int32], pieces: Pieces, why: str, whose: str = ""
) -> None:
    known = tokens[plays.events.items] != PAD
    for file in plays.files:
        name = f"{whose}{short(file.name)}"
        counts.add_file(name, file.rows, file.blanks)
        here = (plays.events.rows >= file.first) & (plays.events.rows < file.first + file.rows)
        counts.leave_out(name, why, int((here & ~known).sum()))
        counts.leave_out(name, "single tracks of sessions", int((here & known & ~pieces.used).sum()))
        counts.check_used(name, int((here & pieces.used).sum()))
