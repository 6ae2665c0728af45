"""Recommend for somebody who was not there in training: a user vector from a few ratings, the songs left as they are.

Every SeER model is linear in the user's vector, r(u, s) = X_s' p_u + o_s
(:meth:`seer.model.Networks.linear_rating`), so a new user's p is a ridge regression, drawn towards the average user m:

    p = argmin  sum_s (r_s - o_s - X_s' p)^2 + ridge |p - m|^2  =  m + (X'X + ridge I)^-1 X' (r - o - X m)

With few ratings that is nearly the average user, who likes what is liked in general; with many it is what training
would have found. The default of ridge is the ratio of the variance of the ratings around the model's predictions to
the variance of the trained users' vectors around m: the best guess if both are normally distributed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from common.options import require
from seer.preprocess import SeerData
from seer.tables import read_table

if TYPE_CHECKING:
    from seer.model import Networks

_BLOCK = 65536  # ratings at a time


@dataclass(frozen=True)
class SongRatings:
    """What a new user says: song numbers and ratings, (n,) each."""

    songs: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Person:
    """Who the recommendations are for.

    Attributes:
        name: in words.
        vector: (latent,) in the model's space of users.
        rated: the user's ratings.
        number: of a user of the dataset.
    """

    name: str
    vector: np.ndarray
    rated: SongRatings
    number: int | None = None


def read_ratings(path: Path, information: pd.DataFrame) -> SongRatings:
    """Read a csv file with the columns ``song_id`` and ``rating`` (1..5; fractions allowed).

    Args:
        path: the file.
        information: the dataset's songs, by song number.

    Raises:
        UserError: no such file, a column is missing, a song is unknown or named twice, or a rating is not in 1..5.
    """
    require(path.is_file(), f"--ratings {path}: {'a folder, not a file' if path.is_dir() else 'no such file'}")
    table = read_table(path, "song_id", "rating")
    numbers = {song: number for number, song in enumerate(information["song_id"])}
    songs = []
    for row, song in enumerate(table.unique("song_id")):
        if song not in numbers:
            raise table.error(row, f"song_id {song[:40]!r} is not in the dataset; song_information.csv lists its songs")
        songs.append(numbers[song])
    return SongRatings(np.array(songs), np.array(table.converted("rating", _rating, "a number from 1 to 5")))


def _rating(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 5:
        raise ValueError
    return value


def default_ridge(seer: Networks, data: SeerData, hidden: np.ndarray) -> float:
    """Variance of the ratings around the predictions, over that of the users' vectors around their mean.

    ``hidden`` (songs, latent) are the encodings of all songs.
    """
    vectors = seer.user_vectors(np.arange(seer.architecture.num_users))
    x, offset = seer.linear_rating(hidden)
    squares = 0.0
    for start in range(0, len(data.ratings), _BLOCK):
        rows = slice(start, start + _BLOCK)
        users, songs = data.users[rows], data.songs[rows]
        predicted = np.einsum("nd,nd->n", x[songs], vectors[users]) + offset[songs]
        squares += float(np.sum((data.ratings[rows] - predicted) ** 2))
    return squares / len(data.ratings) / max(float(vectors.var(axis=0).mean()), 1e-12)


def fold_in(seer: Networks, hidden: np.ndarray, values: np.ndarray, ridge: float) -> np.ndarray:
    """The vector (latent,) of a user who gave ``values`` (n,) to the songs encoded as ``hidden`` (n, latent).

    Args:
        seer: the trained model; nothing of it changes.
        hidden: encodings of the rated songs.
        values: their ratings.
        ridge: weight of the squared distance to the average user; 0 takes the nearest of all least-squares solutions.
    """
    x, offset = seer.linear_rating(hidden)
    mean = seer.user_vectors(np.arange(seer.architecture.num_users)).mean(axis=0)
    left = values - offset - x @ mean
    # By singular values, as X'X + ridge I itself cannot be inverted when the ridge is too small for its digits.
    u, s, v = np.linalg.svd(x, full_matrices=False)
    kept = s > s.max(initial=0.0) * np.finfo(float).eps * max(x.shape)
    u, s, v = u[:, kept], s[kept], v[kept]
    return mean + v.T @ (s / (s**2 + ridge) * (u.T @ left))
