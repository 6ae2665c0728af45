"""Read many MIDI files in parallel, so that an interrupted run can continue where it was."""

from __future__ import annotations

import contextlib
import hashlib
import os
import zipfile
import zlib
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common import console
from common.arrays import state_of
from common.options import UserError, reason_of, replacing
from common.workers import in_processes
from seer.midi import NoteEnds, SeveralNotes, read_note_ons, steps_of

VERSION = 2
"""Of the conversion; songs kept by another version are converted anew."""


@dataclass(frozen=True)
class Converted:
    """A song whose MIDI file has been read."""

    path: Path
    """.npz with its steps and times."""
    steps: int
    seconds: float
    """Until its last note."""
    repairs: tuple[str, ...] = ()
    """What of the file breaks the standard and was read all the same."""


def convert_all(
    folder: Path,
    files: dict[str, str],
    cache: Path,
    several_notes: SeveralNotes,
    note_ends: NoteEnds,
    workers: int | None = None,
) -> tuple[dict[str, Converted], dict[str, str]]:
    """Read the file of each song (song id -> file in ``folder``) by ``workers`` processes (None: one per core).

    A song whose unchanged file has been read into ``cache`` with the same choices is not read again.

    Returns:
        The songs that were read, and for each other one the reason why it was not.

    Raises:
        UserError: the operating system ended a worker.
    """
    cache.mkdir(parents=True, exist_ok=True)
    workers = min(workers or os.cpu_count() or 1, max(len(files), 1))
    tasks = (repeat(folder), files.values(), repeat(cache), repeat(several_notes), repeat(note_ends))
    converted: dict[str, Converted] = {}
    failed: dict[str, str] = {}
    with contextlib.closing(in_processes(_convert, *tasks, workers=workers)) as results:
        bar = tqdm(results, "reading MIDI files", len(files), unit=" songs", delay=2, disable=console.no_bar())
        try:
            for song, result in zip(files, bar, strict=True):
                if isinstance(result, Converted):
                    converted[song] = result
                else:
                    failed[song] = result
        except BrokenProcessPool as error:
            message = "a process that read MIDI files was ended (out of memory?); try again with fewer --workers"
            raise UserError(f"{message}: what has been read is kept") from error
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"the songs read so far are kept in {cache}: the same command continues") from None
    return converted, failed


def _convert(folder: Path, file: str, cache: Path, several_notes: SeveralNotes, note_ends: NoteEnds) -> Converted | str:
    """Read one file into ``cache``; returns a text that says why if that is impossible."""
    path = folder / file
    try:
        if not path.is_file():
            return "is a folder" if path.is_dir() else "no such file"
        key = repr((VERSION, file, state_of(path), several_notes, note_ends))
        target = cache / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"
        kept = _read_kept(target)
        if kept is not None:
            return kept
        note_ons = read_note_ons(path)
        steps, times = steps_of(note_ons, several_notes, note_ends)
    except UserError as error:
        return " ".join(str(error).removeprefix(f"{path}: ").split())
    except OSError as error:
        return f"cannot be read: {reason_of(error)}"
    if len(steps) == 0:
        return "has no note"
    if note_ons.end <= 0:
        return "all its notes lie at time 0"
    with replacing(target) as stream:
        np.savez_compressed(
            stream, steps=steps, times=times, seconds=note_ons.end / 1e6, repairs=np.array(note_ons.repairs, str)
        )
    return Converted(target, len(steps), note_ons.end / 1e6, note_ons.repairs)


def _read_kept(path: Path) -> Converted | None:
    try:
        with np.load(path, allow_pickle=False) as kept:
            return Converted(path, len(kept["steps"]), float(kept["seconds"]), tuple(kept["repairs"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        return None
