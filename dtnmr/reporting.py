"""What a run of DTNMR reports: ``metrics.json``, the table, the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common import runtime
from common.report import Part, finish
from dtnmr.evaluation import RELEASED_ACCURACY, Outcome, compare, intervals
from dtnmr.options import DtnmrOptions

CITATION = (
    "DTNMR (Zheng et al.: A Deep Temporal Neural Music Recommendation Model Utilizing Music and User Metadata, Applied "
    "Sciences 2019, 9(4), 703)"
)
NOTE = (
    "The paper's figures could not be found, and the released code reports none. next_*: the next song at every test "
    f"point, among all songs not heard before it; {RELEASED_ACCURACY}: label above four random songs."
)
CHOSEN_BY = "map"
"""The figure that says which baseline is the best one."""


def columns_of(cutoffs: Sequence[int]) -> list[str]:
    """The figures that the table shows: the paper's six, NDCG, and the next song, at the middle cut-off."""
    k = cutoffs[len(cutoffs) // 2]
    at = [f"{name}@{k}" for name in ("precision", "recall", "f")]
    more = [f"user_coverage@{k}", "auc", f"ndcg@{k}", "mrr", f"next_recall@{k}", "next_mrr", RELEASED_ACCURACY]
    return [*at, "map", *more]


def report(
    folder: Path,
    name: str,
    options: DtnmrOptions,
    facts: dict[str, Any],
    outcomes: Mapping[str, Outcome],
    ours: str,
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Print and write what the run has measured.

    Args:
        folder: of the run.
        name: of the run.
        options: complete ones.
        facts: what ``options.json`` says of architecture, dataset and vocabulary.
        outcomes: of the model, named ``ours``, and of the baselines.
        summary: sizes, epochs, seconds.
    """
    rows = {title: outcome.figures() for title, outcome in outcomes.items()}
    apart = {title: outcome.apart() for title, outcome in outcomes.items()}
    columns = columns_of(options.cutoffs)
    of_users = [column for column in columns if column in outcomes[ours].users]
    result = {
        "paper": CITATION,
        "model": ours,
        "protocol": options.protocol,
        **facts,
        "split": split_of(options),
        "ranking": ranking_of(summary),
        "ties": f"expected rank; {RELEASED_ACCURACY}: against the label",
        "cutoffs": list(options.cutoffs),
        "metrics": rows[ours],
        "confidence_95": intervals(outcomes[ours].users, of_users, options.seed),
        "apart": apart[ours],
        "baselines": {title: row for title, row in rows.items() if title != ours},
        "baselines_apart": {title: groups for title, groups in apart.items() if title != ours},
        **against_best(outcomes, rows, ours, of_users),
        "settings": {key: value for key, value in asdict(options).items() if value is not None},
        **summary,
        "seed": options.seed,
        "versions": runtime.versions(),
    }
    shown: dict[str, Mapping[str, float]] = {**rows, "paper (no figure known)": {}}
    table = Part(shown, columns, notes=[*(f"Warning: {warning}." for warning in summary["warnings"]), NOTE])
    groups = {f"{title}: {group}": found for title, of in apart.items() for group, found in of.items()}
    cold = Part(groups, ["users", *of_users], "Songs without a play in training, and users without one")
    following = ["dtnmr/recommend.py", "--run-dir", folder, "--user", "USER"]
    return finish(folder, f"DTNMR, {name}", result, [table, cold], Part(rows, columns), [ours], following=following)


def against_best(
    outcomes: Mapping[str, Outcome], rows: Mapping[str, Mapping[str, float]], ours: str, names: Sequence[str]
) -> dict[str, Any]:
    """The baseline with the highest MAP, and paired tests of our figures against its own, over the same users."""
    others = [title for title in outcomes if title != ours]
    if not others or not len(outcomes[ours].users[CHOSEN_BY]):
        return {"best_baseline": None, "tests": {}}
    best = max(others, key=lambda title: rows[title][CHOSEN_BY])
    return {"best_baseline": best, "tests": compare(outcomes[ours].users, outcomes[best].users, names)}


def split_of(options: DtnmrOptions) -> str:
    """How training and test plays are told apart."""
    if options.protocol == "released":
        return "WSDM's by time; playlists of the test file begin anew, without those of the training file"
    return "WSDM's by time; histories go on from training, pairs of user and song known from training are no test"


def ranking_of(summary: Mapping[str, Any]) -> str:
    """What is ranked, and what of it is drawn."""
    points = summary["test_points"]
    drawn = "all" if points["evaluated"] == points["in_all"] else f"{points['evaluated']:,} drawn"
    return (
        "per user (users with a training playlist): all songs not played in training; next_*: all songs not in the "
        f"history, at {drawn} of {points['in_all']:,} test points; {RELEASED_ACCURACY}: sampled, 4 frozen songs"
    )
