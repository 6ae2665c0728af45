"""Turn session files into arrays that load in an instant: MSSD logs, SessionId/ItemId/Time tables, RSC15 clicks.

The events are filtered as in the official GRU4Rec code (Hidasi et al.), split by time (the test sessions are the
newest), and numbered by item. The arrays are written once as ``.npy`` files, which are memory-mapped from then on.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import dataclasses
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from common import console
from common.arrays import Array, ArraySet, Recipe, array_set
from common.command import run_script
from common.console import counted
from common.mssd.files import FEATURES, find_released
from common.options import OptionalPath, UserError, require
from common.row_counts import RowCounts, tell_preparation
from common.sessions import Sessions
from common.sources import Dataset, data_root, dataset_folder, sample_dataset
from gru4rec.options import ENGINE_OPTIONS, DataOptions, Kind, SessionFiles, expected_files, find_session_files
from gru4rec.out_of_core import build_out_of_core
from gru4rec.sessions import (
    ARRAYS,
    PARTS,
    Built,
    build_from,
    build_in_memory,
    parts_of_tables,
    read_events,
    unknown_items,
)

VERSION = 2
"""Of the prepared arrays; raise it when other arrays are made of the same files."""
DECLARED = (
    *(
        array
        for part in PARTS
        for array in (
            Array(f"{part}_offsets", np.int64, (f"{part}+1",), 0),
            Array(f"{part}_items", np.int32, (f"{part}_offsets[-1]",), 0, "items"),
            Array(f"{part}_starts", np.float64, (part,)),
        )
    ),
    Array("item_ids", "S", ("items",)),
    Array("support", np.int64, ("items",), 0),
    Array("features", np.float32, ("items", len(FEATURES)), -np.inf, optional=True),
)


@dataclass(frozen=True)
class SessionData:
    """Sessions to train on, to choose by and to test on, all of the items of the training sessions.

    The arrays are memory-mapped, for reading only.
    """

    train: Sessions
    validation: Sessions
    """May be empty."""
    test: Sessions
    item_ids: list[str]
    """(items,) ids in the files by item number: in the order in which the training events first name them."""
    support: NDArray[np.int64]
    """(items,) training events of each item."""
    features: NDArray[np.float32] | None
    """(items, 29): 28 numbers of mean 0 and variance 1 over the training tracks, and last the mode, 0 (minor) or 1
    (major). None where the files hold no features."""
    feature_names: list[str]
    """(29,), or empty without features."""
    kind: Kind
    """What the files were."""
    dropped: dict[str, int]
    """Events that each step dropped."""
    fingerprint: str
    """SHA-256 of all arrays: the same for the same sessions, however the files were packed."""
    rows: dict[str, Any] = field(default_factory=dict)
    """Rows of each file, used and left out; see :meth:`common.row_counts.RowCounts.as_json`."""
    notes: list[str] = field(default_factory=list)
    """What was recognised in the files, a sentence each."""
    session_ids: frozenset[str] = frozenset()
    """Of tables in memory or single files: the ids of the sessions that are learnt from, or chosen by."""


def prepare(raw: Path, prepared: Path, options: DataOptions | None = None) -> SessionData:
    """The arrays of the files in ``raw`` and of the options, made once.

    Args:
        prepared: folder of the sets of arrays (:mod:`common.arrays`).

    Raises:
        UserError: no file is found, a file is wrong (the message names the file, the line and what was expected),
            the filters leave nothing, or ``prepared`` cannot be written. No set is half-written.
    """
    options = options or DataOptions()
    files = find_session_files(raw, options)
    if files is None:
        raise UserError(f"{raw}: holds no {expected_files(options)}; data/README.md says where to get the files")
    completed = options.completed_for(files.kind)
    depends = {name: value for name, value in dataclasses.asdict(completed).items() if name not in ENGINE_OPTIONS}
    recipe = Recipe(
        name="gru4rec",
        version=VERSION,
        files={os.path.relpath(path, raw): path for path in (*files.events, *files.others)},
        options=depends | {"kind": files.kind},
        make=lambda folder: _write(files, completed, folder),
        arrays=DECLARED,
    )
    return _opened(array_set(prepared, recipe))


def prepare_tables(train: Any, validation: Any, options: DataOptions) -> SessionData:
    """The sessions of tables, all of which are learnt from: there is no test part; see :func:`prepare`.

    Args:
        train: a table, see :func:`gru4rec.sessions.read_events`.
        validation: a table to choose the best epoch by; None: what the options split off.

    Raises:
        UserError: as :func:`prepare`.
    """
    completed = options.completed_for("tsv")
    parts = parts_of_tables(train, validation, completed)
    files = SessionFiles("tsv", tuple(Path(name) for name, _, _ in parts.files))

    def make(folder: Path) -> dict[str, Any]:
        return _written(build_from(parts, files, completed, folder), files, folder)

    with tempfile.TemporaryDirectory(prefix="encore-") as home:
        depends = dataclasses.asdict(completed)
        found = _opened(array_set(Path(home), Recipe("gru4rec", VERSION, {}, depends, make, DECLARED)))
        in_memory = {part: Sessions(*map(np.array, vars(getattr(found, part)).values())) for part in PARTS}
        ids = parts.session_ids
        return dataclasses.replace(found, support=np.array(found.support), session_ids=ids, **in_memory)  # type: ignore[arg-type]


def tested_on(data: SessionData, table: Any, options: DataOptions) -> SessionData:
    """The data with the sessions of another table as their test part; items that training does not know are left out.

    Raises:
        UserError: the table is wrong, or none of its items is known.
    """
    completed = options.completed_for("tsv")
    keys = (completed.session_key, completed.item_key, completed.time_key)
    read = read_events(table, *keys, completed.separating)
    known = {name: number for number, name in enumerate(data.item_ids)}
    numbers = np.array([known.get(name, -1) for name in read.item_ids], np.int32)
    require(
        bool((numbers >= 0).any()),
        f"{read.files[0].name}: none of its {len(numbers):,} items was in the training data: the ids there are such as "
        f"{data.item_ids[0]!r}, here such as {read.item_ids[0]!r}",
    )
    if shared := data.session_ids.intersection(read.session_ids):
        console.notify(
            f"warning: {read.files[0].name}: {len(shared):,} of its {len(read.session_ids):,} sessions, such as "
            f"{min(shared)!r}, were learnt from, too: the figures say little of sessions that are new"
        )
    left = read.events.keep(numbers[read.events.items] >= 0)
    counts = RowCounts()
    for file in read.files:
        counts.add_file(file.name, file.rows, file.blanks)
        of_file = np.ones(file.rows, bool)
        of_file[left.rows[(left.rows >= file.first) & (left.rows < file.first + file.rows)] - file.first] = False
        counts.leave_out(file.name, unknown_items("test"), int(of_file.sum()))
    test = left.renumbered(numbers).sessions()
    counts.parts = {"test": {"sessions": len(test), "events": len(test.items)}}
    return dataclasses.replace(data, test=test, rows=counts.as_json(), notes=list(read.notes))


def _opened(found: ArraySet) -> SessionData:
    parts: dict[str, Any] = {part: Sessions(*(found.arrays[f"{part}_{name}"] for name in ARRAYS)) for part in PARTS}  # type: ignore[arg-type]
    features = found.arrays.get("features")
    return SessionData(
        **parts,
        item_ids=[item.decode() for item in found.arrays["item_ids"].tolist()],
        support=found.arrays["support"],
        features=features,
        feature_names=[] if features is None else list(FEATURES),
        kind=found.meta["kind"],
        dropped=found.meta["dropped"],
        rows=found.meta["rows"],
        notes=found.meta["notes"],
        fingerprint=found.fingerprint,
    )


def build(files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """Make the sessions of files, logs of MSSD out of core, and write their arrays to a folder.

    Raises:
        UserError: a file is wrong, the filters leave no training or test session, or a track has no features.
    """
    return (build_out_of_core if files.kind == "mssd" else build_in_memory)(files, options, folder)


def _write(files: SessionFiles, options: DataOptions, folder: Path) -> dict[str, Any]:
    return _written(build(files, options, folder), files, folder)


def _written(built: Built, files: SessionFiles, folder: Path) -> dict[str, Any]:
    np.save(folder / "item_ids.npy", built.item_ids)
    np.save(folder / "support.npy", built.support)
    if built.features is not None:
        np.save(folder / "features.npy", built.features)
    counts = {"rows": built.counts.as_json(), "notes": built.notes}
    return {"kind": files.kind, "dropped": built.dropped, **counts}


def tested_events(test: Sessions) -> int:
    """The events that are predicted: all but the first of each session."""
    return len(test.items) - len(test)


def load_dataset(data_dir: Path | None, options: DataOptions | None = None) -> tuple[Dataset, SessionData]:
    """Find a dataset and prepare it; the arrays are kept in the folder ``prepared`` of the dataset.

    Args:
        data_dir: the user's folder. None is the released MSSD in ``data/mssd`` or ``data/mssd/released`` (or ``data``
            itself, see :func:`common.mssd.files.find_released`), else the synthetic sample in ``data/mssd/sample``,
            which is written on first use.

    Raises:
        UserError: ``data_dir`` does not hold what ``options`` ask for, or as :func:`prepare`.
    """
    from common.mssd.sample import SAMPLE_FILES, write_sample

    options = options or DataOptions()
    if data_dir is not None:
        require(data_dir.is_dir(), f"--data-dir {data_dir}: no such folder")
        files = find_session_files(data_dir, options)
        if files is None:
            raise UserError(f"--data-dir {data_dir} holds no {expected_files(options)}; see data/README.md")
        dataset = dataset_folder("mssd" if files.kind == "mssd" else "gru4rec", data_dir, [], write_sample)
    else:
        require(options.kind in ("auto", "mssd"), f"--kind {options.kind} needs --data-dir: the folder with its files")
        options = dataclasses.replace(options, kind="mssd")
        found = find_released(data_root())
        dataset = dataset_folder("mssd", found, [] if found else SAMPLE_FILES, write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared, options)


def load_sample(options: DataOptions) -> tuple[Dataset, SessionData]:
    """The synthetic sample, whatever else is there; see :func:`load_dataset`."""
    from common.mssd.sample import SAMPLE_FILES, write_sample

    dataset = sample_dataset("mssd", SAMPLE_FILES, write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared, dataclasses.replace(options, kind="mssd"))


@dataclass(frozen=True)
class PreprocessOptions(DataOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with the session files. Default: the released files of MSSD below data/mssd, else the synthetic sample,
    which is written on first use."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: rows of each file, used and left out by reason, and what is in each part."""


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Check session files, filter and split them by time, and turn them into memory-mapped arrays."""
    started = time.perf_counter()
    chosen = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    dataset, data = load_dataset(options.data_dir, DataOptions(**chosen))
    seconds = time.perf_counter() - started
    counts = RowCounts.of_json(data.rows)
    parts = [
        f"{part} {counted(one['sessions'], 'session')}, {counted(one['events'], 'event')}"
        for part, one in counts.parts.items()
    ]
    name = f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}"
    tell_preparation(
        f"{name}: {'; '.join(parts)}. {len(data.item_ids):,} items, "
        f"{len(data.feature_names) or 'no'} features. Prepared in {dataset.prepared} in {seconds:.1f} s.",
        counts,
        data.notes,
        tested_events(data.test),
        as_json=options.json,
    )
    return {
        "dataset": dataclasses.asdict(dataset),
        "kind": data.kind,
        **counts.parts,
        "items": len(data.item_ids),
        "dropped": data.dropped,
        "rows": data.rows,
        "fingerprint": data.fingerprint,
        "seconds": seconds,
    }


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
