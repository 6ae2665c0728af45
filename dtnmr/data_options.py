"""Which plays to learn from and which to test on: the options of the data, named as in the released code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from common.options import OptionalPath, flag, require, require_between
from dtnmr.filters import LONGEST_NAME

Protocol = Literal["corrected", "released"]
MOST = 2**31 - 1
"""No length or number is larger: positions in a playlist are 32-bit integers."""


@dataclass(frozen=True)
class DataOptions:
    """Which plays to learn from and which to test on."""

    db: OptionalPath = None
    """Folder with train.csv, test.csv, songs.csv and members.csv of KKBOX (plain, .gz or .zip): the released code's
    name of --data-dir."""
    cache: OptionalPath = None
    """Folder for the prepared arrays, of their own. Arrays made from other files or with other options are refused
    there unless --reload is given. Default: below the dataset, where they are made anew whenever they must be."""
    reload: bool = False
    """Prepare the arrays anew even where they are up to date."""
    top: float = 0.001
    """Keep a song only if its plays in the training file are more than this share of those of the song played most."""
    min_playlist_len: int = 20
    """Users with a shorter playlist are left out (of training songs; of test songs if they have no others). The first
    songs, as many as this, are only history: examples begin with the song after them. Released protocol: playlists
    must be longer than this."""
    max_playlist_len: int = 200
    """Corrected protocol: only the last so many songs of a training playlist give examples, and a history has fewer
    songs than this. Released protocol: longer playlists, and those of just this length, are left out."""
    subset_size: int = 5
    """Candidates of an example: the song played and so many less one others, the negatives."""
    short_term_len: int = 10
    """Songs at the end of a history that are the short-term preference."""
    long_term_len: int = 20
    """Songs at the end of a history that are the long-term preference; a tested song needs as many before it."""
    max_song_seconds: float = 360.0
    """Songs of this length or longer are left out; 0 is no limit."""
    min_age: int = 16
    """The youngest age that is believed."""
    max_age: int = 59
    """The oldest age that is believed. Other ages are unknown, as is KKBOX's 0; unknown is a value like any age."""
    age_filter: bool = False
    """Corrected protocol: leave out users whose age is unknown. The released protocol always does."""
    name_filter: bool = False
    """Corrected protocol: drop songs of artists and composers whose names have no blank, more than --max-name-length
    characters, or Chinese, Japanese, Korean or Thai letters. The released protocol always does."""
    max_name_length: int = LONGEST_NAME
    """Characters of the longest name that --name-filter lets pass."""
    keep_new_songs: bool = True
    """Corrected protocol: keep songs that only the test file names, although --top could not let them pass, so that
    they can be recommended. The released protocol never does."""
    validation_share: float = 0.1
    """Corrected protocol: share of each user's examples, the last ones, to choose the best epoch by; 0 is none. The
    released protocol has none."""

    def __post_init__(self) -> None:
        require_between(
            self,
            min_playlist_len=(1, MOST),
            max_playlist_len=(2, MOST),
            subset_size=(2, MOST),
            short_term_len=(1, MOST),
            min_age=(0, MOST),
            max_age=(0, MOST),
            max_name_length=(1, MOST),
        )
        require(
            0 <= self.max_song_seconds < float("inf"),
            f"--max-song-seconds is {self.max_song_seconds}; it must be 0 or more",
        )
        for name in ("top", "validation_share"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{flag(name)} is {value}; it must be 0 or more and below 1")
        self._in_order("min_playlist_len", "max_playlist_len", below=True)
        self._in_order("short_term_len", "long_term_len")
        self._in_order("long_term_len", "min_playlist_len")
        self._in_order("min_age", "max_age")

    def _in_order(self, small: str, large: str, below: bool = False) -> None:
        first, second = getattr(self, small), getattr(self, large)
        require(
            first < second or (first == second and not below),
            f"{flag(small)} is {first} and {flag(large)} is {second}; the first must be "
            f"{'less than' if below else 'at most'} the second",
        )

    def shaping(self, protocol: Protocol) -> dict[str, Any]:
        """The options that the prepared arrays depend on."""
        names = ["top", "min_playlist_len", "max_playlist_len", "long_term_len", "max_song_seconds"]
        names += ["min_age", "max_age", "max_name_length"]
        if protocol == "corrected":
            names += ["age_filter", "name_filter", "keep_new_songs", "validation_share"]
        return {"protocol": protocol} | {name: getattr(self, name) for name in names}
