"""Clips of the synthetic sample: chords over a beat, made from one period of a waveform by table look-up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 22_050
"""Samples in a second; mono."""
TABLE = 2048
"""Samples of a period."""
SCALES = ((0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 2, 4, 6, 8), (0, 1, 5, 7, 8), (0, 4, 5, 7, 11), (0, 2, 3, 7, 8))
"""Semitones above the key that the chords of a genre are made of."""
PARTIALS = 10


def clip(genre: int, mood: NDArray[np.float64], seconds: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A mono clip at :data:`RATE`, its largest value 0.8.

    Args:
        genre: chooses the scale, and whether the waveform has its even partials.
        mood: about standard normal: tempo (70 to 180 beats a minute), register (three octaves) and brightness
            (how slowly the partials fall off).
    """
    tempo, register, brightness = 1 / (1 + np.exp(-1.3 * mood))
    samples = int(seconds * RATE)
    beat = 60 / (70 + 110 * tempo)
    table = _waveform(0.35 + 0.5 * brightness, 1.0 if genre % 2 else 0.15)
    key = 110 * 2 ** (3 * register) * 2 ** (rng.uniform(-0.5, 0.5) / 12)
    scale = np.array(SCALES[genre % len(SCALES)])
    times = np.arange(samples) / RATE
    wave = np.zeros(samples, np.float32)
    chords = -(-samples // int(4 * beat * RATE))
    for number in range(chords):
        part = slice(int(number * 4 * beat * RATE), int((number + 1) * 4 * beat * RATE))
        for step in scale[np.sort(rng.choice(len(scale), 3, replace=False))]:
            phase = times[part] * (key * 2 ** (step / 12)) * TABLE
            wave[part] += table[phase.astype(np.int64) & (TABLE - 1)]
    since_beat = times % beat
    wave *= np.exp(-3 * since_beat / beat).astype(np.float32)
    wave += np.exp(-60 * since_beat).astype(np.float32) * 0.5 * rng.standard_normal(samples, np.float32)  # a drum
    return wave * np.float32(0.8 / np.abs(wave).max())


def _waveform(ratio: float, even: float) -> NDArray[np.float32]:
    """A period whose partials fall off by ``ratio``; the even ones are weaker by the factor ``even``."""
    angle = 2 * np.pi * np.arange(TABLE) / TABLE
    number = np.arange(1, PARTIALS + 1)
    strength = ratio ** (number - 1) * np.where(number % 2 == 0, even, 1.0)
    return (strength @ np.sin(np.outer(number, angle))).astype(np.float32)
