"""Trainers killed at random moments of their lives: what they leave must lead to the undisturbed result."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.equality import differences, hidden, kept_for_ever
from faults.processes import Ended, run
from faults.trainers import SECONDS, Trainer, environment

EMPTY = 0.25
"""Share of the lives that begin with an empty data folder, so that the sample and the arrays are made, too."""


@dataclass
class Tally:
    """What happened to one trainer."""

    kills: int = 0
    before: int = 0
    """Kills before a run was begun: during start, sample and preparation."""
    lives: int = 0
    """Runs that came to their end, each after some kills."""
    left: int = 0
    """Temporary folders that killed preparations left; the next preparation after an hour removes them."""
    defects: list[str] = field(default_factory=list)

    def row(self, name: str) -> dict[str, Any]:
        """Of the table."""
        counted = {"name": name, "kills": self.kills, "before the run": self.before, "runs ended": self.lives}
        return counted | {"left for an hour": self.left, "defects": self.defects}


@dataclass(frozen=True)
class Undisturbed:
    """A run that nobody disturbed, on a sample that it wrote itself."""

    run: Path
    data: Path
    seconds: float
    changes: int
    """Different states of its folders that were seen while it ran."""


def undisturbed(trainer: Trainer, folder: Path) -> Undisturbed:
    """Run ``trainer`` to its end in the empty ``folder``.

    Raises:
        RuntimeError: it fails.
    """
    data, into = folder / "data", folder / "whole"
    states = Changes(folder)
    ended = run(trainer.command(into), seconds=SECONDS, environment=environment(data), kill=states.never)
    if ended.status or ended.complaint():
        raise RuntimeError(f"{trainer.name} fails undisturbed: {ended.complaint() or ended.last}")
    return Undisturbed(into, data, ended.seconds, states.seen)


class Changes:
    """Counts the states of a folder: so a kill can come right after a file appears or grows."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._last, self.seen = folder, "", 0

    def never(self, _: float) -> bool:
        """Look, and do not kill."""
        state = "".join(f"{path.name}{size} " for path, size in _sizes(self._folder, 4))
        self.seen += state != self._last
        self._last = state
        return False

    def at(self, number: int) -> Callable[[float], bool]:
        """Kill at the change of this number."""
        return lambda now: self.never(now) or self.seen >= number


def _sizes(folder: Path, depth: int) -> Iterator[tuple[Path, int]]:
    try:
        for path in sorted(folder.iterdir()):
            if path.is_dir() and depth > 1:
                yield from _sizes(path, depth - 1)
            yield path, path.stat().st_size
    except OSError:  # it is being renamed
        return


def kill_at_random(trainer: Trainer, folder: Path, kills: int, seed: int) -> Tally:
    """Kill ``trainer`` so many times, continue it each time, and compare every end with the undisturbed one.

    Half of the kills come at a random moment, half right after a random change of a file; half of them end the whole
    process group, half the process alone.
    """
    whole, tally, draw = undisturbed(trainer, folder), Tally(), random.Random(seed)
    while tally.kills < kills:
        data = folder / ("data" if draw.random() >= EMPTY else f"data-{tally.lives}")
        _one_life(trainer, folder / f"run-{tally.lives}", data, whole, tally, kills, draw)
        tally.lives += 1
    return tally


def _one_life(
    trainer: Trainer, into: Path, data: Path, whole: Undisturbed, tally: Tally, kills: int, draw: random.Random
) -> None:
    own = 0
    while True:
        begun = (into / "options.json").is_file()
        moment, alone = _moment(whole, into.parent, draw), draw.random() < 0.5
        ended = run(
            trainer.command(into), seconds=SECONDS, environment=environment(data), alone=alone,
            kill=moment if tally.kills < kills else None,
        )  # fmt: skip
        if complaint := ended.complaint() or (not ended.killed and ended.status and ended.last):
            tally.defects.append(f"after {own} kills of {into.name}: {complaint}")
        if not ended.killed:
            break
        own += 1
        tally.kills += 1
        tally.before += not begun and not (into / "options.json").is_file()
    _check_end(into, data, whole, tally, ended)


def _moment(whole: Undisturbed, folder: Path, draw: random.Random) -> Callable[[float], bool]:
    if draw.random() < 0.5:
        at = draw.uniform(0, whole.seconds)
        return lambda now: now >= at
    return Changes(folder).at(2 + draw.randrange(max(whole.changes, 1)))


def _check_end(into: Path, data: Path, whole: Undisturbed, tally: Tally, ended: Ended) -> None:
    if ended.status == 0:
        tally.defects += [f"{into.name}: {difference}" for difference in differences(whole.run, into)]
        tally.defects += [f"{path} was left" for path in hidden(into)]
    tally.left += len(hidden(data))
    tally.defects += [f"{path} is left for ever" for path in kept_for_ever(data)]
    if data != whole.data:
        shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(into, ignore_errors=True)
