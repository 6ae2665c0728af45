"""What a run of the session transformers keeps besides its weights; and the model from it all."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np

from common.options import UserError, require
from common.rundir import read_run
from session_transformers.architecture import DEFAULTS, Architecture, from_json
from session_transformers.kinds import SkipInput
from session_transformers.recurrent.architecture import (
    RECURRENT_DEFAULTS,
    RecurrentArchitecture,
    Replaced,
    recurrent_from_json,
)
from session_transformers.settings import AnyArchitecture

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    from session_transformers.fitting import AnyNetwork
    from session_transformers.model import Bert

WEIGHTS = "model.weights.h5"
MOST_UNITS = 65536
MOST_LAYERS = 128


def read_architecture(folder: Path, vocabulary: int) -> AnyArchitecture:
    """The architecture that the ``options.json`` of a run describes, of a model of ``vocabulary`` ids.

    Raises:
        UserError: it is missing, damaged, not of a run of a transformer or recurrent model, or of another vocabulary.
    """
    file, described = folder / "options.json", read_run(folder).get("architecture")
    model = described.get("model") if isinstance(described, dict) else None
    require(
        model not in ("autoencoder", "ddpg"),
        f"{file}: a run of --model {model}; expected one of a transformer or of a recurrent model",
    )
    try:
        require(isinstance(described, dict), "it names no architecture")
        found = recurrent_from_json(described or {}) if "units" in (described or {}) else from_json(described or {})
        usual = _usual_recurrent(found) if isinstance(found, RecurrentArchitecture) else _usual(found)
        require(usual, f"its architecture is {described}")
    except UserError as error:
        raise UserError(f"{file}: not of a training run of session_transformers/train.py ({error})") from None
    require(
        found.vocabulary == vocabulary,
        f"{file}: its architecture has {found.vocabulary:,} ids; the vocabulary has {vocabulary:,}",
    )
    return found


def _usual(found: Architecture) -> bool:
    """Whether the values are of the types and within the bounds of the options: a damaged file may have any."""
    layers = (found.encoder_layers, found.decoder_layers, found.heads, found.half)
    units = (found.width, found.feed_forward, found.features, found.ids.first_track, found.ids.mask)
    return (
        all(type(count) is int and 0 <= count <= MOST_LAYERS for count in layers)
        and all(type(count) is int and 0 <= count <= MOST_UNITS for count in units)
        and (found.ids.skip is None or type(found.ids.skip) is int)
        and type(found.vocabulary) is int
        and any((found.model, found.task) == known for known in DEFAULTS)  # not "in": they may be of any type
        and found.skip_input in get_args(SkipInput)
        and all(type(switch) is bool for switch in (found.tied, *asdict(found.switches).values()))
        and (found.bert is None or (found.bert.model == "bert" and found.bert.bert is None and _usual(found.bert)))
    )


def _usual_recurrent(found: RecurrentArchitecture) -> bool:
    sizes = (found.units, found.vectors, found.features, found.half, found.ids.first_track, found.ids.mask)
    return (
        all(type(count) is int and 0 <= count <= MOST_UNITS for count in sizes)
        and (found.ids.skip is None or type(found.ids.skip) is int)
        and type(found.vocabulary) is int
        and any((found.model, found.task) == known for known in RECURRENT_DEFAULTS)
        and found.skip_input in get_args(SkipInput)
        and found.replaced in get_args(Replaced)
        and all(type(switch) is bool for switch in (found.train_vectors, *asdict(found.switches).values()))
    )


def load_model(weights: Path, vocabulary: int) -> AnyNetwork:
    """The model of a run of ``vocabulary`` ids; ``options.json`` lies beside its weights.

    Raises:
        UserError: a file is missing, damaged, or of another model.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from common.weights import load_own_weights

    architecture = read_architecture(weights.parent, vocabulary)
    advice = "the run is not finished: continue it with session_transformers/train.py --resume"
    require(weights.is_file(), f"{weights}: not there; {advice}")
    model = empty(architecture)
    load_own_weights(model, weights)
    return model


def load_bert(folder: Path, vocabulary: int) -> Bert:
    """The BERT that a run of ``--model bert`` has pre-trained on data of ``vocabulary`` ids.

    Raises:
        UserError: it is no such run, not finished, or damaged.
    """
    from session_transformers.model import Bert

    found = read_architecture(folder, vocabulary)
    require(
        found.model == "bert",
        f"--bert {folder}: its model is {found.model}; name a run of session_transformers/train.py --model bert",
    )
    model = load_model(folder / WEIGHTS, vocabulary)
    assert isinstance(model, Bert)
    return model


def empty(architecture: AnyArchitecture) -> AnyNetwork:
    """A model whose weights are to be loaded."""
    from session_transformers.model import SessionTransformer, build_model
    from session_transformers.recurrent.model import RecurrentModel

    if isinstance(architecture, RecurrentArchitecture):
        rows = architecture.vocabulary
        features, vectors = (
            np.zeros((rows, columns), np.float32) for columns in (architecture.features, architecture.vectors)
        )
        return RecurrentModel(architecture, features, vectors)
    if architecture.is_bert:
        return build_model(architecture)
    return SessionTransformer(architecture, np.zeros((architecture.vocabulary, architecture.features), np.float32))
