"""Weights that Keras 1 and 2 wrote as HDF5, read layer by layer into Keras 3 layers.

The layout: attribute ``layer_names`` at the root (weight files) or in the group ``model_weights`` (whole models), a
group per layer with attribute ``weight_names``, a dataset per weight. Only arrays are read; nothing in a file is ever
executed, unpickled or followed outside the file.
"""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from common.checkpoint import PACKED
from common.options import UserError, require

Weights = dict[str, dict[str, np.ndarray]]
"""Layer name -> weight name (kernel, bias, ...) -> array."""

BASE, PART = 2**14, 2**11
"""Bytes that a file of weights has at most besides the numbers: in all, and for each array or layer."""

_KERAS1 = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
_KERAS1_GATES = ("ifco", "zrh")  # Keras 1 kept an array per gate; the order is the one of Keras 2's columns


def read_weights(path: Path) -> Weights:
    """Read all layers that have weights from a file of Keras 1 or 2 (weights or whole model).

    Raises:
        UserError: not such a file, damaged, or a weight that is not a finite array of numbers.
    """
    weights: Weights = {}
    try:
        with h5py.File(path, "r") as file:
            root = file.get("model_weights", file)
            require(
                "layer_names" in root.attrs,
                f"{path}: an HDF5 file without the attribute layer_names; expected weights saved by Keras 1 or 2",
            )
            layers = _names(root.attrs["layer_names"])
            require(len(set(layers)) == len(layers), f"{path}: the attribute layer_names lists a layer twice")
            for layer in layers:
                found: dict[str, np.ndarray] = {}
                require(_is_hard_link(root, layer), f"{path}: layer {layer} is listed but missing")
                for name in _names(root[layer].attrs.get("weight_names", ())):
                    found[_short_name(name)] = _array(root[layer], name, f"{path}: layer {layer}, weight {name}")
                if found:
                    weights[layer] = _fuse_gates(found)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as HDF5 weights ({error}); is the download complete?") from None
    return weights


def load_weights(model: keras.Model, path: Path, weights: Weights, layers: Mapping[str, str]) -> None:
    """Copy ``weights`` into ``model``; every array must have a place and every weight of the model an array.

    Args:
        model: a built Keras 3 model.
        path: where the weights come from, for messages.
        weights: what :func:`read_weights` returned.
        layers: layer name in the file -> layer name in the model. Layers of the file that should be ignored
            are simply removed from ``weights`` before.

    Raises:
        UserError: a layer or weight is missing or left over, or a shape differs. The model is then unchanged.
    """
    wanted = {layer.name: layer for layer in model.layers if layer.weights}
    extra = sorted(set(weights) - set(layers))
    missing = sorted(set(wanted) - {layers[name] for name in weights if name in layers})
    require(not extra, f"{path}: layers that the model does not have: {', '.join(extra)}; expected {', '.join(layers)}")
    require(not missing, f"{path}: layers missing: {', '.join(missing)}; the file has {', '.join(weights)}")
    plan: list[tuple[Any, np.ndarray]] = []
    for layer, arrays in weights.items():
        variables = {variable.name: variable for variable in wanted[layers[layer]].weights}
        if set(arrays) == {"kernel"} and set(variables) == {"embeddings"}:  # Keras 1 calls both W
            arrays = {"embeddings": arrays["kernel"]}
        require(
            set(arrays) == set(variables),
            f"{path}: layer {layer} holds {', '.join(sorted(arrays))}; expected {', '.join(sorted(variables))}",
        )
        for name, array in arrays.items():
            shape = tuple(variables[name].shape)
            require(
                array.shape == shape,
                f"{path}: layer {layer}, weight {name} has shape {array.shape}; the model expects {shape}",
            )
            plan.append((variables[name], array))
    for variable, array in plan:
        variable.assign(array)


def save_own_weights(path: Path, model: keras.Model) -> None:
    """Write ``model``'s weights in Keras 3's own format, atomically.

    Raises:
        OSError: the disk is full.
    """
    beside = path.with_name(f".writing.{path.name}")
    # HDF5 prints tracebacks or ends the process where a disk fills up while it writes, so the space is taken before.
    parts = len(model.weights) + sum(1 for _ in model._flatten_layers())
    size = sum(np.asarray(weight).nbytes for weight in model.weights) + PART * parts + BASE
    try:
        with beside.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of file systems that cannot do so
            beside.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from None
    model.save_weights(beside)
    beside.replace(path)


def load_own_weights(model: keras.Model, path: Path) -> None:
    """Load a ``.weights.h5`` that a run of this project wrote (Keras 3's own format) into the same model.

    Raises:
        UserError: damaged, or of a model with other layers or shapes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of what does not fit, then raises
            _check_sizes(path)
            model.load_weights(path)
            for weight in model.weights:
                if not np.isfinite(np.asarray(weight)).all():
                    raise ValueError(f"{weight.path} holds NaN or infinite values")
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: these weights do not fit the model of the run's options.json ({reason})") from None


def _check_sizes(path: Path) -> None:
    """Look at what the arrays of an HDF5 file say of themselves before they are read; links are not followed.

    Raises:
        ValueError: an array is of far more bytes than are stored.
        OSError: not an HDF5 file.
    """

    def check(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.nbytes > PACKED * max(item.id.get_storage_size(), 2**16):
            raise ValueError(f"{name} says that it is of {item.nbytes:,} bytes, but far fewer are stored")

    with h5py.File(path, "r") as file:
        file.visititems(check)


def _names(attribute: Any) -> list[str]:
    return [name.decode() if isinstance(name, bytes) else str(name) for name in np.asarray(attribute).ravel()]


def _is_hard_link(group: Any, name: str) -> bool:
    """Whether every part of ``name`` lies in this file: links to other files are not followed."""
    for part in name.split("/"):
        link = group.get(part, getlink=True) if isinstance(group, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            return False
        group = group[part]
    return True


def _array(group: Any, name: str, where: str) -> np.ndarray:
    require(_is_hard_link(group, name), f"{where} is listed but missing")
    dataset = group[name]
    plain = isinstance(dataset, h5py.Dataset) and dataset.dtype.kind == "f" and dataset.external is None
    require(plain and not dataset.is_virtual, f"{where} is not an array of floating-point numbers")
    stored = dataset.id.get_storage_size()
    require(
        dataset.nbytes <= PACKED * max(stored, 2**16),
        f"{where} says that it is of {dataset.nbytes:,} bytes, but {stored:,} are stored; the file is damaged",
    )
    array = dataset[()].astype(np.float32)
    require(bool(np.isfinite(array).all()), f"{where} holds NaN or infinite values; the file is damaged")
    return array


def _short_name(name: str) -> str:
    """``LSTM_1/LSTM_1/kernel:0`` (Keras 2) -> kernel; ``lstm_1_W_i:0`` (Keras 1) -> kernel_i."""
    last = re.sub(r":\d+$", "", name.rsplit("/", 1)[-1])
    old = re.fullmatch(r"(?:.*_)?([WUb])(?:_([a-z]))?", last)
    if not old:
        return last
    return _KERAS1[old[1]] + (f"_{old[2]}" if old[2] else "")


def _fuse_gates(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join Keras 1's arrays per gate into Keras 2's arrays with a block of columns per gate."""
    for gates in _KERAS1_GATES:
        names = [f"{kind}_{gate}" for kind in _KERAS1.values() for gate in gates]
        if set(arrays) == set(names):
            kinds = _KERAS1.values()
            return {kind: np.concatenate([arrays[f"{kind}_{gate}"] for gate in gates], axis=-1) for kind in kinds}
    return arrays
