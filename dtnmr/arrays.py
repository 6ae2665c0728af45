"""The prepared arrays of KKBOX, and how they become :class:`KkboxData` again; a run keeps a copy of its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.arrays import DAMAGE, META, Array, ArraySet, open_set, seal
from common.options import write_json
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData, Points, Rows

TEXTS = "texts.json"
_ROWS = {"song_bits": "songs", "user_bits": "users", "songs_played": "playlists", "behaviours": "playlists"}
"""Lists, and of what there is one each."""
_POINTS = ("train", "validation", "test")
_IN_TEXTS = ("song_ids", "user_ids", "values")
_IN_META = ("longest_length", "released", "counts", "longest_history")
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
    fields |= {name: texts[name] for name in _IN_TEXTS} | {name: found.meta[name] for name in _IN_META}
    return KkboxData(**fields, fingerprint=found.address)


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


def _texts_fit(data: KkboxData) -> bool:
    """Whether all that is JSON is of the types it should be."""
    lists = [data.song_ids, data.user_ids, *data.values.values()]
    return (
        (data.songs, data.users) == (len(data.lengths), len(data.user_bits))
        and set(data.values) == {*SONG_FEATURES, *USER_FEATURES, "behaviour"}
        and all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists)
        and all(type(number) is int for number in data.counts.values())
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
