"""Names of the tasks and models, and the ids that are no tracks; apart from the models: they need no TensorFlow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Task = Literal["seq", "skip"]
"""``seq`` predicts the tracks of a session's second half, ``skip`` which of them are skipped."""
ModelName = Literal["transformer", "bert", "bert-finetuned", "bert-augmented", "bert-augmented-dropnet"]
RecurrentName = Literal["lstm", "lstm-padding", "lstm-w2v", "bigru"]
AnyModel = Literal[
    "transformer", "bert", "bert-finetuned", "bert-augmented", "bert-augmented-dropnet",
    "lstm", "lstm-padding", "lstm-w2v", "bigru", "autoencoder", "ddpg",
]  # fmt: skip
"""All of them, the auto-encoder's rule and the reinforcement learner included."""
SkipInput = Literal["embedding", "token", "none"]
"""How the encoder learns what was skipped: an embedding added to the track's, a token in its place, or not at all."""

HALF = 10
"""Tracks in half a session."""
PAD = 0
MASK = 1


@dataclass(frozen=True)
class Ids:
    """The ids that are no tracks. The default is the corrected protocol's."""

    mask: int = MASK
    skip: int | None = 2
    """Stands for a skipped track; None where there is no such id: a skipped track then becomes PAD."""
    first_track: int = 3


CORRECTED_IDS = Ids()
RELEASED_IDS = Ids(skip=None, first_track=2)
