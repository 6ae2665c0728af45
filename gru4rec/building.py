"""From the events of a dataset to training, validation and test sessions: read, filter, split, number.

In memory; the logs of MSSD that another engine reads take :mod:`gru4rec.out_of_core`, with the same result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd.conversion import read_logs
from common.mssd.engines import chosen_engine
from common.mssd.files import read_features
from common.mssd.logs import Numbering
from common.sessions import (
    Events,
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
    FEATURELESS,
    RARE,
    REPEATS,
    Built,
    log_events,
    require_features,
    require_rest,
    require_test,
    require_train,
    standardised,
    unknown_items,
)
from gru4rec.data_options import DataOptions, SessionFiles
from gru4rec.out_of_core import build_out_of_core
from gru4rec.tables import read_clicks, read_events


@dataclass
class Parts:
    """Events on their way, with the items of the files numbered alike in all of them."""

    train: Events
    test: Events | None
    """None as long as it is not split off."""
    item_ids: NDArray[np.bytes_]
    """(items in the files,)"""
    features: NDArray[np.float32] | None = None
    """(items in the files, 29)"""
    described: NDArray[np.bool_] | None = None
    """(items in the files,) whether there are features of the item."""
    validation: Events | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    """Events that each step dropped."""

    def count(self, step: str, before: Events, after: Events) -> Events:
        """Note what ``step`` dropped; returns ``after``."""
        self.dropped[step] = self.dropped.get(step, 0) + len(before.items) - len(after.items)
        return after


def build(files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """Make the sessions of ``files`` and write them to ``folder`` as ``train_items.npy``, ``train_offsets.npy``, ...

    Args:
        options: completed for the kind of ``files``.
        folder: an existing folder; temporary files are made there, too.

    Raises:
        UserError: a file is wrong, the filters leave no training or test session, or a track has no features.
    """
    if files.kind == "mssd" and chosen_engine(options.engine, files.events) != "numpy":
        return build_out_of_core(files, options, folder)
    parts = {"mssd": _read_mssd, "tsv": _read_tsv, "rsc15": _read_rsc15}[files.kind](files, options, folder)
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


def _read_mssd(files: SessionFiles, options: DataOptions, scratch: Path) -> Parts:
    require_features(files, options)
    log = read_logs(files.events, scratch)
    events = log_events(log, log.tracks)
    if not files.others:
        return Parts(events, None, log.track_ids)
    features, described = read_features(files.others, log.track_ids)
    parts = Parts(events, None, log.track_ids, features, described)
    if options.drop_featureless:
        parts.train = parts.count(FEATURELESS, events, events.keep(described[events.items]))
    return parts


def _read_tsv(files: SessionFiles, options: DataOptions, scratch: Path) -> Parts:
    items = Numbering()
    keys = (options.session_key, options.item_key, options.time_key)
    train = read_events(files.events[0], *keys, items)
    test = read_events(files.others[0], *keys, items) if files.others else None
    return Parts(train, test, items.names())


def _read_rsc15(files: SessionFiles, options: DataOptions, scratch: Path) -> Parts:
    events, ids = read_clicks(files.events[0])
    return Parts(events, None, np.array(ids, dtype=np.bytes_))


def _split(parts: Parts, files: SessionFiles, options: DataOptions) -> None:
    """Split off the test sessions, unless they have a file of their own, and then the validation sessions."""
    newest = newest_dates if files.kind == "mssd" else newest_days

    def split(events: Events, name: str, days: float, share: float | None) -> tuple[Events, Events]:
        mask = newest(events, days) if share is None else newest_share(events, share)
        if days == 0 and share is None:
            mask[:] = False
        require_rest(not mask.size or not mask.all(), name, share, files)
        return events.keep_sessions(~mask), events.keep_sessions(mask)

    if parts.test is None:
        parts.train, parts.test = split(parts.train, "test", options.test_days, options.test_share)
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
            raise TypeError("the parts are not split yet")
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
    return Built(item_ids, support, features, parts.dropped)
