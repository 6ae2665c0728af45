"""Replicates of SeER and of matrix factorisation (v2, table 5): mean, standard deviation and paired tests."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from common.report import Part
from common.rundir import resumable
from common.significance import PairedTest, holm, paired_test
from common.sources import Dataset
from seer.baselines import Rater, factorised
from seer.preprocess import Ratings, SeerData, Split, split_of
from seer.studies.by_user import FIGURES, ByUser, by_user, released_by_user
from seer.studies.options import Replicates
from seer.studies.report import Experiment

SHOWN = ("map@10_v2", *FIGURES)
PAPER_REPLICATES = {
    "paper v2: SeER": (0.1436, 0.1481, 0.1399, 0.1453, 0.1414),
    "paper v2: MF": (0.1289, 0.1292, 0.1285, 0.1266, 0.1288),
}
"""MAP@10 of arXiv 1907.01640 v2, table 5, as its code computed it then, on its own dataset."""
TESTED = ("difference", "low", "high", "t_p", "t_p Holm", "wilcoxon_p", "wilcoxon_p Holm")
NOTE = (
    "Differences are SeER - MF with the 95 % interval of Student's t; for rmse and mae negative is better for SeER, "
    "for the others positive. Over seeds: a pair per replicate, on the same test ratings; with five pairs "
    "Wilcoxon's p cannot go below 0.0625. Over users: a pair per user, averaged over the replicates. "
    "Holm's correction is over the figures of each kind."
)


def run(options: Replicates, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Train ``options.replicates`` models of each kind and compare them."""
    experiment = Experiment("replicates", options, dataset, data)
    found: dict[str, list[ByUser]] = {}
    with resumable(experiment.folder):
        for seed in range(options.seed, options.seed + options.replicates):
            complete = options.completed(dataset.synthetic, data.num_steps, seed=seed)
            assert complete.latent_features
            split = split_of(data.all_ratings, complete.protocol, seed)
            of_seed = replace(data, split=split)
            models = {
                f"SeER {complete.variant} ({complete.cell})": experiment.fit(complete, of_seed, f"seer-{seed}").rater(),
                f"MF ({complete.latent_features})": factorised(complete, of_seed),
            }
            for name, model in models.items():
                found.setdefault(name, []).append(_evaluated(model, split, data, options.interaction_threshold))
    seer, mf = found
    by_seed = {name: [one.figures() for one in several] for name, several in found.items()}
    figures: dict[str, dict[str, float]] = {}
    means: dict[str, dict[str, float]] = {}
    for name, rows in by_seed.items():
        columns = {key: [row[key] for row in rows] for key in SHOWN}
        figures[f"{name}: mean"] = means[name] = {key: float(np.mean(column)) for key, column in columns.items()}
        figures[f"{name}: sd"] = {key: float(np.std(column, ddof=1)) for key, column in columns.items()}
    for name, paper in PAPER_REPLICATES.items():
        figures[f"{name}: mean"] = {"map@10_v2": float(np.mean(paper))}
        figures[f"{name}: sd"] = {"map@10_v2": float(np.std(paper, ddof=1))}
    each = {
        f"{name}, seed {seed}": row for name, rows in by_seed.items() for seed, row in enumerate(rows, options.seed)
    }
    over_seeds = {
        key: paired_test([row[key] for row in by_seed[seer]], [row[key] for row in by_seed[mf]]) for key in SHOWN
    }
    pooled = {name: _sum(several) for name, several in found.items()}
    over_users = {key: paired_test(pooled[seer].values(key), pooled[mf].values(key)) for key in SHOWN}
    tests = _rows(over_seeds, "over seeds") | _rows(over_users, "over users")
    tables = [
        Part(figures, SHOWN, f"{options.replicates} replicates"),
        Part(tests, TESTED, f"{seer} - {mf}, paired tests", [NOTE]),
        Part(each, SHOWN, "Every replicate"),
    ]
    summary = {
        "split": "released: 80/20 by row, random_state 1; a tenth of the 80, drawn by the seed, for validation",
        "ranking": "full catalogue without the user's training songs; map@10_v2: the user's test rows only",
        "ties": "expected rank; map@10_v2: row order as in the code of v2",
        "relevant": f"rating >= {options.interaction_threshold}",
        "metrics": figures,
        "by_seed": by_seed,
        "tests": tests,
    }
    return experiment.finish("SeER against matrix factorisation", tables, summary, Part(means, SHOWN), [seer])


def _evaluated(model: Rater, split: Split, data: SeerData, threshold: float) -> ByUser:
    parts = (split.train, split.validation)
    known = Ratings(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("users", "songs", "values")))
    found = by_user(split.test, model, data.num_users, threshold, np.arange(data.num_songs), known)
    released = released_by_user(split.test, model, data.num_users, threshold)
    return ByUser(found.totals | released.totals, found.counts | released.counts)


def _sum(several: list[ByUser]) -> ByUser:
    first, *others = several
    for other in others:
        first = first + other
    return first


def _rows(tests: dict[str, PairedTest], kind: str) -> dict[str, dict[str, float]]:
    """The tests as rows of a table, with p-values corrected for their number."""
    rows = {f"{key}, {kind}": asdict(test) for key, test in tests.items()}
    for name in ("t_p", "wilcoxon_p"):
        for row, p in zip(rows.values(), holm([row[name] for row in rows.values()]), strict=True):
            row[f"{name} Holm"] = p
    return rows
