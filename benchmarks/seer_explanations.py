"""How fast sections are scored, against one call of the model per section; and how fast a full catalogue is ranked.

Made-up data of the released sizes: songs of 236 s and 2,600 steps (the medians of arXiv v2), LSTM, 150 latent features,
32,180 users, 6,442 songs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import keras
import numpy as np
import pandas as pd
from measuring import measure, peak_megabytes, recording, show

from common.command import run_script
from seer.explain import Explainer, Protocol
from seer.model import Architecture, Networks
from seer.preprocess import SeerData

USERS, SONGS, STEPS, SECONDS = 32_180, 6_442, 2_600, 236.0


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    songs: int = 5
    """Recommended songs to explain (released code: 5)."""


def made_up(songs: int) -> SeerData:
    """Songs whose steps come at random times, a tenth of their values not 0."""
    rng = np.random.default_rng(1)
    midi = rng.integers(1, 128, (songs, STEPS, 32), dtype=np.uint8)
    midi *= rng.random(midi.shape, dtype=np.float32) < 0.1
    times = np.sort(rng.uniform(0, SECONDS * 1e6, (songs, STEPS)), axis=1)
    nobody = np.zeros(0, np.int32)
    information = pd.DataFrame({"duration": np.full(songs, SECONDS)})
    return SeerData(midi, times, nobody, nobody, nobody.astype(np.float32), information, "", USERS)


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of a call, after one that compiles."""
    return measure(work, warm=1).best


def main(options: Options) -> dict[str, float]:
    """Time explained recommendations at the released sizes."""
    keras.utils.set_random_seed(1)
    seer = Networks(Architecture(USERS, 500))
    data = made_up(options.songs)
    user, songs = np.zeros(options.songs, np.int64), np.arange(options.songs)
    result: dict[str, float] = {}
    rules: tuple[Protocol, ...] = ("corrected", "released")
    for protocol in rules:
        explainer = Explainer(seer, data, protocol=protocol, whole_song=True)
        sections = [part for song in range(options.songs) for part in explainer.sections(song, explainer.windows(song))]
        ours = seconds(lambda explainer=explainer: explainer.explain(user, songs))  # type: ignore[misc]
        few = [part.astype(np.float32)[None] for part in sections[:: max(1, len(sections) // 40)]]
        call = seconds(lambda few=few: [seer.encoder(part, training=False) for part in few])  # type: ignore[misc]
        result |= {f"{protocol}_sections": len(sections), f"{protocol}_seconds": ours}
        result[f"{protocol}_ratio_one_call_each"] = call / len(few) * len(sections) / ours
        if protocol == "released":  # as the released code does: predict with batches of one padded section
            padded = np.stack(explainer.sections(0, explainer.windows(0))[:20]).astype(np.float32)
            one = seconds(lambda padded=padded: seer.encoder.predict(padded, batch_size=1, verbose=0))  # type: ignore[misc]
            result["released_ratio_predict_batch_1"] = one / len(padded) * len(sections) / ours

    hidden = np.random.default_rng(0).normal(size=(SONGS, 150)).astype(np.float32)
    for variant in ("concat", "dot"):
        seer = Networks(Architecture(USERS, 500, variant, "gru"))

        def rank_all(seer: Networks = seer) -> None:
            for start in range(0, USERS, 1024):
                users = np.arange(start, min(start + 1024, USERS))
                scores = seer.score_matrix(seer.user_vectors(users), hidden)
                best = np.argpartition(-scores, 5, axis=1)[:, :5]
                np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)

        result[f"top5_of_all_users_{variant}_seconds"] = seconds(rank_all)
    result["peak_memory_gigabytes"] = peak_megabytes() / 1024
    return show(result)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
