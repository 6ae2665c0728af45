"""Weights of wonjunior/DTNMR (PyTorch), to and from this project's: the arrays of a ``state_dict`` in an npz file.

Linear weights are (out, in), the gates of ``nn.LSTM`` are i, f, g, o, as here. The first column of a song is its
length. The columns of such weights are in the order of Python's sets at the time (deviation 4): a file is of use only
with data whose ``values`` are in that same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from common.checkpoint import read_npz
from common.options import UserError, replacing, require
from dtnmr.architecture import Architecture
from dtnmr.model import DTNMR

Arrays = dict[str, np.ndarray]
LSTM = {
    "weight_ih": "input",
    "weight_hh": "recurrent",
    "bias_ih": "input_bias",
    "bias_hh": "recurrent_bias",
}


def architecture_of(arrays: Mapping[str, np.ndarray], long_length: int = 20, short_length: int = 10) -> Architecture:
    """The released architecture whose state dict ``arrays`` is; it does not tell the lengths of the histories.

    Raises:
        UserError: not a state dict of the released network.
    """
    try:
        depth = len([name for name in arrays if name.startswith("MFC.body.") and name.endswith(".weight")])
        shapes = [arrays[f"MFC.body.{2 * i}.weight"].shape for i in range(depth)]
        song_width = shapes[0][1] - 1
        embedding, hidden = shapes[-1][0], arrays["UDFC.lstm.weight_hh_l0"].shape[1]
        layers = len([name for name in arrays if name.startswith("UDFC.lstm.weight_hh_l")])
        behaviours = arrays["UDFC.lstm.weight_ih_l0"].shape[1] - embedding
        user_width = arrays["USFC.body.0.weight"].shape[1] - song_width
    except (KeyError, IndexError) as error:
        found = ", ".join(sorted(arrays)[:6])
        raise UserError(f"not weights of the released DTNMR: {error} is missing; found {found}, ...") from None
    return Architecture(
        song_width, user_width, behaviours, embedding, tuple(int(shape[0]) for shape in shapes[:-1]), hidden, layers,
        rating="linear", final_relu=True, long_length=long_length, short_length=short_length,
    )  # fmt: skip


def from_torch(architecture: Architecture, arrays: Mapping[str, np.ndarray], where: str = "the state dict") -> Arrays:
    """Our names and layout; all arrays are used and checked.

    Raises:
        UserError: an array is missing, left over, of another shape or not of finite numbers.
    """
    wanted = {name: array.shape for name, array in _torch_shapes(architecture).items()}
    missing, extra = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
    require(not missing, f"{where}: {', '.join(missing[:5])} missing for this model")
    require(not extra, f"{where}: {', '.join(extra[:5])} has no place in this model")
    for name, shape in wanted.items():
        array = arrays[name]
        require(array.shape == shape, f"{where}: {name} has shape {array.shape}; the model expects {shape}")
        usable = array.dtype.kind == "f" and bool(np.isfinite(array).all())
        require(usable, f"{where}: {name} holds values that are no finite floating-point numbers")
    found: Arrays = {}
    for name, array in arrays.items():
        found |= _ours(name, np.asarray(array, np.float32))
    return found


def to_torch(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of a state dict.

    Raises:
        UserError: not an architecture of the released network.
    """
    require(architecture.rating == "linear", f"the released network's rating is linear, not {architecture.rating}")
    require(architecture.final_relu, "the released network has a ReLU after its last layers (--final-relu True)")
    w = {name: np.asarray(array) for name, array in weights.items()}
    found: Arrays = {}
    for ours, theirs in (("user", "USFC.body"), ("song", "MFC.body"), ("head", "UDFC.body")):
        i = 0
        while f"{ours}.{i}.kernel" in w:
            kernel = w[f"{ours}.{i}.kernel"]
            if (ours, i) == ("song", 0):
                kernel = np.concatenate([w["song.length"], kernel])
            found |= {f"{theirs}.{2 * i}.weight": kernel.T, f"{theirs}.{2 * i}.bias": w[f"{ours}.{i}.bias"]}
            i += 1
    for i in range(architecture.lstm_layers):
        found |= {f"UDFC.lstm.{theirs}_l{i}": w[f"lstm.{i}.{ours}"].T for theirs, ours in LSTM.items()}
    both = np.concatenate([w["rating.user"], w["rating.song"]])
    return found | {"RC.weight": both.T, "RC.bias": w["rating.bias"]}


def _torch_shapes(architecture: Architecture) -> Arrays:
    return to_torch(architecture, {name: np.empty(shape, np.float32) for name, shape in architecture.shapes().items()})


def _ours(name: str, array: np.ndarray) -> Arrays:
    """Where one array of a state dict goes."""
    part, *rest = name.split(".")
    if part == "RC":
        if rest == ["bias"]:
            return {"rating.bias": array}
        user, song = np.split(array.T, 2)
        return {"rating.user": user, "rating.song": song}
    if rest[0] == "lstm":
        kind, layer = rest[1].rsplit("_l", 1)
        return {f"lstm.{layer}.{LSTM[kind]}": array.T}
    tower = {"USFC": "user", "MFC": "song", "UDFC": "head"}[part]
    place = f"{tower}.{int(rest[1]) // 2}"
    if rest[2] == "bias":
        return {f"{place}.bias": array}
    if place == "song.0":
        return {"song.length": array.T[:1], "song.0.kernel": array.T[1:]}
    return {f"{place}.kernel": array.T}


def load_released(path: Path, architecture: Architecture | None = None) -> DTNMR:
    """A model from an npz of the released network's state dict.

    Args:
        path: of the file.
        architecture: what the arrays have to fit; default: the one that they tell, with the released histories.

    Raises:
        UserError: not such a file, damaged, or of another architecture.
    """
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as npz ({error})") from None
    try:
        architecture = architecture or architecture_of(arrays)
        return build(architecture, from_torch(architecture, arrays))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def save_released(path: Path, model: DTNMR) -> None:
    """Write the npz that :func:`load_released`, and PyTorch users, read; atomically."""
    arrays = to_torch(model.architecture, {name: np.asarray(v) for name, v in model.named.items()})
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def build(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> DTNMR:
    """A model with these weights."""
    model = DTNMR(architecture)
    for name, variable in model.named.items():
        variable.assign(weights[name])
    return model
