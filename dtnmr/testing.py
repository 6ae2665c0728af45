"""A small dataset made in memory, for tests that need no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtnmr.dataset import Integers, KkboxData, Points, Rows
from dtnmr.encoding import make_rows

GENRES, ARTISTS = 3, 12


def rows_of(lists: Sequence[Sequence[int] | Integers]) -> Rows:
    """Lists of integers as :class:`Rows`."""
    return make_rows([np.asarray(one, np.int32) for one in lists])


def tiny_data(users: int = 40, songs: int = 36, plays: int = 14, seed: int = 0, released: bool = False) -> KkboxData:
    """Users who love one genre each, and play songs of it (mostly) from a catalogue of three genres.

    Song s is by artist s mod 12, whose genre is s mod 3. The last user has no training plays; the last song is played
    in the test only.
    """
    rng = np.random.default_rng(seed)
    playlists: list[list[int]] = []
    for user in range(users):
        liking = np.where(np.arange(songs) % GENRES == user % GENRES, 8.0, 1.0) / (1 + np.arange(songs) / songs)
        liking[-1] = 0.0
        playlists.append(rng.choice(songs, plays, replace=False, p=liking / liking.sum()).tolist())
        if user % 4 == 0:
            playlists[-1].append(songs - 1)
    trained = np.full(users, plays - 4, np.int32)
    trained[-1] = 0
    artist = np.arange(songs) % ARTISTS
    bits: list[list[int]] = [
        [s % GENRES, GENRES + a, GENRES + ARTISTS + a // 2, GENRES + ARTISTS + 6] for s, a in enumerate(artist.tolist())
    ]
    training = [song for playlist, count in zip(playlists, trained, strict=True) for song in playlist[:count]]

    def points(low: int, high: int) -> Points:
        """Examples at the positions low..high of every playlist, counted from the end of its training part."""
        found = [
            (user, at)
            for user, playlist in enumerate(playlists)
            for at in range(max(int(trained[user]) + low, 4), min(int(trained[user]) + high, len(playlist)))
        ]
        columns = np.array(found, np.int32).reshape(-1, 2)
        return Points(columns[:, 0], columns[:, 1])

    return KkboxData(
        song_ids=[f"s{song}" for song in range(songs)],
        user_ids=[f"u{user}" for user in range(users)],
        lengths=np.round(rng.uniform(0.3, 1, songs), 4).astype(np.float32),
        song_bits=rows_of(bits),
        user_bits=rows_of([[user % 4, 4 + user % 2, 6] for user in range(users)]),
        values={
            "genre": [f"g{i}" for i in range(GENRES)],
            "artist": [f"artist {i:02d}" for i in range(ARTISTS)],
            "composer": [f"composer {i}" for i in range(6)],
            "language": ["52"],
            "age": ["20", "30", "40", "50"],
            "gender": ["female", "male"],
            "city": ["1"],
            "behaviour": ["discover", "my library"],
        },
        songs_played=rows_of(playlists),
        behaviours=rows_of([rng.integers(-1, 2, len(playlist), np.int32) for playlist in playlists]),
        owners=np.arange(users, dtype=np.int32),
        trained=trained,
        train=points(-plays, -1),
        validation=points(-1, 0),
        test=points(0, plays),
        plays=np.bincount(training, minlength=songs),
        longest_length=350.0,
        released=released,
        fingerprint="tiny",
        counts={},
    )
