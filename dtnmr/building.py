"""From the csv files to songs, users, playlists and examples, by either protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.options import require
from dtnmr.data_options import DataOptions, Protocol
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, Integers, KkboxData, Points, Rows
from dtnmr.encoding import MERGED_TABS, Encoder, scaled_length, sorted_values
from dtnmr.filters import Mask, filter_songs, filter_users
from dtnmr.kkbox import Members, Names, Numbering, Plays, Songs, read_members, read_plays, read_songs
from dtnmr.playlists import (
    continued_playlists,
    corrected_points,
    pair_numbers,
    released_points,
    repeated,
    separate_playlists,
)


@dataclass(frozen=True)
class _Raw:
    """The files as read; ``player`` is the number of each member in the plays, -1 for one who plays nothing."""

    names: Names
    train: Plays
    test: Plays
    members: Members
    songs: Songs
    player: Integers


@dataclass(frozen=True)
class _Selected:
    """What the filters leave.

    Attributes:
        songs, users: masks over ``_Raw.songs`` and ``_Raw.members``.
        train, test: plays of kept users and songs, numbered among those kept.
        shown: feature -> mask over the songs or members whose values get a column.
        tabs: tab in the files -> the one it is taken for.
        counts: what each step drops.
    """

    songs: Mask
    users: Mask
    train: Plays
    test: Plays
    shown: dict[str, Mask]
    tabs: dict[str, str]
    counts: dict[str, int]


def build(files: dict[str, Path], options: DataOptions, protocol: Protocol, fingerprint: str) -> KkboxData:
    """Read the files and make everything of them.

    Args:
        files: as of :func:`dtnmr.kkbox.kkbox_files`.

    Raises:
        UserError: a file is broken, or the filters leave nothing to learn from.
    """
    raw = _read(files)
    selected = _select_released(raw, options) if protocol == "released" else _select_corrected(raw, options)
    songs, users = np.flatnonzero(selected.songs), np.flatnonzero(selected.users)
    require(songs.size > 0, f"{files['songs']}: no song is left; lower --top, or see whether it belongs to train.csv")
    counts = _counts_of_files(raw) | selected.counts
    if protocol == "released":
        playlists = separate_playlists(selected.train, selected.test)
        train, test, unusable = released_points(playlists, options)
        validation = Points(np.empty(0, np.int32), np.empty(0, np.int32))
        counts["examples with too short a history, as the song was played before"] = unusable
    else:
        playlists = continued_playlists(selected.train, selected.test, len(users))
        train, validation, test = corrected_points(playlists, options)
    require(
        len(train) > 0 or len(validation) == 0,
        f"--validation-share {options.validation_share} leaves no example to learn from; lower it",
    )
    longer = f" and shorter than --max-playlist-len {options.max_playlist_len}" if protocol == "released" else ""
    require(
        len(train) > 0,
        f"{files['train']}: no example to learn from is left: no user of 16 to 59 years has a playlist longer than "
        f"--min-playlist-len {options.min_playlist_len}{longer} of the {songs.size} songs kept; change these or --top",
    )
    values, behaviours = _values(raw, selected, playlists.behaviours)
    seconds = raw.songs.seconds[songs].tolist()
    longest = max(seconds)
    song_texts = {name: [raw.songs.texts[name][song] for song in songs] for name in SONG_FEATURES}
    user_texts = {name: [raw.members.texts[name][user] for user in users] for name in USER_FEATURES}
    return KkboxData(
        song_ids=[raw.songs.ids[song] for song in songs],
        user_ids=[raw.members.ids[user] for user in users],
        lengths=np.array([scaled_length(length, longest) for length in seconds], np.float32),
        song_bits=Encoder(values, SONG_FEATURES).rows(song_texts),
        user_bits=Encoder(values, USER_FEATURES).rows(user_texts),
        values=values,
        songs_played=playlists.songs_played,
        behaviours=behaviours,
        owners=playlists.owners,
        trained=playlists.trained,
        train=train,
        validation=validation,
        test=test,
        plays=np.bincount(selected.train.songs, minlength=songs.size).astype(np.int64),
        longest_length=longest,
        released=protocol == "released",
        fingerprint=fingerprint,
        counts=counts,
        longest_history=options.max_playlist_len - 1,
    )


def _read(files: dict[str, Path]) -> _Raw:
    names = Names(Numbering(), Numbering(), Numbering())
    train, test = (read_plays(files[part], names) for part in ("train", "test"))
    members = read_members(files["members"])
    player = np.array([names.users.numbers.get(user, -1) for user in members.ids], np.int32)
    return _Raw(names, train, test, members, read_songs(files["songs"], names.songs), player)


def _counts_of_files(raw: _Raw) -> dict[str, int]:
    counts = raw.members.counts | raw.songs.counts
    described, listed = _marked(raw.songs.numbers, len(raw.names.songs)), _marked(raw.player, len(raw.names.users))
    for part, plays in (("train", raw.train), ("test", raw.test)):
        counts |= {
            f"{part}: plays": len(plays),
            f"{part}: plays of songs without an entry": int((~described[plays.songs]).sum()),
            f"{part}: plays of users without an entry": int((~listed[plays.users]).sum()),
            f"{part}: plays listed again": int(repeated(plays, len(raw.names.songs)).sum()),
        }
    return counts


def _marked(numbers: NDArray[Any], count: int) -> Mask:
    """(count,) which numbers occur; negative ones do not count."""
    found = np.zeros(count, bool)
    found[numbers[numbers >= 0]] = True
    return found


def _renumbered(raw: _Raw, plays: Plays, songs: Mask, users: Mask) -> Plays:
    """The plays of the songs and users kept, numbered among those."""
    song, user = (
        _numbers(raw.songs.numbers, songs, len(raw.names.songs)),
        _numbers(raw.player, users, len(raw.names.users)),
    )
    found = Plays(user[plays.users], song[plays.songs], plays.tabs)
    return found.keep((found.users >= 0) & (found.songs >= 0))


def _numbers(names: Integers, kept: Mask, count: int) -> Integers:
    """(count,) number in the plays -> place among those kept, -1 for others."""
    found = np.full(count + 1, -1, np.int32)  # the last one is for members who play nothing
    found[names[kept]] = np.arange(kept.sum())
    return found[:count]


def _select_released(raw: _Raw, options: DataOptions) -> _Selected:
    """As the released code: all rows of the training file count for popularity; values may be of dropped songs."""
    plays = np.bincount(raw.train.songs, minlength=len(raw.names.songs))
    kept = filter_songs(raw.songs, (plays / plays.max() > options.top)[raw.songs.numbers], name_filter=True)
    users, user_counts = filter_users(raw.members)
    train, test = (_renumbered(raw, part, kept.kept, users) for part in (raw.train, raw.test))
    shown = kept.after | dict.fromkeys(USER_FEATURES, users)
    tabs = {tab: tab for tab in raw.names.tabs.numbers if tab not in MERGED_TABS}
    return _Selected(kept.kept, users, train, test, shown, tabs, kept.counts | user_counts)


def _select_corrected(raw: _Raw, options: DataOptions) -> _Selected:
    """Popularity, values and tabs from the training plays of kept users only; test plays are of unheard songs.

    Songs without a training play are new, not unpopular; they stay if the test names them (--keep-new-songs). Values
    that only such songs or only new users have get no column: nothing could be learned for it.
    """
    count = len(raw.names.songs)
    of_age, user_counts = filter_users(raw.members)
    by_kept = _marked(raw.player[of_age], len(raw.names.users))
    train, test = (part.keep(by_kept[part.users] & ~repeated(part, count)) for part in (raw.train, raw.test))
    heard = np.isin(pair_numbers(test, count), pair_numbers(train, count))
    test = test.keep(~heard)
    plays = np.bincount(train.songs, minlength=count)
    popular = plays / max(1, plays.max()) > options.top
    new = (plays == 0) & _marked(test.songs, count) & options.keep_new_songs
    kept = filter_songs(raw.songs, (popular | new)[raw.songs.numbers], options.name_filter)
    of_kept = _marked(raw.songs.numbers[kept.kept], count)
    learning, tested = (
        _marked(part.users[of_kept[part.songs]], len(by_kept))[raw.player] & of_age & (raw.player >= 0)
        for part in (train, test)
    )
    users = learning | tested
    train, test = (_renumbered(raw, part, kept.kept, users) for part in (train, test))
    shown = dict.fromkeys(SONG_FEATURES, kept.kept & (plays > 0)[raw.songs.numbers])
    shown |= dict.fromkeys(USER_FEATURES, learning)
    tabs = {tab: "" if tab in MERGED_TABS else tab for tab in raw.names.tabs.numbers}
    counts = user_counts | kept.counts | {
        "users without a play of a kept song": int((of_age & ~users).sum()),
        "test: plays of songs that the user has heard in training": int(heard.sum()),
        "new songs, without a training play": int((kept.kept & new[raw.songs.numbers]).sum()),
        "new users, without a training play": int((users & ~learning).sum()),
    }  # fmt: skip
    return _Selected(kept.kept, users, train, test, shown, tabs, counts)


def _values(raw: _Raw, selected: _Selected, tabs_played: Rows) -> tuple[dict[str, list[str]], Rows]:
    """All values that have a column, and the tabs of the playlists as numbers of theirs."""
    values = {}
    for features, texts in ((SONG_FEATURES, raw.songs.texts), (USER_FEATURES, raw.members.texts)):
        for name in features:
            shown = np.flatnonzero(selected.shown[name])
            values[name] = sorted_values(name, (texts[name][row] for row in shown))
    tabs = list(raw.names.tabs.numbers)
    in_training = {selected.tabs.get(tabs[tab]) for tab in np.unique(selected.train.tabs).tolist()} - {None}
    values["behaviour"] = sorted(tab for tab in in_training if tab is not None)
    column = {tab: place for place, tab in enumerate(values["behaviour"])}
    numbers = np.array([column.get(selected.tabs.get(tab, "\0"), -1) for tab in tabs], np.int32)
    return values, Rows(tabs_played.indptr, numbers[tabs_played.values])
