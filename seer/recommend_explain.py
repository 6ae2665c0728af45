"""Recommend songs to a user, and explain each by the ten seconds of it that the model would rate highest."""

from __future__ import annotations

import common  # noqa: F401 (first of all: Ctrl-C ends the imports that follow in one line)

# isort: split
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from common import console
from common.options import (
    PROJECT,
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    require,
    run_script,
)
from common.rundir import read_run
from common.sources import Dataset, dataset_folder, sample_dataset
from common.weights import is_keras_layout
from seer.preprocess import REQUIRED, prepare
from seer.presentation.output import replaceable
from seer.sample import write_sample

SHIPPED = PROJECT / "weights" / "seer_sample"
"""Folders ``dot`` and ``concat``: small runs on the synthetic sample that come with the project."""


@dataclass(frozen=True)
class RecommendOptions:
    """Options of this script."""

    user_number: OptionalInt = None
    """User to recommend to, by number (0 up). Default: 0, or nobody of the dataset with --ratings."""
    ratings: OptionalPath = None
    """csv file with the columns song_id and rating (1..5): recommend to the one who wrote it, instead of a user of the
    dataset."""
    top_k: int = 5
    """Songs to recommend (released code: 5)."""
    section_seconds: float = 10
    """Length of the explaining section in seconds (paper: 10)."""
    exclude_rated: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Leave out the songs that the user has rated. Default in the corrected protocol."""
    include_rated: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Recommend songs that the user has rated, too. Default in the released protocol."""
    whole_song: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Look for sections in the whole song, not only in the part that the model read in training (the released protocol
    always does)."""
    run_dir: OptionalPath = None
    """Folder of a finished run of seer/train.py: its weights and its dataset. Default: small weights that come with the
    project, and the synthetic sample."""
    weights: OptionalPath = None
    """Weights instead of a run: .h5 of the released code (or a .zip of it), or model.weights.h5 of a run."""
    gate_activation: Annotated[
        Literal["hard_sigmoid", "sigmoid", "keras3_hard_sigmoid"] | None,
        tyro.conf.arg(metavar="{hard_sigmoid,sigmoid,keras3_hard_sigmoid}", help_behavior_hint=""),
    ] = None
    """With released --weights: gates of the RNN. Default: what the file says of itself."""
    data_dir: OptionalPath = None
    """Folder with the dataset in the released formats. Default: the run's; for released weights the released files
    below data/seer."""
    variant: Annotated[
        Literal["dot", "concat"] | None, tyro.conf.arg(metavar="{dot,concat}", help_behavior_hint="")
    ] = None
    """dot ranks differently for every user, concat alike for all. Default: that of the weights; dot without any."""
    protocol: Literal["corrected", "released"] = "corrected"
    """released: sections as the released code finds and scores them, step by step."""
    ridge: OptionalFloat = None
    """With --ratings: weight of the pull towards the average user. Default: estimated from the trained users."""
    midi_dir: OptionalPath = None
    """Folder with <song number>.mid, for pictures and sound. Default: midi/ in the dataset; songs without a file are
    reconstructed from the dataset's array."""
    soundfont: OptionalPath = None
    """Soundfont (.sf2) for fluidsynth. Default: one that is installed; without fluidsynth a built-in tone."""
    audio: bool = True
    """Make sound; --no-audio leaves it out."""
    output: OptionalPath = None
    """Folder to write; recommendations that it holds are replaced. Default: runs/seer/for-<user>-<model>."""

    def __post_init__(self) -> None:
        require(
            self.user_number is None or self.ratings is None,
            "--user_number is a user of the dataset, --ratings a new one; give one of them",
        )
        require(self.top_k >= 1, f"--top-k is {self.top_k}; it must be 1 or more")
        seconds = self.section_seconds
        require(0.5 <= seconds <= 600, f"--section-seconds is {seconds:g}; it must lie in 0.5..600")
        require(
            not (self.exclude_rated and self.include_rated), "--exclude-rated and --include-rated exclude each other"
        )
        require(
            not (self.run_dir and self.weights), "--run-dir names a run with its weights; leave out --weights or it"
        )
        require(
            self.gate_activation is None or self.weights is not None, "--gate-activation belongs to --weights of others"
        )
        require(self.ridge is None or self.ratings is not None, "--ridge belongs to --ratings")
        ridge = self.ridge
        require(
            ridge is None or 0 <= ridge < float("inf"), f"--ridge is {ridge}; it must be a finite number, 0 or more"
        )
        for flag, folder in (("--midi-dir", self.midi_dir), ("--run-dir", self.run_dir)):
            require(folder is None or folder.is_dir(), f"{flag} {folder}: no such folder")
        require(self.weights is None or self.weights.is_file(), f"--weights {self.weights}: no such file")

    @property
    def leave_out_rated(self) -> bool:
        """Whether songs that the user has rated are no candidates."""
        return self.exclude_rated or (self.protocol == "corrected" and not self.include_rated)


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
