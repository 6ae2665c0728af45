"""The model of a finished run, from its weights and what lies beside them: architecture, vocabulary, features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import h5py
import numpy as np

from common.options import UserError, require
from gru4rec.kinds import GruKind, InputKind

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    from gru4rec.model import Architecture, Networks

WEIGHTS = "model.weights.h5"
MOST_UNITS = 8192


def read_architecture(folder: Path, items: int) -> Architecture:
    """The architecture that the ``options.json`` of a run describes, of a model of ``items``.

    Raises:
        UserError: it is missing, not of a training run of GRU4Rec, or of another number of items.
    """
    from gru4rec.model import architecture_of_run

    file, found = folder / "options.json", architecture_of_run(folder)
    sizes = (*found.layers, found.embedding, found.features)
    kinds = found.inputs in get_args(InputKind) and found.gru in get_args(GruKind)
    require(
        kinds and len(found.layers) > 0 and all(type(size) is int and 1 <= size <= MOST_UNITS for size in sizes),
        f"{file}: not of a training run of gru4rec/train.py: architecture is {found}",
    )
    require(
        found.num_items == items, f"{file}: its architecture has {found.num_items} items; the vocabulary has {items:,}"
    )
    return found


def load_model(weights: Path, items: int) -> Networks:
    """The model of a finished run with a vocabulary of ``items``; the other files of the run lie beside ``weights``.

    Raises:
        UserError: a file of the run is missing, damaged or does not fit the others.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    import keras

    from common.weights import load_own_weights
    from gru4rec.model import Networks

    architecture = read_architecture(weights.parent, items)
    advice = "the run is not finished: continue it with gru4rec/train.py --resume"
    require(weights.is_file(), f"{weights}: not there; {advice}")
    features = None
    if architecture.input_table is None:
        features = _features(weights.with_name("features.npy"), (items, architecture.features))
    model = Networks(architecture, features)
    if _of_version_01(weights):
        older = keras.Model(name="gru4rec")
        for name, variable in model.named.items():
            older.add_weight(variable.shape, name=name)
        older.built = True
        load_own_weights(older, weights)
        for variable, value in zip(model.named.values(), older.weights, strict=True):
            variable.assign(value)
    else:
        load_own_weights(model.step, weights)
    return model


def _of_version_01(weights: Path) -> bool:
    """Whether the weights stand in one list, as version 0.1 wrote them, and not by layer."""
    try:
        with h5py.File(weights, "r") as file:
            return "layers" not in file and "vars" in file
    except OSError:  # which is said when they are loaded
        return False


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
