"""Turn the csv files of KKBOX into arrays that load in an instant: songs, users, playlists and examples."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from common import console
from common.options import OptionalPath, UserError, reason_of, require, run_script
from common.prepared import fingerprint, prepared_arrays
from common.row_counts import print_json
from common.sources import Dataset, data_root, dataset_folder
from dtnmr.arrays import FILES, digest_of, load, read_state, save
from dtnmr.building import build
from dtnmr.data_options import DataOptions, Protocol
from dtnmr.dataset import KkboxData
from dtnmr.kkbox import REQUIRED, kkbox_files
from dtnmr.tally import others, rows_of, warnings_of

VERSION = 2
"""Of the prepared arrays; arrays of another version are made anew."""


def prepare(
    raw: Path,
    prepared: Path,
    options: DataOptions | None = None,
    protocol: Protocol = "corrected",
    strict: bool = False,
) -> KkboxData:
    """Load the arrays in ``prepared``; make them from the files in ``raw`` if need be, or if --reload is given.

    Args:
        strict: arrays in ``prepared`` that were made of something else are refused unless --reload is given;
            otherwise they are replaced.

    Raises:
        UserError: a file is missing or wrong, the filters leave nothing to learn from, or ``prepared`` holds
            something else or cannot be written. Then ``prepared`` is as it was before.
    """
    options = options or DataOptions()
    files = kkbox_files(raw)
    try:
        contents = fingerprint(files.values())
    except OSError as error:
        raise UserError(f"{error.filename}: {reason_of(error)}") from error
    state = {"version": VERSION, "files": contents, "options": options.shaping(protocol)}
    _refuse_others(prepared, state, strict and not options.reload)
    data = prepared_arrays(
        prepared,
        lambda folder: None if options.reload and folder == prepared else load(folder, state),
        lambda folder: save(build(files, options, protocol, digest_of(state)), state, folder),
    )
    require(
        options.subset_size <= data.songs,
        f"--subset-size is {options.subset_size}; it must be at most the number of songs kept, {data.songs}",
    )
    return data


def _refuse_others(folder: Path, state: dict[str, Any], strict: bool) -> None:
    """Never replace a folder that holds files of another kind, nor, if ``strict``, arrays made of something else."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    others = sorted(present - FILES)
    require(
        not others and (not folder.exists() or folder.is_dir()),
        f"{folder}: is no folder of prepared arrays{f' (it holds {others[0]})' if others else ''}; name one of its own",
    )
    if not strict or not present:
        return
    found = read_state(folder) or {}
    before, now = found.get("options"), state["options"]
    damaged = f"--cache {folder}: is damaged; give --reload to make it anew"
    if not isinstance(before, dict):
        raise UserError(damaged)
    changed = [f"{name} {before.get(name)}, now {value}" for name, value in now.items() if before.get(name) != value]
    require(
        not changed,
        f"--cache {folder}: was made with {'; '.join(changed)}; give --reload to replace it, or name another folder",
    )
    require(
        found == state,
        f"--cache {folder}: was made from other files, or by another version; give --reload to replace it, or name "
        "another folder",
    )
    require(load(folder, state) is not None, damaged)


def load_dataset(options: DataOptions, protocol: Protocol, data_dir: Path | None = None) -> tuple[Dataset, KkboxData]:
    """Find the dataset and prepare it.

    The folder is that of --db, or ``data_dir``. Without either, and if it is ``data/kkbox`` itself, the released
    files in ``data/kkbox`` or ``data/kkbox/released`` are used, or the synthetic sample in ``data/kkbox/sample``,
    which is written on first use.

    Raises:
        UserError: --db and --data-dir name two folders, a folder does not exist, or as :func:`prepare`.
    """
    from dtnmr.sample import write_sample

    require(
        None in (options.db, data_dir) or options.db.resolve() == data_dir.resolve(),  # type: ignore[union-attr]
        f"--db {options.db} and --data-dir {data_dir} are two names for one folder; give one of them",
    )
    folder = options.db or data_dir
    if folder is not None and folder.resolve() == data_root() / "kkbox":
        folder = None
    if folder is not None:
        require(folder.is_dir(), f"--db {folder}: no such folder; data/README.md says where to get the files")
        kkbox_files(folder)
    dataset = dataset_folder("kkbox", folder, REQUIRED, write_sample)
    prepared = options.cache or dataset.prepared / protocol
    return dataset, prepare(dataset.raw, prepared, options, protocol, strict=options.cache is not None)


@dataclass(frozen=True)
class PreprocessOptions(DataOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """The same as --db."""
    protocol: Protocol = "corrected"
    """corrected: histories go on from training to test, nothing comes from the test; released: as the released code."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of a table: rows of each file, used and left out by reason, and sizes."""


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Check KKBOX's csv files, filter songs and users, and turn all into memory-mapped arrays."""
    started = time.perf_counter()
    dataset, data = load_dataset(options, options.protocol, options.data_dir)
    seconds = time.perf_counter() - started
    sizes = {
        "songs kept": data.songs,
        "users kept": data.users,
        "playlists": len(data.owners),
        **{f"{part} examples": len(getattr(data, part)) for part in ("train", "validation", "test")},
        **{f"bits of {feature}": len(values) for feature, values in data.values.items()},
        "bits of a song, with its length": data.song_width + 1,
        "bits of a user, with the songs heard": data.user_width + data.song_width,
    }
    rows = rows_of(data)
    for warning in warnings_of(data):
        console.notify(f"warning: {warning}")
    found = {
        "dataset": dataclasses.asdict(dataset),
        "counts": data.counts,
        "rows": rows.as_json(),
        "sizes": sizes,
        "fingerprint": data.fingerprint,
        "seconds": seconds,
    }
    if options.json:
        print_json(rows)
        return found
    synthetic = " (synthetic)" if dataset.synthetic else ""
    numbers = [[name, f"{number:,}"] for name, number in (others(data.counts) | sizes).items()]
    console.print_table(f"{dataset.name}{synthetic}, {options.protocol} protocol", ["", "number"], numbers)
    console.say(*rows.lines())
    console.say(f"Prepared in {options.cache or dataset.prepared / options.protocol} in {seconds:.1f} s.")
    return found


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
