"""``python -m common.report RUN_DIR ...``: runs of any papers side by side, with baselines, published figures, tests.

Runs of one paper, task and dataset are one table. Those that differ in nothing but the seed are one row: mean and
standard deviation; a single run has its 95 % intervals. Which figures are shown, and where the
published ones are, says the section ``[report]`` of ``<paper>/results.toml``: ``title``, ``paper`` (how the name in
``metrics.json`` begins), ``columns`` (the first one decides which row is best; ``lowest``: those where less is better)
and ``published`` (module:name).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from common import console
from common.options import OptionalPath, replacing, require
from common.reporting.charts import Cells, markdown_table, plot_comparison, print_table, which_is_better
from common.reporting.figures import Figure
from common.reporting.paired import TEST_COLUMNS, paired_tests
from common.reporting.runs import Group, baselines_of, figures_of, grouped, intervals_of, means, published, read_runs

NOTE = (
    "± is the standard deviation over seeds, [..] a 95 % interval of one run. Published figures are of the papers' own "
    "data. Differences are first - second with their 95 % interval; p is Wilcoxon's over cases, Student's over seeds. "
    "Holm's correction is over all tests between rows. The best row, with which others are compared, is chosen by the "
    "very figures that are tested."
)


@dataclass(frozen=True)
class ReportOptions:
    """Options of this command."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories, or folders of run directories."""
    out: OptionalPath = None
    """Folder for report.md and a picture of each table. Default: none is written."""

    def __post_init__(self) -> None:
        require(bool(self.runs), "name the folders of one or more runs")


def main(options: ReportOptions) -> list[Group]:
    """Compare runs of any papers: tables, paired tests, pictures."""
    groups = grouped([run for path in options.runs for run in read_runs(path)])
    text = "# Comparison of runs\n\n"
    shown: list[tuple[str, Cells, Sequence[str]]] = []
    for number, group in enumerate(groups, 1):
        parts: list[tuple[str, Cells, Sequence[str]]] = [
            (group.title, *table_of(group)),
            ("What differs", *differences(group)),
            ("Paired tests", paired_tests(group), TEST_COLUMNS),
        ]
        text += f"## {console.markdown(group.title)}\n\n"
        for title, rows, columns in parts:
            if rows and columns:
                shown.append((title, rows, columns))
                text += f"{title}:\n\n" * (title != group.title) + f"{markdown_table(rows, columns)}\n"
                better = which_is_better(columns) if title == group.title else ""
                text += f"{better}\n\n" if better else ""
        if options.out is not None and group.columns:
            ends = intervals_of(group)
            picture = options.out / f"{number}.png"
            plot_comparison(picture, group.title, means(group), group.columns, list(group.rows), ends)
            text += f"![{console.markdown(group.title)}]({number}.png)\n\n"
    if options.out is not None:
        with replacing(options.out / "report.md", "w") as file:
            file.write(f"{text}{NOTE}\n")
    for title, rows, columns in shown:  # last of all: what is printed may find nobody who reads it
        print_table(title, rows, columns)
        better = which_is_better(columns) if title in {group.title for group in groups} else ""
        console.say(*[better, ""] if better else [])
    console.say(NOTE)
    if options.out is not None:
        console.say(f"Written to {options.out}")
    return groups


def table_of(group: Group) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Rows of text: ours, baselines, published; and the columns."""
    rows = {}
    for name, runs in group.rows.items():
        ends = runs[0].intervals if len(runs) == 1 else {}
        cells = {}
        for column, figure in figures_of(runs).items():
            low_high = ends.get(column)
            spread = Figure(figure.mean, figure.sd, (low_high[0], low_high[1])) if low_high else figure
            cells[column] = format(spread, ".4fi" if low_high else ".4f")
        rows[f"{name} ({len(runs)} seeds)" if len(runs) > 1 else name] = cells
    others = {name: {c: format(f, ".4f") for c, f in row.items()} for name, row in baselines_of(group).items()}
    printed = {name: {c: format(v, ".4f") for c, v in row.items()} for name, row in published(group).items()}
    return rows | others | printed, group.columns


def differences(group: Group) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The options in which the rows differ."""
    options = {name: dict(runs[0].options) for name, runs in group.rows.items()}
    for name, runs in group.rows.items():
        for other in group.rows.values():
            if other is not runs and other[0].options == runs[0].options:  # then they read other data
                options[name] |= {f"data: {part}": content[:8] for part, content in runs[0].inputs.items()}
    names = list(dict.fromkeys(key for row in options.values() for key in row))
    different = [key for key in names if len({json.dumps(row.get(key)) for row in options.values()}) > 1]
    return {name: {key: str(row.get(key, "")) for key in different} for name, row in options.items()}, different
