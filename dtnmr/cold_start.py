"""Cold start: listeners, songs and plays that training has not seen, by their metadata."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common import console
from common.options import require
from common.tables import Column, open_table
from dtnmr.dataset import SONG_FEATURES, Integers, KkboxData, Rows, of_users
from dtnmr.encoding import (
    MILLISECONDS,
    UNKNOWN_AGE,
    accepted_name,
    encode_song,
    encode_user,
    known_age,
    make_rows,
    unknown_values,
    values_of,
)
from dtnmr.kkbox import (
    USUAL_NAMES,
    Numbering,
    Plays,
    Sources,
    is_of_kkbox,
    members_columns,
    of_table,
    open_part,
    plays_columns,
    songs_columns,
    told,
    with_all,
)
from dtnmr.options import DataOptions
from dtnmr.selection import (
    AGAIN,
    HEARD,
    MERGED_TABS,
    NO_ID,
    OF_SHORT,
    Tally,
    blank,
    continued_playlists,
    corrected_points,
    pair_numbers,
    released_points,
    repeated,
    separate_playlists,
)

LONGEST_SECONDS = 86_400.0
"""A new song that lasts longer is taken for a mistake in its file."""
EXAMPLES = 3
"""Values named as examples where many are left out."""
UNKNOWN_USER, UNKNOWN_SONG = "of a user who is not known", "of a song that is not known"


@dataclass(frozen=True)
class Listener:
    """One to recommend to: a user of the data, or somebody else of whom something is told.

    Raises:
        UserError: it says nothing, or too much.
    """

    user: str | None = None
    """Id of a user of the data."""
    age: str | None = None
    """Age in years of somebody else."""
    gender: str | None = None
    """Gender of somebody else."""
    city: str | None = None
    """City of somebody else."""
    history: tuple[str, ...] = ()
    """Ids of songs heard, the oldest first; of a user of the data after those of the training playlist."""

    def __post_init__(self) -> None:
        about = (self.age, self.gender, self.city) != (None, None, None)
        require(not (self.user and about), "--user names a user of the dataset; leave out --age, --gender and --city")
        require(
            self.user is not None or about or bool(self.history),
            "nobody to recommend to: name --user, or tell of a new one with --age, --gender, --city and --history",
        )


@dataclass(frozen=True)
class Heard:
    """What is known of a listener."""

    bits: Integers
    """Columns of the user."""
    songs: Integers
    """Songs heard, the oldest first."""
    behaviours: Integers
    """How each was come by."""
    skipped: list[str]
    """Ids of songs that the data do not have."""


def listeners_of(user: Any, told: Mapping[str, Any]) -> tuple[list[Any], list[Listener]]:
    """One listener, whose key is None, or several, each with the id or the place in the list as key.

    Args:
        user: an id, None, a dictionary, a list of ids and dictionaries, or a data frame.
        told: of one listener that ``user`` does not describe.

    Raises:
        UserError: that is no listener.
    """
    if isinstance(user, pd.DataFrame):
        names = [name for name in USUAL_NAMES["msno"] if name in user.columns]
        rows = user.rename(columns={names[0]: "user"} if names else {}).to_dict("records")
        user = [{str(name): value for name, value in row.items() if not _is_missing(value)} for row in rows]
    if user is None or isinstance(user, str | bytes | Mapping) or np.ndim(user) == 0:
        one = dict(user) if isinstance(user, Mapping) else {"user": user}
        return [None], [_listener({name: value for name, value in told.items() if not _is_missing(value)} | one)]
    given = [name for name, value in told.items() if not _is_missing(value)]
    require(not given, f"{', '.join(given)}: of one listener; of several, tell of each in a dictionary of its own")
    members = [dict(one) if isinstance(one, Mapping) else {"user": one} for one in user]
    require(bool(members), "user is empty; name one user or more")
    found = [_listener(one) for one in members]
    return [place if one.user is None else one.user for place, one in enumerate(found)], found


def _listener(told: Mapping[str, Any]) -> Listener:
    names = [field.name for field in dataclasses.fields(Listener)]
    wrong = [str(name) for name in told if name not in names]
    require(not wrong, f"{', '.join(wrong)}: nothing that is told of a listener; expected {', '.join(names)}")
    history = told.get("history", ())
    require(not isinstance(history, str | bytes) and np.ndim(history) == 1, "history must be a list of ids of songs")
    texts = {name: _text(value) for name, value in told.items() if name != "history" and value is not None}
    return Listener(**texts, history=tuple(_text(song) for song in history))


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    return not isinstance(value, str) and np.ndim(value) == 1 and len(value) == 0


def _text(value: Any) -> str:
    """An id or a number as the tables' reader keeps it."""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        value = int(value)
    return value.decode() if isinstance(value, bytes) else str(value)


def heard_by(data: KkboxData, listeners: Sequence[Listener]) -> list[Heard]:
    """What is known of listeners; what is not is named on the console.

    Raises:
        UserError: a user is not in the data, or nothing that is told of somebody else is known.
    """
    numbers = {name: number for number, name in enumerate(data.song_ids)}
    users = {name: number for number, name in enumerate(data.user_ids)}
    everybody = of_users(data)
    found = []
    for listener in listeners:
        skipped = [name for name in listener.history if name not in numbers]
        for name in skipped:
            console.notify(f"--history: {console.short(name)} is not among the songs of the run; it is skipped")
        more = np.array([numbers[name] for name in listener.history if name in numbers], np.int32)
        unknown = np.full(len(more), -1, np.int32)
        if listener.user is None:
            found.append(Heard(_bits_of(data, listener, len(more)), more, unknown, skipped))
            continue
        require(
            listener.user in users,
            f"--user {console.short(listener.user)}: not among the {data.users:,} users of the run; tell of a new one "
            "with --age, --gender, --city and --history",
        )
        user = users[listener.user]
        songs, behaviours = everybody.histories[user], everybody.behaviours[user]
        every = np.concatenate([songs, more]), np.concatenate([behaviours, unknown])
        found.append(Heard(data.user_bits[user], *every, skipped))
    return found


def _bits_of(data: KkboxData, listener: Listener, songs: int) -> Integers:
    """The columns of somebody who is not in the data."""
    told = {"age": listener.age, "gender": listener.gender, "city": listener.city}
    given = {name: value for name, value in told.items() if value is not None}
    for name, value in given.items():
        for odd in unknown_values(data, name, value):
            other = name == "age" and UNKNOWN_AGE in data.values[name]
            then = "it counts as unknown" if other else "it is left out"
            console.notify(f"--{name} {console.short(odd)}: no user of the training data has it; {then}")
    bits = encode_user(data, *(given.get(name, "\0") for name in ("age", "gender", "city")))
    require(
        songs > 0 or (bool(given) and len(bits) > 0),
        "nothing that is told of the user is known to the run; give --history that are in its dataset",
    )
    return bits


# ------------------------------------------------------------------------------------------------------ new songs


def with_new_songs(data: KkboxData, source: Any) -> KkboxData:
    """``data`` with other songs behind its own; values without a column are left out, which is summed up.

    Args:
        data: prepared data.
        source: a file with the columns of songs.csv, or a table, see :data:`dtnmr.kkbox.USUAL_NAMES`.

    Raises:
        UserError: the table is broken, a length is no positive number, or there is no new song in it.
    """
    known, new, where = set(data.song_ids), dict[str, dict[str, str]](), _named_source(source)
    there: list[str] = []
    again: list[str] = []
    nameless: list[str] = []  # their artists
    for row in _rows_of_songs(data, source):
        song = row["id"]
        if not song.strip():
            nameless.append(row["artist"])
        elif song in known or song in new:
            (there if song in known else again).append(song)
        else:
            new[song] = row
    unknown = {
        name: [value for row in new.values() for value in unknown_values(data, name, row[name])]
        for name in SONG_FEATURES
    }
    _sum_up(f"{where}: songs skipped, as they are among those of the run already", there)
    _sum_up(f"{where}: songs skipped, as they are listed again", again)
    _sum_up(f"{where}: songs skipped, as they have no id; their artists", nameless)
    found = _appended(data, new, [_seconds(where, song, row["length"]) for song, row in new.items()])
    for name, values in unknown.items():
        _sum_up(f"{where}: values of {name} left out, as the run does not know them", values)
    require(bool(new), f"{where}: holds no song that the run does not have")
    return found


def _named_source(source: Any) -> str:
    return str(source) if isinstance(source, str | Path) else "songs"


def _rows_of_songs(data: KkboxData, source: Any, named: Mapping[str, str] | None = None) -> list[dict[str, str]]:
    """The rows of a table of songs, in texts; its notes are told."""
    columns = songs_columns(data.released)
    asked: dict[str, Column] = columns
    if not isinstance(source, Path):
        title = Column("text", names=("name",), empty=True)
        asked = {
            name: of_table(column, (named or {}).get(name)) for name, column in (columns | {"name": title}).items()
        }
    with open_table(source, asked, separator="," if isinstance(source, Path) else None, multiline=True) as table:
        for note in table.notes:
            console.notify(note)
        frame = with_all(table.frame(), columns)
        return [{str(name): str(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _appended(data: KkboxData, new: Mapping[str, Mapping[str, str]], seconds: Sequence[float]) -> KkboxData:
    """``data`` with songs of these lengths behind its own."""
    if not new:
        return data
    plural = {"genre": "genres", "artist": "artists", "composer": "composers", "language": "language"}
    lengths, bits = [], []
    for row, length in zip(new.values(), seconds, strict=True):
        scaled, columns = encode_song(data, length, **{plural[name]: row[name] for name in SONG_FEATURES})
        lengths.append(scaled)
        bits.append(columns)
    of_new = make_rows(bits)
    rows = Rows(
        np.concatenate([data.song_bits.indptr, data.song_bits.indptr[-1] + of_new.indptr[1:]]),
        np.concatenate([data.song_bits.values, of_new.values]),
    )
    return dataclasses.replace(
        data,
        song_ids=[*data.song_ids, *new],
        lengths=np.concatenate([data.lengths, np.array(lengths, np.float32)]),
        song_bits=rows,
        plays=np.concatenate([data.plays, np.zeros(len(bits), np.int64)]),
        titles=data.titles | {song: row["name"] for song, row in new.items() if row.get("name")},
    )


def _sum_up(what: str, values: list[str]) -> None:
    """Tell how many ``values`` there are, and the most frequent ones; nothing if there are none."""
    if values:
        counts = Counter(values)
        examples = ", ".join(f"{console.short(value)!r}" for value, _ in counts.most_common(EXAMPLES))
        more = f" ({len(counts):,} different ones)" if len(counts) < len(values) else ""
        console.notify(f"{what}: {len(values):,}{more}, such as {examples}")


def _seconds(where: str, song: str, text: str) -> float:
    seconds = _seconds_or_nan(text)
    require(
        0 < seconds <= LONGEST_SECONDS,
        f"{where}: {console.short(song)}: the length is {console.short(text)!r}; expected milliseconds, a day at most",
    )
    return seconds


def _seconds_or_nan(text: str) -> float:
    try:
        return float(text) / MILLISECONDS
    except ValueError:
        return math.nan


# ---------------------------------------------------------------------------------------------------- later plays


def with_later_plays(
    data: KkboxData, sources: Sources, options: DataOptions, named: Mapping[str, str] | None = None
) -> KkboxData:
    """``data`` with other plays, which come after those of training, in the place of their test part.

    Args:
        data: prepared data.
        sources: ``test``, the plays, and perhaps ``songs`` and ``members`` with what training did not have.
        options: those that the data were prepared with.
        named: names of the columns ``user`` and ``song`` in tables.

    Raises:
        UserError: a table is broken, or none of its songs or users is known.
    """
    names = named or {}
    users, songs, tabs = Numbering(), Numbering(), Numbering()
    with open_part(sources, "test", plays_columns(data.released), names) as table:
        numberings = {"user": users, "song": songs, "tab": tabs}
        columns = [
            numbering.of_column(table, name) if name in table.columns else numbering.of_all(table.rows)
            for name, numbering in numberings.items()
        ]
    data = _with_listed_songs(data, sources, songs, options, names)
    data = _with_listed_users(data, sources, users, options, names)
    user_of, song_of = (_places(ids, numbering) for ids, numbering in ((data.user_ids, users), (data.song_ids, songs)))
    for what, known, there in (("song", song_of, songs), ("user", user_of, users)):
        mine = data.song_ids if what == "song" else data.user_ids
        require(
            bool((known >= 0).any()),
            f"{told(sources, 'test')}: none of its {len(there):,} {what}s is known: ids are such as {mine[0]!r} in "
            f"training, and {console.short(next(iter(there.numbers)))!r} here",
        )
    taken = {tab: "" if tab in MERGED_TABS and not data.released else tab for tab in tabs.numbers}
    place_of = {tab: place for place, tab in enumerate(data.values["behaviour"])}
    behaviour_of = np.array([place_of.get(taken[tab], -1) for tab in tabs.numbers], np.int32)
    plays = Plays(user_of[columns[0]], song_of[columns[1]], behaviour_of[columns[2]])
    tally = Tally("test", len(plays))
    tally.leave_out(NO_ID, blank(users.numbers, columns[0]) | blank(songs.numbers, columns[1]))
    tally.leave_out(UNKNOWN_USER, plays.users < 0)
    tally.leave_out(UNKNOWN_SONG, plays.songs < 0)
    train = _training_plays(data)
    if not data.released:
        tally.leave_out(AGAIN, repeated(plays, data.songs))
        learnt = pair_numbers(train, data.songs)
        tally.leave_out(HEARD, np.isin(pair_numbers(plays, data.songs), learnt))
        count = np.bincount(plays.users[tally.used], minlength=data.users)
        short = (count < options.min_playlist_len) & (np.bincount(train.users, minlength=data.users) == 0)
        tally.leave_out(OF_SHORT, short[plays.users])
    test = plays.keep(tally.used)
    if data.released:
        playlists = separate_playlists(train, test)
        points = released_points(playlists, options)[1]
    else:
        playlists = continued_playlists(train, test, data.users)
        points = corrected_points(playlists, options)[2]
    return dataclasses.replace(
        data,
        songs_played=playlists.songs_played,
        behaviours=playlists.behaviours,
        owners=playlists.owners,
        trained=playlists.trained,
        test=points,
        counts=tally.counts(),
        tables=not is_of_kkbox(sources["test"]),
    )


def _places(ids: Sequence[str], numbering: Numbering) -> Integers:
    """(numbers,) the place in ``ids`` of each text; -1 for none."""
    known = {name: place for place, name in enumerate(ids)}
    return np.array([known.get(text, -1) for text in numbering.numbers], np.int32)


def _training_plays(data: KkboxData) -> Plays:
    """The plays of the training parts of the playlists, one playlist after the other."""
    starts, lengths = data.songs_played.indptr[:-1], data.trained.astype(np.int64)
    ends = np.cumsum(lengths)
    places: NDArray[np.int64] = np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)
    users = np.repeat(np.asarray(data.owners), lengths)
    return Plays(users, np.asarray(data.songs_played.values[places]), np.asarray(data.behaviours.values[places]))


def _with_listed_songs(
    data: KkboxData, sources: Sources, played: Numbering, options: DataOptions, names: Mapping[str, str]
) -> KkboxData:
    """``data`` with those songs of the table ``songs`` that are played and can be told from metadata."""
    if "songs" not in sources or not options.keep_new_songs:
        return data
    known, new, limit = set(data.song_ids), dict[str, dict[str, str]](), options.max_song_seconds or math.inf
    own = {"id": names["song"]} if "song" in names else {}
    for row in _rows_of_songs(data, sources["songs"], own):
        song, fits = row["id"], 0 < _seconds_or_nan(row["length"]) < limit
        for feature in ("artist", "composer") if options.name_filter or data.released else ():
            values = values_of(feature, row[feature], data.released)
            fits = fits and all(accepted_name(value, options.max_name_length) for value in values)
        if fits and song in played.numbers and song not in known and song not in new and song.strip():
            new[song] = row
    return _appended(data, new, [_seconds_or_nan(row["length"]) for row in new.values()])


def _with_listed_users(
    data: KkboxData, sources: Sources, there: Numbering, options: DataOptions, names: Mapping[str, str]
) -> KkboxData:
    """``data`` with those users of the table ``members`` that have plays, without a training playlist."""
    if "members" not in sources:
        return data
    known, columns, new = set(data.user_ids), members_columns(data.released), dict[str, Integers]()
    with open_part(sources, "members", columns, {"id": names["user"]} if "user" in names else {}) as table:
        for row in with_all(table.frame(), columns).to_dict("records"):
            user, age = str(row["id"]), str(row["age"])
            if user in known or user in new or user not in there.numbers or not user.strip():
                continue
            age = age if data.released else known_age(age, options.min_age, options.max_age)
            if age == UNKNOWN_AGE and options.age_filter:
                continue
            new[user] = encode_user(data, age, str(row["gender"]), str(row["city"]))
    of_new = make_rows(list(new.values()))
    bits = Rows(
        np.concatenate([data.user_bits.indptr, data.user_bits.indptr[-1] + of_new.indptr[1:]]),
        np.concatenate([data.user_bits.values, of_new.values]),
    )
    return dataclasses.replace(data, user_ids=[*data.user_ids, *new], user_bits=bits)


def artists_of(data: KkboxData, song: int) -> list[str]:
    """Names of the artists of a song, as far as they are among the columns."""
    columns = data.song_bits[song] - len(data.values["genre"])
    return [data.values["artist"][column] for column in columns if 0 <= column < len(data.values["artist"])]
