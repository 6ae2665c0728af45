"""How the auto-encoder is trained. No Keras."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from common.options import UserError, require
from session_transformers.kinds import Ids, SkipInput, Task


@dataclass(frozen=True)
class AutoEncoderOptions:
    """How the auto-encoder is trained; code and epochs are the released code's, which has Adam and batches of 2,560."""

    code: int = 32
    epochs: int = 3
    batch_size: int = 256
    learning_rate: float = 0.05
    """Of Adagrad, which moves the rows of a batch only."""
    negatives: int = 1024
    """Tracks that a batch draws to stand for those its sessions do not hold; 0: all of them count."""
    alpha: float = 0.5
    """They are drawn by plays to this power."""
    seed: int = 1

    def __post_init__(self) -> None:
        sizes = (self.code, self.epochs, self.batch_size)
        require(min(sizes) >= 1 and self.negatives >= 0, f"sizes of the auto-encoder must be 1 or more: {sizes}")
        require(0 <= self.alpha <= 1 and self.learning_rate > 0, "alpha must lie in 0..1, the learning rate above 0")


@dataclass(frozen=True)
class RuleArchitecture:
    """What fixes the auto-encoder and its rule for skips."""

    vocabulary: int
    ids: Ids
    code: int = 32
    features: int = 0
    """Columns of features beside the vectors (released)."""
    released: bool = False
    """Products instead of cosines, with the tracks of the first half, and the released threshold."""
    model: Literal["autoencoder"] = "autoencoder"
    task: Task = "skip"
    skip_input: SkipInput = "embedding"


def rule_from_json(described: Mapping[str, Any]) -> RuleArchitecture:
    """The architecture that was written as JSON (``dataclasses.asdict``).

    Raises:
        UserError: not the description of an auto-encoder.
    """
    try:
        found = RuleArchitecture(**(dict(described) | {"ids": Ids(**described["ids"])}))
        sizes = (found.vocabulary, found.code, found.features)
        require(all(type(size) is int and 0 <= size < 2**31 for size in sizes), f"its sizes are {sizes}")
        require((found.model, found.task) == ("autoencoder", "skip"), "of another model or task")
        return found
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"not the architecture of an auto-encoder ({error})") from None
