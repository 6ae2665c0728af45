"""What a run of SeER leaves behind: tables, pictures, ``metrics.json``, predictions and weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common.checkpoint import Progress
from common.evaluation import Evaluation
from common.options import replacing
from common.report import About, Part, data_dir, finish
from common.reporting.schema import dataset_facts
from common.row_counts import RowCounts
from common.sources import Dataset
from seer.evaluation import Split
from seer.options import PAPER, SeerOptions
from seer.preprocess import SeerData

PUBLICATION = "SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640)"
RELEASED_COLUMNS = ("rmse", "mae", *(f"{name}@{k}_released" for name in ("map", "ndcg") for k in (5, 10)), "map@10_v2")
STANDARD_COLUMNS = ("rmse", "mae", "map@10", "ndcg@10", "recall@10", "recall@100", "mrr@10", "auc")


def title(options: SeerOptions, dataset: Dataset) -> str:
    """Headline of a training run's table and picture."""
    return f"SeER {options.variant}, {options.cell}, {options.protocol} protocol, {dataset.name}"


def columns_of(options: SeerOptions) -> tuple[str, ...]:
    """The figures of the picture and of the tests; by the first one the best baseline is chosen."""
    return STANDARD_COLUMNS if options.protocol == "corrected" else RELEASED_COLUMNS


def facts_of_dataset(dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """What ``metrics.json`` and ``options.json`` tell of a dataset."""
    counts = {"users": data.num_users, "songs": data.num_songs, "ratings": len(data.ratings), "steps": data.num_steps}
    return {"dataset": dataset_facts(dataset.name, dataset.synthetic, counts, data.fingerprint, data.rows)}


def save_predictions(path: Path, split: Split, predicted: np.ndarray) -> None:
    """The test set with the predicted ratings, arrays user, song, true, predicted."""
    test = split.test
    with replacing(path) as file:
        np.savez_compressed(file, user=test.users, song=test.songs, true=test.values, predicted=predicted)


def report(
    run_dir: Path,
    headline: str,
    options: SeerOptions,
    facts: dict[str, Any],
    split: Split,
    found: Evaluation,
    details: dict[str, Any],
    progress: Progress,
    started: float,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Print and write what the run has measured; ``remarks`` are printed and written below the first table."""
    full = options.protocol == "corrected"
    about = About(
        paper=PUBLICATION,
        dataset=facts["dataset"],
        split="released: 80/20 by row, random_state 1" + (", a tenth of the 80 for validation" if full else ""),
        ranking="full catalogue without the user's training songs; *_released and *_v2: the user's test rows only"
        if full
        else "the user's test rows only, as the released code does",
        ties="expected rank; *_released and *_v2: row order as in the released code",
        details={"relevant": f"rating >= {options.interaction_threshold}", **details},
    )
    notes = ["The paper's figures are of its own dataset: here they are no reference."]
    if facts["dataset"]["name"] == "released":
        notes = []
    warnings = RowCounts.of_json(facts["dataset"]["rows"]).warnings(len(split.test), "test rating")
    threshold = options.interaction_threshold
    if not (split.test.values >= threshold).any():
        warnings.append(f"no test rating reaches --interaction-threshold {threshold:g}: nothing can be found")
    shown = {**found.rows, **PAPER}
    parts = [Part(shown, RELEASED_COLUMNS, "The released code's figures (test rows only)", [*notes, *remarks])]
    parts += [Part(found.rows, STANDARD_COLUMNS, "Standard figures (whole catalogue)")] if full else []
    return finish(
        run_dir,
        headline,
        options,
        about,
        found,
        parts,
        progress=progress,
        started=started,
        picture=columns_of(options),
        warned=warnings,
        following=["seer/recommend_explain.py", "--run-dir", run_dir, *data_dir(options), "--user-number", 1],
    )
