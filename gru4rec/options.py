"""Options of GRU4Rec, and the official best settings by name."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

import tyro

from common.options import OptionalFloat, OptionalInt, OptionalPath, TrainingOptions, choice, require, require_between
from common.presets import Presets
from gru4rec.data_options import DataOptions, find_session_files
from gru4rec.kinds import GruKind, InputKind, LossName

PRESETS: Presets = {
    # hidasib/GRU4Rec, README of the official code: best settings found for each dataset, 10 epochs each.
    "rsc15-xe": {
        "layers": (100,), "batch_size": 32, "dropout_input": 0.1, "learning_rate": 0.1, "alpha": 0.75, "logq": 1.0,
    },
    "yoochoose-xe": {
        "layers": (480,), "batch_size": 48, "dropout_hidden": 0.2, "learning_rate": 0.07, "alpha": 0.2, "logq": 1.0,
    },
    "rees46-xe": {
        "layers": (512,), "batch_size": 240, "dropout_input": 0.45, "learning_rate": 0.065, "alpha": 0.5, "logq": 1.0,
    },
    "coveo-bprmax": {
        "loss": "bpr-max", "elu": 1.0, "layers": (512,), "batch_size": 144, "dropout_input": 0.35,
        "learning_rate": 0.05, "momentum": 0.4, "alpha": 0.2, "bpreg": 1.85,
    },
    "retailrocket-bprmax": {
        "loss": "bpr-max", "elu": 0.5, "layers": (224,), "batch_size": 80, "dropout_input": 0.5, "dropout_hidden": 0.05,
        "learning_rate": 0.05, "momentum": 0.4, "alpha": 0.4, "bpreg": 1.95,
    },
    "diginetica-bprmax": {
        "loss": "bpr-max", "elu": 1.0, "layers": (512,), "batch_size": 128, "dropout_input": 0.5, "dropout_hidden": 0.3,
        "learning_rate": 0.05, "momentum": 0.15, "alpha": 0.3, "bpreg": 0.9,
    },
    # yoavnavon/GRU4REC-spotify: its run.py; bpr-max here is the right one, which the project's code is not.
    "spotify": {
        "loss": "bpr-max", "inputs": "content", "layers": (100,), "embedding": 64, "batch_size": 64,
        "dropout_hidden": 0.1, "optimizer": "adam", "learning_rate": 1e-3, "negatives": 0, "elu": 0.0, "gru": "cudnn",
    },
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "epochs": 10, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.0, "layers": (100,), "loss": "cross-entropy",
    "inputs": "shared", "embedding": 64, "gru": "original", "negatives": 2048, "alpha": 0.5, "logq": 0.0, "bpreg": 1.0,
    "elu": 0.5, "dropout_input": 0.0, "dropout_hidden": 0.0, "optimizer": "adagrad",
}  # fmt: skip
SAMPLE: dict[str, Any] = {"negatives": 512}


@dataclass(frozen=True)
class GruOptions(TrainingOptions, DataOptions):
    """Options of GRU4Rec. What is left open is taken from --preset, then from the defaults named here."""

    presets: ClassVar[Presets] = PRESETS

    data_dir: OptionalPath = None
    """Folder with session files: MSSD, SessionId/ItemId/Time tables, or Yoochoose clicks. Default: the released MSSD
    below data/mssd, else the synthetic sample, which is written on first use."""

    preset: Annotated[str | None, choice(*PRESETS, "FILE")] = None
    """Official best settings for a dataset, those of the Spotify project, or a JSON file such as the preset.json of a
    search; single options override them."""
    epochs: OptionalInt = None
    """Passes over the training sessions (official: 10)."""
    batch_size: OptionalInt = None
    """Sessions walked through side by side (official: 32 to 240). Default: 32."""
    learning_rate: OptionalFloat = None
    """Step size (official: 0.05 to 0.1). Default: 0.1."""
    momentum: OptionalFloat = None
    """Of Adagrad (official: 0 to 0.4). Default: 0."""
    optimizer: Annotated[Literal["adagrad", "adam"] | None, choice("adagrad", "adam")] = None
    """adagrad: the official one, which touches only the rows in use; adam: Keras's, which moves all rows. Default:
    adagrad."""
    layers: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")] = ()
    """Units of each GRU layer (official: one layer of 100 to 512). Default: 100."""
    inputs: Annotated[InputKind | None, choice("shared", "separate", "one-hot", "content", "content-mlp")] = None
    """What the GRU reads of an item: shared, the row that it is scored by (official best); separate, an embedding of
    its own; one-hot; content and content-mlp, the track's features (Spotify project). Default: shared."""
    embedding: OptionalInt = None
    """Size of the separate embedding. Default: 64."""
    gru: Annotated[GruKind | None, choice("original", "cudnn")] = None
    """Reset gate before the recurrent product (Theano and TensorFlow code) or after it (PyTorch). Default: original."""
    loss: Annotated[LossName | None, choice("cross-entropy", "bpr-max", "top1-max", "bpr", "top1")] = None
    """Training loss (official best: cross-entropy or bpr-max). Default: cross-entropy."""
    bpreg: OptionalFloat = None
    """Regularisation of scores in bpr-max (official: 0.9 to 1.95). Default: 1."""
    elu: OptionalFloat = None
    """Scores below 0 become elu (e^x - 1) in the losses other than cross-entropy; 0 leaves them (official: 0.5 or 1).
    Default: 0.5."""
    negatives: OptionalInt = None
    """Negative items that a batch shares, besides its own targets (official: 2048; 0: the targets alone). Default:
    2048, on the sample 512."""
    alpha: OptionalFloat = None
    """They are drawn by popularity to this power, 0 to 1 (official: 0.2 to 0.75). Default: 0.5."""
    logq: OptionalFloat = None
    """Correction of cross-entropy for popular items being negatives more often, 0 to 1 (official best: 1). Default:
    0."""
    dropout_input: OptionalFloat = None
    """Share of the input embedding dropped (official: 0 to 0.5). Default: 0."""
    dropout_hidden: OptionalFloat = None
    """Share of each layer's output dropped (official: 0 to 0.3). Default: 0."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        require(
            all(1 <= units <= 8192 for units in self.layers), f"--layers is {self.layers}; each must lie in 1..8192"
        )
        require_between(
            self,
            batch_size=(1, 16384),
            momentum=(0, 1),
            embedding=(1, 8192),
            bpreg=(0, 1e6),
            elu=(0, 1e3),
            negatives=(0, 10**6),
            alpha=(0, 1),
            logq=(0, 1),
            dropout_input=(0, 0.99),
            dropout_hidden=(0, 0.99),
        )
        require(len(self.weights) <= 1, "--weights names several files; name one")
        require(self.protocol == "corrected", "--protocol released: GRU4Rec has one protocol, the official one")

    @property
    def of_data(self) -> DataOptions:
        """Those that choose the sessions."""
        return DataOptions(**{field.name: getattr(self, field.name) for field in fields(DataOptions)})

    def unvalidated(self) -> str:
        """See :meth:`common.options.TrainingOptions.unvalidated`; logs of MSSD alone have one by default."""
        if self.validation_share is not None:
            return "--validation-share is 0" if self.validation_share == 0 else ""
        folder = self.data_dir
        files = find_session_files(folder, self.of_data) if folder is not None and folder.is_dir() else None
        kind = "mssd" if files is None else files.kind
        if self.of_data.completed_for(kind).validation_days:
            return ""
        return (
            "--validation-days is 0" if self.validation_days == 0 else f"sessions of {kind} files have none by default"
        )

    def completed(self, synthetic: bool) -> GruOptions:
        """These options with everything filled in; what a preset says is among them since they were parsed.

        Raises:
            UserError: the whole does not fit together.
        """
        chosen = DEFAULTS | (SAMPLE if synthetic else {})
        open_fields = {f.name for f in fields(self) if getattr(self, f.name) in (None, ())}
        full = replace(self, **{name: value for name, value in chosen.items() if name in open_fields})
        require(
            full.logq == 0 or full.loss == "cross-entropy", f"--logq corrects cross-entropy, but --loss is {full.loss}"
        )
        require(
            full.momentum == 0 or full.optimizer == "adagrad", "--momentum belongs to --optimizer adagrad; leave it out"
        )
        if full.negatives == 0:
            require(
                (full.batch_size or 0) >= 2,
                "--negatives 0 needs --batch-size of 2 or more: the others are the negatives",
            )
        return full
