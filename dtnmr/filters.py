"""Which songs and users are kept, and what the names of artists must look like (rules of the released code)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtnmr.dataset import SONG_FEATURES
from dtnmr.kkbox import Members, Songs

Mask = NDArray[np.bool_]
LONGEST_SECONDS = 360.0
YOUNGEST, OLDEST = 15, 60
"""All three bounds are excluded: songs are shorter, users are 16 to 59 years old."""
LONGEST_NAME = 25
_FOREIGN = re.compile("[\u4e00-\u9fff\u3040-\u30ff\uac00-\ud7a3\u0e00-\u0e7f]")
"""Chinese characters, kana, Hangul, Thai."""


def split_values(text: str) -> list[str]:
    """The values of a field of songs.csv.

    >>> split_values("Sven Nord|  Edda Lund"), split_values("")
    (['Sven Nord', 'Edda Lund'], [''])
    """
    return [part.strip() for part in text.split("|")]


def accepted_name(name: str) -> bool:
    """Whether the released code keeps songs by an artist or composer of this name.

    >>> [accepted_name(name) for name in ("Aria Novak", "BLACKPINK", "", "BTS 방탄", "Björk Gudm")]
    [True, False, False, False, True]
    """
    return any(map(str.isspace, name)) and len(name) <= LONGEST_NAME and not _FOREIGN.search(name)


@dataclass(frozen=True)
class KeptSongs:
    """What the filters leave of some songs."""

    kept: Mask
    """(songs,)"""
    after: dict[str, Mask]
    """Feature -> songs left once that feature is dealt with; the released code collects the feature's values then,
    so those of songs that a later filter drops stay among them."""
    counts: dict[str, int]
    """Songs that each filter drops."""


def filter_songs(songs: Songs, popular: Mask, name_filter: bool) -> KeptSongs:
    """Apply the filters one after the other, in the order of the released code.

    Args:
        popular: (songs,) those whose number of plays is high enough.
        name_filter: whether all artists and composers of a song must have an :func:`accepted_name`.
    """
    left, after, counts = np.ones(len(songs.ids), bool), {}, {}

    def drop(reason: str, passed: Mask) -> None:
        nonlocal left
        counts[reason] = int((left & ~passed).sum())
        left = left & passed

    drop("songs played too rarely", popular)
    drop("songs of six minutes or more, or of no known length", songs.seconds < LONGEST_SECONDS)
    for feature in SONG_FEATURES:
        if name_filter and feature in ("artist", "composer"):
            drop(f"songs filtered by name ({feature})", _accepted(songs.texts[feature]))
        after[feature] = left
    return KeptSongs(left, after, counts)


def _accepted(texts: Sequence[str]) -> Mask:
    verdicts = {text: all(map(accepted_name, split_values(text))) for text in set(texts)}
    return np.array([verdicts[text] for text in texts], bool)


def filter_users(members: Members) -> tuple[Mask, dict[str, Any]]:
    """(users,) those of an age that can be believed, and how many go."""
    kept = (members.ages > YOUNGEST) & (members.ages < OLDEST)
    return kept, {f"users not of {YOUNGEST + 1} to {OLDEST - 1} years": int((~kept).sum())}
