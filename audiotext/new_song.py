"""Cold start: a song that is in no dataset, from a sound file and a biography to its item vector."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotext.architecture import Architecture, Branch
from audiotext.audio.features import is_silent, log_cqt
from audiotext.audio.patches import PatchOptions, patch_of
from audiotext.audio.scaler import Scaler
from audiotext.stored import SCALER, TEXT, load_embedding, load_network, read_architecture, read_facts
from audiotext.text import Document, TfIdf, entity, tag
from common.options import UserError, require

BRANCH_MODELS: dict[Branch, tuple[str, ...]] = {"text": ("a-text",), "audio": ("audio",)}
"""Networks that an embedding is read from."""


def read_biography(path: Path) -> str:
    """The text of a file.

    Raises:
        UserError: it cannot be read as UTF-8 text, or is empty.
    """
    try:
        text = path.read_bytes().decode("utf-8")  # line ends as they are: see text.beginning
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    require(bool(text.strip()), f"{path}: is empty; expected a biography of the artist")
    return text


def item_vector(run: Path, audio: Path | None, biography: Path | None, terms: Sequence[str]) -> NDArray[np.float32]:
    """The item vector (f,) that the network of a finished run predicts for a new song or artist.

    Args:
        run: folder of the run; the runs of its branches are found from there.
        audio: sound file, if the network hears.
        biography: text file, if it reads.
        terms: entities (a-sem) or tags (a-tags) of the artist.

    Raises:
        UserError: a file is missing that the network needs or given though it does not, cannot be read, tells nothing
            (silence; no word that the training texts have), or the run lacks what the input has to go through.
    """
    architecture, branches = read_architecture(run), branch_runs(run)
    kind = read_facts(run)["kind"]
    text_run, audio_run = branches.get("text", run), branches.get("audio", run)
    heard, read = "audio" in architecture.inputs, "text" in architecture.inputs
    for wanted, given, name, what in (
        (heard, audio is not None, "--audio", "sound"),
        (read, biography is not None or bool(terms), "--biography", "texts"),
    ):
        require(wanted or not given, f"{name}: the {kind} network of {run} reads no {what}; leave it out")
        require(given or not wanted, f"{name} is missing: the {kind} network of {run} reads {what}")
    inputs: dict[str, Any] = {}
    if read:
        inputs["text"] = _text_row(text_run, biography, terms)
    if audio is not None:
        inputs["audio"] = _patch(audio_run, audio)
    embedded = _embedded_branches(architecture)
    for branch in embedded:
        require(
            branch in branches, f"{run}: read its {branch} embeddings ready-made; they cannot be made for new songs"
        )
        inputs[branch] = _embedding(branches[branch], branch, inputs[branch])
    for name, row in inputs.items():
        _require_fits(run, architecture, name, row)
    return np.asarray(load_network(run)(inputs, training=False), np.float32)[0]


def branch_runs(run: Path) -> dict[Branch, Path]:
    """Branch -> run that its embedding comes from: within a finished run of late fusion, or named when it started.

    Raises:
        UserError: the run is not finished.
    """
    try:
        named = json.loads((run / "metrics.json").read_text("utf-8"))["details"]["branches"]
        paths = {branch: Path(named[branch]) for branch in ("text", "audio") if branch in named}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{run / 'metrics.json'}: cannot be read ({error}); the run is not finished: use --resume"
        ) from None
    return {name: run / name if (run / name).is_dir() else path for name, path in paths.items()}  # type: ignore[misc]


def _embedded_branches(architecture: Architecture) -> list[Branch]:
    if architecture.model.startswith("mm-lf"):
        return ["text", "audio"]
    return ["audio"] if architecture.model == "seed" else []


def _embedding(run: Path, branch: Branch, row: Any) -> NDArray[Any]:
    found = read_architecture(run)
    require(found.model in BRANCH_MODELS[branch], f"{run}: is no run of a {branch} network")
    _require_fits(run, found, branch, row)
    return np.asarray(load_embedding(run, branch)({branch: row}, training=False))


def _require_fits(run: Path, architecture: Architecture, branch: str, row: NDArray[Any]) -> None:
    """Files of a run may have been exchanged."""
    shape = (architecture.frames, architecture.bins) if architecture.reads_patches else (architecture.audio,)
    wanted = (architecture.text,) if branch == "text" else shape
    fits = row.shape[1:] == wanted
    require(fits, f"{run}: its network reads {branch} of {wanted}, its other files make {row.shape[1:]}; train it anew")


def _text_row(run: Path, biography: Path | None, terms: Sequence[str]) -> NDArray[np.float32]:
    text = read_facts(run).get("text")
    require(biography is None or text != "a-tags", "--biography: the network reads tags; name them with --terms")
    require(not terms or text != "a-text", "--terms: the network reads the biography alone; leave them out")
    known = TfIdf.load(run / TEXT)
    rename = tag if text == "a-tags" else entity
    document = Document(read_biography(biography) if biography else "", {rename(term): 1 for term in terms})
    row = known.transform([document])
    words = len(list(document.tokens()))
    given = " ".join([str(biography or ""), *terms]).strip() or "--terms"
    require(
        row.nnz > 0, f"{given}: the network knows none of its {words:,} words; expected some of {len(known.terms):,}"
    )
    return row.toarray().astype(np.float32)


def _patch(run: Path, audio: Path) -> NDArray[np.float32]:
    scaler = Scaler.load(run / SCALER)
    protocol = read_facts(run)["options"].get("protocol", "corrected")
    require(protocol in ("corrected", "released"), f"{run / 'options.json'}: protocol is impossible")
    spectrogram = log_cqt(audio, protocol)
    require(not is_silent(spectrogram, protocol), f"{audio}: nothing is heard; expected music")
    chosen = PatchOptions(len(scaler.mean), protocol=protocol)
    return scaler.transform(patch_of(spectrogram, audio.name, chosen)[None])
