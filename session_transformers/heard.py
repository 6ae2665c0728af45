"""Sessions that someone wants to go on with: from the command line, a text, or a log; as ids of a run's vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common import console
from common.console import counted
from common.options import require
from session_transformers.kinds import HALF, PAD
from session_transformers.sessions.halves import Halves, read_first_halves

SKIPPED = ":skipped"
"""Follows the id of a track that was skipped."""
EXPECTED = f"expected ids of tracks, a session per line, ID{SKIPPED} for a skipped one"


@dataclass(frozen=True, eq=False)
class Heard:
    """Sessions as far as they have been heard; each has at least one track."""

    names: list[str]
    """Where each comes from, or its id in the log."""
    halves: Halves
    """The tracks heard as first halves; as second ones what comes next where that is known, without skips."""


def from_texts(texts: Sequence[tuple[str, list[str]]], following: Sequence[str], track_ids: Sequence[str]) -> Heard:
    """The sessions of :func:`common.session_text.read_session_texts`; unknown tracks are named on stderr and left out.

    Args:
        texts: where each session comes from, and its words, the oldest first; of more than ten the last ten count.
        following: the tracks that come next, the same for all sessions; at most ten.
        track_ids: the vocabulary.

    Raises:
        UserError: a session, or ``following``, has unknown tracks only.
    """
    numbers = {name: token for token, name in enumerate(track_ids) if name}
    after = _known("--next", following, numbers)
    tracks, skips = np.full((len(texts), 2 * HALF), PAD, np.int32), np.zeros((len(texts), 2 * HALF), np.uint8)
    tracks[:, HALF : HALF + len(after)] = after
    for row, (where, words) in enumerate(texts):
        heard = [(word.removesuffix(SKIPPED), word.endswith(SKIPPED)) for word in words]
        known = _known(where, [name for name, _ in heard], numbers)
        if len(known) > HALF:
            console.notify(f"{where}: of its {len(known)} tracks the last {HALF} count")
        last = known[-HALF:]
        tracks[row, : len(last)] = last
        skips[row, : len(last)] = [skipped for name, skipped in heard if name in numbers][-HALF:]
    return Heard([where for where, _ in texts], Halves(tracks, skips))


def _known(where: str, ids: Sequence[str], numbers: dict[str, int]) -> list[int]:
    """The tokens of the known ones of ``ids``; the others are named."""
    unknown = [name for name in ids if name not in numbers]
    some = " ".join(map(console.short, unknown[:3])) + " ..." * (len(unknown) > 3)
    require(not unknown or len(unknown) < len(ids), f"{where}: none of its tracks was in the training data: {some}")
    for name in unknown:
        console.notify(f"{where}: track {console.short(name)} was not in the training data; it is left out")
    return [numbers[name] for name in ids if name in numbers]


def from_log(path: Path, track_ids: list[str], with_following: bool) -> Heard:
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
    return Heard([name for name, one in zip(read.session_ids, usable, strict=True) if one], halves)
