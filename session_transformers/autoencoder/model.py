"""The auto-encoder of sessions, and the rule for skips that its track vectors give.

Khan, Cui, Arora (2020): a session as the set of its tracks goes through a code of 32 numbers and back,

    code = relu(sum of the rows W[track] + b)            of the distinct tracks
    p(track in the session) = sigmoid(code . U[track] + c)          loss: binary cross-entropy over all tracks

and a row of W is a track's vector. The rule: a track of the second half that is similar to the last track of the first
half is skipped if that one was, any other is skipped if that one was not.

A session is a list of ids and never a vector of 104,000 bits. The tracks it does not hold are sampled, by plays, each
counting for as many as it stands for, so that the loss is right on average; or all count, some sessions at a time.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from common.negatives import Negatives
from common.optimizers import RowAdagrad
from common.options import require
from session_transformers.autoencoder.options import AutoEncoderOptions
from session_transformers.kinds import PAD
from session_transformers.streaming import BLOCK, session_batches

LOGITS = 2**24
"""Most logits at once where all tracks count (64 MB)."""


class AutoEncoder(keras.Model):
    """The weights; W and U have a row for each id.

    Args:
        vocabulary: V.
        code: numbers in a code.
        seed: of W, N(0, 0.01), and U, N(0, 1 / code). W starts small because training moves the sum of the rows that
            a session holds and leaves the differences they start with.
    """

    def __init__(self, vocabulary: int, code: int = 32, seed: int = 1) -> None:
        super().__init__(name="autoencoder")
        rng = np.random.default_rng(seed)
        self.named: dict[str, keras.Variable] = {}
        for name, shape, scale in (
            ("encoder", (vocabulary, code), 0.01),
            ("code_bias", (code,), 0.0),
            ("decoder", (vocabulary, code), code**-0.5),
            ("bias", (vocabulary,), 0.0),
        ):
            self.named[name] = self.add_weight(shape=shape, initializer="zeros", name=name)
            self.named[name].assign((scale * rng.standard_normal(shape)).astype(np.float32))
        self.built = True

    @property
    def vectors(self) -> np.ndarray:
        """(V, code) the tracks' vectors."""
        return np.asarray(self.named["encoder"])

    def call(self, tracks: Any) -> Any:
        """Codes (B, code) of sessions (B, T) of ids."""
        rows = ops.take(ops.convert_to_tensor(self.named["encoder"]), tracks, axis=0)
        return encode(rows, self.named["code_bias"], once(tracks))


def once(tracks: Any) -> Any:
    """(B, T) float32: 1 where an id that is no padding stands for the first time in its session."""
    same = ops.equal(tracks[:, :, None], tracks[:, None, :])
    earlier = np.tril(np.ones((tracks.shape[1],) * 2, bool), -1)
    again = ops.any(ops.logical_and(same, earlier), axis=-1)
    return ops.cast(ops.logical_and(ops.logical_not(again), tracks != PAD), "float32")


def encode(rows: Any, code_bias: Any, counts: Any) -> Any:
    """Codes (B, code) from rows of W (B, T, code) that count (B, T)."""
    return ops.relu(ops.sum(rows * counts[..., None], axis=1) + code_bias)


def held_logits(codes: Any, rows: Any, bias: Any) -> Any:
    """(B, T) of the tracks that the sessions hold, from rows of U (B, T, code) and c (B, T)."""
    return ops.sum(codes[:, None] * rows, axis=-1) + bias


def exact_loss(held: Any, counts: Any, logits: Any, possible: Any) -> Any:
    """Cross-entropy over all tracks, summed: sum_v log(1 + e^z_v) minus the z of the tracks held.

    Args:
        held: (B, T) z of the tracks held, which count (B, T).
        counts: see :func:`once`.
        logits: (B, V) z.
        possible: (V,) 1, or 0 for ids that are no tracks.
    """
    there = ops.max(counts, axis=1, keepdims=True)  # nothing is told of a session without tracks
    return ops.sum(there * possible * ops.softplus(logits)) - ops.sum(counts * held)


def sampled_loss(held: Any, counts: Any, logits: Any, drawn: Any, weights: Any, tokens: Any) -> Any:
    """An estimate of :func:`exact_loss` that is right on average.

    Args:
        held: (B, T) z of the tracks held, which count (B, T).
        counts: see :func:`once`.
        logits: (B, n) z of the tracks drawn.
        drawn: (n,) ids.
        weights: (n,) for how many tracks each stands: 1 / the expected number of its draws.
        tokens: (B, T) ids of the sessions: a track that a session holds is not absent from it.
    """
    present = ops.any(ops.equal(tokens[:, :, None], drawn), axis=1)
    absent = ops.cast(ops.logical_not(present), "float32") * ops.max(counts, axis=1, keepdims=True)
    return ops.sum(counts * ops.softplus(-held)) + ops.sum(absent * weights * ops.softplus(logits))


def fit_autoencoder(
    tracks: np.ndarray,
    vocabulary: int,
    first_track: int,
    options: AutoEncoderOptions | None = None,
    quiet: bool = False,
) -> AutoEncoder:
    """Train an auto-encoder.

    Args:
        tracks: (sessions, T) ids, PAD where there is none; may be memory-mapped: it is read block by block.
        vocabulary: V.
        first_track: the first id that is a track.
        options: see there.
        quiet: show no progress.

    Raises:
        UserError: there are no sessions.
    """
    options = options or AutoEncoderOptions()
    plays = np.zeros(vocabulary, np.int64)
    for start in range(0, len(tracks), BLOCK):
        block = np.asarray(tracks[start : start + BLOCK])
        plays += np.bincount(block[block != PAD], minlength=vocabulary)
    require(bool(plays.any()), "the auto-encoder needs sessions with tracks; there are none")
    model = AutoEncoder(vocabulary, options.code, options.seed)
    # What it would learn first anyway: how often each track is in a session at all.
    chance = (plays + 0.5) / (len(tracks) + 1.0)
    model.named["bias"].assign(-np.log(np.maximum(1 / chance - 1, 1e-2)).astype(np.float32))
    sampler = Negatives(plays[first_track:], options.alpha, options.negatives, options.seed)
    expected = np.diff(sampler.function, prepend=0.0) * max(options.negatives, 1)
    trainer = _Trainer(model, options, first_track, 1 / np.maximum(expected, 1e-12))
    blocks = options.epochs * -(-len(tracks) // BLOCK)
    with tqdm(total=blocks, desc="auto-encoder", unit=" block", disable=quiet or None, leave=False) as bar:
        for epoch in range(options.epochs):
            negatives = sampler.epoch(epoch)
            for (batches,) in session_batches((tracks,), options.batch_size, options.seed, epoch):
                trainer(batches.astype(np.int32), negatives.take(len(batches)))
                bar.update()
    return model


class _Trainer:
    """Steps over sampled tracks, touching only the rows of a batch; or over all tracks, part of a batch at a time."""

    def __init__(self, model: AutoEncoder, options: AutoEncoderOptions, first_track: int, weights: np.ndarray) -> None:
        named = model.named
        optimizer = RowAdagrad(named, options.learning_rate)
        standing_for = tf.constant(weights, tf.float32)
        vocabulary, code = named["encoder"].shape
        rows_at_once = max(1, min(options.batch_size, LOGITS // vocabulary))

        possible = tf.cast(tf.range(vocabulary) >= first_track, tf.float32)

        @tf.function(jit_compile=True)
        def sampled(tokens: Any, drawn: Any, rows: Any, code_bias: Any, weights: Any) -> Any:
            counts = once(tokens)
            with tf.GradientTape() as tape:
                tape.watch((rows, code_bias))
                codes = encode(rows["encoder"], code_bias, counts)
                held = held_logits(codes, rows["held"], rows["held_bias"])
                logits = ops.matmul(codes, ops.transpose(rows["drawn"])) + rows["drawn_bias"]
                value = sampled_loss(held, counts, logits, drawn, weights, tokens)
            return tape.gradient(value, (rows, code_bias))

        @tf.function(jit_compile=True)
        def exact(tokens: Any, tables: Any) -> Any:
            counts = once(tokens)
            with tf.GradientTape() as tape:
                tape.watch(tables)
                codes = encode(tf.gather(tables["encoder"], tokens), tables["code_bias"], counts)
                held = held_logits(codes, tf.gather(tables["decoder"], tokens), tf.gather(tables["bias"], tokens))
                logits = ops.matmul(codes, ops.transpose(tables["decoder"])) + tables["bias"]
                value = exact_loss(held, counts, logits, possible)
            return {name: tf.convert_to_tensor(found) for name, found in tape.gradient(value, tables).items()}

        def update(name: str, ids: Any, rows: Any) -> None:
            distinct, place = tf.unique(ids)
            optimizer.rows(name, distinct, tf.math.unsorted_segment_sum(rows, place, tf.size(distinct)))

        def sampled_step(tokens: Any, drawn: Any) -> None:
            noise, flat = drawn + first_track, tf.reshape(tokens, [-1])
            rows = {"encoder": tf.gather(named["encoder"].value, tokens)}
            for part, ids in (("held", tokens), ("drawn", noise)):
                rows |= {
                    part: tf.gather(named["decoder"].value, ids),
                    f"{part}_bias": tf.gather(named["bias"].value, ids),
                }
            code_bias = tf.convert_to_tensor(named["code_bias"].value)
            found, of_bias = sampled(tokens, noise, rows, code_bias, tf.gather(standing_for, drawn))
            update("encoder", flat, tf.reshape(found["encoder"], [-1, code]))
            outputs = tf.concat([flat, noise], 0)
            update("decoder", outputs, tf.concat([tf.reshape(found["held"], [-1, code]), found["drawn"]], 0))
            update("bias", outputs, tf.concat([tf.reshape(found["held_bias"], [-1]), found["drawn_bias"]], 0))
            optimizer.whole("code_bias", of_bias)

        def exact_step(tokens: Any) -> None:
            tables = {name: tf.convert_to_tensor(variable.value) for name, variable in named.items()}
            total = {name: tf.zeros_like(table) for name, table in tables.items()}
            for start in tf.range(0, options.batch_size, rows_at_once):
                # The last part may overlap the one before: what was counted there is padding here.
                begin = tf.minimum(start, options.batch_size - rows_at_once)
                part = tokens[begin : begin + rows_at_once]
                part = tf.where((tf.range(rows_at_once) + begin >= start)[:, None], part, PAD)
                found = exact(tf.ensure_shape(part, (rows_at_once, tokens.shape[1])), tables)
                total = {name: total[name] + found[name] for name in total}
            for name, gradient in total.items():
                optimizer.whole(name, gradient)

        @tf.function(reduce_retracing=True)
        def run(sessions: Any, negatives: Any) -> None:
            for t in tf.range(tf.shape(sessions)[0]):
                if options.negatives:
                    sampled_step(sessions[t], negatives[t])
                else:
                    exact_step(sessions[t])

        self._run = run

    def __call__(self, sessions: np.ndarray, negatives: np.ndarray) -> None:
        """Train on (steps, B, T) sessions with (steps, n) negatives, numbered from the first track on."""
        self._run(tf.constant(sessions), tf.constant(negatives.astype(np.int32)))
