"""Options of the session transformers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

import tyro

from common.options import OptionalFloat, OptionalInt, OptionalPath, TrainingOptions, require
from session_transformers.architecture import (
    CORRECTED,
    DEFAULTS,
    RELEASED,
    Architecture,
    Switches,
    default_architecture,
)
from session_transformers.data_options import DataOptions
from session_transformers.kinds import Ids, ModelName, SkipInput, Task

Bug = Literal[
    "load_features", "equal_layers", "shared_final_norm", "decoder_residual", "mask_skips_eval", "dropnet_eval_random",
    "bert_train_mode", "bert_loss_everywhere", "padding_mask", "predict_specials",
]  # fmt: skip
"""The fields of :class:`Switches`."""
SAMPLE: dict[str, Any] = {"batch_size": 64, "feed_forward": 256}
"""On the synthetic sample, whose 9,600 sessions would give a full-size model 40 steps an epoch."""
SAMPLE_EPOCHS: dict[tuple[ModelName, Task], int] = {}
SAMPLE_RATE = 5e-4


def _choice(*names: str) -> Any:
    return tyro.conf.arg(metavar="{" + ",".join(names) + "}", help_behavior_hint="")


@dataclass(frozen=True)
class SessionOptions(TrainingOptions, DataOptions):
    """What to train, how, and on which sessions. What is left open is taken from the paper's code."""

    data_dir: OptionalPath = None
    """Folder with the logs and track features of MSSD. Default: the released files below data/mssd, else a synthetic
    sample, which is written on first use."""
    task: Task = "seq"
    """seq: predict the tracks of the second half of a session; skip: predict which of them are skipped."""
    model: ModelName = "transformer"
    """bert is pre-trained on masked tracks; the other BERT models start from such a run, see --bert."""
    bert: OptionalPath = None
    """Folder of a run of --model bert on the same data: bert-finetuned starts from it, bert-augmented and
    bert-augmented-dropnet ask it in every layer."""
    width: OptionalInt = None
    """Track embedding and features side by side (released code: 282 for the transformer of tracks, 128 of skips, 256
    else). A fine-tuned or augmented model has that of its BERT."""
    encoder_layers: OptionalInt = None
    """Layers over the first half (released code: 2; 4 for the transformer of skips and BERT)."""
    decoder_layers: OptionalInt = None
    """Layers over the second half (released code: 2; 4 for the transformer of skips)."""
    heads: OptionalInt = None
    """Attention heads (released code: 2; 4 for the transformer of skips and BERT)."""
    feed_forward: OptionalInt = None
    """Units between the two products of a layer (released code: 2048, whatever its options say). On the sample: 256."""
    dropout: OptionalFloat = None
    """Share dropped in every layer (released code: 0.1 or 0.2)."""
    dropnet: OptionalFloat = None
    """Of bert-augmented-dropnet: share of the calls of a layer in which one of its two attentions is left out (released
    code: 0.8)."""
    tied: bool = False
    """Score tracks by their own embedding and features instead of separate weights (released code: separate)."""
    skip_input: Annotated[SkipInput | None, _choice(*get_args(SkipInput))] = None
    """How the first half tells what was skipped: an embedding added to the track's, a token in its place, or not at
    all. Default: embedding for skips, none for tracks (released code: a token in training only, or not at all)."""
    initialisation: Literal["torch", "normal"] = "torch"
    """torch: as the released code, embeddings of variance 1; normal: all of deviation 0.02, as BERT."""
    bugs: Annotated[tuple[Bug, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """Behaviour of the released code to bring back one by one; --protocol released has all: load_features (features are
    never loaded), equal_layers, shared_final_norm, decoder_residual (lost beside BERT), mask_skips_eval (skips are told
    in training only), dropnet_eval_random, bert_train_mode, bert_loss_everywhere, padding_mask (none),
    predict_specials."""
    negatives: int = 0
    """Sampled softmax: tracks that a batch's targets are compared with in training; 0 compares with all. Evaluation
    always ranks all tracks."""
    alpha: float = 0.75
    """They are drawn by plays to this power."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate: constant (released code), or falling to 0 along a cosine over all epochs."""
    warmup: float = 0.0
    """Share of all steps over which the learning rate rises from 0 first."""
    clip: OptionalFloat = None
    """Largest norm of the gradient; 0 is none (released code: 1 for BERT and what is fine-tuned from it, else none)."""
    beam: int = 1
    """Width of the beam that second halves are decoded with; 1 is greedy, as in the released code."""
    forbid_repeats: bool = False
    """Never predict a track twice in a second half."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        for name, low, high in (
            ("width", 2, 8192), ("encoder_layers", 1, 48), ("decoder_layers", 1, 48), ("heads", 1, 128),
            ("feed_forward", 1, 65536), ("dropout", 0, 0.99), ("dropnet", 0, 1), ("negatives", 0, 10**6),
            ("alpha", 0, 1), ("warmup", 0, 1), ("clip", 0, 1e9), ("beam", 1, 1000),
        ):  # fmt: skip
            value = getattr(self, name)
            flag = f"--{name.replace('_', '-')}"
            require(value is None or low <= value <= high, f"{flag} is {value}; it must lie in {low}..{high:g}")
        require((self.model, self.task) in DEFAULTS, f"--model {self.model} has no --task {self.task}")
        require(len(self.weights) <= 1, "--weights names several files; name one")
        require(self.epochs != 0 or bool(self.weights), "--epochs 0 evaluates weights: name them with --weights FILE")
        needs = self.model.startswith("bert-") and not self.weights
        make = "python session_transformers/train.py --model bert"
        require(
            not needs or self.bert is not None,
            f"--model {self.model} starts from a pre-trained BERT: make one with `{make}`, name its folder with --bert",
        )
        require(
            self.bert is None or self.model.startswith("bert-"),
            f"--bert is for the models that start from a BERT; --model {self.model} is none of them",
        )
        require(self.negatives == 0 or self.task == "seq", "--negatives is for --task seq: skips have only two classes")

    @property
    def of_data(self) -> DataOptions:
        """Those that choose the sessions."""
        return DataOptions(**{field.name: getattr(self, field.name) for field in fields(DataOptions)})

    @property
    def switches(self) -> Switches:
        """The released behaviour that is asked for."""
        if self.protocol == "released":
            return RELEASED
        return replace(CORRECTED, **{name: getattr(RELEASED, name) for name in self.bugs})

    def completed(self, synthetic: bool) -> SessionOptions:
        """These options with the settings of the training filled in; the architecture's stay open."""
        setting = DEFAULTS[self.model, self.task]
        chosen: dict[str, Any] = {
            name: getattr(setting, name) for name in ("learning_rate", "epochs", "batch_size", "clip")
        }
        if synthetic:
            chosen |= {"epochs": SAMPLE_EPOCHS.get((self.model, self.task), 10), "learning_rate": SAMPLE_RATE} | SAMPLE
        chosen["clip"] = chosen["clip"] or 0.0
        return replace(self, **{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def architecture(self, vocabulary: int, features: int, ids: Ids, bert: Architecture | None) -> Architecture:
        """The architecture that they describe, for data of ``vocabulary`` ids and ``features`` columns.

        Raises:
            UserError: sizes that do not go together.
        """
        names = (
            "width",
            "encoder_layers",
            "decoder_layers",
            "heads",
            "feed_forward",
            "dropout",
            "dropnet",
            "skip_input",
        )
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return default_architecture(
            self.model, self.task, vocabulary, features, ids, self.switches, bert, tied=self.tied, **given
        )

    def described(self) -> dict[str, Any]:
        """What is set, as JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}
