"""What the ``metrics.json`` of a run holds, alike for all papers: figures, those of baselines, intervals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def run_figures(run: Mapping[str, Any], also: tuple[str, ...] = (), baseline: str = "") -> dict[str, float]:
    """The figures of a run (or of one of its baselines), those of the sections ``also`` flattened: ``group/name``."""
    found = dict(run["baselines"][baseline] if baseline else run["metrics"])
    for section in also:
        part = run.get(f"baselines_{section}", {}).get(baseline, {}) if baseline else run.get(section, {})
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


def run_intervals(run: Mapping[str, Any]) -> tuple[dict[str, list[float]], dict[str, dict[str, list[float]]]]:
    """95 % intervals [low, high] of a run's figures, and of those of its baselines where it has them.

    ``confidence_95`` of a ``metrics.json`` holds an interval for each figure, or else [mean, low, high] for each row,
    the run's own being the one that is no baseline.
    """
    found = run.get("confidence_95", {})
    nested = {row: ends for row, ends in found.items() if isinstance(ends, Mapping)}
    if not nested:
        return {_full_name(name, run): list(ends[-2:]) for name, ends in found.items()}, {}
    rows = {row: {name: list(ends[-2:]) for name, ends in part.items()} for row, part in nested.items()}
    own = next((row for row in rows if row not in run["baselines"]), "")
    return rows.pop(own, {}), rows


def _full_name(name: str, run: Mapping[str, Any]) -> str:
    """The session models call the interval of ``free_maa`` ``maa``."""
    return name if name in run["metrics"] else f"free_{name}"


def by_seed(runs: list[dict[str, float]]) -> dict[str, list[float]]:
    """Figure -> its value in each run; of equal values, as those of a baseline without chance, one alone."""
    found = {name: [run[name] for run in runs if name in run] for name in runs[0]}
    return {name: values[:1] if len(set(values)) == 1 else values for name, values in found.items()}
