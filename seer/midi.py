"""MIDI to the array that SeER reads: one row per time stamp, a note and a velocity for each of 16 channels.

Source: Damak, Nasraoui, Sanders, arXiv 1907.01640 v2, section 3.1 and figures 1 to 4.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pretty_midi

from common.options import UserError, require

CHANNELS = 16
DRUM_CHANNEL = 9
"""Index of MIDI channel 10, which General MIDI keeps for drums."""
_MELODIC = [channel for channel in range(CHANNELS) if channel != DRUM_CHANNEL]


def read_midi(path: Path) -> pretty_midi.PrettyMIDI:
    """Read a MIDI file (.mid).

    Raises:
        UserError: the file is missing, is not MIDI or is damaged.
    """
    require(path.is_file(), f"{path}: no such MIDI file")
    try:
        with warnings.catch_warnings():
            # Lakh files often change the tempo outside the first track; the order of notes is right even so.
            warnings.simplefilter("ignore")
            midi = pretty_midi.PrettyMIDI(str(path))
    except Exception as error:  # damaged bytes provoke anything from EOFError to KeyError in the parser
        raise UserError(
            f"{path}: not a readable MIDI file ({type(error).__name__}: {error}); is it a whole .mid file?"
        ) from error
    require(midi.resolution > 0, f"{path}: its times are SMPTE frames; expected MIDI ticks per quarter note")
    return midi


def midi_to_array(midi: pretty_midi.PrettyMIDI) -> tuple[np.ndarray, np.ndarray]:
    """Turn a song into SeER's input: the notes that start or end at each time stamp, channel by channel.

    A row belongs to one distinct time stamp (MIDI tick) at which a note starts or ends. An end is a note-on
    of velocity 0, which the paper keeps: the note number stays and the velocity is 0. The columns interleave
    C1 note, C1 velocity, C2 note, ..., C16 velocity, raw values 0..127; a channel without an event at that
    time is 0, 0.

    The paper does not say what becomes of several events of one channel at one time stamp. Here a starting
    note beats an ending one, then the higher note wins (the melody lies on top), then the louder.

    PrettyMIDI forgets the channel and how a note end was written. So drums take channel 10 (index 9), the
    other instruments the remaining channels in their order, starting again after 15 of them, and every end
    counts as a velocity-0 note-on.

    Returns:
        steps: uint8, shape (T, 32); T is 0 for a song without notes.
        times: float64, shape (T,), ascending, in microseconds since the start of the song.

    Raises:
        UserError: a note number or velocity lies outside 0..127.

    Source: arXiv 1907.01640 v2, figure 4; several notes per channel and the channel numbers are our choice.
    """
    channels: list[int] = []
    notes: list[tuple[float, float, int, int]] = []
    melodic = 0
    for instrument in midi.instruments:
        channel = DRUM_CHANNEL
        if not instrument.is_drum:
            channel = _MELODIC[melodic % len(_MELODIC)]
            melodic += 1
        notes += [(note.start, note.end, note.pitch, note.velocity) for note in instrument.notes]
        channels += [channel] * len(instrument.notes)

    table = np.array(notes, dtype=np.float64).reshape(-1, 4)
    pitch, velocity = table[:, 2].astype(np.int64), table[:, 3].astype(np.int64)
    inside = (pitch >= 0) & (pitch <= 127) & (velocity >= 0) & (velocity <= 127)
    require(bool(inside.all()), "a note number or velocity of the song lies outside 0..127")

    # Ticks, not seconds: equal stamps may differ in the last bit of their seconds.
    seconds, which = np.unique(np.concatenate([table[:, 0], table[:, 1]]), return_inverse=True)
    ticks = np.array([midi.time_to_tick(second) for second in seconds], dtype=np.int64)
    stamps, stamp_of = np.unique(ticks, return_inverse=True)
    # The last first: PrettyMIDI rebuilds its table of times for every tick that lies beyond it.
    times = np.array([midi.tick_to_time(int(stamp)) for stamp in stamps[::-1]], dtype=np.float64)[::-1] * 1e6

    starts = ((velocity > 0) << 14) | (pitch << 7) | velocity  # the rule for several events, as one number
    rows, columns = stamp_of[which], np.tile(np.array(channels, dtype=np.int64), 2)
    best = np.zeros((len(stamps), CHANNELS), dtype=np.int64)
    np.maximum.at(best, (rows, columns), np.concatenate([starts, pitch << 7]))

    steps = np.empty((len(stamps), 2 * CHANNELS), dtype=np.uint8)
    steps[:, 0::2] = (best >> 7) & 127
    steps[:, 1::2] = best & 127
    return steps, times
