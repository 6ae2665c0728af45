"""The trials of a search: a run of the paper's trainer each, and what it found on the validation part."""

from __future__ import annotations

import contextlib
import csv
import importlib
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from common.command import parse
from common.options import PROJECT, TrainingOptions, UserError, require
from common.presets import as_arguments
from common.tuning.search_space import Parameter, Space

if TYPE_CHECKING:
    from optuna.trial import Trial


class Failed(Exception):
    """A trial came to nothing; the message is the trainer's line."""


def given_options(arguments: Sequence[str]) -> dict[str, Any]:
    """Name -> value of the options in a part of a command line: numbers, texts, true, false, or lists of them.

    >>> given_options(["--loss", "bpr-max", "--layers", "64", "32", "--no-baselines"])
    {'loss': 'bpr-max', 'layers': [64, 32], 'baselines': False}

    Raises:
        UserError: it does not begin with an option.
    """
    found: dict[str, list[Any]] = {}
    values: list[Any] = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument[2:].partition("=")
            values = found[flag.replace("-", "_")] = [_value(value)] if equals else []
        else:
            require(
                bool(found), f"after -- stands {argument}; expected options of the trainer, such as --batch-size 64"
            )
            values.append(_value(argument))
    return dict(_one(name, values) for name, values in found.items())


def unvalidated(space: Space, data_dir: Path | None, arguments: Sequence[str]) -> str:
    """Why trials with these further ``arguments`` have no validation part; empty if they have one.

    The trainer's options say so; those that go together only with an option that is searched say it in their trials.
    """
    if not (PROJECT / space.paper / "options.py").is_file():
        return ""
    module = importlib.import_module(f"{space.paper}.options")
    own = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == module.__name__]
    given = as_arguments(space.options | space.trial | ({} if data_dir is None else {"data_dir": data_dir}))
    for kind in own:
        if issubclass(kind, TrainingOptions):
            with contextlib.suppress(UserError):
                return parse(kind, [*given, *arguments]).unvalidated()
    return ""


def _one(name: str, values: list[Any]) -> tuple[str, Any]:
    group, dot, last = name.rpartition(".")
    if not values and last.startswith("no_"):
        return f"{group}{dot}{last.removeprefix('no_')}", False
    return name, True if not values else values[0] if len(values) == 1 else values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class Trials:
    """How to make the trials of a search.

    Attributes:
        space: what is searched.
        metric: column of ``history.csv`` that trials are compared by.
        arguments: further options of every trial, as a command line; what they name is not searched.
        folder: of the search.
        data_dir, epochs, seed: of every trial; None leaves them to the trainer.
        lock: open file that a trainer keeps open as long as it lives.
    """

    space: Space
    metric: str
    arguments: tuple[str, ...]
    folder: Path
    data_dir: Path | None
    epochs: int | None
    seed: int
    lock: IO[str]

    @cached_property
    def fixed(self) -> dict[str, Any]:
        """Name -> value of the options in ``arguments``."""
        return given_options(self.arguments)

    @property
    def search(self) -> tuple[Parameter, ...]:
        """What is left to search."""
        return tuple(parameter for parameter in self.space.search if parameter.name not in self.fixed)

    def choose(self, trial: Trial) -> dict[str, Any]:
        """Name -> value of the options that ``trial`` tries, which it proposes itself."""
        chosen: dict[str, Any] = {}
        for parameter in self.search:
            if parameter.applies(self.space.options | self.space.trial | self.fixed | chosen):
                chosen[parameter.name] = parameter.suggest(trial)
        return chosen

    def run_dir(self, number: int) -> Path:
        """Folder of a trial's run."""
        return self.folder / f"trial-{number:04d}"

    def command(self, number: int, chosen: dict[str, Any]) -> list[str]:
        """The trainer's command; it goes on with the run where one has begun."""
        run_dir = self.run_dir(number)
        own: dict[str, Any] = {"seed": self.seed, "run_dir": run_dir}
        own |= {name: getattr(self, name) for name in ("data_dir", "epochs") if getattr(self, name) is not None}
        if (run_dir / "options.json").is_file():
            own["resume"] = True
        arguments = as_arguments(self.space.options | self.space.trial | chosen | own)
        return [sys.executable, str(PROJECT / self.space.paper / "train.py"), *arguments, *self.arguments]

    def run(self, number: int, chosen: dict[str, Any]) -> dict[str, Any]:
        """Make a trial, or go on with it, or read it if it is over.

        Returns:
            ``value`` of the metric in the ``epoch`` that the run keeps, the ``options`` to write into a preset, the
            ``dataset`` and the trainer's ``seconds``.

        Raises:
            Failed: the trainer ended with an error, or the figure is no number.
            UserError: the trainer tells nothing of the metric, which no other trial would either.
        """
        run_dir = self.run_dir(number)
        started = time.perf_counter()
        if not (run_dir / "metrics.json").is_file():
            if not (run_dir / "options.json").is_file():
                shutil.rmtree(run_dir, ignore_errors=True)  # killed before it had begun
            self._train(number, chosen)
        found = self._result(run_dir)
        return found | {"options": self._preset(run_dir, chosen), "seconds": time.perf_counter() - started}

    def _train(self, number: int, chosen: dict[str, Any]) -> None:
        path = self.folder / f"trial-{number:04d}.log"
        with path.open("w", encoding="utf-8") as log:
            command = self.command(number, chosen)
            done = subprocess.run(command, stdout=log, stderr=log, pass_fds=[self.lock.fileno()], check=False)
        if done.returncode:
            lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
            told = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
            last = f"the trainer ended with status {done.returncode}: {lines[-1] if lines else 'nothing was said'}"
            raise Failed(told[-1] if told else last)

    def _result(self, run_dir: Path) -> dict[str, Any]:
        metrics = json.loads((run_dir / "metrics.json").read_text("utf-8"))
        history = run_dir / "history.csv"
        rows = list(csv.DictReader(history.read_text("utf-8").splitlines())) if history.is_file() else []
        if not rows or self.metric not in rows[0]:
            raise UserError(
                f"{history}: has no {self.metric}, so this training is not validated; give it a validation part, such "
                "as by -- --validation-share 0.1, and the corrected protocol"
            )
        # Without a best epoch the run keeps the last one.
        epoch = metrics.get("best_epoch") or int(rows[-1]["epoch"])
        value = next(float(row[self.metric]) for row in rows if int(row["epoch"]) == epoch)
        if not math.isfinite(value):
            raise Failed(f"{self.metric} is {value} in epoch {epoch}")
        told = {name: metrics["dataset"][name] for name in ("name", "synthetic", "fingerprint")}
        return {"value": value, "epoch": epoch, "dataset": told}

    def _preset(self, run_dir: Path, chosen: dict[str, Any]) -> dict[str, Any]:
        """What was set, with the types that it has in the run's own record."""
        recorded = json.loads((run_dir / "options.json").read_text("utf-8"))["options"]
        names = dict.fromkeys([*self.space.options, *self.fixed, *chosen, *(["epochs"] if self.epochs else [])])
        return {name: value for name in names if (value := _at(recorded, name)) is not None}


def _at(recorded: dict[str, Any], name: str) -> Any:
    value: Any = recorded
    for part in name.split("."):
        value = value[part]
    return value
