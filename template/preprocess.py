"""Raw plays -> checked, numbered and split pairs of user and song."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import tyro

from common.arrays import digests
from common.options import OptionalPath, require, run_script
from common.row_counts import RowCounts, tell_preparation
from common.sources import Dataset, dataset_folder
from common.tables import Column, open_table
from template.sample import write_sample

FILE = "plays.csv"
PAPER = Path(__file__).parent.name
Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of users and of songs, (n,) each."""


@dataclass(frozen=True, eq=False)
class PlayData:
    """Who played what; no pair is both in ``train`` and in ``test``."""

    user_ids: list[str]
    song_ids: list[str]
    train: Pairs
    test: Pairs
    fingerprint: str
    rows: RowCounts
    """What became of the rows of the file."""


def load_dataset(data_dir: Path | None) -> tuple[Dataset, PlayData]:
    """The user's dataset, else the released one, else the sample; see :func:`common.sources.dataset_folder`.

    Raises:
        UserError: as there, or as :func:`read_plays`.
    """
    dataset = dataset_folder(PAPER, data_dir, [FILE], write_sample)
    return dataset, read_plays(dataset.raw / FILE)


def read_plays(path: Path) -> PlayData:
    """Read a file of plays; every fifth song of a user, drawn once and for all, is for the test.

    A file that takes long to read is prepared once instead, as :mod:`gru4rec.preprocess` does.

    Raises:
        UserError: a line is not a user and a song, or too few plays are left.
    """
    counts = RowCounts()
    with open_table(path, {"user": Column("id"), "song": Column("id")}) as table:
        require(table.rows > 0, f"{path}: has no plays; expected lines of user,song below the names of the columns")
        counts.add(table)
        plays = table.frame().drop_duplicates()
        counts.leave_out(path, "pairs that are there already", table.rows - len(plays))
    users, user_ids = pd.factorize(plays["user"], sort=True)
    songs, song_ids = pd.factorize(plays["song"], sort=True)
    drawn = np.random.default_rng(0).permutation(len(plays))  # the same split whatever --seed is
    place = pd.Series(users[drawn]).groupby(users[drawn]).cumcount().to_numpy()
    held = np.zeros(len(plays), bool)
    held[drawn[place % 5 == 4]] = True
    require(bool(held.any()), f"{path}: no user has five songs; nothing is left to test on")
    parts = [(users[rows].astype(np.int32), songs[rows].astype(np.int32)) for rows in (~held, held)]
    counts.parts = {name: {"pairs": len(part[0])} for name, part in zip(("train", "test"), parts, strict=True)}
    return PlayData(list(user_ids), list(song_ids), parts[0], parts[1], digests({FILE: path}, None)[FILE], counts)


@dataclass(frozen=True)
class PreprocessOptions:
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with plays.csv. Default: the released file, else the synthetic sample, which is written on first use."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: rows of the file, used and left out by reason, and what is in each part."""


def main(options: PreprocessOptions) -> PlayData:
    """Check a file of plays and say what is in it."""
    dataset, data = load_dataset(options.data_dir)
    parts = f"{len(data.train[0]):,} pairs to train, {len(data.test[0]):,} to test"
    summary = f"{dataset.name}: {len(data.user_ids):,} users, {len(data.song_ids):,} songs, {parts}"
    tell_preparation(summary, data.rows, tested=len(data.test[0]), as_json=options.json)
    return data


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
