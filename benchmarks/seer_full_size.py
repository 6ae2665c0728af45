"""How long SeER's released files take to prepare at their full size, and in how much memory.

Run ``python benchmarks/seer_full_size.py --folder DIR``: it writes made-up files of the released size
and formats into DIR (about 3.5 GB, once), converts them in a process of its own and prints what that took.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measuring import measure, measure_command, recording
from numpy.typing import NDArray

from common.command import run_script
from common.folders import replacing_folder
from common.options import PROJECT, require
from common.sources import MARKER, dataset_folder, missing_files
from seer.json_arrays import FEATURES
from seer.preprocess import REQUIRED

USERS, SONGS, STEPS, RATINGS = 32_180, 6_442, 5_000, 941_044
"""The sizes of the released data set."""
FEWEST = 20
"""Ratings that each user has at least."""
STYLES = 6
"""Latent kinds of music: they shape the notes of a song and the taste of a user."""
PHRASES = 400
"""Different time steps that the songs of one style are put together from."""


def write_full_size(folder: Path, seed: int = 1) -> None:
    """Write made-up files of the released size and formats into ``folder`` (about 3.5 GB; marked synthetic).

    A song belongs to one of six styles and has a loudness. The style sets its register, scale and channels; a
    rating depends on how much the user likes the style and on the loudness; popularity has a long tail.
    """
    rng = np.random.default_rng(seed)
    style = rng.integers(0, STYLES, SONGS)
    loudness = rng.random(SONGS)
    names = ["triplets.txt", "midi_array.txt", "time_array.txt"]
    with replacing_folder(folder, _complete) as beside:
        (beside / MARKER).write_text("Made-up data of the released size; no real users or songs.\n")
        (beside / names[0]).write_bytes(_triplets(style, loudness, rng))
        steps = np.clip(rng.lognormal(np.log(2_600), 0.6, SONGS), 200, STEPS).astype(int)
        seconds = steps * rng.uniform(0.06, 0.12, SONGS)
        _write_rows(beside / names[1], _songs(style, loudness, steps, rng))
        _write_rows(beside / names[2], _times(steps, seconds, rng))
        _write_tables(beside, seconds, rng)


def _triplets(style: NDArray[np.int64], loudness: NDArray[np.float64], rng: np.random.Generator) -> bytes:
    """All ratings as text: every song and user occurs, every user at least FEWEST times, no pair twice."""
    popularity = (rng.permutation(SONGS) + 60.0) ** -0.8
    taste = rng.normal(0, 1, (USERS, STYLES))
    # The surplus over the fewest ratings has a long tail; all together are exactly RATINGS.
    weight = rng.lognormal(0, 1, USERS)
    surplus = np.minimum(weight / weight.sum() * (RATINGS - FEWEST * USERS), 1_500).astype(int)
    rest = RATINGS - FEWEST * USERS - int(surplus.sum())
    surplus += rest // USERS + (rng.permutation(USERS) < rest % USERS)
    parts = []
    for start in range(0, USERS, 1_000):
        users = np.arange(start, min(start + 1_000, USERS))
        # Largest noisy weights (Gumbel) = drawing without replacement in proportion to the weights.
        chance = np.log(popularity) + 0.5 * taste[users][:, style] + rng.gumbel(size=(users.size, SONGS))
        order = np.argsort(-chance, axis=1)[:, : FEWEST + int(surplus[users].max())]
        chosen = np.arange(order.shape[1]) < (FEWEST + surplus[users])[:, None]
        parts.append(np.stack([np.repeat(users, chosen.sum(1)), order[chosen]], axis=1))
    user, song = np.concatenate(parts).T
    assert len(user) == RATINGS and np.unique(song).size == SONGS
    liking = 2.4 + 0.9 * taste[user, style[song]] + 1.2 * (loudness[song] - 0.5) + rng.normal(0, 0.8, RATINGS)
    rating = np.clip(np.rint(liking), 1, 5).astype(int)
    shuffled = np.stack([user, song, rating], axis=1)[rng.permutation(RATINGS)]
    return b"".join(b"%d %d %d\n" % tuple(row) for row in shuffled.tolist())


def _songs(
    style: NDArray[np.int64],
    loudness: NDArray[np.float64],
    steps: NDArray[np.int64],
    rng: np.random.Generator,
) -> Iterator[bytes]:
    """The row of each song: steps of its style, whose text is made once for each degree of loudness."""
    degrees = 8
    texts = []
    for kind in range(STYLES):
        scale = np.sort(rng.choice(12, 6, replace=False))
        channels = rng.choice(16, 6, replace=False)
        steps_of_kind = np.zeros((PHRASES, 16, 2), int)
        for phrase in steps_of_kind:
            used = rng.choice(channels, rng.integers(1, 5), replace=False)
            phrase[used, 0] = 36 + 6 * kind + 12 * rng.integers(0, 3, used.size) + rng.choice(scale, used.size)
            phrase[used, 1] = rng.integers(20, 60, used.size)
        for degree in range(degrees):
            louder = steps_of_kind.copy()
            louder[:, :, 1] += (louder[:, :, 1] > 0) * degree * 9
            texts.append([json.dumps(phrase)[1:-1].encode() for phrase in louder.reshape(-1, FEATURES).tolist()])
    silence = json.dumps([0] * FEATURES)[1:-1].encode()
    for song in range(SONGS):
        known = texts[style[song] * degrees + int(loudness[song] * degrees)]
        theme = rng.integers(0, PHRASES, 64)  # a song repeats itself
        played = theme[rng.integers(0, 64, steps[song])].tolist()
        yield (b"[" + b", ".join([*(known[step] for step in played), *[silence] * (STEPS - len(played))]) + b"]")


def _times(steps: NDArray[np.int64], seconds: NDArray[np.float64], rng: np.random.Generator) -> Iterator[bytes]:
    for count, duration in zip(steps.tolist(), seconds.tolist(), strict=True):
        times = np.zeros(STEPS)
        times[1:count] = np.cumsum(rng.exponential(duration / count * 1e6, count - 1) + 0.1).round(1)
        yield json.dumps(times.tolist()).encode()


def _write_rows(path: Path, rows: Iterator[bytes]) -> None:
    with path.open("wb") as file:
        for begin, row in zip(itertools.chain([b"["], itertools.repeat(b", ")), rows, strict=False):
            file.write(begin)
            file.write(row)
        file.write(b"]")


def _write_tables(folder: Path, seconds: NDArray[np.float64], rng: np.random.Generator) -> None:
    songs = [f"SO{number:08d}FULLSIZE" for number in range(SONGS)]
    matching = "".join(f"{number},{song},{number}\n" for number, song in enumerate(songs))
    (folder / "song_to_number_matching.csv").write_text(",song_id,number\n" + matching)
    lines = [
        f"{row},{songs[song]},Artist {song % 1_500},Title {song},Release {song % 4_000},"
        f"{rng.integers(1960, 2011) if song % 4 else 0},{seconds[song]:.5f}\n"
        for row, song in enumerate(rng.permutation(SONGS).tolist())
    ]
    header = ",song_id,artist_name,title,release,year,duration\n"
    (folder / "song_information.csv").write_text(header + "".join(lines))
    users = "".join(f"{number},{number * 7919:040x},{number}\n" for number in range(USERS))
    (folder / "user_to_number_matching.csv").write_text(",user_id,number\n" + users)


def _complete(folder: Path) -> bool:
    return (folder / MARKER).is_file() and not missing_files(folder, list(REQUIRED.values()))


@dataclass(frozen=True)
class FullSizeOptions:
    """Options of this benchmark."""

    folder: Path
    """Folder of the made-up files; written if it does not exist (3.5 GB). The prepared arrays (1.3 GB)
    go below data/, or below the folder in the environment variable ENCORE_DATA."""


def main(options: FullSizeOptions) -> dict[str, float]:
    """Measure the conversion of SeER's files at their full size."""
    if not _complete(options.folder):
        require(not options.folder.exists(), f"--folder {options.folder}: exists, and is not of this benchmark")
        # In a process of its own, so that its memory is not taken for that of the conversion.
        writer = multiprocessing.get_context("spawn").Process(target=write_full_size, args=(options.folder,))

        def write() -> None:
            writer.start()
            writer.join()

        writing = measure(write)
        require(writer.exitcode == 0, f"{options.folder}: could not be written, see above")
        print(f"written in {writing.best:.0f} s")
    dataset = dataset_folder("seer", options.folder, list(REQUIRED.values()), write_full_size)
    require(dataset.synthetic, f"--folder {options.folder}: holds real data")
    if dataset.prepared.exists():
        shutil.rmtree(dataset.prepared)
    command = [sys.executable, str(PROJECT / "seer/preprocess.py"), "--data-dir", str(options.folder)]
    taken, again = measure_command(command), measure_command(command)
    seconds, megabytes, loading = taken.seconds, taken.peak_megabytes, again.seconds
    numbers = SONGS * STEPS * FEATURES
    result = {
        "conversion_seconds": round(seconds, 1),
        "numbers_per_second": round(numbers / seconds),
        "peak_memory_megabytes": round(megabytes),
        "second_start_seconds": round(loading, 1),
    }
    text = sum(path.stat().st_size for path in options.folder.iterdir() if path.is_file())
    print(
        f"{SONGS:,} songs x {STEPS * FEATURES:,} numbers, {text / 1e9:.2f} GB of text: "
        f"{seconds:.1f} s on {os.cpu_count()} cores, {numbers / seconds / 1e6:.1f} million numbers/s, "
        f"peak memory {megabytes:.0f} MB; a second start takes {loading:.1f} s"
    )
    return result


if __name__ == "__main__":
    run_script(recording(main, __file__), FullSizeOptions)
