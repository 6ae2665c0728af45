"""Train the template, or evaluate given weights, and compare with the baselines."""

from __future__ import annotations

from typing import Any

from common.options import run_script
from template.options import TemplateOptions
from template.preprocess import load_dataset


def main(options: TemplateOptions) -> dict[str, Any]:
    """Train matrix factorisation on plays, rank the songs that users have not played, compare with the baselines."""
    dataset, data = load_dataset(options.data_dir)
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from template.experiment import run

    return run(options, dataset, data)


if __name__ == "__main__":
    run_script(main, TemplateOptions)
