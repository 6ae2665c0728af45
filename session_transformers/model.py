"""The session transformers: the second half of a session, or what is skipped in it, from the first half.

Khan, Cui, Arora: "Sequential Sessions Based Music Recommendations Using Deep Learning" (2020), after Vaswani et al.
2017 (arXiv 1706.03762), Devlin et al. 2019 (BERT, arXiv 1810.04805) and Zhu et al. 2020 (BERT-fused, arXiv 2002.06823).

    embedding    x = [E_track, E_feature] + E_position (+ E_skip)
    encoder      M = stack of  x + SelfAtt(x)  ->  x + FF(x)                       over the first half
    decoder      D = stack of  y + CausalAtt(y)  ->  y + Att(y, M)  ->  y + FF(y)  over the second half
    output       D W' + b: a score for every track, or for played and skipped

``transformer`` is that. Its decoder reads, for tracks, the last track of the first half and then the second half
shifted by one; for skips the tracks of the second half themselves, which the challenge tells. ``bert`` is the encoder
alone over all twenty tracks, some of them masked and to be told; ``bert-finetuned`` is the same with the second half
masked, or with an output for skips. ``bert-augmented`` asks a frozen BERT beside M in every layer, and
``bert-augmented-dropnet`` sometimes leaves one of the two out.

Letters: B sessions, N = 10 tracks in half of one, T steps, C width, V classes.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from common.options import UserError, require
from session_transformers.architecture import Architecture
from session_transformers.decoder import Asked, DecoderLayer, Head
from session_transformers.initial import Scheme, initialise, slots
from session_transformers.kinds import PAD
from session_transformers.layers import EncoderLayer, TokenEmbedding, causal_mask, layer_norm, padding_mask


class Encoded(NamedTuple):
    """The first half as the decoder sees it."""

    states: Any
    """(B, N, C) of the encoder."""
    mask: Any
    """(B, 1, 1, N) to be added to scores, or None."""
    bert: Any
    """(B, N, C) features of BERT, or None."""


def last_tracks(source: Any) -> Any:
    """(B, N) -> (B, 1): the last track of each first half that is no padding."""
    places = ops.where(source == PAD, -1, ops.arange(source.shape[1]))
    last = ops.maximum(ops.max(places, axis=1, keepdims=True), 0)
    return ops.take_along_axis(source, last, axis=1)


def decoder_inputs(source: Any, target: Any) -> Any:
    """What predicts target[:, i], (B, N): the last track of the source, then the target shifted by one."""
    return ops.concatenate([ops.cast(last_tracks(source), target.dtype), target[:, :-1]], axis=1)


class _Model(keras.Model):
    """What the two families have in common: an embedding, an encoder, an output layer."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        super().__init__(name=architecture.model.replace("-", "_"))
        self.architecture = architecture
        self.seeds = itertools.count(seed * 1000)  # of dropout and drop-net; apart for models of other seeds
        self.embedding = TokenEmbedding(
            architecture.vocabulary,
            architecture.width,
            architecture.features,
            architecture.positions,
            architecture.skip_input == "embedding",
        )
        dropnet = (architecture.dropnet, architecture.switches.dropnet_eval_random)
        self.encoder = [
            EncoderLayer(
                architecture.width,
                architecture.heads,
                architecture.feed_forward,
                architecture.dropout,
                self.seeds,
                dropnet if architecture.augmented else None,
                name=f"encoder{i}",
            )
            for i in range(architecture.encoder_layers)
        ]
        tied = self.embedding if architecture.tied else None
        self.head = Head(architecture.classes, architecture.width, architecture.impossible, tied)

    def embed(self, tokens: Any, skips: Any = None) -> Any:
        """(B, T) ids -> (B, T, C); ``skips`` count only with the skip input ``embedding``."""
        return self.embedding(tokens, skips if self.architecture.skip_input == "embedding" else None)

    def padding(self, tokens: Any) -> Any:
        """The padding mask of tokens, or None where padding is looked at like anything else."""
        return padding_mask(tokens) if self.architecture.switches.padding_mask else None

    def shown(self, tokens: Any, skips: Any, training: bool) -> Any:
        """Tokens with another id in place of those skipped, if that is how skips are told."""
        settings = self.architecture
        told = settings.skip_input == "token" and (training or settings.switches.mask_skips_eval)
        if not told or skips is None:
            return tokens
        return ops.where(skips > 0, PAD if settings.ids.skip is None else settings.ids.skip, tokens)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Logits (B, T, V) of a dict with the arguments of ``hidden``."""
        return self.head(self.hidden(**inputs, training=training))


class Bert(_Model):
    """An encoder over whole sessions: ``bert`` and ``bert-finetuned``.

    Args:
        architecture: see there.
        seed: of weights, dropout and drop-net.
    """

    def __init__(self, architecture: Architecture, seed: int = 42, scheme: Scheme = "torch") -> None:
        super().__init__(architecture, seed)
        self.built = True
        initialise(self, seed, scheme)

    def encode(self, tokens: Any, skips: Any = None, training: bool = False) -> Any:
        """(B, T <= 2 N) ids, at positions 0..T - 1 -> states (B, T, C); ``skips`` are of the first ones."""
        mask = self.padding(tokens)  # (B, 1, 1, T)
        x = self.embed(tokens, skips)  # (B, T, C)
        for layer in self.encoder:
            x = layer(x, mask, training=training)  # (B, T, C)
        return x

    def hidden(self, source: Any, target: Any, source_skips: Any = None, training: bool = False) -> Any:
        """States before the output layer.

        Args:
            source: (B, N) first half.
            target: (B, N) second half; not looked at by a model fine-tuned for tracks.
            source_skips: (B, N) 0 played, 1 skipped.
            training: whether dropout is on.

        Returns:
            Of ``bert`` (B, 2 N, C), to tell the masked tracks. Of ``bert-finetuned`` (B, N, C) of the second half, but
            (B, 2 N, C) of all for skips with the switch ``bert_loss_everywhere``.
        """
        settings = self.architecture
        if settings.model == "bert-finetuned" and settings.task == "seq":
            target = ops.full_like(target, settings.ids.mask)
        source = self.shown(source, source_skips, training)
        x = self.encode(ops.concatenate([source, target], axis=1), source_skips, training)  # (B, 2 N, C)
        everywhere = settings.model == "bert" or (settings.task == "skip" and settings.switches.bert_loss_everywhere)
        return x if everywhere else x[:, source.shape[1] :]


class EncoderDecoder(_Model):
    """Encoder and decoder: ``transformer``, ``bert-augmented`` and ``bert-augmented-dropnet``.

    Args:
        architecture: see there. The BERT it names is part of the model, and not trained.
        features: (V, features) start of the feature table; may be None with the switch ``load_features`` off.
        seed: of weights, dropout and drop-net.
        scheme: of the start weights.
    """

    def __init__(
        self,
        architecture: Architecture,
        features: np.ndarray | None = None,
        seed: int = 42,
        scheme: Scheme = "torch",
    ) -> None:
        super().__init__(architecture, seed)
        self.decoder = [
            DecoderLayer(
                architecture.width,
                architecture.heads,
                architecture.feed_forward,
                architecture.dropout,
                self.seeds,
                architecture.dropnet if architecture.augmented else None,
                architecture.switches.decoder_residual,
                name=f"decoder{i}",
            )
            for i in range(architecture.decoder_layers)
        ]
        shared = architecture.one_norm
        self.encoder_norm = layer_norm(architecture.width, "final_norm" if shared else "encoder_norm")
        self.decoder_norm = self.encoder_norm if shared else layer_norm(architecture.width, "decoder_norm")
        self.bert = Bert(architecture.bert, seed, scheme) if architecture.bert else None
        if self.bert is not None:
            self.bert.trainable = False
        self.built = True
        initialise(self, seed, scheme, features)

    def features(self, source: Any, training: bool = False) -> Any:
        """(B, N, C): what the frozen BERT makes of the first half; no gradient goes back into it.

        Raises:
            UserError: the model has none.
        """
        if self.bert is None:
            raise UserError("this BERT-augmented model has no BERT of its own: give BERT's features")
        on = training and self.architecture.switches.bert_train_mode
        return ops.stop_gradient(self.bert.encode(source, training=on))

    def encode(self, source: Any, source_skips: Any = None, bert: Any = None, training: bool = False) -> Encoded:
        """The first half (B, N) for the decoder; see :meth:`hidden`."""
        if self.architecture.augmented and bert is None:
            bert = self.features(source, training)  # (B, N, C)
        elif bert is not None:
            bert = ops.cast(bert, self.compute_dtype)
        mask = self.padding(source)  # (B, 1, 1, N)
        x = self.embed(self.shown(source, source_skips, training), source_skips)  # (B, N, C)
        for layer in self.encoder:
            x = layer(x, mask, bert, training=training)  # (B, N, C)
        return Encoded(self.encoder_norm(x), mask, bert)

    def asked(self, encoded: Encoded) -> list[Asked]:
        """What each layer of the decoder asks of the first half."""
        return [layer.asked(encoded.states, encoded.bert) for layer in self.decoder]

    def decode(self, tokens: Any, encoded: Encoded, training: bool = False) -> Any:
        """States (B, T, C) of the decoder that reads tokens (B, T <= N); those at t depend on tokens up to t only."""
        mask = causal_mask(tokens.shape[1])  # (T, T)
        padding = self.padding(tokens)
        mask = mask if padding is None else mask + padding  # (B, 1, T, T)
        x = self.embedding(tokens)  # (B, T, C)
        for layer, asked in zip(self.decoder, self.asked(encoded), strict=True):
            x = layer(x, asked, mask, encoded.mask, training=training)  # (B, T, C)
        return self.decoder_norm(x)

    def hidden(
        self, source: Any, target: Any, source_skips: Any = None, bert: Any = None, training: bool = False
    ) -> Any:
        """States before the output layer, (B, N, C), the truth being known up to each step (teacher forcing).

        Args:
            source: (B, N) first half.
            target: (B, N) second half: as it is, for tracks too; it is shifted here.
            source_skips: (B, N) 0 played, 1 skipped.
            bert: (B, N, C) BERT's features, where they are known already.
            training: whether dropout and drop-net are on.
        """
        tokens = decoder_inputs(source, target) if self.architecture.task == "seq" else target
        return self.decode(tokens, self.encode(source, source_skips, bert, training), training)


SessionModel = Bert | EncoderDecoder


def build_model(
    architecture: Architecture, features: np.ndarray | None = None, seed: int = 42, scheme: Scheme = "torch"
) -> SessionModel:
    """The model of an architecture, with start weights; see :class:`Bert` and :class:`EncoderDecoder`."""
    if architecture.is_bert:
        return Bert(architecture, seed, scheme)
    return EncoderDecoder(architecture, features, seed, scheme)


def copy_pretrained(model: SessionModel, pretrained: Bert) -> None:
    """Start a fine-tuned model from a pre-trained BERT, or give an augmented one its BERT.

    The output layer is copied too where it is one for tracks; a skip embedding keeps its start.

    Raises:
        UserError: their sizes differ.
    """
    into = model.bert if isinstance(model, EncoderDecoder) else model
    if into is None:
        raise UserError(f"a {model.architecture.model} model has no place for a pre-trained BERT")
    theirs, plan = slots(pretrained), []
    for name, slot in slots(into).items():
        if name == "skip_embed.weight" or (name.startswith("fc.") and into.architecture.task == "skip"):
            continue
        shape = theirs[name].shape() if name in theirs else None
        require(
            shape == slot.shape(), f"the pre-trained BERT does not fit: {name} has shape {shape}, not {slot.shape()}"
        )
        plan.append((slot, theirs[name].get()))
    for slot, array in plan:
        slot.put(array)
