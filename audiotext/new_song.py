"""Cold start: a song or artist in no dataset, from a sound file, a biography and terms to what a network reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotext.audio.features import is_silent, log_cqt
from audiotext.audio.patches import PatchOptions, patch_of
from audiotext.audio.scaler import Scaler
from audiotext.text import Document, TfIdf, entity, tag
from common.options import UserError, require


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


def text_row(known: TfIdf, kind: str | None, biography: str, terms: Sequence[str]) -> NDArray[np.float32]:
    """tf-idf (1, terms) of an artist.

    Args:
        known: terms and weights of the training texts.
        kind: of the text: a-text, a-sem or a-tags.
        biography: of the artist; may be empty.
        terms: entities (a-sem) or tags (a-tags).

    Raises:
        UserError: the text is of another kind, or has no word that the training texts have.
    """
    require(not biography or kind != "a-tags", "biography: the network reads tags; give them as terms")
    require(not terms or kind != "a-text", "terms: the network reads the biography alone; leave them out")
    rename = tag if kind == "a-tags" else entity
    document = Document(biography, {rename(term): 1 for term in terms})
    row = known.transform([document])
    words = len(list(document.tokens()))
    require(row.nnz > 0, f"text: the network knows none of its {words:,} words; expected some of {len(known.terms):,}")
    return row.toarray().astype(np.float32)


def patch_row(scaler: Scaler, protocol: str, audio: Path) -> NDArray[np.float32]:
    """The patch (1, frames, bins) of a sound file, as a network reads it.

    Raises:
        UserError: the file cannot be read, or nothing is heard.
    """
    require(audio.is_file(), f"audio {audio}: no such file")
    spectrogram = log_cqt(audio, protocol)  # type: ignore[arg-type]
    require(not is_silent(spectrogram, protocol), f"{audio}: nothing is heard; expected music")  # type: ignore[arg-type]
    chosen = PatchOptions(len(scaler.mean), protocol=protocol)  # type: ignore[arg-type]
    return scaler.transform(patch_of(spectrogram, audio.name, chosen)[None])
