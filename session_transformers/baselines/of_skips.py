"""What skip models have to beat, learned from the training part alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from session_transformers.kinds import HALF
from session_transformers.sessions.halves import Halves

Floats = NDArray[np.float64]
PRIOR = 10.0
"""Plays at the general rate that are added to those of each track."""
FOLDS = 5


def all_skip(test: Halves) -> NDArray[np.bool_]:
    """Every track is skipped."""
    return np.ones(test.target.shape, bool)


def repeat_last_skip(test: Halves) -> NDArray[np.bool_]:
    """What happened to the last track heard happens to all that follow."""
    return np.repeat(_last(test, 1)[:, None] > 0, HALF, axis=1)


def session_majority(test: Halves) -> NDArray[np.bool_]:
    """What happened to most tracks heard; as the last one if as many were skipped as not."""
    share = _share(test)
    return np.repeat(np.where(share == 0.5, _last(test, 1) > 0, share > 0.5)[:, None], HALF, axis=1)


def track_rate(train: Halves, test: Halves, vocabulary: int) -> Floats:
    """The share of its plays in which each track was skipped, drawn a little to that of all tracks."""
    return rates(train, vocabulary)[test.target]


def rates(train: Halves, vocabulary: int) -> Floats:
    """(V,) that share of each id."""
    mask = train.tracks != 0
    tracks, skips = train.tracks[mask], train.skips[mask]
    plays = np.bincount(tracks, minlength=vocabulary)
    skipped = np.bincount(tracks, skips, minlength=vocabulary)
    general = (skips.sum() + 1) / (len(skips) + 2)
    return (skipped + PRIOR * general) / (plays + PRIOR)


def logistic(train: Halves, test: Halves, vocabulary: int) -> Floats:
    """A logistic regression for each position.

    It sees the last two skips, the share of the first half that was skipped, the track's own rate of skips, and the
    mean rate of the tracks heard, which tells a listener in the mood to skip from tracks that are always skipped. The
    rates that it learns with are taken from other sessions than those it learns from, as they are in the test.
    """
    inputs = np.zeros((*train.target.shape, 5))
    for fold in range(FOLDS):
        inside = np.arange(len(train)) % FOLDS == fold
        others = Halves(train.tracks[~inside], train.skips[~inside])
        inputs[inside] = _inputs(Halves(train.tracks[inside], train.skips[inside]), rates(others, vocabulary))
    wanted = _inputs(test, rates(train, vocabulary))
    chances = np.full(test.target.shape, 0.5)
    for position in range(HALF):
        there = train.target_mask[:, position]
        skips = train.target_skips[there, position]
        if len(np.unique(skips)) < 2:  # nothing to tell apart
            chances[:, position] = skips.mean() if len(skips) else 0.5
            continue
        model = LogisticRegression(max_iter=1000).fit(inputs[there, position], skips)
        chances[:, position] = model.predict_proba(wanted[:, position])[:, 1]
    return chances


def _inputs(halves: Halves, rate: Floats) -> Floats:
    """(sessions, 10, 5)"""
    logit = np.log(rate / (1 - rate))
    mask = halves.source_mask
    heard = (logit[halves.source] * mask).sum(axis=1) / np.maximum(mask.sum(axis=1), 1)
    of_session = np.stack([_last(halves, 1), _last(halves, 2), _share(halves) - 0.5, heard], axis=1)
    repeated = np.repeat(of_session[:, None], HALF, axis=1)
    return np.concatenate([repeated, logit[halves.target][..., None]], axis=2)


def _last(halves: Halves, back: int) -> Floats:
    """(sessions,) 1 if the last (or last but one) track heard was skipped, else -1; 0 if there is none."""
    place = halves.source_mask.sum(axis=1) - back
    skipped = halves.source_skips[np.arange(len(halves)), np.maximum(place, 0)]
    return np.where(place < 0, 0.0, 2.0 * skipped - 1.0)


def _share(halves: Halves) -> Floats:
    """(sessions,) share of the tracks heard that were skipped."""
    return halves.source_skips.sum(axis=1) / np.maximum(halves.source_mask.sum(axis=1), 1)
