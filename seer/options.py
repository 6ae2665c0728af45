"""Options and architecture of SeER, and the figures that the paper reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, Self, get_args

import tyro

from common.console import counted
from common.options import OptionalFloat, OptionalInt, OptionalPath, TrainingOptions, require, require_between
from common.weights import GateActivation

Variant = Literal["concat", "dot"]
Cell = Literal["lstm", "gru", "gru_reset_after", "rnn"]
FEATURES_PER_CHANNEL = 2  # note and velocity
PAPER = {
    # arXiv 1907.01640 v2, table 5 (means of 5 replicates) and table 4: MAP@10 as its code computed it then.
    "paper v2: SeER (GRU, dot)": {"map@10_v2": 0.1437},
    "paper v2: LSTM (table 4)": {"map@10_v2": 0.1433},
    "paper v2: NeuMF": {"map@10_v2": 0.1347},
    "paper v2: MF": {"map@10_v2": 0.1284},
    "paper v2: ItemPop": {"map@10_v2": 0.0778},
}
"""Reported figures. They belong to the original dataset: on any other they are no reference."""
SIZES = ("variant", "latent_features", "cell", "sequence_length", "channels", "gate_activation", "midi_scale")
"""What weights fix: options with these names are left out where ``--weights`` is given."""


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a SeER model; ValueError if a value is none that it can have."""

    num_users: int
    sequence_length: int
    variant: Variant = "concat"
    cell: Cell = "lstm"
    latent_features: int = 150
    channels: int = 16
    gate_activation: GateActivation = "hard_sigmoid"
    dropout: float = 0.2
    midi_scale: float = 1.0
    """Factor on the raw values 0..127 before the RNN (released: 1); raw values saturate its gates."""

    def __post_init__(self) -> None:
        sizes = {"num_users": 10**9, "sequence_length": 10**6, "latent_features": 4096, "channels": 16}
        for name, highest in sizes.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= highest:  # true is an int, too
                raise ValueError(f"{name} is {value!r}; expected an integer in 1..{highest}")
        for name, words in (("variant", Variant), ("cell", Cell), ("gate_activation", GateActivation)):
            value, allowed = getattr(self, name), get_args(words)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; expected {', '.join(allowed)}")
        for name in ("dropout", "midi_scale"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise ValueError(f"{name} is {value!r}; expected a number in 0..1")

    @property
    def features(self) -> int:
        """Values in one step of a song."""
        return self.channels * FEATURES_PER_CHANNEL


@dataclass(frozen=True)
class SeerOptions(TrainingOptions):
    """Options of SeER. The paper's values are those of its released optimum, unless v2 (arXiv) is named."""

    epochs: OptionalInt = None
    """Passes over the training data (paper: 20); 0 evaluates the given weights. Default: the paper's, or another on
    the sample."""
    batch_size: OptionalInt = None
    """Training examples in a batch (paper: 1000), or songs with --batching songs. Default: the paper's, or fewer on the
    sample."""
    learning_rate: OptionalFloat = None
    """Step size of the optimizer (paper: 0.001). Default: the paper's, or another on the sample."""
    variant: Annotated[
        Literal["concat", "dot"] | None, tyro.conf.arg(metavar="{concat,dot}", help_behavior_hint="")
    ] = None
    """concat: the released final model, Dense over [user, song]; dot: the model of arXiv v2. Default: concat, or
    that of --weights."""
    latent_features: OptionalInt = None
    """Size of the user embedding and of the RNN's state (paper: 150; tried 50, 100, 150, 200)."""
    cell: Annotated[
        Literal["lstm", "gru", "gru_reset_after", "rnn"] | None,
        tyro.conf.arg(metavar="{lstm,gru,gru_reset_after,rnn}", help_behavior_hint=""),
    ] = None
    """Recurrent cell (paper: lstm). gru is Keras 2's; gru_reset_after is TensorFlow 2's, which applies the reset gate
    after the recurrent product. Default: lstm for concat, gru for dot."""
    sequence_length: OptionalInt = None
    """Steps of each song that the RNN reads (paper: 500; v2: 2600)."""
    channels: OptionalInt = None
    """MIDI channels that it reads, 1..16 (paper: 16)."""
    gate_activation: Annotated[
        Literal["hard_sigmoid", "sigmoid", "keras3_hard_sigmoid"] | None,
        tyro.conf.arg(metavar="{hard_sigmoid,sigmoid,keras3_hard_sigmoid}", help_behavior_hint=""),
    ] = None
    """Gates of the RNN: Keras 2's hard_sigmoid (paper), sigmoid, or the other function that Keras 3 calls hard_sigmoid.
    Default: hard_sigmoid, or what the file of --weights says of itself; given with released weights it wins over
    that."""
    midi_scale: OptionalFloat = None
    """Factor on the notes and velocities 0..127 before the RNN (paper: 1, which saturates the gates). Default: 1, or
    that of --weights."""
    dropout: float = 0.2
    """Share of inputs and states (concat) or of the song's encoding (dot) dropped in training (paper: 0.2)."""
    optimizer: Literal["adam", "sgd", "rmsprop", "adagrad", "nadam"] = "adam"
    """Optimizer (paper: adam)."""
    interaction_threshold: float = 3
    """Smallest rating of a song that counts as liked in the evaluation (paper: 3)."""
    batching: Literal["pairs", "songs"] = "pairs"
    """pairs: --batch-size shuffled ratings at a time (paper). songs: all ratings of --batch-size songs at a time; an
    epoch is much faster but takes fewer steps, so it needs more epochs."""
    shuffle: bool = True
    """Draw a new order of the ratings in every epoch (paper); --no-shuffle keeps the order of the split."""
    baselines: bool = True
    """Evaluate the baselines too (corrected protocol only)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_between(
            self,
            latent_features=(1, 4096),
            sequence_length=(1, 10**6),
            channels=(1, 16),
        )
        scale = self.midi_scale
        require(scale is None or 0 < scale <= 1, f"--midi-scale is {scale}; it must be above 0 and at most 1")
        require(0 <= self.dropout < 1, f"--dropout is {self.dropout}; it must be at least 0 and below 1")
        threshold = self.interaction_threshold
        require(1 <= threshold <= 5, f"--interaction-threshold is {threshold}; ratings lie in 1..5")
        require(
            self.epochs == 0 or len(self.weights) <= 1,
            "training starts from one file of --weights; add --epochs 0 to compare several",
        )

    def unvalidated(self) -> str:
        """See :meth:`common.options.TrainingOptions.unvalidated`."""
        return "--protocol released has none" if self.protocol == "released" else ""

    def completed(self, synthetic: bool, steps: int) -> Self:
        """These options with what the user left open, for a dataset whose songs have ``steps`` steps."""
        defaults = SAMPLE_DEFAULTS if synthetic else replace(Defaults(), sequence_length=min(500, steps))
        if self.batching == "songs":
            defaults = replace(defaults, batch_size=16 if synthetic else SONGS_PER_BATCH)
        chosen: dict[str, Any] = {k: v for k, v in asdict(defaults).items() if getattr(self, k) is None}
        if self.variant is None:
            chosen["variant"] = "concat"
        if self.cell is None:
            chosen["cell"] = "gru" if self.variant == "dot" else "lstm"
        if self.channels is None:
            chosen["channels"] = 16
        if self.midi_scale is None:
            chosen["midi_scale"] = 1.0
        if self.gate_activation is None:
            chosen["gate_activation"] = "hard_sigmoid"
        full = replace(self, **chosen)
        require(
            (full.sequence_length or 0) <= steps,
            f"--sequence-length is {full.sequence_length}, but the songs of this dataset have {counted(steps, 'step')}",
        )
        return full


@dataclass(frozen=True)
class Defaults:
    """Settings that depend on the dataset: the released optimum, or smaller ones for the synthetic sample."""

    epochs: int = 20
    batch_size: int = 1000
    learning_rate: float = 1e-3
    latent_features: int = 150
    sequence_length: int = 500


SAMPLE_DEFAULTS = Defaults(epochs=30, batch_size=128, learning_rate=5e-3, latent_features=32, sequence_length=30)
SONGS_PER_BATCH = 128


@dataclass(frozen=True)
class RecommendOptions:
    """Options of ``recommend_explain.py``."""

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
