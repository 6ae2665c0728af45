"""Recommended songs with their explanations, for a known or a new user, and what is personal about them."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from common.options import require
from seer.explain import Explainer, Explanation
from seer.model import SeER
from seer.new_user import SongRatings, default_ridge, fold_in, read_ratings
from seer.options import RecommendOptions
from seer.preprocess import SeerData

_OTHERS = 200  # users with whom the request's user is compared


@dataclass(frozen=True)
class Person:
    """Who the recommendations are for.

    Attributes:
        name: in words.
        vector: (latent,) in the model's space of users.
        rated: the user's ratings.
        number: of a user of the dataset.
    """

    name: str
    vector: np.ndarray
    rated: SongRatings
    number: int | None = None


@dataclass(frozen=True)
class Recommended:
    """A recommended song.

    Attributes:
        song: its number.
        rating: predicted for the whole of it.
        explanation: its section for this user.
        sections_of_others: how many different sections the first users of the dataset would be shown of it.
    """

    song: int
    rating: float
    explanation: Explanation
    sections_of_others: int


def find_person(options: RecommendOptions, seer: SeER, data: SeerData, hidden: np.ndarray) -> Person:
    """The user of the dataset, or the new one who wrote ``--ratings``; ``hidden`` (songs, latent) of all songs."""
    if options.ratings is None:
        number = options.user_number or 0
        rows = data.users == number
        rated = SongRatings(data.songs[rows], data.ratings[rows])
        return Person(f"user {number}", seer.user_vectors(np.array([number]))[0], rated, number)
    rated = read_ratings(options.ratings, data.song_information)
    ridge = options.ridge
    if ridge is None:
        ridge = default_ridge(seer, data, hidden)
    vector = fold_in(seer, hidden[rated.songs], rated.values, ridge)
    # The name of a file may hold bytes that are no text, or be longer than a heading.
    name = os.fsencode(options.ratings.name).decode("utf-8", "replace")
    return Person(f"the author of {name if len(name) <= 60 else f'{name[:59]}…'}", vector, rated)


def recommend(
    explainer: Explainer, hidden: np.ndarray, person: Person, count: int, leave_out_rated: bool
) -> list[Recommended]:
    """The ``count`` songs with the highest predicted rating, best first (ties: the lower song number), explained.

    Args:
        explainer: of the model and the songs.
        hidden: (songs, latent) encodings of all songs as the model read them in training.
        person: the user.
        count: fewer are returned if there are no more candidates.
        leave_out_rated: songs that the user rated are no candidates.

    Raises:
        UserError: no candidate is left.
    """
    scores = explainer.seer.score_matrix(person.vector[None], hidden)[0]
    candidates = np.ones(len(scores), bool)
    if leave_out_rated:
        candidates[person.rated.songs] = False
    require(bool(candidates.any()), f"{person.name} has rated all songs; add --include-rated")
    order = np.argsort(-scores, kind="stable")
    chosen = order[candidates[order]][:count]
    everybody = np.vstack([person.vector, _first_users(explainer.seer)])
    explained = explainer.explain_vectors(
        np.repeat(everybody, len(chosen), axis=0), np.tile(chosen, len(everybody))
    )  # in one call, which encodes the sections once
    found = []
    for place, song in enumerate(chosen):
        own, *others = explained[place :: len(chosen)]
        sections = {other.best for other in others} - {None}
        found.append(Recommended(int(song), float(scores[song]), own, len(sections)))
    return found


def _first_users(seer: SeER) -> np.ndarray:
    """Vectors of the users that a request is compared with."""
    return seer.user_vectors(np.arange(min(_OTHERS, seer.architecture.num_users)))


def personal_facts(seer: SeER, hidden: np.ndarray, person: Person, found: list[Recommended]) -> dict[str, float]:
    """What of a request is personal, measured against the first users of the dataset."""
    users = _first_users(seer)
    everybody = seer.user_vectors(np.arange(seer.architecture.num_users)).mean(axis=0)
    scores = seer.score_matrix(np.vstack([users, person.vector, everybody]), hidden)
    order = np.argsort(-scores, axis=1, kind="stable")
    count = min(5, len(hidden))
    return {
        "users_compared": len(users),
        "songs": len(hidden),
        "distinct_rankings": len(np.unique(order[: len(users)], axis=0)),
        "distinct_top5": len(np.unique(order[: len(users), :count], axis=0)),
        "distinct_sections": sum(one.sections_of_others for one in found),
        "recommended": len(found),
        "level": float((scores[-2] - scores[-1]).mean()),
        "shared_with_average_top5": len(np.intersect1d(order[-2, :count], order[-1, :count])),
    }
