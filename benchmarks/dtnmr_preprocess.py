"""How fast csv files of KKBOX's size are prepared for DTNMR, and in how much memory.

Run ``python benchmarks/dtnmr_preprocess.py --rows 7377418 --folder data/kkbox_full``: it writes synthetic files with
as many plays, users and songs, in proportion, as the released ones have (1.5 GB; kept in ``--folder`` for the next
time), prepares them by both protocols in processes of their own, and prints what each took.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from measuring import measure, measure_command, recording
from numpy.typing import NDArray

from common.command import run_script
from common.folders import replacing_folder
from common.options import PROJECT, OptionalPath, replacing, require
from common.sources import MARKER, mark_synthetic

TRAIN_ROWS, TEST_ROWS = 7_377_418, 2_556_790
USERS, LISTED_SONGS, TRAIN_SONGS, TEST_SONGS = 34_403, 2_296_320, 359_966, 59_873
"""Of the released files: users, songs with an entry, songs played in train.csv, and those only in test.csv."""
BLOCK = 200_000
TABS = (
    "my library,Local playlist more,local-library",
    "discover,Online playlist more,online-playlist",
    "search,,album",
)


@dataclass(frozen=True)
class BenchmarkOptions:
    """Options of this benchmark."""

    rows: int = 1_000_000
    """Rows of train.csv; everything else in proportion to the released 7,377,418."""
    folder: OptionalPath = None
    """Folder to keep the files in; those written there before with as many rows are used again. Default: none is
    kept."""

    def __post_init__(self) -> None:
        require(self.rows >= 10_000, f"--rows is {self.rows}; it must be 10,000 or more")


def main(options: BenchmarkOptions) -> dict[str, Any]:
    """Measure dtnmr/preprocess.py on synthetic csv files."""
    require(sys.platform == "linux", "this benchmark measures memory as Linux does")
    with tempfile.TemporaryDirectory() as scratch:
        raw = (options.folder or Path(scratch)) / f"kkbox-{options.rows}"
        if not (raw / MARKER).is_file():
            with replacing_folder(raw, lambda folder: (folder / MARKER).is_file()) as beside:
                written = measure(lambda: write_files(beside, options.rows))
            print(f"Written in {written.best:.1f} s")
        size = sum(path.stat().st_size for path in raw.iterdir())
        print(f"{options.rows:,} training plays, {size / 1e9:.2f} GB of text, {os.cpu_count()} cores")
        found: dict[str, Any] = {"rows": options.rows, "bytes": size}
        for protocol in ("corrected", "released"):
            cache = Path(scratch) / protocol
            command = [sys.executable, str(PROJECT / "dtnmr/preprocess.py"), "--db", str(raw), "--cache", str(cache)]
            taken, again = (measure_command([*command, "--protocol", protocol], silent=True) for _ in range(2))
            meta = json.loads((cache / "meta.json").read_text("utf-8"))["meta"]
            found[protocol] = asdict(taken) | {"second_start_seconds": again.seconds}
            arrays = sum(path.stat().st_size for path in cache.iterdir()) / 1e6
            print(
                f"{protocol}: prepared in {taken.seconds:.1f} s ({taken.processor_seconds:.1f} s of processor time), "
                f"peak {taken.peak_megabytes:,.0f} MB; {arrays:,.0f} MB of arrays; a second start, which compares the "
                f"files with those that the arrays were made of, takes {again.seconds:.1f} s. "
                f"{meta['counts']['train: plays']:,} plays read."
            )
        return found


def write_files(folder: Path, rows: int) -> None:
    """Write train.csv, test.csv, songs.csv and members.csv; the same ``rows`` give the same bytes."""
    rng = np.random.default_rng(rows)
    share = rows / TRAIN_ROWS
    users, songs = (_ids(max(100, round(share * count)), rng) for count in (USERS, LISTED_SONGS))
    played, new = round(share * TRAIN_SONGS), round(share * TEST_SONGS)
    weights = 1 / (np.arange(played + new) + 30.0) ** 0.85
    activity = np.exp(1.2 * rng.standard_normal(len(users)))
    for name, count, pool in (("train", rows, played), ("test", round(share * TEST_ROWS), played + new)):
        pairs = _pairs(count, activity, weights[:pool], rng)
        tabs = rng.integers(0, len(TABS), count)
        with replacing(folder / f"{name}.csv", "w") as file:
            head = "msno,song_id,source_system_tab,source_screen_name,source_type"
            file.write(f"{head},target\n" if name == "train" else f"id,{head}\n")
            for first in range(0, count, BLOCK):
                block = slice(first, first + BLOCK)
                plays = zip(*(part[block].tolist() for part in (*divmod(pairs, pool), tabs)), strict=True)
                lines = (f"{users[user]},{songs[song]},{TABS[tab]}" for user, song, tab in plays)
                file.writelines(_train_lines(lines) if name == "train" else _test_lines(lines, first))
    _write_members(folder / "members.csv", users, rng)
    _write_songs(folder / "songs.csv", [songs[place] for place in rng.permutation(len(songs))], rng)
    mark_synthetic(folder, "Written by a benchmark of Encore.")


def _train_lines(lines: Iterable[str]) -> Iterator[str]:
    return (f"{line},{number % 2}\n" for number, line in enumerate(lines))


def _test_lines(lines: Iterable[str], first: int) -> Iterator[str]:
    return (f"{number},{line}\n" for number, line in enumerate(lines, start=first))


def _ids(count: int, rng: np.random.Generator) -> list[str]:
    text = base64.b64encode(rng.bytes(33 * count)).decode()
    return [f"{text[44 * place : 44 * place + 43]}=" for place in range(count)]


def _pairs(
    count: int, activity: NDArray[np.float64], weights: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """``count`` different pairs, user x songs + song, in random order."""
    found = np.empty(0, np.int64)
    while len(found) < count:
        drawn = [
            np.searchsorted(np.cumsum(part), rng.random(count) * part.sum()).clip(max=len(part) - 1)
            for part in (activity, weights)
        ]
        found = np.unique(np.concatenate([found, drawn[0] * len(weights) + drawn[1]]))
    return rng.permutation(found)[:count]


def _write_members(path: Path, ids: list[str], rng: np.random.Generator) -> None:
    ages = np.where(rng.random(len(ids)) < 0.58, 0, rng.integers(10, 65, len(ids))).tolist()
    with replacing(path, "w") as file:
        file.write("msno,city,bd,gender,registered_via,registration_init_time,expiration_date\n")
        genders = ("", "male", "female")
        file.writelines(
            f"{user},{1 + place % 22},{age},{genders[place % 3]},7,20110820,20170920\n"
            for place, (user, age) in enumerate(zip(ids, ages, strict=True))
        )


def _write_songs(path: Path, ids: list[str], rng: np.random.Generator) -> None:
    count = len(ids)
    lengths = rng.integers(100_000, 400_000, count).tolist()
    artists = (rng.random(count) ** 2 * count / 10).astype(int).tolist()
    with replacing(path, "w") as file:
        file.write("song_id,song_length,genre_ids,artist_name,composer,lyricist,language\n")
        for place, (song, length, artist) in enumerate(zip(ids, lengths, artists, strict=True)):
            genre = f"{300 + place % 190}" if place % 7 else f"{300 + place % 190}|{500 + place % 11}"
            name = f'"Band {artist}, The"' if artist % 50 == 0 else f"Band Number {artist}"
            composer = "" if place % 3 == 0 else f"Writer {artist}| Writer {artist // 3}"
            file.write(f"{song},{length},{genre},{name},{composer},,{place % 10}.0\n")


if __name__ == "__main__":
    run_script(recording(main, __file__), BenchmarkOptions)
