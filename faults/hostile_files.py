"""HDF5 files and others that somebody made to do harm."""

from __future__ import annotations

import json
import pickle
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from faults.hostile_archives import Damage, Payload, canary

Change = Callable[[Any, Path], None]


def h5_with(name: str, change: Change, folder: Path) -> None:
    """Change an HDF5 file of weights: ``change`` is told the file and the folder."""
    with h5py.File(folder / name, "r+") as file:
        change(file, folder)


def _first(file: Any) -> tuple[Any, str]:
    """The group and the name of the first array with more than one number."""
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) and item.size > 1 else None)
    parent, _, last = found[0].rpartition("/")
    return (file[parent] if parent else file), last


def _secret(folder: Path) -> Path:
    """Another HDF5 file, outside, whose arrays would fit."""
    path = canary(folder).with_name("secret.h5")
    if not path.exists():
        with h5py.File(path, "w") as file:
            file["secret"] = np.full((64, 64), 0.5, np.float32)
    return path


def _external_link(file: Any, folder: Path) -> None:
    group, name = _first(file)
    del group[name]
    group[name] = h5py.ExternalLink(str(_secret(folder)), "/secret")


def _cycle(file: Any, _: Path) -> None:
    group, name = _first(file)
    del group[name]
    group[name] = h5py.SoftLink(f"{group.name}/{name}")


def _hard_cycle(file: Any, _: Path) -> None:
    group, name = _first(file)
    del group[name]
    group[name] = file["/"]


def _virtual(file: Any, folder: Path) -> None:
    group, name = _first(file)
    shape = group[name].shape
    del group[name]
    layout = h5py.VirtualLayout(shape, np.float32)
    source = h5py.VirtualSource(str(_secret(folder)), "secret", (64, 64))
    layout[...] = source[tuple(slice(n) for n in shape)] if len(shape) == 2 else source[0, : shape[0]]
    group.create_virtual_dataset(name, layout)


def _external_storage(file: Any, _: Path) -> None:
    group, name = _first(file)
    shape = group[name].shape
    del group[name]
    size = int(np.prod(shape)) * 4
    group.create_dataset(name, shape, np.float32, external=[("/etc/passwd", 0, size)])


def _huge(rows: int, columns: int, packed: bool, file: Any, _: Path) -> None:
    group, name = _first(file)
    del group[name]
    options: dict[str, Any] = {"compression": "gzip"} if packed else {}
    group.create_dataset(name, (rows, columns), np.float32, chunks=(1000, 1000), fillvalue=0.5, **options)


def _bomb(file: Any, _: Path) -> None:
    group, name = _first(file)
    del group[name]
    array = group.create_dataset(name, (4096, 262144), np.float32, chunks=(256, 262144), compression="gzip")
    chunk = zlib.compress(bytes(256 * 262144 * 4), 9)
    for row in range(0, 4096, 256):
        array.id.write_direct_chunk((row, 0), chunk)


def _pickles(file: Any, folder: Path) -> None:
    content = np.void(pickle.dumps(Payload(canary(folder))))
    for name in ("model_config", "layer_names", "weight_names", "backend", "keras_version"):
        for group in (file, *(item for item in file.values() if isinstance(item, h5py.Group))):
            group.attrs[name] = content


def _many_names(file: Any, _: Path) -> None:
    file.attrs.create("layer_names", np.array([b"dense_1"] * 7000))


def _endless_name(file: Any, _: Path) -> None:
    file.attrs["layer_names"] = [b"/".join([b"dense_1"] * 5000)]


def truncated(name: str, share: float, folder: Path) -> None:
    """Cut a file off."""
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])


def text_of(name: str, text: str, folder: Path) -> None:
    """Replace a file by a text."""
    (folder / name).write_text(text, "utf-8")


def sparse_file(name: str, size: int, folder: Path) -> None:
    """Replace a file by one of zeros that takes no space."""
    with (folder / name).open("wb") as file:
        file.truncate(size)


def _wav(frames: int, rate: int, channels: int, folder: Path) -> None:
    sizes = struct.pack("<HHLLHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    head = b"fmt " + struct.pack("<L", 16) + sizes + b"data" + struct.pack("<L", frames)
    (folder / "clip.wav").write_bytes(b"RIFF" + struct.pack("<L", 2**32 - 1) + b"WAVE" + head + bytes(4096))


def _midi(tracks: int, folder: Path) -> None:
    event = b"\xff\xff\xff\x7f\x90\x40\x40" * 500 + b"\0\xff\x2f\0"
    track = b"MTrk" + struct.pack(">L", len(event)) + event
    (folder / "song.mid").write_bytes(b"MThd" + struct.pack(">LHHH", 6, 1, tracks, 96) + track * min(tracks, 300))


def _nested(depth: int) -> str:
    return "[" * depth + "]" * depth


_H5: dict[str, Change] = {
    "external link": _external_link,
    "soft link to itself": _cycle,
    "hard link to its root": _hard_cycle,
    "virtual dataset of another file": _virtual,
    "storage in another file": _external_storage,
    "shape of 4 TB, nothing stored": partial(_huge, 1_000_000, 1_000_000, False),
    "shape of 6 GB, nothing stored": partial(_huge, 40_000, 40_000, False),
    "shape of 6 GB, nothing stored, packed": partial(_huge, 40_000, 40_000, True),
    "4 GB of zeros": _bomb,
    "pickles as attributes": _pickles,
}
_WEIGHTS = (("keras 2 h5", "old.h5"), ("model.weights.h5", "model.weights.h5"))
_JSON = (("options.json", "options.json"), ("metrics.json", "metrics.json"), ("vocabulary.json", "vocabulary.json"),
         ("preset.json", "preset.json"))  # fmt: skip
FILES: tuple[tuple[str, str, Damage], ...] = (
    *((f"h5: {what}", form, partial(h5_with, name, change)) for form, name in _WEIGHTS for what, change in _H5.items()),
    *((f"h5: cut off at {share:.0%}", form, partial(truncated, name, share))
      for form, name in _WEIGHTS for share in (0.0, 0.1, 0.5, 0.99)),
    ("h5: 7,000 names of layers", "keras 2 h5", partial(h5_with, "old.h5", _many_names)),
    ("h5: a name of 40,000 bytes", "keras 2 h5", partial(h5_with, "old.h5", _endless_name)),
    *((f"json: {what}", form, partial(text_of, name, text)) for form, name in _JSON for what, text in (
        ("a million brackets", _nested(1_000_000)), ("a number of a million digits", "1" * 1_000_000),
        ("of another type", json.dumps({"options": [], "metrics": 3, "ids": {}, "dataset": 0, "seed": {}})),
        ("NaN", '{"options": NaN, "metrics": Infinity}'))),
    *((f"{kind}: a terabyte that takes no space", form, partial(sparse_file, name, 2**40)) for kind, form, name in (
        ("npy", "audiotext npy", "factors.npy"), ("npz", "audiotext npz", "plays.npz"),
        ("h5", "keras 2 h5", "old.h5"), ("h5", "model.weights.h5", "model.weights.h5"),
        ("midi", "seer midi", "song.mid"), ("wav", "audiotext wav", "clip.wav"),
        ("csv", "seer csv", "triplets.txt"), ("zip", "seer arrays zip", "midi_array.zip"),
        ("tar", "mssd tar.gz", "logs.tar.gz"), ("tsv", "audiotext tsv", "songs.tsv"))),
    ("wav: four billion bytes promised", "audiotext wav", partial(_wav, 2**32 - 1, 22_050, 1)),
    ("wav: one sample a second", "audiotext wav", partial(_wav, 4096, 1, 1)),
    ("wav: two billion samples a second", "audiotext wav", partial(_wav, 4096, 2**31 - 1, 1)),
    ("wav: 65,535 channels", "audiotext wav", partial(_wav, 4096, 22_050, 65_535)),
    ("midi: endless rests", "seer midi", partial(_midi, 1)),
    ("midi: 65,535 tracks promised", "seer midi", partial(_midi, 65_535)),
)  # fmt: skip
