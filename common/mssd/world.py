"""The synthetic listeners behind :mod:`common.mssd.sample`: tracks, playlists, and who skips what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.mssd.logs import MAX_POSITION

# Of the full training logs (124,950,714 sessions) and the table of 3.7 million tracks: histograms published with
# the thesis code AzGhort/skip_prediction. Sessions of 10 to 20 tracks; longer ones were cut.
LENGTHS = np.array([0.0882, 0.0769, 0.0673, 0.0588, 0.0517, 0.0453, 0.0400, 0.0352, 0.0314, 0.0278, 0.4774])
ZIPF_HEAD = 15.0
"""Plays are as 1 / (rank + 15): that has the slope -0.95 between ranks 100 and 100,000 of these histograms, and a
flat head like theirs (7.86 million plays at rank 1, 1.31 million at rank 100)."""
CONTEXTS = {
    "user_collection": 0.402,
    "catalog": 0.228,
    "editorial_playlist": 0.212,
    "radio": 0.126,
    "personalized_playlist": 0.018,
    "charts": 0.014,
}

# Of 169 half sessions of the test split (1,180 rows), published with apritchard95/llm_music_session_sequential_
# skip_prediction: skip_2 follows a skip with probability 0.720 and a track that was played with 0.299; its rate
# there is 0.49, and 0.513 in the first training file.
SHUFFLED = 0.278
SWITCHED = 0.046
ENDS = ("trackdone", "fwdbtn", "backbtn", "endplay", "logout", "remote")
END_SHARES = {True: (0.002, 0.762, 0.124, 0.110, 0.000, 0.002), False: (0.672, 0.228, 0.022, 0.076, 0.002, 0.000)}

# The model's own: chosen so that the figures above come out.
GENRES, LATENT, PLAYLIST = 12, 6, 20
"""Genres, latent qualities of a track, and tracks in a playlist."""
GENRE_SHARE, FEATURE_SHARE = 0.75, 0.85
"""Correlation of a track's qualities with its genre's, and of its features with its qualities."""
SKIP_BASE, SKIP_MOOD, SKIP_AGAIN, SKIP_TRACK, SKIP_TASTE = 0.16, 0.95, 0.66, 0.60, 0.55
"""Log-odds of a skip: constant, deviation of the session's mood, a skip (or none) just before, qualities of the
track, and how far they are from the session's taste."""
TASTE_SPREAD, USUAL_DISTANCE = 0.7, 1.3
"""Standard deviation of a session's taste about its genre's centre, and mean square distance of a track from it at
which taste makes no difference."""


@dataclass(frozen=True)
class World:
    """Tracks and playlists. Tracks are numbered by genre, and by popularity within a genre."""

    genres: NDArray[np.int64]
    """(tracks,)"""
    popularity: NDArray[np.float64]
    """(tracks,) chance to be played; the sum is 1."""
    centres: NDArray[np.float64]
    """(genres, qualities)"""
    qualities: NDArray[np.float64]
    """(tracks, qualities), each of mean 0 and variance 1 over the tracks of all genres."""
    appeal: NDArray[np.float64]
    """(tracks,) of variance 1: what the qualities make of it for everybody."""
    playlists: NDArray[np.int32]
    """(playlists, tracks in each)"""
    playlist_genres: NDArray[np.int64]
    """(playlists,)"""
    ids: list[str]
    """(tracks,)"""


@dataclass(frozen=True)
class Play:
    """What is drawn of a block of sessions; events have shape (sessions, 20), of which the first ``lengths`` count."""

    lengths: NDArray[np.int64]
    contexts: NDArray[np.int64]
    shuffled: NDArray[np.bool_]
    tracks: NDArray[np.int32]
    skipped: NDArray[np.bool_]
    switched: NDArray[np.bool_]
    ends: NDArray[np.int64]
    """Numbers in ``ENDS``: why the track ended."""


def draw_world(tracks: int, rng: np.random.Generator) -> World:
    """Draw the tracks and playlists."""
    rank_genres = rng.choice(GENRES, size=tracks, p=rng.dirichlet(np.full(GENRES, 8.0)))
    ranks = np.lexsort((np.arange(tracks), rank_genres))  # by genre, the popular ones first
    genres = rank_genres[ranks]
    plays = 1.0 / (ranks + 1.0 + ZIPF_HEAD)
    popularity: NDArray[np.float64] = plays / plays.sum()
    centres = rng.standard_normal((GENRES, LATENT))
    centres = (centres - centres.mean(axis=0)) / centres.std(axis=0)
    own = rng.standard_normal((tracks, LATENT))
    qualities = GENRE_SHARE * centres[genres] + np.sqrt(1 - GENRE_SHARE**2) * own
    appeal = own @ _unit(rng.standard_normal(LATENT))
    playlists, playlist_genres = _draw_playlists(genres, popularity, rng)
    return World(
        genres, popularity, centres, qualities, appeal, playlists, playlist_genres, draw_ids("t_", tracks, rng)
    )


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def _draw_playlists(
    genres: NDArray[np.int64], popularity: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Playlists of one genre each, in which a track occurs as often as its popularity says, once in each at most."""
    number = max(2 * GENRES, int(0.4 * len(genres)))
    lists, list_genres = [], []
    for genre in np.unique(genres):
        members = np.flatnonzero(genres == genre)
        share = popularity[members].sum()
        count = max(2, round(number * share))
        # Copies of a track are neighbours here, so that a row of ``count`` puts each into another playlist.
        copies = rng.multinomial(count * PLAYLIST, popularity[members] / share)
        rows = np.repeat(members, copies).reshape(PLAYLIST, count)
        lists.append(rng.permuted(rng.permuted(rows, axis=1).T, axis=1).astype(np.int32))
        list_genres.append(np.full(count, genre))
    return np.concatenate(lists), np.concatenate(list_genres)


def draw_sessions(world: World, count: int, rng: np.random.Generator) -> Play:
    """Draw ``count`` sessions."""
    lengths = rng.choice(np.arange(10, MAX_POSITION + 1), size=count, p=LENGTHS / LENGTHS.sum())
    contexts = choose(list(CONTEXTS.values()), count, rng)
    radio = contexts == list(CONTEXTS).index("radio")
    shuffled = rng.random(count) < SHUFFLED
    mood = SKIP_BASE + SKIP_MOOD * rng.standard_normal(count)
    playlist = rng.integers(len(world.playlists), size=count)
    place = rng.integers(PLAYLIST, size=count)
    # A stride without a common factor with the length meets every track of a playlist before one comes again.
    stride = np.where(shuffled, rng.choice([3, 7, 9, 11, 13, 17], size=count), 1)
    genre = world.playlist_genres[playlist]
    taste = world.centres[genre] + TASTE_SPREAD * rng.standard_normal((count, LATENT))
    first_list = np.searchsorted(world.playlist_genres, np.arange(GENRES + 1))
    chances = np.concatenate([[0.0], np.cumsum(world.popularity)])
    chance = chances[np.searchsorted(world.genres, np.arange(GENRES + 1))]

    shape = (count, MAX_POSITION)
    tracks, skipped = np.zeros(shape, dtype=np.int32), np.zeros(shape, dtype=bool)
    switched, ends = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=np.int64)
    again = np.zeros(count)
    for step in range(MAX_POSITION):
        if step:
            switch = rng.random(count) < SWITCHED
            elsewhere = rng.integers(first_list[genre], first_list[genre + 1])
            playlist = np.where(switch, elsewhere, playlist)
            place = np.where(switch, rng.integers(PLAYLIST, size=count), (place + stride) % PLAYLIST)
            switched[:, step] = switch
        drawn = np.searchsorted(chances, rng.uniform(chance[genre], chance[genre + 1]), side="right") - 1
        track = np.where(radio, np.minimum(drawn, len(world.genres) - 1), world.playlists[playlist, place])
        if step:
            back = ends[:, step - 1] == ENDS.index("backbtn")
            track = np.where(back, tracks[:, step - 1], track)
            place = np.where(back, place - stride, place)  # afterwards the playlist goes on where it was
        distance = ((world.qualities[track] - taste) ** 2).mean(axis=1) - USUAL_DISTANCE
        logit = mood + SKIP_AGAIN * again - SKIP_TRACK * world.appeal[track] + SKIP_TASTE * distance
        skip = rng.random(count) < 1 / (1 + np.exp(-logit))
        again = np.where(skip, 1.0, -1.0)
        tracks[:, step], skipped[:, step] = track, skip
        why = choose(END_SHARES[True], count, rng)
        ends[:, step] = np.where(skip, why, choose(END_SHARES[False], count, rng))
    return Play(lengths, contexts, shuffled, tracks, skipped, switched, ends)


def choose(shares: Any, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``count`` numbers 0.. with chances in proportion to ``shares``."""
    weights = np.array(shares, dtype=np.float64)
    return np.minimum(
        np.searchsorted(np.cumsum(weights / weights.sum()), rng.random(count), side="right"), len(weights) - 1
    )


def draw_ids(prefix: str, count: int, rng: np.random.Generator) -> list[str]:
    """Ids in the style of MSSD: ``prefix`` and a random UUID."""
    text = rng.bytes(16 * count).hex()
    digits = (text[start : start + 32] for start in range(0, len(text), 32))
    return [f"{prefix}{d[:8]}-{d[8:12]}-{d[12:16]}-{d[16:20]}-{d[20:]}" for d in digits]
