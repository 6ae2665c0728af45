"""Ridge regression from text and sound to factors at the released sizes, against conjugate gradients on one matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from measuring import measure, recording, show
from scipy import sparse

from audiotext import baselines
from common.command import run_script


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    songs: int = 720
    """Training songs, six of each artist; 80 % are fitted to, 10 % choose the penalty."""
    terms: int = 10_000
    """Columns of the text (released: 10,000), of which an artist has 150."""
    sound: int = 4096
    """Columns of the sound (released: 4,096)."""
    factors: int = 200
    """Factors of a song (paper: 200)."""


def main(options: Options) -> dict[str, float]:
    """Regress from the text and from both, exactly and by conjugate gradients over one sparse matrix."""
    rng, artists = np.random.default_rng(0), -(-options.songs // 6)
    of_artist = sparse.random(artists, options.terms, min(1, 150 / options.terms), "csr", random_state=rng)
    text = sparse.csr_matrix(of_artist)[np.arange(options.songs) // 6]
    sound = np.maximum(rng.normal(size=(options.songs, options.sound)), 0)
    sound /= np.linalg.norm(sound, axis=1, keepdims=True)
    law = (rng.normal(size=(columns, options.factors)) for columns in (options.terms, options.sound))
    factors = sum(part @ weights for part, weights in zip((text, sound), law, strict=True))
    factors += 0.5 * rng.normal(size=factors.shape)
    ends = int(0.8 * options.songs), int(0.9 * options.songs)
    fitted, held_out = np.arange(ends[0]), np.arange(*ends)

    def regressed(x: Any) -> tuple[Any, float, float]:
        """The vectors, the penalty, and the seconds of processor time."""
        taken = measure(lambda: baselines.ridge(x, factors, fitted, held_out, x))
        return *taken.result, taken.processor

    one = sparse.csr_matrix(sparse.hstack([text, sparse.csr_matrix(sound)]))
    found: dict[str, float] = {}
    for name, sides, whole in (("text", text, text), ("both", (text, sound), one)):
        exact, chosen, seconds = regressed(sides)
        with mock.patch.object(baselines, "SPARSE", 0):  # conjugate gradients, whatever they take
            descended, penalty, others = regressed(whole)
        assert penalty == chosen
        found[f"{name}_cpu_seconds"], found[f"{name}_gradients_cpu_seconds"] = seconds, others
        found[f"{name}_ratio"] = others / seconds
        found[f"{name}_largest_difference"] = float(np.abs(exact - descended).max())
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
