"""Open sessions: what was listened to so far, from Python, the command line, a text or a log, by ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import console
from common.console import counted
from common.options import require
from session_transformers.kinds import HALF, PAD
from session_transformers.sessions.halves import Halves, read_first_halves

SKIPPED = ":skipped"
"""Follows the id of a track that was skipped."""
EXPECTED = f"expected ids of tracks, a session per line, ID{SKIPPED} for a skipped one"


Play = tuple[str, bool]
"""Id of a track, and whether it was skipped."""


@dataclass(frozen=True, eq=False)
class OpenSessions:
    """Sessions as far as they have come; each has at least one track."""

    names: list[str]
    """Where each comes from, or its id in the log."""
    halves: Halves
    """The tracks so far as first halves; as second ones what comes next where that is known, without skips."""


def plays_of(words: Sequence[str]) -> list[Play]:
    """Words of the command line, such as ``t1:skipped``."""
    return [(word.removesuffix(SKIPPED), word.endswith(SKIPPED)) for word in words]


def from_plays(
    sessions: Sequence[tuple[str, Sequence[Play]]],
    following: Sequence[Sequence[str]],
    track_ids: Sequence[str],
    called: str = "--next",
) -> OpenSessions:
    """Sessions of known tracks; unknown ones are named on stderr and left out.

    Args:
        sessions: where each comes from, and what was played, the oldest first; of more than ten the last ten count.
        following: the tracks that come next in each session, or in all of them if there is one entry; at most ten.
        track_ids: the vocabulary.
        called: what to call ``following`` in messages.

    Raises:
        UserError: a session, or ``following``, has unknown tracks only.
    """
    numbers = {name: token for token, name in enumerate(track_ids) if name}
    after = [_known(called, ids, numbers) for ids in following]
    shape = (len(sessions), 2 * HALF)
    tracks, skips = np.full(shape, PAD, np.int32), np.zeros(shape, np.uint8)
    for row, (where, plays) in enumerate(sessions):
        known = _known(where, [name for name, _ in plays], numbers)
        if len(known) > HALF:
            console.notify(f"{where}: of its {len(known)} tracks the last {HALF} count")
        last = known[-HALF:]
        tracks[row, : len(last)] = last
        skips[row, : len(last)] = [skipped for name, skipped in plays if name in numbers][-HALF:]
        if after:
            behind = after[row if len(after) > 1 else 0]
            tracks[row, HALF : HALF + len(behind)] = behind
    return OpenSessions([where for where, _ in sessions], Halves(tracks, skips))


def asked(sessions: Any) -> tuple[list[Any] | None, list[list[Play]]]:
    """Keys and plays of the sessions that someone hands over in Python; no keys for a single session.

    Args:
        sessions: one session: a list of ids, or of pairs (id, skipped); or several: a list of such lists, a mapping key
            -> session, or a table, see :func:`session_transformers.tables.read_plays`.

    Raises:
        UserError: there is no session, or one is empty.
    """
    if isinstance(sessions, pd.DataFrame) or hasattr(sessions, "get_column") or hasattr(sessions, "column_names"):
        from session_transformers.tables import read_plays  # which needs what prepares data

        read = read_plays(sessions, {})
        names = [read.item_ids[item] for item in read.events.items]
        plays = list(zip(names, read.skips.tolist(), strict=True))
        return list(read.session_ids), [plays[low:high] for low, high in itertools.pairwise(read.events.offsets)]
    wanted = "it must be a list of ids of tracks, or several such lists"
    if isinstance(sessions, Mapping):
        keys, found = list(sessions), [_plays(one) for one in sessions.values()]
        require(bool(found) and all(found), f"sessions: one has no track; {wanted}")
        return keys, found
    is_list = isinstance(sessions, Iterable) and not isinstance(sessions, str | bytes)
    require(is_list, f"sessions is {sessions!r:.60}; {wanted}")
    members = list(sessions)
    several = bool(members) and all(map(_is_session, members))
    found = [_plays(one) for one in members] if several else [_plays(members)]
    require(bool(found) and all(found), f"sessions: one has no track; {wanted}")
    return (list(range(len(found))) if several else None), found


def upcoming_of(upcoming: Any, keys: Sequence[Any] | None) -> list[list[str]]:
    """The tracks that come next, for each of the sessions of :func:`asked`.

    Raises:
        UserError: they are not as many as the sessions, or not one to ten.
    """
    if keys is None:
        found = [upcoming]
    elif isinstance(upcoming, Mapping):
        missing = [key for key in keys if key not in upcoming]
        require(not missing, f"upcoming: there is nothing for session {missing[0] if missing else ''}")
        found = [upcoming[key] for key in keys]
    else:
        found = list(upcoming)
        require(len(found) == len(keys), f"upcoming is for {len(found)} sessions, and there are {len(keys)}")
    for one in found:
        good = isinstance(one, Iterable) and not isinstance(one, str | bytes) and 1 <= len(list(one)) <= HALF
        require(good, f"upcoming has {one!r:.60}; it must be a list of 1 to {HALF} ids of tracks for each session")
    return [[name for name, _ in _plays(one)] for one in found]


def _is_session(one: Any) -> bool:
    return isinstance(one, Iterable) and not isinstance(one, str | bytes) and not _is_pair(one)


def _is_pair(one: Any) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and isinstance(one[1], bool | np.bool_)


def _plays(session: Iterable[Any]) -> list[Play]:
    pairs = [one if _is_pair(one) else (one, False) for one in session]
    return [(name.decode() if isinstance(name, bytes) else str(name), bool(skipped)) for name, skipped in pairs]


def _known(where: str, ids: Sequence[str], numbers: dict[str, int]) -> list[int]:
    """The tokens of the known ones of ``ids``; the others are named."""
    unknown = [name for name in ids if name not in numbers]
    some = " ".join(map(console.short, unknown[:3])) + " ..." * (len(unknown) > 3)
    require(not unknown or len(unknown) < len(ids), f"{where}: none of its tracks was in the training data: {some}")
    for name in unknown:
        console.notify(f"{where}: track {console.short(name)} was not in the training data; it is left out")
    return [numbers[name] for name in ids if name in numbers]


def from_log(path: Path, track_ids: list[str], with_following: bool) -> OpenSessions:
    """The sessions of a log in the format of MSSD, whole or cut after their first halves.

    Sessions of which no track is known are left out, which is said on stderr.

    Args:
        path: the log.
        track_ids: the vocabulary.
        with_following: whether the tracks of the second halves are needed: sessions without are left out too.

    Raises:
        UserError: the log is wrong, or no session of it can be used.
    """
    read = read_first_halves(path, track_ids)
    usable = read.known > 0
    if with_following:
        usable &= (read.following != PAD).any(axis=1)
    require(
        bool(usable.any()),
        f"{path}: no session has a known track in its second half, whose skips could be foretold; name tracks with "
        "--next instead, beside the session",
    )
    unknown = int(read.unknown[usable].sum() + (read.following_unknown[usable].sum() if with_following else 0))
    if unknown:
        console.notify(f"{path}: {counted(unknown, 'play')} of tracks that were not in the training data are left out")
    if not usable.all():
        none = "without a known track" + (" in one of their halves" if with_following else "")
        console.notify(f"{path}: {counted(int((~usable).sum()), 'session')} {none} left out")
    following = read.following if with_following else np.full_like(read.following, PAD)
    halves = Halves(
        np.concatenate([read.tracks, following], axis=1)[usable],
        np.concatenate([read.skips, np.zeros_like(read.skips)], axis=1)[usable],
    )
    return OpenSessions([name for name, one in zip(read.session_ids, usable, strict=True) if one], halves)
