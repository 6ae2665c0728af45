"""Session-parallel mini-batches: each row of a batch walks through a session of its own.

Hidasi et al., arXiv 1511.06939, section 3.1.1. Row after row takes the next session, oldest first, as soon as its own
is finished; the hidden state of a row begins at zero with a session and is carried on until its end. Once the sessions
are used up, finished rows leave and the batch shrinks: nothing is thrown away. Sessions with a single event have
nothing to predict and are skipped.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.sessions import Sessions

Ints = NDArray[np.int32]


@dataclass(frozen=True)
class Steps:
    """A whole epoch, step by step; absent rows (the batch has shrunk) come last and hold -1.

    Attributes:
        events: (T, B) place of the input in ``Sessions.items``; the target is the event after it.
        carry: (T, B) row of the step before that holds the hidden state to go on with; -1 begins with zeros.
        live: (T,) rows that are there.
    """

    events: NDArray[np.int64]
    carry: Ints
    live: Ints

    def __len__(self) -> int:
        return len(self.live)


def session_parallel(sessions: Sessions, batch_size: int, least: int = 1) -> Steps:
    """The steps of an epoch over ``sessions`` (oldest first) with ``batch_size`` rows.

    Args:
        sessions: what to walk through.
        batch_size: rows of a batch; may exceed the number of sessions.
        least: the epoch ends when fewer rows than these are left: 2 where the other rows are all the negatives.
    """
    offsets = sessions.offsets
    lengths = np.diff(offsets) - 1
    # Every session begins in the row that is free first, of several the first one: a queue over (step, round, row).
    # Officially all free rows take a session before one that got a session of a single event takes another: a round.
    free = [(0, 0, row) for row in range(min(batch_size, len(lengths)))]
    begin, row_of = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int32)
    for number, length in enumerate(lengths.tolist()):
        step, turn, row = free[0]
        begin[number], row_of[number] = step, row
        heapq.heapreplace(free, (step + length, 0, row) if length > 0 else (step, turn + 1, row))
    order = np.flatnonzero(lengths > 0)
    begin, row_of, lengths = begin[order], row_of[order], lengths[order]
    total = int((begin + lengths).max(initial=0))
    events = np.full((total, batch_size), -1, np.int64)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    events[np.repeat(begin, lengths) + within, np.repeat(row_of, lengths)] = np.repeat(offsets[order], lengths) + within

    live = (events >= 0).sum(axis=1).astype(np.int32)
    carry = np.tile(np.arange(batch_size, dtype=np.int32), (total, 1))
    carry[begin, row_of] = -1
    shrunk = int(np.argmax(live < batch_size)) if (live < batch_size).any() else total
    if shrunk < total:  # the rows that are left move up, in their order, and take their states along
        tail = events[shrunk:]
        order_of = np.argsort(tail < 0, axis=1, kind="stable").astype(np.int32)
        place = np.argsort(order_of, axis=1, kind="stable").astype(np.int32)  # of each original row
        before = np.vstack([np.arange(batch_size, dtype=np.int32)[None], place[:-1]])
        moved = np.where(carry[shrunk:] < 0, -1, before)
        events[shrunk:] = np.take_along_axis(tail, order_of, axis=1)
        carry[shrunk:] = np.where(events[shrunk:] < 0, -1, np.take_along_axis(moved, order_of, axis=1))
    kept = int(np.sum(live >= least))  # live never grows
    return Steps(events[:kept], carry[:kept], live[:kept])
