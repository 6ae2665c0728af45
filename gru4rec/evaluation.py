"""Evaluation: the next item of every event ranked among all items of training, by GRU4Rec and by the baselines.

Nothing is sampled and no seen item is left out (Hidasi et al., arXiv 1511.06939, section 4). The states of the sessions
and the ranks are computed apart: a walk through the sessions side by side leaves the state after every event, then the
states are scored in blocks against the whole catalogue, in the order of the events. The number of sessions that are
walked through side by side therefore changes nothing in the ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import tensorflow as tf
from keras import ops
from numpy.typing import NDArray

from common.evaluation import Measured, Sample
from common.metrics import Ranking, recall_at, reciprocal_rank_at
from common.options import require
from common.session_baselines import BASELINES, Prefixes
from common.sessions import Sessions
from gru4rec.batches import session_parallel
from gru4rec.model import Core, Networks

Ties = Literal["expected", "standard", "conservative", "median"]
CUTOFFS = (1, 5, 10, 20)
BLOCK = 256
"""Sessions that are recommended for at a time."""
STEPS = 64
"""Steps of the walk in one call of the compiled function."""
SLAB = 2**17
"""Events whose states are held at a time."""
SCORES = 2**25
"""Scores that are held at a time (128 MiB)."""
TILE = 511 * 64
"""Most items counted in one number, see :func:`_count`: fewer than 2**15."""


@dataclass(frozen=True, eq=False)
class NextItemRanks:
    """Where the next item stood among all items, for every event that has a next one, in the order of the sessions."""

    session: NDArray[np.int64]
    """(n,) number of the session."""
    greater: NDArray[np.int64]
    """(n,) items with a higher score than the next item."""
    equal: NDArray[np.int64]
    """(n,) items with the same score, the next item included."""
    items: int
    """Items ranked."""

    def __len__(self) -> int:
        return len(self.session)

    def ranking(self, ties: Ties = "expected") -> Ranking:
        """The ranking, each event a user of its own; see :meth:`common.metrics.ranking.Ranking.with_ties`."""
        count = len(self)
        every = Ranking(
            users=count,
            user=np.arange(count),
            above=self.greater.astype(np.float64),
            tied=self.equal.astype(np.float64),
            gain=np.ones(count),
            candidates=np.full(count, self.items),
        )
        return every.with_ties(ties)

    def measured(self, cutoffs: Sequence[int] = CUTOFFS, ties: Ties = "expected") -> Measured:
        """``recall@K`` and ``mrr@K`` of the events; with ``_session`` the sessions' own means.

        With ``expected`` ties also ``mrr@K_seed``, see :func:`seed_reciprocal_rank`.
        """
        ranking = self.ranking(ties)
        events: dict[str, NDArray[np.float64]] = {}
        for k in cutoffs:
            events[f"recall@{k}"] = recall_at(ranking, k, per_user=True)
            events[f"mrr@{k}"] = reciprocal_rank_at(ranking, k, per_user=True)
        sessions = {f"{name}_session": self._by_session(value) for name, value in events.items()}
        if ties == "expected":
            events |= {f"mrr@{k}_seed": seed_reciprocal_rank(self.greater, self.equal, k) for k in cutoffs}
        return Measured([Sample(events, "sessions", self.session), Sample(sessions, "sessions")])

    def figures(self, cutoffs: Sequence[int] = CUTOFFS, ties: Ties = "expected") -> dict[str, float]:
        """The means of :meth:`measured`; NaN if there is no event."""
        return self.measured(cutoffs, ties).figures

    def _by_session(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(sessions with an event,) the mean of each."""
        events = np.bincount(self.session)
        total = np.bincount(self.session, values)
        return total[events > 0] / events[events > 0]


def seed_reciprocal_rank(greater: NDArray[Any], equal: NDArray[Any], k: int) -> NDArray[np.float64]:
    """The "MRR@K" of the Spotify project (yoavnavon/GRU4REC-spotify), upside down: a legacy figure to compare with.

    Its top K stand in ascending order of score and are counted from the front: rank 1 is worth 1 / K, rank K worth 1.
    Ties are taken in expectation over their orders.
    """
    worth = np.append(0.0, np.cumsum(1.0 / np.arange(k, 0, -1)))  # worth[r]: ranks 1..r together
    return (worth[np.minimum(greater + equal, k)] - worth[np.minimum(greater, k)]) / equal


class Evaluator:
    """Ranks the next items of sessions by a model; compiled once for all calls.

    Args:
        model: the model; each call uses the weights it has then.
        batch_size: sessions walked through side by side: of no effect on the results.
        jit: whether XLA compiles the functions.
    """

    def __init__(self, model: Networks, batch_size: int = 512, jit: bool = True) -> None:
        architecture = model.architecture
        self.model, self.batch_size = model, batch_size
        self.rows, self.tiles, self.width = _blocks(architecture.num_items)
        self._core = core = Core(architecture, "float64")

        @tf.function(jit_compile=jit)
        def walk(source: Any, hidden: Any, items: Any, carry: Any) -> Any:
            """States after each of the steps (STEPS, B, H), and those of all layers after the last one."""
            states = tf.TensorArray(tf.float32, STEPS, element_shape=hidden[-1].shape)
            for t in tf.range(STEPS):
                goes_on = tf.cast(carry[t] >= 0, tf.float64)[:, None]
                hidden = [tf.gather(h, tf.maximum(carry[t], 0)) * goes_on for h in hidden]
                hidden = core(tf.cast(tf.gather(source, items[t]), tf.float64), hidden)
                states = states.write(t, tf.cast(hidden[-1], tf.float32))
            return states.stack(), hidden

        @tf.function(jit_compile=jit)
        def count(products: Any, by: Any, targets: Any) -> Any:
            return _count(products + by, targets, self.tiles)

        @tf.function  # XLA's own product is slower on a CPU
        def rank(states: Any, targets: Any, wy: Any, by: Any) -> Any:
            return count(tf.matmul(states, wy), by, targets)

        self._walk, self._rank = walk, rank

    def __call__(self, sessions: Sessions) -> NextItemRanks:
        """Rank the next item after every event of ``sessions`` but the last one of each.

        The state begins at zero with each session. Items that the model does not know must have been dropped before.

        Raises:
            UserError: the scores are not finite: training has diverged.
        """
        items = self.model.architecture.num_items
        table = self._table()
        counts = [np.zeros((2, 0), np.int64)]
        for slab in _slabs(sessions):
            states = self.states(slab)
            predicted = np.delete(np.arange(len(slab.items)), slab.offsets[1:] - 1)
            counts.append(self._ranks(states[predicted], slab.items[predicted + 1], table))
        greater, equal = np.concatenate(counts, axis=1)
        finite = bool(((equal >= 1) & (greater + equal <= items)).all())
        require(finite, "the model's scores are not finite: training has diverged; lower --learning-rate")
        lengths = np.diff(sessions.offsets) - 1
        return NextItemRanks(np.repeat(np.arange(len(lengths)), lengths), greater, equal, items)

    def states(self, sessions: Sessions) -> NDArray[np.float32]:
        """(events, H) state of the last layer after every event, but 0 after the last event of each session.

        It is carried on in float64: so it does not depend on how many sessions are multiplied at once.
        """
        model, architecture = self.model, self.model.architecture
        steps = session_parallel(sessions, self.batch_size)
        for name, variable in self._core.named.items():
            variable.assign(ops.cast(model.core.named[name], "float64"))
        source = tf.convert_to_tensor(model.source.value)
        hidden = [tf.zeros((self.batch_size, units), tf.float64) for units in architecture.layers]
        found = np.zeros((len(sessions.items), architecture.layers[-1]), np.float32)
        for start in range(0, len(steps), STEPS):
            stop = min(start + STEPS, len(steps))
            missing = ((0, start + STEPS - stop), (0, 0))
            events = np.pad(steps.events[start:stop], missing, constant_values=-1)
            carry = np.pad(steps.carry[start:stop], missing, constant_values=-1)
            there = events >= 0
            items = np.where(there, sessions.items[events], 0).astype(np.int32)
            after, hidden = self._walk(source, hidden, tf.constant(items), tf.constant(carry))
            found[events[there]] = after.numpy()[there]
        return found

    def _table(self) -> tuple[Any, Any]:
        """Output weights (H, tiles * width) and biases of all items, padded with items that score below every other."""
        wy, by = self.model.named["Wy"].value, self.model.named["By"].value
        missing = self.tiles * self.width - self.model.architecture.num_items
        return (
            tf.pad(tf.transpose(wy), [[0, 0], [0, missing]]),
            tf.pad(by[:, 0], [[0, missing]], constant_values=-np.inf),
        )

    def _ranks(self, states: np.ndarray, targets: np.ndarray, table: tuple[Any, Any]) -> NDArray[np.int64]:
        """(2, n): how many items score higher than the target, and how many the same."""
        counts = []
        for start in range(0, len(targets), self.rows):
            missing = max(start + self.rows - len(targets), 0)  # rows of a last block that is not full
            block = np.pad(states[start : start + self.rows], ((0, missing), (0, 0)))
            wanted = np.pad(targets[start : start + self.rows], (0, missing))
            counts.append(self._rank(tf.constant(block), tf.constant(wanted), *table))
        if not counts:
            return np.zeros((2, 0), np.int64)
        return np.concatenate([np.asarray(count) for count in counts], axis=1)[:, : len(targets)].astype(np.int64)


def evaluate(model: Networks, sessions: Sessions, batch_size: int = 512, jit: bool = True) -> NextItemRanks:
    """Rank the next items of ``sessions`` once; see :class:`Evaluator`, which is the one to keep between epochs."""
    return Evaluator(model, batch_size, jit)(sessions)


def _blocks(items: int) -> tuple[int, int, int]:
    """States scored at once, tiles that the items are counted in, and items in a tile."""
    tiles = -(-items // TILE)
    width = -(-items // (64 * tiles)) * 64
    fitting = SCORES // (tiles * width)
    return min(1024, max(16, 1 << (fitting.bit_length() - 1) if fitting else 16)), tiles, width


def _count(scores: Any, targets: Any, tiles: int) -> Any:
    """(2, B): in each row of ``scores`` (B, items), how many are above the target's and how many equal it.

    The target's score is one of those it is compared with, so it always equals itself. Both counts of a tile are summed
    as one number, which takes one pass over the scores instead of two.
    """
    own = tf.gather(scores, targets, batch_dims=1)[:, None, None]
    tiled = tf.reshape(scores, (scores.shape[0], tiles, -1))
    both = tf.reduce_sum(tf.where(tiled > own, 1, tf.where(tiled == own, 2**16, 0)), axis=2)
    return tf.stack([tf.reduce_sum(both % 2**16, axis=1), tf.reduce_sum(both // 2**16, axis=1)])


def _slabs(sessions: Sessions) -> Iterator[Sessions]:
    """Consecutive whole sessions, of up to ``SLAB`` events together."""
    first, offsets = 0, sessions.offsets
    while first < len(sessions):
        last = max(first + 1, int(np.searchsorted(offsets, offsets[first] + SLAB, side="right")) - 1)
        low, high = offsets[first], offsets[last]
        yield Sessions(sessions.items[low:high], offsets[first : last + 1] - low, sessions.starts[first:last])
        first = last


def next_scores(model: Networks, sessions: Sequence[Sequence[int]]) -> Iterator[NDArray[np.float32]]:
    """Scores of all items (items,) after each of the sessions, which are item numbers, none empty."""
    wy, by = (np.asarray(model.named[name], np.float64) for name in ("Wy", "By"))
    evaluator = Evaluator(model, min(BLOCK, len(sessions)), jit=False)
    for start in range(0, len(sessions), BLOCK):
        block = sessions[start : start + BLOCK]
        # The last event of a session has no state of its own there, so each gets one more event, of no meaning.
        offsets = np.concatenate([[0], np.cumsum([len(session) + 1 for session in block])])
        items = np.concatenate([[*session, 0] for session in block]).astype(np.int32)
        states = evaluator.states(Sessions(items, offsets, np.zeros(len(block))))
        # In float64, so that a score does not depend on how many sessions are multiplied at once.
        yield from (states[offsets[1:] - 2].astype(np.float64) @ wy.T + by[:, 0]).astype(np.float32)


def best_items(
    model: Networks, sessions: Sequence[Sequence[int]], k: int, exclude_seen: bool = False
) -> list[list[tuple[int, float]]]:
    """The best (item, score) of each session, best first, equal ones by item number.

    Raises:
        UserError: the scores are not finite.
    """
    found = []
    for session, scores in zip(sessions, next_scores(model, sessions), strict=True):
        require(bool(np.isfinite(scores).all()), "the model's scores are not finite: its training has diverged")
        if exclude_seen:
            scores[list(session)] = -np.inf
        order = np.argsort(-scores, kind="stable")[: min(k, int(np.isfinite(scores).sum()))]
        found.append([(int(item), float(scores[item])) for item in order])
    return found


def baseline_ranks(train: Sessions, test: Sessions, items: int) -> dict[str, NextItemRanks]:
    """Rank the next items of ``test`` by every session baseline, with the same rule for ties.

    Args:
        train: sessions to learn from.
        test: sessions to rank the next items of.
        items: how many items there are, in either of them.

    Returns:
        Name of the baseline -> its ranks: the events, and their order, are those of
        :class:`Evaluator`.
    """
    prefixes, targets = Prefixes.of(test)
    lengths = np.diff(test.offsets) - 1
    session = np.repeat(np.arange(len(lengths)), lengths)
    return {
        kind.name: NextItemRanks(session, *kind(train, items).ranks(prefixes, targets), items) for kind in BASELINES
    }
