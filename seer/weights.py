"""Weights of SeER: released files and others in their layout, and those of our own runs."""

from __future__ import annotations

import abc
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.console import counted
from common.options import UserError, flag, require
from common.rundir import read_run
from common.weights import GateActivation, KerasFile, is_keras_layout, load_own_weights, read_weights
from seer.options import FEATURES_PER_CHANNEL, SIZES, Architecture, Cell, SeerOptions
from seer.preprocess import SeerData

if TYPE_CHECKING:
    from seer.model import Networks

MIDI_LAYER = "flat_song_feature_input"
"""The frozen embedding in which the released model keeps the MIDI array, (songs, steps * features)."""

_GATES: dict[int, Cell] = {4: "lstm", 3: "gru", 1: "rnn"}


@dataclass(frozen=True)
class WeightFile(abc.ABC):
    """What a file of weights holds; the numbers themselves are read by :meth:`load_into`.

    Attributes:
        path: the file.
        architecture: of the model.
    """

    path: Path
    architecture: Architecture

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """What tables call it."""

    @property
    def gates(self) -> str:
        """The gate activation of the RNN and where it is known from, if the file left that open."""
        return ""

    @property
    def note(self) -> str:
        """A sentence about the gates, for console and report; empty where nothing is to be said."""
        return f"{self.path.name}: its RNN has {self.gates} gates." if self.gates else ""

    @abc.abstractmethod
    def check(self, data: SeerData) -> None:
        """Refuse a dataset that is not the one that the weights were trained on."""

    def check_options(self, options: SeerOptions) -> None:
        """Refuse options that contradict the sizes in the file."""
        for name in SIZES:
            asked, found = getattr(options, name), getattr(self.architecture, name)
            agrees = asked is None or asked == found
            require(agrees, f"{self.path} holds {name} = {found}, but {flag(name)} is {asked}; leave it out")

    @abc.abstractmethod
    def load_into(self, networks: Networks) -> None:
        """Set the weights of networks of this architecture."""

    def build(self) -> Networks:
        """Networks with these weights."""
        from seer.model import Networks

        networks = Networks(self.architecture)
        self.load_into(networks)
        return networks


@dataclass(frozen=True)
class OwnWeights(WeightFile):
    """``model.weights.h5`` of a run, or of a model that was saved.

    Attributes:
        trained_on: name of the dataset.
        fingerprint: of the dataset.
    """

    trained_on: str
    fingerprint: str

    @property
    def name(self) -> str:
        """See :class:`WeightFile`."""
        return self.path.resolve().parent.name

    def check(self, data: SeerData) -> None:
        """See :class:`WeightFile`."""
        require(
            self.fingerprint == data.fingerprint,
            f"{self.path}: trained on the dataset {self.trained_on}, which is another one or has changed since; name "
            "it with --data-dir",
        )
        sizes = self.architecture.num_users, self.architecture.sequence_length
        most = data.num_users, data.num_steps
        require(
            sizes[0] == most[0] and sizes[1] <= most[1],
            f"{self.path.parent / 'options.json'}: architecture: "
            f"{counted(sizes[0], 'user')} and {counted(sizes[1], 'step')}, but the dataset has {most[0]} and {most[1]}",
        )

    def load_into(self, networks: Networks) -> None:
        """See :class:`WeightFile`."""
        load_own_weights(networks.model, self.path)


@dataclass(frozen=True)
class ReleasedWeights(WeightFile):
    """A released weight file; all sizes are read from the shapes.

    Attributes:
        file: its trained layers.
        midi: the MIDI array kept in the file, (songs, steps, features).
        gates_from: see :attr:`gates`.
    """

    file: KerasFile
    midi: np.ndarray
    gates_from: str

    @property
    def name(self) -> str:
        """See :class:`WeightFile`."""
        return self.path.stem

    @property
    def gates(self) -> str:
        """See :class:`WeightFile`."""
        return self.gates_from

    def check(self, data: SeerData) -> None:
        """See :class:`WeightFile`."""
        users = self.architecture.num_users
        require(
            users == data.num_users,
            f"{self.path}: layer embedding_user holds {counted(users, 'user')} but the dataset has {data.num_users}; "
            "use --data-dir with the dataset these weights were trained on",
        )
        self.check_songs(data.midi)

    def check_songs(self, midi: np.ndarray) -> None:
        """Refuse a dataset (songs, steps, 32) whose songs are not the ones that these weights were trained on."""
        songs, steps, features = self.midi.shape
        require(
            len(midi) == songs,
            f"{self.path}: layer {MIDI_LAYER} holds {counted(songs, 'song')} but the dataset has {len(midi)}; "
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

    def load_into(self, networks: Networks) -> None:
        """See :class:`WeightFile`."""
        names = {name: "dense_1" if name.startswith("dense") else name for name in self.file.layers}
        self.file.load_into(networks.model, names)


def weight_file(path: Path, gate_activation: GateActivation | None = None) -> WeightFile:
    """What ``--weights`` names: a released file, or ``model.weights.h5`` of a run.

    Args:
        path: the file.
        gate_activation: gates of released weights; None for what the file says.

    Raises:
        UserError: not such a file, or other gates are asked for than a run has.
    """
    if is_keras_layout(path):
        return read_released(path, gate_activation)
    own = own_weights(path, read_run(path.parent))
    given = own.architecture.gate_activation
    require(
        gate_activation in (None, given),
        f"{path} holds gate_activation = {given}, but --gate-activation is {gate_activation}; leave it out",
    )
    return own


def own_weights(path: Path, run: Mapping[str, Any]) -> OwnWeights:
    """The weights ``path`` of a run, by what ``options.json`` beside them says.

    Raises:
        UserError: that is not of a run of SeER.
    """
    file = path.parent / "options.json"
    known = run.get("architecture")
    require(
        isinstance(known, dict) and {"variant", "latent_features"} <= known.keys(),
        f"{file}: not a run of seer/train.py that has a model",
    )
    try:
        architecture, trained_on = Architecture(**run["architecture"]), run["dataset"]
        name, fingerprint = trained_on["name"], trained_on["fingerprint"]
    except ValueError as error:
        raise UserError(f"{file}: architecture: {error}; it is what train.py wrote there, do not change it") from None
    except (KeyError, TypeError):
        raise UserError(f"{file}: not a run of seer/train.py") from None
    require(path.is_file(), f"{path}: not there; the run is not finished; continue it with seer/train.py")
    return OwnWeights(path, architecture, str(name), str(fingerprint))


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
        f"{path}: layer LSTM_1, kernel has {counted(gates, 'column')}; expected 4, 3 or 1 times "
        f"{counted(latent, 'latent feature')}",
    )
    require(
        features % FEATURES_PER_CHANNEL == 0 and midi.shape[1] % features == 0,
        f"{path}: layer LSTM_1 reads {counted(features, 'value')} a step, but {MIDI_LAYER} has "
        f"{counted(midi.shape[1], 'value')} a song",
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
    return ReleasedWeights(path, architecture, file, midi.reshape(len(midi), -1, features), gates_from)
