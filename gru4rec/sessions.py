"""Sessions from tables of events, in memory: read, filter, split into training, validation and test, number the items.

Tables are those of the official GRU4Rec code, SessionId, ItemId, Time, and the clicks of RSC15 (Yoochoose). The logs of
MSSD, which may be larger than memory, take the same steps in :mod:`gru4rec.out_of_core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from common.mssd.files import FEATURES, NUMERIC_FEATURES
from common.mssd.logs import Log
from common.options import UserError, require
from common.row_counts import RowCounts
from common.sessions import (
    Events,
    Sessions,
    drop_rare,
    drop_repeats,
    drop_short,
    first_appearance,
    group_events,
    newest_dates,
    newest_days,
    newest_share,
)
from common.tables import Column, Table, TableFile, open_table
from gru4rec.options import DataOptions, SessionFiles

PARTS = ("train", "validation", "test")
ARRAYS = ("items", "offsets", "starts")
FEATURELESS, REPEATS, RARE = ("tracks without features", "repeats", "rare items and short sessions")
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


@dataclass(frozen=True)
class Built:
    """What is to be saved besides the sessions; see :class:`gru4rec.preprocess.SessionData`."""

    item_ids: NDArray[np.bytes_]
    support: NDArray[np.int64]
    features: NDArray[np.float32] | None
    dropped: dict[str, int]
    counts: RowCounts
    notes: tuple[str, ...] = ()


def unknown_items(part: str) -> str:
    """The name of the last filter of the sessions that are not trained on."""
    return f"{part}: items unknown in training, then short sessions"


def log_events(log: Log, items: NDArray[np.int32]) -> Events:
    """The events of a log, a second for each position; ``items`` (events,) are their tracks."""
    times = np.repeat(log.starts, np.diff(log.offsets)) + log.positions
    return Events(items, times, np.arange(len(items)), log.offsets, log.session_ids)


def require_features(files: SessionFiles, options: DataOptions) -> None:
    """Tracks without features can be dropped only where there are features."""
    require(
        bool(files.others) or not options.drop_featureless,
        f"--drop-featureless: there are no track features (tf_*.csv) beside {files.names}",
    )


def require_rest(left: bool, name: str, share: float | None, files: SessionFiles) -> None:
    """Sessions must be left once those of the part ``name`` are split off."""
    option = f"--{name}-share 0.1" if share is None else f"a smaller --{name}-share"
    require(left, f"{files.names}: all sessions fall into the {name} part, none is left to train on; try {option}")


def require_train(sessions: int, files: SessionFiles) -> None:
    """There must be sessions to train on."""
    require(sessions > 0, f"{files.names}: the filters leave no training session; relax them")


def require_test(sessions: int, events: int, files: SessionFiles, options: DataOptions) -> None:
    """There must be sessions to test on, of the ``events`` in the test part."""
    where = files.other_names if files.kind == "tsv" and files.others else files.names
    require(
        sessions > 0,
        f"{where}: no test session is left of {events:,} test events; sessions need {options.min_length} or more "
        "events of items that occur in training: choose another test file, --test-days or --test-share",
    )


def standardised(
    features: NDArray[np.float32], described: NDArray[np.bool_], item_ids: NDArray[np.bytes_], files: SessionFiles
) -> NDArray[np.float32]:
    """The features of the training tracks, (tracks, 29): each number with mean 0 and variance 1 over them.

    Args:
        features: (tracks, 29) as they stand in the files.
        described: (tracks,) which tracks are there.

    Raises:
        UserError: one is not.
    """
    missing = np.flatnonzero(~described)
    if missing.size:
        raise UserError(
            f"{files.other_names}: {missing.size:,} of {len(described):,} training tracks have no row, "
            f"for example {item_ids[missing[0]].decode()}; add their features or use --drop-featureless"
        )
    values = features.astype(np.float64)
    numbers = values[:, : len(NUMERIC_FEATURES)]
    deviation = numbers.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(numbers).max(axis=0)  # what is left of it is rounding
    numbers -= numbers.mean(axis=0)
    numbers /= np.where(constant, 1.0, deviation)
    return values.astype(np.float32).reshape(-1, len(FEATURES))


@dataclass
class Parts:
    """Events on their way, with the items of the files numbered alike in all of them.

    The rows of the events count those of all files, one file after the other.
    """

    train: Events
    test: Events | None
    """None as long as it is not split off."""
    item_ids: NDArray[np.bytes_]
    """(items in the files,)"""
    files: Sequence[tuple[str, int, int]]
    """Name, rows and blank lines of each file."""
    features: NDArray[np.float32] | None = None
    """(items in the files, 29)"""
    described: NDArray[np.bool_] | None = None
    """(items in the files,) whether there are features of the item."""
    notes: tuple[str, ...] = ()
    """What was recognised in the files."""
    validation: Events | None = None
    """None as long as it is not split off."""
    all_trained: bool = False
    """There is no test part: all is for training and validation."""
    session_ids: frozenset[str] = frozenset()
    """As they stand in the tables, if ``all_trained``."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Events that each step dropped."""
    fates: NDArray[np.uint8] = field(init=False)
    """(rows,) what became of each: 0 is used, n left out by the n-th step in ``dropped``."""

    def __post_init__(self) -> None:
        self.fates = np.zeros(sum(rows for _, rows, _ in self.files), np.uint8)

    def count(self, step: str, before: Events, after: Events) -> Events:
        """Note what ``step`` dropped; returns ``after``."""
        self.dropped[step] = self.dropped.get(step, 0) + len(before.items) - len(after.items)
        if len(before.items) > len(after.items):
            self.fates[before.rows] = list(self.dropped).index(step) + 1
            self.fates[after.rows] = 0
        return after

    def row_counts(self) -> RowCounts:
        """What became of the rows of each file."""
        counts, first = RowCounts(), 0
        for name, rows, blanks in self.files:
            counts.add_file(name, rows, blanks)
            found = np.bincount(self.fates[first : first + rows], minlength=len(self.dropped) + 1)
            for step, count in zip(self.dropped, found[1:].tolist(), strict=True):
                counts.leave_out(name, step, count)
            first += rows
        return counts


def build_in_memory(files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """Make the sessions of ``files`` and write them to ``folder`` as ``train_items.npy``, ``train_offsets.npy``, ...

    Args:
        files: tables or clicks.
        options: completed for their kind.
        folder: an existing folder.

    Raises:
        UserError: a file is wrong, or the filters leave no training or test session.
    """
    read = _read_tsv if files.kind == "tsv" else _read_rsc15
    return build_from(read(files, options), files, options, folder)


def build_from(parts: Parts, files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """As :func:`build_in_memory`, for events in memory."""
    if options.collapse_repeats:
        parts.train = parts.count(REPEATS, parts.train, drop_repeats(parts.train))
        if parts.test is not None:
            parts.test = parts.count(REPEATS, parts.test, drop_repeats(parts.test))
    least = (options.min_support or 1, options.min_length or 1)
    if files.kind == "rsc15":  # the official order: support is counted before the split
        parts.train = parts.count(RARE, parts.train, drop_rare(parts.train, *least))
    _split(parts, files, options)
    if files.kind != "rsc15":
        parts.train = parts.count(RARE, parts.train, drop_rare(parts.train, *least))
    require_train(len(parts.train), files)
    return _number(parts, files, options, folder)


def _read_tsv(files: SessionFiles, options: DataOptions) -> Parts:
    keys = (options.session_key, options.item_key, options.time_key)
    tables = [read_events(path, *keys, options.separating) for path in (files.events[0], *files.others)]
    train, test, items = tables[0].events, None, tables[0].item_ids
    if len(tables) > 1:
        test, items = join_items(*tables)
    found = [(file.name, file.rows, file.blanks) for table in tables for file in table.files]
    return Parts(train, test, _utf8(items), found, notes=_notes(tables))


def _read_rsc15(files: SessionFiles, options: DataOptions) -> Parts:
    table = read_clicks(files.events[0])
    return Parts(
        table.events, None, _utf8(table.item_ids), [(file.name, file.rows, file.blanks) for file in table.files]
    )


def parts_of_tables(train: Any, validation: Any, options: DataOptions) -> Parts:
    """Events to learn from, of tables with the columns that ``options`` name; ``validation`` may be None.

    Raises:
        UserError: a table is wrong, or the two share sessions or no item.
    """
    keys = (options.session_key, options.item_key, options.time_key)
    tables = [read_events(one, *keys, options.separating) for one in (train, validation) if one is not None]
    chosen, items = None, tables[0].item_ids
    if len(tables) > 1:
        chosen, items = join_items(*tables)
    found = [(file.name, file.rows, file.blanks) for table in tables for file in table.files]
    ids = frozenset(name for table in tables for name in table.session_ids)
    told: dict[str, Any] = {"notes": _notes(tables), "all_trained": True, "session_ids": ids}
    return Parts(tables[0].events, None, _utf8(items), found, validation=chosen, **told)


def _notes(tables: Sequence[EventTable]) -> tuple[str, ...]:
    """What was recognised, once where it is the same in several tables."""
    return tuple(dict.fromkeys(note for table in tables for note in table.notes))


def _utf8(texts: list[str]) -> NDArray[np.bytes_]:
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def _split(parts: Parts, files: SessionFiles, options: DataOptions) -> None:
    """Split off the test sessions, unless they have a file of their own, and then the validation sessions."""
    newest = newest_dates if files.kind == "mssd" else newest_days

    def split(events: Events, name: str, days: float, share: float | None) -> tuple[Events, Events]:
        mask = newest(events, days) if share is None else newest_share(events, share)
        if days == 0 and share is None:
            mask[:] = False
        require_rest(not mask.size or not mask.all(), name, share, files)
        return events.keep_sessions(~mask), events.keep_sessions(mask)

    if parts.test is None and not parts.all_trained:
        parts.train, parts.test = split(parts.train, "test", options.test_days, options.test_share)
    if parts.validation is None:
        days = options.validation_days or 0.0
        parts.train, parts.validation = split(parts.train, "validation", days, options.validation_share)


def _number(parts: Parts, files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """Number the training items; drop all others from the validation and test sessions; write what is left."""
    vocabulary = first_appearance(parts.train)
    numbers = np.full(len(parts.item_ids), -1, dtype=np.int32)
    numbers[vocabulary] = np.arange(len(vocabulary), dtype=np.int32)
    found = {"train": parts.train.renumbered(numbers).sessions()}
    for name, part in (("test", parts.test), ("validation", parts.validation)):
        if part is None:
            if not parts.all_trained:
                raise TypeError("the parts are not split yet")
            found[name] = Sessions(np.zeros(0, np.int32), np.zeros(1, np.int64), np.zeros(0))
            continue
        left = drop_short(part.keep(numbers[part.items] >= 0), options.min_length or 1)
        parts.count(unknown_items(name), part, left)
        found[name] = left.renumbered(numbers).sessions()
        if name == "test":
            require_test(len(left), len(part.items), files, options)
    for name, sessions in found.items():
        for array in ARRAYS:
            np.save(folder / f"{name}_{array}.npy", getattr(sessions, array))
    item_ids = parts.item_ids[vocabulary]
    features = None
    if parts.features is not None and parts.described is not None:
        features = standardised(parts.features[vocabulary], parts.described[vocabulary], item_ids, files)
    support = np.bincount(found["train"].items, minlength=len(item_ids)).astype(np.int64)
    counts = parts.row_counts()
    counts.parts = {name: {"sessions": len(found[name]), "events": len(found[name].items)} for name in PARTS}
    counts.check_total(sum(part["events"] for part in counts.parts.values()))
    return Built(item_ids, support, features, parts.dropped, counts, parts.notes)
