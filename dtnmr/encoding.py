"""Encoding of songs and users as lists of bits; the text rules by which fields are split and names accepted."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, Integers, KkboxData, Rows

LONGEST_NAME = 25
UNKNOWN_AGE = "unknown"
"""Corrected protocol: the value of an age that nobody has, such as KKBOX's 0 of members who did not tell theirs."""
MILLISECONDS = 1000
_FOREIGN = re.compile("[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7a3\u0e00-\u0e7f]")
"""Chinese characters, kana, Hangul, Thai."""
_WHOLE = re.compile(r"\s*(-?[0-9]+)(?:\.0*)?\s*")


def split_values(text: str) -> list[str]:
    """The values of a field of songs.csv.

    >>> split_values("Sven Nord|  Edda Lund"), split_values("")
    (['Sven Nord', 'Edda Lund'], [''])
    """
    return [part.strip() for part in text.split("|")]


def values_of(feature: str, text: str, released: bool = False) -> list[str]:
    """The values in a field.

    Corrected: several, with ``|`` between them, for a song's features, else one; genres, languages and cities
    are numbers, which Kaggle's files and pandas write in two ways. Released: all fields are split, and only names are
    stripped.

    >>> values_of("language", "52.0"), values_of("city", "5"), values_of("gender", "a|b"), values_of("genre", "1| 2")
    (['52'], ['5'], ['a|b'], ['1', '2'])
    >>> values_of("genre", "465.0|1259")
    ['465', '1259']
    >>> values_of("language", "52.0", released=True), values_of("genre", "1| 2", released=True)
    (['52.0'], ['1', ' 2'])
    """
    if released:
        return split_values(text) if feature in ("artist", "composer") else text.split("|")
    if feature in ("age", "gender"):
        return [text]
    values = [text] if feature == "city" else split_values(text)
    return [_whole(value) for value in values] if feature in ("genre", "language", "city") else values


def _whole(text: str) -> str:
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def accepted_name(name: str, longest: int = LONGEST_NAME) -> bool:
    """Whether the released code keeps songs by an artist or composer of this name.

    >>> [accepted_name(name) for name in ("Aria Novak", "BLACKPINK", "", "BTS 방탄", "Björk Gudm")]
    [True, False, False, False, True]
    """
    return any(map(str.isspace, name)) and len(name) <= longest and not _FOREIGN.search(name)


def whole_number(text: str) -> int | None:
    """A whole number as Python's ``int`` reads it, which the released code uses; None where that is an error.

    >>> [whole_number(text) for text in ("25", " +25", "2_5", "\uff12\uff15", "25.0", "")]
    [25, 25, 25, 25, None, None]
    """
    try:
        return int(text)
    except ValueError:
        return None


def released_seconds(text: str) -> float:
    """Seconds of a length in milliseconds as the released code reads it; infinite where that is an error."""
    number = whole_number(text)
    try:
        return math.inf if number is None else number / MILLISECONDS
    except OverflowError:
        return math.inf


def known_age(text: str, least: int, most: int) -> str:
    """An age within bounds as a plain number, :data:`UNKNOWN_AGE` for all else.

    >>> [known_age(text, 16, 59) for text in ("25", "25.0", "0", "", "1051")]
    ['25', '25', 'unknown', 'unknown', 'unknown']
    """
    number = float(pd.to_numeric(text, errors="coerce"))
    return str(int(number)) if least <= number <= most and number == math.floor(number) else UNKNOWN_AGE


Values = Mapping[str, Sequence[str]]
"""Feature -> its values in the order of their columns."""


class Encoder:
    """Numbers the columns of the blocks of some features, one block behind the other.

    Args:
        values: feature -> its values.
        features: those of the blocks, in order.
        released: split fields as the released code does (:func:`dtnmr.encoding.values_of`).
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
