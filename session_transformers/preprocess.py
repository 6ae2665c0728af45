"""Turn logs of the Music Streaming Sessions Dataset into halves of sessions that load in an instant.

Vocabulary, lengths and halves are those of Khan, Cui, Arora: Sequential Sessions Based Music Recommendations Using
Deep Learning (2020). Unlike their code, every day is read once, and the parts are split by the session's id. The
arrays are written once as ``.npy`` files, which are memory-mapped from then on.

The released protocol keeps the released ids and the released choice and scaling of 26 features; that all tracks get
the features of the first one is a switch of its own. It does not keep that one day stands for sixty, nor that the
same sessions are chosen by and tested on.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import dataclasses
import os
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
from common.mssd.files import MssdFiles, find_mssd, find_released
from common.options import OptionalPath, require
from common.row_counts import RowCounts, tell_preparation
from common.sources import MARKER, Dataset, data_root, dataset_folder, sample_dataset
from session_transformers.data_options import ENGINE_OPTIONS, DataOptions
from session_transformers.kinds import HALF, Ids
from session_transformers.sessions.building import ARRAYS, PARTS, build, feature_names
from session_transformers.sessions.halves import Halves

NOTHING_FOUND = "holds no log_*.csv (.csv.gz, .tar.gz); data/README.md says where to get the files"
VERSION = 2
"""Of the prepared arrays; raise it when other arrays are made of the same files."""
DECLARED = (
    *(Array(f"{part}_tracks", np.int32, (part, 2 * HALF), 0, "tracks") for part in PARTS),
    *(Array(f"{part}_skips", np.uint8, (part, 2 * HALF), 0, 2) for part in PARTS),
    Array("track_ids", "S", ("tracks",)),
    Array("plays", np.int64, ("tracks",), 0),
    Array("features", np.float32, ("tracks", "features"), -np.inf),
)
SAMPLE_SESSIONS, SAMPLE_TRACKS = 20_000, 1_000
"""Of the synthetic sample: about 24 training sessions of 20 tracks for each of its 400 playlists. (GRU4Rec's sample of
4,000 sessions and 2,000 tracks has 2, too few for a next track to be learned from anything but its predecessor.)"""


@dataclass(frozen=True)
class SequenceData:
    """Sessions to train on, to choose by and to test on; no session is in two of them.

    The arrays are memory-mapped, for reading only.
    """

    train: Halves
    validation: Halves
    """May be empty."""
    test: Halves
    features: NDArray[np.float32]
    """(V, 29): 28 numbers of mean 0 and variance 1 over the tracks, and last the mode, 0 (minor) or 1 (major). Zeros
    for ids that are no tracks and tracks without features. Released protocol: (V, 26). Without features: (V, 0)."""
    feature_names: list[str]
    """The columns of ``features``."""
    plays: NDArray[np.int64]
    """(V,) plays of each track in the training part, in sessions of any length."""
    track_ids: list[str]
    """(V,) ids in the files; "" for the ids that are no tracks."""
    ids: Ids
    """The ids that are no tracks."""
    featureless: int
    """Tracks without features."""
    dropped: dict[str, int]
    """Sessions that each filter dropped."""
    rows: dict[str, Any]
    """Rows of each log, used and left out; see :meth:`common.row_counts.RowCounts.as_json`."""
    fingerprint: str
    """SHA-256 of all arrays: the same for the same sessions, however the files were packed."""
    notes: list[str] = field(default_factory=list)
    """What was recognised in the files, a sentence each."""
    session_ids: frozenset[str] = frozenset()
    """Of tables: the ids of the sessions that are learnt from, or chosen by."""

    @property
    def vocabulary_size(self) -> int:
        """V: the tracks and the ids that are no tracks."""
        return len(self.track_ids)


def prepare(raw: Path, prepared: Path, options: DataOptions | None = None) -> SequenceData:
    """The arrays of the files in ``raw`` and of the options, made once.

    Args:
        prepared: folder of the sets of arrays (:mod:`common.arrays`).

    Raises:
        UserError: no log is found, a file is wrong (the message names the file, the line and what was expected),
            a session is in two logs, the filters leave nothing, the track features are missing, or ``prepared``
            cannot be written. No set is half-written.
    """
    completed = (options or DataOptions()).completed(synthetic=(raw / MARKER).is_file())
    files = find_mssd(raw)
    require(bool(files.logs), f"{raw}: {NOTHING_FOUND}")
    recipe = Recipe(
        name="session_transformers",
        version=VERSION,
        files={os.path.relpath(path, raw): path for path in (*files.logs, *files.features)},
        options={name: value for name, value in dataclasses.asdict(completed).items() if name not in ENGINE_OPTIONS},
        make=lambda folder: _write(files, completed, folder),
        arrays=DECLARED,
    )
    return _opened(array_set(prepared, recipe), completed)


def _opened(found: ArraySet, options: DataOptions) -> SequenceData:
    parts: dict[str, Any] = {part: Halves(*(found.arrays[f"{part}_{name}"] for name in ARRAYS)) for part in PARTS}
    return SequenceData(
        **parts,
        features=found.arrays["features"],
        feature_names=list(feature_names(options)),
        plays=found.arrays["plays"],
        track_ids=[name.decode() for name in found.arrays["track_ids"].tolist()],
        ids=options.ids,
        featureless=found.meta["featureless"],
        dropped=found.meta["dropped"],
        rows=found.meta["rows"],
        fingerprint=found.fingerprint,
    )


def _write(files: MssdFiles, options: DataOptions, folder: Path) -> dict[str, Any]:
    vocabulary, dropped, counts = build(files, options, folder)
    for name in ("track_ids", "plays", "features"):
        np.save(folder / f"{name}.npy", getattr(vocabulary, name))
    return {"featureless": vocabulary.featureless, "dropped": dropped, "rows": counts.as_json()}


def load_dataset(data_dir: Path | None, options: DataOptions | None = None) -> tuple[Dataset, SequenceData]:
    """Find a dataset and prepare it; the arrays are kept in the folder ``prepared`` of the dataset.

    Args:
        data_dir: the user's folder. None is the released MSSD in ``data/mssd`` or ``data/mssd/released`` (or ``data``
            itself, see :func:`common.mssd.files.find_released`), else the synthetic sample in
            ``data/session_transformers/sample``, which is written on first use.

    Raises:
        UserError: ``data_dir`` holds no log, or as :func:`prepare`.
    """
    from common.mssd.sample import write_sample

    options = options or DataOptions()
    if data_dir is not None:
        require(data_dir.is_dir(), f"--data-dir {data_dir}: no such folder")
        require(bool(find_mssd(data_dir).logs), f"--data-dir {data_dir}: {NOTHING_FOUND}")
        dataset = dataset_folder("mssd", data_dir, [], write_sample)
    elif found := find_released(data_root()):
        dataset = dataset_folder("mssd", found, [], write_sample)
    else:
        console.notify(
            f"The released logs are missing in {data_root() / 'mssd'} (data/README.md says where to get them): a "
            "synthetic sample is used.",
        )
        return load_sample(options)
    return dataset, prepare(dataset.raw, dataset.prepared, options)


def load_sample(options: DataOptions) -> tuple[Dataset, SequenceData]:
    """The synthetic sample, whatever else is there; see :func:`load_dataset`."""
    from common.mssd.sample import SAMPLE_FILES

    dataset = sample_dataset("session_transformers", SAMPLE_FILES, write_own_sample)
    return dataset, prepare(dataset.raw, dataset.prepared, options)


def write_own_sample(folder: Path) -> int:
    """Write the synthetic sample of this paper, from the same generator as GRU4Rec's; returns the rows of its logs."""
    from common.mssd.sample import SessionSampleOptions, write_sample

    return write_sample(folder, SessionSampleOptions(folder, sessions=SAMPLE_SESSIONS, tracks=SAMPLE_TRACKS))


@dataclass(frozen=True)
class PreprocessOptions(DataOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with the logs and track features of MSSD. Default: the released files below data/mssd, else the synthetic
    sample, which is written on first use."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object: rows of each log, used and left out by reason, and what is in each part."""


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Check session logs, number the tracks, split the sessions, and turn them into memory-mapped arrays."""
    started = time.perf_counter()
    chosen = {field.name: getattr(options, field.name) for field in dataclasses.fields(DataOptions)}
    dataset, data = load_dataset(options.data_dir, DataOptions(**chosen))
    seconds = time.perf_counter() - started
    sessions = {part: len(getattr(data, part)) for part in PARTS}
    tracks = data.vocabulary_size - data.ids.first_track
    tell_preparation(
        f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}: "
        + ", ".join(f"{part} {counted(count, 'session')}" for part, count in sessions.items())
        + f". {counted(tracks, 'track')}, {len(data.feature_names) or 'no'} features"
        + (f" ({counted(data.featureless, 'track')} without). " if data.featureless else ". ")
        + "".join(f"{counted(count, 'session')} dropped ({why}). " for why, count in data.dropped.items() if count)
        + f"Prepared in {dataset.prepared} in {seconds:.1f} s.",
        RowCounts.of_json(data.rows),
        tested=int(data.test.target_mask.sum()),
        as_json=options.json,
    )
    return {
        "dataset": dataclasses.asdict(dataset),
        "protocol": options.protocol,
        "sessions": sessions,
        "tracks": tracks,
        "featureless": data.featureless,
        "dropped": data.dropped,
        "rows": data.rows,
        "fingerprint": data.fingerprint,
        "seconds": seconds,
    }


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
