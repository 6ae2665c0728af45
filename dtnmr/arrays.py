"""Prepared arrays of KKBOX on the disk, and how they become :class:`KkboxData` again; a run keeps a copy of its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import DAMAGE, META, Array, ArraySet, open_set, seal
from common.folders import replacing_folder
from common.options import UserError, require, write_json
from common.rundir import read_run
from common.vocabulary import digest, trained_vocabulary
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData, Points, Rows

TEXTS = "texts.json"
FOLDER = "data"
"""Of the copy in the folder of a run."""
_ROWS = {"song_bits": "songs", "user_bits": "users", "songs_played": "playlists", "behaviours": "playlists"}
"""Lists, and of what there is one each."""
_POINTS = ("train", "validation", "test")
_IN_TEXTS = ("song_ids", "user_ids", "values", "titles")
_IN_META = ("longest_length", "released", "counts", "longest_history", "notes", "tables")
ARRAYS = (
    *(Array(f"{name}_indptr", np.int64, (f"{of}+1",), 0) for name, of in _ROWS.items()),
    *(Array(f"{name}_values", np.int32, (f"{name}_indptr[-1]",), -1) for name in _ROWS),
    *(Array(f"{name}_playlists", np.int32, (name,), 0, "playlists") for name in _POINTS),
    *(Array(f"{name}_positions", np.int32, (name,), 0) for name in _POINTS),
    Array("lengths", np.float32, ("songs",), -np.inf),
    Array("plays", np.int64, ("songs",), 0),
    Array("owners", np.int32, ("playlists",), 0, "users"),
    Array("trained", np.int32, ("playlists",), 0),
)
FILES = {META, TEXTS, *(f"{array.name}.npy" for array in ARRAYS)}
"""Names of all files of a folder of prepared arrays."""


def save(data: KkboxData, folder: Path) -> dict[str, Any]:
    """Write ``data`` into the empty ``folder``; returns what else is to be known of them."""
    for name in ("lengths", "owners", "trained", "plays"):
        np.save(folder / f"{name}.npy", getattr(data, name))
    for name in (*_ROWS, *_POINTS):
        for part, array in vars(getattr(data, name)).items():
            np.save(folder / f"{name}_{part}.npy", array)
    write_json(folder / TEXTS, {name: getattr(data, name) for name in _IN_TEXTS})
    return {name: getattr(data, name) for name in _IN_META}


def opened(found: ArraySet) -> KkboxData:
    """The data of a set. Their fingerprint is its address: it covers the files and the options.

    Raises:
        LookupError, TypeError: its JSON is of another kind.
    """
    texts = found.json(TEXTS)
    fields: dict[str, Any] = {name: found.arrays[name] for name in ("lengths", "owners", "trained", "plays")}
    for kind, names in ((Rows, _ROWS), (Points, _POINTS)):
        for name in names:
            fields[name] = kind(*(found.arrays[f"{name}_{part.name}"] for part in dataclasses.fields(kind)))
    fields |= {name: texts[name] for name in _IN_TEXTS if name in texts}  # version 0.1 had no titles there
    fields |= {name: found.meta[name] for name in _IN_META if name in found.meta}
    return KkboxData(**fields, fingerprint=found.address)


def digest_of_arrays(data: KkboxData) -> str:
    """SHA-256 (hex) of all that ``data`` hold: the fingerprint of data that are made of no files."""
    found = hashlib.sha256(json.dumps([getattr(data, name) for name in (*_IN_TEXTS, *_IN_META)]).encode())
    for name in ("lengths", "owners", "trained", "plays", *_ROWS, *_POINTS):
        part = getattr(data, name)
        for array in vars(part).values() if name in (*_ROWS, *_POINTS) else (part,):
            found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def keep(data: KkboxData, folder: Path) -> None:
    """Write a copy of ``data`` into the empty ``folder`` of a run."""
    seal(folder, data.fingerprint, save(data, folder))


def load(folder: Path, fingerprint: str) -> KkboxData | None:
    """Open the copy of a run, every value of which is looked at; None if it is missing, damaged or another one's."""
    try:
        found = open_set(folder, fingerprint, ARRAYS, distrust=True)
        data = opened(found) if found else None
        return data if data and _texts_fit(data) and _numbers_fit(data) else None
    except DAMAGE:
        return None


def columns(data: KkboxData) -> list[str]:
    """What every column of a song's, a user's and a behaviour's encoding stands for: weights fit these alone."""
    return [f"{name}: {value}" for name in (*SONG_FEATURES, *USER_FEATURES, "behaviour") for value in data.values[name]]


def save_data(folder: Path, data: KkboxData) -> None:
    """Write ``data`` into the folder of a run, unless they are there."""
    target = folder / FOLDER
    if load(target, data.fingerprint) is None:
        with replacing_folder(target, lambda path: load(path, data.fingerprint) is not None) as beside:
            keep(data, beside)


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


def _texts_fit(data: KkboxData) -> bool:
    """Whether all that is JSON is of the types it should be."""
    lists = [data.song_ids, data.user_ids, *data.values.values()]
    return (
        (data.songs, data.users) == (len(data.lengths), len(data.user_bits))
        and set(data.values) == {*SONG_FEATURES, *USER_FEATURES, "behaviour"}
        and all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists)
        and all(type(number) is int for number in data.counts.values())
        and isinstance(data.titles, dict)
        and all(isinstance(text, str) for text in (*data.titles.values(), *data.notes))
        and -float("inf") < data.longest_length < float("inf")
        and data.longest_length != 0
        and type(data.longest_history) is int
        and data.longest_history >= 1
    )


def _numbers_fit(data: KkboxData) -> bool:
    """Whether every number points at something: one that does not could read memory that is none of the arrays'."""
    playlists, lengths = len(data.owners), data.songs_played.lengths
    rows = [getattr(data, name) for name in _ROWS]
    bounds: list[tuple[NDArray[Any], float, Any]] = [
        (data.song_bits.values, 0, data.song_width),
        (data.user_bits.values, 0, data.user_width),
        (data.songs_played.values, 0, data.songs),
        (data.behaviours.values, -1, len(data.values["behaviour"])),
        (data.owners, 0, data.users),
        (data.trained, 0, lengths + 1),
        (data.plays, 0, np.inf),
        (data.lengths, -np.inf, np.inf),  # released: a length below 0 is taken as it is
    ]
    for points in (getattr(data, name) for name in _POINTS):
        bounds += [(points.playlists, 0, playlists), (points.positions, 0, lengths[points.playlists])]
    return (
        all(one.indptr[0] == 0 and bool((one.lengths >= 0).all()) for one in rows)
        and np.array_equal(data.songs_played.indptr, data.behaviours.indptr)
        and all(bool(((array >= low) & (array < high)).all()) for array, low, high in bounds)
    )
