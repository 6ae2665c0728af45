"""Training of the auto-encoder of sessions: over sampled tracks, or over all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from common.checkpoint import Progress
from common.epochs import EpochLoop, Trained, advancing
from common.negatives import Negatives
from common.optimizers import RowAdagrad
from common.options import require
from session_transformers.autoencoder.model import AutoEncoder, encode, exact_loss, held_logits, once, sampled_loss
from session_transformers.autoencoder.options import AutoEncoderOptions
from session_transformers.kinds import PAD
from session_transformers.sessions.streaming import BLOCK, session_batches

LOGITS = 2**24
"""Most logits at once where all tracks count (64 MB)."""


def fit_autoencoder(
    tracks: np.ndarray,
    vocabulary: int,
    first_track: int,
    options: AutoEncoderOptions | None = None,
    quiet: bool = False,
    run_dir: Path | None = None,
    resume: bool = False,
    model: AutoEncoder | None = None,
) -> tuple[AutoEncoder, Progress]:
    """Train an auto-encoder.

    Args:
        tracks: (sessions, T) ids, PAD where there is none; may be memory-mapped: it is read block by block.
        vocabulary: V.
        first_track: the first id that is a track.
        options: see there.
        quiet: show no progress.
        run_dir: keeps what ``resume`` needs; None keeps nothing.
        resume: continue from the checkpoint in ``run_dir``.
        model: to be trained; None: a new one.

    Raises:
        UserError: there are no sessions, or the loss is no longer finite.
    """
    options = options or AutoEncoderOptions()
    plays = np.zeros(vocabulary, np.int64)
    for start in range(0, len(tracks), BLOCK):
        block = np.asarray(tracks[start : start + BLOCK])
        plays += np.bincount(block[block != PAD], minlength=vocabulary)
    require(bool(plays.any()), "the auto-encoder needs sessions with tracks; there are none")
    model = model or AutoEncoder(vocabulary, options.code, options.seed)
    # What it would learn first anyway: how often each track is in a session at all.
    chance = (plays + 0.5) / (len(tracks) + 1.0)
    model.named["bias"].assign(-np.log(np.maximum(1 / chance - 1, 1e-2)).astype(np.float32))
    sampler = Negatives(plays[first_track:], options.alpha, options.negatives, options.seed)
    expected = np.diff(sampler.function, prepend=0.0) * max(options.negatives, 1)
    trainer = _Trainer(model, options, first_track, 1 / np.maximum(expected, 1e-12))
    loop = EpochLoop(trainer.variables, run_dir)
    if resume:
        loop.resume()

    def train(epoch: int, bar: tqdm) -> Trained:
        negatives, losses = sampler.epoch(epoch), []
        for (batches,) in advancing(bar, session_batches((tracks,), options.batch_size, options.seed, epoch)):
            losses.append(trainer(batches.astype(np.int32), negatives.take(len(batches))))
        return Trained(sum(map(float, losses)) / len(tracks), len(tracks))

    blocks = -(-len(tracks) // BLOCK)
    progress = loop.run(train, options.epochs, title="auto-encoder, ", unit="block", total=blocks, quiet=quiet)
    return model, progress


class _Trainer:
    """Steps over sampled tracks, touching only the rows of a batch; or over all tracks, part of a batch at a time."""

    def __init__(self, model: AutoEncoder, options: AutoEncoderOptions, first_track: int, weights: np.ndarray) -> None:
        named = model.named
        optimizer = RowAdagrad(named, options.learning_rate)
        self.variables = {f"model.{name}": variable for name, variable in named.items()}
        self.variables |= {f"optimizer.{name}": variable for name, variable in optimizer.state.items()}
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
            return value, tape.gradient(value, (rows, code_bias))

        @tf.function(jit_compile=True)
        def exact(tokens: Any, tables: Any) -> Any:
            counts = once(tokens)
            with tf.GradientTape() as tape:
                tape.watch(tables)
                codes = encode(tf.gather(tables["encoder"], tokens), tables["code_bias"], counts)
                held = held_logits(codes, tf.gather(tables["decoder"], tokens), tf.gather(tables["bias"], tokens))
                logits = ops.matmul(codes, ops.transpose(tables["decoder"])) + tables["bias"]
                value = exact_loss(held, counts, logits, possible)
            found = tape.gradient(value, tables)
            return value, {name: tf.convert_to_tensor(gradient) for name, gradient in found.items()}

        def update(name: str, ids: Any, rows: Any) -> None:
            distinct, place = tf.unique(ids)
            optimizer.rows(name, distinct, tf.math.unsorted_segment_sum(rows, place, tf.size(distinct)))

        def sampled_step(tokens: Any, drawn: Any) -> Any:
            noise, flat = drawn + first_track, tf.reshape(tokens, [-1])
            rows = {"encoder": tf.gather(named["encoder"].value, tokens)}
            for part, ids in (("held", tokens), ("drawn", noise)):
                rows |= {
                    part: tf.gather(named["decoder"].value, ids),
                    f"{part}_bias": tf.gather(named["bias"].value, ids),
                }
            code_bias = tf.convert_to_tensor(named["code_bias"].value)
            value, (found, of_bias) = sampled(tokens, noise, rows, code_bias, tf.gather(standing_for, drawn))
            update("encoder", flat, tf.reshape(found["encoder"], [-1, code]))
            outputs = tf.concat([flat, noise], 0)
            update("decoder", outputs, tf.concat([tf.reshape(found["held"], [-1, code]), found["drawn"]], 0))
            update("bias", outputs, tf.concat([tf.reshape(found["held_bias"], [-1]), found["drawn_bias"]], 0))
            optimizer.whole("code_bias", of_bias)
            return value

        def exact_step(tokens: Any) -> Any:
            tables = {name: tf.convert_to_tensor(variable.value) for name, variable in named.items()}
            loss, total = tf.zeros(()), {name: tf.zeros_like(table) for name, table in tables.items()}
            for start in tf.range(0, options.batch_size, rows_at_once):
                # The last part may overlap the one before: what was counted there is padding here.
                begin = tf.minimum(start, options.batch_size - rows_at_once)
                part = tokens[begin : begin + rows_at_once]
                part = tf.where((tf.range(rows_at_once) + begin >= start)[:, None], part, PAD)
                value, found = exact(tf.ensure_shape(part, (rows_at_once, tokens.shape[1])), tables)
                loss += value
                total = {name: total[name] + found[name] for name in total}
            for name, gradient in total.items():
                optimizer.whole(name, gradient)
            return loss

        @tf.function(reduce_retracing=True)
        def run(sessions: Any, negatives: Any) -> Any:
            loss = tf.zeros(())
            for t in tf.range(tf.shape(sessions)[0]):
                if options.negatives:
                    loss += sampled_step(sessions[t], negatives[t])
                else:
                    loss += exact_step(sessions[t])
            return loss

        self._run = run

    def __call__(self, sessions: np.ndarray, negatives: np.ndarray) -> Any:
        """Train on (steps, B, T) sessions with (steps, n) negatives, numbered from the first track on.

        Returns:
            The loss, summed over the sessions.
        """
        return self._run(tf.constant(sessions), tf.constant(negatives.astype(np.int32)))
