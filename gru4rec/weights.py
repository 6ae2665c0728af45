"""A model from the weights that ``--weights`` names: those of a run, or official ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common import console
from common.checkpoint import read_npz
from common.options import UserError, require
from common.rundir import same_data
from common.vocabulary import digest, trained_vocabulary
from gru4rec.model import Networks
from gru4rec.official import build, from_official
from gru4rec.preprocess import SessionData
from gru4rec.stored import load_model


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
