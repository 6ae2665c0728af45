"""The weight files of the released SeER: what model they hold, and their layers in ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.layers import Cell
from common.options import UserError, require
from common.weights import Weights, load_weights, read_weights
from seer.model import FEATURES_PER_CHANNEL, Architecture, SeER

MIDI_LAYER = "flat_song_feature_input"
"""The frozen embedding in which the released model keeps the MIDI array, (songs, steps * features)."""

_GATES: dict[int, Cell] = {4: "lstm", 3: "gru", 1: "rnn"}


@dataclass(frozen=True)
class ReleasedWeights:
    """A released weight file and the sizes found in it.

    Attributes:
        path: the file.
        architecture: of the model that it holds; all sizes are read from the shapes.
        midi: the MIDI array kept in the file, (songs, steps, features).
        layers: the trained layers.
    """

    path: Path
    architecture: Architecture
    midi: np.ndarray
    layers: Weights

    def check_songs(self, midi: np.ndarray) -> None:
        """Refuse a dataset (songs, steps, 32) whose songs are not the ones that these weights were trained on."""
        songs, steps, features = self.midi.shape
        require(
            len(midi) == songs,
            f"{self.path}: layer {MIDI_LAYER} holds {songs} songs but the dataset has {len(midi)}; "
            "use --data-dir with the dataset these weights were trained on",
        )
        require(
            midi.shape[1] >= steps and midi.shape[2] >= features,
            f"{self.path}: has {steps} steps x {features} values, the dataset {midi.shape[1]} x {midi.shape[2]}",
        )
        for number in range(songs):
            require(
                np.array_equal(self.midi[number], midi[number, :steps, :features]),
                f"{self.path}: layer {MIDI_LAYER}, song {number} differs from the dataset's; "
                "the weights were trained on other songs or another order of songs",
            )

    def build(self) -> SeER:
        """The model with these weights."""
        seer = SeER(self.architecture)
        names = {name: "dense_1" if name.startswith("dense") else name for name in self.layers}
        load_weights(seer.model, self.path, self.layers, names)
        return seer


def is_released_layout(path: Path) -> bool:
    """Whether ``path`` is a file of Keras 1 or 2 by its name: Keras 3 insists on ``.weights.h5`` for its own."""
    return not path.name.endswith(".weights.h5")


def read_released(path: Path) -> ReleasedWeights:
    """Read a weight file of the released code.

    Raises:
        UserError: not a weight file of Keras 1 or 2, or not one of SeER.
    """
    layers = read_weights(path)
    midi = layers.pop(MIDI_LAYER, {}).get("embeddings")
    user = layers.get("embedding_user", {}).get("embeddings")
    rnn = layers.get("LSTM_1", {})
    known = {name for name in layers if name in ("embedding_user", "LSTM_1") or re.fullmatch(r"dense(_\d+)?", name)}
    expected = f"a SeER model has the layers embedding_user, LSTM_1, {MIDI_LAYER} and (final model) dense_1"
    require(set(layers) == known, f"{path}: unknown layers {', '.join(sorted(set(layers) - known))}; {expected}")
    if midi is None or user is None or set(rnn) != {"kernel", "recurrent_kernel", "bias"}:
        have = ", ".join([*layers, *([MIDI_LAYER] if midi is not None else [])]) or "none"
        raise UserError(f"{path}: not a SeER weight file: it has the layers {have}; {expected}")
    for name, array in (("embedding_user", user), (MIDI_LAYER, midi), ("LSTM_1", rnn["kernel"])):
        require(array.ndim == 2, f"{path}: layer {name} has shape {array.shape}; expected two dimensions")
    (num_users, latent), (features, gates) = user.shape, rnn["kernel"].shape
    require(
        gates % latent == 0 and gates // latent in _GATES,
        f"{path}: layer LSTM_1, kernel has {gates} columns; expected 4, 3 or 1 times the {latent} latent features",
    )
    require(
        features % FEATURES_PER_CHANNEL == 0 and midi.shape[1] % features == 0,
        f"{path}: layer LSTM_1 reads {features} values a step, but {MIDI_LAYER} has {midi.shape[1]} values a song",
    )
    try:
        architecture = Architecture(
            num_users=num_users,
            sequence_length=midi.shape[1] // features,
            variant="concat" if len(known) == 3 else "dot",
            cell=_GATES[gates // latent],
            latent_features=latent,
            channels=features // FEATURES_PER_CHANNEL,
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    return ReleasedWeights(path, architecture, midi.reshape(len(midi), -1, features), layers)
