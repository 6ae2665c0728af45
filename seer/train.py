"""Train SeER, or evaluate given weights, and compare with baselines and with the paper."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from seer.options import SeerOptions
from seer.recommender import SeER


def main(options: SeerOptions) -> dict[str, Any]:
    """Train SeER (sequence-based explainable hybrid song recommendation), or evaluate given weights.

    Without --data-dir it uses the released files below data/seer, or else a synthetic sample that it writes itself.
    """
    return SeER.of(options).run()


if __name__ == "__main__":
    run_script(main, SeerOptions)
