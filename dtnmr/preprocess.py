"""Turn the csv files of KKBOX into arrays that load in an instant: songs, users, playlists and examples."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split


import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from common import console
from common.arrays import DAMAGE, META, Recipe, array_set, digests, open_set, read_sealed
from common.command import run_script
from common.options import OptionalPath, UserError, reason_of, require
from common.row_counts import print_json
from common.sources import Dataset, data_root, dataset_folder, sample_dataset
from dtnmr.dataset import (
    ARRAYS,
    BLANKS,
    SET_FILES,
    SONG_FEATURES,
    USER_FEATURES,
    KkboxData,
    Points,
    Rows,
    digest_of_arrays,
    opened,
    save,
)
from dtnmr.encoding import Encoder, scaled_length
from dtnmr.kkbox import REQUIRED, Raw, Sources, kkbox_files, read_files, read_titles, told
from dtnmr.options import DataOptions, Protocol
from dtnmr.selection import (
    Selected,
    continued_playlists,
    corrected_points,
    others,
    released_points,
    select_corrected,
    select_released,
    separate_playlists,
)

TOO_SHORT = "examples with too short a history, as the song was played before"


def build(
    files: Sources,
    options: DataOptions,
    protocol: Protocol,
    fingerprint: str,
    named: Mapping[str, str] | None = None,
) -> KkboxData:
    """Read the files and make everything of them.

    Args:
        files: as of :func:`dtnmr.kkbox.kkbox_files`, or tables.
        options: which songs, users and plays to keep.
        protocol: of the data.
        fingerprint: of the data.
        named: see :func:`dtnmr.kkbox.read_files`.

    Raises:
        UserError: a file is broken, or the filters leave nothing to learn from.
    """
    released = protocol == "released"
    raw = read_files(files, released, named)
    _meet(files, raw)
    selected = select_released(raw, options) if released else select_corrected(raw, options)
    songs, counts = len(selected.song_ids), dict(selected.counts)
    counts |= {f"{part}: {BLANKS}": blanks for part, (_, blanks) in raw.files.items() if blanks}
    require(songs > 0, f"{told(files, 'songs')}: no song is left; lower --top, or see whether it belongs to train.csv")
    least, most = options.min_playlist_len, options.max_playlist_len
    reason = f"no user has a training playlist of more than --min-playlist-len {least} of the {songs:,} songs kept"
    if released:
        playlists = separate_playlists(selected.train, selected.test)
        train, test, unusable = released_points(playlists, options)
        validation = Points(np.empty(0, np.int32), np.empty(0, np.int32))
        counts[TOO_SHORT] = sum(unusable)
        reason = (
            f"all {unusable[0]:,} have a history shorter than --long-term-len {options.long_term_len}, as the user has "
            "played the song before"
            if unusable[0]
            else f"{reason}, and fewer than --max-playlist-len {most}"
        )
    else:
        playlists = continued_playlists(selected.train, selected.test, len(selected.user_ids))
        train, validation, test = corrected_points(playlists, options)
    require(
        len(train) > 0 or len(validation) == 0,
        f"--validation-share {options.validation_share} leaves no example to learn from; lower it",
    )
    require(
        len(train) > 0,
        f"{told(files, 'train')}: no example to learn from is left: {reason}; change these or --top",
    )
    require(
        selected.longest != 0,
        f"{told(files, 'songs')}: no song that is popular and short enough is longer than 0 ms; lengths cannot be "
        "scaled",
    )
    of_songs = {"id": named["song"]} if named and "song" in named else None
    titles = read_titles(files, set(selected.song_ids), released, counts, of_songs)
    values, behaviours = _behaviours(list(raw.names.tabs.numbers), selected, playlists.behaviours)
    return KkboxData(
        song_ids=selected.song_ids,
        user_ids=selected.user_ids,
        lengths=np.array([scaled_length(length, selected.longest) for length in selected.seconds], np.float32),
        song_bits=Encoder(selected.values, SONG_FEATURES, released).rows(selected.song_texts),
        user_bits=Encoder(selected.values, USER_FEATURES, released).rows(selected.user_texts),
        values=selected.values | {"behaviour": values},
        songs_played=playlists.songs_played,
        behaviours=behaviours,
        owners=playlists.owners,
        trained=playlists.trained,
        train=train,
        validation=validation,
        test=test,
        plays=np.bincount(selected.train.songs, minlength=songs).astype(np.int64),
        longest_length=selected.longest,
        released=released,
        fingerprint=fingerprint,
        counts=counts,
        longest_history=most - 1,
        titles=titles,
        notes=raw.notes,
    )


def _meet(files: Sources, raw: Raw) -> None:
    """Refuse files whose ids have nothing in common, with an example of each."""
    for part, what, listed, example, played in (
        ("songs", "song", raw.songs, raw.first_song, raw.names.songs),
        ("members", "user", raw.members, str(raw.members.texts.id.iloc[0]), raw.names.users),
    ):
        if part not in files:
            continue
        require(
            bool((listed.numbers >= 0).any()),
            f"{told(files, part)}: has no entry for any {what} of {told(files, 'train')}: ids are such as "
            f"{console.short(example)!r} here, and {console.short(next(iter(played.numbers)))!r} there",
        )


def _behaviours(tabs: list[str], selected: Selected, played: Rows) -> tuple[list[str], Rows]:
    """All tabs that have a column, those of the training plays, and the tabs of the playlists as numbers of theirs."""
    taken = [selected.tabs.get(tab) for tab in tabs]
    in_training = {taken[tab] for tab in np.unique(selected.train.tabs).tolist()}
    values = sorted(tab for tab in in_training if tab is not None)
    column: dict[str | None, int] = {tab: place for place, tab in enumerate(values)}
    numbers = np.array([column.get(tab, -1) for tab in taken], np.int32)
    return values, Rows(played.indptr, numbers[played.values])


VERSION = 4
"""Of the prepared arrays; raise it when other arrays are made of the same files."""


def prepare(
    raw: Path, prepared: Path, options: DataOptions | None = None, protocol: Protocol = "corrected"
) -> KkboxData:
    """The arrays of the files in ``raw`` and of the options, made once, or anew if --reload is given.

    Args:
        prepared: folder of the sets of arrays (:mod:`common.arrays`). A set in the folder of --cache is never
            replaced by one of something else unless --reload is given.

    Raises:
        UserError: a file is missing or wrong, the filters leave nothing to learn from, or --cache holds something
            else, or a folder cannot be written. No set is half-written.
    """
    given = options or DataOptions()
    files = kkbox_files(raw)
    shaping = given.shaping(protocol)
    recipe = Recipe(
        name="dtnmr",
        version=VERSION,
        files=files,
        options=shaping,
        make=lambda folder: save(build(files, given, protocol, ""), folder) | {"options": shaping},
        arrays=ARRAYS,
    )
    if given.cache is not None:
        _refuse_others(given.cache, recipe, prepared, given.reload)
    data = opened(array_set(prepared, recipe, folder=given.cache, anew=given.reload))
    _enough_songs(data, given)
    return data


def _enough_songs(data: KkboxData, options: DataOptions) -> None:
    require(
        options.subset_size <= data.songs,
        f"--subset-size is {options.subset_size}; it must be at most the number of songs kept, {data.songs}",
    )


def prepare_tables(
    plays: Any,
    songs: Any,
    members: Any,
    options: DataOptions,
    protocol: Protocol = "corrected",
    named: Mapping[str, str] | None = None,
) -> KkboxData:
    """The arrays of tables, all of whose plays are learnt from: there is no test part.

    Args:
        plays: a user and a song in each row, in the order of time; see :data:`dtnmr.kkbox.USUAL_NAMES`.
        songs: their metadata, and perhaps titles.
        members: metadata of the users; None: nothing is known of them.
        options: which songs, users and plays to keep.
        protocol: of the data.
        named: names of the columns ``user`` and ``song``.

    Raises:
        UserError: a table is wrong, or the filters leave nothing to learn from.
    """
    sources = {"train": plays, "songs": songs, "song_extra_info": songs}
    sources |= {} if members is None else {"members": members}
    data = build(sources, options, protocol, "", named)
    counts = {
        name: count for name, count in data.counts.items() if not name.startswith(("test: ", "song_extra_info: "))
    }
    data = dataclasses.replace(data, counts=counts, tables=True)
    _enough_songs(data, options)
    return dataclasses.replace(data, fingerprint=digest_of_arrays(data))


def load_sample(options: DataOptions, protocol: Protocol) -> tuple[Dataset, KkboxData]:
    """The synthetic sample, whatever else is there; see :func:`load_dataset`."""
    from dtnmr.sample import write_sample

    dataset = sample_dataset("kkbox", REQUIRED, write_sample)
    return dataset, prepare(dataset.raw, dataset.prepared, options, protocol)


def _refuse_others(folder: Path, recipe: Recipe, prepared: Path, reload: bool) -> None:
    """Never replace a folder of files of another kind, nor, unless ``reload``, arrays made of something else."""
    try:
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    except OSError as error:
        raise UserError(f"--cache {folder}: {reason_of(error)}") from error
    others = sorted(present - SET_FILES)
    require(
        not others and (not folder.exists() or folder.is_dir()),
        f"{folder}: is no folder of prepared arrays{f' (it holds {others[0]})' if others else ''}; name one of its own",
    )
    if reload or not present:
        return
    damaged = UserError(f"--cache {folder}: is damaged, or of version 0.1; give --reload to make it anew")
    try:
        meta = read_sealed(folder / META)
        before, now = dict(meta["meta"]["options"]), recipe.options
    except DAMAGE:
        raise damaged from None
    changed = [f"{name} {before.get(name)}, now {value}" for name, value in now.items() if before.get(name) != value]
    require(
        not changed,
        f"--cache {folder}: was made with {'; '.join(changed)}; give --reload to replace it, or name another folder",
    )
    address = recipe.address(digests(recipe.files, prepared))
    require(
        meta["address"] == address,
        f"--cache {folder}: was made from other files, or by another version; give --reload to replace it, or name "
        "another folder",
    )
    if open_set(folder, address, ARRAYS) is None:
        raise damaged


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
    return dataset, prepare(dataset.raw, dataset.prepared, options, protocol)


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
    rows = data.row_counts()
    console.notify(*data.notes, *(f"warning: {warning}" for warning in data.warnings()))
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
    console.say(f"Prepared in {options.cache or dataset.prepared} in {seconds:.1f} s.")
    return found


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
