"""Songs and users as lists of bits: the multi-hot encoding of their metadata, and of what a user has heard."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, Integers, KkboxData, Rows
from dtnmr.filters import UNKNOWN_AGE, values_of

Values = Mapping[str, Sequence[str]]
"""Feature -> its values in the order of their columns."""


class Encoder:
    """Numbers the columns of the blocks of some features, one block behind the other.

    Args:
        values: feature -> its values.
        features: those of the blocks, in order.
        released: split fields as the released code does (:func:`dtnmr.filters.values_of`).
    """

    def __init__(self, values: Values, features: Sequence[str], released: bool = False) -> None:
        self._columns: dict[str, dict[str, int]] = {}
        self._released = released
        start = 0
        for feature in features:
            self._columns[feature] = {value: start + place for place, value in enumerate(values[feature])}
            start += len(values[feature])

    def bits(self, row: Mapping[str, Iterable[str]]) -> Integers:
        """Sorted distinct columns of the values of a row; unknown values have none."""
        found = {
            self._columns[feature][value]
            for feature, values in row.items()
            for value in values
            if value in self._columns[feature]
        }
        return np.array(sorted(found), np.int32)

    def rows(self, texts: Mapping[str, Sequence[str]]) -> Rows:
        """The columns of many rows, given as the texts of their fields."""
        names = list(texts)
        found = [
            self.bits({name: values_of(name, text, self._released) for name, text in zip(names, fields, strict=True)})
            for fields in zip(*texts.values(), strict=True)
        ]
        return make_rows(found)


def make_rows(lists: Sequence[Integers]) -> Rows:
    """``lists`` one behind the other."""
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in lists])]).astype(np.int64)
    return Rows(indptr, np.concatenate([np.empty(0, np.int32), *lists]).astype(np.int32))


def scaled_length(seconds: float, longest: float) -> float:
    """The first column of a song's encoding: its length over the longest one, to four places."""
    return round(seconds / longest, 4)


def encode_song(
    data: KkboxData,
    length_seconds: float,
    genres: str | Sequence[str],
    artists: str | Sequence[str],
    composers: str | Sequence[str],
    language: str,
) -> tuple[float, Integers]:
    """The encoding of a song that need not be in ``data``: scaled length, and columns as in ``data.song_bits``.

    Several values are a list, or a text with ``|`` between them as in songs.csv. Values that no song of ``data`` has
    are left out; :func:`unknown_values` names them.
    """
    fields = dict(zip(SONG_FEATURES, (genres, artists, composers, language), strict=True))
    row = {
        name: values_of(name, value, data.released) if isinstance(value, str) else list(value)
        for name, value in fields.items()
    }
    length = scaled_length(length_seconds, data.longest_length)
    return length, Encoder(data.values, SONG_FEATURES).bits(row)


def encode_user(data: KkboxData, age: int | str, gender: str, city: int | str) -> Integers:
    """The columns, as in ``data.user_bits``, of a user who need not be in ``data``; unknown values are left out.

    In the corrected protocol an age that nobody of the training data has counts as unknown, which is a value, too.
    """
    given = dict(zip(USER_FEATURES, (str(age), gender, str(city)), strict=True))
    row = {name: values_of(name, text, data.released) for name, text in given.items()}
    if not data.released and not set(row["age"]) & set(data.values["age"]):
        row["age"] = [UNKNOWN_AGE]
    return Encoder(data.values, USER_FEATURES).bits(row)


def unknown_values(data: KkboxData, feature: str, values: str | Sequence[str]) -> list[str]:
    """Those of ``values`` that have no column, to be named to the user."""
    given = values_of(feature, values, data.released) if isinstance(values, str) else values
    return [value for value in given if value not in data.values[feature]]


def heard_bits(data: KkboxData, songs: Sequence[int] | Integers) -> Integers:
    """Sorted distinct columns of all ``songs`` together: the block of heard songs of a user (its length is no part)."""
    rows = [data.song_bits[int(song)] for song in songs]
    return np.unique(np.concatenate([np.empty(0, np.int32), *rows])).astype(np.int32)
