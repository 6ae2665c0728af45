"""Paired tests of runs: against their best baseline, and between runs of one group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.reporting.runs import Group, Run, means
from common.significance import PairedTest, holm, paired_test

TEST_COLUMNS = ("pairs", "difference", "low", "high", "p", "p (Holm)")


def paired_tests(group: Group) -> dict[str, dict[str, float | str]]:
    """Paired tests: each run against its best baseline, and the best row against each other, over seeds or users."""
    rows: dict[str, dict[str, float | str]] = {}
    if not group.columns:
        return rows
    figure = group.columns[0]
    for run in (run for runs in group.rows.values() for run in runs):
        if recorded := run.tests.get(figure):
            p_values = [recorded[key] for key in ("wilcoxon_p", "wilcoxon_p_holm")]
            rows[f"{run.folder.name} - {recorded['baseline']}: {figure}"] = _row(recorded, *p_values)
    sign = -1 if figure in group.about.get("lowest", ()) else 1
    average = {name: row[figure] * sign for name, row in means(group).items() if name in group.rows and figure in row}
    if not average:
        return rows
    best = max(average, key=lambda name: average[name])
    made: dict[str, PairedTest] = {}
    for name in (name for name in average if name != best):
        made |= {f"{best} - {name}: {title}": test for title, test in between(group, best, name, figure)}
    found = [test.t_p if title.endswith("seeds") else test.wilcoxon_p for title, test in made.items()]
    for (title, test), p, corrected in zip(made.items(), found, holm(found), strict=True):
        rows[title] = _row(asdict(test), p, corrected)
    return rows


def _row(test: Mapping[str, Any], *p_values: float | None) -> dict[str, float | str]:
    shown = ("" if p is None or np.isnan(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}" for p in p_values)
    ends = {name: np.nan if test[name] is None else float(test[name]) for name in ("difference", "low", "high")}
    return {"pairs": str(test.get("pairs", ""))} | ends | dict(zip(("p", "p (Holm)"), shown, strict=True))


def between(group: Group, first: str, second: str, name: str) -> Iterator[tuple[str, PairedTest]]:
    """Tests between two rows, over the seeds that both have, and over users where both predicted the same ratings."""
    a, b = ({run.seed: run for run in group.rows[row]} for row in (first, second))
    seeds = sorted(a.keys() & b.keys())
    if len(seeds) > 1:
        ours, theirs = ([runs[seed].metrics["metrics"].get(name, np.nan) for seed in seeds] for runs in (a, b))
        yield f"{name}, over seeds", paired_test(ours, theirs)
    errors = [(absolute_errors(a[seed]), absolute_errors(b[seed])) for seed in seeds]
    same = [(x[1], y[1]) for x, y in errors if x and y and all(map(np.array_equal, x[0], y[0]))]
    if same and len(same) == len(seeds):
        ours, theirs = np.mean(same, axis=0)
        yield "mae, over users", paired_test(ours, theirs)


def absolute_errors(run: Run) -> tuple[list[NDArray[Any]], NDArray[np.float64]] | None:
    """What a run rated (users, songs, true ratings), and each user's mean absolute error; None: it kept no ratings."""
    path = run.folder / run.predictions
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as file:
        keys = [file[name] for name in ("user", "song", "true")]
        off = np.abs(file["true"].astype(np.float64) - file["predicted"])
    _, user = np.unique(keys[0], return_inverse=True)
    return keys, np.bincount(user, off) / np.bincount(user)
