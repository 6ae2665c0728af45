"""Train a network from biographies and sound to item factors, with the branches that it needs, and evaluate it."""

from __future__ import annotations

from typing import Any

from audiotext.dataset import Part, open_dataset
from audiotext.kinds import TEXT_KINDS
from audiotext.options import AudioTextOptions
from common.options import run_script


def main(options: AudioTextOptions) -> dict[str, Any]:
    """Train a network from biographies and sound to item factors, rank the songs of unknown artists, and compare.

    Without --data-dir it uses the released dlrs-data below data/audiotext, or else a synthetic sample that it writes
    itself. Raw material is turned into dlrs-data first.
    """
    parts: list[Part] = ["factors"]
    if options.model != "audio":
        parts.append("text")
    if options.model not in TEXT_KINDS:
        parts.append("audio")
    dataset, layout = open_dataset(options.data_dir, options.of_data, parts, options.protocol)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from audiotext.experiment import run  # isort: skip

    return run(options, dataset, layout)


if __name__ == "__main__":
    run_script(main, AudioTextOptions)
