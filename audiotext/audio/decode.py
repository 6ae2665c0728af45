"""Audio files as mono waves; whatever libsndfile reads: WAV, FLAC, Ogg, MP3."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from common.options import UserError, require
from common.quiet import silent_stderr

SAMPLE_RATE = 22_050
"""Samples per second of what the network hears."""
LONGEST = 3600
"""Seconds of a file that is still read."""
LOUDEST = 1e6
"""Full scale is 1; 16-bit numbers that somebody stored as floats reach 32,768."""
COMPLETE = 0.9
"""Share of the length that a file's header promises below which it counts as cut off (the estimate for MP3 is a little
too long)."""


def read_wave(path: Path) -> np.ndarray:
    """The sound of a file: channels averaged, 22,050 samples per second, (n,) float32.

    Raises:
        UserError: no such file, no audio that can be decoded, damaged, empty or longer than an hour.
    """
    import librosa  # imported late: it takes its time
    import soundfile

    require(path.is_file(), f"{path}: no such file")
    try:
        # The MP3 decoder writes to the console about every odd frame.
        with silent_stderr(), soundfile.SoundFile(path) as file:
            promised, rate = file.frames, file.samplerate
            hours = promised / rate / 3600
            require(hours * 3600 <= LONGEST, f"{path}: {hours:.1f} hours of sound; expected a clip, at most an hour")
            wave = file.read(dtype="float32", always_2d=True)
    except UserError:
        raise
    except (soundfile.SoundFileError, OSError, ValueError, RuntimeError, MemoryError):
        raise UserError(f"{path}: not audio that can be decoded; expected a WAV, FLAC, Ogg or MP3 file") from None
    require(len(wave) > 0, f"{path}: holds no sound")
    require(
        len(wave) >= COMPLETE * promised,
        f"{path}: cut off: its header promises {promised / rate:.1f} s, {len(wave) / rate:.1f} s can be decoded",
    )
    usual = bool((np.abs(wave) < LOUDEST).all())
    require(usual, f"{path}: holds samples that are NaN, infinite or far beyond full scale")
    mono = wave.mean(axis=1)
    return mono if rate == SAMPLE_RATE else librosa.resample(mono, orig_sr=rate, target_sr=SAMPLE_RATE)
