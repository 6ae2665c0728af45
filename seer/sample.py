"""A small synthetic dataset in SeER's released formats, so that everything runs without the real files.

The songs are composed: six styles that differ in instruments, register, tempo, scale, rhythm and loudness.
Each song has an energy that can be heard (loudness, busy melody, tempo) and makes a part of its appeal. Users
love one or two styles. So popularity, personal taste and the content of the MIDI each carry information, as
in the real data; every name and number here is invented.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import filecmp
import json
import os
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from common import console
from common.command import run_script
from common.options import UserError, reason_of, require
from common.sources import mark_synthetic
from seer.midi import midi_to_array
from seer.sample_music import STYLES, compose, encode_midi

USERS, SONGS, STEPS = 400, 150, 600
RATINGS_PER_USER = (30, 40)
"""Fewest and most songs that a user rates."""


def write_sample(folder: Path, seed: int = 7) -> None:
    """Write the synthetic dataset into ``folder``: the released files of SeER and ``midi/<song number>.mid``.

    The same seed gives the same bytes. The folder appears only when it is complete. If it is there already
    with the very same content, it stays: two runs may write the sample at the same moment.

    Files: ``triplets.txt`` (user song rating), ``midi_array.zip`` (per song 600 steps of 32 numbers, flat),
    ``Time_array.zip`` (microseconds of each step, zeros at the end), ``song_information.csv``,
    ``song_to_number_matching.csv``, ``user_to_number_matching.csv``.

    Raises:
        UserError: ``folder`` holds something else, or cannot be written.
    """
    folder = folder.resolve()
    # One dot in front, also of a folder that is hidden itself: so replacing_folder removes what a kill leaves.
    beside = folder.parent / f".{folder.name.lstrip('.')}.{os.getpid()}.part"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "midi").mkdir(parents=True)
        _write_files(beside, np.random.default_rng(seed))
        mark_synthetic(beside)
        try:
            beside.rename(folder)
        except OSError:
            names = [str(path.relative_to(beside)) for path in beside.rglob("*") if path.is_file()]
            equal = filecmp.cmpfiles(beside, folder, names, shallow=False)[0] if folder.is_dir() else []
            message = f"{folder}: already there with other content; remove it or choose another folder"
            require(len(equal) == len(names), message)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the sample there ({reason_of(error)})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_files(folder: Path, rng: np.random.Generator) -> None:
    style_of = rng.permutation(SONGS) % len(STYLES)
    energy = rng.random(SONGS)
    steps = np.zeros((SONGS, STEPS, 32), dtype=np.uint8)
    times = np.zeros((SONGS, STEPS))
    duration = np.zeros(SONGS)
    for song in range(SONGS):
        midi = compose(STYLES[style_of[song]], energy[song], rng)
        (folder / "midi" / f"{song}.mid").write_bytes(encode_midi(midi))
        rows, stamps = midi_to_array(midi)
        kept = min(len(rows), STEPS)
        steps[song, :kept] = rows[:kept]
        times[song, :kept] = np.round(stamps[:kept], 1)
        duration[song] = round(midi.get_end_time() + rng.uniform(0.2, 2.0), 5)
    _write_zip(folder / "midi_array.zip", "midi_array.txt", steps.reshape(SONGS, -1).tolist())
    _write_zip(folder / "Time_array.zip", "time_array.txt", times.tolist())

    ratings = _draw_ratings(style_of, energy, rng)
    with (folder / "triplets.txt").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{user} {song} {rating}\n" for user, song, rating in ratings.tolist())

    song_ids = _draw_ids(rng)
    names = [STYLES[style].name for style in style_of]
    by = rng.choice(("Ensemble", 'and the "Oscillators"', "Sœurs & Frères", "Trio, Quartet & Co"), SONGS)
    year = np.where(rng.random(SONGS) < 0.28, 0, rng.integers(1960, 2011, SONGS))  # 0 is unknown
    album = rng.integers(1, 9, SONGS)
    information = pd.DataFrame(
        {
            "song_id": song_ids,
            "artist_name": [f"The Synthetic {names[i]} {by[i]}" for i in range(SONGS)],
            "title": [f"{names[i]} No. {i}{', été' if i % 7 == 0 else ''}" for i in range(SONGS)],
            "release": [f"{names[i]} Album {album[i]}" for i in range(SONGS)],
            "year": year,
            "duration": duration,
        }
    )
    information = information.iloc[rng.permutation(SONGS)].reset_index(drop=True)
    _write_csv(folder / "song_information.csv", information)
    songs = pd.DataFrame({"song_id": song_ids, "number": np.arange(SONGS)})
    _write_csv(folder / "song_to_number_matching.csv", songs)
    users = pd.DataFrame({"user_id": [rng.bytes(20).hex() for _ in range(USERS)], "number": np.arange(USERS)})
    _write_csv(folder / "user_to_number_matching.csv", users)


def _draw_ratings(style_of: np.ndarray, energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw who rates what and how: int64, shape (ratings, 3) of user, song, rating 1..5, in random order."""
    # Appeal has mean 0 and variance 1; the energy that the MIDI shows makes 60 % of it.
    appeal = np.sqrt(0.6 * 12) * (energy - 0.5) + np.sqrt(0.4) * rng.standard_normal(SONGS)
    affinity = rng.uniform(-1.0, -0.4, size=(USERS, len(STYLES)))
    for likes in affinity:
        loved = rng.choice(len(STYLES), size=rng.integers(1, 3), replace=False)
        likes[loved] = rng.uniform(0.8, 1.5, size=len(loved))
    taste = affinity[:, style_of]
    latent = 2.7 + 0.45 * rng.standard_normal((USERS, 1)) + taste + 0.5 * appeal
    rating = np.clip(np.round(latent + 0.45 * rng.standard_normal(latent.shape)), 1, 5).astype(np.int64)

    # Gumbel noise: the largest keys are a draw without replacement with weights exp(1.1 appeal + 0.8 taste).
    keys = 1.1 * appeal + 0.8 * taste + rng.gumbel(size=latent.shape)
    place = np.argsort(np.argsort(-keys, axis=1), axis=1)
    low, high = RATINGS_PER_USER
    chosen = place < rng.integers(low, high + 1, size=(USERS, 1))
    unheard = np.flatnonzero(~chosen.any(axis=0))
    chosen[np.argmax(keys[:, unheard], axis=0), unheard] = True  # every song occurs, as in the released data
    user, song = np.nonzero(chosen)
    return rng.permutation(np.stack([user, song, rating[user, song]], axis=1))


def _draw_ids(rng: np.random.Generator) -> list[str]:
    """Sorted song ids that look like the Million Song Dataset's; the X at their end occurs in no real one."""
    ids: set[str] = set()
    while len(ids) < SONGS:
        letters = "".join(chr(65 + int(i)) for i in rng.integers(0, 26, size=5))
        ids.add(f"SO{letters}12A{int(rng.integers(16**7)):07X}X")
    return sorted(ids)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, encoding="utf-8", lineterminator="\n")


def _write_zip(path: Path, name: str, content: object) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # a fixed date: same content, same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, json.dumps(content))


@dataclass(frozen=True)
class SampleOptions:
    """Options of seer/sample.py."""

    out: Path
    """Folder to write; it must not hold anything else."""
    seed: int = 7
    """Seed of the songs, users and ratings; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")


def main(options: SampleOptions) -> dict[str, object]:
    """Write a small synthetic dataset in the released formats of SeER."""
    started = time.perf_counter()
    write_sample(options.out, options.seed)
    ratings = (options.out / "triplets.txt").read_bytes().count(b"\n")
    seconds = round(time.perf_counter() - started, 1)
    console.say(f"{options.out}: synthetic, {USERS} users, {SONGS} songs, {ratings} ratings ({seconds} s)")
    facts = {"users": USERS, "songs": SONGS, "ratings": ratings, "seconds": seconds}
    return {"folder": str(options.out), **facts}


if __name__ == "__main__":
    run_script(main, SampleOptions)
