"""The paper's experiments, and the ones that it argues about but does not make: a sub-command for each."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
import importlib
from typing import Annotated, Any

import tyro

from common.command import run_script
from seer.preprocess import load_dataset
from seer.studies.options import ColdStart, ExperimentOptions, Replicates, Sections, Study, Tags

Command: Any = (
    Annotated[ColdStart, tyro.conf.subcommand("cold-start")]
    | Annotated[Study, tyro.conf.subcommand("study")]
    | Annotated[Replicates, tyro.conf.subcommand("replicates")]
    | Annotated[Sections, tyro.conf.subcommand("sections")]
    | Annotated[Tags, tyro.conf.subcommand("tags")]
)
MODULES: dict[type[ExperimentOptions], str] = {
    ColdStart: "seer.studies.cold_start",
    Study: "seer.studies.study",
    Replicates: "seer.studies.replicates",
    Sections: "seer.studies.section_distance",
    Tags: "seer.studies.tag_matching",
}
"""Where the ``run(options, dataset, data)`` of each sub-command is; imported late, as TensorFlow takes its time."""


def main(options: ExperimentOptions) -> dict[str, Any]:
    """Run an experiment of SeER; each sub-command has its own --help.

    Without --data-dir it uses the released files below data/seer, or else a synthetic sample that it writes itself.
    """
    dataset, data = load_dataset(options.data_dir)
    from common import runtime  # noqa: F401 (first of all: it quiets TensorFlow)

    result: dict[str, Any] = importlib.import_module(MODULES[type(options)]).run(options, dataset, data)
    return result


if __name__ == "__main__":
    run_script(main, Command)
