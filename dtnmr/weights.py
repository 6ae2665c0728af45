"""Weights: those of a run, and those of wonjunior/DTNMR (PyTorch), the arrays of a ``state_dict`` in an npz file.

PyTorch's linear weights are (out, in), the gates of ``nn.LSTM`` are i, f, g, o, as here. The first column of a song is
its length. The columns of such weights are in the order of Python's sets at the time (deviation 4): a file is of use
only with data whose ``values`` are in that same order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common import console
from common.checkpoint import read_npz
from common.options import UserError, replacing, require
from common.rundir import read_run
from common.vocabulary import digest, trained_vocabulary
from dtnmr.dataset import KkboxData, columns
from dtnmr.options import Architecture

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    from dtnmr.model import Networks

LARGEST = 2**24
"""No size of an architecture is larger."""

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


def load_released(path: Path, architecture: Architecture | None = None) -> Networks:
    """The networks of an npz of the released network's state dict.

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


def save_released(path: Path, model: Networks) -> None:
    """Write the npz that :func:`load_released`, and PyTorch users, read; atomically."""
    arrays = to_torch(model.architecture, {name: np.asarray(v) for name, v in model.named.items()})
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def build(architecture: Architecture, weights: Mapping[str, np.ndarray]) -> Networks:
    """Networks with these weights."""
    from dtnmr.model import Networks

    model = Networks(architecture)
    for name, variable in model.named.items():
        variable.assign(weights[name])
    return model


def read_architecture(folder: Path, data: KkboxData) -> Architecture:
    """The architecture that the ``options.json`` of a run describes, of a model of ``data``.

    Raises:
        UserError: it is missing, not of a training run of DTNMR, or does not fit ``data``.
    """
    file, found = folder / "options.json", read_run(folder).get("architecture")
    expected = {field.name: field.type for field in fields(Architecture)}
    wrong = UserError(f"{file}: not of a training run of dtnmr/train.py: its architecture is {found}")
    if not isinstance(found, dict) or set(found) != set(expected):
        raise wrong
    kinds: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "Rating": str}
    for name, kind in expected.items():
        value = found[name]
        several = value if isinstance(value, list) and kind not in kinds else [value]
        allowed = kinds.get(str(kind), int)
        fits = all(isinstance(one, allowed) and isinstance(one, bool) == (allowed is bool) for one in several)
        if not fits or any(isinstance(one, int | float) and not 0 <= one <= LARGEST for one in several):
            raise wrong
    try:
        architecture = Architecture(**found | {"mlp": tuple(found["mlp"])})
    except (UserError, TypeError) as error:
        raise UserError(f"{file}: not of a training run of dtnmr/train.py: {error}") from None
    ours = (architecture.song_width, architecture.user_width, architecture.behaviours)
    wanted = (data.song_width, data.user_width, len(data.values["behaviour"]))
    require(ours == wanted, f"{file}: its architecture reads {ours} columns; the run's data have {wanted}")
    return architecture


def load_model(weights: Path, data: KkboxData) -> Networks:
    """The networks of a finished run, whose other files lie beside ``weights``.

    Raises:
        UserError: a file of the run is missing, damaged or does not fit the others, or its columns are not those of
            ``data``.
    """
    require(
        trained_vocabulary(weights.parent) == digest(columns(data)),
        f"{weights}: was trained on other columns (genres, artists, ages, ...) than this dataset has; use its own "
        "dataset and the options of the data that it was trained with",
    )
    architecture = read_architecture(weights.parent, data)
    require(weights.is_file(), f"{weights}: not there; the run is not finished: continue it with --resume")
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from common.weights import load_weights_of_run
    from dtnmr.model import Networks

    model = Networks(architecture)
    load_weights_of_run(model.whole, weights, model.named)
    return model


def given_model(path: Path, data: KkboxData, architecture: Architecture, released: bool) -> Networks:
    """The networks that ``--weights`` names: of a run, or the released network's ``state_dict`` as npz.

    Raises:
        UserError: the weights are damaged or of other data, or the options ask for no ``released`` network.
    """
    if path.suffix != ".npz":
        return load_model(path, data)
    told = "an npz holds weights of the released network, which needs --protocol released"
    require(released, f"--weights {path}: {told}")
    console.notify(f"{path} does not name its columns; their order is taken to be that of this dataset")
    return load_released(path, architecture)
