"""Every reader against the hostile files it may be given: refused or read, in bounded time and memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from faults.formats import FORMATS
from faults.hostile_archives import ARCHIVES, Damage, canary
from faults.hostile_files import FILES
from faults.mutations import CLASSES, Format
from faults.reading import Reader

SECONDS = 60.0
"""For files that are honest about their size but for the packing: 20 GB of zeros take long to look at."""


def attack_all(folder: Path, only: Collection[str] = ()) -> Iterator[dict[str, Any]]:
    """All hostile files of each format that has some; a row of the table for each."""
    for form in FORMATS:
        cases = {name: damage for name, of, damage in (*ARCHIVES, *FILES) if of == form.name}
        if cases and (not only or form.name in only):
            place = folder / form.name.replace(" ", "-")
            place.mkdir()
            yield attack(form, cases, place)


def attack(form: Format, cases: Mapping[str, Damage], folder: Path) -> dict[str, Any]:
    """Give a reader one hostile file after the other; a row of the table.

    Args:
        form: what to read, and how to write good files, which each case then damages.
        cases: name -> what makes a folder of good files hostile.
        folder: empty.

    Raises:
        RuntimeError: the good files cannot be read.
    """
    here, good = folder / "files", folder / "good"
    good.mkdir()
    form.write(good)
    shutil.copytree(good, here)
    row: dict[str, Any] = {"name": form.name, "files": len(cases), "refused": 0, "read": 0}
    row |= {"longest (s)": 0.0, "most memory (MB)": 0, "defects": [], "notes": {}}
    with Reader(form.read, here, folder / "scratch", SECONDS) as reader:
        warm = reader.ask()
        if warm.kind != "read":
            raise RuntimeError(f"{form.name}: the good files cannot be read: {warm.kind} {warm.text}")
        for name, damage in cases.items():
            for place in (here, canary(here).parent):
                shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(good, here)
            canary(here).parent.mkdir()
            damage(here)
            started = time.perf_counter()
            answer = reader.ask()
            seconds = time.perf_counter() - started
            kind, text = _broken_out(canary(here)) or (answer.kind, answer.text)
            _count(row, name, kind, text)
            row["longest (s)"] = max(row["longest (s)"], round(seconds, 1))
            row["most memory (MB)"] = max(row["most memory (MB)"], answer.peak // 2**20)
    return row


def _broken_out(sign: Path) -> tuple[str, str] | None:
    """What happened outside of the folder that was read, if anything."""
    if sign.exists():
        return "crash", "it executed, or wrote, what the file told it to"
    strange = [path.name for path in sign.parent.iterdir() if path.name != "secret.h5"]
    return ("left behind", f"{strange[0]} was written outside") if strange else None


def _count(row: dict[str, Any], name: str, kind: str, text: str) -> None:
    row["refused"] += kind == "refused"
    row["read"] += kind == "read"
    row["notes"][name] = f"{kind}: {text}"[:300]
    if kind in CLASSES[3:]:
        row["defects"].append(f"{name}: {kind} {text}")
