"""Turn raw material into dlrs-data: factors from plays, tf-idf from texts, patches from clips.

Each part is a set of prepared arrays (:mod:`common.arrays`), made once for the files and options that it depends on; an
extraction of sound that was interrupted goes on where it ended.
"""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import dataclasses
import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from scipy import sparse

from audiotext import hetrec
from audiotext.audio.features import BINS
from audiotext.audio.patches import PatchOptions, extract_all
from audiotext.data_options import PrepareOptions
from audiotext.dataset import USERS, factors_in, find_dataset
from audiotext.factors import FactorOptions, factorise
from audiotext.layout import ARTISTS, PARTS, PATCHED, SONGS, TEXTS, ItemSet, Layout, Part, Split
from audiotext.matrices import LARGEST, write_ids, zero_rows
from audiotext.raw import SOUND, ArtistSplit, RawData, read_raw
from audiotext.text import TfIdf, documents
from common import console
from common.arrays import Array, ArraySet, Recipe, array_set
from common.command import run_script
from common.npyfile import write_header
from common.options import OptionalPath, UserError, reason_of, replacing, require, write_json
from common.row_counts import RowCounts, print_json, short
from common.sources import Dataset

VERSION = 4
"""Of what is made; sets of another version are made anew."""
STATE = "prepared.json"
KEPT_SOUND = "sound"
"""Folder with the patches of all songs, in dlrs-data of tables."""
SPLITS: tuple[Split, ...] = ("train", "test")
BLOCK = 256
"""Patches that are copied at once."""


def tfidf_path(layout: Layout, text: str) -> Path:
    """Terms and weights that the tf-idf of a text was made with."""
    return layout.path(f"X_{TEXTS[text]}_tfidf.json")


@dataclass
class _Material:
    """Raw material that is read when the first part needs it."""

    folder: Path
    kind: Literal["raw", "hetrec"]
    options: PrepareOptions

    @cached_property
    def raw(self) -> RawData:
        return read_raw(self.folder) if self.kind == "raw" else hetrec.read_hetrec(self.folder)

    @cached_property
    def split(self) -> ArtistSplit:
        return self.raw.split_by_artist(self.options.split_seed, self.options.test_share)


def prepare(
    dataset: Dataset,
    kind: Literal["raw", "hetrec"],
    options: PrepareOptions,
    parts: Collection[Part] = PARTS,
    protocol: str = "corrected",
    out: Path | None = None,
) -> Layout:
    """Make what is missing of ``parts``: sets of :mod:`common.arrays`, copied to ``out`` as dlrs-data if that is named.

    Factors and texts depend on the split, patches do not: runs with other splits share those.

    Raises:
        UserError: the raw material is wrong (the message names file and line), or nothing can be made of it.
    """
    sets = made(dataset, kind, options, parts, protocol)
    factors = options.of_factors(dataset.synthetic).factors
    if out is not None:
        try:
            return _export(sets, Layout(out, factors), protocol, _Material(dataset.raw, kind, options))
        except OSError as error:
            raise UserError(f"{error.filename or out}: {reason_of(error)}") from error
    folders = {part: found.folder for part, found in sets.items()}
    contents = {found.folder / name: content for found in sets.values() for name, content in found.contents.items()}
    return Layout(
        folders.get("factors", dataset.prepared),
        factors,
        texts=folders.get("text"),
        sound=folders.get("audio"),
        contents=contents,
        memory=dataset.prepared,
        counted=rows_of(sets).as_json(),
    )


def open_dataset(
    data_dir: Path | None, options: PrepareOptions, parts: Collection[Part] = PARTS, protocol: str = "corrected"
) -> tuple[Dataset, Layout]:
    """Find a dataset (see :func:`find_dataset`) and make from it what is missing of ``parts`` of the dlrs-data.

    Raises:
        UserError: as :func:`find_dataset` and :func:`prepare`.
    """
    dataset, kind = find_dataset(data_dir)
    if kind != "dlrs":
        return dataset, prepare(dataset, kind, options, parts, protocol)
    found = factors_in(dataset.raw)
    known = " and ".join(map(str, found))
    require(
        options.factors is None or options.factors in found,
        f"--factors {options.factors}: {dataset.raw} has {known} factors; leave it out",
    )
    require(
        options.factors is not None or len(found) == 1,
        f"{dataset.raw}: holds factors of {known} columns; choose with --factors",
    )
    return dataset, Layout(dataset.raw, options.factors or found[0], memory=dataset.prepared)


def prepare_tables(
    raw: RawData, split: ArtistSplit, options: PrepareOptions, folder: Path, parts: Collection[Part], protocol: str
) -> Layout:
    """dlrs-data of a collection in memory, in an empty folder.

    Raises:
        UserError: nothing can be made of it.
    """
    material, factors = _Material(Path("the tables"), "raw", options), options.of_factors(synthetic=False)
    material.raw, material.split = raw, split
    layout = Layout(folder, factors.factors, sound=folder / KEPT_SOUND if "audio" in parts else None)
    _make_factors(material, layout, factors)
    if "text" in parts:
        _make_text(material, layout)
    if "audio" in parts:
        _make_audio(material, folder / KEPT_SOUND, options.of_patches(False, protocol))
    return layout


def made(
    dataset: Dataset,
    kind: Literal["raw", "hetrec"],
    options: PrepareOptions,
    parts: Collection[Part] = PARTS,
    protocol: str = "corrected",
) -> dict[Part, ArraySet]:
    """The set of each of ``parts``; ``meta["counts"]`` says what is in it.

    Raises:
        UserError: as :func:`prepare`.
    """
    material = _Material(dataset.raw, kind, options)
    wanted = [part for part in PARTS if part in parts and not (part == "audio" and kind == "hetrec")]
    return {part: array_set(dataset.prepared, _recipe(part, material, dataset.synthetic, protocol)) for part in wanted}


def _recipe(part: Part, material: _Material, synthetic: bool, protocol: str) -> Recipe:
    options, files = material.options, _sources(part, material.folder)
    split = {"split": [options.split_seed, options.test_share]}
    if part == "text":
        make, depends = (
            (lambda at: {"counts": _make_text(material, Layout(at)), **_rows(material, "text")}),
            split | {"terms": options.terms},
        )
        return Recipe("texts", VERSION, files, depends, make)
    if part == "factors":
        factors = options.of_factors(synthetic)
        equal = dataclasses.replace(factors, als_engine="numpy")  # whichever engine makes them
        return Recipe(
            name="factors",
            version=VERSION,
            files=files,
            options=split | {"factors": dataclasses.asdict(equal)},
            make=lambda at: {
                "counts": _make_factors(material, Layout(at, factors.factors), factors),
                **_rows(material, "factors"),
            },
            arrays=_factor_arrays(factors.factors),
        )
    patches = options.of_patches(synthetic, protocol)
    return Recipe(
        name="sound",
        version=VERSION,
        files=files,
        options={"patches": dataclasses.asdict(patches)},
        make=lambda at: {"counts": _make_audio(material, at, patches), **_rows(material, "audio")},
        arrays=(Array("patches", np.float16, ("songs", patches.frames, BINS)),),
        resumes=True,
    )


def _factor_arrays(width: int) -> tuple[Array, ...]:
    """Item factors and user factors, of artists and, if there are any, of songs."""
    names, found = Layout(Path(), width), []
    for items in (ARTISTS, SONGS):
        for name, rows in ((names.factors_name(items), items[6:]), (names.user_factors_name(items), "users")):
            path = f"splits/{name.removesuffix('.npy')}"
            found.append(Array(path, (np.float32, np.float64), (rows, width), -LARGEST, LARGEST, items == SONGS))
    return tuple(found)


def _sources(part: Part, folder: Path) -> dict[str, Path]:
    """The raw files that a part is made of, by their names below ``folder``."""
    names = {"factors": ("songs", "plays", "artists", "user_artists"), "audio": ("songs",)}
    known = names.get(part, ("songs", "tags", "entities", "biographies", "artists", "user_tagged"))
    files = [path for path in folder.iterdir() if path.name.startswith(known)] + list(folder.glob("*.zip"))
    files += [path for below in files if below.is_dir() for path in below.iterdir()]
    if part == "audio":  # songs.tsv may name clips anywhere below the folder
        files += [path for path in folder.rglob("*") if path.suffix.lower() in SOUND]
    return {path.relative_to(folder).as_posix(): path for path in sorted(files) if path.is_file()}


def _export(sets: Mapping[Part, ArraySet], layout: Layout, protocol: str, material: _Material) -> Layout:
    """Copy sets into one folder of dlrs-data, file by file, each in one rename; parts of before stay."""
    for part, found in sets.items():
        done, name = read_state(layout.folder), part if part != "audio" else f"audio {protocol}"
        before = done.pop(name, {})
        if before.get("set") == found.folder.name:
            continue
        if done:  # whatever happens below, the old files no longer count
            write_json(layout.folder / STATE, done)
        whole = part != "audio"
        files = sorted(_export_files(found, layout) if whole else _export_patches(found, layout, protocol, material))
        for old in set(before.get("files", ())) - set(files):  # a text that is there no more
            (layout.folder / old).unlink(missing_ok=True)
        state = {"set": found.folder.name, "counts": found.meta["counts"], "files": files}
        write_json(layout.folder / STATE, done | {name: state})
    return layout


def _export_files(found: ArraySet, layout: Layout) -> Iterator[str]:
    for name in found.contents:
        with (found.folder / name).open("rb") as source, replacing(layout.folder / name) as file:
            shutil.copyfileobj(source, file)
        yield name


def _export_patches(sound: ArraySet, layout: Layout, protocol: str, material: _Material) -> Iterator[str]:
    split_of: dict[Split, Any] = {"train": material.split.train_songs, "test": material.split.test_songs}
    for split, rows in split_of.items():
        path = layout.patches(protocol, split)
        with replacing(path) as file:
            write_header(file, np.float16, (len(rows), *sound.arrays["patches"].shape[1:]))
            for start in range(0, len(rows), BLOCK):
                file.write(np.ascontiguousarray(sound.arrays["patches"][rows[start : start + BLOCK]]).data)
        yield path.relative_to(layout.folder).as_posix()


def read_state(folder: Path) -> dict[str, Any]:
    """What has been copied to ``folder`` with ``--out``: part -> its set, counts and files."""
    try:
        found = json.loads((folder / STATE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(part, dict) for part in found.values()) else {}


def _make_factors(material: _Material, layout: Layout, options: FactorOptions) -> dict[str, Any]:
    """Indices, factors, user factors and the plays of the test items, of songs and of artists."""
    raw, split = material.raw, material.split
    sets: dict[ItemSet, tuple[Any, Any, Any, Any]] = {
        ARTISTS: (raw.artists, raw.artist_plays(), split.train_artists, split.test_artists)
    }
    if not raw.artist_level:
        sets[SONGS] = (raw.songs, raw.plays, split.train_songs, split.test_songs)
        layout.save_artists_of_songs(
            {song: raw.artists[artist] for song, artist in zip(raw.songs, raw.artist_of.tolist(), strict=True)}
        )
    layout.save_names(ARTISTS, {artist: [name] for artist, name in raw.artist_names.items()})
    layout.save_names(SONGS, raw.song_names)
    write_ids(layout.path(USERS), raw.users)
    counts = _counts(raw, "factors")
    for items, (ids, plays, train, test) in sets.items():
        for part, rows in (("train", train), ("test", test)):
            layout.save_index(part, items, [ids[row] for row in rows])  # type: ignore[arg-type]
        users, factors = factorise(sparse.csr_matrix(plays[:, train]), options, material.options.split_seed)
        layout.save_dense(layout.factors_name(items), factors)
        layout.save_dense(layout.user_factors_name(items), users)
        layout.save_csr(layout.matrix_test_name(items), sparse.csr_matrix(plays[:, test].T))
        kind = "artists" if items == ARTISTS else "songs"
        counts |= {f"training {kind}": len(train), f"test {kind}": len(test)}
        counts[f"training {kind} without plays"] = zero_rows(factors)
    return counts


def _make_text(material: _Material, layout: Layout) -> dict[str, Any]:
    """tf-idf of every text that there is, fitted to the training artists."""
    raw, split = material.raw, material.split
    there = {
        "a-text": any(text.strip() for text in raw.biographies),
        "a-sem": any(raw.entities),
        "a-tags": any(raw.tags),
    }
    require(any(there.values()), f"{material.folder}: holds no biography, entity or tag")
    counts = _counts(raw, "text")
    for text in [text for text, found in there.items() if found]:
        texts = documents(raw, text)  # type: ignore[arg-type]
        tfidf = TfIdf(material.options.terms).fit([texts[artist] for artist in split.train_artists])
        tfidf.save(tfidf_path(layout, text))
        rows = {}
        for part, artists in (("train", split.train_artists), ("test", split.test_artists)):
            rows[part] = tfidf.transform([texts[artist] for artist in artists])
            layout.save_csr(layout.text_name(part, text), rows[part])  # type: ignore[arg-type]
        counts[f"terms of {text}"] = len(tfidf.terms)
        counts[f"artists without {text}"] = zero_rows(rows["train"]) + zero_rows(rows["test"])
    return counts


def _make_audio(material: _Material, folder: Path, options: PatchOptions) -> dict[str, Any]:
    """A patch of every song, in the order of ``songs.tsv``; what is wrong with a clip stands in problems.tsv."""
    raw = material.raw
    require(any(raw.audio), f"{material.folder}: holds no clip; expected clips/<song_id>.wav, .ogg, .mp3 or .flac")
    found = extract_all(dict(zip(raw.songs, raw.audio, strict=True)), folder, options, material.options.jobs)
    write_ids(folder / PATCHED, raw.songs)
    return _counts(raw, "audio") | {"clips": found.summary()}


def _counts(raw: RawData, part: Part) -> dict[str, Any]:
    """The counts of the files that a part is made of: of others, which may change without it, it knows nothing."""

    return {name: count for name, count in raw.counts.items() if _part_of(name) == part}


def _part_of(name: str) -> Part:
    """Which part a count, or a file, belongs to."""
    if "audio" in name:
        return "audio"
    return "text" if any(word in name for word in ("biograph", "tag", "entities")) else "factors"


def _rows(material: _Material, part: Part) -> dict[str, Any]:
    """What became of the rows of a part's files, and what was recognised in them."""
    raw, split = material.raw, material.split
    mine = {name for name in raw.rows.rows if _part_of(name.rpartition(": ")[2]) == part}
    files = {name: file for name, file in raw.rows.as_json()["files"].items() if name in mine}
    parts: dict[str, dict[str, int]] = {}
    if part == "factors":
        pairs = raw.plays.getnnz(axis=0)
        for name, artists, songs in (
            ("train", split.train_artists, split.train_songs),
            ("test", split.test_artists, split.test_songs),
        ):
            kinds = {"artists": len(artists)} | ({} if raw.artist_level else {"songs": len(songs)})
            parts[name] = {**kinds, "plays": int(pairs[songs].sum())}
        plays = next(name for name in mine if name.rpartition(": ")[2].startswith(("plays", "user_artists")))
        raw.rows.check_used(plays, sum(found["plays"] for found in parts.values()))
    notes = [note for note in raw.notes if short(note).startswith(tuple(mine))]
    return {"rows": {"files": files, "parts": parts}, "notes": notes}


def rows_of(sets: Mapping[Part, ArraySet]) -> RowCounts:
    """What became of the rows of all files that sets were made of."""
    rows = RowCounts()
    for found in sets.values():
        of_part = RowCounts.of_json(found.meta["rows"])
        for name in ("rows", "left_out", "blanks", "parts"):
            getattr(rows, name).update(getattr(of_part, name))
    return rows


@dataclass(frozen=True)
class PreprocessOptions(PrepareOptions):
    """Options of this script."""

    data_dir: OptionalPath = None
    """Folder with raw material (songs.tsv, plays.tsv, biographies/, tags.tsv, entities.tsv, clips/) or with the HetRec
    2011 Last.fm files. Default: the synthetic sample, which is written on first use."""
    out: OptionalPath = None
    """Folder to write the dlrs-data to. Default: below data/audiotext, where train.py finds it."""
    parts: Annotated[tuple[Part, ...], tyro.conf.arg(metavar="{factors,text,audio} ...", help_behavior_hint="")] = PARTS
    """What to make: factors from plays, tf-idf from texts, patches from clips. Default: all."""
    protocol: Literal["corrected", "released"] = "corrected"
    """Of the patches: in released ones silence, and what lies beyond the end of a clip, is the loudest value."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object, of the rows of each file and of what they became, instead of sentences."""


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Turn raw material into dlrs-data: factors from plays, tf-idf from texts, patches from clips."""
    started = time.perf_counter()
    chosen = PrepareOptions(**{f.name: getattr(options, f.name) for f in dataclasses.fields(PrepareOptions)})
    dataset, kind = find_dataset(options.data_dir)
    if kind == "dlrs":
        raise UserError(f"{dataset.raw}: holds dlrs-data already; name raw material with --data-dir")
    if options.out is not None:
        prepare(dataset, kind, chosen, options.parts, options.protocol, options.out)
    sets = made(dataset, kind, chosen, options.parts, options.protocol)
    seconds = time.perf_counter() - started
    counted = {name: found.meta["counts"] for name, found in sets.items()}
    place, rows = options.out or dataset.prepared, rows_of(sets)
    result = {
        "folder": str(place),
        "dataset": dataset.name,
        "made": counted,
        "rows": rows.as_json(),
        "seconds": seconds,
    }
    notes = [note for found in sets.values() for note in found.meta["notes"]]
    if options.json:
        print_json(rows)
        console.notify(*notes, *(f"warning: {warning}" for warning in rows.warnings()))
        return result
    console.say(f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}, dlrs-data in {place}, {seconds:.1f} s")
    for name, counts in counted.items():
        listed = (f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}" for key, value in counts.items())
        console.say(f"{name}: " + "; ".join(listed))
    console.say(*rows.lines(), *notes, *(f"Warning: {warning}" for warning in rows.warnings()))
    return result


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
