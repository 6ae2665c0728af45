"""Sessions in two halves: what has been heard and skipped, and what is to be foretold.

A session of n tracks has floor(n / 2) of them in its first half and the others in its second one, as in the skip
challenge (its 169 published half sessions of 10 to 19 tracks end there). Each half is padded at its end.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd.conversion import read_logs
from common.mssd.logs import MAX_POSITION, Log
from common.options import require
from session_transformers.kinds import HALF, PAD

MIN_LENGTH = 10
"""Fewest tracks of a session in the released logs."""
Tokens = NDArray[np.int32]
Skips = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Halves:
    """Sessions as the models take them."""

    tracks: Tokens
    """(sessions, 20) ids: columns 0..9 are the first half, 10..19 the second; PAD where a half is shorter."""
    skips: Skips
    """(sessions, 20) ``skip_2``: 1 where the track was only played briefly; 0 where there is none."""

    def __len__(self) -> int:
        return len(self.tracks)

    @property
    def source(self) -> Tokens:
        """(sessions, 10) the first half's tracks."""
        return self.tracks[:, :HALF]

    @property
    def target(self) -> Tokens:
        """(sessions, 10) the second half's tracks."""
        return self.tracks[:, HALF:]

    @property
    def source_skips(self) -> Skips:
        """(sessions, 10) the first half's skips."""
        return self.skips[:, :HALF]

    @property
    def target_skips(self) -> Skips:
        """(sessions, 10) the second half's skips."""
        return self.skips[:, HALF:]

    @property
    def source_mask(self) -> NDArray[np.bool_]:
        """(sessions, 10) True where the first half has a track."""
        return self.source != PAD

    @property
    def target_mask(self) -> NDArray[np.bool_]:
        """(sessions, 10) True where the second half has a track."""
        return self.target != PAD


@dataclass(frozen=True, eq=False)
class FirstHalves:
    """Halves of sessions to go on from; every session of the log is there, in the order of the log."""

    session_ids: list[str]
    tracks: Tokens
    """(sessions, 10) ids; tracks that the vocabulary lacks are left out, the others close up."""
    skips: Skips
    """(sessions, 10)"""
    known: NDArray[np.int64]
    """(sessions,) tracks in ``tracks``; may be 0."""
    unknown: NDArray[np.int64]
    """(sessions,) tracks left out."""
    missing: NDArray[np.int64]
    """(sessions,) tracks of the second half: what is to be foretold."""
    following: Tokens
    """(sessions, 10) ids of those tracks of the second half that the log tells, unknown ones left out as above."""
    following_unknown: NDArray[np.int64]
    """(sessions,) of those the tracks left out."""


def choose_sessions(log: Log, any_length: bool) -> NDArray[np.bool_]:
    """(sessions,) the complete ones of 20 tracks, or of 10 or more."""
    counts = np.diff(log.offsets)
    complete = (counts == log.session_lengths) & (log.positions[log.offsets[1:] - 1] == counts)
    return complete & (counts >= (MIN_LENGTH if any_length else MAX_POSITION))


def to_halves(log: Log, tokens: Tokens, chosen: NDArray[np.bool_]) -> Halves:
    """Lay out sessions.

    Args:
        log: the log.
        tokens: (events,) the id of each event's track.
        chosen: (sessions,) sessions wanted; they must be complete.
    """
    counts = np.diff(log.offsets)
    events = np.repeat(chosen, counts)
    place = log.positions[events].astype(np.int64) - 1
    first = np.repeat(counts[chosen] // 2, counts[chosen])
    row = np.repeat(np.arange(chosen.sum()), counts[chosen])
    column = np.where(place < first, place, HALF + place - first)
    halves = Halves(*_empty(int(chosen.sum()), 2 * HALF))
    halves.tracks[row, column] = tokens[events]
    halves.skips[row, column] = log.skipped[events]
    return halves


def read_first_halves(path: Path, track_ids: list[str]) -> FirstHalves:
    """Read the first halves of the sessions in a log, and the tracks of the second ones where it goes on to them.

    Args:
        path: a log in the format of MSSD (``.csv``, ``.csv.gz`` or an archive of such).
        track_ids: the vocabulary: the track of each id, "" for the ids that are no tracks.

    Raises:
        UserError: the file is missing or wrong, or no track of it is in the vocabulary.
    """
    require(path.is_file(), f"{path}: no such file; expected a session log in the format of MSSD")
    with tempfile.TemporaryDirectory() as scratch:
        log = read_logs([path], Path(scratch))
    numbers = {name.encode(): token for token, name in enumerate(track_ids) if name}
    tokens = np.array([numbers.get(name, PAD) for name in log.track_ids.tolist()], np.int32)[log.tracks]
    session = np.repeat(np.arange(len(log)), np.diff(log.offsets))
    heard = log.positions <= (log.session_lengths // 2)[session]
    require(
        bool((tokens[heard] != PAD).any()),
        f"{path}: no track of its first halves is among the {len(numbers):,} tracks that the model knows; is the model "
        "one of other data?",
    )
    tracks, skips, count, left_out = _closed_up(log, tokens, session, heard)
    following, _, _, following_unknown = _closed_up(log, tokens, session, ~heard)
    missing = log.session_lengths.astype(np.int64) - log.session_lengths // 2
    names = [name.decode() for name in log.session_ids.tolist()]
    return FirstHalves(names, tracks, skips, count, left_out, missing, following, following_unknown)


def _closed_up(
    log: Log, tokens: Tokens, session: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> tuple[Tokens, Skips, NDArray[np.int64], NDArray[np.int64]]:
    """Tracks and skips (sessions, 10) of the chosen events whose tracks are known; how many are, how many are not."""
    known = chosen & (tokens != PAD)
    count, left_out = (np.bincount(session[which], minlength=len(log)) for which in (known, chosen & ~known))
    row = session[known]
    column = np.arange(len(row)) - (np.cumsum(count) - count)[row]
    tracks, skips = _empty(len(log), HALF)
    tracks[row, column] = tokens[known]
    skips[row, column] = log.skipped[known]
    return tracks, skips, count, left_out


def _empty(sessions: int, width: int) -> tuple[Tokens, Skips]:
    return np.full((sessions, width), PAD, np.int32), np.zeros((sessions, width), np.uint8)
