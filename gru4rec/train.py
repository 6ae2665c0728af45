"""Train GRU4Rec, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.options import run_script
from gru4rec.options import GruOptions
from gru4rec.preprocess import load_dataset


def main(options: GruOptions) -> dict[str, Any]:
    """Train GRU4Rec on sessions, rank the next item of every test event, and compare with the baselines.

    Without --data-dir it uses the released MSSD below data/mssd, or else a synthetic sample that it writes itself.
    """
    dataset, data = load_dataset(options.data_dir, options.of_data)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from gru4rec.experiment import run

    return run(options, dataset, data)


if __name__ == "__main__":
    run_script(main, GruOptions)
