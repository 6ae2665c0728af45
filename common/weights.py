"""Weight files: HDF5 of Keras 1, 2 and 3's older format read layer by layer, and the files of our own runs.

The layout of ``save_weights`` of Keras 1 and 2 and of ``model.save("x.h5")`` of all Keras: attribute ``layer_names`` at
the root (weight files) or in the group ``model_weights`` (whole models), a group per layer with attribute
``weight_names``, a dataset per weight. Whole models have their layers' settings in the attribute ``model_config``. Only
arrays and that JSON are read; nothing in a file is ever executed, unpickled or followed outside the file.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numpy as np

from common.checkpoint import PACKED
from common.options import UserError, require
from common.sources import open_text_or_zip

if TYPE_CHECKING:
    import keras

GateActivation = Literal["hard_sigmoid", "sigmoid", "keras3_hard_sigmoid"]
"""Of recurrent layers: Keras 1 and 2's hard_sigmoid, sigmoid, or Keras 3's hard_sigmoid, which is another function."""
Weights = dict[str, dict[str, np.ndarray]]
"""Layer name -> weight name (kernel, bias, ...) -> array."""

BASE, PART = 2**14, 2**11
"""Bytes that a file of weights has at most besides the numbers: in all, and for each array or layer."""
LARGEST_ZIPPED = 2**32
"""Bytes that a zipped file of weights may unpack to; SeER's released one has 412 MB."""

_KERAS1 = {"W": "kernel", "U": "recurrent_kernel", "b": "bias"}
_KERAS1_GATES = ("ifco", "zrh")  # Keras 1 kept an array per gate; the order is the one of Keras 2's columns
_CELL = re.compile(r"_cell(_\d+)?$")  # of a recurrent layer, which has its weights in TensorFlow 2
_SETTINGS = ("activation", "go_backwards")  # of a layer, which change what its weights compute


@dataclass(frozen=True)
class KerasFile:
    """What a weight file of Keras holds.

    Attributes:
        path: the file.
        layers: the arrays, those of CuDNN layers in the layout of plain LSTM and GRU(reset_after=True) layers.
        version: attribute ``keras_version``; empty if there is none.
        configs: settings of layers by name, from ``model_config``; empty for a file of weights alone.
        cudnn: layers that CuDNNLSTM or CuDNNGRU wrote.
        cells: recurrent layers whose weights belong to a cell of theirs, as in TensorFlow 2.
    """

    path: Path
    layers: Weights
    version: str = ""
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    cudnn: frozenset[str] = frozenset()
    cells: frozenset[str] = frozenset()

    def gate_activation(self, layer: str) -> tuple[GateActivation, str]:
        """Gates of a recurrent layer, and what in the file says so.

        The settings of the layer decide, where the file has them; otherwise the default of the Keras that wrote it:
        hard_sigmoid up to 2.2, sigmoid from 2.3 on and in TensorFlow 2, always sigmoid in CuDNN's layers.

        Raises:
            UserError: other gates, or a version whose default is not known.
        """
        config, version = self.configs.get(layer, {}), self.version
        wanted = _name_of(config.get("recurrent_activation", config.get("inner_activation")))
        keras3 = version.startswith("3")
        if layer in self.cudnn:
            return "sigmoid", "a CuDNN layer"
        if wanted is not None:
            known: dict[str, GateActivation] = {
                "sigmoid": "sigmoid",
                "hard_sigmoid": "keras3_hard_sigmoid" if keras3 else "hard_sigmoid",
            }
            require(
                wanted in known,
                f"{self.path}: layer {layer} has the recurrent_activation {wanted!r}; expected sigmoid or hard_sigmoid",
            )
            return known[wanted], "model_config"
        if not version:
            return "hard_sigmoid", "no keras_version, as in Keras 1"
        number = re.match(r"(\d+)\.(\d+)", version)
        require(
            number is not None,
            f"{self.path}: keras_version is {version[:20]!r}; expected a number such as 2.2.4: name the gates with "
            "--gate-activation",
        )
        assert number
        release = (int(number[1]), int(number[2]))
        # TensorFlow 1.13 to 2.1 call themselves so; from 2.1 on the weights of a recurrent layer are its cell's.
        require(
            release != (2, 2) or "tf" not in version or layer in self.cells,
            f"{self.path}: keras_version {version} is of TensorFlow 1, whose gates are hard_sigmoid, or 2.0, where "
            "they are sigmoid: say which with --gate-activation",
        )
        modern = release >= (2, 3) or (release == (2, 2) and "tf" in version)
        return "sigmoid" if modern else "hard_sigmoid", f"keras_version {version}"

    def load_into(self, model: keras.Model, layers: Mapping[str, str]) -> None:
        """As :func:`load_weights`, of this file's arrays, whose layers must also have the model's settings.

        Raises:
            UserError: also if a layer of the file has another activation or reads backwards; the model is unchanged.
        """
        for name, ours in layers.items():
            settings = model.get_layer(ours).get_config() if name in self.layers else {}
            for key in _SETTINGS:
                theirs = self.configs.get(name, {}).get(key)
                if theirs is not None and key in settings:
                    found, expected = (_name_of(value) for value in (theirs, settings[key]))
                    require(
                        found == expected,
                        f"{self.path}: layer {name} has {key} = {found!r}; the model expects {expected!r}",
                    )
        load_weights(model, self.path, self.layers, layers)


def is_keras_layout(path: Path) -> bool:
    """Whether ``path`` is for :func:`read_weights`, by its content, and not a ``model.weights.h5`` of a run."""
    if not path.name.endswith(".weights.h5"):
        return True
    try:
        with h5py.File(path, "r") as file:
            return "layer_names" in file.attrs or "model_weights" in file
    except OSError:
        return False


def read_weights(path: Path) -> KerasFile:
    """Read all layers that have weights from a file of Keras (weights or whole model), or the one .h5 in a zip.

    A model in a model (``multi_gpu_model``, or a wrapper of one's own) is read as the inner one.

    Raises:
        UserError: not such a file, damaged, or a weight that is not a finite array of numbers.
    """
    weights: Weights = {}
    cudnn, cells = set(), set()
    try:
        with _opened(path) as file:
            root = file.get("model_weights", file)
            _check_layout(path, file, root)
            layers = _names(root.attrs["layer_names"])
            require(len(set(layers)) == len(layers), f"{path}: the attribute layer_names lists a layer twice")
            version, configs = _text(file.attrs.get("keras_version")), _configs(path, file)
            listed = {}
            for layer in layers:
                require(_is_hard_link(root, layer), f"{path}: layer {layer} is listed but missing")
                if names := _names(root[layer].attrs.get("weight_names", ())):
                    listed[layer] = names
            for layer, names in _unwrapped(path, listed).items():
                group = root[layer if layer in listed else next(iter(listed))]
                where, found = f"{path}: layer {layer}", dict[str, np.ndarray]()
                for name in names:
                    short = _short_name(name)
                    require(short not in found, f"{where} holds several weights called {short}")
                    found[short] = _array(group, name, f"{where}, weight {name}")
                found = _fuse_gates(found)
                if any(_CELL.search(part) for name in names for part in name.split("/")[:-1]):
                    cells.add(layer)
                if _is_cudnn(found):
                    kind = configs.get(layer, {}).get("class_name", "CuDNN")
                    require(
                        layer not in cells and str(kind).startswith("CuDNN"),
                        f"{where} has the bias of a CuDNN layer, but the names of another: how its kernels are laid "
                        "out cannot be told; expected a file that CuDNNLSTM or CuDNNGRU wrote, or a plain layer",
                    )
                    found = _from_cudnn(found)
                    cudnn.add(layer)
                weights[layer] = found
    except UserError:
        raise
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as HDF5 weights ({error}); is the download complete?") from None
    return KerasFile(path, weights, version, configs, frozenset(cudnn), frozenset(cells))


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """A file of HDF5, or the one .h5 in a zip, whose content is held in memory."""
    if path.suffix.lower() == ".zip":
        with open_text_or_zip(path, ".h5", LARGEST_ZIPPED) as stream:
            content = io.BytesIO(stream.read())
        with h5py.File(content, "r") as file:
            yield file
        return
    with path.open("rb") as start:
        require(
            start.read(4) != b"PK\3\4",
            f"{path}: cannot be read as HDF5 weights: it is a zip archive, such as Keras 3's .keras; save the weights "
            'with model.save("x.h5"), or give a zip of one .h5 the ending .zip',
        )
    with h5py.File(path, "r") as file:
        yield file


def _check_layout(path: Path, file: Any, root: Any) -> None:
    """Raise UserError unless the file lists its layers."""
    own = "layers" in file or "_layer_checkpoint_dependencies" in file
    require(
        "layer_names" in root.attrs or not own,
        f"{path}: weights in Keras 3's own format, in which layers have no names; expected the layout of Keras 2, "
        'which model.save("x.h5") writes; weights of a run keep their name model.weights.h5 and their folder',
    )
    require(
        "layer_names" in root.attrs,
        f"{path}: an HDF5 file without the attribute layer_names; expected weights saved by Keras 1 or 2",
    )


def _configs(path: Path, file: Any) -> dict[str, dict[str, Any]]:
    """Settings of the layers of a whole model, those of models in it too; {} for a file of weights alone."""
    if "model_config" not in file.attrs:
        return {}
    found: dict[str, dict[str, Any]] = {}

    def collect(node: Any) -> None:
        config = node.get("config") if isinstance(node, dict) else None
        if not isinstance(config, dict):
            return
        if isinstance(name := config.get("name"), str):
            found[name] = config | {"class_name": node.get("class_name")}
        inner = config.get("layers")
        for layer in inner if isinstance(inner, list) else ():
            collect(layer)

    try:
        collect(json.loads(_text(file.attrs["model_config"])))
    except (ValueError, RecursionError):
        raise UserError(f"{path}: the attribute model_config is no JSON; the file is damaged") from None
    return found


def _unwrapped(path: Path, listed: dict[str, list[str]]) -> dict[str, list[str]]:
    """Weight names by layer: the inner layers of the one layer that is a model itself, or ``listed``."""
    inner: dict[str, dict[str, list[str]]] = {}
    for layer, names in listed.items():
        by_layer: dict[str, list[str]] = {}
        for name in names:
            owners = [part for part in name.split("/")[:-1] if not _CELL.search(part)]
            by_layer.setdefault(owners[-1] if owners else layer, []).append(name)
        if len(by_layer) > 1:
            inner[layer] = by_layer
    if not inner:
        return listed
    require(
        len(listed) == 1,
        f"{path}: layer {next(iter(inner))} is a model itself, beside the layers "
        f"{', '.join(layer for layer in listed if layer not in inner) or 'of another'}; save that model alone",
    )
    return next(iter(inner.values()))


def _is_cudnn(arrays: dict[str, np.ndarray]) -> bool:
    """Whether a recurrent layer has the one long bias of CuDNN's, for the inputs and for the state."""
    if set(arrays) != {"kernel", "recurrent_kernel", "bias"}:
        return False
    bias, columns = arrays["bias"], arrays["recurrent_kernel"].shape[-1]
    return bias.ndim == 1 and len(bias) == 2 * columns and columns // len(arrays["recurrent_kernel"]) in (3, 4)


def _from_cudnn(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of a CuDNNLSTM or CuDNNGRU as those of an LSTM or a GRU(reset_after=True).

    CuDNN multiplies matrices (units, inputs) by columns. Keras hands it the memory of each gate's block as it is, so
    that a block called (inputs, units) is in truth (units, inputs), row by row. The biases are those of the inputs,
    then those of the state; an LSTM only ever adds the two.
    """
    units, columns = arrays["recurrent_kernel"].shape

    def plain(kernel: np.ndarray) -> np.ndarray:
        blocks = np.split(kernel, columns // units, axis=1)
        return np.concatenate([block.reshape(units, -1).T for block in blocks], axis=1)

    bias = arrays["bias"].reshape(2, -1)
    return {
        "kernel": plain(arrays["kernel"]),
        "recurrent_kernel": plain(arrays["recurrent_kernel"]),
        "bias": bias.sum(axis=0) if columns == 4 * units else bias,
    }


def _name_of(value: Any) -> Any:
    """A setting, or the name of a function that is written as a dictionary."""
    if isinstance(value, dict):
        inner = value.get("config")
        return inner if isinstance(inner, str) else inner.get("name") if isinstance(inner, dict) else None
    return value


def _text(attribute: Any) -> str:
    if isinstance(attribute, bytes):
        return attribute.decode()
    return "" if attribute is None else str(attribute)


def load_weights(model: keras.Model, path: Path, weights: Weights, layers: Mapping[str, str]) -> None:
    """Copy ``weights`` into ``model``; every array must have a place and every weight of the model an array.

    Args:
        model: a built Keras 3 model.
        path: where the weights come from, for messages.
        weights: the arrays, see :attr:`KerasFile.layers`.
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
    except UserError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"{path}: these weights do not fit the model of the run's options.json ({reason})") from None


def load_weights_of_run(model: keras.Model, path: Path, named: Mapping[str, keras.Variable]) -> None:
    """As :func:`load_own_weights`; also of version 0.1, which wrote one list, in the order of ``named``.

    Raises:
        UserError: see there.
    """
    if not _is_listed(path):
        load_own_weights(model, path)
        return
    import keras

    older = keras.Model(name=model.name)
    for name, variable in named.items():
        older.add_weight(variable.shape, name=name.replace(".", "_"))
    older.built = True
    load_own_weights(older, path)
    for variable, value in zip(named.values(), older.weights, strict=True):
        variable.assign(value)


def _is_listed(path: Path) -> bool:
    """Whether the weights stand in one list and not by layer."""
    try:
        with h5py.File(path, "r") as file:
            return "layers" not in file and "vars" in file
    except OSError:  # which is said when they are loaded
        return False


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
