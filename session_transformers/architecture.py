"""What fixes a session transformer: sizes, switches and the paper's settings. No Keras: options read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.options import UserError, require
from session_transformers.kinds import HALF, Ids, ModelName, SkipInput, Task


@dataclass(frozen=True)
class Switches:
    """What the released code does otherwise than intended; the default is corrected.

    The B numbers are those of the page's deviations.
    """

    load_features: bool = True
    """B1: the feature table starts as the tracks' features; released: as noise."""
    equal_layers: bool = False
    """B3: the layers of a stack start equal (released, but for the skip transformer)."""
    shared_final_norm: bool = False
    """One LayerNorm closes both the encoder and the decoder (released, but for the skip transformer)."""
    decoder_residual: bool = True
    """B4: BERT-augmented decoder layers add their attentions to their state; released: they lose the state."""
    mask_skips_eval: bool = True
    """B5: skipped tracks that are replaced in training are replaced in evaluation too; released: they are not."""
    dropnet_eval_random: bool = False
    """B6: the encoder draws its drop-net in evaluation too (released)."""
    bert_train_mode: bool = False
    """The frozen BERT of an augmented model has dropout on in training (released)."""
    bert_loss_everywhere: bool = False
    """BERT fine-tuned for skips predicts those of all 20 tracks (released), not of the second half only."""
    padding_mask: bool = True
    """Nothing attends to padding; released: the mask is never made."""
    predict_specials: bool = False
    """Pad and mask can be predicted as tracks (released)."""


CORRECTED = Switches()
RELEASED = Switches(
    load_features=False,
    equal_layers=True,
    shared_final_norm=True,
    decoder_residual=False,
    mask_skips_eval=False,
    dropnet_eval_random=True,
    bert_train_mode=True,
    bert_loss_everywhere=True,
    padding_mask=False,
    predict_specials=True,
)


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a model.

    Raises:
        UserError: sizes that do not go together.
    """

    model: ModelName
    task: Task
    vocabulary: int
    """Ids, those that are no tracks included."""
    width: int = 282
    """C: track embedding and features side by side."""
    features: int = 29
    """Columns of the feature table; BERT has none."""
    encoder_layers: int = 2
    decoder_layers: int = 2
    """Of no effect in BERT, which has no decoder."""
    heads: int = 2
    feed_forward: int = 2048
    """B2: the released code has torch's default whatever is asked for; so it is the default here too."""
    dropout: float = 0.2
    skip_input: SkipInput = "none"
    dropnet: float = 0.0
    """p: share of the calls of a layer in which only one of its two attentions counts (Zhu et al. 2020)."""
    tied: bool = False
    """Whether a track's output weights are its embedding and features; the released code's are separate."""
    half: int = HALF
    """Tracks in half a session."""
    ids: Ids = field(default_factory=Ids)
    switches: Switches = CORRECTED
    bert: Architecture | None = None
    """The frozen BERT of an augmented model; None where its features are given instead."""

    def __post_init__(self) -> None:
        sizes = (self.vocabulary, self.width, self.encoder_layers, self.heads, self.feed_forward, self.half)
        require(
            min(sizes) >= 1, f"sizes of a model must be 1 or more: {sizes} are its ids, width, layers, heads, ..., half"
        )
        require(self.width % self.heads == 0, f"width {self.width} cannot be split among {self.heads} heads")
        require(
            0 <= self.features < self.width,
            f"width {self.width} holds the {self.features} features and leaves nothing for the track's embedding",
        )
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")
        require(0 <= self.dropnet <= 1, f"drop-net is {self.dropnet}; it must lie in 0..1")
        require(
            self.vocabulary > self.ids.first_track, f"{self.vocabulary} ids hold no track: they start at {self.ids}"
        )
        require(not (self.tied and self.task == "skip"), "only the track sequence has an output that can be tied")
        if self.bert is not None:
            require(
                self.bert.width == self.width,
                f"the pre-trained BERT is {self.bert.width} wide, the model {self.width}; they must be equal",
            )
            require(
                self.bert.vocabulary == self.vocabulary,
                f"the pre-trained BERT knows {self.bert.vocabulary} ids, the data have {self.vocabulary}; "
                "pre-train it on the same data",
            )

    @property
    def is_bert(self) -> bool:
        """Whether it is an encoder alone, over the whole session."""
        return self.model in ("bert", "bert-finetuned")

    @property
    def augmented(self) -> bool:
        """Whether its layers attend to BERT's features."""
        return self.model in ("bert-augmented", "bert-augmented-dropnet")

    @property
    def whole(self) -> bool:
        """Whether the seed builds it as one nn.Transformer, with norms and start weights of its own kind."""
        return self.model == "transformer" and self.task == "skip"

    @property
    def one_norm(self) -> bool:
        """Whether one LayerNorm closes both the encoder and the decoder."""
        return self.switches.shared_final_norm and not self.whole

    @property
    def positions(self) -> int:
        """Rows of the position table: a whole session for BERT, else half of one, for both halves."""
        return 2 * self.half if self.is_bert else self.half

    @property
    def classes(self) -> int:
        """Columns of the output: ids, or played and skipped."""
        return 2 if self.task == "skip" else self.vocabulary

    @property
    def impossible(self) -> int:
        """Ids from 0 that cannot be predicted."""
        return 0 if self.task == "skip" or self.switches.predict_specials else self.ids.first_track


def from_json(described: Mapping[str, Any]) -> Architecture:
    """The architecture that was written as JSON (``dataclasses.asdict``).

    Raises:
        UserError: not the description of an architecture.
    """
    try:
        parts = dict(described)
        parts["ids"], parts["switches"] = Ids(**parts["ids"]), Switches(**parts["switches"])
        parts["bert"] = from_json(parts["bert"]) if parts["bert"] else None
        return Architecture(**parts)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"not the architecture of a session transformer ({error})") from None


@dataclass(frozen=True)
class Setting:
    """Sizes and training of a model in the released code."""

    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    dropout: float
    learning_rate: float
    epochs: int
    batch_size: int = 256
    clip: float | None = None
    """Largest norm of the gradient; None leaves it alone."""
    dropnet: float = 0.0


DEFAULTS: dict[tuple[ModelName, Task], Setting] = {
    ("transformer", "seq"): Setting(282, 2, 2, 2, 0.2, 1e-5, 5),
    ("transformer", "skip"): Setting(128, 4, 4, 4, 0.1, 1e-6, 5),
    ("bert", "seq"): Setting(256, 4, 0, 4, 0.1, 1e-4, 7, clip=1.0),
    ("bert-finetuned", "seq"): Setting(128, 2, 0, 2, 0.1, 1e-4, 5, batch_size=128, clip=1.0),
    ("bert-finetuned", "skip"): Setting(128, 2, 0, 2, 0.1, 1e-4, 5, batch_size=128, clip=1.0),
    ("bert-augmented", "seq"): Setting(256, 2, 2, 2, 0.2, 1e-4, 5),
    ("bert-augmented", "skip"): Setting(256, 2, 2, 2, 0.2, 1e-5, 5),
    ("bert-augmented-dropnet", "seq"): Setting(256, 2, 2, 2, 0.2, 1e-5, 10, dropnet=0.8),
    ("bert-augmented-dropnet", "skip"): Setting(256, 2, 2, 2, 0.2, 1e-5, 10, dropnet=0.8),
}
"""The released code's settings; it has no drop-net for skips, which gets those of the sequence."""


def default_skip_input(model: ModelName, task: Task, released: bool = False) -> SkipInput:
    """How a model learns what was skipped: released code replaces ids in the skip transformer, and tells no other."""
    if task == "seq":
        return "none"
    if released:
        return "token" if model == "transformer" else "none"
    return "embedding"


def default_architecture(
    model: ModelName,
    task: Task,
    vocabulary: int,
    features: int,
    ids: Ids,
    switches: Switches = CORRECTED,
    bert: Architecture | None = None,
    **changes: Any,
) -> Architecture:
    """The released code's architecture for these data.

    Args:
        model: its name.
        task: what it predicts.
        vocabulary: ids.
        features: columns of the feature table.
        ids: of the data's protocol.
        switches: released behaviour.
        bert: the pre-trained one. A fine-tuned model has its sizes, an augmented one its width.
        **changes: fields of :class:`Architecture` that shall differ.

    Raises:
        UserError: there is no such model for the task, or sizes that do not go together.
    """
    require((model, task) in DEFAULTS, f"--model {model} has no --task {task}")
    setting = DEFAULTS[model, task]
    sizes: dict[str, Any] = {
        name: getattr(setting, name)
        for name in ("width", "encoder_layers", "decoder_layers", "heads", "dropout", "dropnet")
    }
    if model in ("bert", "bert-finetuned"):
        features = 0
    if model == "bert-finetuned" and bert is not None:
        sizes |= {name: getattr(bert, name) for name in ("width", "encoder_layers", "heads", "feed_forward", "half")}
    augmented = model.startswith("bert-augmented")
    if augmented and bert is not None:
        sizes["width"] = bert.width
    described: dict[str, Any] = {
        "skip_input": default_skip_input(model, task, released=switches == RELEASED),
        "bert": bert if augmented else None,
    }
    return Architecture(
        model, task, vocabulary, features=features, ids=ids, switches=switches, **(sizes | described | changes)
    )
