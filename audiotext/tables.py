"""Tables of plays, songs, texts and tags as a collection without files; items without plays are to be recommended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse

from audiotext.raw import MOST_PLAYS, MOST_TAGS, ArtistSplit, RawData
from common.options import require
from common.row_counts import RowCounts
from common.tables import Column, open_table

USERS = ("user_id", "userID", "userId", "user", "listener")
ARTISTS = ("artist_id", "artistID", "artistId", "artist")
SONGS = ("song_id", "songId", "song", "track_id", "trackId", "track", "item_id", "item")
PLAYS = ("plays", "play_count", "playcount", "count", "weight")
"""Usual names of columns; of several the first that a table has."""
TEXT = ("biography", "bio", "text")


@dataclass
class _Reader:
    """What tables have said so far."""

    songs: dict[str, int] | None = None
    """Song -> number; None if items are artists."""
    artists: dict[str, int] = field(default_factory=dict)
    rows: RowCounts = field(default_factory=RowCounts)
    notes: list[str] = field(default_factory=list)

    def frame(self, table: Any, name: str, columns: Mapping[str, Column]) -> pd.DataFrame:
        """The columns of a table that is called ``name`` in messages."""
        with open_table(table, columns) as opened:
            require(opened.rows > 0, f"{name}: the table holds no row")
            self.rows.add_file(name, opened.rows)
            self.notes += opened.notes
            return opened.frame()

    def numbers(self, name: str, ids: pd.Series, known: dict[str, int], grows: bool) -> NDArray[np.int64]:
        """The number of each id; unknown ones get the next one, or are refused."""
        if grows:
            return np.array([known.setdefault(one, len(known)) for one in ids], np.int64)
        missing = next((f"row {row}: {one!r}" for row, one in enumerate(ids) if one not in known), "")
        example = f"songs, whose ids are such as {next(iter(known), '')!r}"
        require(not missing, f"{name}, {missing} is not in {example}")
        return np.array([known[one] for one in ids], np.int64)

    def of_artists(self, name: str, ids: pd.Series) -> NDArray[np.int64]:
        """The numbers of artists; without a table of songs every table may name new ones."""
        return self.numbers(name, ids, self.artists, self.songs is None)

    def terms(self, table: Any, name: str, column: str) -> list[tuple[int, str, int]]:
        """(artist, term, count) of each row of tags or entities."""
        if table is None:
            return []
        columns = {"artist": Column("id", names=ARTISTS), column: Column("text", names=(column, name))}
        frame = self.frame(table, name, columns | {"count": Column("integer", 0, MOST_TAGS, required=False)})
        counts = frame["count"].tolist() if "count" in frame else [1] * len(frame)
        return list(zip(self.of_artists(name, frame.artist).tolist(), frame[column], counts, strict=True))

    def texts(self, table: Any) -> list[tuple[int, str]]:
        """(artist, biography) of each row, or of each entry of a mapping."""
        if table is None:
            return []
        if isinstance(table, Mapping):
            table = pd.DataFrame({"artist": list(table), "biography": list(table.values())})
        columns = {"artist": Column("id", names=ARTISTS), "biography": Column("text", names=TEXT, empty=True)}
        frame = self.frame(table, "biographies", columns)
        twice = np.flatnonzero(frame.artist.duplicated())
        require(not len(twice), f"biographies, row {twice[:1].sum()}: the artist is there already")
        return list(zip(self.of_artists("biographies", frame.artist).tolist(), frame.biography, strict=True))


def collection_of_tables(
    plays: Any,
    named: Mapping[str, str | None],
    songs: Any = None,
    biographies: Any = None,
    tags: Any = None,
    entities: Any = None,
) -> RawData:
    """Check tables and put them together; see :meth:`audiotext.recommender.AudioText.fit` for what they hold.

    Args:
        plays: users, items and play counts.
        named: ``user``, ``item``, ``plays`` -> name of the column of ``plays``; None: a usual one.
        songs: None: items are artists.

    Raises:
        UserError: a table or column is missing, or a row has an unknown id or a bad value; the message names the row.
    """
    reader, more = _Reader(), dict[str, Any]()
    if songs is not None:
        more = _songs(reader, songs)
    user, item, counts, users = read_plays(reader, plays, named)
    tag_rows, entity_rows = reader.terms(tags, "tags", "tag"), reader.terms(entities, "entities", "entity")
    texts = dict(reader.texts(biographies))
    artists = list(reader.artists)
    items = artists if reader.songs is None else list(reader.songs)
    matrix = sparse.csr_matrix((counts.astype(np.float32), (user, item)), shape=(len(users), len(items)))
    terms: list[list[Counter[str]]] = [[Counter() for _ in artists] for _ in range(2)]
    for found, rows in zip(terms, (tag_rows, entity_rows), strict=True):
        for artist, term, count in rows:
            found[artist][term] += count
    if reader.songs is None:
        more = {"artist_of": np.arange(len(artists)), "audio": [None] * len(artists), "artist_level": True}
    return RawData(
        songs=items,
        artists=artists,
        users=users,
        plays=matrix,
        biographies=[texts.get(number, "") for number in range(len(artists))],
        tags=terms[0],
        entities=terms[1],
        rows=reader.rows,
        notes=reader.notes,
        **more,
    )


def read_plays(
    reader: _Reader, plays: Any, named: Mapping[str, str | None]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[Any], list[str]]:
    """User, item and plays of each row, and the ids of the users; rows of one pair are added up by who uses them."""
    frame = plays_of(plays, named, reader.songs is None, reader)
    users, user_ids = pd.factorize(frame.user)
    known = reader.artists if reader.songs is None else reader.songs
    items = reader.numbers("plays", frame["item"], known, reader.songs is None)
    return users.astype(np.int64), items, frame.plays.to_numpy(), list(user_ids)


def plays_of(
    plays: Any, named: Mapping[str, str | None], of_artists: bool, reader: _Reader | None = None
) -> pd.DataFrame:
    """The columns ``user``, ``item`` and ``plays`` of a table; without the last one each row is one play."""
    usual = {"user": USERS, "item": ARTISTS + SONGS if of_artists else SONGS, "plays": PLAYS}
    names = {column: (named[column],) if named.get(column) else usual[column] for column in usual}
    columns = {column: Column("id", names=names[column]) for column in ("user", "item")}  # type: ignore[arg-type]
    optional = not named.get("plays")
    columns["plays"] = Column("integer", 1, MOST_PLAYS, names=names["plays"], required=not optional)  # type: ignore[arg-type]
    frame = (reader or _Reader()).frame(plays, "plays", columns)
    return frame if "plays" in frame else frame.assign(plays=1)


def _songs(reader: _Reader, songs: Any) -> dict[str, Any]:
    shown = {name: Column("text", required=False, empty=True) for name in ("title", "artist", "audio")}
    ids = {"song_id": Column("id", names=SONGS), "artist_id": Column("id", names=ARTISTS)}
    frame = reader.frame(songs, "songs", ids | shown)
    twice = np.flatnonzero(frame.song_id.duplicated())
    require(not len(twice), f"songs, row {twice[:1].sum()}: the song is there already")
    reader.songs = {song: number for number, song in enumerate(frame.song_id)}
    artist_of = reader.numbers("songs", frame.artist_id, reader.artists, grows=True)
    texts = {name: frame[name].tolist() if name in frame else [""] * len(frame) for name in shown}
    clips = [Path(name) if name else None for name in texts["audio"]]
    lost = next((clip for clip in clips if clip is not None and not clip.is_file()), None)
    require(lost is None, f"songs: there is no {lost}; leave audio empty or mend it")
    named = zip(frame.song_id, texts["title"], texts["artist"], strict=True)
    song_names = {song: (title, artist) for song, title, artist in named if title or artist}
    return {"artist_of": artist_of, "audio": clips, "song_names": song_names}


def unheard_split(raw: RawData, of_artists: bool) -> ArtistSplit:
    """Items with plays to learn from, items without to recommend.

    Args:
        of_artists: whether artists are recommended; else an artist with songs of both kinds is on both sides.

    Raises:
        UserError: all items have plays, or none has.
    """
    heard = raw.plays.getnnz(axis=0) > 0
    known, new = np.zeros(len(raw.artists), bool), np.zeros(len(raw.artists), bool)
    known[raw.artist_of[heard]] = True
    new[raw.artist_of[~heard]] = True
    new |= ~known
    new &= ~known if of_artists else True
    words = "artists" if of_artists else "songs"
    require(
        bool((new if of_artists else ~heard).any()),
        f"all {words} of the tables have plays; name some that nobody has played, which are to be recommended",
    )
    songs = heard if not of_artists or raw.artist_level else known[raw.artist_of]
    return ArtistSplit(*(np.flatnonzero(mask) for mask in (known, new, songs, ~songs)))
