"""Session tables of the official GRU4Rec code: SessionId, ItemId, Time, and the clicks of RSC15 (Yoochoose)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from common.options import UserError, require
from common.sessions import Events, group_events
from common.tables import Column, Table, TableFile, open_table

RSC15_COLUMNS = ("SessionId", "Time", "ItemId", "Category")
"""The clicks have no header line."""
USUAL_NAMES = {
    "SessionId": ("SessionId", "session_id", "sessionId", "SessionID", "sessionid", "session", "session_id:token"),
    "ItemId": (
        "ItemId", "item_id", "itemId", "ItemID", "itemid", "item", "track_id", "track", "song_id", "song",
        "item_id:token",
    ),
    "Time": ("Time", "time", "timestamp", "Timestamp", "ts", "played_at", "timestamp:float"),
}  # fmt: skip
"""Column of the official files -> what it is called elsewhere."""
ENDINGS = (".tsv", ".csv", ".parquet", ".jsonl")
PACKED = ("", ".gz", ".zst", ".zip")


@dataclass(frozen=True)
class EventTable:
    """The events of a table."""

    events: Events
    """Items are numbered as in ``item_ids``, rows from 0."""
    item_ids: list[str]
    """(items,) in the order in which the rows first name them."""
    session_ids: list[str]
    """(sessions,) as they stand in the file."""
    files: tuple[TableFile, ...]
    notes: tuple[str, ...]
    """What was recognised."""


def table_names(name: str) -> list[str]:
    """The names that the file ``train.tsv`` may have: packed, or of another format.

    >>> table_names("train.tsv")[:6]
    ['train.tsv', 'train.tsv.gz', 'train.tsv.zst', 'train.tsv.zip', 'train.csv', 'train.csv.gz']
    """
    stem = name.rsplit(".", 1)[0] if name.endswith(ENDINGS) else None
    names = [name] if stem is None else [name, *(stem + ending for ending in ENDINGS if stem + ending != name)]
    return [one + packed for one in names for packed in PACKED]


def read_events(source: Any, session: str, item: str, time: str, separator: str | None = None) -> EventTable:
    """Read a table with a header; further columns are ignored, rows may be in any order.

    Args:
        source: a file (csv, tsv, packed or not, Parquet or JSON lines), several, or a pandas, Polars or Arrow table,
            see :mod:`common.tables`.
        session, item, time: names of the three columns; of those of the official files also :data:`USUAL_NAMES` will
            do. The time is in seconds or smaller units, or ISO 8601. Session ids are ordered as integers if all are,
            else as texts.
        separator: one character; None takes the one that fits the header.

    Raises:
        UserError: a column is missing, a value is wrong, or there is no row.
    """
    kinds = {session: "id", item: "id", time: "time"}
    columns = {name: Column(kind, names=USUAL_NAMES.get(name, ())) for name, kind in kinds.items()}  # type: ignore[arg-type]
    with open_table(source, columns, separator=separator) as table:
        require(table.rows > 0, f"{table.files[0].name}: holds no row; expected one for each event")
        usual = [f"{name} is read as {column}" for column, name in table.named.items() if name != column]
        table.notes += [f"the column {one}" for one in usual]
        return _event_table(table, session, item, time)


def read_clicks(path: Path) -> EventTable:
    """Read ``yoochoose-clicks.dat``: session, time (2014-04-07T10:51:09.277Z), item, category; no header, no quoting.

    Raises:
        UserError: a line is wrong, or there is none.
    """
    columns = {"SessionId": Column("integer"), "Time": Column("time"), "ItemId": Column("integer")}
    with open_table(path, columns, header=RSC15_COLUMNS, separator=",", quotes=False) as table:
        require(table.rows > 0, f"{path}: holds no row; expected one for each click")
        return _event_table(table, "SessionId", "ItemId", "Time")


def _event_table(table: Table, session: str, item: str, time: str) -> EventTable:
    sessions, session_ids = table.numbered(session)
    items, item_ids = table.numbered(item)
    events = group_events(sessions, items, table.values(time), _integers(session_ids))
    return EventTable(
        events, list(map(str, item_ids)), list(map(str, session_ids)), tuple(table.files), tuple(table.notes)
    )


def _integers(ids: list[Any]) -> NDArray[Any]:
    """The ids as integers if each is one in its usual form (no leading zeros), else as UTF-8."""
    texts = np.array([str(name).encode() for name in ids], dtype=np.bytes_)
    try:
        numbers = texts.astype(np.int64)
    except (ValueError, OverflowError):
        return texts
    return numbers if (numbers.astype(texts.dtype) == texts).all() else texts


def join_items(train: EventTable, test: EventTable) -> tuple[Events, list[str]]:
    """The test events with the items numbered as in training, and all items: those of the training table first.

    The rows go on where those of the training table end.

    Raises:
        UserError: the two tables share sessions, or no item.
    """
    shared = set(train.session_ids).intersection(test.session_ids)
    train_file, test_file = train.files[0].name, test.files[0].name
    if shared:
        example = next(name for name in test.session_ids if name in shared)
        raise UserError(
            f"{test_file}: {len(shared):,} of its {len(test.session_ids):,} sessions are in {train_file} too, for "
            f"example {example!r}; the model would be tested on what it was trained on: leave them out of one file, "
            "or give the sessions of one ids of their own"
        )
    numbers = {name: number for number, name in enumerate(train.item_ids)}
    if not numbers.keys() & set(test.item_ids):
        composed = {normalize("NFC", name) for name in test.item_ids}
        forms = not composed.isdisjoint(normalize("NFC", name) for name in numbers)
        raise UserError(
            f"{test_file}: none of its {len(test.item_ids):,} items is in {train_file}: the ids there are such as "
            f"{train.item_ids[0]!r}, here such as {test.item_ids[0]!r}; write the same items alike in both"
            f"{' (they differ in the form of their accents: Unicode NFC and NFD)' if forms else ''}"
        )
    known = np.array([numbers.setdefault(name, len(numbers)) for name in test.item_ids], np.int32)
    events = test.events.renumbered(known)
    rows = events.rows + len(train.events.items)
    return Events(events.items, events.times, rows, events.offsets, events.ids), list(numbers)
