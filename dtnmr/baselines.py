"""What DTNMR has to beat: each baseline scores the whole catalogue for the same users and test points.

The paper compares with seven methods whose names could not be found; these are the usual ones for such data. All learn
from the training playlists (their validation part included, which DTNMR only chooses its epoch by), and all but BPR-MF
read the same histories as DTNMR.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import lsqr

from dtnmr.dataset import SONG_FEATURES, KkboxData, Queries, Rows, of_users, training_part
from dtnmr.evaluation import Scores

FACTORS = 32
EPOCHS = 60
RATE = 0.05
PENALTY = 0.01
BATCH = 1024
"""Pairs of an update; a user or song that occurs several times in it moves by the sum."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Factors:
    """score(user, song) = users[user] . songs[song] + bias[song]."""

    users: Floats
    """(users, factors); zeros for a user without plays."""
    songs: Floats
    """(songs, factors)"""
    bias: Floats
    """(songs,)"""


def train_bpr(plays: sparse.csr_array, seed: int, factors: int = FACTORS, epochs: int = EPOCHS) -> Factors:
    """Bayesian personalised ranking (Rendle et al., UAI 2009, arXiv 1205.2618) of a 0-1 matrix of plays (users, songs).

    Maximises sum ln sigmoid(score(u, i) - score(u, j)) - penalty |parameters|^2 over the plays (u, i), j being drawn
    uniformly from the songs that u has not played (a drawn song that u has played is drawn once more).
    """
    rng = np.random.default_rng((seed, 3))
    count, songs = plays.shape
    users = rng.normal(0, 0.1, (count, factors)).astype(np.float32)
    users[np.diff(plays.indptr) == 0] = 0
    items = rng.normal(0, 0.1, (songs, factors)).astype(np.float32)
    bias = np.zeros(songs, np.float32)
    user = np.repeat(np.arange(count), np.diff(plays.indptr))
    played = np.sort(user * songs + plays.indices)
    for _ in range(epochs):
        order = rng.permutation(len(user))
        other = rng.integers(0, songs, len(user))
        known = np.flatnonzero(_contains(played, user * songs + other))
        other[known] = rng.integers(0, songs, len(known))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            u, i, j = user[rows], plays.indices[rows], other[rows]
            difference = items[i] - items[j]
            margin = (users[u] * difference).sum(axis=1) + bias[i] - bias[j]
            pull = (RATE / (1 + np.exp(margin)))[:, None].astype(np.float32)
            shrink = np.float32(RATE * PENALTY)
            steps = (pull * difference - shrink * users[u], pull * users[u])
            np.add.at(users, u, steps[0])
            np.add.at(items, i, steps[1] - shrink * items[i])
            np.add.at(items, j, -steps[1] - shrink * items[j])
            np.add.at(bias, i, pull[:, 0] - shrink * bias[i])
            np.add.at(bias, j, -pull[:, 0] - shrink * bias[j])
    return Factors(users, items, bias)


def _contains(ordered: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.bool_]:
    places = np.minimum(np.searchsorted(ordered, wanted), max(len(ordered) - 1, 0))
    return ordered[places] == wanted if len(ordered) else np.zeros(len(wanted), bool)


NEIGHBOURS = 200
"""Neighbours of a song that count in item-kNN."""
SHRINKAGE = 20.0
"""Users added to those of each song in item-kNN, so that chance meetings of rare songs count little."""
BACK_OFF = 0.1
"""Share of plain popularity in the Markov chain of artists: no song is impossible."""
RIDGE = 1.0
"""Strength of the penalty on the weights of the metadata's popularity."""
PAIRS = 2**24
"""Similarities that are held at a time."""


def make_baselines(data: KkboxData, seed: int) -> dict[str, Callable[[], Scores]]:
    """Name of each baseline -> a function that learns it from the training playlists."""
    return {
        "random": lambda: chance(data, seed),
        "popularity": lambda: popularity(data),
        "metadata popularity": lambda: metadata_popularity(data),
        "repeat artist": lambda: repeat_artist(data),
        "Markov on artist": lambda: artist_markov(data),
        "item-kNN": lambda: item_knn(data),
        "BPR-MF": lambda: bpr_mf(data, seed),
    }


def matrix(rows: Rows, columns: int) -> sparse.csr_array:
    """0-1 matrix (n, columns) of lists of integers."""
    found = sparse.csr_array(
        (np.ones(len(rows.values), np.float32), rows.values, rows.indptr), shape=(len(rows), columns)
    )
    found.sum_duplicates()
    found.data[:] = 1.0
    return found


def artists_of(data: KkboxData) -> sparse.csr_array:
    """(songs, artists) 0-1 matrix of who performs what."""
    start = sum(len(data.values[name]) for name in SONG_FEATURES[: SONG_FEATURES.index("artist")])
    bits = matrix(data.song_bits, data.song_width)
    return sparse.csr_array(bits[:, start : start + len(data.values["artist"])])


def chance(data: KkboxData, seed: int) -> Scores:
    """Random scores, a draw for every query."""

    def scores(queries: Queries) -> NDArray[Any]:
        lengths = queries.histories.lengths
        seeds = [(seed, 2, int(user) + 1, int(heard)) for user, heard in zip(queries.users, lengths, strict=True)]
        return np.stack([np.random.default_rng(one).random(data.songs, np.float32) for one in seeds])

    return scores


def popularity(data: KkboxData) -> Scores:
    """Score of a song: its plays in the training playlists."""
    return _same_for_all(data.plays)


def metadata_popularity(data: KkboxData) -> Scores:
    """log(1 + plays) of a song, foretold from its metadata by ridge regression; the same for all users.

    That is what the released network can learn at most: its linear rating drops the user (deviation 1 of this paper's
    page). It also has a score for songs without plays.
    """
    bits = matrix(data.song_bits, data.song_width)
    known = np.flatnonzero(data.plays > 0)
    inputs = sparse.csr_array(sparse.hstack([bits, data.lengths[:, None]]))
    target = np.log1p(data.plays[known].astype(np.float64))
    weights = lsqr(inputs[known], target - target.mean(), damp=RIDGE**0.5, iter_lim=200)[0]
    return _same_for_all(inputs @ weights)


def repeat_artist(data: KkboxData) -> Scores:
    """Score of a song: songs of the history that share an artist with it; equally many: by popularity."""
    artists = artists_of(data)
    share = data.plays / (data.plays.max(initial=0) + 1)

    def scores(queries: Queries) -> NDArray[Any]:
        heard = matrix(queries.histories, data.songs) @ artists
        return (heard @ artists.T).toarray() + share

    return scores


def artist_markov(data: KkboxData) -> Scores:
    """P(artist of the next song | artist of the last one) x popularity of the song among those of its artist.

    A song of several artists counts as a part of each. Songs without plays count as half a play.
    """
    artists = artists_of(data)
    sharing = sparse.csr_array(artists / np.maximum(artists.sum(axis=1), 1)[:, None])  # a song is 1 in all
    queries = of_users(data)
    follows = _follows(queries.histories, data.songs)
    moves = sparse.csr_array(sharing.T @ follows @ sharing)
    moves = _rows_to_one(moves)
    weight = np.maximum(data.plays, 0.5)
    played = np.asarray((sharing.T @ data.plays).ravel())  # (artists,) in training: new songs change no other's score
    within = sparse.csr_array(sharing.T * (1 / np.where(played > 0, played, 1))[:, None] * weight[None, :])
    overall = BACK_OFF * weight / data.plays.sum()

    def scores(queries: Queries) -> NDArray[Any]:
        histories = queries.histories
        there = np.flatnonzero(histories.lengths > 0)
        found = np.tile(overall, (len(queries), 1))
        last = histories.values[histories.indptr[there + 1] - 1]
        found[there] += (1 - BACK_OFF) * (sharing[last] @ moves @ within).toarray()
        return found

    return scores


def item_knn(data: KkboxData) -> Scores:
    """Sum over the songs i of the history of c_ij / sqrt((n_i + r) (n_j + r)), for the neighbours j of i.

    c_ij users have both in their training playlist, n_i the one; r is :data:`SHRINKAGE`.
    """
    within = matrix(of_users(data).histories, data.songs)
    users = sparse.csr_array(within.T)
    weight = 1.0 / np.sqrt(np.diff(users.indptr) + SHRINKAGE)
    kept = []
    block = max(1, PAIRS // max(1, data.songs))
    for start in range(0, data.songs, block):
        together = (users[start : start + block] @ within).toarray()
        together[np.arange(len(together)), start + np.arange(len(together))] = 0  # not a neighbour of itself
        kept.append(_largest(together * weight[start : start + block, None] * weight[None, :], NEIGHBOURS))
    similar = sparse.csr_array(sparse.vstack(kept))

    def scores(queries: Queries) -> NDArray[Any]:
        return (matrix(queries.histories, data.songs) @ similar).toarray()

    return scores


def bpr_mf(data: KkboxData, seed: int) -> Scores:
    """Matrix factorisation by BPR (:func:`train_bpr`); a new user gets the songs of highest bias.

    It learns from users and songs with a training play alone; songs without one get no factors and the lowest bias.
    """
    known = training_part(data)
    users, songs = np.unique(known.owners), np.flatnonzero(data.plays) if not data.released else np.arange(data.songs)
    model = train_bpr(matrix(of_users(known).histories, known.songs)[users], seed)
    of_user, of_song = np.zeros((data.users + 1, FACTORS), np.float32), np.zeros((data.songs, FACTORS), np.float32)
    of_user[users], of_song[songs] = model.users, model.songs  # the last row is that of somebody unknown
    bias = np.full(data.songs, model.bias.min(initial=0), np.float32)
    bias[songs] = model.bias

    def scores(queries: Queries) -> NDArray[Any]:
        return of_user[queries.users] @ of_song.T + bias

    return scores


def _same_for_all(scores: NDArray[Any]) -> Scores:
    return lambda queries: np.broadcast_to(scores, (len(queries), len(scores)))


def _follows(histories: Rows, songs: int) -> sparse.csr_array:
    """(songs, songs) how often one song is played right after another."""
    first = np.zeros(len(histories.values) + 1, bool)
    first[histories.indptr[:-1]] = True
    after = np.flatnonzero(~first[:-1])
    columns = (histories.values[after - 1], histories.values[after])
    return sparse.csr_array(sparse.coo_array((np.ones(len(after)), columns), shape=(songs, songs)))


def _rows_to_one(table: sparse.csr_array) -> sparse.csr_array:
    total = np.asarray(table.sum(axis=1)).ravel()
    return sparse.csr_array(sparse.diags_array(1 / np.where(total > 0, total, 1)) @ table)


def _largest(table: NDArray[np.float64], count: int) -> sparse.csr_array:
    """``table`` with the ``count`` largest numbers of each row alone."""
    if table.shape[1] > count:
        border = np.partition(table, table.shape[1] - count, axis=1)[:, -count][:, None]
        table = np.where(table >= border, table, 0)
    return sparse.csr_array(table)
