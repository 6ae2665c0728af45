"""Train a session transformer, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from session_transformers.options import SessionOptions
from session_transformers.recommender import SessionTransformer


def main(options: SessionOptions) -> dict[str, Any]:
    """Train a model that predicts the second half of a listening session, its tracks or what is skipped of them.

    Without --data-dir it uses the released MSSD below data/mssd, or else a synthetic sample that it writes itself.
    """
    return SessionTransformer.of(options).run()


if __name__ == "__main__":
    run_script(main, SessionOptions)
