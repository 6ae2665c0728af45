"""The schema of ``metrics.json``: which keys the result of a run has, in all papers, and what they mean.

``docs/metrics.md`` shows an example. Whatever is particular to a paper lies below ``details``.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from common.options import require

SCHEMA = 1
"""Version of the schema: raised when a key is renamed, removed or changes its meaning."""
KEYS = {
    "schema": "version of this schema: a reader that knows another one should refuse the file",
    "paper": "name of the model, and authors, year and identifier of its paper",
    "model": "name of the evaluated model's row, as tables show it",
    "task": "what was learned, where a paper has several tasks (`seq`, `skip`); else null",
    "protocol": "`corrected`, `released` or `official`",
    "deviations": "names of single deviations from the corrected protocol that were switched on",
    "dataset": "what was trained and tested on, see below",
    "split": "how training and test data are told apart, in words",
    "ranking": "what is ranked for whom, in words",
    "ties": "how equal scores count, in words",
    "metrics": "figure → its value for the model; null where nothing in the test tells it",
    "baselines": "baseline → figure → value; empty with `--no-baselines`",
    "intervals": (
        "row (the model, given weights, baselines) → figure → `[low, high]`, the 95 % bootstrap interval; of all "
        "figures that are means over two units or more"
    ),
    "resampled": "figure → what its interval draws with replacement: `users`, `sessions`, ...",
    "best_baseline": "the baseline with the best value of the most important figure; null if there is none",
    "tests": "figure → paired test of the model against the baseline that is best at that very figure, see below",
    "settings": "all options that are set, with the defaults that were filled in",
    "epochs": "epochs of training (rounds of `ddpg`); 0 if weights were given",
    "best_epoch": "the epoch whose weights are kept and evaluated; the last one where no figure chose it",
    "train_seconds": "seconds of training and validation, over all sessions of a run that was resumed",
    "seconds": "seconds of the command, from prepared data to this file; of a resumed run those of its last session",
    "seed": "seed of everything that is drawn",
    "versions": "versions of Python, of the libraries that numbers depend on, and the kind of machine",
    "warnings": "why the figures say little, a sentence each; empty if nothing was found",
    "details": "what is particular to the paper: its page tells",
}
"""Key -> what it holds."""
DATASET_KEYS = {
    "name": "of the dataset, as tables show it",
    "synthetic": "whether it is made up",
    "counts": "its sizes, such as users, items, events of each part",
    "rows": (
        "`files`: file → `rows`, `used`, `left_out` (reason → rows); `parts`: what they became. The same that "
        "`preprocess.py --json` prints"
    ),
    "notes": "what was recognised in the files, a sentence each",
    "fingerprint": "SHA-256 of the prepared data: equal for equal data only",
    "inputs": "what else was read, such as texts or sound → its SHA-256",
}
TEST_KEYS = {
    "baseline": "with which the model was compared",
    "difference": "the model's figure less the baseline's",
    "low": "lower end of the 95 % bootstrap interval of the difference",
    "high": "upper end of it",
    "pairs": "units that both have a value for",
    "units": "what they are, as in `resampled`",
    "wilcoxon_p": "two-sided p of Wilcoxon's signed ranks of the units' differences; null if it cannot be told",
    "wilcoxon_p_holm": "the same after Holm's correction for the number of figures that were tested",
}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {"python": platform.python_version()}
    for name in ("encore-recsys", "tensorflow", "keras", "numpy", "scikit-learn"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {**found, "machine": platform.machine()}


def dataset_facts(
    name: str,
    synthetic: bool,
    counts: Mapping[str, Any],
    fingerprint: str,
    rows: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    inputs: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What ``metrics.json`` and ``options.json`` tell of a dataset; see :data:`DATASET_KEYS`."""
    return {
        "name": name,
        "synthetic": synthetic,
        "counts": dict(counts),
        "rows": dict(rows or {"files": {}, "parts": {}}),
        "notes": list(notes),
        "fingerprint": fingerprint,
        "inputs": dict(inputs or {}),
    }


def faults(result: object) -> list[str]:
    """In what the content of a ``metrics.json`` breaks the schema, a sentence each; none if it keeps it."""
    if not isinstance(result, Mapping):
        return ["it is no object"]
    found = [*_keys("", result, KEYS)]
    if found:
        return found
    for key, (right, expected) in _RULES.items():
        if not right(result[key]):
            found.append(f"{key}: expected {expected}")
    if found:
        return found
    found += _keys("dataset", result["dataset"], DATASET_KEYS)
    rows = {result["model"], *result["baselines"], *result["details"].get("comparison", {})}
    found += [f"intervals: {row} is neither the model nor a baseline" for row in set(result["intervals"]) - rows]
    for figure, test in result["tests"].items():
        found += _keys(f"tests: {figure}", test, TEST_KEYS)
        found += [] if figure in result["metrics"] else [f"tests: {figure} is no figure of metrics"]
    best = result["best_baseline"]
    found += [] if best is None or best in result["baselines"] else [f"best_baseline: {best} is no baseline"]
    return found


def check(result: object, where: str) -> None:
    """Refuse what breaks the schema.

    Raises:
        UserError: it does, or is of a version of this project that wrote none; ``where`` begins the message.
    """
    old = isinstance(result, Mapping) and "schema" not in result
    require(
        not old,
        f"{where}: written by an older version of this project (it has no schema); make the run again, or evaluate its "
        "weights with --epochs 0 --weights",
    )
    told = result.get("schema") if isinstance(result, Mapping) else None
    require(told == SCHEMA, f"{where}: has schema {told!r}; this version of the project reads {SCHEMA}")
    wrong = faults(result)
    require(not wrong, f"{where}: {'; '.join(wrong[:3])}")


def _keys(where: str, found: Any, known: Mapping[str, str]) -> Iterator[str]:
    start = f"{where}: " if where else ""
    if not isinstance(found, Mapping):
        yield f"{start}expected an object"
        return
    missing, more = [key for key in known if key not in found], [key for key in found if key not in known]
    if missing:
        yield f"{start}lacks {', '.join(missing)}"
    if more:
        yield f"{start}has {', '.join(map(str, more))}, which no run has"


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(map(_text, value))


def _figures(value: Any) -> bool:
    return isinstance(value, Mapping) and all(_text(name) and (v is None or _number(v)) for name, v in value.items())


def _intervals(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(row, Mapping) and all(len(ends) == 2 and ends[0] <= ends[1] for ends in row.values())
        for row in value.values()
    )


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "schema": (lambda value: value == SCHEMA, str(SCHEMA)),
    **dict.fromkeys(("paper", "model", "protocol", "split", "ranking", "ties"), (_text, "a text")),
    "task": (lambda value: value is None or _text(value), "a text or null"),
    "deviations": (_texts, "a list of texts"),
    "warnings": (_texts, "a list of texts"),
    "metrics": (_figures, "numbers or null by name"),
    "baselines": (lambda rows: isinstance(rows, Mapping) and all(map(_figures, rows.values())), "figures by row"),
    "intervals": (_intervals, "[low, high] by row and figure"),
    "resampled": (lambda value: isinstance(value, Mapping) and all(map(_text, value.values())), "texts by figure"),
    "best_baseline": (lambda value: value is None or _text(value), "a text or null"),
    **{key: (lambda value: isinstance(value, Mapping), "an object") for key in ("dataset", "tests", "settings")},
    **{key: (lambda value: isinstance(value, Mapping), "an object") for key in ("versions", "details")},
    **dict.fromkeys(("epochs", "best_epoch", "seed"), (_whole, "a whole number")),
    **{key: (lambda value: _number(value) and value >= 0, "seconds") for key in ("train_seconds", "seconds")},
}
