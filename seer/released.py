"""Released weights of SeER, and others in their layout: what model a file holds, and its layers in ours."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from common.options import UserError, require
from common.weights import GateActivation, KerasFile, read_weights
from seer.layers import Cell
from seer.model import FEATURES_PER_CHANNEL, Architecture, SeER

MIDI_LAYER = "flat_song_feature_input"
"""The frozen embedding in which the released model keeps the MIDI array, (songs, steps * features)."""

_GATES: dict[int, Cell] = {4: "lstm", 3: "gru", 1: "rnn"}


@dataclass(frozen=True)
class ReleasedWeights:
    """A released weight file and the sizes found in it.

    Attributes:
        file: its trained layers.
        architecture: of the model that it holds; all sizes are read from the shapes.
        midi: the MIDI array kept in the file, (songs, steps, features).
        gates: the gate activation and where it is known from, for tables; empty without gates.
    """

    file: KerasFile
    architecture: Architecture
    midi: np.ndarray
    gates: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.file.path

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
        names = {name: "dense_1" if name.startswith("dense") else name for name in self.file.layers}
        self.file.load_into(seer.model, names)
        return seer


def read_released(path: Path, gate_activation: GateActivation | None = None) -> ReleasedWeights:
    """Read a weight file in the layout of the released code's.

    Args:
        path: HDF5 file of Keras, see :func:`common.weights.read_weights`, or a zip of one.
        gate_activation: gates of the RNN; None for what the file says.

    Raises:
        UserError: not a weight file of Keras in this layout, or not one of SeER.
    """
    file = read_weights(path)
    layers = file.layers
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
    cell = _GATES[gates // latent]
    if cell == "gru" and rnn["bias"].ndim == 2:  # one bias for the inputs, one for the state
        cell = "gru_reset_after"
    decided: tuple[GateActivation, str] = ("hard_sigmoid", "")
    if cell != "rnn":
        decided = (gate_activation, "--gate-activation") if gate_activation else file.gate_activation("LSTM_1")
    try:
        architecture = Architecture(
            num_users=num_users,
            sequence_length=midi.shape[1] // features,
            variant="concat" if len(known) == 3 else "dot",
            cell=cell,
            latent_features=latent,
            channels=features // FEATURES_PER_CHANNEL,
            gate_activation=decided[0],
        )
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    gates_from = "" if cell == "rnn" else f"{decided[0]} ({decided[1]})"
    return ReleasedWeights(file, architecture, midi.reshape(len(midi), -1, features), gates_from)
