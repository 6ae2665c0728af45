"""The hyper-parameter study of v2 (table 4): latent sizes with an LSTM, then cells at the best size."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from common import metrics
from common.report import Part
from common.rundir import resumable
from common.sources import Dataset
from seer.preprocess import SeerData, split_of
from seer.released_metrics import map_v2
from seer.studies.options import Study
from seer.studies.report import Experiment

Setting = tuple[str, int]
PAPER_TABLE: dict[Setting, float] = {
    ("lstm", 50): 0.1236,
    ("lstm", 100): 0.1424,
    ("lstm", 150): 0.1433,
    ("lstm", 200): 0.1425,
    ("rnn", 150): 0.0973,
    ("gru", 150): 0.1437,
}
"""(cell, latent size) -> MAP@10 of arXiv 1907.01640 v2, table 4, as its code computed it then."""
SAMPLE_SIZES = (8, 16, 32, 64)
COLUMNS = ("map@10_v2", "sd", "paper v2", "rmse", "parameters", "train seconds")
NOTE = (
    "map@10_v2 and rmse are of the validation ratings, a tenth of the training ones; the paper's are of its test "
    "ratings of its own dataset. As in the paper the search is greedy and map@10_v2 decides."
)


def run(options: Study, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Train a model per setting (and seed) and write the table beside the paper's."""
    sizes = options.sizes or (SAMPLE_SIZES if dataset.synthetic else tuple(s for c, s in PAPER_TABLE if c == "lstm"))
    experiment = Experiment("study", options, dataset, data)
    rows: dict[Setting, dict[str, float]] = {}

    def best(settings: list[Setting]) -> Setting:
        for setting in settings:
            if setting not in rows:
                rows[setting] = _figures(options, setting, experiment, data)
        return max(settings, key=lambda setting: rows[setting]["map@10_v2"])

    with resumable(experiment.folder):
        _, size = best([("lstm", size) for size in sizes])
        chosen = best([(cell, size) for cell in options.cells])
    for setting, figure in PAPER_TABLE.items():
        rows.setdefault(setting, {})["paper v2"] = figure
    shown = {f"{cell}, latent size {size}": row for (cell, size), row in rows.items()}
    summary = {
        "split": "released: 80/20 by row, random_state 1; a tenth of the 80 for validation, figures of that tenth",
        "relevant": f"rating >= {options.interaction_threshold}",
        "best": {"cell": chosen[0], "latent_features": chosen[1]},
        "metrics": shown,
    }
    note = f"Best here: {chosen[0]}, latent size {chosen[1]}. {NOTE}"
    variant = options.variant or "dot"
    tried = {name: row for name, row in shown.items() if "map@10_v2" in row}
    picture = Part(tried, ("map@10_v2", "rmse", "train seconds"))
    ours = [f"{chosen[0]}, latent size {chosen[1]}"]
    headline = f"SeER {variant}: latent size and cell"
    return experiment.finish(headline, [Part(shown, COLUMNS, "Table 4 of v2", [note])], summary, picture, ours)


def _figures(options: Study, setting: Setting, experiment: Experiment, data: SeerData) -> dict[str, float]:
    """Validation figures of one setting: means over the seeds."""
    cell, size = setting
    started = time.perf_counter()
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        complete = options.completed(
            experiment.dataset.synthetic, data.num_steps, cell=cell, latent_features=size, seed=seed
        )
        split = split_of(data.all_ratings, complete.protocol, seed)
        model = experiment.fit(complete, replace(data, split=split), f"{cell}-{size}-{seed}")
        held_out = split.validation
        predicted = model.rater().rate(held_out.users, held_out.songs)
        rows = (held_out.users, held_out.values, predicted)
        rank = map_v2(*rows, 10, options.interaction_threshold)
        found.append((rank, metrics.rmse(held_out.values, predicted)))
    mean = np.mean(found, axis=0)
    figures = {"map@10_v2": float(mean[0]), "rmse": float(mean[1]), "parameters": model.networks.model.count_params()}
    if options.seeds > 1:
        figures["sd"] = float(np.std(found, axis=0, ddof=1)[0])
    return figures | {"train seconds": (time.perf_counter() - started) / options.seeds}
