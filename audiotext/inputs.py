"""Network inputs: tf-idf, patches of sound, and the embeddings of networks trained before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from audiotext.architecture import Branch
from audiotext.audio.scaler import RELEASED_ROWS, Scaler
from audiotext.dataset import Items, owner_rows
from audiotext.kinds import TEXT_KINDS, Text
from audiotext.layout import ARTISTS, PATCHED, SONGS, Layout, Split
from audiotext.matrices import DAMAGED, read_dense, read_ids, write_dense
from audiotext.options import AudioTextOptions
from audiotext.preprocess import tfidf_path
from audiotext.rows import Patches, Repeated, Rows, Selected, as_rows
from audiotext.splits import Split as Rows3
from audiotext.stored import SCALER, TEXT, load_embedding, read_facts
from audiotext.training import Predictor
from common.console import counted
from common.options import UserError, replacing, require
from common.vocabulary import digest

SPLITS: tuple[Split, ...] = ("train", "test")
EMBEDDING_BLOCK = 256
Run = Callable[[str], Path]
"""Trains the network of a kind, unless that is done, and returns the folder of its run."""


@dataclass
class Inputs:
    """What a network reads, and what the baselines do.

    Attributes:
        rows: split -> input of the network -> its rows.
        sizes: of the network, as the data fix them.
        features: ``text`` and ``sound`` -> features of the training and of the test items, for the baselines.
        text: see :func:`text_of`.
        runs: branch -> the run that its embedding comes from.
    """

    rows: dict[Split, dict[str, Rows]] = field(default_factory=lambda: {"train": {}, "test": {}})
    sizes: dict[str, int] = field(default_factory=dict)
    features: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    text: Text | None = None
    runs: dict[str, Path] = field(default_factory=dict)

    def add(self, name: Branch, train: Any, test: Any, **sizes: int) -> None:
        """Add an input."""
        self.rows["train"][name], self.rows["test"][name] = as_rows(train), as_rows(test)
        self.sizes |= sizes


def text_of(options: AudioTextOptions, layout: Layout) -> Text | None:
    """Which text a network, or the branch whose embedding it reads, has; None if it reads none or it is ready-made.

    Raises:
        UserError: it is not there.
    """
    kind = options.model
    if options.text_run is not None:
        return read_facts(options.text_run, TEXT_KINDS)["kind"]
    ready = layout.find(layout.artist_embedding_name("train")).is_file()
    if kind == "audio" or (kind.startswith("mm-lf") and options.text == "auto" and ready):
        return None
    wanted = kind if kind in TEXT_KINDS else options.text
    for text in ("a-sem", "a-text", "a-tags") if wanted == "auto" else (wanted,):
        if layout.find(layout.text_name("train", text)).is_file():
            return text  # type: ignore[return-value]
    missing = layout.path(layout.text_name("train", "a-sem" if wanted == "auto" else wanted))
    raise UserError(f"{missing}: no such file; the dataset has no text for --model {kind}")


def input_fingerprints(options: AudioTextOptions, layout: Layout) -> dict[str, str]:
    """``text`` and ``sound`` -> SHA-256 over the files of it that a network, or a branch that it needs, reads.

    Raises:
        UserError: as :func:`text_of`, or a file cannot be read.
    """
    found, kind, text = {}, options.model, text_of(options, layout)
    if text is not None:
        files = [layout.find(layout.text_name(part, text)) for part in SPLITS]
        found["text"] = layout.fingerprint([*files, tfidf_path(layout, text)])
    elif kind != "audio":
        found["text"] = layout.fingerprint([layout.find(layout.artist_embedding_name(part)) for part in SPLITS])
    if kind not in TEXT_KINDS:
        files = [layout.find(layout.audio_name(part)) for part in SPLITS]
        if kind in ("audio", "mm") or options.audio_run is not None or not files[0].is_file():
            files = [layout.patches(options.protocol, part) for part in SPLITS]
        found["sound"] = layout.fingerprint(files)
    return found


def read_inputs(
    options: AudioTextOptions, layout: Layout, items: Items, split: Rows3, folder: Path, run: Run
) -> Inputs:
    """The inputs of the network that complete options describe; branches that it needs are trained first.

    Args:
        split: of the training items, for the scale of the patches.
        folder: of the run; keeps the scale and the embeddings.
        run: see :data:`Run`.

    Raises:
        UserError: something that the network reads is missing or does not fit.
    """
    found, kind = Inputs(text=text_of(options, layout)), options.model
    if kind in TEXT_KINDS or kind in ("mm", "seed"):
        assert found.text
        matrices = [layout.load_text(part, found.text, ARTISTS if kind in TEXT_KINDS else SONGS) for part in SPLITS]
        found.add("text", *matrices, text=_same_columns(layout, found.text, matrices))
        found.features["text"] = matrices[0], matrices[1]
        _keep_vectoriser(layout, found.text, folder)
    if kind in ("audio", "mm"):
        _add_patches(found, options, layout, items, split, folder)
    if kind.startswith("mm-lf"):
        _add_artist_embedding(found, options, layout, items, folder, run)
    if kind.startswith(("mm-lf", "seed")):
        _add_audio_embedding(found, options, layout, items, folder, run)
    return found


def _same_columns(layout: Layout, text: str, matrices: list[sparse.csr_matrix]) -> int:
    train, test = (matrix.shape[1] for matrix in matrices)
    path = layout.find(layout.text_name("test", text))
    require(
        train == test, f"{path}: has {counted(test, 'column')}, those of training {train:,}; both need the same terms"
    )
    return train


def _keep_vectoriser(layout: Layout, text: str, folder: Path) -> None:
    """Copy what turns a new text into a row, if the dataset has it, beside the weights."""
    source = tfidf_path(layout, text)
    if source.is_file():
        with replacing(folder / TEXT) as file:
            file.write(source.read_bytes())


def _add_patches(
    found: Inputs, options: AudioTextOptions, layout: Layout, items: Items, split: Rows3, folder: Path
) -> None:
    patches = _patches(layout, options.protocol, items)
    rows = split.train[split.train < RELEASED_ROWS] if options.protocol == "released" else split.train
    scaler = Scaler.fit(patches["train"], rows)
    scaler.save(folder / SCALER)
    frames, bins = patches["train"].shape[1:]
    found.add("audio", *(Patches(patches[part], scaler) for part in SPLITS), frames=frames, bins=bins)
    summaries = [sound_summary(patches[part]) for part in SPLITS]
    found.features["sound"] = standardised(*summaries)


def read_patches(layout: Layout, split: Split, protocol: str, count: int) -> NDArray[Any] | Selected:
    """The patches of a split (songs, frames, bins), memory-mapped.

    Raises:
        UserError: they are missing, damaged or of another number of songs.
    """
    path = layout.patches(protocol, split)
    require(path.is_file(), f"{path}: no such file; the dataset has no sound to train an audio network on")
    try:
        stored: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        shape, numbers = stored.shape, stored.dtype.kind == "f"
    except DAMAGED as error:
        raise UserError(f"{path}: cannot be read as patches: {error}; delete it and extract again") from None
    require(
        numbers and len(shape) == 3 and min(shape) > 0,
        f"{path}: holds {stored.dtype} of shape {shape}; expected patches (songs, frames, bins)",
    )
    patches: NDArray[Any] | Selected = stored
    if layout.sound:
        row = {song: number for number, song in enumerate(read_ids(layout.sound / PATCHED))}
        patches = Selected(stored, np.array([row[song] for song in layout.load_index(split, SONGS)], np.int64))
    require(len(patches) == count, f"{path}: has {counted(len(patches), 'row')}; expected {count:,}, one per song")
    return patches


def _patches(layout: Layout, protocol: str, items: Items) -> dict[Split, NDArray[Any] | Selected]:
    """The patches of both splits, which must be of one size."""
    found = {part: read_patches(layout, part, protocol, len(ids)) for part, ids in _ids(items)}
    train, test = (found[part].shape[1:] for part in SPLITS)
    path = layout.patches(protocol, "test")
    require(train == test, f"{path}: has patches of {test}, but those of training are of {train}")
    return found


def _ids(items: Items) -> tuple[tuple[Split, list[str]], ...]:
    return ("train", items.train), ("test", items.test)


def sound_summary(patches: NDArray[Any] | Selected) -> NDArray[np.float64]:
    """Mean and deviation of each bin over the frames (n, 2 * bins): what ridge regression hears of a song.

    Raises:
        UserError: a patch holds NaN or infinite values.
    """
    rows = []
    for start in range(0, len(patches), EMBEDDING_BLOCK):
        block = np.asarray(patches[start : start + EMBEDDING_BLOCK], np.float64)
        require(bool(np.isfinite(block).all()), f"patches {start} to {start + len(block) - 1} hold NaN or infinity")
        rows.append(np.concatenate([block.mean(axis=1), block.std(axis=1)], axis=1))
    return np.concatenate(rows)


def standardised(train: NDArray[Any], test: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Columns of mean 0 and deviation 1 in training, in both."""
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (train - mean) / deviation, (test - mean) / deviation


def _add_artist_embedding(
    found: Inputs, options: AudioTextOptions, layout: Layout, items: Items, folder: Path, run: Run
) -> None:
    if found.text is None:
        ready = [layout.load_artist_embedding(part) for part in SPLITS]
        found.add("text", *ready, text=_same_width(ready, layout.find(layout.artist_embedding_name("test"))))
        return
    owners = [owner_rows(layout, items, part) for part in SPLITS]  # first: training the branch takes its time
    found.runs["text"] = source = options.text_run or run(found.text)
    facts = read_facts(source, TEXT_KINDS)
    _require_same_data(source, facts, "text", layout.load_index("train", ARTISTS), options, layout)
    rows: dict[Split, Any] = {part: as_rows(layout.load_text(part, found.text, ARTISTS)) for part in SPLITS}
    vectors = _embedded(source, "text", rows, folder, len(layout.load_index("train", ARTISTS)))
    repeated = [Repeated(as_rows(v), rows) for v, rows in zip(vectors, owners, strict=True)]
    found.add("text", *repeated, text=vectors[0].shape[1])
    found.features["text"] = tuple(layout.load_text(part, found.text, SONGS) for part in SPLITS)  # type: ignore[assignment]


def _add_audio_embedding(
    found: Inputs, options: AudioTextOptions, layout: Layout, items: Items, folder: Path, run: Run
) -> None:
    if options.audio_run is None and layout.find(layout.audio_name("train")).is_file():
        vectors = [layout.load_audio(part) for part in SPLITS]
        width = _same_width(vectors, layout.find(layout.audio_name("test")))
    else:
        source = options.audio_run or run("audio")
        _require_same_data(source, read_facts(source, ("audio",)), "sound", items.train, options, layout)
        found.runs["audio"] = source
        scaler = Scaler.load(source / SCALER)
        patches = _patches(layout, options.protocol, items)
        require(
            patches["train"].shape[1:] == scaler.mean.shape,
            f"--audio-run {source}: reads patches of {scaler.mean.shape}, the dataset has {patches['train'].shape[1:]}",
        )
        rows = {part: Patches(patches[part], scaler) for part in SPLITS}
        vectors = _embedded(source, "audio", rows, folder, len(items.train))
        width = vectors[0].shape[1]
    found.add("audio", *vectors, audio=width)
    found.features["sound"] = vectors[0], vectors[1]


def _require_same_data(
    source: Path, facts: dict[str, Any], name: str, ids: list[str], options: AudioTextOptions, layout: Layout
) -> None:
    """A branch that was trained on other items may have seen the test items; one of other texts knows other terms."""
    same = facts.get("train_items") == digest(ids)
    require(same, f"{source}: was trained on other items than those of this dataset; name a run on the same data")
    known, now = facts["dataset"].get("inputs", {}).get(name), input_fingerprints(options, layout)[name]
    require(
        known == now, f"{source}: was trained on another {name} than that of this dataset; name a run on the same data"
    )


def _same_width(vectors: list[NDArray[Any]], path: Path) -> int:
    train, test = (part.shape[1] for part in vectors)
    require(train == test, f"{path}: has {counted(test, 'column')}, but those of training {train:,}")
    return train


def _embedded(source: Path, branch: Branch, rows: Any, folder: Path, train_rows: int) -> list[NDArray[Any]]:
    """The embeddings of the training and the test rows, kept in ``folder``."""
    network = None
    found = []
    for part in SPLITS:
        file = folder / f"{branch}_embedding_{part}.npy"
        if not file.is_file():  # else of this very run, which is being resumed
            network = network or Predictor(load_embedding(source, branch), EMBEDDING_BLOCK)
            write_dense(file, network({branch: rows[part]}))
        found.append(read_dense(file))
    require(len(found[0]) == train_rows, f"{folder}: its embeddings are of another dataset; start the run anew")
    return found
