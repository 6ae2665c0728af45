"""``MusicRecommender``: the whole chain in one call, as in the seed project that this folder grew from.

    from MusicRecommender import MusicRecommender
    result = MusicRecommender().recommend()

trains the seed's network, saves it, predicts the test items, ranks them for every user and reports R2 and MAP@500.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiotext.dataset import Collection, Items, read_users
from audiotext.evaluation import BLOCK, factor_scores
from audiotext.matrices import read_dense
from audiotext.options import SIZES, AudioTextOptions
from audiotext.preprocess import open_dataset
from audiotext.recommender import AudioText, Names
from audiotext.weights import PREDICTIONS
from common import console
from common.options import replacing
from common.sources import Dataset

if TYPE_CHECKING:
    import keras

TRACKS = "track_recommendations.tsv"
TRAINED_MODELS = "models/trained_models.tsv"
COLUMNS = ("model_id", "dataset_settings", "training_params", "model_arch")
"""Of the table of trained models; the seed has a few more that it does not use."""
RELEASED_TRACKS = "track_recommendations_released.tsv"


class _Telling(AudioText):
    """Prints numbers of data points and the layers before the training."""

    def build(self, data: Collection, weights: Path | None) -> None:
        super().build(data, weights)
        console.say(f"Training data points: {len(self.split.train)}")
        console.say(f"Validation data points: {len(self.split.validation)}")
        console.say(f"Test data points, held out of those of the training: {len(self.split.test)}")
        _print_layers(self.network)


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

    Attributes:
        model: the :class:`audiotext.AudioText` that does it.
    """

    def __init__(
        self,
        preprocess: bool = False,
        data_dir: Path | str | None = None,
        run_dir: Path | str | None = None,
        **options: Any,
    ) -> None:
        self.model = _Telling(**({"model": "seed"} | options))
        places = {"data_dir": data_dir, "run_dir": run_dir}
        given = {name: Path(place) for name, place in places.items() if place is not None}
        self.model.options = self.options = dataclasses.replace(self.model.options, **given)  # type: ignore[arg-type]
        if preprocess:
            chosen = self.options
            dataset, layout = open_dataset(chosen.data_dir, chosen.of_data, protocol=chosen.protocol)
            console.say(f"Preprocessing is completed: {dataset.name}, in {layout.folder}.")

    def recommend(self) -> dict[str, Any]:
        """Train, save, predict, rank, evaluate; print numbers of data points and the layers first, R2 and MAP@500 last.

        Returns:
            What ``metrics.json`` holds, and ``run_dir``: the folder with the weights, ``predictions.npy`` and
            ``predictions_index.tsv``, ``models/trained_models.tsv`` (a row for each network, as in the seed),
            ``track_recommendations.tsv`` (each user's best song) and ``track_recommendations_released.tsv`` (each song
            once, with its greatest score of any user, which is what the seed writes under the first name).

        Raises:
            UserError: the data are wrong, or training failed.
        """
        model = self.model
        result = model.run()
        assert model.folder is not None and model.settings is not None and model.dataset is not None
        run, data = model.folder, model.training_data(whole=False)
        add_trained_model(run / TRAINED_MODELS, model.settings, model.dataset)
        users = read_users(data.layout, len(data.items.user_factors))
        write_tracks(run, data.items, users, self.options.users or len(users), Names(data.layout, data.items.kind))
        console.say(f"Recommended songs: {run / TRACKS}")
        if "inner_test" in result["details"]["checks"]:
            console.say(f"R2 avg: {result['details']['checks']['inner_test']['r2']:.5f}")
        console.say(f"MAP@500: {result['metrics']['map@500_released']:.5f} (as released)")
        return result | {"run_dir": str(run)}


def _print_layers(model: keras.Model) -> None:
    """Print what ``model.summary()`` prints, which cuts long names."""
    came_from = {id(layer.output): layer.name for layer in model.layers}
    rows = []
    for layer in model.layers:
        read = layer.input if isinstance(layer.input, list) else [layer.input]
        sources = [came_from[id(tensor)] for tensor in read if came_from[id(tensor)] != layer.name]
        kind, shape = f"{layer.name} ({type(layer).__name__})", str(layer.output.shape)
        rows.append([kind, shape, f"{layer.count_params():,}", ", ".join(sources) or "–"])
    console.print_table(f'Model: "{model.name}"', ["Layer (type)", "Output Shape", "Param #", "Connected to"], rows)
    console.say(f"Total params: {model.count_params():,}")


def add_trained_model(path: Path, options: AudioTextOptions, dataset: Dataset) -> None:
    """Append a row to a table as the seed's: ``model_id``, and JSON of the settings of data, training and network."""
    lines = path.read_bytes().decode("utf-8").removesuffix("\n").split("\n") if path.is_file() else []
    chosen = asdict(options)
    of_data = {"name": dataset.name, "synthetic": dataset.synthetic, **asdict(options.of_data)}
    training = {key: value for key, value in chosen.items() if key not in of_data and key not in SIZES}
    sizes = {"model": options.model, **{key: chosen[key] for key in SIZES if chosen[key] not in (None, ())}}
    row = [json.dumps(found, default=str, ensure_ascii=False) for found in (of_data, training, sizes)]
    with replacing(path, "w") as file:
        file.writelines(f"{line}\n" for line in lines or ["\t".join(COLUMNS)])
        file.write("\t".join([f"model_{max(len(lines), 1)}", *row]) + "\n")


def write_tracks(run: Path, items: Items, users: Sequence[str], count: int, names: Names) -> None:
    """Write both tables of recommendations for the first ``count`` users; titles and artists stand last, if known."""

    def shown(row: int) -> dict[str, str]:
        found = names.of(items.test, items.test_artists, row)
        return {key: found[key] for key in ("title", "artist", "name") if key in found}

    more = "".join(f"\t{name}" for name in shown(0))
    vectors = read_dense(run / PREDICTIONS)
    best, score, greatest = best_tracks(items.user_factors[:count], vectors)
    with replacing(run / TRACKS, "w") as file:
        file.write(f"user\ttrack\tscore{more}\n")
        file.writelines(
            "\t".join([user, items.test[track], f"{value:.6g}", *shown(track).values()]) + "\n"
            for user, track, value in zip(users, best, score, strict=False)
        )
    with replacing(run / RELEASED_TRACKS, "w") as file:
        file.write(f"track\tscore{more}\n")
        file.writelines(
            "\t".join([items.test[row], f"{greatest[row]:.6g}", *shown(row).values()]) + "\n"
            for row in np.argsort(-greatest, kind="stable")
        )


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
