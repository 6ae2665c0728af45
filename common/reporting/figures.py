"""Committed figures of results and benchmarks: how the files are read, and how a figure is written in a table.

A file of figures (``<folder>/results/<name>.json``) holds ``figures``, whose leaves are a number, a list (a value for
each seed) or, where the single values are not known, ``{"mean": ..., "sd": ...}``; and beside them how they came about:
``date``, ``machine``, ``versions``, ``commands``, ``dataset``. ``intervals`` has the ends of 95 % intervals under the
same names.

Tables are made of templates such as ``{events/s:,.0f}`` or ``{dropout[XLA, ratio]:.0f}x``. Behind Python's format
of a number may stand a letter: ``M`` for millions, ``i`` to add the interval, ``b`` for the ends of the interval alone.
"""

from __future__ import annotations

import json
import math
import os
import platform
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from common.options import PROJECT, UserError, require

DASH = "–"
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure of one or several runs; its format adds ``± sd`` where the spread over seeds is known.

    >>> f"{Figure(0.2405, 0.0021):.3f} {Figure(1.2e6):.1fM} {Figure(0.5, None, (0.25, 0.75)):.2fi}"
    '0.240 ± 0.002 1.2 0.50 [0.25, 0.75]'
    """

    mean: float
    sd: float | None = None
    interval: tuple[float, float] | None = None

    def __format__(self, spec: str) -> str:
        kind = spec[-1:] if spec[-1:] in ("M", "i", "b") else ""
        spec, unit = spec.removesuffix(kind), 1e6 if kind == "M" else 1.0
        if kind == "b":
            return " to ".join(format(end, spec) for end in self.interval) if self.interval else DASH
        text = _number(self.mean / unit, spec)
        if kind == "i" and self.interval:
            low, high = (_number(end, spec) for end in self.interval)
            return f"{text} [{low}, {high}]"
        return text if self.sd is None or kind == "i" else f"{text} ± {self.sd / unit:{spec.lstrip('+')}}"


def _number(value: float, spec: str) -> str:
    text = format(value, spec)
    return text.replace("-", "−") if "+" in spec else text  # a sign that is asked for is a minus, not a hyphen


class _Missing:
    def __format__(self, spec: str) -> str:
        return DASH


MISSING = _Missing()


def summary(values: Sequence[float]) -> Figure | _Missing:
    """Mean and standard deviation (n - 1) over runs; of one run, or of runs that are all equal, the value alone."""
    if not values or any(value is None or math.isnan(value) for value in values):
        return MISSING
    same = min(values) == max(values)
    return Figure(values[0]) if same else Figure(float(np.mean(values)), float(np.std(values, ddof=1)))


class Figures(Mapping[str, Any]):
    """A view of nested figures whose leaves are :class:`Figure`; ``intervals`` has the same shape."""

    def __init__(self, tree: Tree, intervals: Tree | None = None) -> None:
        self.tree, self.intervals = tree, intervals or {}

    def __getitem__(self, key: str) -> Any:
        value, ends = self.tree[key], self.intervals.get(key)
        if isinstance(value, Mapping) and not {"mean", "sd"} >= value.keys():
            return Figures(value, ends)
        found = Figure(**value) if isinstance(value, Mapping) else value
        if isinstance(value, list):
            found = summary(value)
        elif isinstance(value, int | float):
            found = Figure(value) if math.isfinite(value) else MISSING
        if ends is not None and isinstance(found, Figure):
            found = Figure(found.mean, found.sd, (ends[0], ends[1]))
        return MISSING if found is None else found

    def row(self, name: str) -> Figures:
        """The figures below ``name``; if it is no name here, those whose names begin with it and a colon."""
        if name in self.tree:
            return Figures(self.tree[name], self.intervals.get(name))
        start = f"{name}: "
        return Figures({key.removeprefix(start): value for key, value in self.tree.items() if key.startswith(start)})

    def __iter__(self) -> Iterator[str]:
        return iter(self.tree)

    def __len__(self) -> int:
        return len(self.tree)


class Files(Mapping[str, Any]):
    """The figures of all files that a folder's tables may name: its own, and those of ``benchmarks``."""

    def __init__(self, folder: str, root: Path = PROJECT) -> None:
        self.places = [root / place / "results" for place in dict.fromkeys((folder, "benchmarks"))]
        self.read: dict[str, Figures] = {}

    def __getitem__(self, name: str) -> Figures:
        if name not in self.read:
            path = next((place / f"{name}.json" for place in self.places if (place / f"{name}.json").is_file()), None)
            if path is None:
                raise KeyError(name)
            found = read_figures(path)
            extra = {"measured": measured(found)}
            self.read[name] = Figures(found["figures"] | extra, found.get("intervals"))
        return self.read[name]

    def __iter__(self) -> Iterator[str]:
        return iter({path.stem: None for place in self.places for path in sorted(place.glob("*.json"))})

    def __len__(self) -> int:
        return len(list(iter(self)))


def read_figures(path: Path) -> dict[str, Any]:
    """The content of a file of figures.

    Raises:
        UserError: it cannot be read, or has no figures.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make results, or make bench, writes it anew") from None
    good = isinstance(found, dict) and isinstance(found.get("figures"), dict)
    require(good, f"{path}: not a file of figures: it has no object named figures")
    return dict(found)


def machine() -> dict[str, Any]:
    """Processor, its cores (those this process may use) and memory in GB."""
    info, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line) if info.is_file() else {}
    known = {key.strip(): value.strip() for key, value in lines.items()}
    vector = next((name for name in ("avx512f", "avx2") if name in known.get("flags", "").split()), "")
    name = known.get("model name") or platform.processor() or platform.machine()
    return {
        "processor": name + {"avx512f": " (AVX-512)", "avx2": " (AVX2)", "": ""}[vector],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gigabytes": round(int(memory.read_text().split()[1]) / 2**20) if memory.is_file() else None,
    }


def measured(found: Mapping[str, Any]) -> str:
    """On what machine, and beside what, figures were measured."""
    around = found.get("machine", {})
    cores, quiet = around.get("cores"), around.get("quiet")
    parts = [around.get("processor", "unknown machine"), f"{cores} cores" if cores else ""]
    return ", ".join(part for part in (*parts, "" if quiet is None or quiet else "beside other work") if part)


class _Formatter(string.Formatter):
    def get_value(self, key: Any, args: Any, kwargs: Any) -> Any:
        return kwargs[key]


def fill(template: str, names: Mapping[str, Any], where: str) -> str:
    """``template`` with its fields filled from ``names``.

    Raises:
        UserError: a field names a figure that there is none of, or its format is wrong; ``where`` begins the message.
    """
    try:
        return _Formatter().vformat(template, (), names)
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{where}: {template!r}: no such figure, or a wrong format ({error})") from None
