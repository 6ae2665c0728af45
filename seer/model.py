"""SeER: the rating of a song by a user, from an embedding of the user and an RNN over the song's MIDI events.

Damak, Nasraoui, Sanders: "Sequence-Based Explainable Hybrid Song Recommendation", Frontiers in Big Data 4 (2021);
Damak, Nasraoui: arXiv 1907.01640 (2019). Two models go by that name:

``concat``  the released final model:  r(u, s) = a' p_u + c' h_s + b    (one Dense layer over [p_u, h_s])
``dot``     the model of arXiv v2:     r(u, s) = p_u' h_s               (section 3, "r_us = U_u . h_T")

with p_u the embedding of user u and h_s the last hidden state of an RNN over the song's first steps. The encoding of
a song does not depend on the user, so each distinct song of a batch is encoded once. Layers carry the names that
they have in the released weight files.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from common.dropout import Dropout
from seer.layers import recurrent
from seer.options import Architecture


class Networks:
    """The four views of one set of weights.

    Attributes:
        encoder: songs (n, steps, features), raw 0..127, any number of steps -> h_s (n, latent).
        section_encoder: sections padded at the end (n, steps, features), their true lengths (n,) -> h (n, latent), what
            ``encoder`` gives for each section alone.
        head: user ids (batch,), h_s (batch, latent) -> rating (batch,).
        model: user ids (batch,), position of each song among the distinct songs (batch,), distinct songs
            (n, sequence_length, features) -> rating (batch,). The one that is trained.
    """

    def __init__(self, architecture: Architecture) -> None:
        self.architecture = a = architecture

        # layers
        embedding_user = layers.Embedding(
            a.num_users,
            a.latent_features,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=0.05),
            name="embedding_user",
        )
        # concat drops inputs and states inside the LSTM; dot drops the RNN's output (commit 8c3a990 of the release).
        inside = a.dropout if a.variant == "concat" else 0.0
        rnn = recurrent(a.cell, a.latent_features, a.gate_activation, dropout=inside, name="LSTM_1")
        if a.variant == "concat":
            dense = layers.Dense(1, dtype="float32", name="dense_1")
        else:
            dropout = Dropout(a.dropout, name="dropout_1")
            dot = layers.Dot(axes=-1, dtype="float32", name="prediction")

        def encode(songs: Any, mask: Any = None) -> Any:  # (n, steps, features) -> (n, latent)
            hidden = rnn(ops.cast(songs, rnn.compute_dtype) * a.midi_scale, mask=mask)
            return hidden if a.variant == "concat" else dropout(hidden)

        def rate(user: Any, hidden: Any) -> Any:  # (batch,), (batch, latent) -> (batch,)
            p = embedding_user(user)  # (batch, latent)
            score = dense(ops.concatenate([p, hidden], axis=-1)) if a.variant == "concat" else dot([p, hidden])
            return ops.reshape(score, (-1,))

        # functional models
        user = keras.Input((), dtype="int32", name="user_input")
        song = keras.Input((), dtype="int32", name="song_input")
        songs = keras.Input((a.sequence_length, a.features), dtype="float32", name="song_feature_input")
        rating = rate(user, ops.take(encode(songs), song, axis=0))
        self.model = keras.Model({tensor.name: tensor for tensor in (user, song, songs)}, rating, name="seer")

        any_length = keras.Input((None, a.features), dtype="float32", name="song_array_input")
        self.encoder = keras.Model(any_length, encode(any_length), name="song_encoder")
        length = keras.Input((), dtype="int32", name="length")
        number = ops.cumsum(ops.ones_like(any_length[:, :, 0], dtype="int32"), axis=1)  # (n, steps): 1, 2, 3, ...
        within = number <= ops.expand_dims(length, 1)  # (n, steps): beyond, the state stays as it is
        self.section_encoder = keras.Model([any_length, length], encode(any_length, within), name="section_encoder")
        hidden = keras.Input((a.latent_features,), name="song_hidden")
        self.head = keras.Model([user, hidden], rate(user, hidden), name="rating_head")

    def user_vectors(self, users: np.ndarray) -> np.ndarray:
        """The embeddings p_u of the given user ids (u,): (u, latent) float64."""
        return np.asarray(self.model.get_layer("embedding_user").embeddings, np.float64)[users]

    def linear_rating(self, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A song's rating as a linear function of the user's vector: r(u, s) = X_s' p_u + o_s.

        Args:
            hidden: encoded songs (s, latent).

        Returns:
            X (s, latent) and o (s,), float64: X_s = h_s, o_s = 0 for ``dot``; X_s = a, o_s = c' h_s + b for ``concat``.
        """
        hidden = hidden.astype(np.float64)
        if self.architecture.variant == "dot":
            return hidden, np.zeros(len(hidden))
        kernel, bias = (np.asarray(w, np.float64) for w in self.model.get_layer("dense_1").weights)
        a, c = np.split(kernel[:, 0], 2)
        return np.broadcast_to(a, hidden.shape), hidden @ c + bias

    def score_matrix(self, vectors: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Ratings that users with the given vectors (u, latent) give to the encoded songs (s, latent).

        Returns:
            (u, s) float64, equal to ``head`` on every pair to rounding. In float32 the user's term of ``concat`` would
            round the songs' terms differently for every user and swap songs that nearly tie.
        """
        x, offset = self.linear_rating(hidden)
        if self.architecture.variant == "concat":  # the user's term once, the same bits for every song
            return (vectors @ x[:1].T) + offset[None, :]
        return vectors @ x.T
