"""Sessions of items in the order of time: the form that the session-based models learn from, and its filters.

The filters and splits are those of the official GRU4Rec code (Hidasi et al., arXiv 1511.06939, 1706.03847).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAY = 86_400.0
"""Seconds."""


@dataclass(frozen=True)
class Sessions:
    """Sessions of item numbers, each in the order of time; the oldest session first, ties by session id."""

    items: NDArray[np.int32]
    """(events,) item numbers from 0, sessions one after the other."""
    offsets: NDArray[np.int64]
    """(sessions + 1,): session s is ``items[offsets[s]:offsets[s + 1]]``."""
    starts: NDArray[np.float64]
    """(sessions,) time of the first event in seconds."""

    def __len__(self) -> int:
        return len(self.starts)


@dataclass(frozen=True)
class Events:
    """Events on their way to :class:`Sessions`: grouped by session, in the order of time within each.

    No session is empty. The sessions themselves are in any order.
    """

    items: NDArray[np.int32]
    """(events,) item numbers."""
    times: NDArray[np.float64]
    """(events,) seconds; they never decrease within a session."""
    rows: NDArray[np.int64]
    """(events,) place of the event in the files: orders items by first appearance."""
    offsets: NDArray[np.int64]
    """(sessions + 1,): session s has the events ``offsets[s]:offsets[s + 1]``."""
    ids: NDArray[Any]
    """(sessions,) session ids: integers, or texts as UTF-8 bytes."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(sessions,) events in each session."""
        return np.diff(self.offsets)

    @property
    def starts(self) -> NDArray[np.float64]:
        """(sessions,) time of the first event."""
        return self.times[self.offsets[:-1]]

    @property
    def ends(self) -> NDArray[np.float64]:
        """(sessions,) time of the last event."""
        return self.times[self.offsets[1:] - 1]

    def keep(self, events: NDArray[np.bool_]) -> Events:
        """Only the ``events`` (events,) that are True; sessions that lose all theirs vanish."""
        if events.all():
            return self
        before = np.concatenate([[0], np.cumsum(events)])
        offsets = before[self.offsets]
        left = np.diff(offsets) > 0
        return Events(
            self.items[events],
            self.times[events],
            self.rows[events],
            np.concatenate([[0], offsets[1:][left]]),
            self.ids[left],
        )

    def keep_sessions(self, sessions: NDArray[np.bool_]) -> Events:
        """Only the ``sessions`` (sessions,) that are True."""
        return self.keep(np.repeat(sessions, self.lengths))

    def renumbered(self, numbers: NDArray[np.int32]) -> Events:
        """The same events with item i called ``numbers[i]``, which must not be negative for any item here."""
        return Events(numbers[self.items], self.times, self.rows, self.offsets, self.ids)

    def sessions(self) -> Sessions:
        """The sessions ordered by (time of the first event, session id)."""
        order = np.lexsort((self.ids, self.starts))
        lengths = self.lengths[order]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(self.offsets[:-1][order] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Sessions(self.items[places].astype(np.int32, copy=False), offsets, self.starts[order])


def group_events(
    sessions: NDArray[np.integer[Any]], items: NDArray[np.int32], times: NDArray[np.float64], ids: NDArray[Any]
) -> Events:
    """Bring rows in any order into sessions; rows of the same session and time keep their order.

    Args:
        sessions: (events,) number of each row's session in ``ids``; every session must occur.
        items: (events,) item numbers.
        times: (events,) seconds.
        ids: (sessions,) session ids.
    """
    rows = np.arange(len(items))
    step = np.diff(sessions)
    if (step < 0).any() or ((step == 0) & (np.diff(times) < 0)).any():
        rows = np.lexsort((times, sessions))
    counts = np.bincount(sessions, minlength=len(ids))
    return Events(items[rows], times[rows], rows, np.concatenate([[0], np.cumsum(counts)]), ids)


def drop_repeats(events: Events) -> Events:
    """Drop every event whose item is that of the event before in its session."""
    fresh = np.ones(len(events.items), dtype=bool)
    fresh[1:] = events.items[1:] != events.items[:-1]
    fresh[events.offsets[:-1]] = True
    return events.keep(fresh)


def drop_short(events: Events, min_length: int) -> Events:
    """Drop the sessions of fewer than ``min_length`` events."""
    return events.keep_sessions(events.lengths >= min_length)


def drop_rare(events: Events, min_support: int, min_length: int) -> Events:
    """Drop short sessions, then items of fewer than ``min_support`` events, then short sessions again.

    As in the official preprocessing of RSC15, the second pass over the sessions may leave items below
    ``min_support`` again.
    """
    events = drop_short(events, min_length)
    support = np.bincount(events.items)
    return drop_short(events.keep(support[events.items] >= min_support), min_length)


def first_appearance(events: Events) -> NDArray[np.int32]:
    """The distinct items, in the order in which the files first name them."""
    items = events.items[np.argsort(events.rows, kind="stable")]
    distinct, first = np.unique(items, return_index=True)
    return distinct[np.argsort(first)].astype(np.int32)


def newest_share(events: Events, share: float) -> NDArray[np.bool_]:
    """Mask (sessions,) of the newest ``share`` of the sessions, by time of the first event, then session id."""
    count = round(share * len(events))
    newest = np.zeros(len(events), dtype=bool)
    newest[np.lexsort((events.ids, events.starts))[len(events) - count :]] = True
    return newest


def newest_days(events: Events, days: float) -> NDArray[np.bool_]:
    """Mask (sessions,) of the sessions whose last event lies within ``days`` of the last event of all (RSC15)."""
    return events.ends >= events.ends.max() - days * DAY if len(events) else np.zeros(0, dtype=bool)


def newest_dates(events: Events, days: float) -> NDArray[np.bool_]:
    """Mask (sessions,) of the sessions that start on one of the last ``days`` calendar days (UTC)."""
    dates = np.floor(events.starts / DAY)
    return dates > dates.max() - days if len(events) else np.zeros(0, dtype=bool)
