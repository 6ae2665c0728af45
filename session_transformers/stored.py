"""What a run of the session transformers keeps besides its weights; and the model from it all."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.options import UserError, require
from common.rundir import read_run
from common.weights import load_own_weights
from session_transformers.architecture import Architecture, from_json
from session_transformers.model import Bert, SessionModel, SessionTransformer, build_model

WEIGHTS = "model.weights.h5"


def read_architecture(folder: Path) -> Architecture:
    """The architecture that the ``options.json`` of a run describes.

    Raises:
        UserError: it is missing, damaged, or not of a run of a session transformer.
    """
    described = read_run(folder).get("architecture")
    try:
        if not isinstance(described, dict):
            raise UserError("it names no architecture")
        return from_json(described)
    except UserError as error:
        raise UserError(
            f"{folder / 'options.json'}: not of a training run of session_transformers/train.py ({error})"
        ) from None


def load_model(weights: Path) -> SessionModel:
    """The model of a run; ``options.json`` lies beside its weights.

    Raises:
        UserError: a file is missing, damaged, or of another model.
    """
    architecture = read_architecture(weights.parent)
    advice = "the run is not finished: continue it with session_transformers/train.py --resume"
    require(weights.is_file(), f"{weights}: not there; {advice}")
    model = empty(architecture)
    load_own_weights(model, weights)
    return model


def load_bert(folder: Path) -> Bert:
    """The BERT that a run of ``--model bert`` has pre-trained.

    Raises:
        UserError: it is no such run, not finished, or damaged.
    """
    require(folder.is_dir(), f"--bert {folder}: no such folder; name the one of a run of --model bert")
    found = read_architecture(folder)
    require(
        found.model == "bert",
        f"--bert {folder}: its model is {found.model}; name a run of session_transformers/train.py --model bert",
    )
    model = load_model(folder / WEIGHTS)
    assert isinstance(model, Bert)
    return model


def empty(architecture: Architecture) -> SessionModel:
    """A model whose weights are to be loaded."""
    if architecture.is_bert:
        return build_model(architecture)
    return SessionTransformer(architecture, np.zeros((architecture.vocabulary, architecture.features), np.float32))
