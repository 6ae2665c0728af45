"""Full disks and closed folders: a trainer says so in one line, and what was whole before stays whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.equality import differences, hidden
from faults.kills import Undisturbed, undisturbed
from faults.processes import Ended, run
from faults.trainers import SECONDS, Trainer, environment

IN_THE_DATA = (0.1, 0.5, 0.95, 1.3)
IN_THE_RUN = (0.02, 0.3, 0.6, 0.95)
"""Sizes of the disk as shares of what the sample and its arrays, or the run, need at their end; while they are made
they may need more."""
PAGE = 4096


@dataclass
class _Tally:
    tried: int = 0
    refused: int = 0
    equal: int = 0
    defects: list[str] = field(default_factory=list)

    def expect_refusal(self, ended: Ended, case: str, may_fit: bool = False) -> None:
        """Count a command that must end in one line and status 2, or well if there may have been enough room."""
        self.tried += 1
        complaint = ended.complaint()
        if complaint or (ended.status == 0 and not may_fit):
            self.defects.append(f"{case}: {complaint or 'it ends as if nothing had happened'}")
        elif ended.status == 2:
            self.refused += 1

    def expect_equality(self, ended: Ended, case: str, whole: Undisturbed, into: Path) -> None:
        """Count a run that went on after the fault and must be as if there had been none."""
        if ended.status or ended.complaint():
            self.defects.append(f"{case}, afterwards: {ended.complaint() or ended.last}")
            return
        found = [*differences(whole.run, into), *(f"{path} was left" for path in hidden(into))]
        self.defects += [f"{case}, afterwards: {one}" for one in found]
        self.equal += not found

    def row(self, name: str) -> dict[str, Any]:
        """Of the table."""
        counted = {"name": name, "cases": self.tried, "refused in one line": self.refused}
        return counted | {"equal afterwards": self.equal, "defects": self.defects}


def unusable() -> str:
    """Why no small disk can be had here; empty if it can."""
    if os.geteuid() != 0:
        return "a small disk (tmpfs) can be mounted by root only"
    done = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return "" if done.returncode == 0 else f"no tmpfs can be mounted: {done.stderr.decode(errors='replace').strip()}"


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mount a disk of ``size`` bytes at ``folder``."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    """Change a disk: ``size=...``, or ``ro``."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def size_of(folder: Path) -> int:
    """Bytes on a disk with pages, folders included."""
    return sum(-(-max(path.stat().st_size, 1) // PAGE) * PAGE for path in folder.rglob("*"))


def fill_disk(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Run ``trainer`` on disks that are too small at many places; a row of the table."""
    whole, tally, disk = undisturbed(trainer, folder), _Tally(), folder / "disk"
    need = {"data": size_of(whole.data), "run": size_of(whole.run)}
    places = [("data", share) for share in IN_THE_DATA] + [("run", share) for share in IN_THE_RUN]
    for part, share in places:
        size = max(int(need[part] * share), PAGE)
        with small_disk(disk, size):
            data = disk / "data" if part == "data" else whole.data
            into = disk / "run"
            command, variables = trainer.command(into), environment(data)
            case = f"{size:,} bytes, {share:.0%} of the {part}"
            tally.expect_refusal(
                run(command, seconds=SECONDS, environment=variables), case, may_fit=part == "run" or share > 1
            )
            remount(disk, f"size={4 * sum(need.values())}")
            ended = run(trainer.command(into), seconds=SECONDS, environment=variables)
            tally.expect_equality(ended, case, whole, into)
    return tally.row(trainer.name)


def take_permissions(trainer: Trainer, folder: Path) -> dict[str, Any]:
    """Run ``trainer`` as a user who may not write or read what it has to; a row of the table."""
    whole, tally = undisturbed(trainer, folder), _Tally()
    closed, own = folder / "closed", folder / "own"
    for place in (closed, own):
        place.mkdir()
    raw = next(path for path in sorted((whole.data / trainer.data).iterdir()) if path.is_dir())
    unprepared = shutil.copytree(whole.data, folder / "unprepared")
    shutil.rmtree(unprepared / trainer.data / raw.name / "prepared")

    def attempt(case: str, into: Path, data: Path) -> None:
        ended = run(trainer.command(into), seconds=SECONDS, environment=environment(data), bound=True)
        tally.expect_refusal(ended, case)
        if hidden(own):
            tally.defects.append(f"{case}: {hidden(own)[0]} was left")

    source = shutil.copytree(unprepared, folder / "unreadable")
    _close(closed, whole.run, unprepared)
    attempt("the sample's folder is closed", own / "run-1", closed)
    attempt("the prepared arrays' folder is closed", own / "run-2", unprepared)
    attempt("the run's folder is closed", closed / "run", whole.data)
    attempt("the run to resume is closed", whole.run, whole.data)
    files = [path for path in sorted((source / trainer.data / raw.name).iterdir()) if path.is_file()]
    for number, path in enumerate([path for path in files if path.name != "SYNTHETIC.txt"][:4]):
        path.chmod(0)
        attempt(f"{path.name} cannot be read", own / f"run-3-{number}", source)
        path.chmod(0o644)
    if not unusable():
        disk = folder / "disk"
        with small_disk(disk, 2 * size_of(whole.run) + PAGE):
            remount(disk, "ro")
            attempt("the disk of the run is read-only", disk / "run", whole.data)
    return tally.row(trainer.name)


def _close(*folders: Path) -> None:
    """Nobody may write there, not even the owner."""
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
