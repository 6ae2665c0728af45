"""One numbering of the tracks of many logs, made and used in tasks, so that no log need be in memory for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd.logs import LogPart
from common.mssd.tasks import Tally, Tasks, add_tallies, save_array


def number_tracks(parts: Sequence[LogPart], tasks: Tasks, folder: Path) -> NDArray[np.bytes_]:
    """Number the tracks of all ``parts`` from 0 in the order in which they come; returns their ids.

    From then on :func:`track_numbers` knows them.

    Args:
        folder: an empty folder for the lists.
    """
    stems = [folder / f"{number:06}" for number in range(len(parts))]
    tasks.map(_list_tracks, list(zip(parts, stems, strict=True)))
    ids: NDArray[np.bytes_] = add_tallies(tasks, stems).keys
    order = np.argsort(ids)
    save_array(folder / "sorted.npy", ids[order])
    save_array(folder / "order.npy", order.astype(np.int32))
    tasks.map(_number_part, [(part, folder) for part in parts])
    return ids


def track_numbers(part: LogPart) -> NDArray[np.int32]:
    """(tracks of the part,) the numbers of the tracks."""
    numbers: NDArray[np.int32] = np.load(part.folder / "numbers.npy")
    return numbers


def _list_tracks(part: LogPart, stem: Path) -> None:
    ids = np.load(part.folder / "track_ids.npy")
    Tally(ids, np.zeros(len(ids), np.int64)).save(stem)


def _number_part(part: LogPart, folder: Path) -> None:
    ids = np.load(folder / "sorted.npy", mmap_mode="r")
    places = np.searchsorted(ids, np.load(part.folder / "track_ids.npy").astype(ids.dtype))
    save_array(part.folder / "numbers.npy", np.load(folder / "order.npy", mmap_mode="r")[places])
