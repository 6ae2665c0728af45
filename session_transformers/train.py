"""Train a session transformer, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.command import run_script
from session_transformers.options import SessionOptions
from session_transformers.preprocess import load_dataset


def main(options: SessionOptions) -> dict[str, Any]:
    """Train a model that predicts the second half of a listening session, its tracks or what is skipped of them.

    Without --data-dir it uses the released MSSD below data/mssd, or else a synthetic sample that it writes itself.
    """
    dataset, data = load_dataset(options.data_dir, options.of_data)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from session_transformers.experiment import run

    return run(options, dataset, data)


if __name__ == "__main__":
    run_script(main, SessionOptions)
