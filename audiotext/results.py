"""What a run reports: metrics.json, the table with intervals, report.md and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audiotext.evaluation import Ranked, measured
from audiotext.options import AudioTextOptions
from audiotext.references import UPPER
from common.checkpoint import Progress
from common.evaluation import evaluation
from common.report import About, Part, data_dir, finish

COLUMNS = ("map@500", "ndcg@10", "precision@10", "auc", "catalogue_coverage@10", "map@500_released")
PICTURE = ("map@500", "ndcg@10", "auc", "map@500_released")
NOTE = (
    "Means over the users with a test item of theirs, all test items ranked, tied items at their expected rank; "
    "map@500_released as tartarus: users without one count 0. catalogue_coverage@10: share of the test items in "
    "anybody's top 10."
)


def report(
    folder: Path,
    name: str,
    options: AudioTextOptions,
    facts: dict[str, Any],
    ranked: Mapping[str, Ranked],
    details: dict[str, Any],
    progress: Progress,
    started: float,
    warned: Sequence[str],
) -> dict[str, Any]:
    """Print and write what the run has measured: ``ranked`` by the model, which is first, and by the baselines."""
    rows = {row: measured(one) for row, one in ranked.items()}
    found = evaluation(rows, COLUMNS, options.seed, bounds=(UPPER,), against_all=True)
    own = ranked[found.model]
    about = About(
        paper="Oramas, Nieto, Sordo, Serra: A Deep Multimodal Approach for Cold-start Music Recommendation (2017)",
        dataset=facts["dataset"],
        split=_split(facts, options),
        ranking=f"all {own.items:,} test items, for the first {own.users:,} users",
        ties="expected rank; in *_released as NumPy's unstable sort left them until version 1.24",
        details={
            **{key: value for key, value in facts.items() if key != "dataset"},
            "tests": found.against,
            **details,
        },
    )
    result = finish(
        folder,
        f"{found.model}, {name}",
        options,
        about,
        found,
        [Part(found.rows, COLUMNS, notes=[NOTE])],
        progress=progress,
        started=started,
        picture=PICTURE,
        warned=warned,
        following=["audiotext/recommend.py", "--run-dir", folder, *data_dir(options), "--user", "USER"],
    )
    return result | {"run_dir": str(folder)}


def _split(facts: dict[str, Any], options: AudioTextOptions) -> str:
    counts = facts["dataset"]["counts"]
    if "test_artists" in counts:
        cold = f"{counts['cold_start_artists']:,} of {counts['test_artists']:,} test artists have no training item"
    else:
        cold = "the data do not say whose the items are"
    inner = "in file order" if options.protocol == "released" else "by artist, at random"
    return f"test items as the dataset has them ({cold}); of the training items 80/10/10, {inner}"
