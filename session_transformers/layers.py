"""Layers of the session transformers: embedding, attention with a key/value cache, encoder and decoder layers, output.

Vaswani et al. 2017 as torch builds it (post-norm, relu, LayerNorm eps 1e-5), with a second attention to BERT's features
(Zhu et al. 2020, arXiv 2002.06823). Letters: B sessions, T steps asking, S steps asked, C width, H heads, K beams.
All weights start at zero: :mod:`session_transformers.initial` fills them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from common.dropout import Dropout

EPSILON = 1e-5
MASKED = -1e9
"""Added to a score that must not count. Finite, so that a row without any valid key gives no NaN."""
KeyValues = tuple[Any, Any]
"""Keys and values of all heads, (B, H, S, C / H) each."""


def causal_mask(steps: int) -> Any:
    """(T, T): MASKED where a step would look at a later one, else 0."""
    places = ops.arange(steps)
    return ops.where(places[None, :] > places[:, None], MASKED, 0.0)


def padding_mask(tokens: Any) -> Any:
    """(B, 1, 1, S): MASKED at padding (id 0), else 0."""
    return ops.where(tokens == 0, MASKED, 0.0)[:, None, None, :]


def layer_norm(width: int, name: str) -> keras.layers.LayerNormalization:
    """A built LayerNorm with torch's epsilon."""
    norm = keras.layers.LayerNormalization(epsilon=EPSILON, name=name)
    norm.build((None, None, width))
    return norm


def linear(inputs: int, outputs: int, name: str, activation: str | None = None) -> keras.layers.Dense:
    """A built Dense layer that starts at zero."""
    dense = keras.layers.Dense(outputs, activation=activation, kernel_initializer="zeros", name=name)
    dense.build((None, None, inputs))
    return dense


class TokenEmbedding(keras.layers.Layer):
    """Sum of a token's embedding (track table beside feature table), its position's and, where told, its skip's.

    Args:
        vocabulary: rows of both token tables.
        width: C.
        features: columns of the feature table, at the end of the C; 0 for none.
        positions: rows of the position table.
        skips: whether there is a skip table: rows for played and skipped.
    """

    def __init__(self, vocabulary: int, width: int, features: int, positions: int, skips: bool) -> None:
        super().__init__(name="embedding")
        # Not cast as a whole in mixed precision: only the rows that are read are.
        self.tracks = self._table("tracks", vocabulary, width - features)
        self.features = self._table("features", vocabulary, features) if features else None
        self.positions = self._table("positions", positions, width)
        self.skips = self._table("skips", 2, width) if skips else None
        self.built = True

    def _table(self, name: str, rows: int, columns: int) -> Any:
        return self.add_weight(shape=(rows, columns), initializer="zeros", name=name, autocast=False)

    def rows(self, tokens: Any) -> Any:
        """Track and feature columns of tokens of any shape: (..., C), float32."""
        parts = [ops.take(table, tokens, axis=0) for table in (self.tracks, self.features) if table is not None]
        return ops.concatenate(parts, axis=-1)

    def table(self) -> Any:
        """The columns of all tokens, (V, C)."""
        tables = [ops.convert_to_tensor(table) for table in (self.tracks, self.features) if table is not None]
        return ops.concatenate(tables, axis=-1)

    def call(self, tokens: Any, skips: Any = None, position: Any = None) -> Any:
        """(B, T) ids -> (B, T, C).

        Args:
            tokens: ids.
            skips: None, or (B, S) 0 played, 1 skipped, of the first S <= T tokens.
            position: None for positions 0..T - 1, or the number of the one position that all tokens are at.
        """
        x = self.rows(tokens)  # (B, T, C)
        x = x + (self.positions[: tokens.shape[1]] if position is None else ops.take(self.positions, position, axis=0))
        if skips is not None:
            told = ops.take(self.skips, ops.cast(skips, "int32"), axis=0)  # (B, S, C)
            rest = tokens.shape[1] - skips.shape[1]
            x = x + (ops.pad(told, ((0, 0), (0, rest), (0, 0))) if rest else told)
        return ops.cast(x, self.compute_dtype)


class Attention(keras.layers.Layer):
    """Multi-head attention, softmax(q k' / sqrt(C / H) + mask) v, heads being consecutive blocks of columns.

    Args:
        width: C.
        heads: H.
        drop: dropout on the attention weights, shared with the layer around.
        name: name of the layer.
    """

    def __init__(self, width: int, heads: int, drop: keras.layers.Dropout, name: str) -> None:
        super().__init__(name=name, autocast=False)  # or the mask would overflow in float16
        self.heads, self.drop = heads, drop
        self.query = linear(width, width, "query")
        self.key_value = linear(width, 2 * width, "key_value")
        self.out = linear(width, width, "out")
        self.built = True

    def _split(self, x: Any) -> Any:
        rows, steps, width = ops.shape(x)[0], x.shape[1], x.shape[2]
        return ops.transpose(ops.reshape(x, (rows, steps, self.heads, width // self.heads)), (0, 2, 1, 3))

    def keys_values(self, memory: Any) -> KeyValues:
        """What is asked, projected once: (B, S, C) -> two of (B, H, S, C / H)."""
        keys, values = ops.split(self.key_value(memory), 2, axis=-1)
        return self._split(keys), self._split(values)

    def call(self, x: Any, keys_values: KeyValues, score_mask: Any = None, training: bool = False) -> Any:
        """(B, T, C) asks (B, H, S, C / H) -> (B, T, C); ``score_mask`` (broadcast to (B, H, T, S)) is added."""
        keys, values = keys_values
        query = self._split(self.query(x))  # (B, H, T, C / H)
        scores = ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2)))  # (B, H, T, S)
        scores = ops.cast(scores, "float32") / keys.shape[-1] ** 0.5
        if score_mask is not None:
            scores = scores + score_mask
        shares = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        mixed = ops.matmul(self.drop(shares, training=training), values)  # (B, H, T, C / H)
        mixed = ops.transpose(mixed, (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, ops.shape(x)))


class DropNet(keras.layers.Layer):
    """Weights (a, 1 - a) of a layer's two attentions: both halved, or, with probability p, only one of them.

    One uniform u for a call: a = 1 if u < p / 2, 0 if u > 1 - p / 2, else 0.5 (Zhu et al. 2020, section 4.3).

    Args:
        rate: p.
        always: draw in evaluation too (deviation B6), where both should count.
        seed: of the draws.
    """

    def __init__(self, rate: float, always: bool, seed: int) -> None:
        super().__init__(name="dropnet", autocast=False)
        self.rate, self.always = rate, always
        self.seed_generator = keras.random.SeedGenerator(seed) if rate else None
        self.built = True

    def call(self, training: bool = False) -> tuple[Any, Any]:
        """The two weights."""
        if not self.rate or not (training or self.always):
            return 0.5, 0.5
        u = keras.random.uniform((), seed=self.seed_generator)
        first = ops.where(u < self.rate / 2, 1.0, ops.where(u > 1 - self.rate / 2, 0.0, 0.5))
        first = ops.cast(first, self.compute_dtype)
        return first, 1 - first


class EncoderLayer(keras.layers.Layer):
    """Self-attention (and attention to BERT), then a feed-forward network; each added to its input and normalised.

    Args:
        width: C.
        heads: H.
        feed_forward: hidden units.
        dropout: rate.
        seeds: of the random generators.
        dropnet: None without BERT, else the drop-net's (p, whether it draws in evaluation).
        name: name of the layer.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        seeds: Iterator[int],
        dropnet: tuple[float, bool] | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.drop = Dropout(dropout, seed=next(seeds))
        self.attention = Attention(width, heads, self.drop, "attention")
        self.bert_attention = Attention(width, heads, self.drop, "bert_attention") if dropnet else None
        self.dropnet = DropNet(*dropnet, next(seeds)) if dropnet else None
        self.inner = linear(width, feed_forward, "inner", "relu")
        self.outer = linear(feed_forward, width, "outer")
        self.norm1, self.norm2 = layer_norm(width, "norm1"), layer_norm(width, "norm2")
        self.built = True

    def call(self, x: Any, key_mask: Any = None, bert: Any = None, training: bool = False) -> Any:
        """(B, T, C) -> (B, T, C).

        Args:
            x: states.
            key_mask: of the keys, which are the states; BERT's are masked in the same places.
            bert: (B, T, C) BERT's features.
            training: whether dropout and drop-net are on.
        """
        update = self.attention(x, self.attention.keys_values(x), key_mask, training=training)  # (B, T, C)
        if self.bert_attention is not None and self.dropnet is not None:
            own, theirs = self.dropnet(training=training)
            update = own * update + theirs * self.bert_attention(
                x, self.bert_attention.keys_values(bert), key_mask, training=training
            )  # (B, T, C)
        x = self.norm1(x + self.drop(update, training=training))
        update = self.outer(self.drop(self.inner(x), training=training))
        return self.norm2(x + self.drop(update, training=training))
