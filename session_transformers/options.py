"""Options of the session transformers."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal, get_args

import tyro

from common.options import (
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    TrainingOptions,
    choice,
    flag,
    require,
    require_between,
)
from session_transformers import settings
from session_transformers.architecture import Architecture, default_architecture
from session_transformers.autoencoder.options import AutoEncoderOptions
from session_transformers.data_options import DataOptions
from session_transformers.kinds import AnyModel, Ids, SkipInput, Task
from session_transformers.recurrent.architecture import Replaced, default_recurrent
from session_transformers.reinforcement.options import DdpgArguments, DdpgOptions, released_options

Bug = Literal[
    "load_features", "equal_layers", "shared_final_norm", "decoder_residual", "mask_skips_eval", "dropnet_eval_random",
    "bert_train_mode", "bert_loss_everywhere", "padding_mask", "predict_specials",
    "label_leak", "class_as_track", "free_training", "table_overwritten", "first_unscored", "unshifted_forcing",
    "backward_only", "real_next_state", "done_at_end", "soft_updates", "own_actions", "inferred_users",
    "judges_decision", "unit_actions", "critic_alone_teaches_state",
]  # fmt: skip
"""The fields of :class:`~session_transformers.architecture.Switches`, of RecurrentSwitches and of DdpgSwitches."""
SIZES = ("width", "encoder_layers", "decoder_layers", "heads", "feed_forward", "dropout", "dropnet", "skip_input")
"""The options that are fields of a transformer's architecture and may be left open."""
RECURRENT_SIZES = ("units", "vectors", "replaced", "dropout", "skip_input")
"""The same of a recurrent model."""
ONLY_OF: dict[tuple[settings.Family, ...], tuple[str, ...]] = {
    ("transformer",): (
        *(name for name in SIZES if name not in RECURRENT_SIZES),
        "tied",
        "initialisation",
        "pretrained_tracks",
    ),
    ("recurrent",): tuple(name for name in RECURRENT_SIZES if name not in SIZES),
    ("transformer", "recurrent"): ("dropout", "skip_input", "negatives", "alpha", "schedule", "warmup", "clip"),
    ("ddpg",): ("ddpg",),
}
"""The options that only some families of models have."""


@dataclass(frozen=True)
class SessionOptions(TrainingOptions, DataOptions):
    """What to train, how, and on which sessions. What is left open is taken from the paper's code."""

    data_dir: OptionalPath = None
    """Folder with the logs and track features of MSSD. Default: the released files below data/mssd, else a synthetic
    sample, which is written on first use."""
    task: Task = "seq"
    """seq: predict the tracks of the second half of a session; skip: predict which of them are skipped."""
    model: AnyModel = "transformer"
    """bert is pre-trained on masked tracks; the other BERT models start from such a run, see --bert. lstm, lstm-padding
    (skipped tracks replaced), lstm-w2v (vectors of tracks) and bigru are recurrent. autoencoder is a rule for skips,
    ddpg learns by reinforcement."""
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
    units: OptionalInt = None
    """Of the recurrent models (released code: 512). On the sample: 128."""
    vectors: OptionalInt = None
    """Columns of the track vectors of lstm-w2v and bigru, made by skip-grams (released code: 100)."""
    pretrained_tracks: bool = False
    """Of a transformer: its track embedding starts from vectors made by skip-grams, as that of the released transformer
    of skips does (there of skipped tracks only, as with --protocol released here)."""
    replaced: Annotated[Replaced | None, choice(*get_args(Replaced))] = None
    """Which tracks of the first half lstm-padding replaces (released code: by mistake those played). Default: those
    skipped."""
    tied: bool = False
    """Score tracks by their own embedding and features instead of separate weights (released code: separate)."""
    skip_input: Annotated[SkipInput | None, choice(*get_args(SkipInput))] = None
    """How the first half tells what was skipped: an embedding added to the track's, a token in its place, or not at
    all. Default: embedding for skips, none for tracks (released code: a token in training only, or not at all)."""
    initialisation: Annotated[Literal["torch", "normal"] | None, choice("torch", "normal")] = None
    """Of a transformer. torch: as the released code, embeddings of variance 1; normal: all of deviation 0.02, as in
    BERT. Default: torch; on the sample normal."""
    bugs: Annotated[tuple[Bug, ...], tyro.conf.arg(metavar="NAME ...", help_behavior_hint="")] = ()
    """Behaviour of the released code to bring back one by one; --protocol released has all that a model has.
    Transformers: load_features (never loaded), equal_layers, shared_final_norm, decoder_residual (lost beside BERT),
    mask_skips_eval (skips told in training only), dropnet_eval_random, bert_train_mode, bert_loss_everywhere,
    padding_mask (none), predict_specials. Recurrent: label_leak, class_as_track, free_training, table_overwritten,
    first_unscored, unshifted_forcing, backward_only. ddpg: see its section on the page."""
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
    ddpg: DdpgArguments = field(default_factory=DdpgArguments)
    """Of the reinforcement learner."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        require_between(
            self,
            width=(2, 8192),
            encoder_layers=(1, 48),
            decoder_layers=(1, 48),
            heads=(1, 128),
            feed_forward=(1, 65536),
            dropout=(0, 0.99),
            dropnet=(0, 1),
            negatives=(0, 10**6),
            alpha=(0, 1),
            warmup=(0, 1),
            clip=(0, 1e9),
            beam=(1, 1000),
            units=(1, 8192),
            vectors=(0, 8192),
        )
        other: Task = "skip" if self.task == "seq" else "seq"
        require(
            settings.has_task(self.model, self.task),
            f"--model {self.model} has no --task {self.task}; give it --task {other}",
        )
        settings.switches(self.model, False, self.bugs)
        self._check_family()
        fresh = self.model != "bert-finetuned" and not self.weights
        require(
            fresh or not self.pretrained_tracks,
            "--pretrained-tracks is for a new track embedding; bert-finetuned has its BERT's, --weights their own",
        )
        require(len(self.weights) <= 1, "--weights names several files; name one")
        require(
            self.bert is None or self.model.startswith("bert-"),
            f"--bert is for the models that start from a BERT; --model {self.model} is none of them",
        )
        decodes = self.task == "seq" and self.model not in ("bert", "ddpg")
        require(self.beam == 1 or decodes, "--beam is for --task seq, and not for a BERT that is only pre-trained")
        require(not self.forbid_repeats or decodes, "--forbid-repeats is for --task seq, and not for a BERT alone")
        require(self.negatives == 0 or self.task == "seq", "--negatives is for --task seq: skips have only two classes")

    @property
    def of_data(self) -> DataOptions:
        """Those that choose the sessions."""
        return DataOptions(**{field.name: getattr(self, field.name) for field in fields(DataOptions)})

    def require_bert(self) -> None:
        """Refuse to make a model that starts from a BERT without one; a run that is loaded needs none."""
        make = "python session_transformers/train.py --model bert"
        require(
            not self.model.startswith("bert-") or self.bert is not None or bool(self.weights),
            f"--model {self.model} starts from a pre-trained BERT: make one with `{make}`, name its folder with --bert",
        )

    @property
    def deviations(self) -> tuple[str, ...]:
        """Names of the single deviations that are asked for, beside ``protocol``."""
        return (*self.bugs, *(["one_feature_row"] if self.one_feature_row else []))

    def unvalidated(self) -> str:
        """See :meth:`common.options.TrainingOptions.unvalidated`."""
        return "--validation-share is 0" if self.validation_share == 0 else ""

    def _check_family(self) -> None:
        """Refuse what would have no effect on a model of this family."""
        family, default = settings.family(self.model), {field.name: field.default for field in fields(self)}
        default["ddpg"] = DdpgArguments()
        for families, names in ONLY_OF.items():
            for name in names:
                require(
                    family in families or getattr(self, name) == default[name],
                    f"{flag(name)} is for {' and '.join(families)} models; --model {self.model} is none",
                )
        if family in ("autoencoder", "ddpg"):
            require(
                self.precision in ("auto", "float32"),
                f"--precision {self.precision}: --model {self.model} computes in float32 only",
            )
            require(
                not self.weights or self.epochs == 0,
                f"--weights: --model {self.model} does not train on from given ones; evaluate them with --epochs 0",
            )
            require(
                not self.weights or (not self.bugs and self.ddpg == default["ddpg"]),
                f"--weights: the run of --model {self.model} that made them has its own settings; leave out --ddpg.*"
                " and --bugs",
            )

    @property
    def switches(self) -> Any:
        """The released behaviour that is asked for; of the kind that the model has."""
        return settings.switches(self.model, self.protocol == "released", self.bugs)

    def completed(self, synthetic: bool) -> SessionOptions:
        """These options with the settings of the training filled in; sizes stay open, but on the sample."""
        chosen = settings.defaults(self.model, self.task, synthetic)
        if self.weights or self.model == "bert-finetuned":  # those have their sizes already
            chosen = {name: value for name, value in chosen.items() if name not in SIZES + RECURRENT_SIZES}
        elif settings.family(self.model) == "recurrent":
            chosen.pop("feed_forward", None)
        return replace(self, **{name: value for name, value in chosen.items() if getattr(self, name) is None})

    def architecture(
        self, vocabulary: int, features: int, ids: Ids, bert: Architecture | None = None
    ) -> settings.AnyArchitecture:
        """The architecture that they describe, for data of ``vocabulary`` ids and ``features`` columns.

        Raises:
            UserError: sizes that do not go together.
        """
        recurrent = settings.family(self.model) == "recurrent"
        sizes = RECURRENT_SIZES if recurrent else SIZES
        given = {name: getattr(self, name) for name in sizes if getattr(self, name) is not None}
        model: Any = self.model
        if recurrent:
            given |= {"ids": ids, "switches": self.switches}
            return default_recurrent(model, self.task, vocabulary, features, self.protocol == "released", **given)
        return default_architecture(
            model, self.task, vocabulary, features, ids, self.switches, bert, tied=self.tied, **given
        )

    @property
    def of_autoencoder(self) -> AutoEncoderOptions:
        """How the auto-encoder is trained; of completed options."""
        assert self.epochs is not None and self.batch_size and self.learning_rate
        return AutoEncoderOptions(
            epochs=self.epochs, batch_size=self.batch_size, learning_rate=self.learning_rate, seed=self.seed
        )

    @property
    def of_ddpg(self) -> DdpgOptions:
        """How the reinforcement learner learns; of completed options."""
        assert self.epochs is not None
        mine: dict[str, Any] = {
            "task": self.task,
            "rounds": self.epochs,
            "seed": self.seed,
            "jit": not self.deterministic,
        }
        mine |= {"switches": self.switches}
        mine |= {name: getattr(self, name) for name in ("learning_rate", "batch_size") if getattr(self, name)}
        settings = released_options if self.protocol == "released" else DdpgOptions
        return settings(**self.ddpg.given | mine)
