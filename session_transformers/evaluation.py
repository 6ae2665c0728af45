"""How well second halves are foretold: which tracks are skipped, and which tracks are played.

Mean average accuracy (MAA) and the accuracies are those of Khan, Cui, Arora (2020), section 4, and of the Spotify skip
challenge (Brost, Mehrotra, Jehan 2019). What a track model says when it is fed its own predictions (``free``) and when
it is fed the true tracks (``forced``) are different things: every figure of tracks has one of the words in its name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from common.evaluation import Measured, Sample
from common.metrics import (
    Ranking,
    accuracy_by_position,
    mean_average_accuracy,
    recall_at,
    reciprocal_rank_at,
)
from common.options import require
from session_transformers.kinds import PAD

Mode = Literal["free", "forced"]
CUTOFFS = (1, 5, 10, 20)
CLIP = 1e-7
"""Probabilities are kept this far from 0 and 1 in the log loss: one of exactly 0 would make it infinite."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """Which places of second halves were foretold rightly."""

    right: NDArray[np.bool_]
    """(sessions, positions)"""
    mask: NDArray[np.bool_]
    """(sessions, positions) True where the session has a track."""
    loss: NDArray[np.float64] | None = None
    """(sessions, positions) -log of the probability of what was true, in nats; None where only labels are known."""
    mode: Mode | None = None
    """Of track predictions: fed its own predictions or the true tracks."""

    def __len__(self) -> int:
        return len(self.right)

    def average_accuracy(self) -> NDArray[np.float64]:
        """(sessions,) AA = 1/T sum_i A_i L_i with A_i the share right among the first i and L_i 1 if right at i."""
        return mean_average_accuracy(self.right, np.ones_like(self.right), self.mask, per_session=True)

    def session_accuracy(self) -> NDArray[np.float64]:
        """(sessions,) share right in each session."""
        return _ratio((self.right & self.mask).sum(axis=1), self.mask.sum(axis=1))

    def by_position(self) -> NDArray[np.float64]:
        """(positions,) share right at each position; NaN where no session is so long."""
        return accuracy_by_position(self.right, np.ones_like(self.right), self.mask)

    def histogram(self) -> NDArray[np.float64]:
        """(positions + 1,) share of the sessions with k right, k = 0, 1, ..."""
        counts = np.bincount((self.right & self.mask).sum(axis=1), minlength=self.right.shape[1] + 1)
        return counts / max(len(self), 1)

    def samples(self) -> list[Sample]:
        """``maa``, ``accuracy`` (over all tracks), ``first_accuracy`` and, with probabilities, ``log_loss``.

        The names of track predictions begin with the mode: ``free_maa``.
        """
        first = np.where(self.mask[:, 0], self.right[:, 0], np.nan)
        sessions = {"maa": self.average_accuracy(), "first_accuracy": first}
        tracks = {"accuracy": self.right[self.mask].astype(np.float64)}
        tracks |= {} if self.loss is None else {"log_loss": self.loss[self.mask]}
        return [
            Sample({_named(name, self.mode): values for name, values in sessions.items()}, "sessions"),
            Sample(
                {_named(name, self.mode): values for name, values in tracks.items()},
                "sessions",
                np.nonzero(self.mask)[0],
            ),
        ]

    def measured(self) -> Measured:
        """The same with its means."""
        return Measured(self.samples())

    def figures(self) -> dict[str, float]:
        """The means of :meth:`samples`."""
        return self.measured().figures

    def details(self) -> dict[str, list[float]]:
        """``accuracy_by_position`` and ``sessions_by_number_right``, named as in :meth:`figures`."""
        found = {"accuracy_by_position": self.by_position(), "sessions_by_number_right": self.histogram()}
        return {_named(name, self.mode): values.tolist() for name, values in found.items()}


def skip_outcome(predicted: ArrayLike, target: ArrayLike, mask: ArrayLike | None = None) -> Outcome:
    """Judge predicted skips.

    Args:
        predicted: (sessions, positions) probabilities of a skip (floats; a skip is foretold above 0.5), or labels
            (booleans or integers).
        target: (sessions, positions) 1 where the track was skipped.
        mask: (sessions, positions) True where there is a track; None: everywhere.

    Raises:
        ValueError: the shapes differ.
        UserError: a probability is not within 0..1: training has diverged.
    """
    guess, truth = np.asarray(predicted), np.asarray(target).astype(bool)
    valid = _mask(guess, truth, mask)
    if guess.dtype.kind != "f":
        return Outcome((guess.astype(bool) == truth) & valid, valid)
    inside = (guess >= 0) & (guess <= 1)
    require(bool(inside[valid].all()), "a probability is not within 0..1: training has diverged; lower --learning-rate")
    chance = np.clip(np.where(valid, guess, 0.5).astype(np.float64), CLIP, 1 - CLIP)
    loss = -np.log(np.where(truth, chance, 1 - chance))
    return Outcome(((guess > 0.5) == truth) & valid, valid, np.where(valid, loss, 0.0))


def track_outcome(predicted: ArrayLike, target: ArrayLike, mode: Mode) -> Outcome:
    """Judge predicted tracks; right is the exact id.

    Args:
        predicted: (sessions, positions) ids.
        target: (sessions, positions) ids, PAD where there is no track.
        mode: how they were predicted.

    Raises:
        ValueError: the shapes differ.
    """
    guess, truth = np.asarray(predicted), np.asarray(target)
    valid = _mask(guess, truth, truth != PAD)
    return Outcome((guess == truth) & valid, valid, mode=mode)


@dataclass(frozen=True, eq=False)
class TrackRanks:
    """Where the true tracks of second halves stood among all tracks of the vocabulary, nothing left out."""

    greater: NDArray[np.int64]
    """(sessions, positions) tracks with a higher score than the true one."""
    equal: NDArray[np.int64]
    """(sessions, positions) tracks with the same score, the true one included."""
    mask: NDArray[np.bool_]
    """(sessions, positions) True where the session has a track."""
    tracks: int
    """Tracks ranked: the vocabulary without the ids that are no tracks."""
    mode: Mode
    """What the model was fed on the way."""
    _ranking: Ranking = field(init=False, repr=False)

    def __post_init__(self) -> None:
        above, tied = (counts[self.mask].astype(np.float64) for counts in (self.greater, self.equal))
        require(
            bool(((above >= 0) & (tied >= 1) & (above + tied <= self.tracks)).all()),
            "the model's scores are not finite: training has diverged; lower --learning-rate",
        )
        count = len(above)
        every = Ranking(count, np.arange(count), above, tied, np.ones(count), np.full(count, self.tracks))
        object.__setattr__(self, "_ranking", every)

    @classmethod
    def from_scores(cls, scores: NDArray[Any], target: NDArray[Any], first_track: int, mode: Mode) -> TrackRanks:
        """Rank by scores that are all in memory.

        Args:
            scores: (sessions, positions, V) by id; those below ``first_track`` are no candidates.
            target: (sessions, positions) ids, PAD where there is no track.
        """
        mask = target != PAD
        own = np.take_along_axis(scores, np.where(mask, target, first_track)[..., None], axis=-1)
        candidates = scores[..., first_track:]
        greater, equal = (candidates > own).sum(axis=-1), (candidates == own).sum(axis=-1)
        return cls(greater, equal, mask, candidates.shape[-1], mode)

    def values(self, k: int) -> dict[str, NDArray[np.float64]]:
        """``recall@K`` and ``mrr@K`` of every track, (sessions, positions), NaN where there is none.

        Tied tracks are in any order, equally likely: the expectation counts.
        """
        found = {"recall": recall_at, "mrr": reciprocal_rank_at}
        result = {}
        for name, metric in found.items():
            whole = np.full(self.mask.shape, np.nan)
            whole[self.mask] = metric(self._ranking, k, per_user=True)
            result[_named(f"{name}@{k}", self.mode)] = whole
        return result

    def sample(self, cutoffs: Sequence[int] = CUTOFFS) -> Sample:
        """``forced_recall@K`` and ``forced_mrr@K`` (or ``free_``) of all tracks."""
        found = {name: values[self.mask] for k in cutoffs for name, values in self.values(k).items()}
        return Sample(found, "sessions", np.nonzero(self.mask)[0])

    def figures(self, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
        """The means of :meth:`sample`."""
        return self.sample(cutoffs).figures()

    def by_position(self, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, list[float]]:
        """The same at each position."""
        return {
            f"{name}_by_position": [_mean(column) for column in values.T]
            for k in cutoffs
            for name, values in self.values(k).items()
        }

    def per_session(self, k: int) -> dict[str, NDArray[np.float64]]:
        """The same for each session, (sessions,): for confidence intervals and paired tests."""
        counts = self.mask.sum(axis=1)
        return {name: _ratio(np.nansum(values, axis=1), counts) for name, values in self.values(k).items()}


def _named(name: str, mode: Mode | None) -> str:
    return f"{mode}_{name}" if mode else name


def _mask(guess: NDArray[Any], truth: NDArray[Any], mask: ArrayLike | None) -> NDArray[np.bool_]:
    valid = np.ones(truth.shape, bool) if mask is None else np.asarray(mask, bool)
    if not guess.shape == truth.shape == valid.shape or guess.ndim != 2:
        raise ValueError(f"arrays (sessions, positions) needed, got {guess.shape}, {truth.shape} and {valid.shape}")
    return valid


def _ratio(top: ArrayLike, bottom: ArrayLike) -> NDArray[np.float64]:
    over, under = np.asarray(top, np.float64), np.asarray(bottom, np.float64)
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)


def _mean(values: NDArray[np.float64]) -> float:
    valid = values[~np.isnan(values)]
    return float(valid.mean()) if valid.size else float("nan")
