"""How the auto-encoder is trained. No Keras."""

from __future__ import annotations

from dataclasses import dataclass

from common.options import require


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
