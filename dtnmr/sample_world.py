"""The made-up listeners behind the sample: the law by which they play one song after the other.

Songs belong to an artist and artists to one of 12 genres. Each age group likes some genres more than others,
and each user draws a taste over the genres around that of the group (few genres each, other ones in the same group)
and five favourite artists within it. Users then play songs they have not played before, one after the other. They are
in the mood for one genre, drawn from their taste, and before each song draw it anew with probability 0.06. The song is

- with probability 0.15 one by the artist of the song before, if any is left;
- else of the genre of the mood with probability 0.75, and otherwise of a genre drawn from the taste;
- within the genre drawn in proportion to its popularity (log-normal, deviation 0.5: weak), ten times that for
  favourite artists.

So the mood drifts, and is not seen: the last ten songs or so tell it better than the very last, the whole history
tells taste and favourites, age says a little of both, and popularity says little of all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GENRES, AGE_GROUPS, FAVOURITES = 12, 4, 5
CHANGE, FOLLOW, FOCUS, FAVOURED = 0.06, 0.15, 0.75, 10.0
TEST_FROM = 0.8
"""The time, from 0 to 1, from which on plays are in the test file."""
NEW_SONGS, NEW_USERS = 0.05, 0.06
"""Shares of songs and of users that appear only from then on."""
TABS = ("my library", "listen with", "radio", "discover", "search", "explore", "notification", "null", "settings", "")
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class World:
    """Songs and users, all arrays in the order of their files.

    Attributes:
        artists: (songs,) artist of each.
        genres: (artists,) genre of each.
        popularity: (songs,) weight of each.
        fresh: (songs,) whether it appears only with the test file.
        groups: (users,) age group.
        tastes: (users, genres) probabilities.
        favourites: (users, artists) whether the artist is a favourite.
        late: (users,) whether the user appears only with the test file.
    """

    artists: Integers
    genres: Integers
    popularity: Floats
    fresh: NDArray[np.bool_]
    groups: Integers
    tastes: Floats
    favourites: NDArray[np.bool_]
    late: NDArray[np.bool_]


@dataclass(frozen=True)
class Played:
    """All plays in the order of time, (plays,) each; ``ranks``: place of the song among all by the law itself."""

    users: Integers
    songs: Integers
    times: Floats
    tabs: Integers
    ranks: Floats


def draw_world(users: int, songs: int, rng: np.random.Generator) -> World:
    """Draw songs, artists and users."""
    artists = max(GENRES, songs // 8)
    genres = np.sort(np.arange(artists) % GENRES)
    tilts = rng.dirichlet(np.full(GENRES, 0.7), AGE_GROUPS)
    groups = rng.integers(0, AGE_GROUPS, users)
    tastes = rng.gamma(1.5 * (0.8 * tilts[groups] + 0.2 / GENRES)) + 1e-9
    tastes /= tastes.sum(axis=1, keepdims=True)
    liked = np.log(tastes[:, genres]) + rng.gumbel(size=(users, artists))
    favourites = np.zeros((users, artists), bool)
    np.put_along_axis(favourites, np.argsort(-liked, axis=1)[:, :FAVOURITES], True, axis=1)
    return World(
        artists=rng.integers(0, artists, songs),
        genres=genres,
        popularity=np.exp(0.5 * rng.standard_normal(songs)),
        fresh=rng.random(songs) < NEW_SONGS,
        groups=groups,
        tastes=tastes,
        favourites=favourites,
        late=rng.random(users) < NEW_USERS,
    )


def probabilities(world: World, users: Integers, moods: Integers, last: Integers, free: NDArray[np.bool_]) -> Floats:
    """(users, songs) the law: what each of ``users`` plays next.

    Args:
        moods: (users,) the genre that each is in the mood for.
        last: (users,) the song before; -1 for a first song.
        free: (users, songs) songs that may be played: not heard before, and out already.
    """
    genres = world.genres[world.artists]
    started = last >= 0
    wanted = FOCUS * (np.arange(GENRES) == moods[:, None]) + (1 - FOCUS) * world.tastes[users]
    weights = free * world.popularity * np.where(world.favourites[users][:, world.artists], FAVOURED, 1.0)
    totals = weights @ (genres[:, None] == np.arange(GENRES))
    wanted = np.where(totals > 0, wanted, 0)
    wanted /= wanted.sum(axis=1, keepdims=True)
    by_genre = (wanted / np.maximum(totals, 1e-300))[:, genres] * weights
    same = weights * ((world.artists == world.artists[last][:, None]) & started[:, None])
    total = same.sum(axis=1, keepdims=True)
    follow = np.where(total > 0, FOLLOW, 0.0)
    return follow * same / np.maximum(total, 1e-300) + (1 - follow) * by_genre


def draw_plays(world: World, rng: np.random.Generator) -> Played:
    """Let all users play, a step of all of them at a time."""
    users, songs = len(world.groups), len(world.artists)
    most = songs // 4
    counts = np.minimum(20 + rng.gamma(2.0, 26.0, users), most).astype(np.int64)
    starts = np.where(world.late, TEST_FROM, 0.0)
    times = starts[:, None] + (1 - starts)[:, None] * rng.random((users, most))
    times = np.sort(np.where(np.arange(most) < counts[:, None], times, np.inf), axis=1)
    heard = np.zeros((users, songs), bool)
    last = np.full(users, -1)
    moods = _draw(world.tastes, rng)
    pieces: list[tuple[NDArray[Any], ...]] = []
    for step in range(counts.max()):
        active = np.flatnonzero(counts > step)
        now = times[active, step]
        free = ~heard[active] & (~world.fresh | (now >= TEST_FROM)[:, None])
        moods = np.where(rng.random(users) < CHANGE, _draw(world.tastes, rng), moods)
        chances = probabilities(world, active, moods[active], last[active], free)
        drawn = _draw(chances, rng)
        chance = np.take_along_axis(chances, drawn[:, None], axis=1)
        ranks = 1 + (chances > chance).sum(axis=1) + ((chances == chance).sum(axis=1) - 1) / 2
        tabs = _tabs(world, last[active], drawn, rng)
        pieces.append((active, drawn, now, tabs, ranks))
        heard[active, drawn] = True
        last[active] = drawn
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    order = np.argsort(columns[2], kind="stable")
    return Played(*(column[order] for column in columns))


def _draw(chances: Floats, rng: np.random.Generator) -> Integers:
    """(rows,) a column of each row, by the row's probabilities."""
    sums = np.cumsum(chances, axis=1)
    return (rng.random((len(chances), 1)) * sums[:, -1:] >= sums).sum(axis=1)


def _tabs(world: World, last: Integers, drawn: Integers, rng: np.random.Generator) -> Integers:
    """How each song was come by: mostly the library for the same artist, and discoveries for another genre."""
    artist, genre = world.artists, world.genres[world.artists]
    same_artist = (artist[last] == artist[drawn]) & (last >= 0)
    same_genre = (genre[last] == genre[drawn]) & (last >= 0)
    usual = np.where(
        same_artist, 0, np.where(same_genre, rng.integers(0, 3, len(drawn)), rng.integers(3, 5, len(drawn)))
    )
    return np.where(rng.random(len(drawn)) < 0.2, rng.integers(0, len(TABS), len(drawn)), usual)
