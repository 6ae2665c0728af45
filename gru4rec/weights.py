"""Weights: those of a run, and those of the official PyTorch, Theano and TensorFlow code, in and out.

PyTorch: the arrays of a ``state_dict``. GRUCell has blocks r, z, n, of shape (3 H, in) and (3 H, H): the ``cudnn`` GRU
here. Its one-hot model and the Theano/TensorFlow code have the original GRU, with blocks h (c here), r, z.
"""

from __future__ import annotations

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from common import console
from common.checkpoint import read_npz
from common.options import UserError, require
from common.rundir import same_data
from common.vocabulary import digest, trained_vocabulary
from common.weights import load_weights_of_run
from gru4rec.model import Networks
from gru4rec.options import Architecture
from gru4rec.preprocess import SessionData

Arrays = Mapping[str, np.ndarray]


def load_weights(path: Path, data: SessionData) -> Networks:
    """A model from ``model.weights.h5`` of a run, or from an official npz (PyTorch ``state_dict``, Theano arrays).

    A run's weights must have been trained on the very items of ``data``. An official npz does not say what its items
    are: only their number can be compared.

    Raises:
        UserError: not such a file, damaged, or of another dataset.
    """
    return _official(path, data) if path.suffix == ".npz" else _of_run(path, data)


def _official(path: Path, data: SessionData) -> Networks:
    try:
        arrays = read_npz(path)
    except ValueError as error:
        raise UserError(f"{path}: cannot be read as npz ({error})") from None
    try:
        architecture, weights = from_official(arrays)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (ValueError, TypeError, LookupError):
        raise UserError(
            f"{path}: not weights of GRU4Rec: its arrays have other shapes than the official ones"
        ) from None
    items = len(data.item_ids)
    require(
        architecture.num_items == items,
        f"{path}: holds {architecture.num_items:,} items, but the dataset has {items:,}; use the dataset it belongs to",
    )
    for name, array in weights.items():
        usable = array.dtype.kind == "f" and bool(np.isfinite(array).all())
        require(usable, f"{path}: {name} holds values that are no finite numbers; export the weights again")
    console.notify(f"{path} does not name its items; their order is taken to be that of this dataset")
    return build(architecture, weights)


def _of_run(path: Path, data: SessionData) -> Networks:
    require(
        trained_vocabulary(path.parent) == digest(data.item_ids),
        f"{path}: was trained on other items than those of this dataset; name its own dataset with --data-dir",
    )
    same_data(path.parent, data.fingerprint, f"--weights {path}")
    return load_model(path, len(data.item_ids))


# Of a run.


def load_model(weights: Path, items: int) -> Networks:
    """The model of a finished run with a vocabulary of ``items``; the other files of the run lie beside ``weights``.

    Raises:
        UserError: a file of the run is missing, damaged or does not fit the others.
    """
    architecture = Architecture.of_run(weights.parent, items)
    advice = "the run is not finished: continue it with gru4rec/train.py --resume"
    require(weights.is_file(), f"{weights}: not there; {advice}")
    features = None
    if architecture.input_table is None:
        features = _features(weights.with_name("features.npy"), (items, architecture.features))
    model = Networks(architecture, features)
    load_weights_of_run(model.step, weights, model.named)
    return model


def _features(file: Path, shape: tuple[int, int]) -> np.ndarray:
    try:
        features: Any = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file}: cannot be read ({error}); it must lie beside the weights of a run") from None
    found = getattr(features, "shape", None)  # an npz has none
    require(found == shape, f"{file}: has shape {found}; the run's model expects {shape}")
    usable = features.dtype.kind == "f" and bool(np.isfinite(features).all())
    require(usable, f"{file}: holds values that are no finite numbers; restore the run's own file")
    return np.array(features, np.float32)


# Of the official code.


def _blocks(array: np.ndarray, order: tuple[int, int, int]) -> np.ndarray:
    """The last axis cut into three blocks, in another order."""
    parts = np.split(array, 3, axis=-1)
    return np.concatenate([parts[i] for i in order], axis=-1)


_C_FROM_TORCH, _TORCH_FROM_C = (2, 0, 1), (1, 2, 0)  # r, z, n to c, r, z and back


def from_official(arrays: Arrays) -> tuple[Architecture, dict[str, np.ndarray]]:
    """Architecture and weights from a PyTorch ``state_dict`` or from the arrays of the Theano/TensorFlow code.

    Raises:
        UserError: neither of them.
    """
    torch = "Wy.weight" in arrays
    prefix = {name.split(".")[0] for name in arrays}
    require("Wy" in prefix and "By" in prefix, f"not weights of GRU4Rec: they hold {', '.join(sorted(arrays))}")
    try:
        found = _from_torch(arrays) if torch else _from_theano(arrays)
    except KeyError as error:
        raise UserError(f"not weights of GRU4Rec: {error} is missing; found {', '.join(sorted(arrays))}") from None
    layers: list[int] = []
    while f"Wx{len(layers)}" in found:
        layers.append(found[f"Wx{len(layers)}"].shape[1] // 3)
    items = len(found["Wy"])
    one_hot = "GE.Wx0.weight" in arrays or (not torch and found["Wx0"].shape[0] == items and "E" not in found)
    kind = "separate" if "E" in found else "one-hot" if one_hot else "shared"
    architecture = Architecture(
        num_items=items,
        layers=tuple(layers),
        inputs=kind,  # type: ignore[arg-type]
        embedding=found["E"].shape[1] if "E" in found else 64,
        gru="cudnn" if "G.0.weight_ih" in arrays else "original",
    )
    for name, shape in architecture.shapes().items():
        require(name in found, f"weights of GRU4Rec without {name} ({kind} input)")
        require(found[name].shape == shape, f"weight {name} has shape {found[name].shape}; expected {shape}")
    return architecture, found


def _from_torch(arrays: Arrays) -> dict[str, np.ndarray]:
    found = {"Wy": arrays["Wy.weight"], "By": arrays["By.weight"]}
    if "E.weight" in arrays:
        found["E"] = arrays["E.weight"]
    if "GE.Wx0.weight" in arrays:
        found |= {"Wx0": arrays["GE.Wx0.weight"], "Bx0": arrays["GE.Bh0"]}
        found |= {"Wrz0": arrays["GE.Wrz0"], "Wh0": arrays["GE.Wh0"]}
    first = int("Wx0" in found)
    number = 0
    while f"G.{number}.weight_ih" in arrays:
        for ours, theirs in (("Wx", "weight_ih"), ("Wh", "weight_hh"), ("Bx", "bias_ih"), ("Bh", "bias_hh")):
            found[f"{ours}{number + first}"] = _blocks(arrays[f"G.{number}.{theirs}"].T, _C_FROM_TORCH)
        number += 1
    return found


def _from_theano(arrays: Arrays) -> dict[str, np.ndarray]:
    found = {"Wy": arrays["Wy"], "By": arrays["By"]} | ({"E": arrays["E"]} if "E" in arrays else {})
    number = 0
    while f"G{number}.Wx" in arrays:
        for ours, theirs in (("Wx", "Wx"), ("Wrz", "Wrz"), ("Wh", "Wh")):
            found[f"{ours}{number}"] = arrays[f"G{number}.{theirs}"]
        found[f"Bx{number}"] = arrays[f"G{number}.Bh"].reshape(-1)
        number += 1
    return found


def to_official(architecture: Architecture, weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The weights in the official layout: PyTorch's for ``cudnn``, Theano's and TensorFlow's for ``original``.

    Raises:
        UserError: the official code has no content inputs.
    """
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    kind = architecture.inputs
    require(not kind.startswith("content"), f"the official code has no {kind} input, so there is no layout for it")
    cudnn = architecture.gru == "cudnn"
    if cudnn:
        require(kind != "one-hot", "the official PyTorch code has no one-hot input with the cudnn GRU")
        found = {"Wy.weight": arrays["Wy"], "By.weight": arrays["By"]}
        found |= {"E.weight": arrays["E"]} if kind == "separate" else {}
        for i in range(len(architecture.layers)):
            for ours, theirs in (("Wx", "weight_ih"), ("Wh", "weight_hh"), ("Bx", "bias_ih"), ("Bh", "bias_hh")):
                found[f"G.{i}.{theirs}"] = _blocks(arrays[f"{ours}{i}"], _TORCH_FROM_C).T
        return found
    found = {"Wy": arrays["Wy"], "By": arrays["By"]} | ({"E": arrays["E"]} if kind == "separate" else {})
    for i in range(len(architecture.layers)):
        found |= {f"G{i}.{name}": arrays[f"{name}{i}"] for name in ("Wx", "Wrz", "Wh")}
        found[f"G{i}.Bh"] = arrays[f"Bx{i}"][None]
    return found


def build(architecture: Architecture, weights: Arrays) -> Networks:
    """A model with these weights."""
    model = Networks(architecture)
    for name, variable in model.named.items():
        variable.assign(weights[name])
    return model
