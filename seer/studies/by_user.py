"""Figures of a recommender user by user, so that recommenders can be compared on the same users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from common import metrics
from common.ranking import catalogue_ranking
from seer.baselines import Rater
from seer.preprocess import Ratings
from seer.released_metrics import map_v2

ERRORS, RANKS = ("rmse", "mae"), ("map@10", "ndcg@10", "recall@10", "auc")
FIGURES = (*ERRORS, *RANKS)
LOWER_IS_BETTER = frozenset(ERRORS)
Samples = dict[str, dict[str, np.ndarray]]


@dataclass(frozen=True)
class ByUser:
    """Figures as sums over users: figure = sum of ``totals`` / sum of ``counts`` (``rmse``: its square root).

    Attributes:
        totals: figure -> (users,); of a rating error the sum over the user's test ratings.
        counts: figure -> (users,); of a rating error the user's test ratings, of a ranking figure 1 where it is
            defined. Results of several seeds add up.
    """

    totals: dict[str, np.ndarray]
    counts: dict[str, np.ndarray]

    def __add__(self, other: ByUser) -> ByUser:
        return ByUser(
            {name: total + other.totals[name] for name, total in self.totals.items()},
            {name: count + other.counts[name] for name, count in self.counts.items()},
        )

    def figures(self) -> dict[str, float]:
        """The figures over all users."""
        return {name: float(value[0]) for name, value in self.weighted(np.ones((1, self._users))).items()}

    def weighted(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Each figure, (samples,), with every user counted ``weights`` (samples, users) times."""
        found = {}
        for name, total in self.totals.items():
            count = weights @ self.counts[name]
            ratio = np.divide(weights @ total, count, out=np.full(len(weights), np.nan), where=count > 0)
            found[name] = np.sqrt(ratio) if name == "rmse" else ratio
        return found

    def values(self, figure: str) -> np.ndarray:
        """The figure of each user (users,), NaN where it is undefined."""
        total, count = self.totals[figure], self.counts[figure]
        ratio = np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)
        return np.sqrt(ratio) if figure == "rmse" else ratio

    @property
    def _users(self) -> int:
        return len(next(iter(self.totals.values())))


def by_user(
    test: Ratings,
    recommender: Rater,
    users: int,
    threshold: float,
    candidates: np.ndarray,
    known: Ratings | None = None,
) -> ByUser:
    """Figures of ``recommender`` on the test ratings.

    Args:
        test: the test ratings.
        recommender: what to evaluate; rating errors are left out if it does not rate.
        users: number of users.
        threshold: smallest rating of a relevant song.
        candidates: songs to rank, distinct, ascending; all test songs are among them.
        known: ratings whose songs are no candidates of their user (training data).
    """
    totals: dict[str, np.ndarray] = {}
    counts: dict[str, np.ndarray] = {}
    if recommender.is_rating:
        error = np.asarray(recommender.rate(test.users, test.songs), np.float64) - test.values
        for name, value in (("rmse", np.square(error)), ("mae", np.abs(error))):
            totals[name] = np.bincount(test.users, value, users)
            counts[name] = np.bincount(test.users, minlength=users).astype(np.float64)
    place = np.full(int(max(candidates[-1], *((known.songs.max(),) if known and len(known) else (0,)))) + 1, -1)
    place[candidates] = np.arange(len(candidates))
    seen = known[place[known.songs] >= 0] if known else test[:0]
    rows = _liked(test, seen, threshold)
    who = np.unique(rows.users)
    ranking = catalogue_ranking(
        lambda some: recommender.scores(some)[:, candidates],
        who,
        (rows.users, place[rows.songs], np.ones(len(rows))),
        (seen.users, place[seen.songs]),
        len(candidates),
    )
    functions = (metrics.average_precision_at, metrics.ndcg_at, metrics.recall_at)
    found = {name: f(ranking, 10, per_user=True) for name, f in zip(RANKS, functions, strict=False)}
    found["auc"] = metrics.auc(ranking, per_user=True)
    for name, value in found.items():
        totals[name], counts[name] = np.zeros(users), np.zeros(users)
        totals[name][who], counts[name][who] = np.nan_to_num(value), ~np.isnan(value)
    return ByUser(totals, counts)


def released_by_user(test: Ratings, recommender: Rater, users: int, threshold: float) -> ByUser:
    """MAP@10 as the code of v2 computed it, over each user's test ratings."""
    predicted = np.asarray(recommender.rate(test.users, test.songs))
    total, count = np.zeros(users), np.zeros(users)
    who = np.unique(test.users)
    total[who] = map_v2(test.users, test.values, predicted, 10, threshold, per_user=True)
    count[who] = 1
    return ByUser({"map@10_v2": total}, {"map@10_v2": count})


def _liked(test: Ratings, seen: Ratings, threshold: float) -> Ratings:
    """Test ratings of relevant songs, each pair once, without pairs that are known already."""
    songs = int(max([*test.songs, *seen.songs], default=0)) + 1
    pairs = test.users.astype(np.int64) * songs + test.songs
    liked = (test.values >= threshold) & ~np.isin(pairs, seen.users.astype(np.int64) * songs + seen.songs)
    _, once = np.unique(pairs, return_index=True)
    return test[np.sort(once[liked[once]])]


def resampled(models: Mapping[str, ByUser], seed: int, samples: int = 1000) -> Samples:
    """Bootstrap over users: model -> figure -> (samples,), the same users drawn for all models."""
    users = next(iter(models.values()))._users
    random, parts = np.random.default_rng(seed), []
    block = max(1, 2_000_000 // users)  # so many weights at a time
    for start in range(0, samples, block):
        size = (min(block, samples - start), users)
        weights = random.multinomial(users, np.full(users, 1 / users), size=size[0]).astype(np.float64)
        parts.append({name: model.weighted(weights) for name, model in models.items()})
    return {
        name: {figure: np.concatenate([part[name][figure] for part in parts]) for figure in parts[0][name]}
        for name in models
    }


def with_interval(value: float, samples: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """``value`` with the ends of its percentile interval; they are NaN if no sample is a number."""
    if np.isnan(samples).all():
        return value, np.nan, np.nan
    low, high = np.nanquantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)
