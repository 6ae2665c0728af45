"""What an experiment leaves behind: ``metrics.json``, ``report.md`` and a picture in its run directory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from common import runtime
from common.report import Part, publish
from common.reporting.schema import versions
from common.rundir import open_run
from common.sources import Dataset
from seer.preprocess import SeerData
from seer.results import PUBLICATION, facts_of_dataset
from seer.studies.options import ExperimentOptions


class Experiment:
    """A run directory that is opened when the experiment starts and filled when it ends."""

    def __init__(self, name: str, options: ExperimentOptions, dataset: Dataset, data: SeerData) -> None:
        self.started = time.perf_counter()
        self.name, self.options = name, options
        if not options.weights:  # a mistake in what training needs is told before there is a folder
            options.completed(dataset.synthetic, data.num_steps)
        runtime.configure(options)
        self.facts = facts_of_dataset(dataset, data)
        self.folder: Path = open_run("seer", f"{name}-{dataset.name}", options, self.facts)
        self.place = dataset.name

    def finish(
        self, headline: str, tables: Sequence[Part], summary: dict[str, Any], picture: Part, ours: Collection[str]
    ) -> dict[str, Any]:
        """Write and print everything; bars of ``picture`` that are named in ``ours`` have a colour of their own."""
        result = {
            "paper": PUBLICATION,
            "experiment": self.name,
            **self.facts,
            **summary,
            "seconds": time.perf_counter() - self.started,
            "seed": self.options.seed,
            "versions": versions(),
        }
        return publish(self.folder, f"{headline}, {self.place}", result, tables, picture, ours)
