"""Train a network from biographies and sound to item factors, with the branches that it needs, and evaluate it."""

from __future__ import annotations

from typing import Any

from audiotext.dataset import Part
from audiotext.kinds import TEXT_KINDS
from audiotext.layout import Layout
from audiotext.options import AudioTextOptions
from audiotext.preprocess import open_dataset
from common.command import run_script
from common.sources import Dataset


def main(options: AudioTextOptions) -> dict[str, Any]:
    """Train a network from biographies and sound to item factors, rank the songs of unknown artists, and compare.

    Without --data-dir it uses the released dlrs-data below data/audiotext, or else a synthetic sample that it writes
    itself. Raw material is turned into dlrs-data first.
    """
    dataset, layout = dataset_of(options)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from audiotext.experiment import run  # isort: skip

    return run(options, dataset, layout)


def dataset_of(options: AudioTextOptions) -> tuple[Dataset, Layout]:
    """The dataset that the options name, with the parts that their network reads; see :func:`open_dataset`."""
    parts: list[Part] = ["factors"]
    if options.model != "audio":
        parts.append("text")
    if options.model not in TEXT_KINDS:
        parts.append("audio")
    return open_dataset(options.data_dir, options.of_data, parts, options.protocol)


if __name__ == "__main__":
    run_script(main, AudioTextOptions)
