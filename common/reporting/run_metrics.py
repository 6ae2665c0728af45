"""Figures of a run and of its baselines, as its ``metrics.json`` holds them; see :mod:`common.reporting.schema`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def run_figures(run: Mapping[str, Any], also: Sequence[str] = (), baseline: str = "") -> dict[str, float]:
    """The figures of a run (or of one of its baselines), and those of the sections ``also`` of its details, flattened:
    ``group/name``. A section of the baselines is called ``baselines_`` and its name.
    """
    found = dict(run["baselines"][baseline] if baseline else run["metrics"])
    for section in also:
        details = run["details"]
        part = details.get(f"baselines_{section}", {}).get(baseline, {}) if baseline else details.get(section, {})
        found |= dict(flat(part))
    return {name: value for name, value in found.items() if value is not None}


def flat(tree: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Names and leaves of nested objects and lists: ``group/name``, ``list/1``."""
    if isinstance(tree, Mapping | list):
        items = tree.items() if isinstance(tree, Mapping) else enumerate(tree, 1)
        for key, value in items:
            yield from flat(value, f"{name}/{key}" if name else str(key))
    else:
        yield name, tree


def deviation_words(run: Mapping[str, Any]) -> str:
    """In what a run deviates from the corrected protocol, as titles say it; empty if in nothing.

    >>> deviation_words({"protocol": "released"}), deviation_words({"deviations": ["label_leak", "padding_mask"]})
    ('released protocol', 'with label_leak, padding_mask')
    """
    words = ["released protocol"] if run.get("protocol") == "released" else []
    words += [f"with {', '.join(run['deviations'])}"] if run.get("deviations") else []
    return ", ".join(words)


def by_seed(runs: list[dict[str, float]]) -> dict[str, list[float]]:
    """Figure -> its value in each run; of equal values, as those of a baseline without chance, one alone."""
    found = {name: [run[name] for run in runs if name in run] for name in runs[0]}
    return {name: values[:1] if len(set(values)) == 1 else values for name, values in found.items()}
