"""Examples as the arrays that the network takes: distinct songs once, multi-hot vectors as lists of columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtnmr.architecture import Architecture
from dtnmr.dataset import Integers, KkboxData, Rows
from dtnmr.model import Inputs

BLOCK = 1 << 19
"""Plays whose songs' columns are held at once."""


class Touched(NamedTuple):
    """Which rows of a kernel a list of columns needs, so that a step reads and writes no others.

    Attributes:
        rows: (D,) distinct columns, ascending.
        place: (N,) number in ``rows`` of each column of the list.
        order: (N,) the list's places, by ascending column.
    """

    rows: Integers
    place: Integers
    order: Integers


def touched(bits: Integers) -> Touched:
    """See :class:`Touched`."""
    # Numbers of 16 bits are sorted by radix, several times as fast.
    order = np.argsort(bits.astype(np.uint16) if bits.max(initial=0) < 1 << 16 else bits, kind="stable")
    ordered = bits[order]
    begins = np.ones(len(bits), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=begins[1:])
    place = np.empty(len(bits), np.int32)
    place[order] = np.cumsum(begins, dtype=np.int32) - 1
    return Touched(ordered[begins], place, order.astype(np.int32))


def taken(
    rows: Rows, wanted: NDArray[np.integer], ends: NDArray[np.integer] | None = None
) -> tuple[Integers, Integers]:
    """The lists ``wanted`` (n,), or the first ``ends`` (n,) of each, one behind the other, and whose each value is."""
    starts = rows.indptr[wanted]
    lengths = rows.indptr[np.asarray(wanted) + 1] - starts if ends is None else ends
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
    return rows.values[places], np.repeat(np.arange(len(wanted), dtype=np.int32), lengths)


class UserInputs:
    """The columns of a user's input after any part of a playlist.

    Columns are kept in the order in which a playlist first brings them up, the user's own first. So the input after
    p songs, the union of their columns, is the beginning of a list: no example sorts or joins anything.

    Args:
        playlists: songs of each.
        song_bits: columns of each song.
        user_bits: columns of the user of each playlist.
        user_width: how many columns users have; those of songs follow.
        longest: of a longer history only the last so many songs count. These few are joined one by one.
    """

    def __init__(
        self, playlists: Rows, song_bits: Rows, user_bits: Rows, user_width: int, longest: int = 2**31 - 1
    ) -> None:
        self._playlists, self._song_bits = playlists, song_bits
        self._user_width, self._longest = user_width, longest
        values, sizes, counts = [], [], []
        start = 0
        while start < len(playlists):
            stop = int(np.searchsorted(playlists.indptr, playlists.indptr[start] + BLOCK, side="right")) - 1
            stop = min(max(stop, start + 1), len(playlists))
            some = np.arange(start, stop)
            songs, of_play = taken(playlists, some)  # (P,) songs, their playlist
            bits, play = taken(song_bits, songs)
            rows = of_play[play]
            own, own_rows = taken(user_bits, some)
            # The user's own columns count as brought up before the first song.
            keys = np.concatenate([own_rows, rows]).astype(np.int64) << 32
            keys |= np.concatenate([own, bits.astype(np.int64) + user_width])
            _, first = np.unique(keys, return_index=True)
            first.sort()  # the order of appearance, users' own before all songs'
            order = np.argsort(keys[first] >> 32, kind="stable")
            kept = keys[first][order]
            values.append((kept & 0xFFFFFFFF).astype(np.int32))
            sizes.append(np.bincount(kept >> 32, minlength=len(some)))
            new = first[first >= len(own)] - len(own)
            per_play = np.bincount(play[new], minlength=len(songs))
            # Running number of columns after each play, and before the first of each playlist.
            total = np.concatenate([[0], np.cumsum(per_play)])
            begins = playlists.indptr[some] - playlists.indptr[start]
            own_sizes = np.bincount(own_rows, minlength=len(some))
            after = total[1:] - np.repeat(total[begins] - own_sizes, playlists.lengths[start:stop])
            counts.append(np.insert(after, begins, own_sizes))
            start = stop
        self._columns = Rows(
            np.concatenate([[0], np.cumsum(np.concatenate(sizes))]) if sizes else np.zeros(1, np.int64),
            np.concatenate(values) if values else np.empty(0, np.int32),
        )
        # (plays + playlists,): columns after 0, 1, 2, ... songs of the first playlist, then of the next.
        self._counts = np.concatenate(counts).astype(np.int32) if counts else np.empty(0, np.int32)

    def __call__(self, playlists: Integers, positions: NDArray[np.integer]) -> tuple[Integers, Integers]:
        """Columns after the first ``positions`` (n,) songs of ``playlists`` (n,), and whose each is, ascending."""
        long = positions > self._longest
        begun = self._playlists.indptr[playlists]
        counts = self._counts[begun + playlists + np.where(long, 0, positions)]
        columns, rows = taken(self._columns, playlists, counts)
        if not long.any():
            return columns, rows
        last = (begun + positions)[long]
        plays = (last[:, None] + np.arange(-self._longest, 0)).ravel()
        bits, of_play = taken(self._song_bits, self._playlists.values[plays])
        keys = np.unique(np.flatnonzero(long)[of_play // self._longest] << 32 | bits + self._user_width)
        rows = np.concatenate([rows, (keys >> 32).astype(np.int32)])
        columns = np.concatenate([columns, (keys & 0xFFFFFFFF).astype(np.int32)])
        order = np.argsort(rows, kind="stable")
        return columns[order], rows[order]


class Examples:
    """Makes the network's inputs of places in playlists.

    Args:
        architecture: of the network.
        data: songs.
        playlists: songs heard, of each playlist.
        behaviours: how, parallel to ``playlists``.
        user_bits: columns of the user of each playlist.
    """

    def __init__(
        self, architecture: Architecture, data: KkboxData, playlists: Rows, behaviours: Rows, user_bits: Rows
    ) -> None:
        self.architecture, self.song_bits, self.lengths = architecture, data.song_bits, data.lengths
        self.playlists, self.behaviours = playlists, behaviours
        width, longest = architecture.user_width, data.longest_history
        self.columns = UserInputs(playlists, data.song_bits, user_bits, width, longest)

    @classmethod
    def of(cls, architecture: Architecture, data: KkboxData) -> Examples:
        """Of the playlists of ``data``."""
        values, _ = taken(data.user_bits, data.owners)
        sizes = data.user_bits.lengths[data.owners]
        own = Rows(np.concatenate([[0], np.cumsum(sizes)]), values)
        return cls(architecture, data, data.songs_played, data.behaviours, own)

    def window(
        self, playlists: Integers, positions: NDArray[np.integer]
    ) -> tuple[Integers, Integers, NDArray[np.float32]]:
        """The last songs (n, L) before ``positions``, their behaviours and which there are; 0, -1 and 0 for none."""
        length = self.architecture.long_length
        offsets = positions[:, None] + np.arange(-length, 0)
        live = offsets >= 0
        if not len(self.playlists.values):
            return np.zeros(live.shape, np.int32), np.full(live.shape, -1, np.int32), live.astype(np.float32)
        places = np.where(live, self.playlists.indptr[playlists][:, None] + offsets, 0)
        songs = np.where(live, self.playlists.values[places], 0).astype(np.int32)
        return songs, np.where(live, self.behaviours.values[places], -1).astype(np.int32), live.astype(np.float32)

    def inputs(self, playlists: Integers, positions: Integers, candidates: Integers, songs: int = 0) -> Inputs:
        """The inputs of a batch.

        Args:
            playlists, positions: (B,) where the song to predict stands.
            candidates: (B, C) songs to score.
            songs: 0 encodes just the songs that are needed; another number pads them to as many.
        """
        history, behaviours, live = self.window(playlists, positions)
        asked = np.concatenate([history.ravel(), candidates.ravel()])
        distinct, place = np.unique(asked, return_inverse=True)
        place = place.astype(np.int32)
        bits, rows = taken(self.song_bits, distinct)
        lengths = np.zeros(max(songs, len(distinct)), np.float32)
        lengths[: len(distinct)] = self.lengths[distinct]
        of_users, users = self.columns(playlists, positions)
        cut = history.size
        return Inputs(
            bits, rows, lengths, of_users, users, place[:cut].reshape(history.shape), behaviours, live,
            place[cut:].reshape(candidates.shape),
        )  # fmt: skip

    def inputs_of_all(self, playlists: Integers, positions: Integers, candidates: Integers) -> Inputs:
        """As :meth:`inputs`, with all songs encoded: the place of a song is its number."""
        history, behaviours, live = self.window(playlists, positions)
        rows = np.repeat(np.arange(len(self.song_bits), dtype=np.int32), self.song_bits.lengths)
        of_users, users = self.columns(playlists, positions)
        return Inputs(self.song_bits.values, rows, self.lengths, of_users, users, history, behaviours, live, candidates)
