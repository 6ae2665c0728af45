"""Whom to recommend to: users with what they have heard, taken from the playlists of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtnmr.dataset import Integers, KkboxData, Points, Rows


@dataclass(frozen=True)
class Queries:
    """Users and all that they have heard, the oldest song first.

    Attributes:
        users: (n,) numbers of the users; -1 for somebody who is not in the dataset.
        histories: n lists of songs.
        behaviours: how each of them was come by; parallel to ``histories``.
    """

    users: Integers
    histories: Rows
    behaviours: Rows

    def __len__(self) -> int:
        return len(self.users)

    def take(self, which: NDArray[np.integer]) -> Queries:
        """The queries with the numbers ``which`` (m,)."""
        return Queries(self.users[which], take_rows(self.histories, which), take_rows(self.behaviours, which))


def slices(rows: Rows, first: NDArray[np.int64], last: NDArray[np.int64]) -> Rows:
    """Lists ``rows.values[first[i] : last[i]]``, one for each i."""
    indptr = np.concatenate([[0], np.cumsum(last - first)]).astype(np.int64)
    places = np.arange(indptr[-1]) + np.repeat(first - indptr[:-1], last - first)
    return Rows(indptr, np.asarray(rows.values[places], np.int32))


def take_rows(rows: Rows, which: NDArray[np.integer]) -> Rows:
    """The lists with the numbers ``which``; a number below 0 gives an empty list."""
    starts, stops = (np.append(part, 0)[which] for part in (rows.indptr[:-1], rows.indptr[1:]))
    return slices(rows, np.where(which < 0, 0, starts), np.where(which < 0, 0, stops))


def of_users(data: KkboxData) -> Queries:
    """Every user of the dataset with the whole training playlist, which is empty for users new in the test."""
    first, last = _parts(data, training=True)
    histories, behaviours = (slices(rows, first, last) for rows in (data.songs_played, data.behaviours))
    return Queries(np.arange(data.users, dtype=np.int32), histories, behaviours)


def songs_to_come(data: KkboxData) -> Rows:
    """The songs that each user plays in the test, in order; a list for every user."""
    return slices(data.songs_played, *_parts(data, training=False))


def of_points(data: KkboxData, points: Points) -> tuple[Queries, Integers]:
    """The history before each example, and the song (n,) that comes next."""
    first = data.songs_played.indptr[points.playlists]
    label = first + points.positions
    histories, behaviours = (slices(rows, first, label) for rows in (data.songs_played, data.behaviours))
    songs = np.asarray(data.songs_played.values[label], np.int32)
    return Queries(data.owners[points.playlists].astype(np.int32), histories, behaviours), songs


def _parts(data: KkboxData, training: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the training (or the test) part of each user's playlist lies; a user has at most one of each."""
    start, stop = data.songs_played.indptr[:-1], data.songs_played.indptr[1:]
    border = start + data.trained
    low, high = (start, border) if training else (border, stop)
    there = np.flatnonzero(high > low)
    first, last = np.zeros(data.users, np.int64), np.zeros(data.users, np.int64)
    first[data.owners[there]], last[data.owners[there]] = low[there], high[there]
    return first, last
