"""What a run of SeER leaves behind: tables, pictures, ``metrics.json``, predictions and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from common import runtime
from common.options import replacing, write_json
from common.report import markdown_table, plot_comparison, print_table
from common.sources import Dataset
from seer.evaluation import Split
from seer.options import PAPER, SeerOptions
from seer.preprocess import SeerData

PUBLICATION = "SeER (Damak, Nasraoui, Sanders 2021; arXiv 1907.01640)"
RELEASED_COLUMNS = ("rmse", "mae", *(f"{name}@{k}_released" for name in ("map", "ndcg") for k in (5, 10)), "map@10_v2")
STANDARD_COLUMNS = ("rmse", "mae", "map@10", "ndcg@10", "recall@10", "recall@100", "mrr@10", "auc")


def title(options: SeerOptions, dataset: Dataset) -> str:
    """Headline of a training run's table and picture."""
    made_up = " (synthetic data)" if dataset.synthetic else ""
    return f"SeER {options.variant}, {options.cell}, {options.protocol} protocol, {dataset.name}{made_up}"


def dataset_facts(dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """What ``metrics.json`` tells of a dataset."""
    counts = {"users": data.num_users, "songs": data.num_songs, "ratings": len(data.ratings), "steps": data.num_steps}
    known = {"name": dataset.name, "synthetic": dataset.synthetic, "counts": counts}
    return {"dataset": known | {"fingerprint": data.fingerprint}}


def save_predictions(path: Path, split: Split, predicted: np.ndarray) -> None:
    """The test set with the predicted ratings, arrays user, song, true, predicted."""
    test = split.test
    with replacing(path) as file:
        np.savez_compressed(file, user=test.users, song=test.songs, true=test.values, predicted=predicted)


def finish(
    run_dir: Path,
    headline: str,
    options: SeerOptions,
    facts: dict[str, Any],
    rows: dict[str, dict[str, float]],
    summary: dict[str, Any],
) -> dict[str, Any]:
    """Write ``metrics.json``, the tables and the picture, and print the tables."""
    full = options.protocol == "corrected"
    result = {
        "paper": PUBLICATION,
        "protocol": options.protocol,
        **facts,
        "split": "released: 80/20 by row, random_state 1" + (", a tenth of the 80 for validation" if full else ""),
        "ranking": "full catalogue without the user's training songs; *_released and *_v2: the user's test rows only"
        if full
        else "the user's test rows only, as the released code does",
        "ties": "expected rank; *_released and *_v2: row order as in the released code",
        "relevant": f"rating >= {options.interaction_threshold}",
        **summary,
        "seed": options.seed,
        "versions": runtime.versions(),
    }
    write_json(run_dir / "metrics.json", result)
    shown = rows | PAPER
    tables = [("The released code's figures (test rows only)", RELEASED_COLUMNS)]
    tables += [("Standard figures (whole catalogue)", STANDARD_COLUMNS)] if full else []
    text = f"# {headline}\n\n"
    for subtitle, columns in tables:
        with_paper = shown if columns is RELEASED_COLUMNS else rows
        print_table(f"{headline}. {subtitle}", with_paper, columns)
        text += f"## {subtitle}\n\n{markdown_table(with_paper, columns)}\n"
    if facts["dataset"]["name"] != "released":
        note = "The paper's figures are of its own dataset: here they are no reference."
        print(note)
        text += f"{note}\n"
    with replacing(run_dir / "report.md", "w") as file:
        file.write(text)
    columns = STANDARD_COLUMNS if full else RELEASED_COLUMNS
    ours = [name for name in rows if name not in summary["baselines"]]
    plot_comparison(run_dir / "comparison.png", headline, rows if full else shown, columns, ours)
    print(f"Written to {run_dir}")
    return result
