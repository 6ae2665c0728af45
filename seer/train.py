"""Train SeER, or evaluate given weights, and compare with baselines and with the paper."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from common.sources import dataset_folder
from seer.options import SeerOptions
from seer.preprocess import REQUIRED, prepare
from seer.sample import write_sample


def main(options: SeerOptions) -> dict[str, Any]:
    """Train SeER (sequence-based explainable hybrid song recommendation), or evaluate given weights.

    Without --data-dir it uses the released files below data/seer, or else a synthetic sample that it writes itself.
    """
    dataset = dataset_folder("seer", options.data_dir, list(REQUIRED.values()), write_sample)
    data = prepare(dataset.raw, dataset.prepared)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from seer import experiment

    if options.epochs == 0:
        return experiment.compare(options, dataset, data)
    return experiment.train(options, dataset, data)


if __name__ == "__main__":
    run_script(main, SeerOptions)
