"""``MusicRecommender``: the whole chain in one call, as in the seed project that this folder grew from.

    from audiotext import MusicRecommender
    result = MusicRecommender().recommend()

trains the seed's network, saves it, predicts the test items, ranks them for every user and reports MAP@500.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from audiotext.dataset import Items, read_users
from audiotext.evaluation import BLOCK, factor_scores
from audiotext.matrices import read_dense
from audiotext.options import AudioTextOptions
from audiotext.recommend import open_items
from audiotext.stored import PREDICTIONS, load_network
from common.options import parse, replacing
from common.presets import as_arguments

TRACKS = "track_recommendations.tsv"
RELEASED_TRACKS = "track_recommendations_released.tsv"


class MusicRecommender:
    """Recommends songs of artists that nobody has played, from biographies and sound.

    Args:
        data_dir: folder with dlrs-data or raw material. None: the released dlrs-data below ``data/audiotext``, else the
            synthetic sample.
        run_dir: folder for the results. None: a new one below ``runs/audiotext``.
        preprocess: make the dlrs-data from raw material now, and say what was made; if they are missing,
            :meth:`recommend` makes them anyway. (In the seed it does nothing.)
        options: any other option of ``audiotext/train.py`` by name, such as ``epochs=10`` or ``model="mm-lf-h1"``;
            the model is ``seed`` unless named.

    Raises:
        UserError: an option, or the raw material, is wrong.
    """

    def __init__(
        self,
        preprocess: bool = False,
        data_dir: Path | str | None = None,
        run_dir: Path | str | None = None,
        **options: Any,
    ) -> None:
        given = {"model": "seed"} | options
        given |= {name: value for name, value in (("data_dir", data_dir), ("run_dir", run_dir)) if value is not None}
        self.options = parse(AudioTextOptions, as_arguments({k: v for k, v in given.items() if v is not None}))
        if preprocess:
            from audiotext.dataset import open_dataset

            chosen = self.options
            dataset, layout = open_dataset(chosen.data_dir, chosen.of_data, protocol=chosen.protocol)
            print(f"Preprocessing is completed: {dataset.name}, in {layout.folder}.")

    def recommend(self) -> dict[str, Any]:
        """Train, save, predict, rank, evaluate; print the network's summary and the results.

        Returns:
            What ``metrics.json`` holds, and ``run_dir``: the folder with the weights, ``predictions.npy`` and
            ``predictions_index.tsv``, ``track_recommendations.tsv`` (each user's best song) and
            ``track_recommendations_released.tsv`` (each song once, with its greatest score of any user, which is what
            the seed writes under the first name).

        Raises:
            UserError: the data are wrong, or training failed.
        """
        from audiotext.train import main

        result = main(self.options)
        run = Path(result["run_dir"])
        load_network(run).summary()
        layout, items = open_items(run, self.options.data_dir)
        users = read_users(layout, len(items.user_factors))
        write_tracks(run, items, users, self.options.users or len(users))
        print(f"Recommended songs: {run / TRACKS}; MAP@500 as released: {result['metrics']['map@500_released']:.5f}")
        return result


def write_tracks(run: Path, items: Items, users: Sequence[str], count: int) -> None:
    """Write both tables of recommendations for the first ``count`` users."""
    vectors = read_dense(run / PREDICTIONS)
    best, score, greatest = best_tracks(items.user_factors[:count], vectors)
    with replacing(run / TRACKS, "w") as file:
        file.write("user\ttrack\tscore\n")
        file.writelines(
            f"{user}\t{items.test[track]}\t{value:.6g}\n"
            for user, track, value in zip(users, best, score, strict=False)
        )
    with replacing(run / RELEASED_TRACKS, "w") as file:
        file.write("track\tscore\n")
        file.writelines(f"{items.test[row]}\t{greatest[row]:.6g}\n" for row in np.argsort(-greatest, kind="stable"))


def best_tracks(
    user_factors: NDArray[Any], vectors: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[Any], NDArray[Any]]:
    """The best item of each user, its score (both (users,)), and each item's highest score of any user (items,)."""
    scores, greatest = factor_scores(user_factors, vectors), np.full(len(vectors), -np.inf)
    best, score = np.zeros(len(user_factors), np.int64), np.zeros(len(user_factors))
    for start in range(0, len(user_factors), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(user_factors)))
        table = scores(rows)
        best[rows] = table.argmax(axis=1)
        score[rows] = table.max(axis=1)
        greatest = np.maximum(greatest, table.max(axis=0))
    return best, score, greatest
