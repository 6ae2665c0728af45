"""What fixes a recurrent model: sizes, switches, the paper's settings, and what it is shown of sessions.

No Keras, so that options can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from common.options import UserError, require
from session_transformers.kinds import CORRECTED_IDS, HALF, PAD, RELEASED_IDS, Ids, RecurrentName, SkipInput, Task

Cell = Literal["lstm", "gru"]
Replaced = Literal["skipped", "played"]
"""Which tracks of the first half give way to another id with the skip input ``token``."""


@dataclass(frozen=True)
class RecurrentSwitches:
    """What the released code does otherwise than intended; the default is corrected.

    The B numbers are those of the page's deviations.
    """

    label_leak: bool = False
    """B8: the decoder for skips starts from the last true skip of the second half; corrected: from a start token."""
    class_as_track: bool = False
    """B8: the decoder for skips reads the class 0 or 1 as a track id; corrected: its track and the skip before."""
    free_training: bool = False
    """The decoder for skips reads its own predictions in training too; corrected: the truth, one step back."""
    table_overwritten: bool = False
    """B8: the frozen tables of tracks are noise, one for each side; corrected: one that holds vectors and features."""
    first_unscored: bool = False
    """B8: the first position of the second half does not count in the loss."""
    unshifted_forcing: bool = False
    """B11: in training the decoder for tracks reads the very track that it has to tell."""
    backward_only: bool = False
    """The decoder gets the final state of the backward encoder alone; corrected: of both."""
    padding_mask: bool = True
    """Padding leaves the encoder's state as it is; released: it is read like a track."""
    predict_specials: bool = False
    """Pad and mask can be predicted as tracks."""


CORRECTED_RECURRENT = RecurrentSwitches()
RELEASED_RECURRENT = RecurrentSwitches(
    label_leak=True,
    class_as_track=True,
    free_training=True,
    table_overwritten=True,
    first_unscored=True,
    unshifted_forcing=True,
    backward_only=True,
    padding_mask=False,
    predict_specials=True,
)


@dataclass(frozen=True)
class RecurrentArchitecture:
    """What fixes the shapes and equations of a recurrent model.

    Raises:
        UserError: sizes that do not go together.
    """

    model: RecurrentName
    task: Task
    vocabulary: int
    """Ids, those that are no tracks included."""
    vectors: int = 0
    """Columns of the tracks' vectors, pre-trained or learned."""
    features: int = 29
    """Columns of the feature table, which is never trained."""
    units: int = 512
    dropout: float = 0.5
    """Of what is read of the tracks."""
    skip_input: SkipInput = "none"
    """``embedding``: two more inputs of the encoder, 1 where the track was played and where it was skipped."""
    replaced: Replaced = "skipped"
    """Of effect with the skip input ``token`` only."""
    train_vectors: bool = False
    """Whether the vectors are trained on; the released code's are frozen."""
    half: int = HALF
    """Tracks in half a session."""
    ids: Ids = field(default_factory=Ids)
    switches: RecurrentSwitches = CORRECTED_RECURRENT

    def __post_init__(self) -> None:
        require(
            self.units >= 1 and self.half >= 1, f"sizes must be 1 or more: {self.units} units, halves of {self.half}"
        )
        require(self.vectors >= 0 and self.features >= 0, "columns of vectors and features must be 0 or more")
        require(
            self.columns >= 1, f"--model {self.model}: tracks need vectors or features, and there are none of either"
        )
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")
        require(
            self.vocabulary > self.ids.first_track, f"{self.vocabulary} ids hold no track: they start at {self.ids}"
        )

    @property
    def cell(self) -> Cell:
        """Of encoder and decoder."""
        return "gru" if self.model == "bigru" else "lstm"

    @property
    def bidirectional(self) -> bool:
        """Whether the encoder reads the first half from both ends."""
        return self.model == "bigru"

    @property
    def columns(self) -> int:
        """Of all that is known of a track."""
        return self.vectors + self.features

    @property
    def width(self) -> int:
        """Of the states that the output layer reads."""
        return self.units

    @property
    def needs_vectors(self) -> bool:
        """Whether it starts from pre-trained vectors."""
        return self.vectors > 0 and not self.train_vectors and not self.switches.table_overwritten

    @property
    def classes(self) -> int:
        """Columns of the output: ids, or played and skipped."""
        return 2 if self.task == "skip" else self.vocabulary

    @property
    def impossible(self) -> int:
        """Ids from 0 that cannot be predicted."""
        return 0 if self.task == "skip" or self.switches.predict_specials else self.ids.first_track


def recurrent_from_json(described: Mapping[str, Any]) -> RecurrentArchitecture:
    """The architecture that was written as JSON (``dataclasses.asdict``).

    Raises:
        UserError: not the description of a recurrent model.
    """
    try:
        parts = dict(described)
        parts["ids"], parts["switches"] = Ids(**parts["ids"]), RecurrentSwitches(**parts["switches"])
        return RecurrentArchitecture(**parts)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"not the architecture of a recurrent model ({error})") from None


@dataclass(frozen=True)
class RecurrentSetting:
    """Sizes and training of a model in the released code."""

    vectors: int
    dropout: float
    learning_rate: float
    epochs: int
    batch_size: int = 256
    clip: float = 1.0
    """Largest norm of the gradient."""


RECURRENT_DEFAULTS: dict[tuple[RecurrentName, Task], RecurrentSetting] = {
    ("lstm", "skip"): RecurrentSetting(0, 0.5, 1e-3, 5),
    ("lstm-padding", "skip"): RecurrentSetting(0, 0.5, 1e-3, 5),
    ("lstm-w2v", "skip"): RecurrentSetting(100, 0.5, 1e-3, 5),
    ("bigru", "skip"): RecurrentSetting(100, 0.5, 1e-3, 5),
    ("lstm", "seq"): RecurrentSetting(0, 0.2, 1e-4, 10),
    ("lstm-w2v", "seq"): RecurrentSetting(100, 0.2, 1e-4, 10),
}
"""The released code's settings."""


def default_recurrent(
    model: RecurrentName, task: Task, vocabulary: int, features: int, released: bool = False, **changes: Any
) -> RecurrentArchitecture:
    """The released code's architecture for these data.

    Args:
        model: its name.
        task: what it predicts.
        vocabulary: ids.
        features: columns of the feature table.
        released: the released code's switches and ids. All its models but ``lstm`` replace ids, and by mistake those
            of the tracks played. Corrected, ``lstm-padding`` replaces the skipped ones and the others are told both.
        **changes: fields of :class:`RecurrentArchitecture` that shall differ.

    Raises:
        UserError: there is no such model for the task, or sizes that do not go together.
    """
    require((model, task) in RECURRENT_DEFAULTS, f"--model {model} has no --task {task}")
    setting = RECURRENT_DEFAULTS[model, task]
    told: SkipInput = "none"
    if task == "skip" and not (released and model == "lstm"):
        told = "token" if released or model == "lstm-padding" else "embedding"
    described: dict[str, Any] = {
        "vectors": setting.vectors,
        "dropout": setting.dropout,
        "skip_input": told,
        "replaced": "played" if released else "skipped",
        "ids": RELEASED_IDS if released else CORRECTED_IDS,
        "switches": RELEASED_RECURRENT if released else CORRECTED_RECURRENT,
    }
    return RecurrentArchitecture(model, task, vocabulary, features=features, **(described | changes))


def recurrent_examples(
    architecture: RecurrentArchitecture, tracks: np.ndarray, skips: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """What the model reads of sessions, what it must tell, and where it must tell something.

    Args:
        architecture: the model's.
        tracks, skips: (B, 2 N) each, first half then second.

    Returns:
        Inputs of ``hidden``, labels (B, N) and weights (B, N): 1, or 0 where there is nothing to tell.
    """
    source, target = np.split(tracks, 2, axis=1)
    source_skips, target_skips = np.split(skips.astype(np.int32), 2, axis=1)
    inputs = {"source": source, "target": target}
    if architecture.skip_input != "none":
        inputs["source_skips"] = source_skips
    weights = (target != PAD).astype(np.float32)
    if architecture.switches.first_unscored:
        weights[:, 0] = 0.0
    if architecture.task == "seq":
        return inputs, target.astype(np.int32), weights
    return inputs | {"target_skips": target_skips}, target_skips, weights
