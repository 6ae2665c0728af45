"""A rule for skips from track vectors: similar to the last track heard means skipped or played as that one was.

Khan, Cui, Arora (2020), with the vectors of :mod:`session_transformers.autoencoder`. The released code measures by the
product of vectors and features side by side, and by mistake compares the last track with those of the first half. Its
threshold is so low that the rule is all but "as the last track".
"""

from __future__ import annotations

import numpy as np

from common.metrics import mean_average_accuracy
from session_transformers.kinds import PAD
from session_transformers.sessions.halves import Halves

RELEASED_THRESHOLD = -0.3
ROWS = 8192
"""Sessions at once."""


def last_heard(halves: Halves) -> tuple[np.ndarray, np.ndarray]:
    """(sessions,) each: the last track of the first half, and whether it was skipped; PAD and 0 where there is none."""
    place = np.maximum(halves.source_mask.sum(axis=1) - 1, 0)[:, None]
    tracks, skips = (np.take_along_axis(part, place, axis=1)[:, 0] for part in (halves.source, halves.source_skips))
    return tracks, skips


def similarities(vectors: np.ndarray, halves: Halves, released: bool = False) -> np.ndarray:
    """(sessions, 10) similarity of each track of the second half to the last one of the first half.

    Args:
        vectors: (V, columns) of the tracks; those of an auto-encoder, in the released code with the features beside.
        halves: sessions.
        released: products instead of cosines, with the tracks of the first half. A track without a vector has cosine 0.
    """
    if not released:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    last, _ = last_heard(halves)
    compared = halves.source if released else halves.target
    found = np.empty(compared.shape, np.float32)
    for start in range(0, len(found), ROWS):
        rows = slice(start, start + ROWS)
        found[rows] = np.einsum("nd,ntd->nt", vectors[last[rows]], vectors[compared[rows]])
    return found


def predict_skips(similar: np.ndarray, last_skips: np.ndarray, threshold: float) -> np.ndarray:
    """(sessions, 10) uint8: as the last track where the similarity is above the threshold, else the opposite."""
    return np.where(similar > threshold, last_skips[:, None], 1 - last_skips[:, None]).astype(np.uint8)


def choose_threshold(similar: np.ndarray, halves: Halves) -> float:
    """The threshold of the highest MAA on these sessions: one that everything is above, or a percentile.

    Args:
        similar: (sessions, 10), of :func:`similarities`.
        halves: validation sessions.
    """
    _, last_skips = last_heard(halves)
    mask = halves.target != PAD
    candidates = [float(similar[mask].min()) - 1.0, *np.percentile(similar[mask], np.arange(1, 100)).tolist()]
    candidates = np.asarray(candidates, np.float32).tolist()  # as it is kept among the weights

    def figure(threshold: float) -> float:
        predicted = predict_skips(similar, last_skips, threshold)
        return float(mean_average_accuracy(halves.target_skips, predicted, mask))

    return max(candidates, key=figure)
