"""What a run of DTNMR reports: ``metrics.json``, the table, the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.checkpoint import Progress
from common.evaluation import evaluation
from common.report import About, Part, finish
from dtnmr.evaluation import RELEASED_ACCURACY, Outcome
from dtnmr.options import DtnmrOptions

CITATION = (
    "DTNMR (Zheng et al.: A Deep Temporal Neural Music Recommendation Model Utilizing Music and User Metadata, Applied "
    "Sciences 2019, 9(4), 703)"
)
NOTE = (
    "The paper's figures could not be found, and the released code reports none. next_*: the next song at every test "
    f"point, among all songs not heard before it; {RELEASED_ACCURACY}: label above four random songs."
)


def columns_of(cutoffs: Sequence[int]) -> list[str]:
    """The figures that the table shows: the paper's six, NDCG, and the next song, at the middle cut-off.

    By the first one, MAP, the best baseline is chosen.
    """
    k = cutoffs[len(cutoffs) // 2]
    at = [f"{name}@{k}" for name in ("precision", "recall", "f")]
    more = [f"user_coverage@{k}", "auc", f"ndcg@{k}", "mrr", f"next_recall@{k}", "next_mrr", RELEASED_ACCURACY]
    return ["map", *at, *more]


def report(
    folder: Path,
    name: str,
    options: DtnmrOptions,
    facts: dict[str, Any],
    outcomes: Mapping[str, Outcome],
    sizes: dict[str, Any],
    progress: Progress,
    started: float,
    warned: Sequence[str],
) -> dict[str, Any]:
    """Print and write what the run has measured.

    Args:
        folder: of the run.
        name: of the run.
        options: complete ones.
        facts: what ``options.json`` says of architecture, dataset and vocabulary.
        outcomes: of the model, which is first, and of the baselines.
        sizes: users and points that were tested.
        progress: of the training.
        started: see :func:`common.report.finish`.
        warned: why the figures say little.
    """
    columns = columns_of(options.cutoffs)
    found = evaluation({title: outcome.measured() for title, outcome in outcomes.items()}, columns, options.seed)
    apart = {title: outcome.apart() for title, outcome in outcomes.items()}
    about = About(
        paper=CITATION,
        dataset=facts["dataset"],
        split=split_of(options),
        ranking=ranking_of(sizes),
        ties=f"expected rank; {RELEASED_ACCURACY}: against the label",
        details={
            "architecture": facts["architecture"],
            "cutoffs": list(options.cutoffs),
            "apart": apart[found.model],
            "baselines_apart": {title: groups for title, groups in apart.items() if title != found.model},
            **sizes,
        },
    )
    table = Part({**found.rows, "paper (no figure known)": {}}, columns, notes=[NOTE])
    groups = {f"{title}: {group}": of_group for title, of in apart.items() for group, of_group in of.items()}
    of_users = [column for column in columns if column in outcomes[found.model].users]
    cold = Part(groups, ["users", *of_users], "Songs without a play in training, and users without one")
    return finish(
        folder,
        f"DTNMR, {name}",
        options,
        about,
        found,
        [table, cold],
        progress=progress,
        started=started,
        picture=columns,
        warned=warned,
        following=["dtnmr/recommend.py", "--run-dir", folder, "--user", "USER"],
    )


def split_of(options: DtnmrOptions) -> str:
    """How training and test plays are told apart."""
    if options.protocol == "released":
        return "WSDM's by time; playlists of the test file begin anew, without those of the training file"
    return "WSDM's by time; histories go on from training, pairs of user and song known from training are no test"


def ranking_of(sizes: Mapping[str, Any]) -> str:
    """What is ranked, and what of it is drawn."""
    points = sizes["test_points"]
    drawn = "all" if points["evaluated"] == points["in_all"] else f"{points['evaluated']:,} drawn"
    return (
        "per user (users with a training playlist): all songs not played in training; next_*: all songs not in the "
        f"history, at {drawn} of {points['in_all']:,} test points; {RELEASED_ACCURACY}: sampled, 4 frozen songs"
    )
