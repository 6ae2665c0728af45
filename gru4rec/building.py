"""From the events of a dataset to training, validation and test sessions: read, filter, split, number.

In memory; the logs of MSSD, which may be larger than it, take the same steps in :mod:`gru4rec.out_of_core`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.row_counts import RowCounts
from common.sessions import (
    Events,
    Sessions,
    drop_rare,
    drop_repeats,
    drop_short,
    first_appearance,
    newest_dates,
    newest_days,
    newest_share,
)
from gru4rec.built import (
    ARRAYS,
    PARTS,
    RARE,
    REPEATS,
    Built,
    require_rest,
    require_test,
    require_train,
    standardised,
    unknown_items,
)
from gru4rec.data_options import DataOptions, SessionFiles
from gru4rec.out_of_core import build_out_of_core
from gru4rec.tables import join_items, read_clicks, read_events


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


def build(files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """Make the sessions of ``files`` and write them to ``folder`` as ``train_items.npy``, ``train_offsets.npy``, ...

    Args:
        options: completed for the kind of ``files``.
        folder: an existing folder; temporary files are made there, too.

    Raises:
        UserError: a file is wrong, the filters leave no training or test session, or a track has no features.
    """
    if files.kind == "mssd":
        return build_out_of_core(files, options, folder)
    read = _read_tsv if files.kind == "tsv" else _read_rsc15
    return build_from(read(files, options), files, options, folder)


def build_from(parts: Parts, files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """As :func:`build`, for events in memory."""
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
    return Parts(train, test, _utf8(items), found, notes=tuple(note for table in tables for note in table.notes))


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
    notes = tuple(note for table in tables for note in table.notes)
    ids = frozenset(name for table in tables for name in table.session_ids)
    told: dict[str, Any] = {"notes": notes, "all_trained": True, "session_ids": ids}
    return Parts(tables[0].events, None, _utf8(items), found, validation=chosen, **told)


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
