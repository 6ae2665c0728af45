"""Benchmarks record what they measured, so that pages can show it: figures, options, machine, versions, date."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import platform
import resource
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from common import console
from common.options import PROJECT, write_json
from common.reporting.figures import read_figures

Options = TypeVar("Options")
RESULTS = PROJECT / "benchmarks" / "results"
PACKAGES = ("tensorflow", "keras", "numpy", "scipy", "librosa", "torch", "jax", "implicit", "duckdb", "distributed")
QUIET = 0.05
"""A machine is quiet if other processes use less than this share of its processor time."""


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


def others() -> float | None:
    """Processor seconds that all processes but this one and its ended children have used; None if not known."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(field) for field in stat.read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = ticks
    used = (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")
    own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return used - sum(usage.ru_utime + usage.ru_stime for usage in own)


def versions() -> dict[str, str]:
    """Of Python and of those packages of :data:`PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def recording(main: Callable[[Options], Mapping[str, Any]], script: str) -> Callable[[Options], Mapping[str, Any]]:
    """``main`` of a benchmark, which also writes ``benchmarks/results/<script>.json``.

    Figures of other options than those recorded before are printed, but not recorded: a quick try must not replace
    the figures of the pages. Where files are (options that are paths) makes no difference.

    Args:
        main: takes the options (a dataclass), returns figures by name.
        script: ``__file__`` of the benchmark.
    """

    @functools.wraps(main)
    def measure(options: Options) -> Mapping[str, Any]:
        before, started = others(), time.perf_counter()
        figures = main(options)
        seconds, after = time.perf_counter() - started, others()
        around = machine()
        if before is not None and after is not None:
            around["quiet"] = after - before < QUIET * seconds * around["cores"]
        record(Path(script).stem, options, figures, around, seconds)
        return figures

    return measure


def record(name: str, options: Any, figures: Mapping[str, Any], around: Mapping[str, Any], seconds: float) -> bool:
    """Write the figures of a benchmark, unless other options are recorded; returns whether it did.

    Raises:
        UserError: what was recorded before is damaged.
    """
    path = RESULTS / f"{name}.json"
    chosen = {
        field.name: value
        for field in dataclasses.fields(options)
        if not isinstance(value := getattr(options, field.name), Path)
    }
    chosen = json.loads(json.dumps(chosen, default=str))
    if path.is_file():
        before = read_figures(path).get("options", {})
        other = [f"{key} {value}, not {chosen.get(key)}" for key, value in before.items() if value != chosen.get(key)]
        if other:
            console.say(f"Not recorded: {path} is of other options ({'; '.join(other)}); delete it to record these.")
            return False
    facts = {"script": f"benchmarks/{name}.py", "options": chosen, "date": time.strftime("%Y-%m-%d")}
    write_json(path, facts | {"seconds": seconds, "machine": around, "versions": versions(), "figures": figures})
    console.say(f"Recorded in {path}")
    return True
