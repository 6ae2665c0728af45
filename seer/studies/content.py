"""Baselines for songs that nobody has rated: the user's mean, and ridge regression on simple statistics of the MIDI."""

from __future__ import annotations

import numpy as np

from seer.baselines import Rater
from seer.preprocess import Ratings, Split

PENALTIES = tuple(10.0**power for power in range(-1, 6))
"""Tried on the validation ratings, the shared and the personal one each."""


def user_means(train: Ratings, users: int) -> np.ndarray:
    """(users,) mean training rating of each user; the mean of all ratings for a user without any."""
    count = np.bincount(train.users, minlength=users)
    total = np.bincount(train.users, weights=train.values, minlength=users)
    return np.where(count > 0, total / np.maximum(count, 1), train.values.mean())


def user_mean(train: Ratings, users: int, songs: int) -> Rater:
    """The mean rating of the user, whatever the song."""
    mean = user_means(train, users)
    return Rater(lambda who, items: mean[who], lambda who: np.tile(mean[who, None], (1, songs)))


def midi_statistics(midi: np.ndarray) -> np.ndarray:
    """Simple statistics of each song (songs, 5 * channels + 12), from the steps that SeER reads too.

    Per channel: the share of steps with a starting note; mean and standard deviation of the notes that start, their
    mean velocity; the mean absolute interval between steps that follow one another. Over all channels: the share of
    each of the twelve pitch classes.

    Args:
        midi: (songs, steps, 2 * channels), notes and velocities interleaved, raw 0..127; rows of zeros pad the end.
    """
    found = []
    for song in midi:  # one at a time: the array may be memory-mapped
        note, velocity = song[:, 0::2].astype(np.float64), song[:, 1::2].astype(np.float64)
        starts = velocity > 0
        count = np.maximum(starts.sum(axis=0), 1)
        steps = max(int((song != 0).any(axis=1).sum()), 1)
        mean = (note * starts).sum(axis=0) / count
        spread = np.sqrt((np.square(note - mean) * starts).sum(axis=0) / count)
        both = starts[1:] & starts[:-1]
        interval = (np.abs(np.diff(note, axis=0)) * both).sum(axis=0) / np.maximum(both.sum(axis=0), 1)
        loudness = (velocity * starts).sum(axis=0) / count
        pitch_class = np.bincount(note[starts].astype(np.int64) % 12, minlength=12) / max(starts.sum(), 1)
        found.append(np.concatenate([starts.sum(axis=0) / steps, mean, spread, loudness, interval, pitch_class]))
    return np.array(found)


def content_ridge(split: Split, statistics: np.ndarray, users: int) -> dict[str, Rater]:
    """Ridge regression of what ratings differ from their user's mean by, on standardised ``statistics`` of the songs.

    ``ridge`` has one weight vector for all users: what makes songs liked. ``ridge per user`` adds to it a vector of
    each user: who likes what. Both penalties are those with the smallest squared error on the validation ratings.

    Args:
        split: training and validation ratings.
        statistics: (songs, features) of all songs, see :func:`midi_statistics`.
        users: number of users.
    """
    train, validation = split.train, split.validation
    heard = statistics[np.unique(train.songs)]
    deviation = heard.std(axis=0)
    used = deviation > 1e-9
    x = (statistics[:, used] - heard.mean(axis=0)[used]) / deviation[used]  # (songs, features)
    mean = user_means(train, users)
    rest = train.values - mean[train.users]

    def error(shared: np.ndarray, personal: np.ndarray | None = None) -> float:
        predicted = mean[validation.users] + x[validation.songs] @ shared
        if personal is not None:
            predicted += np.einsum("nf,nf->n", x[validation.songs], personal[validation.users])
        return float(np.mean(np.square(predicted - validation.values)))

    rows = np.bincount(train.songs, minlength=len(x))
    gram = (x * rows[:, None]).T @ x
    target = x.T @ np.bincount(train.songs, weights=rest, minlength=len(x))
    solved = [np.linalg.solve(gram + penalty * np.eye(x.shape[1]), target) for penalty in PENALTIES]
    shared = min(solved, key=error)
    tried = [_personal(train, rest - x[train.songs] @ shared, x, users, penalty) for penalty in PENALTIES]
    personal = min(tried, key=lambda weights: error(shared, weights))

    def recommender(weights: np.ndarray) -> Rater:
        """Of weights (users, features)."""
        return Rater(
            lambda who, items: mean[who] + np.einsum("nf,nf->n", x[items], weights[who]),
            lambda who: mean[who, None] + weights[who] @ x.T,
        )

    everybody = np.broadcast_to(shared, personal.shape)
    return {"ridge on MIDI statistics": recommender(everybody), "ridge per user": recommender(shared + personal)}


def _personal(train: Ratings, rest: np.ndarray, x: np.ndarray, users: int, penalty: float) -> np.ndarray:
    """Ridge weights (users, features) of each user's ``rest``; by kernels, as users have few ratings."""
    weights = np.zeros((users, x.shape[1]))
    order = np.argsort(train.users, kind="stable")
    starts = np.searchsorted(train.users[order], np.arange(users + 1))
    for user in np.flatnonzero(np.diff(starts)):
        rows = order[starts[user] : starts[user + 1]]
        own = x[train.songs[rows]]
        weights[user] = own.T @ np.linalg.solve(own @ own.T + penalty * np.eye(len(rows)), rest[rows])
    return weights
