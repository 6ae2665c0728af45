"""Baselines of a run: which of them its data allow, and how they rank the same items for the same users."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from audiotext.baselines import UPPER, artist_popularity, collapsed, nearest, random_scores, ridge
from audiotext.dataset import Items
from audiotext.evaluation import Ranked, Scores, factor_scores, rank_items
from audiotext.factors import FactorOptions, fold_in
from audiotext.inputs import Inputs
from audiotext.options import AudioTextOptions
from audiotext.splits import Split

JOINED = 2**27
"""Numbers of sound above which the regression from both is left out: it would take as long as the network."""


def references(
    options: AudioTextOptions, items: Items, inputs: Inputs, split: Split, users: slice, synthetic: bool
) -> dict[str, Ranked]:
    """Rank by random numbers, the artist's popularity, nearest neighbours, ridge regression, and true factors.

    Neighbours and regression learn from the items that the network is fitted to, and the penalty is chosen on those
    that it is stopped by; without any of these there is no regression.
    """
    count = items.plays.shape[0]
    scores: dict[str, Scores] = {"random": random_scores(count, options.seed)}
    if items.train_artists is not None and items.test_artists is not None:
        scores["popularity of the artist"] = artist_popularity(
            items.train_artists, items.factors, items.user_factors, items.test_artists
        )
    vectors = _predicted(options, items, inputs, split)
    vectors[UPPER] = true_factors(items, options.of_factors(synthetic))
    scores |= {name: factor_scores(items.user_factors, found) for name, found in vectors.items()}
    return {name: rank_items(of_users, items.plays, users) for name, of_users in scores.items()}


def _predicted(options: AudioTextOptions, items: Items, inputs: Inputs, split: Split) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, (train, test) in inputs.features.items():
        if name == "text":
            neighbours = train[split.train], items.factors[split.train]
            if items.train_artists is not None:  # songs of an artist share a text: one row
                numbers = np.unique(np.asarray(items.train_artists)[split.train], return_inverse=True)[1]
                neighbours = collapsed(*neighbours, numbers)
            found[f"nearest {options.neighbours} ({name})"] = nearest(*neighbours, test, options.neighbours)
        if not len(split.validation):
            continue
        found[f"ridge regression ({name})"] = ridge(train, items.factors, split.train, split.validation, test)[0]
    joined = len(inputs.features) == 2 and inputs.features["sound"][0].size <= JOINED
    if joined and len(split.validation):
        (text, new_text), (sound, new_sound) = inputs.features["text"], inputs.features["sound"]
        both, new = (text, _unit_length(sound)), (new_text, _unit_length(new_sound))
        found["ridge regression (both)"] = ridge(both, items.factors, split.train, split.validation, new)[0]
    return found


def _unit_length(sound: NDArray[Any]) -> NDArray[Any]:
    """Rows of norm 1, as those of a text are."""
    lengths = np.linalg.norm(sound, axis=1, keepdims=True)
    return sound / np.where(lengths > 0, lengths, 1)


def true_factors(items: Items, options: FactorOptions) -> NDArray[Any]:
    """Factors of the test items, folded in by one step of ALS: from all plays of theirs, with the users' factors fixed.

    It sees the very plays that it is evaluated by: no prediction from text or sound can be expected to reach it.
    """
    return fold_in(sparse.csr_matrix(items.plays), items.user_factors, options)
