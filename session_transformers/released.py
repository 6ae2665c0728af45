"""Weights of the released PyTorch code, to and from this project's models.

The arrays of a ``state_dict``. Linear weights are (out, in), attention stacks the rows of q, k and v. A state dict does
not tell the number of heads, nor dropout: those come from an :class:`~session_transformers.architecture.Architecture`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.checkpoint import read_npz
from common.options import UserError, replacing, require
from session_transformers.architecture import RELEASED, Architecture
from session_transformers.initial import slots
from session_transformers.kinds import RELEASED_IDS, ModelName, Task
from session_transformers.model import SessionModel

DEAD = ("feat_embed.weights", "skip_embed.weight", "encoder_layer.", "decoder_layer.")
"""Arrays of the released state dicts that no equation uses (B1, B5; the layers that stacks are copied from)."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``.npz`` file by name.

    Raises:
        UserError: not such a file, damaged, or an array that is not of finite floating-point numbers.
    """
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as a .npz file of arrays ({error})") from None
    for name, array in arrays.items():
        good = array.dtype.kind == "f" and bool(np.isfinite(array).all())
        require(good, f"{path}: {name} is not an array of finite floating-point numbers")
    return arrays


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a ``.npz`` file that :func:`read_arrays` and torch users can read; atomically."""
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def architecture_of(arrays: Mapping[str, np.ndarray], heads: int, **changes: Any) -> Architecture:
    """The released architecture whose state dict ``arrays`` is.

    Args:
        arrays: of the state dict.
        heads: number of attention heads, which it does not tell.
        **changes: fields of the architecture that it does not tell either, such as dropout.

    Raises:
        UserError: not a state dict of one of the transformers.
    """
    tracks = [name for name in ("track_embed", "track_feat_embed", "embed_src") if f"{name}.weight" in arrays]
    require(len(tracks) == 1, f"not weights of a session transformer: they hold {', '.join(sorted(arrays)[:9])}, ...")
    bert, one = tracks[0] == "embed_src", tracks[0] == "track_feat_embed"
    try:
        vocabulary = len(arrays[f"{tracks[0]}.weight"])
        width = arrays["fc.weight"].shape[1]
        task: Task = "skip" if len(arrays["fc.weight"]) == 2 else "seq"
        prefix = "transformer." if one else "transformer_"
        hidden = len(arrays[f"{prefix}encoder.layers.0.linear1.weight"])
        positions = len(arrays["pos_enc.weight" if bert else "pos_embed.weight"])
    except (KeyError, IndexError) as error:
        raise UserError(f"not weights of a session transformer: {error} is missing or has another shape") from None
    augmented = f"{prefix}encoder.layers.0.self_attn_bert.in_proj_weight" in arrays
    model: ModelName = "bert-augmented" if augmented else "transformer"
    if bert:
        model = "bert" if task == "seq" else "bert-finetuned"
    found = Architecture(
        model,
        task,
        vocabulary,
        width=width,
        features=0 if bert else arrays["feat_embed.weight"].shape[1] if "feat_embed.weight" in arrays else 0,
        encoder_layers=_count(arrays, f"{prefix}encoder"),
        decoder_layers=_count(arrays, f"{prefix}decoder"),
        heads=heads,
        feed_forward=hidden,
        skip_input="token" if one else "none",
        half=positions // 2 if bert else positions,
        ids=RELEASED_IDS,
        switches=RELEASED,
    )
    return replace(found, **changes)


def _count(arrays: Mapping[str, np.ndarray], stack: str) -> int:
    number = 0
    while f"{stack}.layers.{number}.linear1.weight" in arrays:
        number += 1
    return number


def from_torch(model: SessionModel, arrays: Mapping[str, np.ndarray], where: str = "the state dict") -> None:
    """Copy the arrays of a state dict into ``model``; a norm that both stacks share may become one for each.

    Raises:
        UserError: an array is missing, left over or of another shape; the model is then unchanged.
    """
    places = slots(model)
    given = dict(arrays)
    for kind in ("weight", "bias"):
        if f"layer_norm.{kind}" in given and f"encoder_norm.{kind}" in places:
            shared = given.pop(f"layer_norm.{kind}")
            given |= {f"encoder_norm.{kind}": shared, f"decoder_norm.{kind}": shared}
    extra = [name for name in given if name not in places and not name.startswith(DEAD)]
    missing = [name for name in places if name not in given]
    require(not missing, f"{where}: {', '.join(missing[:5])} missing for a {model.architecture.model} model")
    require(not extra, f"{where}: {', '.join(sorted(extra)[:5])} has no place in a {model.architecture.model} model")
    for name, slot in places.items():
        shape = tuple(given[name].shape)
        require(shape == slot.shape(), f"{where}: {name} has shape {shape}; the model expects {slot.shape()}")
    for name, slot in places.items():
        slot.put(given[name])


def to_torch(model: SessionModel) -> dict[str, np.ndarray]:
    """The weights of ``model`` as arrays of a state dict, but those of the BERT inside an augmented one."""
    return {name: slot.get() for name, slot in slots(model).items()}
