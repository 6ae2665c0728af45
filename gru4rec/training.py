"""The training step of GRU4Rec: many steps in one call, touching only the rows of the catalogue that a step needs.

A step gathers the rows of its inputs, targets and negatives, computes loss and gradients on them in one compiled
function, adds up the gradients of an item that occurs several times, and updates those rows in place. So its cost
depends on the batch, not on the size of the catalogue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from common.dropout import drop
from common.negatives import NegativesOfEpoch
from common.optimizers import RowOptimizer
from common.sessions import Sessions
from gru4rec.batches import session_parallel
from gru4rec.model import GRU4Rec, advance

CHUNK = 128
"""Steps in one call of the compiled function."""


@dataclass(frozen=True)
class Chunk:
    """Arrays of up to ``CHUNK`` steps; rows are padded to the batch size with item 0 and live 0.

    Attributes:
        inputs, targets: (K, B) items.
        carry: (K, B) row of the step before that holds the hidden state, -1 for none.
        live: (K,) rows that are there.
        negatives: (K, n) items.
    """

    inputs: np.ndarray
    targets: np.ndarray
    carry: np.ndarray
    live: np.ndarray
    negatives: np.ndarray


def chunks(
    sessions: Sessions, batch_size: int, negatives: NegativesOfEpoch | np.ndarray, size: int = CHUNK
) -> Iterator[Chunk]:
    """The steps of an epoch in chunks; ``negatives`` may also be given, as (T, n)."""
    count = negatives.shape[1] if isinstance(negatives, np.ndarray) else negatives.count
    steps = session_parallel(sessions, batch_size, least=1 if count else 2)
    for start in range(0, len(steps), size):
        stop = min(start + size, len(steps))
        events = steps.events[start:stop]
        there = events >= 0
        drawn = negatives[start:stop] if isinstance(negatives, np.ndarray) else negatives.take(stop - start)
        inputs, targets = (
            np.where(there, sessions.items[np.where(there, events + shift, 0)], 0).astype(np.int32) for shift in (0, 1)
        )
        yield Chunk(inputs, targets, steps.carry[start:stop], steps.live[start:stop], drawn.astype(np.int32))


class SessionTrainer:
    """Trains a model epoch after epoch.

    Args:
        model: the model.
        optimizer: see :class:`common.optimizers.RowOptimizer`.
        loss: from :func:`gru4rec.losses.make_loss`.
        batch_size: rows of a batch.
        support: (items,) training events of each item.
        logq: strength of the correction for how often a column is drawn (cross-entropy only; 0 is none).
        alpha: exponent of the popularity that negatives are drawn by.
        dropout_input: share of the input embedding dropped.
        dropout_hidden: share of each layer's output dropped; the rest is what the layer carries on.
        seed: of dropout.
    """

    def __init__(
        self,
        model: GRU4Rec,
        optimizer: RowOptimizer,
        loss: Callable[[Any, Any], Any],
        batch_size: int,
        support: np.ndarray,
        logq: float = 0.0,
        alpha: float = 0.0,
        dropout_input: float = 0.0,
        dropout_hidden: float = 0.0,
        seed: int = 1,
        jit: bool = True,
    ) -> None:
        self.model, self.optimizer, self.batch_size, self.seed = model, optimizer, batch_size, seed
        architecture = model.architecture
        a_table = architecture.input_table
        dense = [name for name in model.named if name not in model.tables]
        rates = [dropout_input, *(dropout_hidden for _ in architecture.layers)]
        log_support = np.log(np.maximum(support, 1)).astype(np.float32)
        features = None if model.features is None else tf.constant(model.features)

        @tf.function(jit_compile=jit)
        def gradients(weights: Any, rows: Any, hidden: Any, live: Any, offset: Any, seeds: Any) -> Any:
            """Loss, gradients of the dense weights and of the gathered rows, and the new states."""
            keep = tf.cast(tf.range(batch_size) < live, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch((weights, rows))
                masks = [
                    _mask((batch_size, width), rate, seeds + tf.stack([number, 0]))
                    for number, (rate, width) in enumerate(
                        zip(rates, [rows["x"].shape[-1], *architecture.layers], strict=True)
                    )
                ]
                if architecture.inputs == "content-mlp":
                    masks[0] = _mask((batch_size, weights["D1"].shape[-1]), rates[0], seeds)
                after = advance(architecture, weights, rows["x"], hidden, masks)
                scores = ops.matmul(after[-1], ops.transpose(rows["Wy"])) + rows["By"][:, 0] - offset
                value = ops.sum(loss(scores, keep)) / batch_size
            d_dense, d_rows = tape.gradient(value, (weights, rows))
            return value, d_dense, d_rows, after

        def step(hidden: Any, inputs: Any, targets: Any, carry: Any, live: Any, negatives: Any, seeds: Any) -> Any:
            fresh = tf.cast(carry >= 0, tf.float32)[:, None]
            hidden = [tf.gather(h, tf.maximum(carry, 0)) * fresh for h in hidden]
            outputs = tf.concat([targets, negatives], 0)
            asked = outputs if a_table != "Wy" else tf.concat([outputs, inputs], 0)  # one gather for both uses of Wy
            wy = tf.gather(model.named["Wy"].value, asked)
            rows = {"Wy": wy[: outputs.shape[0]], "By": tf.gather(model.named["By"].value, outputs)}
            if a_table is None:
                rows["x"] = tf.gather(features, inputs)
            else:
                rows["x"] = wy[outputs.shape[0] :] if a_table == "Wy" else tf.gather(model.named[a_table].value, inputs)
            offset = tf.zeros(outputs.shape)
            if logq:
                of_items = tf.gather(log_support, outputs)
                drawn = tf.concat([tf.fill([batch_size], logq), tf.fill([negatives.shape[0]], logq * alpha)], 0)
                offset = of_items * tf.cast(drawn, tf.float32)
            weights = {name: model.named[name].value for name in dense}
            weights = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
            value, d_dense, d_rows, hidden = gradients(weights, rows, hidden, live, offset, seeds)
            # Rows of absent sessions have zero gradients, but must not count as touched: a momentum would move them.
            # So they pass for one more occurrence of the first row's item.
            counted = tf.range(batch_size) < live
            targets, inputs = (tf.where(counted, items, items[0]) for items in (targets, inputs))
            touched = tf.concat([targets, negatives, inputs] if a_table == "Wy" else [targets, negatives], 0)
            of_wy = tf.concat([d_rows["Wy"], d_rows["x"]], 0) if a_table == "Wy" else d_rows["Wy"]
            distinct, place = tf.unique(touched)
            optimizer.rows("Wy", distinct, _summed(of_wy, place, tf.size(distinct)))
            # Items are numbered as they come, so those that are scored are the first ones.
            place = place[: outputs.shape[0]]
            scored = tf.reduce_max(place) + 1
            optimizer.rows("By", distinct[:scored], _summed(d_rows["By"], place, scored))
            if a_table not in (None, "Wy"):
                distinct, place = tf.unique(inputs)
                optimizer.rows(a_table, distinct, _summed(d_rows["x"], place, tf.size(distinct)))
            for name in dense:
                optimizer.whole(name, d_dense[name])
            return value, hidden

        @tf.function(reduce_retracing=True)
        def run(hidden: Any, inputs: Any, targets: Any, carry: Any, live: Any, negatives: Any, seeds: Any) -> Any:
            losses = tf.TensorArray(tf.float32, tf.shape(live)[0])
            for t in tf.range(tf.shape(live)[0]):
                seed = seeds + tf.stack([0, t])
                value, hidden = step(hidden, inputs[t], targets[t], carry[t], live[t], negatives[t], seed)
                losses = losses.write(t, value)
            return losses.stack(), hidden

        self._run = run

    def epoch(self, chunks: Iterator[Chunk], epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Train on the steps of an epoch, the hidden states beginning at zero.

        Returns:
            Loss and number of live rows of every step, (T,) each.
        """
        hidden = self.model.start(self.batch_size)
        losses, live = [], []
        draw = np.random.default_rng((self.seed, epoch)).integers(0, 2**30)
        done = 0
        for chunk in chunks:
            seeds = tf.constant([draw, done], tf.int32)
            arrays = (chunk.inputs, chunk.targets, chunk.carry, chunk.live, chunk.negatives)
            values, hidden = self._run(hidden, *(tf.constant(array) for array in arrays), seeds)
            losses.append(values)
            live.append(chunk.live)
            done += len(chunk.live)
        self.hidden = hidden
        if not losses:
            return np.zeros(0), np.zeros(0, np.int32)
        return np.concatenate([np.asarray(value) for value in losses]).astype(np.float64), np.concatenate(live)


def _mask(shape: tuple[int, ...], rate: float, seeds: Any) -> Any:
    """Factors of inverted dropout: 0 with probability ``rate``, else 1 / (1 - rate)."""
    return drop(tf.ones(shape), rate, seeds) if rate else 1.0


def _summed(rows: Any, place: Any, count: Any) -> Any:
    """(count, ...): the sums of those of ``rows`` that have the same number in ``place``."""
    return tf.math.unsorted_segment_sum(rows, place, count)
