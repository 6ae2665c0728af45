"""Synthetic plays in the formats of KKBOX's challenge, by a law in which the user and the history matter.

The law: songs belong to an artist and artists to one of 12 genres. Each age group likes some genres more than others,
and each user draws a taste over the genres around that of the group (few genres each, other ones in the same group)
and five favourite artists within it. Users then play songs they have not played before, one after the other. They are
in the mood for one genre, drawn from their taste, and before each song draw it anew with probability 0.06. The song is

- with probability 0.15 one by the artist of the song before, if any is left;
- else of the genre of the mood with probability 0.75, and otherwise of a genre drawn from the taste;
- within the genre drawn in proportion to its popularity (log-normal, deviation 0.5: weak), ten times that for
  favourite artists.

So the mood drifts, and is not seen: the last ten songs or so tell it better than the very last, the whole history
tells taste and favourites, age says a little of both, and popularity says little of all. :func:`ceiling` says how well
the law itself predicts the test plays.

The metadata show genre and artist, so songs that appear only in the last fifth of the time, that is in the test file,
can be told from them; some users appear only then, too. Nothing in the files is real; odd ages, empty fields, names in
other scripts, plays of songs without an entry and repeated plays are there as in the released files.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split


import base64
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common import console
from common.command import run_script
from common.options import replacing, require
from common.sources import mark_synthetic

FIRST = "Aru Bela Cirra Dovan Elko Fanni Gorin Hesta Ilmo Jorra Kesti Lumo Marra Nelo Orvi Pesta Quin Rulo Sevi Tarmo"
LAST = (
    "Aldervik Brostam Carvelo Dunmere Eskorin Falvest Grenholt Hovarin Istrand Jelvik Korvane Lisbrand Mortave Norvel"
)
SCRIPTS = (
    "山河樂隊",
    "ほしぞら",
    "바람소리",
    "ฟ้าใส",
    "星光 Orkestra",
    "Vimm",
    "Zorrax",
    "Onehundredandfourteen Orchestras United",
)
OTHERS = 0.3
"""Share of artists with a name that the name filter drops."""


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different names."""
    plain = _pairs(count, rng)
    others = rng.random(count) < OTHERS
    return [
        f"{SCRIPTS[place % len(SCRIPTS)]}{place}" if other else name
        for place, (name, other) in enumerate(zip(plain, others.tolist(), strict=True))
    ]


def writer_names(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different names, all of two words; one in ten is written with the surname first."""
    return [
        ", ".join(reversed(name.split(" ", 1))) if place % 10 == 0 else name
        for place, name in enumerate(_pairs(count, rng))
    ]


def _pairs(count: int, rng: np.random.Generator) -> list[str]:
    names = [f"{first} {last}" for first in FIRST.split() for last in LAST.split()]
    chosen = [names[place] for place in rng.permutation(len(names))]
    return [
        f"{chosen[place % len(chosen)]}{f' {place // len(chosen) + 1}' * (place >= len(chosen))}"
        for place in range(count)
    ]


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


ODD_AGES = (0, 0, 0, -43, 1051, 7, 15, 60)
LANGUAGES = ("52.0", "3.0", "31.0", "17.0", "10.0", "-1.0")


@dataclass(frozen=True)
class KkboxSampleOptions:
    """What to draw, and where to write it."""

    out: Path
    """Folder for the four files; those of the same names are replaced."""
    users: int = 900
    """Users; one in nine has an age that is not to be believed."""
    songs: int = 1200
    """Songs, by one artist for every eight."""
    seed: int = 7
    """Seed of everything; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        require(self.users >= 20, f"--users is {self.users}; it must be 20 or more")
        require(self.songs >= 300, f"--songs is {self.songs}; it must be 300 or more")
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")


def ceiling(options: KkboxSampleOptions, cutoffs: Sequence[int] = (5, 10, 20)) -> dict[str, float]:
    """How well the law itself, which knows each user's taste and mood, predicts the next song of the test plays.

    Every play is ranked among all songs that its user has not heard: MRR and Recall@K, the most a model can reach
    but for chance. (A model ranks only the songs that preprocessing keeps, which is a little easier.)
    """
    rng = np.random.default_rng(options.seed)
    played = draw_plays(draw_world(options.users, options.songs, rng), rng)
    ranks = played.ranks[played.times >= TEST_FROM]
    recalls = {f"recall@{cutoff}": float((ranks <= cutoff).mean()) for cutoff in cutoffs}
    return {"mrr": float((1 / ranks).mean()), **recalls}


def write_sample(folder: Path, options: KkboxSampleOptions | None = None) -> int:
    """Write train.csv, test.csv, songs.csv and members.csv into ``folder``; returns the rows of train.csv."""
    options = options or KkboxSampleOptions(out=folder)
    rng = np.random.default_rng(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    world = draw_world(options.users, options.songs, rng)
    played = draw_plays(world, rng)
    users, songs = _ids(options.users, rng), _ids(options.songs, rng)
    _write_members(folder / "members.csv", users, world, rng)
    _write_songs(folder / "songs.csv", songs, world, rng)
    return _write_plays(folder, played, users, songs, rng)


def _ids(count: int, rng: np.random.Generator) -> list[str]:
    return [base64.b64encode(row.tobytes()).decode() for row in rng.integers(0, 256, (count, 32), np.uint8)]


def _write(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    with replacing(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


def _write_members(path: Path, ids: list[str], world: World, rng: np.random.Generator) -> None:
    ages = np.array([16, 24, 32, 42])[world.groups] + rng.integers(0, 8, len(ids))
    ages = np.where(rng.random(len(ids)) < 1 / 9, rng.choice(ODD_AGES, len(ids)), ages)
    genders = rng.choice(["female", "male", ""], len(ids), p=[0.3, 0.3, 0.4])
    cities = rng.choice(np.r_[1, 3:23], len(ids))
    dates = rng.integers(20050101, 20161231, len(ids))
    header = "msno,city,bd,gender,registered_via,registration_init_time,expiration_date"
    columns = (ids, cities.tolist(), ages.tolist(), genders.tolist(), rng.choice([3, 4, 7, 9], len(ids)).tolist())
    _write(path, header, zip(*columns, dates.tolist(), [20171231] * len(ids), strict=True))


def _write_songs(path: Path, ids: list[str], world: World, rng: np.random.Generator) -> None:
    genres = world.genres[world.artists].tolist()
    artists = artist_names(len(world.genres), rng)
    writers = writer_names(8 * GENRES, rng)
    milliseconds = (np.exp(0.25 * rng.standard_normal(len(ids))) * 228_000).astype(int).tolist()
    rows = []
    for song, genre, artist, length in zip(ids, genres, world.artists.tolist(), milliseconds, strict=True):
        code = str(400 + 7 * genre)
        # Half of the songs name a smaller genre, too; a few name none.
        code = rng.choice([code, f"{code}|{1000 + 10 * genre + rng.integers(0, 3)}", ""], p=[0.47, 0.5, 0.03])
        own = [writers[8 * genre + place] for place in rng.choice(8, 2, replace=False)]
        composer = rng.choice([own[0], "| ".join(own), artists[artist], ""], p=[0.4, 0.2, 0.3, 0.1])
        language = LANGUAGES[genre % 3] if rng.random() < 0.8 else rng.choice([*LANGUAGES, ""])
        rows.append((song, length, code, artists[artist], composer, own[1] if rng.random() < 0.6 else "", language))
    _write(path, "song_id,song_length,genre_ids,artist_name,composer,lyricist,language", rows)


def _write_plays(folder: Path, played: Played, users: list[str], songs: list[str], rng: np.random.Generator) -> int:
    tested = played.times >= TEST_FROM
    rows = [
        (users[user], songs[song], TABS[tab], f"{TABS[tab].title()} screen", "local-playlist" if tab == 0 else "topic")
        for user, song, tab in zip(played.users.tolist(), played.songs.tolist(), played.tabs.tolist(), strict=True)
    ]
    train = [row for row, late in zip(rows, tested.tolist(), strict=True) if not late]
    test = [row for row, late in zip(rows, tested.tolist(), strict=True) if late]
    missing = _ids(3, rng)
    for place in rng.choice(len(train), len(train) // 500, replace=False).tolist():
        train[place] = (train[place][0], missing[place % len(missing)], *train[place][2:])
    for place in rng.choice(len(train), len(test) // 100, replace=False).tolist():  # heard again
        test.insert(int(rng.integers(0, len(test))), train[place])
    targets = rng.integers(0, 2, len(train)).tolist()
    columns = "msno,song_id,source_system_tab,source_screen_name,source_type"
    _write(
        folder / "train.csv", f"{columns},target", ((*row, again) for row, again in zip(train, targets, strict=True))
    )
    _write(folder / "test.csv", f"id,{columns}", ((number, *row) for number, row in enumerate(test)))
    mark_synthetic(folder)
    return len(train)


def main(options: KkboxSampleOptions) -> int:
    """Write made-up plays in the formats of KKBOX's challenge."""
    rows = write_sample(options.out, options)
    best = ", ".join(f"{name} {value:.3f}" for name, value in ceiling(options).items())
    console.say(f"{options.out}: synthetic, {rows:,} training plays, {options.users:,} users, {options.songs:,} songs")
    console.say(f"By the law they are drawn from, the next song of a test play has {best}")
    return rows


if __name__ == "__main__":
    run_script(main, KkboxSampleOptions)
