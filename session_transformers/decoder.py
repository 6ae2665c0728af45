"""The decoder layer, for whole sequences and for one step with a cache, and the output layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
from keras import ops

from common.dropout import Dropout
from session_transformers.layers import MASKED, Attention, DropNet, KeyValues, TokenEmbedding, layer_norm, linear


class Asked(NamedTuple):
    """What a decoder layer asks of the first half, projected once."""

    memory: KeyValues
    bert: KeyValues | None


class DecoderLayer(keras.layers.Layer):
    """Causal self-attention, attention to the encoder (and to BERT), then a feed-forward network; all post-norm.

    Args:
        width: C.
        heads: H.
        feed_forward: hidden units.
        dropout: rate.
        seeds: of the random generators.
        dropnet: None without BERT, else the drop-net's rate p; in evaluation both attentions count.
        residual: whether the state is kept beside the two attentions (False: deviation B4). No effect without BERT.
        name: name of the layer.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feed_forward: int,
        dropout: float,
        seeds: Iterator[int],
        dropnet: float | None = None,
        residual: bool = True,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, autocast=False)
        self.residual = residual
        self.drop = Dropout(dropout, seed=next(seeds))
        self.self_attention = Attention(width, heads, self.drop, "self_attention")
        self.attention = Attention(width, heads, self.drop, "attention")
        self.bert_attention = Attention(width, heads, self.drop, "bert_attention") if dropnet is not None else None
        self.dropnet = DropNet(dropnet, False, next(seeds)) if dropnet is not None else None
        self.inner = linear(width, feed_forward, "inner", "relu")
        self.outer = linear(feed_forward, width, "outer")
        self.norm1, self.norm2, self.norm3 = (layer_norm(width, f"norm{i}") for i in (1, 2, 3))
        self.built = True

    def asked(self, memory: Any, bert: Any = None) -> Asked:
        """Keys and values of the encoder's states (B, S, C) and of BERT's features (B, S, C)."""
        theirs = self.bert_attention.keys_values(bert) if self.bert_attention is not None else None
        return Asked(self.attention.keys_values(memory), theirs)

    def call(self, x: Any, asked: Asked, causal: Any, memory_mask: Any = None, training: bool = False) -> Any:
        """(B, T, C) -> (B, T, C).

        Args:
            x: states.
            asked: see :meth:`asked`.
            causal: mask of the self-attention, which may hide padding too.
            memory_mask: (B, 1, 1, S) padding of the first half, or None.
            training: whether dropout and drop-net are on.
        """
        update = self.self_attention(x, self.self_attention.keys_values(x), causal, training=training)
        return self._rest(x, update, asked, memory_mask, training)

    def step(self, x: Any, cache: KeyValues, position: Any, asked: Asked, memory_mask: Any) -> tuple[Any, KeyValues]:
        """One more step of K sequences for each of B sessions, in evaluation.

        Args:
            x: (B, K, C) states of the step.
            cache: keys and values (B K, H, T, C / H) of the steps before; of any value at later ones.
            position: number of the step.
            asked: see :meth:`asked`; the K sequences of a session ask the same.
            memory_mask: see :meth:`call`.

        Returns:
            States (B, K, C), and the cache with this step in it.
        """
        shape = ops.shape(x)
        alone = ops.reshape(x, (-1, 1, x.shape[-1]))  # (B K, 1, C)
        now = self.self_attention.keys_values(alone)
        steps = ops.arange(cache[0].shape[2])
        here = (steps == position)[None, None, :, None]
        cache = (ops.where(here, now[0], cache[0]), ops.where(here, now[1], cache[1]))
        update = self.self_attention(alone, cache, ops.where(steps > position, MASKED, 0.0))
        return self._rest(x, ops.reshape(update, shape), asked, memory_mask, False), cache

    def _rest(self, x: Any, own: Any, asked: Asked, memory_mask: Any, training: bool) -> Any:
        x = self.norm1(x + self.drop(own, training=training))
        update = self.attention(x, asked.memory, memory_mask, training=training)  # (B, T, C)
        kept = x
        if self.bert_attention is not None and self.dropnet is not None:
            memory = update
            theirs, ours = self.dropnet(training=training)
            update = ours * memory + theirs * self.bert_attention(x, asked.bert, memory_mask, training=training)
            if not self.residual:
                # The released code adds what its variable happens to hold: the attention to the encoder, or, where
                # drop-net leaves a single attention, still that of the block before.
                kept, update = update, ops.where(ours == theirs, memory, own)
        x = self.norm2(kept + self.drop(update, training=training))
        update = self.outer(self.drop(self.inner(x), training=training))
        return self.norm3(x + self.drop(update, training=training))


class Head(keras.layers.Layer):
    """Scores of all classes, x W' + b, in float32.

    Args:
        classes: rows of W.
        width: C.
        impossible: classes from 0 whose score is so low that they never count.
        tied: the embedding whose tables are W, or None for weights of its own.
    """

    def __init__(self, classes: int, width: int, impossible: int = 0, tied: TokenEmbedding | None = None) -> None:
        super().__init__(name="head", dtype="float32")
        self.classes, self.impossible, self.tied = classes, impossible, tied
        # Losses read the weights in calls of other layers, where float16 would be made of them.
        exact: dict[str, Any] = {"initializer": "zeros", "autocast": False}
        self.kernel: Any = None if tied else self.add_weight(shape=(classes, width), name="kernel", **exact)
        self.bias = self.add_weight(shape=(classes,), name="bias", **exact)
        self.built = True

    def weights_of(self) -> tuple[Any, Any]:
        """W (V, C) and b (V,)."""
        bias = self.bias.value  # not the variable: outside of a stateless call it would be another tensor
        if self.impossible:
            bias = ops.where(ops.arange(self.classes) < self.impossible, MASKED, bias)
        return self.tied.table() if self.tied else self.kernel.value, bias

    def call(self, x: Any) -> Any:
        """(..., C) -> (..., classes)."""
        weights, bias = self.weights_of()
        return ops.matmul(x, ops.transpose(weights)) + bias
