"""The notes of a song for the ear and the eye: from its MIDI file, or else reconstructed from SeER's array."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
from numpy.typing import NDArray

from common.options import UserError
from seer.midi import CHANNELS, DRUM_CHANNEL, read_midi
from seer.midi_file import song_name

LONGEST_SECONDS = 2.0
"""At the latest then a note ends whose end is lost in the array."""
_ticks_per_quarter = 500  # at 120 quarter notes a minute a tick is a millisecond


@dataclass(frozen=True)
class SongNotes:
    """The notes of one song, and where they come from."""

    midi: pretty_midi.PrettyMIDI
    source: str
    """In words, to be shown beside the picture or the sound."""


def clock(seconds: float) -> str:
    """A time in a song, to a tenth of a second.

    >>> clock(72.44), clock(59.96)
    ('1:12.4', '1:00.0')
    """
    tenths = round(seconds * 10)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def song_notes(folder: Path | None, number: int, steps: NDArray[Any], times_us: NDArray[Any]) -> SongNotes:
    """The notes of song ``number``: those of ``<folder>/<number>.mid`` (or .kar, ...) if it is there, else the array's.

    Args:
        folder: MIDI files by song number; None if there are none.
        steps: SeER's array of the song (T, 32), 0..127: 16 times note and velocity; zeros pad the end.
        times_us: (T,) microseconds from the song's start to each step; zeros pad the end.

    Raises:
        UserError: the MIDI file is damaged.
    """
    path = None if folder is None else _file_of(folder, number)
    if path is None:
        source = "the dataset's array: note lengths are a guess, all instruments sound as a piano"
        return SongNotes(array_to_midi(steps, times_us), source)
    try:
        midi = read_midi(path)
    except UserError as error:
        raise UserError(f"{error}; replace the file, or remove it to use the dataset's array instead") from error
    return SongNotes(midi, "the MIDI file of the song")


def _file_of(folder: Path, number: int) -> Path | None:
    usual = folder / f"{number}.mid"
    if usual.is_file():
        return usual
    return next((path for path in sorted(folder.glob(f"{number}.*")) if song_name(path.name) and path.is_file()), None)


def array_to_midi(steps: NDArray[Any], times_us: NDArray[Any]) -> pretty_midi.PrettyMIDI:
    """Reconstruct a song from SeER's array, as well as can be.

    The array keeps one event per channel and time stamp, so chords are thinned out and many note ends are lost.
    A note ends at the next event of its pitch in its channel (an end, velocity 0, or a new start), but at the
    latest 2 seconds after its start. The array knows no programs: every channel is a piano, channel 10 the drums.

    Args:
        steps: (T, 32) as in :func:`song_notes`.
        times_us: (T,).

    Returns:
        One instrument for each channel that has notes, in the order of the channels.

    Raises:
        ValueError: the shapes do not fit each other.
    """
    steps, times = np.asarray(steps), np.asarray(times_us, np.float64)
    if steps.shape != (len(times), 2 * CHANNELS):
        raise ValueError(f"steps have shape {steps.shape}, expected ({len(times)}, {2 * CHANNELS}) as there are times")
    used = times >= np.maximum.accumulate(times) if len(times) else np.zeros(0, bool)  # padding falls back to 0
    values = np.clip(np.rint(steps[used]), 0, 127).astype(np.int64)
    seconds = times[used] / 1e6
    midi = pretty_midi.PrettyMIDI(resolution=_ticks_per_quarter, initial_tempo=120)
    for channel in range(CHANNELS):
        events = values[:, 2 * channel : 2 * channel + 2]
        present = events.any(axis=1)
        notes = list(_notes(seconds[present], events[present]))
        if notes:
            instrument = pretty_midi.Instrument(0, is_drum=channel == DRUM_CHANNEL)
            instrument.notes = notes
            midi.instruments.append(instrument)
    return midi


def _notes(seconds: NDArray[np.float64], events: NDArray[np.int64]) -> Iterator[pretty_midi.Note]:
    """The notes of one channel, in the order of their starts, from its events (n, 2) at ``seconds`` (n,)."""
    for pitch in np.unique(events[:, 0]):
        at = np.flatnonzero(events[:, 0] == pitch)
        ends = np.append(seconds[at[1:]], np.inf)
        for start, end, velocity in zip(seconds[at], ends, events[at, 1], strict=True):
            if velocity > 0:
                last = min(float(end), float(start) + LONGEST_SECONDS)
                yield pretty_midi.Note(int(velocity), int(pitch), float(start), last)
