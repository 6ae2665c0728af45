"""Selection: which songs, users and plays are kept, and which values of theirs get a column, by either protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dtnmr.data_options import DataOptions
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, Integers
from dtnmr.filters import (
    MILLISECONDS,
    UNKNOWN_AGE,
    accepted_name,
    known_age,
    released_seconds,
    values_of,
    whole_number,
)
from dtnmr.kkbox import Entries, Plays, Raw
from dtnmr.playlists import pair_numbers, repeated
from dtnmr.tally import Tally

Mask = NDArray[np.bool_]
MERGED_TABS = ("null", "settings")
"""Tabs that the released code means to replace by the empty text."""
RARE, LONG = "of a song played too rarely", "of no length, or not shorter than --max-song-seconds"
NO_ID, AGAIN, HEARD = "without an id", "listed again", "of a song that the user has heard in training"
NO_USER, USER_LEFT_OUT = "of a user not in members.csv", "of a user left out"
NO_SONG, SONG_LEFT_OUT = "of a song not in songs.csv", "of a song left out"
OF_SHORT, SHORT = "of a playlist shorter than --min-playlist-len", "with a playlist shorter than --min-playlist-len"
OTHER_AGE, SILENT, NEVER = "of another age than --min-age to --max-age", "without a play", "not played"
NO_PLAY = "without a play of a song and a user kept"


def named(feature: str) -> str:
    """The reason for which songs go by the names of a feature."""
    return f"by name ({feature})"


@dataclass(frozen=True)
class Selected:
    """What is kept, in the order of the files.

    Attributes:
        song_ids, user_ids: of those kept.
        song_texts, user_texts: feature -> its text for each of them.
        seconds: length of each song.
        longest: the length that is 1.0 in a song's encoding.
        values: feature -> the values that have a column, sorted.
        train, test: plays of kept users and songs, numbered among those kept.
        tabs: tab in the files -> the one it is taken for.
        counts: rows of each file, used and left out, and more.
    """

    song_ids: list[str]
    user_ids: list[str]
    song_texts: dict[str, list[str]]
    user_texts: dict[str, list[str]]
    seconds: list[float]
    longest: float
    values: dict[str, list[str]]
    train: Plays
    test: Plays
    tabs: dict[str, str]
    counts: dict[str, int]


# ---------------------------------------------------------------------------------------------- released protocol


class _Walk:
    """The released code's filters: one feature after the other, through the rows of a file in order.

    An id goes with the first of its rows that fails, and stays away; a row that passes while its id is there shows
    its values, whatever comes later. The last row of an id is what counts in the end, at the place of the first.
    """

    def __init__(self, ids: Sequence[str], tally: Tally) -> None:
        self.group, names = pd.factorize(np.array(ids, object))
        self.ids, self.tally = [str(name) for name in names], tally
        self.alive = np.ones(len(self.ids), bool)

    def filter(
        self, texts: Sequence[str], split: Callable[[str], list[Any]], reason: str, rule: Any = None
    ) -> set[Any]:
        """Drop ids with a row whose values do not all follow ``rule``; the values shown."""
        parts = {text: split(text) for text in set(texts)}
        verdicts = {text: rule is None or all(map(rule, values)) for text, values in parts.items()}
        failing = np.flatnonzero([not verdicts[text] for text in texts])
        border = np.full(len(self.ids), len(texts))
        np.minimum.at(border, self.group[failing], failing)
        shown = self.alive[self.group] & (np.arange(len(texts)) < border[self.group])
        self.tally.leave_out(reason, (border < len(texts))[self.group])
        self.alive &= border == len(texts)
        return {value for text in {texts[row] for row in np.flatnonzero(shown).tolist()} for value in parts[text]}

    def last_rows(self) -> tuple[list[str], NDArray[np.int64]]:
        """The ids left, and the last row of each."""
        last = np.zeros(len(self.ids), np.int64)
        last[self.group] = np.arange(len(self.group))  # of several assignments the last one stays
        self.tally.leave_out(AGAIN, last[self.group] != np.arange(len(self.group)))
        return [name for name, alive in zip(self.ids, self.alive, strict=True) if alive], last[self.alive]


def select_released(raw: Raw, options: DataOptions) -> Selected:
    """As the released code: all rows of the training file count for popularity; values may be of dropped songs."""
    numbers = raw.names.songs.numbers
    plays = np.bincount(raw.train.songs, minlength=len(numbers))
    shares = plays / plays.max()

    def split(feature: str) -> Callable[[str], list[str]]:
        return partial(values_of, feature, released=True)

    def popularity(text: str) -> list[float]:
        return [float(shares[numbers[part]]) if part in numbers else 0.0 for part in text.split("|")]

    def lengths(text: str) -> list[float]:
        return [released_seconds(part) for part in text.split("|")]

    songs = {name: raw.songs.texts[name].tolist() for name in raw.songs.texts.columns}
    tally = Tally("songs", len(raw.songs.texts), **{NEVER: raw.files["songs"][0] - len(raw.songs.texts)})
    walk = _Walk(songs["id"], tally)

    walk.filter(songs["id"], popularity, RARE, lambda share: share > options.top)
    limit = options.max_song_seconds or np.inf
    passed = walk.filter(songs["length"], lengths, LONG, lambda seconds: seconds < limit)
    accepted = partial(accepted_name, longest=options.max_name_length)
    rules = {"artist": accepted, "composer": accepted}
    shown = {name: walk.filter(songs[name], split(name), named(name), rules.get(name)) for name in SONG_FEATURES}
    song_ids, song_rows = walk.last_rows()

    members = {name: raw.members.texts[name].tolist() for name in raw.members.texts.columns}
    user_tally = Tally("members", len(raw.members.texts))
    walk = _Walk(members["id"], user_tally)

    def of_age(text: str) -> bool:
        age = whole_number(text)
        return age is not None and options.min_age <= age <= options.max_age

    ages = {"age": of_age}
    shown |= {name: walk.filter(members[name], split(name), OTHER_AGE, ages.get(name)) for name in USER_FEATURES}
    user_ids, user_rows = walk.last_rows()

    song_of = _places(raw.songs.numbers[song_rows], len(numbers))
    user_of = _places(raw.members.numbers[user_rows], len(raw.names.users))
    described, listed = _marked(raw.songs.numbers, len(numbers)), _marked(raw.members.numbers, len(raw.names.users))
    parts, counts = [], tally.counts() | user_tally.counts()
    for file, part in (("train", raw.train), ("test", raw.test)):
        of_plays = Tally(file, len(part))
        of_plays.leave_out(NO_USER, ~listed[part.users])
        of_plays.leave_out(USER_LEFT_OUT, user_of[part.users] < 0)
        of_plays.leave_out(NO_SONG, ~described[part.songs])
        of_plays.leave_out(SONG_LEFT_OUT, song_of[part.songs] < 0)
        parts.append(_renumbered(part.keep(of_plays.used), song_of, user_of))
        counts |= of_plays.counts()
    return Selected(
        song_ids,
        user_ids,
        {name: [songs[name][row] for row in song_rows] for name in SONG_FEATURES},
        {name: [members[name][row] for row in user_rows] for name in USER_FEATURES},
        [lengths(songs["length"][row])[0] for row in song_rows],
        max(passed, default=0.0),
        {name: sorted(values) for name, values in shown.items()},
        parts[0],
        parts[1],
        {tab: tab for tab in raw.names.tabs.numbers if tab not in MERGED_TABS},
        counts,
    )


# --------------------------------------------------------------------------------------------- corrected protocol


def select_corrected(raw: Raw, options: DataOptions) -> Selected:
    """Popularity, values, lengths and tabs from the training plays of kept users only; test plays are of unheard songs.

    Songs without a training play are new, not unpopular; they stay if the test names them (--keep-new-songs). Values
    that only such songs or only new users have get no column: nothing could be learned for it. What only the test
    names never changes what is trained.
    """
    songs, songs_tally, song_number = _first_rows(raw, "songs", NEVER)
    members, user_tally, user_number = _first_rows(raw, "members", SILENT)
    ages = {text: known_age(text, options.min_age, options.max_age) for text in set(members["age"])}
    members["age"] = [ages[text] for text in members["age"]]
    if options.age_filter:
        user_tally.leave_out(OTHER_AGE, np.array(members["age"]) == UNKNOWN_AGE)
    count, listeners = len(raw.names.songs), len(raw.names.users)
    described, listed = _marked(song_number, count), _marked(user_number, listeners)
    admitted = _marked(user_number[user_tally.used], listeners)

    tallies = [Tally(file, len(part)) for file, part in (("train", raw.train), ("test", raw.test))]
    for tally, part in zip(tallies, (raw.train, raw.test), strict=True):
        tally.leave_out(NO_ID, blank(raw.names.users.numbers, part.users) | blank(raw.names.songs.numbers, part.songs))
        tally.leave_out(NO_USER, ~listed[part.users])
        tally.leave_out(USER_LEFT_OUT, ~admitted[part.users])
        tally.leave_out(AGAIN, repeated(part, count))
    known_pairs = pair_numbers(raw.train.keep(tallies[0].used), count)
    tallies[1].leave_out(HEARD, pd.Series(pair_numbers(raw.test, count)).isin(known_pairs).to_numpy())

    # Songs: by the plays of all users admitted.
    plays = np.bincount(raw.train.songs[tallies[0].used], minlength=count)
    tested = _marked(raw.test.songs[tallies[1].used], count) & options.keep_new_songs
    popular = plays / max(1, plays.max()) > options.top
    seconds = pd.to_numeric(pd.Series(songs["length"], dtype=object), errors="coerce").to_numpy(float) / MILLISECONDS
    limit = options.max_song_seconds or np.inf
    songs_tally.leave_out(RARE, ~(popular | (plays == 0) & tested)[song_number])
    songs_tally.leave_out(LONG, ~((seconds > 0) & (seconds < limit)))
    for feature in ("artist", "composer") if options.name_filter else ():
        songs_tally.leave_out(named(feature), ~_accepted(feature, songs[feature], options.max_name_length))
    kept = _marked(song_number[songs_tally.used], count)

    # Users: by the songs kept. A playlist is that of the training file, or of the test file where there is none.
    for tally, part in zip(tallies, (raw.train, raw.test), strict=True):
        tally.leave_out(NO_SONG, ~described[part.songs])
        tally.leave_out(SONG_LEFT_OUT, ~kept[part.songs])
    lengths = [
        np.bincount(part.users[tally.used], minlength=listeners)
        for tally, part in zip(tallies, (raw.train, raw.test), strict=True)
    ]
    length = np.where(lengths[0] > 0, lengths[0], lengths[1])
    user_tally.leave_out(NO_PLAY, length[user_number] == 0)
    user_tally.leave_out(SHORT, length[user_number] < options.min_playlist_len)
    stays = _marked(user_number[user_tally.used], listeners)
    for tally, part in zip(tallies, (raw.train, raw.test), strict=True):
        tally.leave_out(OF_SHORT, ~stays[part.users])

    # Songs once more: those that nobody is left to have played.
    plays = np.bincount(raw.train.songs[tallies[0].used], minlength=count)
    songs_tally.leave_out(NO_PLAY, ~((plays > 0) | tested)[song_number])
    in_training = (plays > 0)[song_number] & songs_tally.used
    learning = (lengths[0] > 0)[user_number] & user_tally.used
    song_of = _places(song_number[songs_tally.used], count)
    user_of = _places(user_number[user_tally.used], listeners)
    for tally, part in zip(tallies, (raw.train, raw.test), strict=True):
        tally.leave_out(SONG_LEFT_OUT, song_of[part.songs] < 0)
    train, test = (
        _renumbered(part.keep(tally.used), song_of, user_of)
        for tally, part in zip(tallies, (raw.train, raw.test), strict=True)
    )
    counts: dict[str, int] = {}
    for tally in (*tallies, songs_tally, user_tally):
        counts |= tally.counts()
    counts["new songs, without a training play"] = int((songs_tally.used & ~in_training).sum())
    counts["new users, without a training play"] = int((user_tally.used & ~learning).sum())
    shown = {name: (songs[name], in_training) for name in SONG_FEATURES}
    shown |= {name: (members[name], learning) for name in USER_FEATURES}
    return Selected(
        _of(songs["id"], songs_tally.used),
        _of(members["id"], user_tally.used),
        {name: _of(songs[name], songs_tally.used) for name in SONG_FEATURES},
        {name: _of(members[name], user_tally.used) for name in USER_FEATURES},
        seconds[songs_tally.used].tolist(),
        float(seconds[in_training].max(initial=0.0)),
        {
            name: sorted({value for text in set(_of(texts, mask)) for value in values_of(name, text)})
            for name, (texts, mask) in shown.items()
        },
        train,
        test,
        {tab: "" if tab in MERGED_TABS else tab for tab in raw.names.tabs.numbers},
        counts,
    )


def _first_rows(raw: Raw, file: str, unplayed: str) -> tuple[dict[str, list[str]], Tally, Integers]:
    """The first row of every id that is played: its texts, the tally of the file, and the number of each id.

    Rows left out here are none of the tally's rows, but they are among its counts.
    """
    entries: Entries = getattr(raw, file)
    table = entries.texts
    blank = (table.id.str.strip() == "").to_numpy()
    again = table.id.duplicated().to_numpy() & ~blank
    silent = (entries.numbers < 0) & ~blank & ~again
    kept = ~(blank | again | silent)
    unread = raw.files[file][0] - len(table)
    left_out = {NO_ID: int(blank.sum()), AGAIN: int(again.sum()), unplayed: unread + int(silent.sum())}
    texts = {name: table[name][kept].tolist() for name in table.columns}
    return texts, Tally(file, int(kept.sum()), **left_out), entries.numbers[kept]


def blank(numbers: dict[str, int], column: Integers) -> Mask:
    """(rows,) whether an id is blank."""
    return np.isin(column, [number for text, number in numbers.items() if not text.strip()])


def _accepted(feature: str, texts: Sequence[str], longest: int) -> Mask:
    verdicts = {text: all(accepted_name(name, longest) for name in values_of(feature, text)) for text in set(texts)}
    return np.array([verdicts[text] for text in texts], bool)


def _marked(numbers: NDArray[Any], count: int) -> Mask:
    """(count,) which numbers occur; negative ones do not count."""
    found = np.zeros(count, bool)
    found[numbers[numbers >= 0]] = True
    return found


def _places(numbers: Integers, count: int) -> Integers:
    """(count,) number in the plays -> place in ``numbers``, -1 for what is not there."""
    found = np.full(count + 1, -1, np.int32)  # the last one is for what is not played
    found[numbers] = np.arange(len(numbers))
    return found[:count]


def _renumbered(plays: Plays, song_of: Integers, user_of: Integers) -> Plays:
    return Plays(user_of[plays.users], song_of[plays.songs], plays.tabs)


def _of(texts: Sequence[str], kept: Mask) -> list[str]:
    return [text for text, stays in zip(texts, kept, strict=True) if stays]
