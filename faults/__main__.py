"""``python -m faults PART``: do the faults of one part on purpose, and report what came of them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from common.command import run_script
from common.options import require
from faults import results
from faults.trainers import TRAINERS, Trainer

PARTS = ("kills", "disk", "permissions", "mutations", "hostile")
Part = Literal["all", "kills", "disk", "permissions", "mutations", "hostile", "page"]


@dataclass(frozen=True)
class FaultOptions:
    """Which faults, and how many."""

    part: tyro.conf.Positional[Part] = "all"
    """kills, disk (full), permissions, mutations (of input files), hostile (archives and HDF5 files), all of these, or
    page: only write the tables of README.md anew."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """Names of trainers or formats; default: all."""
    kills: int = 20
    """Kills of each trainer."""
    mutations: int = 200
    """Mutations of each format."""
    seed: int = 1
    """Of all that is drawn."""
    folder: Annotated[Path | None, tyro.conf.arg(metavar="PATH", help_behavior_hint="")] = None
    """Where the runs and files are kept meanwhile, some hundred MB. Default: the system's temporary folder."""

    def __post_init__(self) -> None:
        require(self.kills >= 1 and self.mutations >= 1, "--kills and --mutations must be 1 or more")
        known = {trainer.name for trainer in TRAINERS} | _formats()
        unknown = sorted(set(self.only) - known)
        require(not unknown, f"--only {', '.join(unknown)}: expected some of {', '.join(sorted(known))}")
        trainers = {trainer.name for trainer in TRAINERS}
        of_part = {"mutations": _formats(), "hostile": _formats()}.get(self.part, trainers)
        fits = self.part in ("all", "page") or not self.only or bool(of_part & set(self.only))
        require(fits, f"--only {', '.join(self.only)}: {self.part} has {', '.join(sorted(of_part))}")

    def chosen(self) -> list[Trainer]:
        """The trainers that are asked for."""
        return [trainer for trainer in TRAINERS if not self.only or trainer.name in self.only]


def _formats() -> set[str]:
    from faults.formats import FORMATS

    return {form.name for form in FORMATS}


def main(options: FaultOptions) -> int:
    """Kill trainers, fill the disk, take permissions away and damage files; print and keep what came of it."""
    if options.part == "page":
        results.write_page()
        return 0
    print(f"seed {options.seed}", flush=True)
    defects = sum(_PARTS[part](options) for part in PARTS if options.part in ("all", part))
    results.write_page()
    print(f"{defects} defects" if defects else "no defect")
    return defects


@contextmanager
def _workplace(options: FaultOptions) -> Iterator[Path]:
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=options.folder)).resolve()
    folder.chmod(0o755)  # the user nobody must get in, too
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _each_trainer(part: str, options: FaultOptions, do: Callable[[Trainer, Path], dict[str, Any]]) -> int:
    defects = 0
    for trainer in options.chosen():
        with _workplace(options) as folder:
            row = do(trainer, folder)
        results.write(part, {"seed": options.seed, "kills": options.kills}, [row])
        defects += results.report(part, [row])
        sys.stdout.flush()
    return defects


def _kills(options: FaultOptions) -> int:
    from faults.kills import kill_at_random

    def do(trainer: Trainer, folder: Path) -> dict[str, Any]:
        return kill_at_random(trainer, folder, options.kills, options.seed).row(trainer.name)

    return _each_trainer("kills", options, do)


def _disk(options: FaultOptions) -> int:
    from faults.places import fill_disk, unusable

    if reason := unusable():
        print(f"disk: skipped, {reason}")
        return 0
    return _each_trainer("disk", options, fill_disk)


def _permissions(options: FaultOptions) -> int:
    from faults.places import take_permissions

    return _each_trainer("permissions", options, take_permissions)


def _mutations(options: FaultOptions) -> int:
    from faults.formats import FORMATS
    from faults.mutations import mutate_all

    defects = 0
    for form in FORMATS:
        if not options.only or form.name in options.only:
            with _workplace(options) as folder:
                row = mutate_all(form, folder, options.mutations, options.seed)
            results.write("mutations", {"seed": options.seed, "mutations": options.mutations}, [row])
            defects += results.report("mutations", [row])
            sys.stdout.flush()
    return defects


def _hostile(options: FaultOptions) -> int:
    from faults.hostile import attack_all

    defects = 0
    with _workplace(options) as folder:
        for row in attack_all(folder, options.only):
            results.write("hostile", {}, [row])
            defects += results.report("hostile", [row])
            sys.stdout.flush()
    return defects


_PARTS: dict[str, Callable[[FaultOptions], int]] = {
    "kills": _kills,
    "disk": _disk,
    "permissions": _permissions,
    "mutations": _mutations,
    "hostile": _hostile,
}


if __name__ == "__main__":
    run_script(lambda options: sys.exit(1 if main(options) else 0), FaultOptions)
