"""From plays to playlists, and from playlists to the examples: which song comes after this history?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dtnmr.data_options import DataOptions
from dtnmr.dataset import Integers, Points, Rows
from dtnmr.kkbox import Plays

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Playlists:
    """Playlists, as :class:`dtnmr.dataset.KkboxData` describes its fields of the same names."""

    songs_played: Rows
    behaviours: Rows
    owners: Integers
    trained: Integers


def pair_numbers(plays: Plays, songs: int) -> NDArray[np.int64]:
    """(rows,) a number for each pair of user and song."""
    return plays.users.astype(np.int64) * songs + plays.songs


def repeated(plays: Plays, songs: int) -> Mask:
    """(rows,) whether the user has played the song before, in the same file."""
    return pd.Series(pair_numbers(plays, songs)).duplicated().to_numpy()


def separate_playlists(train: Plays, test: Plays) -> Playlists:
    """As in the released code: playlists of the training file, then those of the test file, which begin anew.

    Within a file a playlist stands where its user's first play does.
    """
    parts = [_grouped(plays, pd.factorize(plays.users)[0]) for plays in (train, test)]
    owners = [pd.unique(plays.users) for plays in (train, test)]
    songs, tabs = (_chained(parts[0][place], parts[1][place]) for place in (0, 1))
    trained = np.concatenate([parts[0][0].lengths, np.zeros(len(owners[1]))])
    return Playlists(songs, tabs, np.concatenate(owners).astype(np.int32), trained.astype(np.int32))


def continued_playlists(train: Plays, test: Plays, users: int) -> Playlists:
    """A playlist for each user, with the plays of the training file and then those of the test file."""
    plays = Plays(*(np.concatenate(pair) for pair in zip(vars(train).values(), vars(test).values(), strict=True)))
    trained = np.bincount(train.users, minlength=users).astype(np.int32)
    return Playlists(*_grouped(plays, plays.users, users), np.arange(users, dtype=np.int32), trained)


def _grouped(plays: Plays, groups: NDArray[Any], count: int = 0) -> tuple[Rows, Rows]:
    order = np.argsort(groups, kind="stable")
    indptr = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))]).astype(np.int64)
    return Rows(indptr, plays.songs[order]), Rows(indptr, plays.tabs[order])


def _chained(first: Rows, second: Rows) -> Rows:
    return Rows(
        np.concatenate([first.indptr, second.indptr[1:] + first.indptr[-1]]),
        np.concatenate([first.values, second.values]),
    )


def released_points(playlists: Playlists, options: DataOptions) -> tuple[Points, Points, tuple[int, int]]:
    """Examples of the released code: training, test, and how many of each are left out as it cannot use them.

    Playlists longer than the least and shorter than the greatest length give one for each song after the least
    length. The released code looks the song up in the playlist: the history ends before its FIRST play. Where a
    repeated play makes that history shorter than the long-term one, the released code stops with an error; such an
    example is left out here.
    """
    played = playlists.songs_played
    lengths = played.lengths
    used = (lengths > options.min_playlist_len) & (lengths < options.max_playlist_len)
    rows, positions = _spans(np.where(used, options.min_playlist_len, lengths), lengths)
    places = played.indptr[rows] + positions
    owners = np.repeat(np.arange(len(played)), lengths)
    distinct = pd.factorize(owners * (int(played.values.max(initial=0)) + 1) + played.values)[0]
    first = np.full(distinct.max(initial=-1) + 1, -1)
    first[distinct[::-1]] = np.arange(len(distinct))[::-1]  # of several assignments the last one stays
    positions = first[distinct[places]] - played.indptr[rows]
    usable = positions >= options.long_term_len
    train = playlists.trained[rows] > 0
    return (
        _points(rows[usable & train], positions[usable & train]),
        _points(rows[usable & ~train], positions[usable & ~train]),
        (int((~usable & train).sum()), int((~usable & ~train).sum())),
    )


def corrected_points(playlists: Playlists, options: DataOptions) -> tuple[Points, Points, Points]:
    """Examples for training, validation and test.

    Of the training part of a playlist every song after the first ``min_playlist_len`` is one, but of no more than
    its last ``max_playlist_len`` songs, so that a few users who play very much do not outweigh all others. The last
    ``validation_share`` of them (rounded to the nearest number) are for validation. Every song of the test part with
    ``long_term_len`` songs before it, of either file, is an example for the test.
    """
    ends = playlists.trained.astype(np.int64)
    starts = np.minimum(np.maximum(ends - options.max_playlist_len, options.min_playlist_len), ends)
    middles = ends - np.floor((ends - starts) * options.validation_share + 0.5).astype(np.int64)
    lengths = playlists.songs_played.lengths
    tested = np.minimum(np.maximum(ends, options.long_term_len), lengths)
    parts = (_points(*_spans(*bounds)) for bounds in ((starts, middles), (middles, ends), (tested, lengths)))
    train, validation, test = parts
    return train, validation, test


def _spans(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and positions of all of ``starts[row]`` to ``ends[row]``, the latter excluded.

    >>> _spans(np.array([2, 5, 1]), np.array([4, 5, 2]))
    (array([0, 0, 2]), array([2, 3, 1]))
    """
    lengths = ends - starts
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return rows, np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths - starts, lengths)


def _points(rows: NDArray[Any], positions: NDArray[Any]) -> Points:
    return Points(rows.astype(np.int32), positions.astype(np.int32))
