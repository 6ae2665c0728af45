"""The prepared arrays on disk: ``.npy`` files, memory-mapped when read, and JSON for texts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.options import write_json
from common.prepared import fingerprint
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData, Points, Rows

META, TEXTS = "meta.json", "texts.json"
_ARRAYS = ("lengths", "owners", "trained", "plays")
_ROWS = ("song_bits", "user_bits", "songs_played", "behaviours")
_POINTS = ("train", "validation", "test")
_IN_TEXTS = ("song_ids", "user_ids", "values")
_IN_META = ("longest_length", "released", "fingerprint", "counts", "longest_history")
FILES = {
    META,
    TEXTS,
    *(f"{name}.npy" for name in _ARRAYS),
    *(f"{name}_{part}.npy" for name in _ROWS for part in ("indptr", "values")),
    *(f"{name}_{part}.npy" for name in _POINTS for part in ("playlists", "positions")),
}
"""Names of all files of a folder of prepared arrays."""
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, MemoryError),
    *(RecursionError, tokenize.TokenError),  # of nested JSON, and of the header of an .npy file
)


def save(data: KkboxData, state: dict[str, Any], folder: Path) -> None:
    """Write ``data`` into the empty ``folder``; ``state`` says what it was made of."""
    for name in _ARRAYS:
        np.save(folder / f"{name}.npy", getattr(data, name))
    for name in (*_ROWS, *_POINTS):
        for part, array in vars(getattr(data, name)).items():
            np.save(folder / f"{name}_{part}.npy", array)
    write_json(folder / TEXTS, {name: getattr(data, name) for name in _IN_TEXTS})
    meta = {"state": state} | {name: getattr(data, name) for name in _IN_META}
    meta |= {"content": _content(folder)}
    write_json(folder / META, meta | {"seal": digest_of(meta)})


def _content(folder: Path) -> str:
    return fingerprint(folder / name for name in FILES - {META})


def digest_of(described: dict[str, Any]) -> str:
    """SHA-256 (hex) over JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _as_written(folder: Path, meta: dict[str, Any]) -> bool:
    """Whether the files are those that were saved; their times are not asked, as runs keep copies of them."""
    sealed = meta["seal"] == digest_of({name: value for name, value in meta.items() if name != "seal"})
    return bool(sealed and meta["content"] == _content(folder))


def read_state(folder: Path) -> dict[str, Any] | None:
    """What the arrays in ``folder`` were made of; None if it holds none."""
    try:
        state = json.loads((folder / META).read_text("utf-8"))["state"]
    except _DAMAGE:
        return None
    return state if isinstance(state, dict) else None


def load(folder: Path, state: dict[str, Any]) -> KkboxData | None:
    """Open the arrays in ``folder``; None if they are missing, damaged or made of something else than ``state``."""
    if read_state(folder) != state:
        return None
    try:
        meta = json.loads((folder / META).read_text("utf-8"))
        if not _as_written(folder, meta):
            return None
        texts = json.loads((folder / TEXTS).read_text("utf-8"))
        fields: dict[str, Any] = {name: _map(folder / f"{name}.npy") for name in _ARRAYS}
        for kind, names in ((Rows, _ROWS), (Points, _POINTS)):
            for name in names:
                parts = [part.name for part in dataclasses.fields(kind)]
                fields[name] = kind(*(_map(folder / f"{name}_{part}.npy") for part in parts))
        fields |= {name: texts[name] for name in _IN_TEXTS} | {name: meta[name] for name in _IN_META}
        data = KkboxData(**fields)
        return data if _texts_fit(data) and _shapes_fit(data) and _numbers_fit(data) else None
    except _DAMAGE:
        return None


def _map(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r")


def _texts_fit(data: KkboxData) -> bool:
    """Whether all that is JSON is of the types it should be."""
    lists = [data.song_ids, data.user_ids, *data.values.values()]
    return (
        set(data.values) == {*SONG_FEATURES, *USER_FEATURES, "behaviour"}
        and all(isinstance(texts, list) and all(isinstance(text, str) for text in texts) for texts in lists)
        and all(type(number) is int for number in data.counts.values())
        and -float("inf") < data.longest_length < float("inf")
        and data.longest_length != 0
        and type(data.longest_history) is int
        and data.longest_history >= 1
    )


def _shapes_fit(data: KkboxData) -> bool:
    """Whether the arrays have the shapes and types that belong together."""
    playlists = len(data.owners)
    expected: list[tuple[NDArray[Any], tuple[int, ...], type]] = [
        (data.lengths, (data.songs,), np.float32),
        (data.plays, (data.songs,), np.int64),
        (data.owners, (playlists,), np.int32),
        (data.trained, (playlists,), np.int32),
    ]
    counts = {"song_bits": data.songs, "user_bits": data.users, "songs_played": playlists, "behaviours": playlists}
    for name, count in counts.items():
        rows: Rows = getattr(data, name)
        expected += [(rows.indptr, (count + 1,), np.int64), (rows.values, (int(rows.indptr[-1]),), np.int32)]
    for name in _POINTS:
        points: Points = getattr(data, name)
        expected += [(part, (len(points),), np.int32) for part in (points.playlists, points.positions)]
    return all(array.shape == shape and array.dtype == kind for array, shape, kind in expected)


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
