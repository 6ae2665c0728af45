"""Item cold start: how well songs without a single rating are rated and ranked, from their MIDI alone.

The paper argues that SeER can do this; neither of its versions that could be read here measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from common.console import counted
from common.options import require
from common.report import Part
from common.rundir import resumable
from common.sources import Dataset
from seer import baselines
from seer.preprocess import Ratings, SeerData, Split
from seer.studies import content
from seer.studies.by_user import FIGURES, ByUser, by_user, resampled, with_interval
from seer.studies.options import ColdStart
from seer.studies.report import Experiment

ORACLE = "mean of the song (told its ratings)"
INTERVALS = ("rmse", "ndcg@10", "auc")
NOTE = (
    "No model has seen a rating of these songs, except the last row, which no real system can have: it shows what "
    "knowing each song's popularity would give. Errors are over all held-out ratings; ranking is of the held-out "
    "songs only, for users who like at least one of them. The ridge baselines read the same steps as SeER."
)
DIFFERENCES = (
    "rmse: negative is better for the first, ndcg@10 and auc: positive. The same users are drawn for both. The "
    "intervals cover the draw of users, not that of the held-out songs: for that see by_seed in metrics.json."
)


def song_split(ratings: Ratings, songs: int, share: float, seed: int) -> Split:
    """Hold out songs with all of their ratings: ``share`` of them for testing, half as many for validation.

    Validation songs are unheard too, so the best epoch is the best one for unheard songs.

    Raises:
        UserError: too few songs for this share.
    """
    test = round(share * songs)
    validation = round(share * songs / 2)
    require(
        test >= 2 and validation >= 1 and songs - test - validation >= 1,
        f"--share {share} of {counted(songs, 'song')} leaves {counted(test, 'song')} to test on, "
        f"{validation} for validation and "
        f"{songs - test - validation} to train on; choose a share between 0 and 2/3 that leaves some of each",
    )
    order = np.random.default_rng((seed, 0)).permutation(songs)
    part = np.zeros(songs, np.int64)
    part[order[:test]], part[order[test : test + validation]] = 2, 1
    of_rating = part[ratings.songs]
    return Split(*(ratings[np.flatnonzero(of_rating == number)] for number in (0, 1, 2)))


def run(options: ColdStart, dataset: Dataset, data: SeerData) -> dict[str, Any]:
    """Train on the other songs, once per seed, and compare with baselines that need no ratings of the song."""
    # Once before there is a folder: too few songs are a mistake of the options.
    song_split(data.all_ratings, data.num_songs, options.share, options.seed)
    experiment = Experiment("cold-start", options, dataset, data)
    pooled: dict[str, ByUser] = {}
    by_seed: dict[str, list[dict[str, float]]] = {}
    training: list[dict[str, Any]] = []
    with resumable(experiment.folder):
        for seed in range(options.seed, options.seed + options.seeds):
            for name, found in _one_seed(options, seed, experiment, data, training).items():
                pooled[name] = pooled[name] + found if name in pooled else found
                by_seed.setdefault(name, []).append(found.figures())
    samples = resampled(pooled, options.seed)
    ours = [name for name in pooled if name.startswith("SeER")]
    figures = {name: found.figures() for name, found in pooled.items()}
    pairs = [(one, other) for one in ours for other in pooled if other != one and (other not in ours or one < other)]
    intervals = {
        name: {key: with_interval(row[key], samples[name][key]) for key in FIGURES if key in row}
        for name, row in figures.items()
    }
    differences = {
        f"{one} - {other}": {
            key: with_interval(figures[one][key] - figures[other][key], samples[one][key] - samples[other][key])
            for key in FIGURES
            if key in figures[other]
        }
        for one, other in pairs
    }
    repeated = f"{options.seeds} seed{'s' * (options.seeds > 1)}"
    tables = [
        Part(figures, FIGURES, f"Held-out songs, {repeated}", [NOTE]),
        Part(_flat(intervals), _columns(INTERVALS), "95 % intervals, bootstrap over users"),
        Part(_flat(differences), _columns(INTERVALS), "Paired differences with 95 % intervals", [DIFFERENCES]),
    ]
    summary = {
        "split": f"by song: {options.share:g} of the songs held out, half as many for validation, the others to train",
        "ranking": "the held-out songs only; users with a relevant one",
        "ties": "expected rank",
        "relevant": f"rating >= {options.interaction_threshold}",
        "metrics": figures,
        "intervals": intervals,
        "differences": differences,
        "by_seed": by_seed,
        "training": training,
    }
    return experiment.finish("SeER: item cold start", tables, summary, tables[0], ours)


def _one_seed(
    options: ColdStart, seed: int, experiment: Experiment, data: SeerData, training: list[dict[str, Any]]
) -> dict[str, ByUser]:
    """Figures of SeER and the baselines for one draw of the songs; what training reached is added to ``training``."""
    users, songs = data.num_users, data.num_songs
    split = song_split(data.all_ratings, songs, options.share, seed)
    found: dict[str, baselines.Rater] = {}
    for variant in (options.variant,) if options.variant else ("concat", "dot"):
        complete = options.completed(experiment.dataset.synthetic, data.num_steps, variant=variant, seed=seed)
        model = experiment.fit(complete, replace(data, split=split), f"{variant}-{seed}")
        found[f"SeER {variant} ({complete.cell})"] = model.rater()
        assert model.progress is not None
        best = {"variant": variant, "seed": seed, "best_epoch": model.progress.best_epoch}
        training.append(best | {"history": model.progress.history})
    found |= content.content_ridge(split, content.midi_statistics(model.evaluator.midi), users)  # what SeER reads
    found |= {
        "mean of the user": content.user_mean(split.train, users, songs),
        "mean of all ratings": baselines.constant(split.train, songs),
        "random": baselines.random_scores(songs, seed),
        ORACLE: baselines.song_mean(split.test, songs),
    }
    held_out, threshold = np.unique(split.test.songs), options.interaction_threshold
    return {name: by_user(split.test, one, users, threshold, held_out) for name, one in found.items()}


def _flat(rows: dict[str, dict[str, tuple[float, float, float]]]) -> dict[str, dict[str, float]]:
    """Each figure and the ends of its interval as columns of a table."""
    return {
        name: {label: value for key in row for label, value in zip(_columns([key]), row[key], strict=True)}
        for name, row in rows.items()
    }


def _columns(figures: Sequence[str]) -> list[str]:
    return [label for key in figures for label in (key, f"{key} low", f"{key} high")]
