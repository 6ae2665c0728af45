"""Weights of runs and of the released code: the networks that they make, and the networks that training starts from.

Beside the ``model.weights.h5`` of a run lie ``options.json``, which describes the architecture, and the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from common.options import UserError, require
from common.paper import WEIGHTS
from common.rundir import read_run, same_data
from common.vocabulary import digest, trained_vocabulary
from session_transformers import settings
from session_transformers.architecture import DEFAULTS, Architecture, from_json
from session_transformers.autoencoder.options import RuleArchitecture, rule_from_json
from session_transformers.kinds import HALF, SkipInput
from session_transformers.options import RECURRENT_SIZES, SIZES, SessionOptions
from session_transformers.preprocess import SequenceData
from session_transformers.recurrent.architecture import (
    RECURRENT_DEFAULTS,
    RecurrentArchitecture,
    Replaced,
    recurrent_from_json,
)
from session_transformers.reinforcement.options import AgentArchitecture, agent_from_json
from session_transformers.settings import AnyArchitecture

if TYPE_CHECKING:  # imported late: a mistake in a run's files is reported without waiting for TensorFlow
    from session_transformers.fitting import AnyNetwork
    from session_transformers.model import Bert
    from session_transformers.recurrent.model import RecurrentModel
    from session_transformers.recurrent.word2vec import Heard

OfRun = AnyArchitecture | RuleArchitecture | AgentArchitecture
"""What the ``options.json`` of a run describes."""
MOST_UNITS = 65536
MOST_LAYERS = 128


def read_architecture(folder: Path, vocabulary: int) -> OfRun:
    """The architecture that the ``options.json`` of a run describes, of a model of ``vocabulary`` ids.

    Raises:
        UserError: it is missing, damaged, not of a run of this paper, or of another vocabulary.
    """
    file, described = folder / "options.json", read_run(folder).get("architecture")
    try:
        require(isinstance(described, dict), "it names no architecture")
        found = _read(described or {})
    except UserError as error:
        raise UserError(f"{file}: not of a training run of session_transformers/train.py ({error})") from None
    require(
        found.vocabulary == vocabulary,
        f"{file}: its architecture has {found.vocabulary:,} ids; the vocabulary has {vocabulary:,}",
    )
    return found


def _read(described: Mapping[str, Any]) -> OfRun:
    if described.get("model") == "autoencoder":
        return rule_from_json(described)
    if described.get("model") == "ddpg":
        return agent_from_json(described)
    found = recurrent_from_json(described) if "units" in described else from_json(described)
    usual = _usual_recurrent(found) if isinstance(found, RecurrentArchitecture) else _usual(found)
    require(usual, f"its architecture is {described}")
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


def load_network(weights: Path, vocabulary: int) -> AnyNetwork:
    """The network of a run of ``vocabulary`` ids; ``options.json`` lies beside its weights.

    Raises:
        UserError: a file is missing, damaged, or of a model that is no such network.
    """
    import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
    from common.weights import load_own_weights

    architecture = read_architecture(weights.parent, vocabulary)
    require(
        isinstance(architecture, AnyArchitecture),
        f"{weights.parent}: a run of --model {architecture.model}; expected one of a transformer or a recurrent model",
    )
    require_weights(weights)
    assert isinstance(architecture, AnyArchitecture)
    network = empty(architecture)
    load_own_weights(network, weights)
    return network


def require_weights(weights: Path) -> None:
    """Refuse a run that has none yet."""
    advice = "the run is not finished: continue it with session_transformers/train.py --resume"
    require(weights.is_file(), f"{weights}: not there; {advice}")


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
    model = load_network(folder / WEIGHTS, vocabulary)
    assert isinstance(model, Bert)
    return model


def empty(architecture: AnyArchitecture) -> AnyNetwork:
    """A model whose weights are to be loaded."""
    from session_transformers.model import EncoderDecoder, build_model
    from session_transformers.recurrent.model import RecurrentModel

    if isinstance(architecture, RecurrentArchitecture):
        rows = architecture.vocabulary
        features, vectors = (
            np.zeros((rows, columns), np.float32) for columns in (architecture.features, architecture.vectors)
        )
        return RecurrentModel(architecture, features, vectors)
    if architecture.is_bert:
        return build_model(architecture)
    return EncoderDecoder(architecture, np.zeros((architecture.vocabulary, architecture.features), np.float32))


def make_network(options: SessionOptions, data: SequenceData) -> AnyNetwork:
    """The network to train or to evaluate: a new one, one upon a pre-trained BERT, or one of given weights.

    Raises:
        UserError: weights or BERT are of another model, task or vocabulary.
    """
    from session_transformers.model import build_model, copy_pretrained
    from session_transformers.recurrent.model import RecurrentModel

    if options.weights:
        path = options.weights[0]
        return _released(options, path, data) if path.suffix == ".npz" else _own(options, path, data)
    bert = _bert(options, data)
    columns = data.features.shape[1]
    architecture = options.architecture(data.vocabulary_size, columns, data.ids, bert.architecture if bert else None)
    if isinstance(architecture, RecurrentArchitecture):
        vectors = _vectors(architecture.vectors, options, data) if architecture.needs_vectors else None
        return RecurrentModel(architecture, np.asarray(data.features), vectors, options.seed)
    model = build_model(architecture, np.asarray(data.features), options.seed, options.initialisation or "torch")
    if bert:
        copy_pretrained(model, bert)
    if options.pretrained_tracks:
        heard: Heard = "skipped" if options.protocol == "released" else "all"
        tracks = model.embedding.tracks
        tracks.assign(_vectors(tracks.shape[1], options, data, heard))
    return model


def _vectors(columns: int, options: SessionOptions, data: SequenceData, heard: Heard = "all") -> np.ndarray:
    from session_transformers.recurrent.word2vec import Word2VecOptions, fit_vectors

    wanted = Word2VecOptions(columns=columns, seed=options.seed, heard=heard)
    return fit_vectors(
        data.train.tracks, data.train.skips, data.vocabulary_size, data.ids.first_track, wanted, quiet=False
    )


def _bert(options: SessionOptions, data: SequenceData) -> Bert | None:
    folder = options.bert
    if folder is None:
        return None
    require(folder.is_dir(), f"--bert {folder}: no such folder; name the one of a run of --model bert")
    same_vocabulary(folder, data, f"--bert {folder}")
    return load_bert(folder, data.vocabulary_size)


def _own(options: SessionOptions, path: Path, data: SequenceData) -> AnyNetwork:
    """The model of a run of this project."""
    require(
        options.bert is None, f"--weights {path}: weights of a run hold all that it had of its BERT; leave out --bert"
    )
    check_run(options, path, data)
    return load_network(path, data.vocabulary_size)


def _released(options: SessionOptions, path: Path, data: SequenceData) -> AnyNetwork:
    """The model of a state dict of the released code; the BERT of an augmented one is that of ``--bert``."""
    from session_transformers.model import build_model, copy_pretrained
    from session_transformers.released import architecture_of, from_torch, read_arrays

    require(data.ids.skip is None, f"--weights {path}: is of the released code; add --protocol released")
    arrays = read_arrays(path)
    if settings.family(options.model) == "recurrent":
        return _released_recurrent(options, path, arrays, data)
    model_name: Any = options.model
    setting = DEFAULTS[model_name, options.task]
    try:
        found = architecture_of(arrays, options.heads or setting.heads, dropout=_of(options.dropout, setting.dropout))
    except UserError as error:
        raise UserError(f"--weights {path}: {error}") from None
    require(
        found.half == HALF, f"--weights {path}: is for halves of {found.half} tracks, not of {HALF} as in the dataset"
    )
    # A state dict does not tell these apart; for skips, a BERT can only be a fine-tuned one.
    alike = {("bert", "bert-finetuned"), ("bert-augmented", "bert-augmented-dropnet")}
    if (found.model, options.model) in alike:
        found = replace(found, model=model_name, dropnet=_of(options.dropnet, setting.dropnet))
    _check(options, path, found, data)
    bert = None
    if found.augmented:
        bert = _bert(options, data)
        require(
            bert is not None, f"--weights {path}: has a BERT beside it, which is not in the file; name it with --bert"
        )
        found = replace(found, bert=bert.architecture if bert else None)
    model = build_model(found)
    from_torch(model, arrays, str(path))
    if bert:
        copy_pretrained(model, bert)
    return model


def _released_recurrent(
    options: SessionOptions, path: Path, arrays: dict[str, np.ndarray], data: SequenceData
) -> RecurrentModel:
    from session_transformers.recurrent.model import RecurrentModel
    from session_transformers.recurrent.released import recurrent_architecture_of, recurrent_from_torch

    setting = options.architecture(data.vocabulary_size, data.features.shape[1], data.ids)
    assert isinstance(setting, RecurrentArchitecture)
    changes: dict[str, Any] = {key: getattr(setting, key) for key in ("model", "dropout", "skip_input", "replaced")}
    try:
        found = recurrent_architecture_of(arrays, **changes)
    except UserError as error:
        raise UserError(f"--weights {path}: {error}") from None
    _check(options, path, found, data)
    model = RecurrentModel(found)
    recurrent_from_torch(model, arrays, str(path))
    return model


def _of(given: float | None, default: float) -> float:
    return default if given is None else given


def check_run(options: SessionOptions, path: Path, data: SequenceData) -> OfRun:
    """The architecture of the run of given weights, which must be what the options say and of these data.

    Raises:
        UserError: it is another one.
    """
    same_vocabulary(path.parent, data, f"--weights {path}")
    found = read_architecture(path.parent, data.vocabulary_size)
    _check(options, path, found, data)
    return found


def _check(options: SessionOptions, path: Path, found: OfRun, data: SequenceData) -> None:
    """The weights must be what the options say, so that none is without effect."""
    require(
        (found.model, found.task) == (options.model, options.task),
        f"--weights {path}: of --model {found.model} --task {found.task}, not of {options.model} {options.task}",
    )
    require(
        found.vocabulary == data.vocabulary_size,
        f"--weights {path}: knows {found.vocabulary:,} ids, the dataset has {data.vocabulary_size:,}; use its own",
    )
    if not isinstance(found, AnyArchitecture):
        return
    for name in RECURRENT_SIZES if isinstance(found, RecurrentArchitecture) else SIZES:
        given, theirs = getattr(options, name), getattr(found, name)
        require(
            given is None or given == theirs,
            f"--weights {path}: --{name.replace('_', '-')} is {theirs} there, not {given}; leave it out",
        )
    require(getattr(found, "tied", False) or not options.tied, f"--weights {path}: is not --tied")
    require(
        not options.bugs or options.switches == found.switches,
        f"--weights {path}: was not trained with these --bugs; leave them out: those of the run are kept",
    )


def same_vocabulary(folder: Path, data: SequenceData, where: str) -> None:
    """Refuse the run in ``folder`` unless it was trained on ``data``; ``where`` begins the message."""
    if trained_vocabulary(folder) == digest(data.track_ids):
        same_data(folder, data.fingerprint, where)
        return
    theirs, mine = read_run(folder)["options"].get("protocol"), "released" if data.ids.skip is None else "corrected"
    advice = "add --protocol released" if theirs == "released" else "leave out --protocol released"
    require(
        theirs not in ("corrected", "released") or theirs == mine,
        f"{where}: is of a run of --protocol {theirs}, which numbers the tracks otherwise than --protocol {mine} does; "
        f"{advice}",
    )
    raise UserError(
        f"{where}: was trained on other tracks than those of this dataset; name its own dataset with --data-dir"
    )
