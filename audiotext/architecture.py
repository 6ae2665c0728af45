"""What fixes the shapes and equations of a network, without Keras: options and runs are described by it."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from common.options import require

ModelName = Literal["a-text", "audio", "mm-lf-lin", "mm-lf-h1", "mm", "seed"]
MODELS: tuple[ModelName, ...] = ("a-text", "audio", "mm-lf-lin", "mm-lf-h1", "mm", "seed")
Branch = Literal["text", "audio"]
TARTARUS_AUDIO: dict[str, tuple[int, ...]] = {"filters": (1024, 1024, 2048, 2048), "pools": (4, 4, 1, 1)}
"""Sizes of the audio network that the released code defaults to; its embedding has 32,768 values, not 4,096."""


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a network; sizes that it does not use are of no effect."""

    model: ModelName
    factors: int = 200
    """Of an item."""
    text: int = 10_000
    """Columns of the text input: terms, or values of the artist embedding in late fusion."""
    audio: int = 4096
    """Values of the track embedding."""
    text_units: tuple[int, ...] = (2048, 2048)
    """Of the layers over the terms."""
    fusion_units: int = 512
    """Of the layer over both embeddings; 0 leaves it out."""
    frames: int = 322
    """Of a patch."""
    bins: int = 96
    """Of a patch."""
    filters: tuple[int, ...] = (256, 512, 1024, 1024)
    """Of the convolutions."""
    kernels: tuple[int, ...] = (4, 4, 4, 1)
    """Frames that each convolution reads."""
    pools: tuple[int, ...] = (4, 4, 4, 1)
    """Frames of which each convolution keeps the largest value."""
    dropout: float = 0.5
    """In the branches."""
    fusion_dropout: float = 0.7
    """On the two embeddings."""

    @property
    def inputs(self) -> tuple[Branch, ...]:
        """Names of what the network reads."""
        return {"a-text": ("text",), "audio": ("audio",)}.get(self.model, ("text", "audio"))  # type: ignore[return-value]

    @property
    def reads_patches(self) -> bool:
        """Whether the input ``audio`` is (frames, bins) rather than an embedding."""
        return self.model in ("audio", "mm")

    def pooled_frames(self) -> int:
        """Frames that are left after the convolutions.

        Raises:
            UserError: none is.
        """
        frames = self.frames
        for kernel, pool in zip(self.kernels, self.pools, strict=True):
            frames = (frames - kernel + 1) // pool
        require(
            frames >= 1, f"patches of {self.frames} frames are too short for kernels {self.kernels}, pools {self.pools}"
        )
        return frames

    def embedding_size(self, branch: Branch) -> int:
        """Values of the embedding that the network makes of ``text`` or of ``audio``."""
        return self.text_units[-1] if branch == "text" else self.pooled_frames() * self.filters[-1]


DEFAULTS: dict[ModelName, dict[str, Any]] = {
    "mm-lf-lin": {"text": 2048, "fusion_units": 0},
    "mm-lf-h1": {"text": 2048},
    "seed": {"text_units": (512, 512)},
}
"""Where a network differs from the defaults of :class:`Architecture`."""


def architecture(name: ModelName, **sizes: Any) -> Architecture:
    """The architecture of a network of the paper's sizes, but for the ``sizes`` given (see :class:`Architecture`).

    Raises:
        UserError: no such network or size, or an audio network that leaves no frame.
    """
    require(name in MODELS, f"--model {name}: expected one of {', '.join(MODELS)}")
    known = {field.name for field in fields(Architecture)} - {"model"}
    odd = ", ".join(sorted(set(sizes) - known))
    require(not odd, f"{name} has no size called {odd}")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in sizes.items()}
    found = replace(Architecture(name), **(DEFAULTS.get(name, {}) | given))
    if found.reads_patches:
        found.pooled_frames()
    return found
