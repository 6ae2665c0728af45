"""Figures of SeER: the released ones, and standard ones over the whole catalogue."""

from __future__ import annotations

from typing import Any

import numpy as np

from common import metrics
from common.evaluation import Measured, Sample
from common.ranking import catalogue_ranking
from seer.baselines import Rater
from seer.preprocess import Ratings, Split
from seer.released_metrics import map_released, map_v2, ndcg_released

CUTOFFS = (5, 10, 100, 500)
"""The released code prints its MAP and NDCG at these ranks."""


def released_metrics(test: Ratings, predicted: np.ndarray, threshold: float) -> dict[str, float]:
    """The figures that the released code prints after every epoch, over the rows of the test set.

    Args:
        test: the test set.
        predicted: predicted rating of each row.
        threshold: smallest rating of a relevant song.
    """
    return Measured([errors_of(test, predicted), released_sample(test, predicted, threshold)]).figures


def errors_of(test: Ratings, predicted: np.ndarray) -> Sample:
    """``rmse`` and ``mae``, which are over all rows."""
    off = np.abs(np.asarray(test.values, np.float64) - predicted)
    off = off if np.isfinite(off).all() else np.full(len(off), np.nan)  # a model that has diverged has no figure
    return Sample({"rmse": np.square(off), "mae": off}, "users", test.users, roots={"rmse"})


def released_sample(test: Ratings, predicted: np.ndarray, threshold: float) -> Sample:
    """The released code's figures of ranking each user's test rows."""
    rows, found = (test.users, test.values, predicted), dict[str, np.ndarray]()
    for name, values in (
        ("map@{}_released", map_released(*rows, CUTOFFS, threshold, per_user=True)),
        ("ndcg@{}_released", ndcg_released(*rows, CUTOFFS, per_user=True)),
        ("map@{}_v2", map_v2(*rows, CUTOFFS, threshold, per_user=True)),
    ):
        found |= {name.format(k): np.asarray(of_users) for k, of_users in zip(CUTOFFS, values, strict=True)}
    return Sample(found, "users")


def catalogue_metrics(split: Split, rater: Rater, threshold: float, songs: int) -> dict[str, float]:
    """Standard figures of ranking all songs for every test user, the user's training songs left out.

    Relevant are the user's test songs rated ``threshold`` or more; users without any are left out. All figures are NaN
    if no test rating reaches it.
    """
    return catalogue_sample(split, rater, threshold, songs).figures()


def catalogue_sample(split: Split, rater: Rater, threshold: float, songs: int) -> Sample:
    """The values of :func:`catalogue_metrics` for each user with a relevant song."""
    test = split.test
    liked = test.values >= threshold
    known = [
        np.concatenate([getattr(part, name) for part in (split.train, split.validation)]) for name in ("users", "songs")
    ]
    # A pair may occur twice, once in training: it is then not a candidate.
    pairs = test.users.astype(np.int64) * songs + test.songs
    liked &= ~np.isin(pairs, known[0].astype(np.int64) * songs + known[1])
    _, once = np.unique(pairs, return_index=True)
    liked &= np.isin(np.arange(len(pairs)), once)
    relevant = (test.users[liked], test.songs[liked], np.ones(int(liked.sum())))
    users = np.unique(relevant[0])
    ranking = catalogue_ranking(rater.scores, users, relevant, (known[0], known[1]), songs)
    found: dict[str, Any] = {}
    for k in (10, 100):
        found[f"map@{k}"] = metrics.average_precision_at(ranking, k, per_user=True)
        found[f"ndcg@{k}"] = metrics.ndcg_at(ranking, k, per_user=True)
        found[f"recall@{k}"] = metrics.recall_at(ranking, k, per_user=True)
    found["mrr@10"] = metrics.reciprocal_rank_at(ranking, 10, per_user=True)
    return Sample(found | {"auc": metrics.auc(ranking, per_user=True)}, "users")


def evaluate(split: Split, rater: Rater, threshold: float, songs: int, full: bool) -> tuple[Measured, np.ndarray]:
    """All figures of a rater on the test set, and its predictions for the rows of the test set.

    Args:
        split: see :class:`Split`.
        rater: what to evaluate.
        threshold: smallest rating of a relevant song.
        songs: size of the catalogue.
        full: add :func:`catalogue_metrics`.
    """
    predicted = np.asarray(rater.rate(split.test.users, split.test.songs))
    found = [errors_of(split.test, predicted)] if rater.is_rating else []
    found.append(released_sample(split.test, predicted, threshold))
    if full:
        found.append(catalogue_sample(split, rater, threshold, songs))
    return Measured(found), predicted


def personalisation(rater: Rater, users: int, sample: int = 200) -> dict[str, int]:
    """How many different rankings of all songs, and different top-5 lists, the first ``sample`` users get."""
    chosen = np.arange(min(users, sample))
    order = np.argsort(-rater.scores(chosen), axis=1, kind="stable")
    return {
        "users": len(chosen),
        "distinct_rankings": len(np.unique(order, axis=0)),
        "distinct_top5": len(np.unique(order[:, :5], axis=0)),
    }
