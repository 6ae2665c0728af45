"""Random damage to the bytes of input files, and what the readers make of it."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from faults.reading import Answer, Reader

CLASSES = ("refused", "equal", "different", "traceback", "crash", "hang", "memory", "left behind")
"""What becomes of a file; of these the last five are defects, ``different`` of a guarded file, too."""


@dataclass(frozen=True)
class Format:
    """A kind of input file: how to write good ones, and what reads them.

    Attributes:
        name: for people, and for ``--only``.
        write: writes good files, and whatever they need besides, into an empty folder; returns the files to damage.
        read: reads them from that folder; prepared arrays go to the second folder, which is empty.
        guard: what lets a reader notice any damage: a checksum, or a fingerprint of the content; empty without one.
    """

    name: str
    write: Callable[[Path], list[Path]]
    read: Callable[[Path, Path], Any]
    guard: Literal["", "checksum", "fingerprint"] = ""


def mutated(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """``content`` with one to three random damages, and their names."""
    names = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        at, size = draw.randrange(len(content) + 1), min(int(draw.expovariate(1 / 8)) + 1, 64)
        kind = draw.choice(("flip", "flip", "delete", "insert", "truncate", "duplicate", "zero", "swap"))
        piece = content[at : at + size]
        match kind:
            case "flip" if piece:
                piece = bytes([piece[0] ^ 1 << draw.randrange(8)]) + piece[1:]
            case "delete":
                piece = b""
            case "insert":
                piece += draw.randbytes(size)
            case "truncate":
                content, piece = content[:at], b""
            case "duplicate":
                piece += piece
            case "zero":
                piece = bytes(len(piece))
            case "swap":
                piece = piece[::-1]
        content = content[:at] + piece + content[at + size :]
        names.append(f"{kind} at {at}")
    return content, ", ".join(names)


def mutate_all(form: Format, folder: Path, count: int, seed: int, seconds: float = 20.0) -> dict[str, Any]:
    """Damage the files of a format ``count`` times, one at a time, and read them; a row of the table.

    Args:
        folder: for its files; empty.
        seconds: after which a reader hangs.

    Raises:
        RuntimeError: the files cannot even be read undamaged.
    """
    here = folder / "files"
    here.mkdir()
    files = form.write(here)
    good = {path: path.read_bytes() for path in files}
    whole = shutil.copytree(here, folder / "whole")
    draw, counted, defects = random.Random(f"{seed} {form.name}"), Counter[str](), []
    with Reader(form.read, here, folder / "scratch", seconds) as reader:
        truth = reader.ask()
        if truth.kind != "read":
            raise RuntimeError(f"{form.name}: the undamaged files cannot be read: {truth.kind} {truth.text}")
        for number in range(count):
            path = draw.choice(files)
            content, how = mutated(good[path], draw)
            if content == good[path]:
                how += ", which changes nothing"
            path.write_bytes(content)
            found = _class_of(reader.ask(), truth)
            counted[found[0]] += 1
            guarded = found[0] == "different" and form.guard
            if found[0] in CLASSES[3:] or guarded:
                defects.append(f"{number}: {path.name} ({how}): {found[0]} {found[1]}")
                keep(folder, form.name, number, content)
            for other in files:  # a reader may have written those anew
                if not other.is_file() or other.read_bytes() != good[other]:
                    other.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(whole / other.relative_to(here), other)
    row = {"name": form.name, "mutations": count} | {name: counted[name] for name in CLASSES}
    return row | {"guard": form.guard or "none", "defects": defects}


def _class_of(answer: Answer, truth: Answer) -> tuple[str, str]:
    if answer.kind != "read":
        return answer.kind, answer.text
    return ("equal" if answer.digest == truth.digest else "different"), ""


def keep(folder: Path, name: str, number: int, content: bytes) -> None:
    """Keep a file that shows a defect, to look at it later."""
    place = folder.parent / "faults-found" / name.replace(" ", "-").replace("/", "-")
    place.mkdir(parents=True, exist_ok=True)
    code = hashlib.sha256(content).hexdigest()[:8]
    (place / f"{number}-{code}").write_bytes(content)
