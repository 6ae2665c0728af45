"""Turn session files into arrays that load in an instant: MSSD logs, SessionId/ItemId/Time tables, RSC15 clicks.

The events are filtered as in the official GRU4Rec code (Hidasi et al.), split by time (the test sessions are the
newest), and numbered by item. The arrays are written once as ``.npy`` files, which are memory-mapped from then on.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.mssd.files import FEATURES
from common.options import OptionalPath, UserError, require, run_script, write_json
from common.prepared import fingerprint, prepared_arrays, stamps, states_of
from common.sessions import Sessions
from common.sources import Dataset, data_root, dataset_folder
from gru4rec.building import build
from gru4rec.built import ARRAYS, PARTS
from gru4rec.data_options import ENGINE_OPTIONS, DataOptions, Kind, SessionFiles, expected_files, find_session_files

VERSION = 1
"""Of the prepared arrays; arrays of another version are made anew."""


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
    """SHA-256 of the prepared files: the same for the same sessions, however the files were packed."""


def prepare(raw: Path, prepared: Path, options: DataOptions | None = None) -> SessionData:
    """Load the arrays in ``prepared``; make them from the files in ``raw`` if need be.

    They are made anew when a file or an option has changed.

    Raises:
        UserError: no file is found, a file is wrong (the message names the file, the line and what was expected),
            the filters leave nothing, or ``prepared`` cannot be written. Then ``prepared`` is as it was before.
    """
    options = options or DataOptions()
    files = find_session_files(raw, options)
    if files is None:
        raise UserError(f"{raw}: holds no {expected_files(options)}; data/README.md says where to get the files")
    options = options.completed_for(files.kind)
    state = _state(files, options)
    return prepared_arrays(
        prepared,
        lambda folder: _load(folder, state),
        lambda folder: _write(files, options, state, folder),
    )


def _state(files: SessionFiles, options: DataOptions) -> dict[str, Any]:
    """The arrays are out of date once any of it differs: name, size and time of change of each file; an option."""
    return {
        "version": VERSION,
        "sources": states_of((*files.events, *files.others)),
        "options": {name: value for name, value in dataclasses.asdict(options).items() if name not in ENGINE_OPTIONS},
    }


def _load(folder: Path, state: dict[str, Any]) -> SessionData | None:
    """Open the arrays in ``folder``; None if they are missing, damaged or made from other files or options."""
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
        if meta["state"] != state or meta["files"] != stamps(folder):
            return None
        parts = {
            part: Sessions(*(_map(folder / f"{part}_{name}.npy") for name in ARRAYS))  # type: ignore[arg-type]
            for part in PARTS
        }
        features = _map(folder / "features.npy") if meta["features"] else None
        data = SessionData(
            **parts,
            item_ids=[item.decode() for item in np.load(folder / "item_ids.npy").tolist()],
            support=_map(folder / "support.npy"),
            features=features,
            feature_names=list(FEATURES) if meta["features"] else [],
            kind=meta["kind"],
            dropped=meta["dropped"],
            fingerprint=meta["fingerprint"],
        )
        return data if _fits(data) else None
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _fits(data: SessionData) -> bool:
    """Whether the arrays have the shapes and types that belong together; their values are not read."""
    expected: list[tuple[NDArray[Any], tuple[int, ...], type]] = [(data.support, (len(data.item_ids),), np.int64)]
    for part in PARTS:
        sessions = getattr(data, part)
        count, events = len(sessions.offsets) - 1, int(sessions.offsets[-1])
        expected.append((sessions.items, (events,), np.int32))
        expected.append((sessions.offsets, (count + 1,), np.int64))
        expected.append((sessions.starts, (count,), np.float64))
    if data.features is not None:
        expected.append((data.features, (len(data.item_ids), len(FEATURES)), np.float32))
    return all(array.shape == shape and array.dtype == kind for array, shape, kind in expected)


def _map(path: Path) -> NDArray[Any]:
    return np.load(path, mmap_mode="r")


def _write(files: SessionFiles, options: DataOptions, state: dict[str, Any], folder: Path) -> None:
    built = build(files, options, folder)
    np.save(folder / "item_ids.npy", built.item_ids)
    np.save(folder / "support.npy", built.support)
    if built.features is not None:
        np.save(folder / "features.npy", built.features)
    meta = {
        "state": state,
        "files": stamps(folder),
        "kind": files.kind,
        "features": built.features is not None,
        "dropped": built.dropped,
        "fingerprint": fingerprint(folder.glob("*.npy")),
    }
    write_json(folder / "meta.json", meta)


def load_dataset(data_dir: Path | None, options: DataOptions | None = None) -> tuple[Dataset, SessionData]:
    """Find a dataset and prepare it; the arrays are kept in the folder ``prepared/gru4rec`` of the dataset.

    Args:
        data_dir: the user's folder. None is the released MSSD in ``data/mssd`` or ``data/mssd/released``, else the
            synthetic sample in ``data/mssd/sample``, which is written on first use.

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
        home = data_root() / "mssd"
        found = [place for place in (home, home / "released") if find_session_files(place, options)]
        dataset = dataset_folder("mssd", found[0] if found else None, [] if found else SAMPLE_FILES, write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared / "gru4rec", options)


@dataclass(frozen=True)
class PreprocessOptions(DataOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with the session files. Default: the released files of MSSD below data/mssd, else the synthetic sample,
    which is written on first use."""


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Check session files, filter and split them by time, and turn them into memory-mapped arrays."""
    started = time.perf_counter()
    chosen = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    dataset, data = load_dataset(options.data_dir, DataOptions(**chosen))
    seconds = time.perf_counter() - started
    counts = {part: (len(getattr(data, part)), len(getattr(data, part).items)) for part in PARTS}
    dropped = {step: count for step, count in data.dropped.items() if count}
    print(
        f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}: "
        + "; ".join(f"{part} {sessions:,} sessions, {events:,} events" for part, (sessions, events) in counts.items())
        + f". {len(data.item_ids):,} items, {len(data.feature_names) or 'no'} features. "
        + "".join(f"{count:,} events dropped ({step}). " for step, count in dropped.items())
        + f"Prepared in {dataset.prepared / 'gru4rec'} in {seconds:.1f} s."
    )
    return {
        "dataset": dataclasses.asdict(dataset),
        "kind": data.kind,
        **{part: {"sessions": sessions, "events": events} for part, (sessions, events) in counts.items()},
        "items": len(data.item_ids),
        "dropped": data.dropped,
        "fingerprint": data.fingerprint,
        "seconds": seconds,
    }


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
