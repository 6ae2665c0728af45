"""What a run reports: metrics.json, the table with intervals, report.md and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audiotext.evaluation import Ranked, figures, per_user, released_figures
from audiotext.options import AudioTextOptions
from common import console, runtime
from common.metrics import bootstrap_interval
from common.report import Part, data_dir, finish
from common.significance import holm, paired_test

COLUMNS = ("map@500", "ndcg@10", "precision@10", "auc", "catalogue_coverage@10", "map@500_released")
PICTURE = ("map@500", "ndcg@10", "auc", "map@500_released")
NOTE = (
    "Means over the users with a test item of theirs, all test items ranked, tied items at their expected rank; "
    "map@500_released as tartarus: users without one count 0. catalogue_coverage@10: share of the test items in "
    "anybody's top 10. 95 % intervals: bootstrap over users."
)


def report(
    folder: Path,
    name: str,
    options: AudioTextOptions,
    facts: dict[str, Any],
    ranked: Mapping[str, Ranked],
    ours: str,
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Print and write what the run has measured."""
    rows = {row: figures(found) | released_figures(found) for row, found in ranked.items()}
    result = {
        "paper": "Oramas, Nieto, Sordo, Serra: A Deep Multimodal Approach for Cold-start Music Recommendation (2017)",
        "model": options.model,
        "protocol": options.protocol,
        **facts,
        "split": _split(facts, options),
        "ranking": f"all {next(iter(ranked.values())).items:,} test items, for the first {ranked[ours].users:,} users",
        "ties": "expected rank; in *_released as NumPy's unstable sort left them until version 1.24",
        "metrics": rows[ours],
        "confidence_95": intervals(ranked, options.seed),
        "tests": comparison(ranked, ours),
        "baselines": {row: found for row, found in rows.items() if row != ours},
        "settings": {key: value for key, value in asdict(options).items() if value is not None},
        **summary,
        "seed": options.seed,
        "versions": runtime.versions(),
    }
    bounds, notes = interval_table(result["confidence_95"]), [NOTE, *(f"Warning: {w}." for w in summary["warnings"])]
    following = ["audiotext/recommend.py", "--run-dir", folder, *data_dir(options), "--user", "USER"]
    table, picture = Part(rows, COLUMNS, notes=notes), Part(rows, PICTURE)
    finish(folder, f"{ours}, {name}", result, [table], picture, [ours], bounds, following=following)
    return result | {"run_dir": str(folder)}


def _split(facts: dict[str, Any], options: AudioTextOptions) -> str:
    counts = facts["dataset"]["counts"]
    if "test_artists" in counts:
        cold = f"{counts['cold_start_artists']:,} of {counts['test_artists']:,} test artists have no training item"
    else:
        cold = "the data do not say whose the items are"
    inner = "in file order" if options.protocol == "released" else "by artist, at random"
    return f"test items as the dataset has them ({cold}); of the training items 80/10/10, {inner}"


def intervals(ranked: Mapping[str, Ranked], seed: int) -> dict[str, dict[str, list[float]]]:
    """Row -> figure -> mean, lower and upper end of the 95 % bootstrap interval over users."""
    found: dict[str, dict[str, list[float]]] = {}
    for row, one in ranked.items():
        means = figures(one)
        found[row] = {name: [means[name], *bootstrap_interval(values, seed)] for name, values in per_user(one).items()}
    return found


def comparison(ranked: Mapping[str, Ranked], ours: str) -> dict[str, dict[str, Any]]:
    """Other row -> figure -> paired test of ours against it over users; p corrected for the number of rows (Holm)."""
    own, others = per_user(ranked[ours]), {row: per_user(found) for row, found in ranked.items() if row != ours}
    found: dict[str, dict[str, Any]] = {row: {} for row in others}
    for name, values in own.items():
        tests = {row: paired_test(values, other[name]) for row, other in others.items()}
        corrected = holm([test.wilcoxon_p for test in tests.values()])
        for (row, test), p in zip(tests.items(), corrected, strict=True):
            found[row][name] = asdict(test) | {"wilcoxon_p_holm": p}
    return found


def interval_table(found: Mapping[str, Mapping[str, list[float]]]) -> str:
    """Markdown: each figure with its interval."""
    names = list(next(iter(found.values())))
    rows = [
        [row, *(f"{mean:.4f} ({low:.4f} to {high:.4f})" for mean, low, high in (values[name] for name in names))]
        for row, values in found.items()
    ]
    return console.markdown_table(["", *names], rows)
