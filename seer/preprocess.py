"""Turn the released files of SeER into arrays that load in an instant, and check every value on the way.

The released arrays are JSON text of some 3 GB. They are read row by row (a row is a song), in bounded
memory, and written once as ``.npy`` files, which are memory-mapped from then on.

With ``--from-midi`` the released files are made first, from MIDI files, play counts and song metadata.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro
from numpy.typing import NDArray

from common import console
from common.arrays import Array, ArraySet, Recipe, array_set
from common.command import run_script
from common.console import counted
from common.options import OptionalPath, UserError, require, write_json
from common.row_counts import RowCounts, tell_preparation
from common.sources import Dataset, dataset_folder, find_file, sample_dataset
from seer.building.from_midi import FromMidiOptions, build_dataset
from seer.json_arrays import CHANNELS, convert_midi, convert_times
from seer.json_arrays import Array as Midi
from seer.tables import check_users, read_song_information, read_triplets

VERSION = 2
"""Of the prepared arrays; raise it when other arrays are made of the same files."""
REQUIRED: dict[str, tuple[str, ...]] = {
    "triplets": ("triplets.txt",),
    "midi": ("midi_array.txt", "midi_array.zip"),
    "times": ("time_array.txt", "time_array.zip"),
    "information": ("song_information.csv",),
    "matching": ("song_to_number_matching.csv",),
}
"""The released files and the names that each may have (upper and lower case being the same)."""
USERS = "user_to_number_matching.csv"
SONGS = "songs.json"
ARRAYS = (
    Array("users", np.int32, ("ratings",), 0),
    Array("songs", np.int32, ("ratings",), 0, "songs"),
    Array("ratings", np.float32, ("ratings",), 1, 6),
    Array("times", np.float64, ("songs", "steps"), 0),
    Array("midi", (np.uint8, np.float32), ("songs", "steps", 2 * CHANNELS), 0, 128),
)


@dataclass(frozen=True)
class Ratings:
    """Ratings as three arrays of the same length: user ids, song numbers, ratings 1..5."""

    users: np.ndarray
    songs: np.ndarray
    values: np.ndarray

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: np.ndarray | slice) -> Ratings:
        return Ratings(self.users[rows], self.songs[rows], self.values[rows])


NONE = Ratings(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Split:
    """Ratings to train on, to choose the epoch by (empty in the released protocol), and to test on."""

    train: Ratings
    validation: Ratings
    test: Ratings


def split_of(ratings: Ratings, protocol: str, seed: int) -> Split:
    """The protocol's split."""
    return released_split(ratings) if protocol == "released" else corrected_split(ratings, seed)


def released_split(ratings: Ratings) -> Split:
    """The released split: a fifth of the rows at random (scikit-learn, random_state 1) is the test set.

    The order of the training rows is the released one too: of several ratings of a pair the first gives the place and
    the last the value, as in the sparse matrix through which the released code passes them.
    """
    from sklearn.model_selection import train_test_split  # which takes a second

    count = counted(len(ratings), "rating")
    require(len(ratings) >= 2, f"{count} cannot be split into training and test; expected 2 or more")
    train, test = train_test_split(np.arange(len(ratings)), test_size=0.2, random_state=1)
    rows = ratings[train]
    pair = rows.users.astype(np.int64) * (int(ratings.songs.max()) + 1) + rows.songs
    _, first = np.unique(pair, return_index=True)
    _, last = np.unique(pair[::-1], return_index=True)
    values = np.empty_like(rows.values)
    values[first] = rows.values[::-1][last]  # both in the order of the distinct pairs
    first = np.sort(first)
    kept = Ratings(rows.users[first], rows.songs[first], values[first])
    return Split(kept, ratings[:0], ratings[test])


def corrected_split(ratings: Ratings, seed: int, share: float = 0.1) -> Split:
    """The released test set, and ``share`` of the released training rows, drawn by ``seed``, for validation."""
    split = released_split(ratings)
    train, validation = held_out(split.train, seed, share)
    return Split(train, validation, split.test)


def held_out(ratings: Ratings, seed: int, share: float = 0.1) -> tuple[Ratings, Ratings]:
    """Ratings to train on, and ``share`` of them, drawn by ``seed``, to choose the epoch by."""
    require(len(ratings) >= 2, f"too few ratings for training and validation: {len(ratings)}; expected 2 or more")
    order = np.random.default_rng(seed).permutation(len(ratings))
    count = max(1, round(share * len(order)))
    return ratings[np.sort(order[count:])], ratings[np.sort(order[:count])]


@dataclass(frozen=True)
class SeerData:
    """The dataset of SeER: who rated which song how, and what the songs sound like."""

    midi: Midi
    """(songs, steps, 32) uint8, or float32 if a value has a fraction; memory-mapped. Each step has 16 times
    note and velocity, both 0..127; zeros pad the end."""
    times: NDArray[np.float64]
    """(songs, steps), memory-mapped: microseconds from the song's start to each step; zeros pad the end."""
    users: NDArray[np.int32]
    """(ratings,) user number of each rating, in the order of the file."""
    songs: NDArray[np.int32]
    """(ratings,) song number of each rating."""
    ratings: NDArray[np.float32]
    """(ratings,) 1..5."""
    song_information: pd.DataFrame
    """By song number: song_id, artist_name, title, release, year (0 is unknown), duration (seconds)."""
    fingerprint: str
    """SHA-256 of all arrays and texts: the same for the same data, whether they came as text or as zip."""
    num_users: int
    """Users, numbered from 0."""
    rows: dict[str, Any] = field(default_factory=dict)
    """Rows of each file, used and left out; see :meth:`common.row_counts.RowCounts.as_json`."""
    notes: list[str] = field(default_factory=list)
    """What was recognised in the files, a sentence each."""
    split: Split = field(default_factory=lambda: Split(NONE, NONE, NONE))
    """The ratings by what they are for."""
    user_ids: tuple[str, ...] | None = None
    """By user number; None where users have numbers only."""

    @property
    def all_ratings(self) -> Ratings:
        """All of them, however they are split."""
        return Ratings(self.users, self.songs, self.ratings)

    @property
    def num_songs(self) -> int:
        """Songs, numbered from 0."""
        return self.midi.shape[0]

    @property
    def num_steps(self) -> int:
        """Time steps that each song is padded or cut to."""
        return self.midi.shape[1]


def select_channels(midi: Midi, channels: int) -> Midi:
    """The first ``channels`` MIDI channels of each step: a view of (..., 2 * channels) of ``midi`` (..., 32).

    The released code (``num_channels``) keeps the same columns.

    Raises:
        UserError: ``channels`` is not 1..16.
    """
    require(1 <= channels <= CHANNELS, f"number of channels is {channels}; it must lie in 1..{CHANNELS}")
    return midi[..., : 2 * channels]


def load_dataset(data_dir: Path | None) -> tuple[Dataset, SeerData]:
    """The user's dataset, else the released one, else the sample; see :func:`common.sources.dataset_folder`.

    Raises:
        UserError: as there, or as :func:`prepare`.
    """
    from seer.sample import write_sample  # which needs half of this paper

    dataset = dataset_folder("seer", data_dir, list(REQUIRED.values()), write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared)


def load_sample() -> tuple[Dataset, SeerData]:
    """The synthetic sample, written on first use."""
    from seer.sample import write_sample

    dataset = sample_dataset("seer", list(REQUIRED.values()), write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared)


def prepare(raw: Path, prepared: Path) -> SeerData:
    """The arrays of the released files in ``raw``, made once.

    Args:
        prepared: folder of the sets of arrays (:mod:`common.arrays`).

    Raises:
        UserError: a released file is missing or wrong (the message names the file, the line or row, and what
            was expected), or ``prepared`` cannot be written. No set is half-written.
    """
    sources = _find_sources(raw)
    found = array_set(prepared, Recipe("seer", VERSION, sources, {}, lambda folder: _convert(sources, folder), ARRAYS))
    return _opened(found)


def _find_sources(raw: Path) -> dict[str, Path]:
    sources = {}
    for role, names in REQUIRED.items():
        path = find_file(raw, *names)
        if path is None:
            raise UserError(f"{raw / names[0]}: no such file; data/README.md says where to get it")
        sources[role] = path
    users = find_file(raw, USERS)  # the released code never reads it
    return sources | ({"users": users} if users else {})


def _opened(found: ArraySet) -> SeerData:
    columns: dict[str, Any] = found.json(SONGS)
    information = pd.DataFrame(columns, index=pd.RangeIndex(len(columns["song_id"]), name="number"))
    return SeerData(
        midi=found.arrays["midi"],
        times=found.arrays["times"],
        users=np.array(found.arrays["users"]),
        songs=np.array(found.arrays["songs"]),
        ratings=np.array(found.arrays["ratings"]),
        song_information=information,
        fingerprint=found.fingerprint,
        num_users=found.meta["users"],
        rows=found.meta["rows"],
    )


def _convert(sources: dict[str, Path], folder: Path) -> dict[str, Any]:
    users, songs, ratings = read_triplets(sources["triplets"])
    num_users, num_songs = int(users.max()) + 1, int(songs.max()) + 1
    counts = RowCounts()
    counts.add_file(sources["triplets"], len(ratings))
    if "users" in sources:
        check_users(sources["users"], num_users, counts)
    information = read_song_information(sources["information"], sources["matching"], num_songs, counts)
    counts.parts["ratings"] = {"users": num_users, "songs": num_songs, "ratings": len(ratings)}
    again = len(ratings) - len(np.unique(users.astype(np.int64) * num_songs + songs))
    if again:
        counts.parts["ratings"]["of a song that the user rated before"] = again
        console.notify(
            f"warning: {sources['triplets']}: {counted(again, 'line')} {'rates' if again == 1 else 'rate'} a song "
            "that the user rated before; all are used, so that one may be learned and the other tested"
        )
    for name, values in (("users", users), ("songs", songs), ("ratings", ratings)):
        np.save(folder / f"{name}.npy", values)
    write_json(folder / SONGS, information.to_dict("list"))
    steps = convert_times(sources["times"], folder / "times.npy", num_songs)
    convert_midi(sources["midi"], folder / "midi.npy", num_songs, steps)
    sizes = {"users": num_users, "songs": num_songs, "ratings": len(ratings), "steps": steps}
    return sizes | {"rows": counts.as_json()}


@dataclass(frozen=True)
class PreprocessOptions(FromMidiOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with the dataset in the released formats. Default: the released files below data/seer, else the
    synthetic sample, which is written on first use."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: rows of each file, used and left out by reason, and what they became."""

    def __post_init__(self) -> None:
        super().__post_init__()
        both = self.from_midi is not None and self.data_dir is not None
        require(not both, "--data-dir reads a dataset and --from-midi makes a new one in --out; give one of them")


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Check the released files of SeER and turn them into memory-mapped arrays.

    With --from-midi they are made first, from MIDI files, play counts and song metadata.
    """
    started = time.perf_counter()
    conversion = build_dataset(options) if options.from_midi is not None else None
    folder = options.data_dir if conversion is None else options.out
    dataset, data = load_dataset(folder)
    seconds = time.perf_counter() - started
    histogram = {star: int(np.count_nonzero(data.ratings == star)) for star in range(1, 6)}
    counts = RowCounts.of_json(data.rows)
    if conversion is not None:
        made_of = RowCounts.of_json(conversion["rows"])
        made_of.append(counts)
        made_of.parts, counts = counts.parts, made_of
    tell_preparation(
        f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}: "
        f"{counted(len(data.ratings), 'rating')} by {counted(data.num_users, 'user')} of "
        f"{counted(data.num_songs, 'song')}; "
        f"{', '.join(f'{count:,} x {star}' for star, count in histogram.items())}. "
        f"{counted(data.num_steps, 'step')} of {CHANNELS} channels per song, as {data.midi.dtype}. "
        f"Prepared in {dataset.prepared} in {seconds:.1f} s.",
        counts,
        as_json=options.json,
    )
    return {
        "dataset": dataclasses.asdict(dataset),
        "users": data.num_users,
        "songs": data.num_songs,
        "ratings": len(data.ratings),
        "steps": data.num_steps,
        "rating_histogram": histogram,
        "rows": counts.as_json(),
        "fingerprint": data.fingerprint,
        "seconds": seconds,
        **({} if conversion is None else {"conversion": conversion}),
    }


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
