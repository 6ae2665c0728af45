"""From the events of a dataset to training, validation and test sessions: read, filter, split, number."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd import FEATURES, NUMERIC_FEATURES, read_features
from common.mssd_logs import Numbering, read_logs
from common.options import UserError, require
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
from gru4rec.data_options import DataOptions, SessionFiles
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


@dataclass(frozen=True)
class Built:
    """What is to be saved; see :class:`gru4rec.preprocess.SessionData`."""

    train: Sessions
    validation: Sessions
    test: Sessions
    item_ids: NDArray[np.bytes_]
    features: NDArray[np.float32] | None
    dropped: dict[str, int]


def build(files: SessionFiles, options: DataOptions, scratch: Path) -> Built:
    """Make the sessions of ``files``.

    Args:
        options: completed for the kind of ``files``.
        scratch: an existing folder for temporary files.

    Raises:
        UserError: a file is wrong, the filters leave no training or test session, or a track has no features.
    """
    parts = {"mssd": _read_mssd, "tsv": _read_tsv, "rsc15": _read_rsc15}[files.kind](files, options, scratch)
    if options.collapse_repeats:
        parts.train = parts.count("repeats", parts.train, drop_repeats(parts.train))
        if parts.test is not None:
            parts.test = parts.count("repeats", parts.test, drop_repeats(parts.test))
    rare = "rare items and short sessions"
    least = (options.min_support or 1, options.min_length or 1)
    if files.kind == "rsc15":  # the official order: support is counted before the split
        parts.train = parts.count(rare, parts.train, drop_rare(parts.train, *least))
    _split(parts, files, options)
    if files.kind != "rsc15":
        parts.train = parts.count(rare, parts.train, drop_rare(parts.train, *least))
    require(len(parts.train) > 0, f"{files.names}: the filters leave no training session; relax them")
    return _number(parts, files, options)


def _read_mssd(files: SessionFiles, options: DataOptions, scratch: Path) -> Parts:
    log = read_logs(files.events, scratch, engine=options.engine)
    times = np.repeat(log.starts, np.diff(log.offsets)) + log.positions  # a second for each position
    events = Events(log.tracks, times, np.arange(len(log.tracks)), log.offsets, log.session_ids)
    if not files.others:
        require(
            not options.drop_featureless,
            f"--drop-featureless: there are no track features (tf_*.csv) beside {files.names}",
        )
        return Parts(events, None, log.track_ids)
    features, described = read_features(files.others, log.track_ids)
    parts = Parts(events, None, log.track_ids, features, described)
    if options.drop_featureless:
        parts.train = parts.count("tracks without features", events, events.keep(described[events.items]))
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
        option = f"--{name}-share 0.1" if share is None else f"a smaller --{name}-share"
        require(
            not mask.size or not mask.all(),
            f"{files.names}: all sessions fall into the {name} part, none is left to train on; try {option}",
        )
        return events.keep_sessions(~mask), events.keep_sessions(mask)

    if parts.test is None:
        parts.train, parts.test = split(parts.train, "test", options.test_days, options.test_share)
    days = options.validation_days or 0.0
    parts.train, parts.validation = split(parts.train, "validation", days, options.validation_share)


def _number(parts: Parts, files: SessionFiles, options: DataOptions) -> Built:
    """Number the training items; drop all others from the validation and test sessions."""
    vocabulary = first_appearance(parts.train)
    numbers = np.full(len(parts.item_ids), -1, dtype=np.int32)
    numbers[vocabulary] = np.arange(len(vocabulary), dtype=np.int32)

    def known(part: Events | None, name: str) -> Sessions:
        if part is None:
            raise TypeError("the parts are not split yet")
        left = drop_short(part.keep(numbers[part.items] >= 0), options.min_length or 1)
        parts.count(f"{name}: items unknown in training, then short sessions", part, left)
        return left.renumbered(numbers).sessions()

    test = known(parts.test, "test")
    test_events = len(parts.test.items) if parts.test is not None else 0
    where = files.other_names if files.kind == "tsv" and files.others else files.names
    require(
        len(test) > 0,
        f"{where}: no test session is left of {test_events:,} test events; sessions need {options.min_length} or more "
        "events of items that occur in training: choose another test file, --test-days or --test-share",
    )
    return Built(
        parts.train.renumbered(numbers).sessions(),
        known(parts.validation, "validation"),
        test,
        parts.item_ids[vocabulary],
        _standardise(parts, vocabulary, files),
        parts.dropped,
    )


def _standardise(parts: Parts, vocabulary: NDArray[np.int32], files: SessionFiles) -> NDArray[np.float32] | None:
    """The features of the training tracks, (tracks, 29): each number with mean 0 and variance 1 over them."""
    if parts.features is None or parts.described is None:
        return None
    missing = vocabulary[~parts.described[vocabulary]]
    if missing.size:
        raise UserError(
            f"{files.other_names}: {missing.size:,} of {len(vocabulary):,} training tracks have no row, "
            f"for example {parts.item_ids[missing[0]].decode()}; add their features or use --drop-featureless"
        )
    features = parts.features[vocabulary].astype(np.float64)
    numbers = features[:, : len(NUMERIC_FEATURES)]
    deviation = numbers.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(numbers).max(axis=0)  # what is left of it is rounding
    numbers -= numbers.mean(axis=0)
    numbers /= np.where(constant, 1.0, deviation)
    return features.astype(np.float32).reshape(-1, len(FEATURES))
