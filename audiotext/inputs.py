"""Network inputs: tf-idf, patches of sound, and the embeddings of networks trained before."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
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
from audiotext.text import TfIdf
from audiotext.weights import read_facts
from common.console import counted
from common.options import UserError, require

SPLITS: tuple[Split, ...] = ("train", "test")
EMBEDDING_BLOCK = 256
Embed = Callable[[Mapping[str, Any]], NDArray[Any]]
"""What an embedding network makes of the rows of its input."""


@dataclass(frozen=True)
class Pending:
    """What the network of a branch reads, whose embedding another network reads.

    Attributes:
        rows: split -> what it reads: texts of the artists, or patches before they are scaled.
        size: its terms, or (frames, bins).
        owners: split -> artist of each song, where the rows are the artists'.
    """

    rows: dict[Split, Any]
    size: dict[str, int]
    owners: dict[Split, NDArray[np.int64]] | None = None


@dataclass
class Inputs:
    """What a network reads, and what the baselines do.

    Attributes:
        text: see :func:`text_of`.
        rows: split -> input of the network -> its rows.
        sizes: of the network, as the data fix them.
        features: ``text`` and ``sound`` -> features of the training and of the test items, for the baselines.
        pending: branch -> what its embeddings have yet to be made of, by :meth:`embed`.
        tfidf: what turns a new text into a row, if the dataset has it.
        scaler: of the patches that the network itself reads.
    """

    text: Text | None = None
    rows: dict[Split, dict[str, Rows]] = field(default_factory=lambda: {"train": {}, "test": {}})
    sizes: dict[str, int] = field(default_factory=dict)
    features: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    pending: dict[Branch, Pending] = field(default_factory=dict)
    tfidf: TfIdf | None = None
    scaler: Scaler | None = None

    def add(self, name: Branch, train: Any, test: Any, **sizes: int) -> None:
        """Add an input."""
        self.rows["train"][name], self.rows["test"][name] = as_rows(train), as_rows(test)
        self.sizes |= sizes

    def embed(self, branch: Branch, network: Embed, scaler: Scaler | None, folder: Path | None) -> None:
        """Add the embeddings that the network of a branch makes.

        Args:
            branch: one that is pending.
            network: see :data:`Embed`.
            scaler: of the patches that it reads.
            folder: of the run, which keeps them; None: they stay in memory.
        """
        pending = self.pending.pop(branch)
        rows = {part: Patches(found, scaler) if scaler else as_rows(found) for part, found in pending.rows.items()}
        vectors = [_embedded(network, branch, part, rows[part], folder) for part in SPLITS]
        if pending.owners is None:
            self.features["sound"] = vectors[0], vectors[1]
            self.add(branch, *vectors)
            return
        owners = pending.owners
        self.add(branch, *(Repeated(as_rows(v), owners[part]) for v, part in zip(vectors, SPLITS, strict=True)))


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


def embedded(options: AudioTextOptions, layout: Layout, text: Text | None) -> list[Branch]:
    """The branches whose embeddings a network reads, unless the dataset has them ready-made."""
    branches: list[Branch] = ["text"] if options.model.startswith("mm-lf") and text is not None else []
    ready = options.audio_run is None and layout.find(layout.audio_name("train")).is_file()
    return [*branches, "audio"] if options.model.startswith(("mm-lf", "seed")) and not ready else branches


def input_fingerprints(
    options: AudioTextOptions, layout: Layout, text: Text | None, branches: Collection[Branch]
) -> dict[str, str]:
    """``text`` and ``sound`` -> SHA-256 over the files of it that a network, or a branch that it needs, reads.

    Raises:
        UserError: a file cannot be read.
    """
    found, kind = {}, options.model
    if text is not None:
        files = [layout.find(layout.text_name(part, text)) for part in SPLITS]
        found["text"] = layout.fingerprint([*files, tfidf_path(layout, text)])
    elif kind != "audio":
        found["text"] = layout.fingerprint([layout.find(layout.artist_embedding_name(part)) for part in SPLITS])
    if kind not in TEXT_KINDS:
        patched = kind in ("audio", "mm") or "audio" in branches
        files = [layout.patches(options.protocol, p) if patched else layout.find(layout.audio_name(p)) for p in SPLITS]
        found["sound"] = layout.fingerprint(files)
    return found


def read_inputs(
    options: AudioTextOptions,
    layout: Layout,
    items: Items,
    split: Rows3,
    text: Text | None,
    branches: Collection[Branch],
) -> Inputs:
    """The inputs of the network that complete options describe; embeddings of branches are pending.

    Args:
        split: of the training items, for the scale of the patches.
        text: see :func:`text_of`.
        branches: see :func:`embedded`.

    Raises:
        UserError: something that the network reads is missing or does not fit.
    """
    found, kind = Inputs(text), options.model
    if kind in TEXT_KINDS or kind in ("mm", "seed"):
        assert text
        matrices = _texts(layout, text, kind in TEXT_KINDS)
        found.add("text", *matrices, text=matrices[0].shape[1])
        found.features["text"] = matrices[0], matrices[1]
        if (known := tfidf_path(layout, text)).is_file():
            found.tfidf = TfIdf.load(known)
    if kind in ("audio", "mm"):
        _add_patches(found, options, layout, items, split)
    if kind.startswith("mm-lf"):
        _add_artist_embedding(found, layout, items, branches)
    if "audio" in branches:
        patches = _patches(layout, options.protocol, items)
        frames, bins = patches["train"].shape[1:]
        found.pending["audio"] = Pending(patches, {"frames": frames, "bins": bins})
    elif kind.startswith(("mm-lf", "seed")):
        vectors = [layout.load_audio(part) for part in SPLITS]
        found.add("audio", *vectors, audio=_same_width(vectors, layout.find(layout.audio_name("test"))))
        found.features["sound"] = vectors[0], vectors[1]
    return found


def _texts(layout: Layout, text: str, of_artists: bool) -> list[sparse.csr_matrix]:
    matrices = [layout.load_text(part, text, ARTISTS if of_artists else SONGS) for part in SPLITS]
    train, test = (matrix.shape[1] for matrix in matrices)
    path = layout.find(layout.text_name("test", text))
    require(
        train == test, f"{path}: has {counted(test, 'column')}, those of training {train:,}; both need the same terms"
    )
    return matrices


def _add_patches(found: Inputs, options: AudioTextOptions, layout: Layout, items: Items, split: Rows3) -> None:
    patches = _patches(layout, options.protocol, items)
    rows = split.train[split.train < RELEASED_ROWS] if options.protocol == "released" else split.train
    found.scaler = scaler = Scaler.fit(patches["train"], rows)
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


def _add_artist_embedding(found: Inputs, layout: Layout, items: Items, branches: Collection[Branch]) -> None:
    if "text" not in branches:
        ready = [layout.load_artist_embedding(part) for part in SPLITS]
        found.add("text", *ready, text=_same_width(ready, layout.find(layout.artist_embedding_name("test"))))
        return
    assert found.text
    owners = {part: owner_rows(layout, items, part) for part in SPLITS}
    train, test = _texts(layout, found.text, of_artists=True)
    found.pending["text"] = Pending({"train": train, "test": test}, {"text": train.shape[1]}, owners)
    found.features["text"] = train[owners["train"]], test[owners["test"]]


def _same_width(vectors: list[NDArray[Any]], path: Path) -> int:
    train, test = (part.shape[1] for part in vectors)
    require(train == test, f"{path}: has {counted(test, 'column')}, but those of training {train:,}")
    return train


def _embedded(network: Embed, branch: Branch, part: Split, rows: Rows, folder: Path | None) -> NDArray[Any]:
    """The embeddings of some rows; those that an interrupted run has left in ``folder`` are read again."""
    if folder is None:
        return network({branch: rows})
    file = folder / f"{branch}_embedding_{part}.npy"
    if not file.is_file():
        write_dense(file, network({branch: rows}))
    found = read_dense(file)
    require(len(found) == len(rows), f"{folder}: its embeddings are of another dataset; start the run anew")
    return found
