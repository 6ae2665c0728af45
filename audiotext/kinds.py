"""Names of what can be trained and of the texts; apart from the networks, so that options need no TensorFlow."""

from __future__ import annotations

from typing import Literal, get_args

from audiotext.architecture import ModelName
from audiotext.layout import ARTISTS, SONGS, ItemSet

Text = Literal["a-text", "a-sem", "a-tags"]
Kind = Literal["a-text", "a-sem", "a-tags", "audio", "mm-lf-lin", "mm-lf-h1", "mm", "seed"]
TEXT_KINDS: tuple[str, ...] = get_args(Text)
KINDS: tuple[str, ...] = get_args(Kind)
NAMES = {kind: kind.upper() for kind in KINDS if kind != "seed"} | {"seed": "MusicRecommender"}
"""As the paper writes them."""


def network_of(kind: str) -> ModelName:
    """The network of a kind: that of the three texts is the same."""
    return "a-text" if kind in TEXT_KINDS else kind  # type: ignore[return-value]


def items_of(kind: str) -> ItemSet:
    """What is recommended: texts belong to artists, all else to songs."""
    return ARTISTS if kind in TEXT_KINDS else SONGS
