"""Selection: which songs, users and plays are kept, row counts, playlists, and the examples that they give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dtnmr.dataset import PLAYS, ROWS, SONG_FEATURES, USED, USER_FEATURES, Integers, Points, Rows
from dtnmr.encoding import (
    MILLISECONDS,
    UNKNOWN_AGE,
    accepted_name,
    known_age,
    released_seconds,
    values_of,
    whole_number,
)
from dtnmr.kkbox import Entries, Plays, Raw
from dtnmr.options import DataOptions


class Tally:
    """The rows of one file, each of which is used or left out for one reason: the first that is found.

    Args:
        file: its name in the counts.
        rows: rows that are told of one by one.
        others: rows left out from the start, by reason.
    """

    def __init__(self, file: str, rows: int, **others: int) -> None:
        self.file, self.used, self.left_out = file, np.ones(rows, bool), dict(others)

    def leave_out(self, reason: str, rows: NDArray[np.bool_]) -> None:
        """Leave out those of ``rows`` (rows,) that no reason was found for before."""
        self.left_out[reason] = self.left_out.get(reason, 0) + int((self.used & rows).sum())
        self.used &= ~rows

    def counts(self) -> dict[str, int]:
        """``<file>: rows`` (train, test: ``plays``), ``<file>: used``, ``<file>: <reason>`` of those there are."""
        used = int(self.used.sum())
        reasons = {reason: count for reason, count in self.left_out.items() if count}
        rows = PLAYS if self.file in ("train", "test") else ROWS
        found = {rows: used + sum(reasons.values()), USED: used} | reasons
        return {f"{self.file}: {name}": count for name, count in found.items()}


def others(counts: dict[str, Any]) -> dict[str, Any]:
    """The counts that are of no file."""
    return {name: count for name, count in counts.items() if ": " not in name}


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
