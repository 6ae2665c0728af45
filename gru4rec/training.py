"""Training step of GRU4Rec: many steps in one call, touching only the rows of the catalogue that a step needs.

A step gathers the rows of its inputs, targets and negatives, computes loss and gradients on them, adds up the gradients
of an item that occurs several times, and updates those rows in place. So its cost depends on the batch, not on the size
of the catalogue. The loop over the steps is compiled as a whole: to call a compiled function and other operations for
each step would take nearly as long again as the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from common.dropout import drop
from common.negatives import NegativesOfEpoch
from common.optimizers import RowOptimizer
from common.replicas import flat, summed
from common.sessions import Sessions
from gru4rec.batches import session_parallel
from gru4rec.model import Networks, score

CHUNK = 128
"""Steps in one call of the compiled function."""


@dataclass(frozen=True)
class Chunk:
    """Arrays of ``CHUNK`` steps; rows that are not there hold the items of row 0, steps that are not there 0.

    Attributes:
        steps: steps that are there.
        inputs, targets: (K, B) items.
        carry: (K, B) row of the step before that holds the hidden state, -1 for none.
        live: (K,) rows that are there.
        negatives: (K, n) items.
        again: (K, D) places in (targets, negatives, inputs) of items that stood there before, padded with 0.
        first: (K, D) the first places of those items.
    """

    steps: int
    inputs: np.ndarray
    targets: np.ndarray
    carry: np.ndarray
    live: np.ndarray
    negatives: np.ndarray
    again: np.ndarray
    first: np.ndarray


def chunks(
    sessions: Sessions, batch_size: int, negatives: NegativesOfEpoch | np.ndarray, size: int = CHUNK
) -> Iterator[Chunk]:
    """The steps of an epoch in chunks; ``negatives`` may also be given, as (T, n)."""
    count = negatives.shape[1] if isinstance(negatives, np.ndarray) else negatives.count
    steps = session_parallel(sessions, batch_size, least=1 if count else 2)
    last = np.zeros(int(sessions.items.max(initial=0)) + 1, np.int32)
    width = 0
    for start in range(0, len(steps), size):
        stop = min(start + size, len(steps))
        events = steps.events[start:stop]
        events = np.where(events >= 0, events, events[:, :1])
        drawn = negatives[start:stop] if isinstance(negatives, np.ndarray) else negatives.take(stop - start)
        drawn = np.sort(drawn, axis=1)  # their order says nothing; so rows of the tables are read from front to back
        inputs, targets = (sessions.items[events + shift] for shift in (0, 1))
        last = np.resize(last, max(len(last), int(drawn.max(initial=0)) + 1))
        again, first = _repeats(np.concatenate([targets, drawn, inputs], 1), last, width)
        width = again.shape[1]
        arrays = (inputs, targets, steps.carry[start:stop], steps.live[start:stop], drawn, again, first)
        missing = size - (stop - start)  # every chunk has one shape, so that one compiled program runs them all
        yield Chunk(stop - start, *(np.pad(a.astype(np.int32), [(0, missing), (0, 0)][: a.ndim]) for a in arrays))


def _repeats(items: np.ndarray, last: np.ndarray, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in each row of ``items`` (K, N) of items that stood there before, and their first places.

    Args:
        items: see above.
        last: (items,) workspace.
        least: columns of the result at least; more in powers of two, so that few different shapes occur.
    """
    backwards = np.arange(items.shape[1])[::-1]
    found = []
    for row in items:
        last[row[::-1]] = backwards  # of several values for a place NumPy keeps the last one
        first = last[row]
        again = np.flatnonzero(first < np.arange(len(row)))
        found.append((again, first[again]))
    most = max(len(again) for again, _ in found)
    padded = np.zeros((2, len(items), max(least, 16, 1 << (most - 1).bit_length())), np.int32)
    for place, pair in enumerate(found):
        padded[:, place, : len(pair[0])] = pair
    return padded[0], padded[1]


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
        jit: compile the loop over the steps with XLA; of several replicas, what each computes in a step.
        strategy: of ``tf.distribute``: shares the rows of a batch out between its replicas
            (:func:`shared_out`); the model and the optimizer are made outside its scope.
    """

    def __init__(
        self,
        model: Networks,
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
        strategy: Any = None,
    ) -> None:
        self.model, self.optimizer, self.batch_size, self.seed = model, optimizer, batch_size, seed
        architecture = model.architecture
        a_table = architecture.input_table
        core, dense = model.core, list(model.core.named)
        rates = [dropout_input, *(dropout_hidden for _ in architecture.layers)]
        log_support = tf.constant(np.log(np.maximum(support, 1)), tf.float32)

        def gradients(
            weights: Any,
            rows: Any,
            hidden: Any,
            keep: Any,
            offset: Any,
            seeds: Any,
            scale: Any,
            own: Any = lambda rows: rows,
        ) -> Any:
            """Loss, gradients of the dense weights and of the gathered rows, times ``scale``, and the new states."""
            with tf.GradientTape() as tape:
                tape.watch((weights, rows))
                masks = [
                    _mask((batch_size, width), rate, seeds + tf.stack([number, 0]), own)
                    for number, (rate, width) in enumerate(
                        zip(rates, [rows["x"].shape[-1], *architecture.layers], strict=True)
                    )
                ]
                if architecture.inputs == "content-mlp":
                    masks[0] = _mask((batch_size, weights["D1"].shape[-1]), rates[0], seeds, own)
                with keras.StatelessScope([(core.named[name], weight) for name, weight in weights.items()]):
                    after = core(rows["x"], hidden, masks)
                rest = [(0, rows["Wy"].shape[0] - offset.shape[0]), (0, 0)]
                scores = score(after[-1], rows["Wy"], tf.pad(rows["By"] - offset[:, None], rest))
                value = ops.sum(loss(scores, keep)) / batch_size
                scaled = value * scale
            d_dense, d_rows = tape.gradient(scaled, (weights, rows))
            return value, d_dense, d_rows, [tf.cast(h, tf.float32) for h in after]

        alone = strategy is None or strategy.num_replicas_in_sync == 1
        of_batch = gradients if alone else shared_out(gradients, batch_size, strategy, jit)

        def step(hidden: Any, seeds: Any, arrays: Any) -> Any:
            inputs, targets, carry, live, negatives, again, first = arrays
            fresh = tf.cast(carry >= 0, tf.float32)[:, None]
            hidden = [tf.gather(h, tf.maximum(carry, 0)) * fresh for h in hidden]
            outputs = tf.concat([targets, negatives], 0)
            keep = tf.concat([tf.cast(tf.range(batch_size) < live, tf.float32), tf.ones(negatives.shape)], 0)
            touched = outputs
            if a_table == "Wy":
                # Rows of the inputs are columns as well, which do not count: so all rows of a step are one array.
                touched, keep = tf.concat([outputs, inputs], 0), tf.concat([keep, tf.zeros(inputs.shape)], 0)
            rows = {"Wy": tf.gather(model.named["Wy"].value, touched)}
            rows["By"] = tf.gather(model.named["By"].value, outputs)
            rows["x"] = tf.gather(model.source.value, inputs)
            offset = tf.zeros(outputs.shape)
            if logq:
                of_items = tf.gather(log_support, outputs)
                drawn = tf.concat([tf.fill([batch_size], logq), tf.fill([negatives.shape[0]], logq * alpha)], 0)
                offset = of_items * tf.cast(drawn, tf.float32)
            weights = {name: model.named[name].value for name in dense}
            weights = {name: tf.convert_to_tensor(value) for name, value in weights.items()}
            factor = tf.convert_to_tensor(optimizer.scale.factor) if optimizer.scale else 1.0
            value, d_dense, d_rows, hidden = of_batch(weights, rows, hidden, keep, offset, seeds, factor)

            def update(gradients: Any) -> None:
                d_dense, d_rows = gradients
                if a_table == "Wy":
                    places = tf.range(outputs.shape[0], touched.shape[0])[:, None]
                    added = tf.tensor_scatter_nd_add(d_rows["Wy"], places, d_rows["x"])
                    optimizer.repeated_rows("Wy", touched, added, again, first, jit and alone)
                # Of the pairs those that end among the outputs; the others become (0, 0), which is padding.
                inside = tf.cast(again < outputs.shape[0], tf.int32)
                pairs = again * inside, first * inside
                if a_table != "Wy":
                    optimizer.repeated_rows("Wy", outputs, d_rows["Wy"], *pairs, jit and alone)
                optimizer.repeated_rows("By", outputs, d_rows["By"], *pairs)
                if a_table not in (None, "Wy"):
                    same = tf.cast(inputs[:, None] == inputs[None, :], tf.float32)
                    optimizer.rows(a_table, inputs, tf.matmul(same, d_rows["x"]))
                for name in dense:
                    optimizer.whole(name, d_dense[name])

            d_rows = d_rows if a_table else {name: d_rows[name] for name in ("Wy", "By")}  # features are not trained
            if optimizer.scale:
                optimizer.scale.apply((d_dense, d_rows), update)
            else:
                update((d_dense, d_rows))
            return value, hidden

        @tf.function(jit_compile=jit and alone, autograph=False)
        def run(hidden: Any, arrays: Any, steps: Any, seeds: Any) -> Any:
            def one(t: Any, hidden: Any, losses: Any) -> Any:
                value, hidden = step(hidden, seeds + tf.stack([0, t]), [array[t] for array in arrays])
                return t + 1, hidden, losses.write(t, value)

            # The number of steps is a tensor: by a number XLA would compile anew for each.
            state = tf.constant(0), hidden, tf.TensorArray(tf.float32, arrays[0].shape[0])
            _, hidden, losses = tf.while_loop(lambda t, *_: t < steps, one, state, parallel_iterations=1)
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
            # Not through tf.data, which takes more processor time than it saves: a chunk is small beside its steps.
            arrays = [tf.constant(array) for array in _arrays(chunk)]
            values, hidden = self._run(
                hidden, arrays, tf.constant(chunk.steps, tf.int32), tf.constant([draw, done], tf.int32)
            )
            losses.append(values[: chunk.steps])
            live.append(chunk.live[: chunk.steps])
            done += chunk.steps
        self.hidden = hidden
        if not losses:
            return np.zeros(0), np.zeros(0, np.int32)
        return np.concatenate([np.asarray(value) for value in losses]).astype(np.float64), np.concatenate(live)


def _arrays(chunk: Chunk) -> list[np.ndarray]:
    """The arrays of a chunk, in order."""
    return [getattr(chunk, field.name) for field in fields(chunk) if field.name != "steps"]


def _mask(shape: tuple[int, ...], rate: float, seeds: Any, own: Any) -> Any:
    """Factors of inverted dropout: 0 with probability ``rate``, else 1 / (1 - rate); ``own`` of those of all rows."""
    return own(drop(tf.ones(shape), rate, seeds)) if rate else 1.0


def shared_out(gradients: Callable[..., Any], batch_size: int, strategy: Any, jit: bool) -> Callable[..., Any]:
    """``gradients`` of a step (see :class:`SessionTrainer`), computed by all replicas together.

    The batch is that of a single process: the same sessions in the same rows at the same step. Of its B rows replica r
    of R computes rows r B / R up to (r + 1) B / R, against the columns of all rows, and places their states and
    gradients among zeros. One sum over the replicas then makes them those of the whole batch, so that any number of
    replicas gives the weights of one; the states come along because rows change places, and so replicas, while the
    batch shrinks at the end of an epoch.

    Args:
        gradients: (weights, rows, hidden, keep, offset, seeds, scale, own) -> (loss, gradients of weights and of rows,
            states). It is given the inputs and states of one replica's rows, but the columns of all rows, those of
            its own first; ``own`` picks its rows from an array of all.
        batch_size: rows of a batch, a multiple of the replicas.
        strategy: a ``tf.distribute`` strategy. Only its sum is used: the weights are plain variables of each process.
        jit: compile what a replica computes with XLA.

    Returns:
        The function of (weights, rows, hidden, keep, offset, seeds, scale) with the results of the whole batch.
    """
    count = batch_size // strategy.num_replicas_in_sync

    @tf.function(jit_compile=jit)
    def share(start: Any, weights: Any, rows: Any, hidden: Any, keep: Any, offset: Any, seeds: Any, scale: Any) -> Any:
        def turned(values: Any, by: Any = -start) -> Any:
            """The first ``batch_size`` of ``values`` turned round, so that this replica's come first."""
            return tf.concat([tf.roll(values[:batch_size], by, 0), values[batch_size:]], 0)

        def own(values: Any) -> Any:
            return turned(values)[:count]

        def placed(values: Any) -> Any:
            """``values`` of this replica's rows, or of all columns, where they stand in the whole batch."""
            missing = batch_size - count if values.shape[0] == count else 0
            return turned(tf.pad(values, [(0, missing), (0, 0)]), start)

        here = {"Wy": turned(rows["Wy"]), "By": turned(rows["By"]), "x": own(rows["x"])}
        states = [own(h) for h in hidden]
        of_columns = turned(keep), turned(offset)
        value, d_dense, d_rows, after = gradients(weights, here, states, *of_columns, seeds, scale, own)
        d_rows = {name: placed(found) for name, found in d_rows.items()}
        return flat((value, d_dense, d_rows, [placed(h) for h in after]))

    def together(*arguments: Any) -> Any:
        weights, rows, hidden = arguments[:3]
        like = (tf.zeros(()), weights, rows, hidden)
        return summed(lambda replica: share(replica * count, *arguments), like, strategy)

    return together
