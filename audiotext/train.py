"""Train a network from biographies and sound to item factors, with the branches that it needs, and evaluate it."""

from __future__ import annotations

from typing import Any

from audiotext.options import AudioTextOptions
from audiotext.recommender import AudioText
from common.command import run_script


def main(options: AudioTextOptions) -> dict[str, Any]:
    """Train a network from biographies and sound to item factors, rank the songs of unknown artists, and compare.

    Without --data-dir it uses the released dlrs-data below data/audiotext, or else a synthetic sample that it writes
    itself. Raw material is turned into dlrs-data first.
    """
    return AudioText.of(options).run()


if __name__ == "__main__":
    run_script(main, AudioTextOptions)
