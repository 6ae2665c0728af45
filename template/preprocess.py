"""Raw plays -> checked, numbered and split pairs of user and song."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import tyro

from common.arrays import DAMAGE
from common.command import run_script
from common.options import OptionalPath, UserError, require, write_json
from common.row_counts import RowCounts, tell_preparation
from common.sources import Dataset, dataset_folder
from common.tables import Column, open_table
from common.vocabulary import digest
from template.sample import write_sample

FILE = "plays.csv"
KEPT = "plays.json"
PAPER = Path(__file__).parent.name
Pairs = tuple[np.ndarray, np.ndarray]
"""Numbers of users and of songs, (n,) each."""
NO_PAIRS: Pairs = (np.zeros(0, np.int32), np.zeros(0, np.int32))


@dataclass(frozen=True, eq=False)
class PlayData:
    """Who played what; no pair is both in ``train`` and in ``test``."""

    user_ids: list[str]
    song_ids: list[str]
    train: Pairs
    test: Pairs
    fingerprint: str
    rows: dict[str, Any]
    """What became of the rows of the file; see :meth:`common.row_counts.RowCounts.as_json`."""
    notes: list[str]
    """What was recognised in it."""


def load_dataset(data_dir: Path | None) -> tuple[Dataset, PlayData]:
    """The user's dataset, else the released one, else the sample; see :func:`common.sources.dataset_folder`.

    Raises:
        UserError: as there, or as :func:`split_of`.
    """
    dataset = dataset_folder(PAPER, data_dir, [FILE], write_sample)
    return dataset, split_of(dataset.raw / FILE)


def read_plays(source: Any) -> tuple[pd.DataFrame, RowCounts, list[str]]:
    """Distinct pairs of user and song, what became of the rows of a file or data frame, and what was recognised.

    A file that takes long to read is prepared once instead, as :mod:`gru4rec.preprocess` does.

    Raises:
        UserError: a line is not a user and a song, or there is none.
    """
    counts, song = RowCounts(), ("song", "item", "song_id", "item_id")
    with open_table(
        source, {"user": Column("id", names=("user", "user_id")), "song": Column("id", names=song)}
    ) as table:
        name = table.files[0].name
        require(table.rows > 0, f"{name}: has no plays; expected lines of user,song below the names of the columns")
        counts.add(table)
        plays = table.frame().drop_duplicates()
        counts.leave_out(name, "pairs that are there already", table.rows - len(plays))
        return plays, counts, list(table.notes)


def split_of(source: Any) -> PlayData:
    """Plays of which every fifth song of a user, drawn once and for all, is for the test.

    Raises:
        UserError: as :func:`read_plays`, or too few plays are left.
    """
    found = all_of(source)
    users, songs = found.train
    drawn = np.random.default_rng(0).permutation(len(users))  # the same split whatever --seed is
    place = pd.Series(users[drawn]).groupby(users[drawn]).cumcount().to_numpy()
    held = np.zeros(len(users), bool)
    held[drawn[place % 5 == 4]] = True
    require(bool(held.any()), f"{source}: no user has five songs; nothing is left to test on")
    return _told(replace(found, train=(users[~held], songs[~held]), test=(users[held], songs[held])))


def all_of(source: Any) -> PlayData:
    """Plays that are all for training."""
    plays, counts, notes = read_plays(source)
    users, user_ids = pd.factorize(plays["user"], sort=True)
    songs, song_ids = pd.factorize(plays["song"], sort=True)
    train = (users.astype(np.int32), songs.astype(np.int32))
    return _told(PlayData(list(user_ids), list(song_ids), train, NO_PAIRS, "", counts.as_json(), notes))


def tested_on(data: PlayData, source: Any) -> PlayData:
    """The data with other plays as their test part, but for users, songs and pairs that are no test of the model.

    Raises:
        UserError: as :func:`read_plays`.
    """
    plays, counts, notes = read_plays(source)
    columns = ((data.user_ids, plays["user"]), (data.song_ids, plays["song"]))
    users, songs = (pd.Index(known).get_indexer(pd.Index(column)).astype(np.int32) for known, column in columns)
    known = (users >= 0) & (songs >= 0)
    places, played = (user.astype(np.int64) * len(data.song_ids) + song for user, song in ((users, songs), data.train))
    new = known & ~np.isin(places, played)
    table = next(iter(counts.rows))
    counts.leave_out(table, "users or songs unknown in training", int((~known).sum()))
    counts.leave_out(table, "pairs known from training", int((known & ~new).sum()))
    return replace(data, test=(users[new], songs[new]), rows=counts.as_json(), notes=notes)


def _told(data: PlayData) -> PlayData:
    """The data with their fingerprint and the sizes of their parts."""
    parts = {name: {"pairs": len(part[0])} for name, part in (("train", data.train), ("test", data.test))}
    print_of = digest(
        [*data.user_ids, "", *data.song_ids, *(part.tobytes().hex() for part in (*data.train, *data.test))]
    )
    return replace(data, fingerprint=print_of, rows=data.rows | {"parts": parts})


def write_kept(folder: Path, data: PlayData) -> None:
    """Keep what a model learnt from beside its weights."""
    write_json(folder / KEPT, data)


def read_kept(folder: Path) -> PlayData:
    """What a model learnt from.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        found = json.loads((folder / KEPT).read_text("utf-8"))
        parts = {name: tuple(np.array(of, np.int32) for of in found[name]) for name in ("train", "test")}
        data = PlayData(**(found | parts))
        whole = _told(data).fingerprint == data.fingerprint
    except DAMAGE as error:
        raise UserError(f"{folder / KEPT}: cannot be read ({error}); it must lie beside the weights of a run") from None
    require(whole, f"{folder / KEPT}: is not as it was written; restore the run's own file")
    return data


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
    counts = RowCounts.of_json(data.rows)
    tell_preparation(summary, counts, data.notes, len(data.test[0]), as_json=options.json)
    return data


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
