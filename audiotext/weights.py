"""Network weights: of runs, with what lies beside them, and those of tartarus and of the seed (Keras 2)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audiotext.architecture import Architecture, architecture
from audiotext.kinds import KINDS
from common.options import UserError, require
from common.rundir import read_run

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    import keras

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


LAYERS = ("text_dense_1", "text_dense_2", "fusion_dense", "factors")
"""Dense layers in the order in which the released code creates, and so numbers, them."""


def load_released(model: keras.Model, path: Path) -> None:
    """Load the weights of the released a-text, mm-lf-lin, mm-lf-h1 or seed network into ``model``.

    The file names its layers ``dense_<number>`` (TensorFlow 2 the first one ``dense``); the numbers depend on what was
    built before in the same process, their order does not.

    Args:
        model: the network of the same sizes, see :func:`audiotext.model.build`.
        path: HDF5 file of Keras 2 (see :func:`common.weights.read_weights`), or a zip of one.

    Raises:
        UserError: not such a file, another network, or other sizes. The model is then unchanged.
    """
    require(
        not any("convolution" in layer.name for layer in model.layers),
        f"{path}: no weights of the audio network in Keras 2's layout are known; give a model.weights.h5 of a run",
    )
    from common.weights import read_weights  # imported late, as Keras is

    file = read_weights(path)
    numbers = {name: int(found[1] or 0) for name in file.layers if (found := re.fullmatch(r"dense(?:_(\d+))?", name))}
    odd = ", ".join(sorted(set(file.layers) - set(numbers)))
    require(not odd, f"{path}: layers {odd}; the released networks have only dense_<number>")
    ours = {layer.name for layer in model.layers if layer.weights}
    wanted = [name for name in LAYERS if name in ours]
    require(
        len(numbers) == len(wanted),
        f"{path}: {len(numbers)} dense layers; {model.name} has {len(wanted)} ({', '.join(wanted)})",
    )
    file.load_into(model, dict(zip(sorted(numbers, key=numbers.__getitem__), wanted, strict=True)))


def load_network(found: Architecture, weights: Path) -> keras.Model:
    """The network of a finished run.

    Raises:
        UserError: the run is not finished, or the weights are damaged or of another network.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from audiotext.model import network
    from common.weights import load_own_weights

    require(weights.is_file(), f"{weights}: not there; the run is not finished: continue it with --resume")
    model = network(found)
    load_own_weights(model, weights)
    return model


def load_any(model: keras.Model, weights: Path) -> None:
    """Load weights of a run, or those of the released code, into the same network.

    Raises:
        UserError: they are damaged or of another network.
    """
    from common.weights import is_keras_layout, load_own_weights

    (load_released if is_keras_layout(weights) else load_own_weights)(model, weights)
