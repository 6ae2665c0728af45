"""Metrics of ratings, rankings and sessions, in float64 NumPy.

Ranking metrics work on a :class:`Ranking`. They are exact under ties: each is its expectation over all orders
of the tied candidates, equally likely, so a constant model scores as random and row order never matters.
The mean runs over the users for which the metric is defined (at least one relevant item) and is NaN if there
are none; ``per_user=True`` returns the array (users,), NaN where undefined. Arguments that do not fit raise
ValueError.
"""

from common.metrics._arrays import Flags, Floats, Integers, Score
from common.metrics.intervals import bootstrap_interval
from common.metrics.ranking import Ranking, TieGroups
from common.metrics.ratings import mae, rmse
from common.metrics.sequences import accuracy_by_position, mean_average_accuracy
from common.metrics.top_k import (
    auc,
    average_precision_at,
    hit_rate_at,
    ndcg_at,
    precision_at,
    recall_at,
    reciprocal_rank_at,
    user_coverage_at,
)

__all__ = [
    "Flags",
    "Floats",
    "Integers",
    "Ranking",
    "Score",
    "TieGroups",
    "accuracy_by_position",
    "auc",
    "average_precision_at",
    "bootstrap_interval",
    "hit_rate_at",
    "mae",
    "mean_average_accuracy",
    "ndcg_at",
    "precision_at",
    "recall_at",
    "reciprocal_rank_at",
    "rmse",
    "user_coverage_at",
]
