"""Train DTNMR, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from dtnmr.options import DtnmrOptions
from dtnmr.recommender import DTNMR


def main(options: DtnmrOptions) -> dict[str, Any]:
    """Train DTNMR on KKBOX's plays, rank the songs that users have not heard, and compare with the baselines.

    Without --db it uses the released files below data/kkbox, or else a synthetic sample that it writes itself.
    """
    return DTNMR.of(options).run()


if __name__ == "__main__":
    run_script(main, DtnmrOptions)
