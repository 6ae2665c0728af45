"""The results table of SeER's page: both variants on the synthetic sample, three seeds each, and the baselines.

Every run is the command of the page, in a process of its own. Run folders that are already complete are used again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.options import PROJECT, UserError, replacing, run_script, write_json

COLUMNS = ("rmse", "mae", "map@10", "ndcg@10", "recall@10", "auc", "map@10_released", "ndcg@10_released")


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    runs: Path = PROJECT / "runs" / "seer" / "sample-table"
    """Folder for the runs."""
    out: Path = Path(__file__).parent / "results"
    """Folder for the table and the figures."""
    seeds: tuple[int, ...] = (1, 2, 3)
    """Seeds of the corrected protocol; the released protocol is run with the first."""


def run(folder: Path, arguments: list[str]) -> dict:
    """``metrics.json`` of ``python seer/train.py`` with ``arguments``."""
    if not (folder / "metrics.json").exists():
        command = [sys.executable, str(PROJECT / "seer" / "train.py"), "--run-dir", str(folder), *arguments]
        if subprocess.run(command, stdout=subprocess.DEVNULL).returncode:
            raise UserError(f"{' '.join(command)} failed, see above")
    return json.loads((folder / "metrics.json").read_text())


def main(options: Options) -> dict[str, dict[str, list[float]]]:
    """Train SeER on the sample, three seeds each, and make the table of its page."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for variant in ("concat", "dot"):
        for seed in options.seeds:
            found = run(options.runs / f"{variant}-{seed}", ["--variant", variant, "--seed", str(seed)])
            rows = {f"SeER {variant}": found["metrics"]} | (found["baselines"] if variant == "dot" else {})
            for name, row in rows.items():
                for column in COLUMNS:
                    if np.isfinite(row.get(column) or np.nan):
                        values[name][column].append(row[column])
    for variant in ("concat", "dot"):
        found = run(options.runs / f"released-{variant}", ["--variant", variant, "--protocol", "released"])
        for column in COLUMNS:
            if column in found["metrics"]:
                values[f"SeER {variant}, `--protocol released`"][column].append(found["metrics"][column])
    lines = ["| | " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for name, row in values.items():
        cells = [
            f"{np.mean(v):.3f}" + (f" ± {np.std(v, ddof=1):.3f}" if len(v) > 1 else "") if v else "–"
            for v in (row.get(column) for column in COLUMNS)
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"
    with replacing(options.out / "seer_sample.md", "w") as file:
        file.write(table)
    write_json(options.out / "seer_sample.json", values)
    print(table)
    return dict(values)


if __name__ == "__main__":
    run_script(main, Options)
