"""Train DTNMR, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from dtnmr.options import DtnmrOptions
from dtnmr.preprocess import load_dataset


def main(options: DtnmrOptions) -> dict[str, Any]:
    """Train DTNMR on KKBOX's plays, rank the songs that users have not heard, and compare with the baselines.

    Without --db it uses the released files below data/kkbox, or else a synthetic sample that it writes itself.
    """
    dataset, data = load_dataset(options.of_data, options.protocol, options.data_dir)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from dtnmr.experiment import run

    return run(options, dataset, data)


if __name__ == "__main__":
    run_script(main, DtnmrOptions)
