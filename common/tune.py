"""Search for good options of a trainer: ``python -m common.tune gru4rec --trials 50``.

Each trial is a run of the paper's own ``train.py`` in ``OUT/trial-0007``, judged by a figure of the validation part in
the epoch whose weights the run keeps; test figures play no part. What to search is in ``<paper>/search_space.toml``
(:mod:`common.tuning.search_space`), the study in ``OUT/study.db``: the same command goes on with it, in the middle of a
trial too. Left behind are ``OUT/trials.csv`` and ``OUT/preset.json``, for ``train.py --preset``.
"""

from __future__ import annotations

import contextlib
import fcntl
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

import tyro

from common import console
from common.command import run_script
from common.options import PROJECT, OptionalInt, OptionalPath, UserError, flag, require
from common.tuning.search_space import Space, load_space
from common.tuning.study import done, finish, open_study, readable, search
from common.tuning.trials import Trials, given_options, unvalidated

OWN = ("data_dir", "epochs", "preset", "resume", "run_dir", "seed", "weights")
"""Options of trainers that cannot be given after ``--``: a search has its own, or none."""


@dataclass(frozen=True)
class TuneOptions:
    """What to search, and how long."""

    paper: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PAPER", help_behavior_hint="")]
    """Folder of the paper, such as gru4rec, or one of its search spaces, such as session_transformers/skip-transformer;
    they are in <paper>/search_space.toml, the first is taken where none is named."""
    trials: int = 50
    """Trials in all; those of an earlier session count."""
    data_dir: OptionalPath = None
    """Folder with the dataset. Default: as for the trainer, the synthetic sample included."""
    out: OptionalPath = None
    """Folder of the search; the search that it holds is continued. Default: runs/<paper>/tune-<space>."""
    seed: int = 1
    """Seed of the search, and of every trial."""
    metric: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    """Figure of the validation part, a column of history.csv, to compare trials by. Default: the space's first."""
    epochs: OptionalInt = None
    """Epochs of each trial. Default: the trainer's."""
    fixed: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="-- OPTIONS", help_behavior_hint="")
    ] = ()
    """Further options of the trainer, after --, for every trial; one that the space would search is not searched."""

    def __post_init__(self) -> None:
        require(1 <= self.trials <= 10**6, f"--trials is {self.trials}; it must lie in 1..1000000")
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")
        require(self.epochs is None or self.epochs >= 1, f"--epochs is {self.epochs}; it must be 1 or more")


def main(options: TuneOptions) -> dict[str, Any]:
    """Search for the options of a paper's trainer that do best on the validation part, and write them as a preset."""
    space = load_space(options.paper)
    metric = options.metric or next(iter(space.metrics))
    require(
        metric in space.metrics,
        f"--metric is {metric}; trials of {space.name} can be compared by {', '.join(space.metrics)}",
    )
    folder = (options.out or PROJECT / "runs" / space.paper / f"tune-{space.name.partition('/')[2]}").resolve()
    fixed = given_options(options.fixed)
    for name in OWN:
        whose = "its own" if hasattr(options, name) else "none"
        require(name not in fixed, f"{flag(name)} after --: a search has {whose}")
    why = unvalidated(space, options.data_dir, options.fixed)
    advice = "give it one, such as by -- --validation-share 0.1, and the corrected protocol"
    require(not why, f"{space.name}: trials are compared by {metric} of a validation part, but {why}; {advice}")
    with _alone(folder) as lock, _stopped_by_sigterm():
        given = (options.fixed, folder, options.data_dir, options.epochs, options.seed)
        trials = Trials(space, metric, *given, lock)
        study = open_study(folder, space.metrics[metric], _begun(options, space, metric))
        console.say(
            f"Searching {space.name} by {metric}: {done(study)} of {options.trials} trials are done", flush=True
        )
        try:
            with readable(folder / "study.db"):
                search(study, trials, options.trials)
                return finish(study, trials)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("the same command goes on with the search") from None


def _begun(options: TuneOptions, space: Space, metric: str) -> dict[str, Any]:
    """What a search must not change in the middle."""
    known = {
        "space": space.name,
        "metric": metric,
        "--seed": options.seed,
        "--epochs": options.epochs,
        "--data-dir": options.data_dir.resolve() if options.data_dir else None,
        "options after --": " ".join(options.fixed),
        "search space": repr((space.options, space.trial, space.search)),
    }
    return {name: value if value is None else str(value) for name, value in known.items()}


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    """Let no other search work in ``folder``: the open file that says so is to be handed to the trainers, too."""
    folder.mkdir(parents=True, exist_ok=True)
    others = [path.name for path in folder.iterdir() if path.name != ".lock"]
    require(
        not others or "study.db" in others,
        f"--out {folder}: is not empty and holds no study; name another folder",
    )
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder}: another search, or a trial of one, is at work there; wait for it") from None
        yield file


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the trial at work with the search."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    run_script(main, TuneOptions)
