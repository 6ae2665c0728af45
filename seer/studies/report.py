"""What an experiment leaves behind: ``metrics.json``, ``report.md`` and a picture in its run directory."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import runtime
from common.options import replacing, write_json
from common.report import Rows, markdown_table, plot_comparison, print_table
from common.rundir import open_run
from common.sources import Dataset
from seer.preprocess import SeerData
from seer.results import PUBLICATION, dataset_facts
from seer.studies.options import ExperimentOptions


@dataclass(frozen=True)
class Table:
    """One table of a report."""

    title: str
    rows: Rows
    columns: Sequence[str]
    note: str = ""


class Experiment:
    """A run directory that is opened when the experiment starts and filled when it ends."""

    def __init__(self, name: str, options: ExperimentOptions, dataset: Dataset, data: SeerData) -> None:
        self.started = time.perf_counter()
        self.name, self.options = name, options
        if not options.weights:  # a mistake in what training needs is told before there is a folder
            options.completed(dataset.synthetic, data.num_steps)
        runtime.configure(options)
        self.facts = dataset_facts(dataset, data)
        self.folder: Path = open_run("seer", f"{name}-{dataset.name}", options, self.facts)
        self.place = f"{dataset.name}{' (synthetic data)' if dataset.synthetic else ''}"

    def finish(
        self, headline: str, tables: Sequence[Table], summary: dict[str, Any], picture: Table, ours: Collection[str]
    ) -> dict[str, Any]:
        """Write and print everything; bars of ``picture`` that are named in ``ours`` have a colour of their own."""
        headline = f"{headline}, {self.place}"
        result = {
            "paper": PUBLICATION,
            "experiment": self.name,
            **self.facts,
            **summary,
            "seconds": time.perf_counter() - self.started,
            "seed": self.options.seed,
            "versions": runtime.versions(),
        }
        write_json(self.folder / "metrics.json", result)
        text = f"# {headline}\n\n"
        for table in tables:
            print_table(f"{headline}. {table.title}", table.rows, table.columns)
            text += f"## {table.title}\n\n{markdown_table(table.rows, table.columns)}\n"
            if table.note:
                print(table.note)
                text += f"{table.note}\n\n"
        with replacing(self.folder / "report.md", "w") as file:
            file.write(text)
        plot_comparison(self.folder / "comparison.png", headline, picture.rows, picture.columns, ours)
        print(f"Written to {self.folder}")
        return result
