"""Turn raw material into dlrs-data: factors from plays, tf-idf from texts, patches from clips.

Each part is made once, and again when a file or an option that it depends on has changed; an extraction of sound that
was interrupted goes on where it ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from scipy import sparse

from audiotext import hetrec
from audiotext.audio.patches import extract_all
from audiotext.data_options import PrepareOptions
from audiotext.dataset import FOLDER, PARTS, USERS, Part, find_dataset
from audiotext.factors import factorise
from audiotext.layout import ARTISTS, SONGS, TEXTS, ItemSet, Layout, Split
from audiotext.matrices import write_ids, zero_rows
from audiotext.raw import SOUND, ArtistSplit, RawData, read_raw
from audiotext.text import TfIdf, documents
from common.options import OptionalPath, UserError, reason_of, require, run_script, write_json
from common.sources import Dataset

VERSION = 1
"""Of what is made; files of another version are made anew."""
STATE = "prepared.json"
SPLITS: tuple[Split, ...] = ("train", "test")
PATCHES = {"corrected": "patches", "released": "patches_released"}
"""Protocol -> folder of the patches, which differ in what they make of silence."""


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
    """Make what is missing or out of date of ``parts``, in ``dlrs-data/`` of the dataset or in ``out``.

    Raises:
        UserError: the raw material is wrong (the message names file and line), or nothing can be made of it.
    """
    factors = options.of_factors(dataset.synthetic)
    layout = Layout(out or dataset.prepared / FOLDER, factors.factors)
    material = _Material(dataset.raw, kind, options)
    makers: dict[Part, Callable[[_Material, Layout], dict[str, Any]]] = {
        "factors": lambda material, layout: _make_factors(material, layout, dataset.synthetic),
        "text": _make_text,
        "audio": lambda material, layout: _make_audio(material, layout, dataset.synthetic, protocol),
    }
    try:
        for part in PARTS:
            if part in parts and not (part == "audio" and kind == "hetrec"):
                _make(part, makers[part], material, layout, _depends_on(part, dataset, options, factors, protocol))
    except OSError as error:
        raise UserError(f"{error.filename or layout.folder}: {reason_of(error)}") from error
    return layout


def _depends_on(part: Part, dataset: Dataset, options: PrepareOptions, factors: Any, protocol: str) -> dict[str, Any]:
    """What makes a part out of date when it changes: files, by size and time of change, and options."""
    names = {"factors": ("songs", "plays", "artists", "user_artists"), "audio": ("songs",)}
    known = names.get(part, ("songs", "tags", "entities", "biographies", "artists", "user_tagged"))
    zips = list(dataset.raw.glob("*.zip"))
    files = [path for path in dataset.raw.iterdir() if path.name.startswith(known)] + zips
    files += [path for folder in files if folder.is_dir() for path in folder.iterdir()]
    if part == "audio":  # songs.tsv may name clips anywhere below the folder
        files += [path for path in dataset.raw.rglob("*") if path.suffix.lower() in SOUND]
    found = {
        "version": VERSION,
        "sources": _digest(files),
        "split": [options.split_seed, options.test_share],
    }
    if part == "factors":
        found["factors"] = dataclasses.asdict(dataclasses.replace(factors, als_engine="numpy"))
    elif part == "text":
        found["terms"] = options.terms
    else:
        found["patches"] = dataclasses.asdict(options.of_patches(dataset.synthetic, protocol))
    return json.loads(json.dumps(found))


def _digest(files: list[Path]) -> str:
    """SHA-256 over name, size and time of change of each file."""
    stats = [(path.name, path.stat()) for path in files if path.is_file()]
    listed = sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _make(
    part: Part, make: Callable[[_Material, Layout], dict[str, Any]], material: _Material, layout: Layout, state: Any
) -> None:
    file = layout.folder / STATE
    done = read_state(layout.folder)
    name = part if part != "audio" else f"audio {state['patches']['protocol']}"
    if done.get(name, {}).get("state") == state:
        return
    done.pop(name, None)
    if done:  # whatever happens below, the old files no longer count
        write_json(file, done)
    counts = make(material, layout)
    write_json(file, done | {name: {"state": state, "counts": counts}})


def read_state(folder: Path) -> dict[str, Any]:
    """What has been made in ``folder``: part -> state and counts."""
    try:
        found = json.loads((folder / STATE).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and all(isinstance(part, dict) for part in found.values()) else {}


def _make_factors(material: _Material, layout: Layout, synthetic: bool) -> dict[str, Any]:
    """Indices, factors, user factors and the plays of the test items, of songs and of artists."""
    raw, split = material.raw, material.split
    options = material.options.of_factors(synthetic)
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
    counts: dict[str, Any] = dict(raw.counts)
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
    counts: dict[str, Any] = {}
    for text in [text for text, found in there.items() if not found]:  # which there may have been before
        for path in (*(layout.path(layout.text_name(part, text)) for part in SPLITS), tfidf_path(layout, text)):
            path.unlink(missing_ok=True)
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


def _make_audio(material: _Material, layout: Layout, synthetic: bool, protocol: str) -> dict[str, Any]:
    """A patch of every song, in the order of the index; what is wrong with a clip stands in problems.tsv."""
    raw, split = material.raw, material.split
    require(any(raw.audio), f"{material.folder}: holds no clip; expected clips/<song_id>.wav, .ogg, .mp3 or .flac")
    options = material.options.of_patches(synthetic, protocol)
    counts = {}
    for part, songs in (("train", split.train_songs), ("test", split.test_songs)):
        paths = {raw.songs[song]: raw.audio[song] for song in songs}
        found = extract_all(paths, layout.folder / PATCHES[protocol] / part, options, material.options.jobs)
        counts[f"{part} clips"] = found.summary()
    return counts


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


def main(options: PreprocessOptions) -> dict[str, Any]:
    """Turn raw material into dlrs-data: factors from plays, tf-idf from texts, patches from clips."""
    started = time.perf_counter()
    chosen = PrepareOptions(**{f.name: getattr(options, f.name) for f in dataclasses.fields(PrepareOptions)})
    dataset, kind = find_dataset(options.data_dir)
    if kind == "dlrs":
        raise UserError(f"{dataset.raw}: holds dlrs-data already; name raw material with --data-dir")
    layout = prepare(dataset, kind, chosen, options.parts, options.protocol, options.out)
    seconds = time.perf_counter() - started
    made = {name: part["counts"] for name, part in read_state(layout.folder).items()}
    print(f"{dataset.name}{' (synthetic)' if dataset.synthetic else ''}, dlrs-data in {layout.folder}, {seconds:.1f} s")
    for name, counts in made.items():
        listed = (f"{key}: {value:,}" if isinstance(value, int) else f"{key}: {value}" for key, value in counts.items())
        print(f"{name}: " + "; ".join(listed))
    return {"folder": str(layout.folder), "dataset": dataset.name, "made": made, "seconds": seconds}


if __name__ == "__main__":
    run_script(main, PreprocessOptions)
