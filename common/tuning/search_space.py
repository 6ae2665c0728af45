"""Search spaces of hyper-parameters: the tables of ``<paper>/search_space.toml``.

A table is a space; the first is taken where none is named. It says by which figures of ``history.csv`` trials can be
compared, what every trial has in common, and which options are searched::

    [official]
    metrics = { "val_mrr@20" = "maximize" }         # of the validation part; the first is the default
    chance = { val_loss = 0.693 }                   # what a model that knows nothing has; a best trial below is told
    options = { negatives = 2048 }                  # of every trial, and of the preset that comes out
    trial = { baselines = false }                   # of every trial only

    [official.search]
    loss = ["cross-entropy", "bpr-max"]             # one of these
    layers = { low = 64, high = 512, step = 32 }    # whole numbers, as both ends are
    learning_rate = { low = 1e-3, high = 0.1, log = true }
    bpreg = { low = 0.0, high = 2.0, step = 0.05, when = { loss = "bpr-max" } }    # searched only then
    elu = { choices = [0.5, 1.0], when = { loss = ["bpr-max", "top1-max"] } }

Names are those of the trainer's options with underscores; ``"ddpg.gamma"`` leads into options within options. What
``when`` names comes before it.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from common.options import PROJECT, UserError, require

if TYPE_CHECKING:  # an extra, which few need
    from optuna.trial import Trial

FILE = "search_space.toml"
Direction = Literal["maximize", "minimize"]
_KEYS = ("metrics", "chance", "options", "trial", "search")
_RANGE = {"low", "high", "step", "log"}


@dataclass(frozen=True)
class Parameter:
    """An option that is searched: one of ``choices``, or a number between ``low`` and ``high``.

    Attributes:
        name: of the option.
        choices: values, in the order of the file; empty for a range.
        low, high: ends of a range, both included; a range of whole numbers if both are.
        step: distance of neighbouring values from ``low`` on; None: 1 for whole numbers, else any value.
        log: draw evenly over the logarithm.
        when: name of another option -> the values of it with which this one is searched.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    step: float | None = None
    log: bool = False
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    def applies(self, chosen: Mapping[str, Any]) -> bool:
        """Whether it is searched beside ``chosen``: name -> value of the options before it."""
        return all(name in chosen and chosen[name] in values for name, values in self.when)

    def suggest(self, trial: Trial) -> Any:
        """The value that ``trial`` shall have."""
        if self.choices:  # which may be lists; the study stores plain values only
            return json.loads(trial.suggest_categorical(self.name, [json.dumps(choice) for choice in self.choices]))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, step=int(self.step or 1), log=self.log)
        value = trial.suggest_float(self.name, self.low, self.high, step=self.step, log=self.log)
        return float(f"{value:.6g}")  # no 0.15000000000000002


@dataclass(frozen=True)
class Space:
    """A table of a ``search_space.toml``.

    Attributes:
        name: as ``gru4rec/official``.
        metrics: columns of ``history.csv`` that trials can be compared by -> maximize or minimize.
        options: of every trial, and of the preset.
        trial: options of the trials alone.
        search: what is searched.
        chance: metric -> its value for a model that knows nothing, where it is known.
    """

    name: str
    metrics: dict[str, Direction]
    options: dict[str, Any]
    trial: dict[str, Any]
    search: tuple[Parameter, ...]
    chance: dict[str, float] = field(default_factory=dict)

    @property
    def paper(self) -> str:
        """The paper's folder."""
        return self.name.partition("/")[0]


def papers() -> list[str]:
    """Folders that have search spaces."""
    return sorted(path.parent.name for path in PROJECT.glob(f"*/{FILE}"))


def load_space(name: str) -> Space:
    """The space ``<paper>`` (its first one) or ``<paper>/<name>``.

    Raises:
        UserError: there is no such space, or its file is not of the form described above.
    """
    paper, _, wanted = name.partition("/")
    require(paper in papers(), f"{paper}: no paper with a search space; expected one of {', '.join(papers())}")
    return read_space(PROJECT / paper / FILE, wanted)


def read_space(path: Path, wanted: str = "") -> Space:
    """A space of the file ``path`` in a paper's folder; without a name the first one.

    Raises:
        UserError: there is no such space, or the file is not of the form described above.
    """
    tables = read_tables(path)
    require(bool(tables), f"{path}: holds no space")
    chosen = wanted or next(iter(tables))
    name = f"{path.parent.name}/{chosen}"
    require(chosen in tables, f"{name}: no such search space; {path.parent.name} has {', '.join(tables)}")
    table, place = tables[chosen], f"{path}: [{chosen}]"
    for key in _KEYS:
        require(isinstance(table.get(key, {}), dict), f"{place}: {key} is {table.get(key)!r}; expected a table")
    odd = sorted(set(table) - set(_KEYS))
    require(not odd, f"{place}: unknown {', '.join(odd)}; expected {', '.join(_KEYS)}")
    metrics, search = table.get("metrics", {}), table.get("search", {})
    require(
        bool(metrics) and all(direction in get_args(Direction) for direction in metrics.values()),
        f"{place}: metrics must name columns of history.csv, each maximize or minimize",
    )
    require(
        all(column.startswith("val") for column in metrics),
        f"{place}: metrics are {', '.join(metrics)}; expected figures of the validation part, val...",
    )
    require(bool(search), f"{place}: names nothing to search")
    chance = table.get("chance", {})
    require(
        all(name in metrics and type(value) in (int, float) for name, value in chance.items()),
        f"{place}: chance must name metrics of this space, each with a number",
    )
    options, trial = table.get("options", {}), table.get("trial", {})
    known, parameters = set(options) | set(trial), list[Parameter]()
    for option, described in search.items():
        where = f"{place}: search: {option}"
        require(option not in known, f"{where}: is among the options of every trial, too")
        parameters.append(_parameter(option, described, where, known))
        known.add(option)
    return Space(name, metrics, options, trial, tuple(parameters), chance)


def read_tables(path: Path) -> dict[str, Any]:
    """Name of a space -> its table.

    Raises:
        UserError: the file is not TOML, or holds something else.
    """
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as TOML ({error})") from None
    for name, table in tables.items():
        require(isinstance(table, dict), f"{path}: {name} is no table; expected [name of a space]")
    return tables


def _parameter(name: str, described: Any, where: str, known: set[str]) -> Parameter:
    if isinstance(described, list):
        described = {"choices": described}
    require(isinstance(described, dict), f"{where} is {described!r}; expected a list of values or low and high")
    rest = dict(described)
    when = _condition(rest.pop("when", {}), where, known)
    if "choices" in rest:
        choices = rest.pop("choices")
        require(isinstance(choices, list) and bool(choices), f"{where}: choices must be a list of one or more values")
        require(not rest, f"{where}: has both choices and {', '.join(rest)}")
        simple = [value for choice in choices for value in (choice if isinstance(choice, list) else [choice])]
        require(
            all(isinstance(value, (bool, int, float, str)) for value in simple),
            f"{where}: choices must be numbers, texts, true, false, or lists of numbers or texts",
        )
        require(len(set(map(json.dumps, choices))) == len(choices), f"{where}: names a choice twice")
        return Parameter(name, tuple(choices), when=when)
    require(
        {"low", "high"} <= set(rest) <= _RANGE, f"{where}: expected choices, or low and high and perhaps step or log"
    )
    low, high, step, log = rest["low"], rest["high"], rest.get("step"), rest.get("log", False)
    numbers = [number for number in (low, high, step) if number is not None]
    require(
        all(type(n) in (int, float) and math.isfinite(n) for n in numbers) and low <= high and isinstance(log, bool),
        f"{where}: low {low}, high {high}, step {step}, log {log}; expected finite numbers, low not above high",
    )
    require(not log or (low > 0 and step is None), f"{where}: a logarithm needs low above 0 and no step")
    whole = isinstance(low, int) and isinstance(high, int)
    require(
        step is None or (step > 0 and (isinstance(step, int) or not whole)),
        f"{where}: step is {step}; it must be above 0, and whole if both ends are",
    )
    return Parameter(name, (), low, high, step, log, when)


def _condition(when: Any, where: str, known: set[str]) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    require(isinstance(when, dict), f"{where}: when is {when!r}; expected a table such as {{ loss = 'bpr-max' }}")
    odd = [name for name in when if name not in known]
    require(not odd, f"{where}: when names {', '.join(odd)}, which must come before it")
    return tuple((name, tuple(values if isinstance(values, list) else [values])) for name, values in when.items())
