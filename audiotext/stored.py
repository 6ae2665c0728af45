"""Finished runs: the network, its weights and what lies beside them."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotext.architecture import Architecture, Branch, architecture
from audiotext.kinds import KINDS
from common.options import UserError, require
from common.rundir import read_run

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    import keras

WEIGHTS = "model.weights.h5"
ARCHITECTURE = "architecture.json"
SCALER = "scaler.npz"
TEXT = "tfidf.json"
PREDICTIONS = "predictions.npy"
"""Item vectors of the test items, as the network gave them; their ids are in :data:`PREDICTED`."""
PREDICTED = "predictions_index.tsv"
LARGEST = 10**7
"""Size of a network that is taken for a mistake."""


def read_facts(folder: Path, kinds: Collection[str] = KINDS) -> dict[str, Any]:
    """The ``options.json`` of a training run of one of ``kinds``.

    Raises:
        UserError: it is missing, damaged, or of another kind.
    """
    facts = read_run(folder)
    kind = facts.get("kind")
    require(
        isinstance(kind, str) and kind in KINDS and isinstance(facts.get("dataset"), dict),
        f"{folder / 'options.json'}: not of a training run of audiotext/train.py",
    )
    require(kind in kinds, f"{folder}: is a run of {kind}; expected one of {', '.join(kinds)}")
    return facts


def read_architecture(folder: Path) -> Architecture:
    """The network of a run.

    Raises:
        UserError: its ``architecture.json`` is missing or damaged.
    """
    file = folder / ARCHITECTURE
    try:
        sizes = json.loads(file.read_text("utf-8"))
        found = architecture(sizes.pop("model"), **sizes)
        numbers = [getattr(found, name) for name in ("factors", "text", "audio", "frames", "bins")]
        numbers += [*found.text_units, *found.filters, *found.kernels, *found.pools, found.fusion_units + 1]
        require(
            all(type(number) is int and 1 <= number <= LARGEST for number in numbers)
            and all(0 <= share < 1 for share in (found.dropout, found.fusion_dropout)),
            f"{file}: sizes out of range",
        )
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{file}: describes no network of audiotext/train.py ({error})") from None
    return found


def load_network(folder: Path) -> keras.Model:
    """The network of a finished run.

    Raises:
        UserError: the run is not finished, or a file of it is missing or damaged.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from audiotext.model import network
    from common.weights import load_own_weights

    found = read_architecture(folder)
    weights = folder / WEIGHTS
    require(weights.is_file(), f"{weights}: not there; the run is not finished: continue it with --resume")
    model = network(found)
    load_own_weights(model, weights)
    return model


def load_embedding(folder: Path, branch: Branch) -> keras.Model:
    """The part of a finished run's network that makes the embedding of ``branch``; see :func:`load_network`."""
    whole = load_network(folder)
    from audiotext.model import embedding  # TensorFlow is there by now, and quiet

    return embedding(whole, branch)
