"""Where the newest sessions begin, found from how many sessions start when: no session need be in memory for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.sessions import DAY, Events


@dataclass(frozen=True)
class Edge:
    """The first of the newest sessions, in the order of (time of the first event, session id)."""

    start: float
    id: bytes = b""

    def newer(self, events: Events) -> NDArray[np.bool_]:
        """Mask (sessions,) of the sessions from this one on."""
        starts = events.starts
        return (starts > self.start) | ((starts == self.start) & (events.ids >= self.id))


NEVER = Edge(float("inf"))
"""No session is so new."""


@dataclass(frozen=True)
class Starts:
    """How many sessions start at each time."""

    times: NDArray[np.float64]
    """(times,) distinct, ascending, seconds."""
    sessions: NDArray[np.int64]
    """(times,)"""

    @classmethod
    def of(cls, times: NDArray[np.float64], sessions: NDArray[np.int64]) -> Starts:
        """From times in any order, a time perhaps more than once."""
        distinct, places = np.unique(times, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, places, sessions)
        return cls(distinct, counts)

    def before(self, edge: Edge, at_edge: int) -> Starts:
        """Without the sessions from ``edge`` on, of which ``at_edge`` start at its very time."""
        older = self.times < edge.start
        counts = np.where(older, self.sessions, 0)
        counts[self.times == edge.start] = self.sessions[self.times == edge.start] - at_edge
        return Starts(self.times[counts > 0], counts[counts > 0])


def last_dates(starts: Starts, days: float) -> tuple[Edge, Starts]:
    """The edge of :func:`common.sessions.newest_dates`, and the sessions before it."""
    dates = np.floor(starts.times / DAY)
    newest = np.flatnonzero(dates > dates.max(initial=-np.inf) - days) if len(dates) else dates[:0]
    if not len(newest):
        return NEVER, starts
    edge = Edge(float(starts.times[newest[0]]))
    return edge, starts.before(edge, int(starts.sessions[newest[0]]))


def last_share(starts: Starts, share: float, ids_at: Callable[[float], NDArray[np.bytes_]]) -> tuple[Edge, Starts]:
    """The edge of :func:`common.sessions.newest_share`, and the sessions before it.

    Args:
        ids_at: the ids of the sessions of ``starts`` that start at a time.
    """
    count = round(share * int(starts.sessions.sum()))
    if not count:
        return NEVER, starts
    newer = np.cumsum(starts.sessions[::-1])[::-1]
    place = int(np.flatnonzero(newer >= count)[-1])
    at_edge = count - int(newer[place] - starts.sessions[place])
    time = float(starts.times[place])
    edge = Edge(time, np.sort(ids_at(time))[-at_edge])
    return edge, starts.before(edge, at_edge)
