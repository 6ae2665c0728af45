"""What a run keeps beside its weights so that they stay usable: the prepared data, with the order of all columns."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.folders import replacing_folder
from common.options import UserError, require, write_json
from common.row_counts import UNNEEDED, RowCounts
from common.rundir import read_run
from common.sources import find_file
from common.tables import Column, open_table
from common.vocabulary import digest, trained_vocabulary
from dtnmr.arrays import keep, load
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData
from dtnmr.kkbox import EXTRA

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    from dtnmr.model import DTNMR, Architecture

WEIGHTS = "model.weights.h5"
FOLDER, TITLES = "data", "titles.json"
LARGEST = 2**24
"""No size of an architecture is larger."""


def columns(data: KkboxData) -> list[str]:
    """What every column of a song's, a user's and a behaviour's encoding stands for: weights fit these alone."""
    return [f"{name}: {value}" for name in (*SONG_FEATURES, *USER_FEATURES, "behaviour") for value in data.values[name]]


def titles_in(raw: Path, data: KkboxData, counts: RowCounts | None = None) -> dict[str, str] | None:
    """Song id -> title, of the songs of ``data``, if the folder ``raw`` has song_extra_info.csv.

    ``counts`` takes its rows.

    Raises:
        UserError: that file is broken.
    """
    extra = find_file(raw, *EXTRA)
    return None if extra is None else read_titles(extra, set(data.song_ids), data.released, counts)


def save_data(folder: Path, data: KkboxData, titles: dict[str, str] | None = None) -> None:
    """Write ``data`` and what its songs are called into a run directory."""
    target = folder / FOLDER
    if load(target, data.fingerprint) is None:
        with replacing_folder(target, lambda path: load(path, data.fingerprint) is not None) as beside:
            keep(data, beside)
    if titles is not None:
        write_json(folder / TITLES, titles)


def read_data(folder: Path) -> KkboxData:
    """The data that a run was trained on.

    Raises:
        UserError: they are missing, damaged, or of another run.
    """
    facts = read_run(folder).get("dataset")
    require(isinstance(facts, dict), f"{folder / 'options.json'}: not of a training run: it names no dataset")
    data = load(folder / FOLDER, str(facts.get("fingerprint")))  # type: ignore[union-attr]
    if data is None:
        raise UserError(f"{folder / FOLDER}: missing, damaged or of another run; restore the run's own folder")
    require(
        digest(columns(data)) == trained_vocabulary(folder),
        f"{folder / FOLDER}: has other columns than the run was trained on; restore the run's own folder",
    )
    return data


def titles(folder: Path) -> dict[str, str]:
    """song_id -> title, as far as a run knows them."""
    try:
        found = json.loads((folder / TITLES).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{folder / TITLES}: cannot be read ({error}); delete it to do without titles") from None
    require(isinstance(found, dict), f"{folder / TITLES}: holds no titles; delete it to do without")
    return {str(song): str(title) for song, title in found.items()}


def read_titles(file: Path, songs: set[str], exact: bool = False, counts: RowCounts | None = None) -> dict[str, str]:
    """song_id -> title of ``songs``, from song_extra_info.csv (song_id, name, isrc).

    Args:
        exact: take ids as they stand, as of :func:`dtnmr.kkbox.songs_columns`.
        counts: takes the rows of the file; those of other songs are not needed.

    Raises:
        UserError: a column is missing, a row is broken, or the file is damaged.
    """
    song = Column("text" if exact else "id", names=("song_id",), empty=True)
    columns = {"song": song, "name": Column("text", empty=True)}
    with open_table(file, columns, separator=",", multiline=True) as table:
        found = {
            song: title
            for frame in table.chunks()
            for song, title in zip(frame.song.tolist(), frame["name"].tolist(), strict=True)
            if song in songs
        }
        if counts is not None:
            counts.add(table)
            counts.leave_out(file, UNNEEDED, table.rows - len(found))
        return found


def read_architecture(folder: Path, data: KkboxData) -> Architecture:
    """The architecture that the ``options.json`` of a run describes, of a model of ``data``.

    Raises:
        UserError: it is missing, not of a training run of DTNMR, or does not fit ``data``.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from dtnmr.model import Architecture

    file, found = folder / "options.json", read_run(folder).get("architecture")
    expected = {field.name: field.type for field in fields(Architecture)}
    wrong = UserError(f"{file}: not of a training run of dtnmr/train.py: its architecture is {found}")
    if not isinstance(found, dict) or set(found) != set(expected):
        raise wrong
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "Rating": str}
    for name, kind in expected.items():
        value = found[name]
        several = value if isinstance(value, list) and kind not in kinds else [value]
        allowed = kinds.get(str(kind), int)
        fits = all(isinstance(one, allowed) and isinstance(one, bool) == (allowed is bool) for one in several)
        if not fits or any(isinstance(one, int | float) and not 0 <= one <= LARGEST for one in several):
            raise wrong
    try:
        architecture = Architecture(**found | {"mlp": tuple(found["mlp"])})
    except (UserError, TypeError) as error:
        raise UserError(f"{file}: not of a training run of dtnmr/train.py: {error}") from None
    ours = (architecture.song_width, architecture.user_width, architecture.behaviours)
    wanted = (data.song_width, data.user_width, len(data.values["behaviour"]))
    require(ours == wanted, f"{file}: its architecture reads {ours} columns; the run's data have {wanted}")
    return architecture


def load_model(weights: Path, data: KkboxData) -> DTNMR:
    """The model of a finished run, whose other files lie beside ``weights``.

    Raises:
        UserError: a file of the run is missing, damaged or does not fit the others, or its columns are not those of
            ``data``.
    """
    require(
        trained_vocabulary(weights.parent) == digest(columns(data)),
        f"{weights}: was trained on other columns (genres, artists, ages, ...) than this dataset has; use its own "
        "dataset and the options of the data that it was trained with",
    )
    architecture = read_architecture(weights.parent, data)
    require(weights.is_file(), f"{weights}: not there; the run is not finished: continue it with --resume")
    from common.weights import load_own_weights
    from dtnmr.model import DTNMR

    model = DTNMR(architecture)
    load_own_weights(model, weights)
    return model
