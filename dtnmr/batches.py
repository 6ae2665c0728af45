"""Batches: examples as the arrays that the network takes, their negatives, and the rows of kernels they touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.epochs import epoch_order
from common.negatives import cumulative, invert
from common.options import require
from dtnmr.dataset import Integers, KkboxData, Points, Rows
from dtnmr.model import Inputs
from dtnmr.options import Architecture

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


NegativesName = Literal["released", "uniform", "popularity"]
ROUNDS = 64
"""Rounds of replacing what may not be drawn before the few examples left are drawn from what they may be."""
DRAWS = 1 << 22
"""Random numbers held at once where every song of every example needs one."""


class Negatives:
    """Draws ``count`` distinct songs for each example.

    Args:
        data: songs, playlists and popularity.
        kind: ``released``: uniformly from all songs, the label and the history among them (deviation 8); ``uniform``:
            from the songs played in training but those of the history and the label; ``popularity``: of these, in
            proportion to plays^alpha. Songs that are new in the test part are no negatives in the latter two: they
            were not there yet, and drawn, but never a label, they would be learnt to be disliked.
        count: songs of each example.
        seed: of all draws.
        alpha: exponent of the popularity, between 0 (uniform) and 1 (plays).

    Raises:
        UserError: there are too few songs to draw from.
    """

    def __init__(self, data: KkboxData, kind: NegativesName, count: int, seed: int = 1, alpha: float = 0.75) -> None:
        require(count >= 1, f"{count} negatives: an example needs at least one (--subset-size of 2 or more)")
        require(count < data.songs, f"{count} negatives and a label need {count + 1} songs; there are {data.songs}")
        self.data, self.kind, self.count, self.seed = data, kind, count, seed
        self.songs = np.arange(data.songs) if kind == "released" else np.flatnonzero(data.plays)
        support = np.where(data.plays > 0, data.plays, 0)[self.songs]
        self._function = cumulative(support, alpha if kind == "popularity" else 0.0)
        self._first = None if kind == "released" else _first_places(data)

    def epoch(self, points: Points, epoch: int) -> Integers:
        """Negatives (n, count) of ``points`` in an epoch."""
        rng = np.random.default_rng((self.seed, epoch, 0x5041))  # a stream apart from that of the examples' order
        if self.kind == "released":
            return distinct(rng, self.data.songs, len(points), self.count)
        found = np.full((len(points), self.count), -1, np.int32)
        left = np.arange(len(points))
        for _ in range(ROUNDS):
            rows = found[left]
            empty = rows < 0
            rows[empty] = self.songs[invert(self._function, rng.random(int(empty.sum())))]
            rows[_repeated(rows) | self._heard(points, left, rows)] = -1
            found[left] = rows
            left = left[(rows < 0).any(axis=1)]
            if not len(left):
                break
        for row in left:
            found[row] = self._exact(rng, points, int(row))
        return found

    def _heard(self, points: Points, rows: NDArray[np.intp], songs: Integers) -> NDArray[np.bool_]:
        """Whether each of ``songs`` (n, count) is the label of its example or stands before it."""
        assert self._first is not None
        keys, places = self._first
        asked = points.playlists[rows].astype(np.int64)[:, None] * self.data.songs + songs
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return (keys[at] == asked) & (places[at] <= points.positions[rows][:, None])

    def _exact(self, rng: np.random.Generator, points: Points, row: int) -> Integers:
        """Negatives of one example that has heard nearly all there is to draw."""
        playlist = self.data.songs_played[int(points.playlists[row])]
        allowed = ~np.isin(self.songs, playlist[: points.positions[row] + 1])
        weights = np.diff(self._function, prepend=0.0) * allowed
        left = int(np.count_nonzero(weights))
        require(
            left >= self.count,
            f"playlist {points.playlists[row]} leaves only {left} of {len(self.songs)} songs to "
            f"draw {self.count} negatives from; lower --subset-size or --max-playlist-len",
        )
        drawn = rng.choice(self.songs, self.count, replace=False, p=weights / weights.sum())
        return drawn.astype(np.int32)


def distinct(rng: np.random.Generator, songs: int, rows: int, count: int) -> Integers:
    """(rows, count): distinct numbers below ``songs``, each row drawn uniformly without replacement."""
    drawn: Integers
    if count * count > songs:  # rows without a repetition would be rare
        block = max(DRAWS // songs, 1)
        parts = [
            np.argpartition(rng.random((min(block, rows - start), songs)), count - 1, axis=1)[:, :count]
            for start in range(0, rows, block)
        ]
        drawn = np.concatenate([np.empty((0, count), np.int32), *parts]).astype(np.int32)
        return rng.permuted(drawn, axis=1)
    drawn = rng.integers(0, songs, (rows, count), dtype=np.int32)
    left = np.arange(rows)
    while len(left):
        ordered = np.sort(drawn[left], axis=1)
        left = left[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        drawn[left] = rng.integers(0, songs, (len(left), count), dtype=np.int32)
    return drawn


def _repeated(rows: Integers) -> NDArray[np.bool_]:
    """(n, count) whether a song of (n, count) stands further to the left in its row, too."""
    found = np.zeros(rows.shape, bool)
    for column in range(1, rows.shape[1]):  # not all pairs at once: n x count^2 would not fit into memory
        found[:, column] = (rows[:, :column] == rows[:, column, None]).any(axis=1)
    return found


def _first_places(data: KkboxData) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """playlist * songs + song of all songs played, ascending, and the first place of each in its playlist."""
    played = data.songs_played
    rows = np.repeat(np.arange(len(played)), played.lengths)
    keys, first = np.unique(rows * data.songs + played.values, return_index=True)
    return keys, first - played.indptr[:-1][keys // data.songs]


class Batch(NamedTuple):
    """A training batch: the inputs, the rows of either kernel they touch, and the weight of each example (B,)."""

    inputs: Inputs
    users: Touched
    songs: Touched
    weights: Any


class Batches:
    """The training batches of an epoch; the last one is filled up with examples of weight 0.

    Args:
        architecture: of the network.
        data: the dataset.
        points: examples to train on.
        negatives: songs to tell the labels from; None encodes all songs (full softmax).
        batch_size: examples of a batch.
        seed: of the order.
    """

    def __init__(
        self,
        architecture: Architecture,
        data: KkboxData,
        points: Points,
        negatives: Negatives | None,
        batch_size: int,
        seed: int,
    ) -> None:
        self.data, self.points, self.negatives = data, points, negatives
        self.batch_size, self.seed = batch_size, seed
        self.examples = Examples.of(architecture, data)
        width = architecture.long_length + 1 + (negatives.count if negatives else 0)
        self._songs = min(batch_size * width, data.songs)  # one shape for all batches: compiled once
        self._all = touched(data.song_bits.values)

    def __len__(self) -> int:
        return -(-len(self.points) // self.batch_size)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch (from 0), which follow from (seed, epoch)."""
        negatives = self.negatives.epoch(self.points, epoch) if self.negatives else None
        order = epoch_order(len(self.points), self.seed, epoch)
        for start in range(0, len(order), self.batch_size):
            yield self.batch(order[start : start + self.batch_size], negatives)

    def batch(self, chosen: np.ndarray, negatives: np.ndarray | None) -> Batch:
        """The batch of the examples ``chosen``, with the negatives (n, count) of all examples."""
        weights = (np.arange(self.batch_size) < len(chosen)).astype(np.float32)
        # What fills up repeats the first example, so that it touches no row of its own.
        chosen = np.concatenate([chosen, np.full(self.batch_size - len(chosen), chosen[0])])
        playlists, positions = self.points.playlists[chosen], self.points.positions[chosen]
        played = self.data.songs_played
        labels = played.values[played.indptr[playlists] + positions][:, None]
        if negatives is None:
            inputs = self.examples.inputs_of_all(playlists, positions, labels)
            return Batch(inputs, touched(inputs.user_bits), self._all, weights)
        candidates = np.concatenate([labels, negatives[chosen]], axis=1)
        inputs = self.examples.inputs(playlists, positions, candidates, self._songs)
        return Batch(inputs, touched(inputs.user_bits), touched(inputs.song_bits), weights)
