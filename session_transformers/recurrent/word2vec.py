"""Track vectors by skip-gram with negative sampling: tracks heard in the same sessions lie near each other.

Mikolov, Sutskever, Chen, Corrado, Dean 2013 (arXiv 1310.4546), with a session as the sentence. For a track i and a
track j at most b places away, b drawn from 1..window for each i:

    log s(v_i . u_j) + k E_n[log s(-v_i . u_n)]        n drawn by plays to the power alpha, s the sigmoid

The seed uses gensim. This is a page of code instead of one more compiled dependency, it follows from its seed (gensim
with several workers does not), and it is quick, because a session is worked on as a whole: the scores of all its pairs
are one small matrix product; each pair counts with the chance (window + 1 - distance) / window that b reaches it, which
is the expectation of the draw; and all tracks of a batch share their negatives. Unlike in gensim's default, frequent
tracks are not left out at random. (The seed calls gensim with its default, which is CBOW and not skip-gram, and shows
it skipped tracks only.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf
from keras import ops
from tqdm import tqdm

from common import console
from common.negatives import Negatives
from common.optimizers import RowAdagrad
from common.options import require
from session_transformers.kinds import PAD
from session_transformers.sessions.streaming import BLOCK, session_batches

Heard = Literal["all", "skipped", "played"]


@dataclass(frozen=True)
class Word2VecOptions:
    """How vectors are made; sizes are the released code's."""

    columns: int = 100
    window: int = 10
    """Largest distance of two tracks of a pair."""
    epochs: int = 5
    negatives: int = 5
    """k: how much the negatives of a pair count."""
    drawn: int = 256
    """Negatives that a batch shares."""
    alpha: float = 0.75
    heard: Heard = "all"
    """Which tracks of a session are the sentence; it closes up over the others. The seed: skipped."""
    batch_size: int = 256
    """Sessions in a step."""
    learning_rate: float = 0.05
    """Of Adagrad, which suits tracks that are rare."""
    seed: int = 1

    def __post_init__(self) -> None:
        sizes = (self.columns, self.window, self.epochs, self.negatives, self.drawn, self.batch_size)
        require(min(sizes) >= 1, f"sizes of the track vectors must be 1 or more: {sizes}")
        require(0 <= self.alpha <= 1 and self.learning_rate > 0, "alpha must lie in 0..1, the learning rate above 0")


def fit_vectors(
    tracks: np.ndarray,
    skips: np.ndarray,
    vocabulary: int,
    first_track: int,
    options: Word2VecOptions | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """The vectors of all tracks.

    Args:
        tracks: (sessions, T) ids, PAD where there is none; may be memory-mapped: it is read block by block.
        skips: (sessions, T) 1 where the track was skipped.
        vocabulary: V.
        first_track: the first id that is a track.
        options: see there.
        quiet: show no progress.

    Returns:
        (V, columns) float32; zeros for ids that are no tracks and for tracks never heard.

    Raises:
        UserError: no two tracks are heard in a session, so that there is nothing to learn from.
    """
    options = options or Word2VecOptions()
    plays = np.zeros(vocabulary, np.int64)
    pairs = 0
    for start in range(0, len(tracks), BLOCK):
        heard = sentences(tracks[start : start + BLOCK], skips[start : start + BLOCK], options.heard)
        plays += np.bincount(heard[heard != PAD], minlength=vocabulary)
        pairs += int(((heard != PAD).sum(axis=1) > 1).sum())
    require(pairs > 0, f"track vectors need sessions with two tracks ({options.heard}); there are none")
    trainer = _SkipGram(vocabulary, tracks.shape[1], options)
    sampler = Negatives(plays[first_track:], options.alpha, options.drawn, options.seed)
    blocks = options.epochs * -(-len(tracks) // BLOCK)
    bar = tqdm(total=blocks, desc="track vectors", unit=" block", disable=console.no_bar(quiet), leave=False)
    with bar:
        for epoch in range(options.epochs):
            negatives = sampler.epoch(epoch)
            for batch, skipped in session_batches((tracks, skips), options.batch_size, options.seed, epoch):
                trainer(sentences(batch, skipped, options.heard), negatives.take(len(batch)) + first_track)
                bar.update()
    return np.asarray(trainer.centres) * (plays > 0)[:, None].astype(np.float32)


def sentences(tracks: np.ndarray, skips: np.ndarray, heard: Heard) -> np.ndarray:
    """(..., T) the tracks that are heard, moved to the front in their order; PAD after them."""
    kept = tracks != PAD
    if heard != "all":
        kept &= (skips > 0) == (heard == "skipped")
    order = np.argsort(~kept, axis=-1, kind="stable")
    return np.take_along_axis(np.where(kept, tracks, PAD), order, axis=-1).astype(np.int32)


def pair_weights(length: int, window: int) -> np.ndarray:
    """(T, T) float32: the chance that a window of 1..window drawn around i reaches j; 0 for i = j."""
    distance = np.abs(np.arange(length)[:, None] - np.arange(length))
    return np.where(distance == 0, 0, np.maximum(0, window + 1 - distance) / window).astype(np.float32)


def skip_gram_loss(centres: Any, contexts: Any, noise: Any, there: Any, near: Any, negatives: float) -> Any:
    """The loss of a batch, summed over its pairs.

    Args:
        centres: (B, T, d) v of the sessions' tracks.
        contexts: (B, T, d) u of the same.
        noise: (n, d) u of the negatives.
        there: (B, T) 1 where there is a track, else 0.
        near: (T, T) weights of pairs.
        negatives: k.
    """
    pairs = near * there[:, :, None] * there[:, None, :]  # (B, T, T)
    scores = ops.matmul(centres, ops.transpose(contexts, (0, 2, 1)))  # (B, T, T)
    against = ops.mean(ops.softplus(ops.matmul(centres, ops.transpose(noise))), axis=-1)  # (B, T)
    return ops.sum(pairs * ops.softplus(-scores)) + negatives * ops.sum(ops.sum(pairs, axis=-1) * against)


class _SkipGram:
    """The two tables, and steps that touch only the rows of a batch."""

    def __init__(self, vocabulary: int, length: int, options: Word2VecOptions) -> None:
        start = np.random.default_rng(options.seed).uniform(-0.5, 0.5, (vocabulary, options.columns))
        self.centres = keras.Variable((start / options.columns).astype(np.float32), name="centres")
        contexts = keras.Variable(np.zeros((vocabulary, options.columns), np.float32), name="contexts")
        tables = {"centres": self.centres, "contexts": contexts}
        optimizer = RowAdagrad(tables, options.learning_rate)
        near = pair_weights(length, options.window)

        @tf.function(jit_compile=True)
        def gradients(centres: Any, contexts: Any, noise: Any, there: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch((centres, contexts, noise))
                value = skip_gram_loss(centres, contexts, noise, there, near, options.negatives)
            return tape.gradient(value, (centres, contexts, noise))

        def update(name: str, ids: Any, rows: Any) -> None:
            distinct, place = tf.unique(ids)
            optimizer.rows(name, distinct, tf.math.unsorted_segment_sum(rows, place, tf.size(distinct)))

        @tf.function(reduce_retracing=True)
        def run(sessions: Any, negatives: Any) -> None:
            for t in tf.range(tf.shape(sessions)[0]):
                tokens, noise = sessions[t], negatives[t]
                rows = [tf.gather(tables[name].value, tokens) for name in ("centres", "contexts")]
                there = tf.cast(tokens != PAD, tf.float32)
                of_centres, of_contexts, of_noise = gradients(*rows, tf.gather(contexts.value, noise), there)
                flat = tf.reshape(tokens, [-1])
                update("centres", flat, tf.reshape(of_centres, [-1, options.columns]))
                both = tf.concat([tf.reshape(of_contexts, [-1, options.columns]), of_noise], 0)
                update("contexts", tf.concat([flat, noise], 0), both)

        self._run = run

    def __call__(self, sessions: np.ndarray, negatives: np.ndarray) -> None:
        """Train on (steps, B, T) sessions with (steps, n) negatives."""
        self._run(tf.constant(sessions), tf.constant(negatives.astype(np.int32)))
