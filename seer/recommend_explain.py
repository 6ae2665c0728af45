"""Recommend songs to a user, and explain each by the ten seconds of it that the model would rate highest."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from typing import Any

from common import console
from common.command import run_script
from common.console import counted
from common.options import PROJECT, require
from common.weights import is_keras_layout
from seer.options import RecommendOptions, SeerOptions
from seer.presentation.output import replaceable
from seer.recommender import SeER

SHIPPED = PROJECT / "weights" / "seer_sample"
"""Folders ``dot`` and ``concat``: small runs on the synthetic sample that come with the project."""


def find_model(options: RecommendOptions) -> SeER:
    """The model that the options mean; its weights and songs are read when they are needed.

    Raises:
        UserError: the run is not finished or of another paper, or data are named without weights.
    """
    if options.run_dir is None and options.weights is None:
        require(
            options.data_dir is None,
            "--data-dir needs the model to use: name a finished run with --run-dir, or a weight file with --weights",
        )
        console.say("No --run-dir and no --weights: small weights trained on the synthetic sample are used.")
        return SeER.load(SHIPPED / (options.variant or "dot"))
    if options.run_dir is not None:
        return SeER.load(options.run_dir, options.data_dir)
    assert options.weights is not None
    if not is_keras_layout(options.weights):
        model = SeER.load(options.weights.parent, options.data_dir, options.weights.name)
        holds, asked = model.settings and model.settings.gate_activation, options.gate_activation
        told = f"{options.weights} holds gate_activation = {holds}, but --gate-activation is {asked}; leave it out"
        require(asked in (None, holds), told)
        return model
    released = SeerOptions(
        epochs=0, weights=(options.weights,), data_dir=options.data_dir, gate_activation=options.gate_activation
    )
    model = SeER.of(released)
    given, dataset, data = model.read(released, None, None, {})
    from common import experiment

    experiment.fit(model, given, dataset, data)
    return model


def main(options: RecommendOptions) -> dict[str, Any]:
    """Recommend songs to a user with a trained SeER model, and explain each by the section that the model likes best.

    Prints a table and writes recommendations.json, a page to look at and listen to (index.html), and the pictures and
    sounds in it.
    """
    model = find_model(options)
    data = model.training_data(whole=False)
    users = data.num_users
    require(
        options.user_number is None or 0 <= options.user_number < users,
        f"--user_number is {options.user_number}; the users of this dataset are numbered 0..{users - 1}",
    )
    require(
        options.top_k <= data.num_songs,
        f"--top-k is {options.top_k}, but the dataset has {counted(data.num_songs, 'song')}",
    )
    if options.output is not None:
        replaceable(options.output, "--output")
    # Imported late: a mistake in the options or the data is reported without waiting for TensorFlow.
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)
    from seer.presentation.answer import answer

    return answer(options, model)


if __name__ == "__main__":
    run_script(main, RecommendOptions)
