"""How fast DTNMR ranks a whole catalogue for many users: scores, ranks of the test songs, all figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import common.runtime  # noqa: F401  # isort: skip  (first of all: it quiets TensorFlow)
import numpy as np
from measuring import measure, peak_megabytes, recording, show

from common.command import run_script
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES, KkboxData, Points, Rows
from dtnmr.evaluation import Scorer, make_task, means, rank_users, recommender, user_values
from dtnmr.model import Networks
from dtnmr.options import Architecture

BITS_OF_A_SONG = 6


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    users: int = 10_000
    """Users to rank for."""
    songs: int = 12_000
    """Songs of the catalogue."""
    song_columns: int = 9_181
    """Columns of a song's encoding (KKBOX with the released filters: 9,181 with the length)."""
    heard: int = 48
    """Songs that each user has heard."""
    tested: int = 20
    """Songs that each user plays in the test."""
    ratings: tuple[Literal["linear", "dot", "mlp"], ...] = ("linear", "dot", "mlp")
    """Ratings to measure."""


def made_up_data(options: Options) -> KkboxData:
    """Songs and playlists of the sizes asked for, drawn at random."""
    rng = np.random.default_rng(0)
    users, songs, each = options.users, options.songs, options.heard + options.tested
    blocks = np.linspace(0, options.song_columns - 1, len(SONG_FEATURES) + 1).astype(int)
    values = {name: [str(i) for i in range(n)] for name, n in zip(SONG_FEATURES, np.diff(blocks), strict=True)}
    values |= {name: [str(i) for i in range(n)] for name, n in zip(USER_FEATURES, (44, 3, 21), strict=True)}
    values["behaviour"] = [str(i) for i in range(8)]
    bits = np.sort(rng.integers(0, options.song_columns - 1, (songs, BITS_OF_A_SONG)), axis=1).astype(np.int32)
    own = np.stack([rng.integers(0, 44, users), 44 + rng.integers(0, 3, users), 47 + rng.integers(0, 21, users)], 1)
    played = np.argpartition(rng.random((users, 4 * each)), each, axis=1)[:, :each] * (songs // (4 * each))
    played = (played + rng.integers(0, songs // (4 * each), played.shape)).astype(np.int32)
    nothing = Points(np.zeros(0, np.int32), np.zeros(0, np.int32))
    return KkboxData(
        song_ids=[str(i) for i in range(songs)],
        user_ids=[str(i) for i in range(users)],
        lengths=rng.random(songs, np.float32),
        song_bits=_rows(bits),
        user_bits=_rows(own.astype(np.int32)),
        values=values,
        songs_played=_rows(played),
        behaviours=_rows(rng.integers(0, 8, played.shape, np.int32)),
        owners=np.arange(users, dtype=np.int32),
        trained=np.full(users, options.heard, np.int32),
        train=nothing,
        validation=nothing,
        test=nothing,
        plays=np.bincount(played[:, : options.heard].ravel(), minlength=songs),
        longest_length=360.0,
        released=False,
        fingerprint="",
    )


def _rows(table: np.ndarray) -> Rows:
    return Rows(np.arange(len(table) + 1, dtype=np.int64) * table.shape[1], table.ravel())


def main(options: Options) -> dict[str, float]:
    """Time scores alone, and the full ranking of every user with all its figures."""
    data = made_up_data(options)
    task = make_task(data, seed=1)
    print(f"{options.users:,} users x {options.songs:,} songs, {os.cpu_count()} cores")
    found: dict[str, float] = {}
    for rating in options.ratings:
        model = Networks(Architecture(data.song_width, data.user_width, 8, rating=rating))

        def score(model: Networks = model) -> None:
            scores = recommender(Scorer(model, data))
            for start in range(0, len(task.users), 500):
                scores(task.users.take(np.arange(start, min(start + 500, len(task.users)))))

        def rank(model: Networks = model) -> dict[str, float]:
            return means(user_values(rank_users(recommender(Scorer(model, data)), task)))

        scored, ranked = measure(score), measure(rank)
        for name, taken in (("scores", scored), ("full ranking", ranked)):
            found |= {f"{rating}: {name}, seconds": taken.best, f"{rating}: {name}, CPU seconds": taken.processor}
        assert 0.45 < ranked.result["auc"] < 0.55, ranked.result  # weights and plays are random
    found["peak memory, MB"] = peak_megabytes()
    return show(found)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
