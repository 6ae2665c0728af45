"""What an experiment leaves behind: ``metrics.json``, ``report.md`` and a picture in its run directory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from common import experiment, runtime
from common.report import Part, publish
from common.reporting.schema import versions
from common.rundir import claimed, open_run
from common.sources import Dataset
from seer.preprocess import SeerData
from seer.recommender import CORRECTED, SeER
from seer.studies.options import ExperimentOptions


class Experiment:
    """A run directory that is opened when the experiment starts and filled when it ends."""

    def __init__(self, name: str, options: ExperimentOptions, dataset: Dataset, data: SeerData) -> None:
        self.started = time.perf_counter()
        self.name, self.options, self.dataset = name, options, dataset
        if not options.weights:  # a mistake in what training needs is told before there is a folder
            options.completed(dataset.synthetic, data.num_steps)
        runtime.configure(options)
        self.facts = {"dataset": experiment.described(SeER(), dataset, data)}
        self.folder: Path = open_run("seer", f"{name}-{dataset.name}", options, self.facts)

    def fit(self, options: ExperimentOptions, data: SeerData, name: str) -> SeER:
        """A model of the experiment.

        Args:
            options: complete ones.
            data: with their split.
            name: of its run directory in that of the experiment, with which ``--resume`` goes on.
        """
        folder = self.folder / name
        again = options.resume and (folder / "options.json").is_file()
        model = SeER.of(options.of_model(run_dir=folder, resume=again))
        with claimed(model.options):
            experiment.fit(model, model.options, self.dataset, data, runs=True)
        return model

    def finish(
        self, headline: str, tables: Sequence[Part], summary: dict[str, Any], picture: Part, ours: Collection[str]
    ) -> dict[str, Any]:
        """Write and print everything; bars of ``picture`` that are named in ``ours`` have a colour of their own."""
        result = {
            "paper": CORRECTED.citation,
            "experiment": self.name,
            **self.facts,
            **summary,
            "seconds": time.perf_counter() - self.started,
            "seed": self.options.seed,
            "versions": versions(),
        }
        return publish(self.folder, f"{headline}, {self.dataset.name}", result, tables, picture, ours)
