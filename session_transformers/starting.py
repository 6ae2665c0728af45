"""The model that a run starts from: a new one, one upon a pre-trained BERT, or one of given weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common.options import UserError, require
from common.rundir import read_run, same_data
from common.vocabulary import digest, trained_vocabulary
from session_transformers import settings
from session_transformers.architecture import DEFAULTS
from session_transformers.fitting import AnyNetwork
from session_transformers.kinds import HALF
from session_transformers.model import Bert, build_model, copy_pretrained
from session_transformers.options import RECURRENT_SIZES, SIZES, SessionOptions
from session_transformers.preprocess import SequenceData
from session_transformers.recurrent.architecture import RecurrentArchitecture
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.recurrent.released import recurrent_architecture_of, recurrent_from_torch
from session_transformers.recurrent.word2vec import Heard, Word2VecOptions, fit_vectors
from session_transformers.released import architecture_of, from_torch, read_arrays
from session_transformers.settings import AnyArchitecture
from session_transformers.stored import load_bert, load_model, read_architecture


def make_model(options: SessionOptions, data: SequenceData) -> AnyNetwork:
    """The model to train or to evaluate.

    Raises:
        UserError: weights or BERT are of another model, task or vocabulary.
    """
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
    same_vocabulary(path.parent, data, f"--weights {path}")
    _check(options, path, read_architecture(path.parent, data.vocabulary_size), data)
    return load_model(path, data.vocabulary_size)


def _released(options: SessionOptions, path: Path, data: SequenceData) -> AnyNetwork:
    """The model of a state dict of the released code; the BERT of an augmented one is that of ``--bert``."""
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


def _check(options: SessionOptions, path: Path, found: AnyArchitecture, data: SequenceData) -> None:
    """The weights must be what the options say, so that none is without effect."""
    require(
        (found.model, found.task) == (options.model, options.task),
        f"--weights {path}: of --model {found.model} --task {found.task}, not of {options.model} {options.task}",
    )
    require(
        found.vocabulary == data.vocabulary_size,
        f"--weights {path}: knows {found.vocabulary:,} ids, the dataset has {data.vocabulary_size:,}; use its own",
    )
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
