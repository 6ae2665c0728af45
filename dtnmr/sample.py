"""Synthetic plays in the formats of KKBOX's challenge, by a law in which the user and the history matter.

:mod:`dtnmr.sample_world` states the law: users differ in taste, drift between moods, and popularity says little.
The metadata show genre and artist, so songs that appear only in the last fifth of the time, that is in the test file,
can be told from them; some users appear only then, too. Nothing in the files is real; odd ages, empty fields, names in
other scripts, plays of songs without an entry and repeated plays are there as in the released files. :func:`ceiling`
says how well the law itself predicts the test plays.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import base64
import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import console
from common.command import run_script
from common.options import replacing, require
from common.sources import mark_synthetic
from dtnmr.sample_names import artist_names, writer_names
from dtnmr.sample_world import GENRES, TABS, TEST_FROM, Played, World, draw_plays, draw_world

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
