"""The sections that explain the recommendations of random users, and random sections of the same songs beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from common import console
from common.console import counted
from common.experiment import fit
from common.options import require
from common.rundir import resumable
from common.sources import Dataset
from seer.explain import Windows
from seer.preprocess import Ratings, SeerData, split_of
from seer.recommender import SeER
from seer.studies.options import SectionOptions
from seer.studies.report import Experiment


class Section(NamedTuple):
    """Steps ``first`` to ``stop`` (exclusive) of ``data.midi[song]``."""

    song: int
    first: int
    stop: int


@dataclass(frozen=True)
class UserSections:
    """What a user is recommended; a song without any window of the asked length has no section."""

    user: int
    songs: list[int]
    """Recommended songs, the best first."""
    explained: list[Section]
    """The best section of each song, by the model."""
    random: list[Section]
    """A section of the same song, drawn from all of its windows."""


def given_model(options: SectionOptions, dataset: Dataset, data: SeerData) -> SeER | None:
    """The model of ``--weights``, if there is one; loaded before a run directory is made for it.

    Raises:
        UserError: the weights do not fit the dataset or the options.
    """
    if not options.weights:
        return None
    model = SeER.of(options.of_model(epochs=0))
    fit(model, model.options, dataset, data)
    if model.weights and model.weights.note:
        console.say(model.weights.note)
    return model


def trained_model(options: SectionOptions, experiment: Experiment, data: SeerData) -> SeER:
    """A model trained on the corrected split."""
    complete = options.completed(experiment.dataset.synthetic, data.num_steps)
    with resumable(experiment.folder):
        split = split_of(data.all_ratings, complete.protocol, complete.seed)
        return experiment.fit(complete, replace(data, split=split), "seer")


def choose_sections(
    options: SectionOptions, model: SeER, data: SeerData, eligible: np.ndarray | None = None
) -> list[UserSections]:
    """Recommend and explain for users drawn at random from ``eligible`` (None: from all).

    Users for whom fewer than two sections exist are left out.

    Raises:
        UserError: fewer than two users are left.
    """
    random = np.random.default_rng((options.seed, 1))
    pool = np.arange(data.num_users) if eligible is None else eligible
    users = np.sort(random.choice(pool, min(options.users, len(pool)), replace=False))
    songs = top_songs(model.rater().scores(users), users, data.all_ratings, options.top_k)
    explainer = model.explainer(options.section_seconds, "corrected", options.whole_song)
    who = np.repeat(users, [len(row) for row in songs])
    explanations = iter(explainer.explain(who, np.array([song for row in songs for song in row])))
    found = []
    for user, row in zip(users, songs, strict=True):
        explained, drawn = [], []
        for song in row:
            explanation = next(explanations)
            if explanation.best is None:
                continue
            windows = explanation.windows
            explained.append(_section(song, windows, explanation.best))
            drawn.append(_section(song, windows, int(random.integers(len(windows)))))
        if len(explained) >= 2:
            found.append(UserSections(int(user), row, explained, drawn))
    require(
        len(found) >= 2,
        f"too few of {counted(len(users), 'user')} have two recommended songs with a section: {len(found)}, of "
        f"{options.section_seconds:g} s; choose a shorter --section-seconds",
    )
    return found


def top_songs(scores: np.ndarray, users: np.ndarray, rated: Ratings, k: int) -> list[list[int]]:
    """The ``k`` songs with the highest ``scores`` (users, songs) that each user has not rated."""
    scores = np.array(scores, np.float64)
    place = np.searchsorted(users, rated.users)
    known = (place < len(users)) & (users[np.minimum(place, len(users) - 1)] == rated.users)
    scores[place[known], rated.songs[known]] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return [[int(song) for song in row if scores[number, song] > -np.inf] for number, row in enumerate(order)]


def _section(song: int, windows: Windows, number: int) -> Section:
    return Section(song, int(windows.first[number]), int(windows.stop[number]))
