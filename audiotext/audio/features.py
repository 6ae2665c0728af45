"""The log-frequency spectrogram of a track: constant-Q transform, decibels below the track's own maximum."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from audiotext.audio.decode import SAMPLE_RATE, read_wave
from common.options import require

Protocol = Literal["corrected", "released"]
HOP = 1024
"""Samples from frame to frame: 46 ms."""
BINS = 96
"""Semitones from C1 (32.7 Hz) to B8 (7,902 Hz)."""
FLOOR = -80.0
"""Decibels below the track's maximum at which everything ends."""
SILENCE = 1e-10
"""Power up to which nothing is heard; the least that ``librosa.power_to_db`` tells from 0."""


def log_cqt(source: Path | np.ndarray, protocol: Protocol = "corrected") -> np.ndarray:
    """The spectrogram of a file or of a wave of 22,050 samples per second: (frames, 96) float32 in -80..0 dB.

    See :func:`decibels` for silence.

    Raises:
        UserError: the file cannot be read (see :func:`audiotext.audio.decode.read_wave`) or is shorter than a frame.
    """
    wave = read_wave(source) if isinstance(source, Path) else source
    name = f"{source}: " if isinstance(source, Path) else ""
    require(len(wave) >= HOP, f"{name}{len(wave)} samples of sound are less than a frame of {HOP}")
    return decibels(np.square(magnitudes(wave)), protocol)


def magnitudes(wave: np.ndarray) -> np.ndarray:
    """The absolute constant-Q transform of a wave, (1 + samples // 1024, 96) float32; tuning is taken as it is."""
    import librosa  # imported late: it takes its time

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a wave shorter than the longest filter is continued with zeros, as it should
        return np.abs(librosa.cqt(wave, sr=SAMPLE_RATE, hop_length=HOP, n_bins=BINS, bins_per_octave=12, tuning=0.0)).T


def is_silent(spectrogram: np.ndarray, protocol: Protocol = "corrected") -> bool:
    """Whether nothing is heard in what :func:`log_cqt` returned."""
    return bool((spectrogram == (FLOOR if protocol == "corrected" else 0.0)).all())


def decibels(power: np.ndarray, protocol: Protocol = "corrected") -> np.ndarray:
    """10 log10(power / max power), at least -80 dB.

    The released code compares with the maximum after raising both to at least 1e-10: digital silence becomes 0 dB, the
    loudest value there is, and quiet recordings lose their dark end. ``corrected``: silence is -80 dB everywhere, and
    the level of a recording makes no difference. Where the maximum is 0.01 or more, as in any usual recording, the two
    are the same.
    """
    power = np.asarray(power, np.float32)
    loudest = float(power.max())
    if protocol == "released":
        found = 10.0 * np.log10(np.maximum(power, SILENCE) / np.float32(max(loudest, SILENCE)))
    elif loudest <= SILENCE:
        return np.full(power.shape, FLOOR, np.float32)
    else:
        found = 10.0 * np.log10(np.maximum(power / np.float32(loudest), 1e-9))
    return np.maximum(found, FLOOR).astype(np.float32)
