"""One patch of each track, extracted in parallel into a memory-mapped file; an interrupted extraction goes on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Generator, Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from audiotext.audio.features import BINS, FLOOR, Protocol, is_silent, log_cqt
from common import console
from common.arrays import State, state_of
from common.options import UserError, replacing, require
from common.workers import in_processes

FRAMES = 322
"""Of a patch: 15 s, int(15 * 22050 / 1024)."""
VERSION = 1
"""Of the extraction; patches of another version are extracted anew."""
OK, SHORT, SILENT, FAILED = 1, 2, 3, 4
"""What became of a track: whole, continued with silence, silent, no patch. 0: not yet tried."""
KINDS = {SHORT: "short", SILENT: "silent", FAILED: "failed"}
_AGAIN = "what has been extracted is kept: the same command goes on"
_Found = tuple[int, str, Any]
_STATE = np.dtype([("key", "<u8"), ("status", "u1")])


@dataclass(frozen=True)
class PatchOptions:
    """What a patch is."""

    frames: int = FRAMES
    """Its length."""
    seed: int = 1
    """Of where in the track it begins."""
    protocol: Protocol = "corrected"
    """Decides what silence is, and what a short track is continued with."""


@dataclass(frozen=True)
class Extraction:
    """The patches of a list of tracks.

    Attributes:
        patches: (tracks, frames, 96) float16, memory-mapped, in dB; a track that failed has -80 everywhere.
        status: (tracks,) one of OK, SHORT, SILENT, FAILED.
        problems: track -> why it is not OK.
    """

    patches: np.ndarray
    status: np.ndarray
    problems: dict[str, str]

    @property
    def usable(self) -> np.ndarray:
        """(tracks,) whether there is a patch."""
        return self.status != FAILED

    def summary(self) -> str:
        """One line, such as ``900 tracks: 897 whole, 1 silent, 2 failed``."""
        counts = [(name, int((self.status == kind).sum())) for kind, name in ((OK, "whole"), *KINDS.items())]
        return f"{len(self.status):,} tracks: " + ", ".join(f"{count:,} {name}" for name, count in counts if count)


def patch_of(spectrogram: np.ndarray, track: str, options: PatchOptions) -> np.ndarray:
    """A patch (frames, 96) of a track's spectrogram, its start drawn from (seed, track).

    A short track is continued to the end with -80 dB; in the released code with 0, which is not silence but full level.
    """
    missing = options.frames - len(spectrogram)
    if missing >= 0:
        value = FLOOR if options.protocol == "corrected" else 0.0
        return np.pad(spectrogram, ((0, missing), (0, 0)), constant_values=value)
    code = int.from_bytes(hashlib.sha256(track.encode()).digest()[:8], "little")
    start = int(np.random.default_rng((options.seed, code)).integers(0, -missing + 1))
    return spectrogram[start : start + options.frames]


def extract_all(
    paths: Mapping[str, Path | None],
    folder: Path,
    options: PatchOptions | None = None,
    jobs: int | None = None,
    quiet: bool = False,
) -> Extraction:
    """Extract the patch of each track (id -> its audio file, None if there is none) into ``folder``.

    ``folder`` then holds ``patches.npy``, ``state.npy`` and ``problems.tsv`` (track, what, why). Tracks whose unchanged
    file has been tried with the same options are not tried again, so the same command goes on after an interruption.

    Args:
        paths: in the order of the rows.
        folder: for the patches of this list.
        options: default: of the paper.
        jobs: processes; None: one per core, but at least a hundred tracks for each, as starting one takes seconds.
        quiet: show no progress.

    Raises:
        UserError: no track has a patch, the disk is too small, or the operating system ended a process.
    """
    options = options or PatchOptions()
    require(len(paths) > 0, "no track to extract a patch of")
    keys = np.array([_key(track, path, options) for track, path in paths.items()], np.uint64)
    patches, state = _open(folder, (len(paths), options.frames, BINS))
    problems = _read_problems(folder)
    todo = np.flatnonzero((state["key"] != keys) | (state["status"] == 0))
    tracks = list(paths)
    tasks = [(tracks[i], paths[tracks[i]]) for i in todo]
    results = _results(tasks, options, jobs)
    bar = tqdm(
        results, "extracting audio", len(paths), initial=len(paths) - len(todo), unit=" tracks",
        delay=2, disable=console.no_bar(quiet),
    )  # fmt: skip
    try:
        with (folder / "problems.tsv").open("a", encoding="utf-8") as log, contextlib.closing(results):
            for row, (status, reason, patch) in zip(todo, bar, strict=True):
                patches[row] = patch
                if reason:
                    problems[tracks[row]] = reason
                    log.write(f"{tracks[row]}\t{KINDS[status]}\t{reason}\n")
                    log.flush()
                state[row] = (keys[row], status)  # last: a kill before it only means that this row is tried again
    except BrokenProcessPool as error:
        message = "a process that read audio was ended (out of memory?); try again with fewer jobs"
        raise UserError(f"{message}: {_AGAIN}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_AGAIN) from None
    patches.flush()
    state.flush()
    found = Extraction(np.load(folder / "patches.npy", mmap_mode="r"), state["status"].copy(), {})
    for track, status in zip(tracks, found.status, strict=True):
        if status != OK:
            found.problems[track] = problems.get(track, KINDS[int(status)])
    _write_problems(folder, tracks, found)
    first = next(iter(found.problems.values()), "")
    require(bool(found.usable.any()), f"none of {len(paths):,} tracks could be extracted; the first: {first}")
    return found


def _extract(track: str, path: Path | None, options: PatchOptions) -> _Found:
    """What became of a track, why, and its patch."""
    try:
        require(path is not None, "no audio file")
        assert path is not None
        spectrogram = log_cqt(path, options.protocol)
    except UserError as error:
        return FAILED, _one_line(str(error)), np.float16(FLOOR)
    patch = patch_of(spectrogram, track, options).astype(np.float16)
    if is_silent(spectrogram, options.protocol):
        return SILENT, _one_line(f"{path}: nothing is heard"), patch
    if len(spectrogram) < options.frames:
        return SHORT, _one_line(f"{path}: {len(spectrogram)} of {options.frames} frames"), patch
    return OK, "", patch


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _results(
    tasks: list[tuple[str, Path | None]], options: PatchOptions, jobs: int | None
) -> Generator[_Found, None, None]:
    if not tasks:
        return
    jobs = min(jobs or max(min(os.cpu_count() or 1, len(tasks) // 100), 1), len(tasks))
    arguments = ([track for track, _ in tasks], [path for _, path in tasks], repeat(options))
    yield from in_processes(_extract, *arguments, workers=jobs)


def _key(track: str, path: Path | None, options: PatchOptions) -> int:
    """What a row depends on; never 0."""
    state: State | None = None
    if path is not None:
        with contextlib.suppress(OSError):
            state = state_of(path)
    text = repr((VERSION, track, str(path), state, sorted(asdict(options).items())))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") | 1


def _open(folder: Path, shape: tuple[int, int, int]) -> tuple[Any, Any]:
    """The arrays of ``folder`` for reading and writing; new ones if they are missing or of another shape."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        patches = np.lib.format.open_memmap(folder / "patches.npy", mode="r+")
        state = np.lib.format.open_memmap(folder / "state.npy", mode="r+")
        if (patches.shape, patches.dtype) == (shape, np.float16) and (state.shape, state.dtype) == (shape[:1], _STATE):
            return patches, state
    except (OSError, ValueError):
        pass
    for name in ("state.npy", "patches.npy"):
        (folder / name).unlink(missing_ok=True)
    size, free = 2 * shape[0] * shape[1] * shape[2], shutil.disk_usage(folder).free
    # Writing to a memory map on a full disk would end the process without a word.
    require(size <= free, f"{folder}: the patches take {size / 2**30:.1f} GB, only {free / 2**30:.1f} GB are free")
    patches = np.lib.format.open_memmap(folder / "patches.npy", "w+", np.float16, shape)
    return patches, np.lib.format.open_memmap(folder / "state.npy", "w+", _STATE, shape[:1])


def _read_problems(folder: Path) -> dict[str, str]:
    path = folder / "problems.tsv"
    lines = path.read_bytes().decode("utf-8", "replace").split("\n") if path.is_file() else []
    fields = [line.split("\t", 2) for line in lines]
    return {track: reason for track, _, reason in (found for found in fields if len(found) == 3)}


def _write_problems(folder: Path, tracks: list[str], found: Extraction) -> None:
    with replacing(folder / "problems.tsv", "w") as file:
        file.writelines(
            f"{track}\t{KINDS[int(status)]}\t{found.problems[track]}\n"
            for track, status in zip(tracks, found.status, strict=True)
            if status != OK
        )
