"""Options of ``seer/experiments.py``: those of training, and a few for each experiment."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, Self

import tyro

from common.options import OptionalInt, OptionalPath, Paths, flag, require
from seer.options import SeerOptions

EPOCHS = {"songs": 100, "pairs": 20}
SAMPLE_EPOCHS = {"songs": 120, "pairs": 30}
"""Passes over the training data, by ``--batching``; an epoch of ``songs`` takes few steps."""
Variant = Annotated[Literal["concat", "dot"] | None, tyro.conf.arg(metavar="{concat,dot}", help_behavior_hint="")]
OneWeights = Annotated[Paths, tyro.conf.arg(metavar="PATH", help_behavior_hint="")]


@dataclass(frozen=True)
class ExperimentOptions(SeerOptions):
    """Options that all experiments share."""

    epochs: OptionalInt = None
    """Passes over the training data (paper: 20); the best one by the validation ratings is kept. Default: 20, with
    --batching songs 100; on synthetic data 30 and 120."""
    variant: Variant = None
    """concat: the released final model; dot: the model of arXiv v2, to which the experiment belongs (default)."""
    batching: Literal["pairs", "songs"] = "songs"
    """songs: all ratings of --batch-size songs at a time: much faster. pairs: --batch-size shuffled ratings (paper)."""
    weights: Annotated[Paths, tyro.conf.Fixed, tyro.conf.Suppress] = ()
    protocol: Annotated[Literal["corrected", "released"], tyro.conf.Fixed, tyro.conf.Suppress] = "corrected"
    baselines: Annotated[bool, tyro.conf.Fixed, tyro.conf.Suppress] = True

    def __post_init__(self) -> None:
        require(self.epochs != 0, "--epochs is 0; an experiment needs 1 or more")
        super().__post_init__()

    def completed(self, synthetic: bool, steps: int, **changes: object) -> Self:
        """These options with ``changes`` and with what the user left open; see :class:`seer.options.SeerOptions`."""
        options = replace(self, **changes)  # type: ignore[arg-type]
        epochs = options.epochs or (SAMPLE_EPOCHS if synthetic else EPOCHS)[options.batching]
        options = replace(options, epochs=epochs, variant=options.variant or "dot")
        return SeerOptions.completed(options, synthetic, steps)

    def of_model(self, **changes: Any) -> SeerOptions:
        """The options of a model of the experiment: those of training, with ``changes``."""
        return SeerOptions(**{field.name: getattr(self, field.name) for field in fields(SeerOptions)} | changes)

    def at_least(self, low: int, *names: str) -> None:
        """Refuse options below ``low``."""
        for name in names:
            value = getattr(self, name)
            require(value is None or value >= low, f"{flag(name)} is {value}; it must be {low} or more")


@dataclass(frozen=True)
class ColdStart(ExperimentOptions):
    """Rate and rank songs without a single rating, from their MIDI alone."""

    variant: Variant = None
    """concat: the released final model; dot: the model of arXiv v2. Default: both."""
    share: float = 0.2
    """Share of the songs whose ratings are all held out for testing; half as many more choose the best epoch."""
    seeds: int = 3
    """How often to repeat it, with --seed, --seed + 1, ...: other songs held out, other initial weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.share < 2 / 3, f"--share is {self.share}; it must lie between 0 and 2/3")
        self.at_least(1, "seeds")


@dataclass(frozen=True)
class Study(ExperimentOptions):
    """Table 4 of v2: latent sizes with an LSTM, then cells at the best size; on the validation ratings."""

    latent_features: Annotated[OptionalInt, tyro.conf.Fixed, tyro.conf.Suppress] = None
    cell: Annotated[Literal["lstm", "gru", "rnn"] | None, tyro.conf.Fixed, tyro.conf.Suppress] = None
    sizes: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")] = ()
    """Latent sizes to try. Default: 50 100 150 200 (paper), or 8 16 32 64 on synthetic data."""
    cells: tuple[Literal["lstm", "rnn", "gru"], ...] = ("lstm", "rnn", "gru")
    """Cells to try at the best size (paper: all three)."""
    seeds: int = 1
    """Models per setting, with --seed, --seed + 1, ...; the mean decides (paper: 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "seeds")
        require(all(1 <= size <= 4096 for size in self.sizes), f"--sizes is {self.sizes}; they must lie in 1..4096")
        require(bool(self.cells), "--cells is empty; name at least one of lstm, rnn, gru")


@dataclass(frozen=True)
class Replicates(ExperimentOptions):
    """Table 5 of v2: several replicates of SeER and of matrix factorisation, compared by paired tests."""

    replicates: int = 5
    """Models of each kind, with --seed, --seed + 1, ... (paper: 5)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(2, "replicates")


@dataclass(frozen=True)
class SectionOptions(ExperimentOptions):
    """What both checks of the explanations need."""

    weights: OneWeights = ()
    """Weights to explain with (.h5 of the released code, or model.weights.h5 of a run). Default: train a model."""
    users: int = 100
    """Users drawn at random (paper: 100)."""
    top_k: int = 5
    """Recommendations for each of them, songs that they rated left out (paper: 5)."""
    section_seconds: float = 10.0
    """Length of a section (paper: 10)."""
    whole_song: bool = True
    """Look for sections in the whole song (paper); --no-whole-song: only in the steps that the RNN reads."""

    def __post_init__(self) -> None:
        require(len(self.weights) <= 1, f"--weights names {len(self.weights)} files; name one")
        for name in ("epochs", "batch_size", "learning_rate"):
            given = self.weights and getattr(self, name) is not None
            require(not given, f"--weights is explained as it is; leave out --{name.replace('_', '-')} or --weights")
        super().__post_init__()
        self.at_least(2, "users", "top_k")
        seconds = self.section_seconds
        require(0 < seconds < float("inf"), f"--section-seconds is {seconds}; it must be a positive number")


@dataclass(frozen=True)
class Sections(SectionOptions):
    """Table 7 of v2: are the sections that explain a user's recommendations closer to one another than random ones?"""


@dataclass(frozen=True)
class Tags(SectionOptions):
    """Table 8 of v2: do the tags of the explaining sections match the user's favourite tags?"""

    tags: OptionalPath = None
    """CSV file with the columns song_id and tag, a line for each tag of a song. Default, on the sample only: its
    styles, the first word of each title."""
    min_songs: OptionalInt = None
    """Fewest songs of this dataset that a tag is on (paper: 100). Default: 100, or 10 on synthetic data."""
    min_liked: int = 10
    """Fewest songs that a user rated above 3 (paper: 10)."""
    units: OptionalInt = None
    """Size of the tag classifier's LSTM and of its four ReLU layers. Default: 300 (paper), or 32 on synthetic data."""
    classifier_epochs: int = 60
    """Passes of the tag classifier over the songs; the best one on held-out songs is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "min_songs", "min_liked", "units", "classifier_epochs")
        require(self.tags is None or self.tags.is_file(), f"--tags {self.tags}: no such file")
