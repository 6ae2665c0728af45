"""Recurrent encoder-decoders: the second half of a session, or what is skipped in it, from the first half.

Khan, Cui, Arora: "Sequential Sessions Based Music Recommendations Using Deep Learning" (2020), after Sutskever,
Vinyals, Le 2014 (arXiv 1409.3215).

    encoder   s = LSTM over the first half, x = [vector, features] of a track (and whether it was skipped)
    bridge    h = tanh(W [h forward, h backward] + b)                of the bidirectional GRU only
    decoder   h_t = LSTM(x_t, h_{t-1}) from s
    output    h_t W' + b: a score for every track, or for played and skipped

To tell tracks the decoder reads the track before: the last one of the first half, then its own predictions, or in
training the true ones. To tell skips it reads the track at hand, which the challenge gives, and the skip before: a
start token, then its own predictions, or in training the true ones. (:mod:`session_transformers.recurrent.decoding`
continues sessions.) Letters: B sessions, N = 10 tracks in half of one, H units, C columns of what is known of a track,
V classes.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from common.dropout import Dropout
from common.options import require
from session_transformers.decoder import Head
from session_transformers.initial import Slot
from session_transformers.kinds import PAD
from session_transformers.model import decoder_inputs
from session_transformers.recurrent.architecture import RecurrentArchitecture
from session_transformers.recurrent.layers import Recurrent, State, TrackTable

START = 2
"""In the place of the skip before the first track; 0 is played, 1 skipped."""
BOUND = 0.08
"""Weights start in U(-0.08, 0.08), as in the released code."""


class RecurrentModel(keras.Model):
    """``lstm``, ``lstm-padding``, ``lstm-w2v`` and ``bigru``.

    Args:
        architecture: see there.
        features: (V, features) table; may be None with the switch ``table_overwritten``.
        vectors: (V, vectors) pre-trained; may be None where the architecture does not need them.
        seed: of weights and dropout.

    Raises:
        UserError: features or vectors are missing or of another shape.
    """

    def __init__(
        self,
        architecture: RecurrentArchitecture,
        features: np.ndarray | None = None,
        vectors: np.ndarray | None = None,
        seed: int = 42,
    ) -> None:
        super().__init__(name=architecture.model.replace("-", "_"))
        self.architecture = architecture
        cell, units, switches = architecture.cell, architecture.units, architecture.switches
        tells_skips = architecture.task == "skip"
        sizes = (architecture.vocabulary, architecture.vectors, architecture.features, architecture.train_vectors)
        self.table = TrackTable(*sizes, name="table")
        self.decoder_table = TrackTable(*sizes, name="decoder_table") if switches.table_overwritten else self.table
        self.drop = Dropout(architecture.dropout, seed=seed)
        inputs = architecture.columns + 2 * (architecture.skip_input == "embedding")
        self.encoder = Recurrent(cell, inputs, units, "encoder")
        self.backward = Recurrent(cell, inputs, units, "backward") if architecture.bidirectional else None
        bridged = architecture.bidirectional and not switches.backward_only
        self.bridge = keras.layers.Dense(units, activation="tanh", dtype="float32", name="bridge") if bridged else None
        if self.bridge:
            self.bridge.build((None, 2 * units))
        inputs = architecture.columns + 3 * (tells_skips and not switches.class_as_track)
        self.decoder = Recurrent(cell, inputs, units, "decoder")
        self.head = Head(architecture.classes, units, architecture.impossible)
        self.built = True
        initialise(self, features, vectors, seed)

    def shown(self, source: Any, source_skips: Any) -> Any:
        """The first half with another id in place of those skipped (or played), if that is how skips are told."""
        settings = self.architecture
        if settings.skip_input != "token":
            return source
        hidden = source_skips > 0 if settings.replaced == "skipped" else source_skips == 0
        there = ops.logical_and(hidden, source != PAD)
        return ops.where(there, PAD if settings.ids.skip is None else settings.ids.skip, source)

    def encode(self, source: Any, source_skips: Any = None, training: bool = False) -> State:
        """The decoder's first state, from the first half (B, N) and its skips (B, N), 0 played and 1 skipped."""
        settings = self.architecture
        require(
            settings.skip_input == "none" or source_skips is not None, f"{settings.model} needs the first half's skips"
        )
        tokens = self.shown(source, source_skips)
        x = self.drop(self.table(tokens), training=training)  # (B, N, C)
        if settings.skip_input == "embedding":
            flags = ops.one_hot(ops.cast(source_skips, "int32"), 2, dtype=x.dtype)
            x = ops.concatenate([x, flags], axis=-1)  # (B, N, C + 2)
        there = source != PAD if settings.switches.padding_mask else None
        _, state = self.encoder(x, there=there)
        if self.backward is None:
            return state
        _, (backward,) = self.backward(x, there=there, backwards=True)
        if self.bridge is None:
            return (backward,)
        return (self.bridge(ops.concatenate([state[0], backward], axis=-1)),)

    def hidden(
        self,
        source: Any,
        target: Any,
        source_skips: Any = None,
        target_skips: Any = None,
        training: bool = False,
    ) -> Any:
        """States before the output layer, (B, N, H).

        Of tracks, the truth being known up to each step (teacher forcing).
        Of skips, from its own predictions, but in training from the true ones (unless ``free_training`` is on).

        Args:
            source: (B, N) first half.
            target: (B, N) second half, as it is: it is shifted here.
            source_skips: (B, N) 0 played, 1 skipped.
            target_skips: (B, N) looked at in training, and where the label leaks.
            training: whether dropout and teacher forcing of skips are on.
        """
        state = self.encode(source, source_skips, training)
        if self.architecture.task == "seq":
            tokens = target if self.architecture.switches.unshifted_forcing else decoder_inputs(source, target)
            x = self.drop(self.decoder_table(tokens), training=training)  # (B, N, C)
        else:
            free = self.architecture.switches.free_training or not training
            first = self._first_class(target, target_skips)  # (B, 1)
            x = self._tracks_at_hand(target, training)  # (B, N, C), or None
            if free:
                return self._free_skips(x, first, state, training)
            classes = ops.concatenate([first, ops.cast(target_skips[:, :-1], "int32")], axis=1)  # (B, N)
            x = self._with_class(x, classes, training)
        after, _ = self.decoder(x, state)
        return ops.stack(after, axis=1)

    def _first_class(self, target: Any, target_skips: Any) -> Any:
        if self.architecture.switches.label_leak:
            require(target_skips is not None, "the label leaks: give the second half's true skips")
            return ops.cast(target_skips[:, -1:], "int32")
        return ops.full_like(ops.cast(target[:, :1], "int32"), START)

    def _tracks_at_hand(self, target: Any, training: bool) -> Any:
        if self.architecture.switches.class_as_track:
            return None
        return self.drop(self.decoder_table(target), training=training)

    def _with_class(self, tracks: Any, classes: Any, training: bool) -> Any:
        """What the decoder for skips reads: tracks (B, T, C) or None, and classes (B, T)."""
        if tracks is None:
            return self.drop(self.decoder_table(classes), training=training)
        return ops.concatenate([tracks, ops.one_hot(classes, 3, dtype=tracks.dtype)], axis=-1)  # (B, T, C + 3)

    def _free_skips(self, tracks: Any, before: Any, state: State, training: bool) -> Any:
        after = []
        for t in range(self.architecture.half):
            x = self._with_class(None if tracks is None else tracks[:, t : t + 1], before, training)
            state = self.decoder.step(self.decoder.project(x[:, 0]), state)
            after.append(state[0])
            before = ops.cast(ops.argmax(self.head(state[0]), axis=-1), "int32")[:, None]
        return ops.stack(after, axis=1)

    def step(self, tracks: Any, state: State) -> State:
        """The decoder's state (B, K, H) after one more track (B, K), of a model for tracks."""
        return self.decoder.step(self.decoder.project(self.decoder_table(tracks)), state)

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        """Logits (B, N, V) of a dict with the arguments of :meth:`hidden`."""
        return self.head(self.hidden(**inputs, training=training))


def recurrent_slots(model: RecurrentModel) -> dict[str, Slot]:
    """Torch's names of the weights of ``model`` but its tables; the released code has no ``bridge``."""
    found: dict[str, Slot] = {}
    layers = {("encoder", ""): model.encoder, ("encoder", "_reverse"): model.backward, ("decoder", ""): model.decoder}
    for (side, end), layer in layers.items():
        if layer is not None:
            for kind, part in (("ih", ""), ("hh", "recurrent_")):
                found[f"{side}.rnn.weight_{kind}_l0{end}"] = Slot((getattr(layer, f"{part}kernel"),), kernel=True)
                found[f"{side}.rnn.bias_{kind}_l0{end}"] = Slot((getattr(layer, f"{part}bias"),))
    found |= {"decoder.fc_out.weight": Slot((model.head.kernel,)), "decoder.fc_out.bias": Slot((model.head.bias,))}
    if model.bridge is not None:
        found |= {
            "bridge.weight": Slot((model.bridge.kernel,), kernel=True),
            "bridge.bias": Slot((model.bridge.bias,)),
        }
    return found


def initialise(model: RecurrentModel, features: np.ndarray | None, vectors: np.ndarray | None, seed: int) -> None:
    """Draw the start weights of ``model`` and fill its tables; see :class:`RecurrentModel`."""
    settings, rng = model.architecture, np.random.default_rng(seed)

    def noise(shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(-BOUND, BOUND, shape).astype(np.float32)

    for slot in recurrent_slots(model).values():
        slot.put(noise(slot.shape()))
    tables = [model.table] if model.decoder_table is model.table else [model.table, model.decoder_table]
    overwritten = settings.switches.table_overwritten
    for name, given in (("features", features), ("vectors", vectors)):
        expected = (settings.vocabulary, getattr(settings, name))
        learned = name == "vectors" and settings.train_vectors and given is None
        for variable in (getattr(table, name) for table in tables):
            if variable is None:
                continue
            if overwritten or learned:
                variable.assign(noise(expected))
                continue
            shape = getattr(given, "shape", None)
            require(
                shape == expected, f"--model {settings.model}: the tracks' {name} must be {expected}; found {shape}"
            )
            variable.assign(np.asarray(given, np.float32))
