"""Text rules: how a field of songs.csv or members.csv is split, and which names and numbers are accepted."""

from __future__ import annotations

import math
import re

import pandas as pd

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
