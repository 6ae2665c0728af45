"""Play counts of the Taste Profile, and the ratings that the paper makes of them.

Source: arXiv 1907.01640 v2, section 3.1 and figure 3.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.options import require
from common.row_counts import RowCounts
from common.tables import Column, open_table

HIGHEST_COUNT = 10**9
"""Plays of one song by one user; the real maximum is 3,532."""
RATING_FROM = (1, 2, 3, 4, 6)
"""The fewest plays for a rating of 1, 2, 3, 4 and 5 (figure 3)."""
COLUMNS = {"user": Column("text"), "song": Column("text"), "plays": Column("integer", 1, HIGHEST_COUNT)}
"""Of the Taste Profile, which has no line that names them, and no quoting."""


@dataclass(frozen=True)
class PlayCounts:
    """Who played which song how often; each pair of user and song occurs once."""

    user_ids: list[str]
    """In alphabetical order; their places are the user numbers."""
    song_ids: list[str]
    """In alphabetical order; their places are the song numbers."""
    users: NDArray[np.int64]
    """(n,) user number."""
    songs: NDArray[np.int64]
    """(n,) song number."""
    counts: NDArray[np.int64]
    """(n,) plays."""
    lines: NDArray[np.int64]
    """(n,) lines of the file that name the pair."""

    def keep(self, rows: NDArray[np.bool_]) -> PlayCounts:
        """The chosen rows, and only the users and songs that they mention, numbered anew."""
        users, user = np.unique(self.users[rows], return_inverse=True)
        songs, song = np.unique(self.songs[rows], return_inverse=True)
        user_ids, song_ids = [self.user_ids[i] for i in users], [self.song_ids[i] for i in songs]
        return PlayCounts(user_ids, song_ids, user, song, self.counts[rows], self.lines[rows])

    def keep_songs(self, song_ids: Collection[str]) -> PlayCounts:
        """The plays of ``song_ids`` only."""
        return self.keep(np.array([song in song_ids for song in self.song_ids], dtype=bool)[self.songs])

    def keep_active_users(self, min_songs: int) -> PlayCounts:
        """The plays of users with at least ``min_songs`` distinct songs (paper: 20)."""
        return self.keep(np.bincount(self.users, minlength=1)[self.users] >= min_songs)

    def ratings(self) -> NDArray[np.int64]:
        """(n,) 1..5 by figure 3: 1, 2 and 3 plays are the same rating; 4 and 5 plays a 4; 6 and more a 5.

        >>> PlayCounts([], [], *np.array([[0] * 7] * 2 + [[1, 2, 3, 4, 5, 6, 3532]] * 2)).ratings().tolist()
        [1, 2, 3, 4, 4, 5, 5]
        """
        return np.searchsorted(RATING_FROM, self.counts, side="right")


def read_play_counts(path: Path, songs: Collection[str], counts: RowCounts | None = None) -> tuple[PlayCounts, int]:
    """Read ``train_triplets.txt``: user, song id and play count per line, separated by tabs; .gz and .zip as well.

    The rows lie in DuckDB, which moves them to the disk where they are many (the whole Taste Profile has 48 million);
    only the plays of ``songs`` come to memory. Counts of a pair that occurs again are added up. The plays stay in the
    order of the first occurrence of each pair.

    Args:
        songs: ids; accents may be written in another way in the file: macOS takes them apart (NFD).
        counts: takes the rows of the file.

    Returns:
        The plays of ``songs``, and the number of rows in the file.

    Raises:
        UserError: the file cannot be read, is empty, or a line is malformed (the first one is named).
    """
    numbers = {song: number for number, song in enumerate(sorted(songs))}
    number_of = {normalize(form, song): number for form in ("NFC", "NFD") for song, number in numbers.items()} | numbers
    with open_table(path, COLUMNS, header=tuple(COLUMNS), separator="\t", quotes=False) as table:
        require(table.rows > 0, f"{path}: is empty; expected user, song id and play count, separated by tabs")
        if counts is not None:
            counts.add(table)
        lost = "contains(user, chr(13)) OR contains(song, chr(13))"  # two lines, the end of the first one lost
        if broken := table.database.execute(
            f"SELECT min(row) FROM {table.name} WHERE {lost} HAVING count(*)"
        ).fetchall():
            raise table.error(broken[0][0], "a value holds a carriage return; end each line with a line feed")
        database, users, wanted = table.database, f"{table.name}_users", f"{table.name}_songs"
        texts = pd.DataFrame({"text": pd.Series(number_of, dtype=object).index, "song_number": number_of.values()})
        database.register(wanted, texts)
        rows = f"{table.name} JOIN {wanted} ON song = text"
        try:
            database.execute(
                f"CREATE TABLE {users} AS SELECT DISTINCT user, dense_rank() OVER (ORDER BY user) - 1 AS user_number "
                f"FROM {rows}"
            )
            user_ids = database.execute(f"SELECT user FROM {users} ORDER BY user_number").fetchdf()["user"].tolist()
            found = database.execute(
                "SELECT user_number, song_number, sum(plays)::BIGINT AS plays, count(*) AS lines "
                f"FROM {rows} JOIN {users} USING (user) GROUP BY user_number, song_number ORDER BY min(row)"
            ).fetchnumpy()
            database.execute(f"DROP TABLE {users}")
        finally:
            database.unregister(wanted)
        columns = (np.asarray(found[name], np.int64) for name in ("user_number", "song_number", "plays", "lines"))
        everything = PlayCounts(user_ids, sorted(songs), *columns)
        return everything.keep(np.ones(len(everything.users), dtype=bool)), table.rows
