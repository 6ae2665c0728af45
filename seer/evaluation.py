"""Splits and figures of SeER: the released ones, and standard ones over the whole catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from common import metrics
from common.evaluation import Measured, Sample
from common.options import require
from common.ranking import catalogue_ranking
from seer.baselines import Recommender
from seer.batches import Ratings
from seer.released_metrics import map_released, map_v2, ndcg_released

CUTOFFS = (5, 10, 100, 500)
"""The released code prints its MAP and NDCG at these ranks."""


@dataclass(frozen=True)
class Split:
    """Ratings to train on, to choose the epoch by (empty in the released protocol), and to test on."""

    train: Ratings
    validation: Ratings
    test: Ratings


def released_split(ratings: Ratings) -> Split:
    """The released split: a fifth of the rows at random (scikit-learn, random_state 1) is the test set.

    The order of the training rows is the released one too: of several ratings of a pair the first gives the place and
    the last the value, as in the sparse matrix through which the released code passes them.
    """
    require(len(ratings) >= 2, f"{len(ratings)} rating cannot be split into training and test; expected 2 or more")
    train, test = train_test_split(np.arange(len(ratings)), test_size=0.2, random_state=1)
    rows = ratings[train]
    pair = rows.users.astype(np.int64) * (int(ratings.songs.max()) + 1) + rows.songs
    _, first = np.unique(pair, return_index=True)
    _, last = np.unique(pair[::-1], return_index=True)
    values = np.empty_like(rows.values)
    values[first] = rows.values[::-1][last]  # both in the order of the distinct pairs
    first = np.sort(first)
    kept = Ratings(rows.users[first], rows.songs[first], values[first])
    return Split(kept, ratings[:0], ratings[test])


def corrected_split(ratings: Ratings, seed: int, share: float = 0.1) -> Split:
    """The released test set, and ``share`` of the released training rows, drawn by ``seed``, for validation."""
    split = released_split(ratings)
    pairs = len(split.train)
    require(pairs >= 2, f"{pairs} pair of user and song is left for training and validation; expected 2 or more")
    order = np.random.default_rng(seed).permutation(len(split.train))
    held_out = max(1, round(share * len(order)))
    return Split(split.train[np.sort(order[held_out:])], split.train[np.sort(order[:held_out])], split.test)


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


def catalogue_metrics(split: Split, recommender: Recommender, threshold: float, songs: int) -> dict[str, float]:
    """Standard figures of ranking all songs for every test user, the user's training songs left out.

    Relevant are the user's test songs rated ``threshold`` or more; users without any are left out. All figures are NaN
    if no test rating reaches it.
    """
    return catalogue_sample(split, recommender, threshold, songs).figures()


def catalogue_sample(split: Split, recommender: Recommender, threshold: float, songs: int) -> Sample:
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
    ranking = catalogue_ranking(recommender.scores, users, relevant, (known[0], known[1]), songs)
    found: dict[str, Any] = {}
    for k in (10, 100):
        found[f"map@{k}"] = metrics.average_precision_at(ranking, k, per_user=True)
        found[f"ndcg@{k}"] = metrics.ndcg_at(ranking, k, per_user=True)
        found[f"recall@{k}"] = metrics.recall_at(ranking, k, per_user=True)
    found["mrr@10"] = metrics.reciprocal_rank_at(ranking, 10, per_user=True)
    return Sample(found | {"auc": metrics.auc(ranking, per_user=True)}, "users")


def evaluate(
    split: Split, recommender: Recommender, threshold: float, songs: int, full: bool
) -> tuple[Measured, np.ndarray]:
    """All figures of a recommender on the test set, and its predictions for the rows of the test set.

    Args:
        split: see :class:`Split`.
        recommender: what to evaluate.
        threshold: smallest rating of a relevant song.
        songs: size of the catalogue.
        full: add :func:`catalogue_metrics`.
    """
    predicted = np.asarray(recommender.rate(split.test.users, split.test.songs))
    found = [errors_of(split.test, predicted)] if recommender.is_rating else []
    found.append(released_sample(split.test, predicted, threshold))
    if full:
        found.append(catalogue_sample(split, recommender, threshold, songs))
    return Measured(found), predicted


def personalisation(recommender: Recommender, users: int, sample: int = 200) -> dict[str, int]:
    """How many different rankings of all songs, and different top-5 lists, the first ``sample`` users get."""
    chosen = np.arange(min(users, sample))
    order = np.argsort(-recommender.scores(chosen), axis=1, kind="stable")
    return {
        "users": len(chosen),
        "distinct_rankings": len(np.unique(order, axis=0)),
        "distinct_top5": len(np.unique(order[:, :5], axis=0)),
    }
