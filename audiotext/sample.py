"""A small synthetic music collection: raw material whose words and sound tell who will like a song.

The law. There are :data:`GENRES` genres. An artist has a vector over them (one or two genres dominate), and each song
adds a mood of its own, :data:`MOODS` numbers of variance 1: tempo, register and brightness. A user has tastes over the
genres and over the moods. How much a user likes a song is

    TASTE * (taste for genres . artist) + MOOD * (taste for moods . song's mood) + appeal of the artist

and a user plays songs drawn without replacement in proportion to exp(liking); the number of songs of a user and the
plays of a song follow power laws.

What tells it: a biography draws its words from the genres of its artist (with many common words), entities and tags
do so with less noise, and neither knows the songs. A clip plays chords in a tempo, register and brightness that are
the song's mood, in a scale and with a timbre that hint at the artist's strongest genre. The appeal of an artist shows
nowhere. So text gives the artist, sound gives the song and a part of the artist, and both together give the most.

To exercise what real material has, two clips are silent, one is too short for a single frame, a song has no clip, and
one artist's biography is empty and another's is missing. Every name, word and number is invented.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import io
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotext.sample_sound import RATE, clip
from audiotext.sample_words import Language, biography, draw_language, entities, names, tags
from common import console
from common.command import run_script
from common.options import replacing, require
from common.sources import mark_synthetic

GENRES, MOODS = 6, 3
TASTE, MOOD, APPEAL = 6.0, 0.6, 0.5
"""Weights of the genres and the moods in what a user likes, and standard deviation of the artists' appeal."""
FEWEST, MOST, TAIL = 20, 120, 1.6
"""Songs that a user plays: fewest, most, and exponent of the power law."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SampleOptions:
    """Options of audiotext/sample.py."""

    out: Path
    """Folder to write; files of the same names are replaced."""
    artists: int = 150
    """Artists."""
    songs: int = 6
    """Songs of each artist."""
    users: int = 400
    """Users."""
    seconds: float = 4.0
    """Length of a clip; a patch of the audio network has 15, so what is missing is padded."""
    seed: int = 7
    """Seed of everything; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        require(self.artists >= 10, f"--artists is {self.artists}; it must be 10 or more")
        require(self.songs >= 1, f"--songs is {self.songs}; it must be 1 or more")
        require(self.users >= 1, f"--users is {self.users}; it must be 1 or more")
        require(0.1 <= self.seconds <= 60, f"--seconds is {self.seconds:g}; it must lie in 0.1..60")
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")


@dataclass(frozen=True)
class World:
    """What the sample hides: genres of the artists, moods of the songs, tastes of the users."""

    artists: Floats
    """(artists, GENRES) shares of the genres; a row sums to 1."""
    moods: Floats
    """(songs, MOODS)"""
    appeal: Floats
    """(artists,)"""
    genre_tastes: Floats
    """(users, GENRES)"""
    mood_tastes: Floats
    """(users, MOODS)"""

    @property
    def artist_of(self) -> NDArray[np.int64]:
        """(songs,) number of each song's artist."""
        return np.arange(len(self.moods)) // (len(self.moods) // len(self.artists))

    def liking(self) -> Floats:
        """(users, songs): the logarithm of how likely a user is to choose a song, up to a constant of the user."""
        genres = (self.genre_tastes @ self.artists.T + self.appeal / TASTE)[:, self.artist_of]
        return TASTE * genres + MOOD * self.mood_tastes @ self.moods.T


def draw_world(options: SampleOptions) -> World:
    """Draw artists, songs and users."""
    rng = np.random.default_rng((options.seed, 1))
    return World(
        artists=rng.dirichlet(np.full(GENRES, 0.25), options.artists),
        moods=rng.standard_normal((options.artists * options.songs, MOODS)),
        appeal=APPEAL * rng.standard_normal(options.artists),
        genre_tastes=GENRES * rng.dirichlet(np.full(GENRES, 0.4), options.users) / 3,
        mood_tastes=rng.standard_normal((options.users, MOODS)),
    )


def draw_plays(world: World, rng: np.random.Generator) -> list[tuple[int, int, int]]:
    """(user, song, plays), by user and falling plays."""
    liking = world.liking()
    users, songs = liking.shape
    most = min(MOST, songs // 2)
    wanted = np.minimum(FEWEST * (1 + rng.pareto(TAIL, users)), most).astype(int)
    # The largest of (liking + Gumbel noise) are a draw without replacement in proportion to exp(liking).
    order = np.argsort(-(liking + rng.gumbel(size=liking.shape)), axis=1)
    rows = []
    for user in range(users):
        counts = np.sort(1 + np.minimum(rng.pareto(1.2, wanted[user]) * 2, 500).astype(int))[::-1]
        rows += [(user, int(song), int(count)) for song, count in zip(order[user], counts, strict=False)]
    return rows


def write_sample(folder: Path, options: SampleOptions | None = None) -> dict[str, int]:
    """Write the collection into ``folder``; returns its counts.

    See :mod:`audiotext.raw` for the files.
    """
    options = options or SampleOptions(out=folder)
    rng = np.random.default_rng((options.seed, 2))
    world = draw_world(options)
    songs = [f"SO{number:05d}" for number in range(len(world.moods))]
    artists = [f"AR{number:04d}" for number in range(len(world.artists))]
    plays = draw_plays(world, rng)
    _write_table(folder / "plays.tsv", "user_id\tsong_id\tplays", [(f"u{u:04d}", songs[s], n) for u, s, n in plays])
    language = _write_words(folder, artists, world, rng)
    shown = names(language, world.artist_of.tolist(), np.random.default_rng((options.seed, 4)))
    clipless = len(songs) - 1
    _write_clips(folder, songs[:clipless], world, options)
    lines = []
    for number, artist in enumerate(world.artist_of.tolist()):
        file = f"clips/{songs[number]}.flac" if number != clipless else ""
        lines.append((songs[number], artists[artist], *shown[number], file))
    _write_table(folder / "songs.tsv", "song_id\tartist_id\ttitle\tartist\taudio", lines)
    mark_synthetic(folder)
    return {"songs": len(songs), "artists": len(artists), "users": options.users, "pairs of user and song": len(plays)}


def _write_table(path: Path, header: str, rows: Sequence[tuple[object, ...]]) -> None:
    with replacing(path, "w") as file:
        file.write(header + "\n")
        file.writelines("\t".join(map(str, row)) + "\n" for row in rows)


def _write_words(folder: Path, artists: list[str], world: World, rng: np.random.Generator) -> Language:
    language = draw_language(GENRES, rng)
    (folder / "biographies").mkdir(parents=True, exist_ok=True)
    tag_rows, entity_rows = [], []
    for number, (artist, genres) in enumerate(zip(artists, world.artists, strict=True)):
        text = biography(language, genres, rng)
        if number != 3:  # the artist without a file
            (folder / "biographies" / f"{artist}.txt").write_text(text if number != 2 else "", "utf-8")
        tag_rows += [(artist, tag, count) for tag, count in tags(language, genres, rng).items()]
        entity_rows += [(artist, entity) for entity in entities(language, genres, rng)]
    _write_table(folder / "tags.tsv", "artist_id\ttag\tcount", tag_rows)
    _write_table(folder / "entities.tsv", "artist_id\tentity", entity_rows)
    return language


def _write_clips(folder: Path, songs: list[str], world: World, options: SampleOptions) -> None:
    import soundfile

    (folder / "clips").mkdir(parents=True, exist_ok=True)
    strongest = world.artists.argmax(axis=1)[world.artist_of]

    def write(number: int) -> None:
        rng = np.random.default_rng((options.seed, 3, number))
        wave = clip(int(strongest[number]), world.moods[number], options.seconds, rng)
        if number in (5, 11):
            wave = np.zeros_like(wave)  # silence
        elif number == 17:
            wave = wave[: RATE // 100]  # shorter than a frame
        content = io.BytesIO()  # libsndfile does not tell that a disk is full
        soundfile.write(content, wave, RATE, format="FLAC", subtype="PCM_S8")
        (folder / "clips" / f"{songs[number]}.flac").write_bytes(content.getvalue())

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(len(songs))))


def main(options: SampleOptions) -> dict[str, object]:
    """Write a small synthetic music collection: plays, biographies, tags, entities and clips."""
    started = time.perf_counter()
    counts = write_sample(options.out, options)
    seconds = round(time.perf_counter() - started, 1)
    console.say(f"{options.out}: synthetic, {', '.join(f'{n:,} {name}' for name, n in counts.items())} ({seconds} s)")
    return {"folder": str(options.out), **counts, "seconds": seconds}


if __name__ == "__main__":
    run_script(main, SampleOptions)
