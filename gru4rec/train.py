"""Train GRU4Rec, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from gru4rec.options import GruOptions
from gru4rec.recommender import GRU4Rec


def main(options: GruOptions) -> dict[str, Any]:
    """Train GRU4Rec on sessions, rank the next item of every test event, and compare with the baselines.

    Without --data-dir it uses the released MSSD below data/mssd, or else a synthetic sample that it writes itself.
    """
    return GRU4Rec.of(options).run()


if __name__ == "__main__":
    run_script(main, GruOptions)
