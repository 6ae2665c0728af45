"""The sections that explain the recommendations of random users, and random sections of the same songs beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common import console, runtime
from common.options import require
from common.rundir import resumable
from common.sources import Dataset
from seer.batches import Ratings
from seer.experiment import check_agreement, load, make_split
from seer.explain import Explainer, Windows
from seer.fitting import Evaluator, fit, jit, model_input
from seer.model import SeER
from seer.preprocess import SeerData
from seer.studies.options import SectionOptions


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


def given_model(options: SectionOptions, data: SeerData) -> SeER | None:
    """The model of ``--weights``, if there is one; loaded before a run directory is made for it.

    Raises:
        UserError: the weights do not fit the dataset or the options.
    """
    if not options.weights:
        return None
    runtime.configure(options)
    loaded = load(options.weights[0], data, options.gate_activation)
    seer = loaded.seer
    if loaded.note:
        console.say(loaded.note)
    check_agreement(options, seer.architecture, options.weights[0])
    return seer


def trained_model(options: SectionOptions, dataset: Dataset, data: SeerData, folder: Path) -> SeER:
    """A model trained on the corrected split."""
    complete = options.completed(dataset.synthetic, data.num_steps)
    with resumable(folder):
        return fit(complete, make_split(complete, data), data, folder / "seer").seer


def choose_sections(
    options: SectionOptions, seer: SeER, data: SeerData, eligible: np.ndarray | None = None
) -> list[UserSections]:
    """Recommend and explain for users drawn at random from ``eligible`` (None: from all).

    Users for whom fewer than two sections exist are left out.

    Raises:
        UserError: fewer than two users are left.
    """
    random = np.random.default_rng((options.seed, 1))
    pool = np.arange(data.num_users) if eligible is None else eligible
    users = np.sort(random.choice(pool, min(options.users, len(pool)), replace=False))
    recommender = Evaluator(seer, model_input(data, seer.architecture), jit(options)).recommender()
    songs = top_songs(recommender.scores(users), users, Ratings(data.users, data.songs, data.ratings), options.top_k)
    explainer = Explainer(seer, data, section_seconds=options.section_seconds, whole_song=options.whole_song)
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
        f"{len(found)} of {len(users)} users have two recommended songs with a section of "
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
