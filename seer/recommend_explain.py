"""Recommend songs to a user, and explain each by the ten seconds of it that the model would rate highest."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from pathlib import Path
from typing import Any

from common import console
from common.command import run_script
from common.options import PROJECT, require
from common.rundir import read_run
from common.sources import Dataset, dataset_folder, sample_dataset
from common.weights import is_keras_layout
from seer.options import RecommendOptions
from seer.preprocess import REQUIRED, prepare
from seer.presentation.output import replaceable
from seer.sample import write_sample

SHIPPED = PROJECT / "weights" / "seer_sample"
"""Folders ``dot`` and ``concat``: small runs on the synthetic sample that come with the project."""


def find_model(options: RecommendOptions) -> tuple[Path, Dataset]:
    """The weight file and the dataset that the options mean.

    Raises:
        UserError: the run is not finished or of another paper, or data are named without weights.
    """
    if options.run_dir is None and options.weights is None:
        require(
            options.data_dir is None,
            "--data-dir needs the model to use: name a finished run with --run-dir, or a weight file with --weights",
        )
        console.say("No --run-dir and no --weights: small weights trained on the synthetic sample are used.")
        folder = SHIPPED / (options.variant or "dot")
        return folder / "model.weights.h5", sample_dataset("seer", list(REQUIRED.values()), write_sample)
    path = options.weights or (options.run_dir or Path()) / "model.weights.h5"
    data_dir = options.data_dir
    if not is_keras_layout(path):
        run = read_run(path.parent)
        file = path.parent / "options.json"
        architecture = run.get("architecture")
        require(
            isinstance(architecture, dict) and {"variant", "latent_features"} <= architecture.keys(),
            f"{file}: not a training run of seer/train.py; name one with --run-dir",
        )
        require(path.is_file(), f"{path}: not there; the run is not finished: continue it with seer/train.py --resume")
        trained_on = run["options"].get("data_dir")
        require(trained_on is None or isinstance(trained_on, str), f"{file}: data_dir is {trained_on!r}, not a folder")
        if data_dir is None and trained_on:
            data_dir = Path(trained_on)
            require(
                data_dir.is_dir(),
                f"{file}: the run was trained on {trained_on}, and there is no such folder; name it with --data-dir",
            )
    return path, dataset_folder("seer", data_dir, list(REQUIRED.values()), write_sample)


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend songs to a user with a trained SeER model, and explain each by the section that the model likes best.

    Prints a table and writes recommendations.json, a page to look at and listen to (index.html), and the pictures and
    sounds in it.
    """
    path, dataset = find_model(options)
    data = prepare(dataset.raw, dataset.prepared)
    users = data.num_users
    require(
        options.user_number is None or 0 <= options.user_number < users,
        f"--user_number is {options.user_number}; the users of this dataset are numbered 0..{users - 1}",
    )
    require(options.top_k <= data.num_songs, f"--top-k is {options.top_k}, but the dataset has {data.num_songs} songs")
    if options.output is not None:
        replaceable(options.output, "--output")
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from seer.presentation.answer import answer

    return answer(options, path, dataset, data)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
