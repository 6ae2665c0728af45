"""Real music, made-up listeners: POP909's MIDI files with users whose taste depends on what one hears in them.

POP909 (Wang et al., ISMIR 2020; https://github.com/music-x-lab/POP909-Dataset, MIT licence) has no listeners. So this
script draws some, writes their play counts in the Taste Profile's format, and makes a dataset of them by
``seer/preprocess.py --from-midi``. It is marked synthetic. As only MIDI tells what the listeners hear, a model that
predicts ratings of songs it was never trained on must have learnt from the music.

Three features of the first 500 steps (see FEATURES) are ranked over the songs and mapped to a normal distribution: z_s.
With g a direction that all users share, w_u the taste of a user (both of length 1), and e standard normal noise:

    appeal_s  = sqrt(0.8) g.z_s + sqrt(0.2) e_s                 what makes a song popular, 80 % of it audible
    rating_us = 3 + 0.3 e_u + 0.8 appeal_s + 0.8 w_u.z_s + 0.4 e_us     rounded to 1..5

A user plays 25 to 40 songs, drawn without replacement with weights exp(0.4 appeal_s + 0.4 w_u.z_s); a song that nobody
drew is given to its best match. The play count is drawn among those that the paper turns into that rating.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.command import run_script
from common.options import OptionalPath, UserError, require
from common.sources import mark_synthetic
from seer.midi import MAX_BYTES, read_note_ons, steps_of
from seer.preprocess import PreprocessOptions
from seer.preprocess import main as preprocess
from seer.tables import read_table

Floats = NDArray[np.float64]
HEARD_STEPS = 500
SONGS_PER_USER = (25, 40)
FEATURES = {
    "register": "mean note of the notes that start",
    "loudness": "mean velocity",
    "dynamics": "standard deviation of the velocity",
}
"""What the listeners hear: whether music is high or low, loud or soft, even or full of contrast. A part of a song lets
one hear much of it: a ridge regression on means and standard deviations of steps 270 to 300 explains 62, 82 and 71 % of
the variance of the three in other songs, on those of steps 0 to 30 it explains 44, 65 and 45 %."""


@dataclass(frozen=True)
class Options:
    """Options of this script."""

    midi: Path
    """POP909's MIDI files, named by number (001.mid): a folder, or a zip of one."""
    out: Path
    """Folder for the dataset. The sources made for it are written beside it, to <out>-sources."""
    index: OptionalPath = None
    """POP909's index as CSV (song_id, name, artist), for the titles. Default: titles are numbers."""
    users: int = 600
    """Listeners."""
    seed: int = 909
    """Seed of everything random; the same seed gives the same files."""


def heard_features(path: Path) -> list[float]:
    """The FEATURES of one song, from the steps that a model with --sequence-length 500 reads."""
    steps, _ = steps_of(read_note_ons(path))
    notes, velocities = (steps[:HEARD_STEPS, part::2].astype(np.float64) for part in (0, 1))  # (steps, channels)
    starts = velocities > 0
    require(bool(starts.any()), f"{path}: no note starts in its first {HEARD_STEPS} steps")
    note, velocity = notes[starts], velocities[starts]
    return [note.mean(), velocity.mean(), velocity.std()]


def standardised(features: Floats) -> Floats:
    """Normal scores of each column of (songs, features): outliers weigh little."""
    from scipy.stats import norm, rankdata

    return norm.ppf((rankdata(features, axis=0) - 0.5) / len(features))


def draw_plays(z: Floats, users: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Floats]:
    """Draw who plays what how often: (plays, 3) of user, song, count; and the noiseless rating of each."""
    songs, features = z.shape

    def direction(*shape: int) -> Floats:
        vectors = rng.standard_normal((*shape, features))
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    shared = z @ direction()
    appeal = np.sqrt(0.8) * shared + np.sqrt(0.2) * rng.standard_normal(songs)
    taste = direction(users) @ z.T  # (users, songs)
    expected = 3 + 0.3 * rng.standard_normal((users, 1)) + 0.8 * appeal + 0.8 * taste
    ratings = np.clip(np.round(expected + 0.4 * rng.standard_normal(expected.shape)), 1, 5).astype(np.int64)
    # Gumbel noise: the largest keys are a draw without replacement with these weights.
    keys = 0.4 * appeal + 0.4 * taste + rng.gumbel(size=expected.shape)
    place = np.argsort(np.argsort(-keys, axis=1), axis=1)
    low, high = SONGS_PER_USER
    chosen = place < rng.integers(low, high + 1, size=(users, 1))
    unheard = np.flatnonzero(~chosen.any(axis=0))
    chosen[np.argmax(keys[:, unheard], axis=0), unheard] = True  # every song has a listener
    user, song = np.nonzero(chosen)
    rating = ratings[user, song]
    counts = np.where(rating == 4, rng.integers(4, 6, rating.size), rating)
    counts = np.where(rating == 5, 5 + rng.geometric(0.3, rating.size), counts)
    order = rng.permutation(rating.size)
    return np.stack([user, song, counts], axis=1)[order], expected[user, song][order]


def find_midi(midi: Path, folder: Path) -> list[Path]:
    """The files 001.mid, 002.mid, ... below ``midi``, in order; those of a zip are unpacked into ``folder``."""
    if midi.is_dir():
        return sorted(path for path in midi.rglob("*.mid") if path.stem.isdigit())
    try:
        with zipfile.ZipFile(midi) as archive:
            members = {PurePosixPath(m.filename).name: m for m in archive.infolist() if m.filename.endswith(".mid")}
            members = {name: m for name, m in members.items() if name[:-4].isdigit() and m.file_size <= MAX_BYTES}
            folder.mkdir(parents=True, exist_ok=True)
            for name, member in members.items():
                (folder / name).write_bytes(archive.read(member))
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"--midi {midi}: {error}; expected a folder, or a zip, of MIDI files") from error
    return [folder / name for name in sorted(members)]


def write_sources(options: Options, folder: Path) -> Path:
    """Write the play counts and tables into ``folder``; returns the folder that the mapping is relative to."""
    folder.mkdir(parents=True, exist_ok=True)
    files = find_midi(options.midi, folder / "midi")
    require(len(files) > 0, f"--midi {options.midi}: has no file named like 001.mid")
    root = options.midi if options.midi.is_dir() else folder / "midi"
    ids = [f"POP909_{path.stem}" for path in files]
    names: dict[str, tuple[str, str]] = {}
    if options.index is not None:
        index = read_table(options.index, "song_id", "name", "artist").columns
        names = dict(zip(index["song_id"], zip(index["name"], index["artist"], strict=True), strict=True))
    titles = [names.get(path.stem, (f"POP909 {path.stem}", "unknown")) for path in files]
    songs = pd.DataFrame({"song_id": ids, "title": [t for t, _ in titles], "artist_name": [a for _, a in titles]})
    songs.assign(release="POP909", year=0).to_csv(folder / "songs.csv", index=False)
    relative = [path.relative_to(root).as_posix() for path in files]
    pd.DataFrame({"song_id": ids, "file": relative}).to_csv(folder / "mapping.csv", index=False)

    features = np.array([heard_features(path) for path in files])
    pd.DataFrame(features, columns=list(FEATURES)).assign(song_id=ids).to_csv(folder / "features.csv", index=False)
    rng = np.random.default_rng(options.seed)
    plays, expected = draw_plays(standardised(features), options.users, rng)
    users = [rng.bytes(20).hex() for _ in range(options.users)]
    with (folder / "triplets.txt").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{users[user]}\t{ids[song]}\t{count}\n" for user, song, count in plays.tolist())
    mark_synthetic(folder, "Real songs (POP909), rated by users who do not exist.")
    rated = np.searchsorted((1, 2, 3, 4, 6), plays[:, 2], side="right")
    best = np.sqrt(np.mean((rated - np.clip(expected, 1, 5)) ** 2))
    print(f"Ratings: standard deviation {rated.std():.3f}; from the truth without its noise, RMSE {best:.3f}.")
    return root


def main(options: Options) -> dict[str, Any]:
    """Make a dataset of POP909's real music and made-up listeners who hear it."""
    sources = options.out.with_name(f"{options.out.name}-sources")
    root = write_sources(options, sources)
    table, plays, mapping = (sources / name for name in ("songs.csv", "triplets.txt", "mapping.csv"))
    return preprocess(PreprocessOptions(root, plays, table, options.out, mapping))


if __name__ == "__main__":
    run_script(main, Options)
