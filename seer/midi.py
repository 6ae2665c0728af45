"""MIDI to the array that SeER reads: one row per time stamp, a note and a velocity for each of 16 channels.

Source: Damak, Nasraoui, Sanders, arXiv 1907.01640 v2, section 3.1 and figures 1 to 4.
"""

from __future__ import annotations

import io
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mido
import numpy as np
import pretty_midi
from numpy.typing import NDArray

from common.options import UserError, require

Ints = NDArray[np.int64]
SeveralNotes = Literal["highest", "lowest", "loudest", "mean", "last"]
NoteEnds = Literal["keep", "drop"]
CHANNELS = 16
DRUM_CHANNEL = 9
"""Index of MIDI channel 10, which General MIDI keeps for drums."""
MAX_BYTES = 4 * 2**20
"""Of a MIDI file. An event needs two bytes at least, so this bounds the events, and with them the memory."""
MAX_TICK = 10_000_000
"""Latest tick of a song: the limit of pretty_midi, beyond which a file is most likely damaged."""
DEFAULT_TEMPO = 500_000
"""Microseconds per quarter note until the first tempo event, by the MIDI standard."""
_MELODIC = [channel for channel in range(CHANNELS) if channel != DRUM_CHANNEL]
# The parser reads a number as long as bytes have their high bit set, in time quadratic in their count.
_runaway = re.compile(rb"[\x80-\xff]{1000}")


@dataclass(frozen=True)
class NoteOns:
    """The note-on events of a song, ascending in time; those of one time in the order of the file."""

    ticks: Ints
    """(n,) MIDI ticks since the start."""
    times: NDArray[np.float64]
    """(n,) microseconds since the start, by the song's tempo map."""
    channels: Ints
    """(n,) 0..15."""
    notes: Ints
    """(n,) 0..127."""
    velocities: Ints
    """(n,) 0..127; 0 ends a note."""
    end: float
    """Microseconds from the start to the last note-on or note-off; 0 for a song without notes."""


def read_note_ons(path: Path) -> NoteOns:
    """Read the note-on events of a MIDI file (.mid) exactly: their channels, and those of velocity 0, too.

    The file is parsed by mido, as pretty_midi does; but PrettyMIDI keeps neither the channels nor the kind of a note's
    end, and ignores tempo events outside the first track, which count here.

    Raises:
        UserError: the file is missing, too large, not MIDI, damaged, or its times are not ticks of one common clock.
    """
    file = _parsed(path)
    require(file.type != 2, f"{path}: its tracks are independent (format 2); expected one song (format 0 or 1)")
    _check_resolution(path, file.ticks_per_beat)
    return _note_ons(path, file)


def _parsed(path: Path) -> mido.MidiFile:
    """The file as mido reads it; a UserError if it is missing, too large, not MIDI or damaged."""
    require(path.is_file(), f"{path}: no such MIDI file")
    try:
        content = path.read_bytes() if path.stat().st_size <= MAX_BYTES else b""
        require(content != b"", f"{path}: is empty, or larger than {MAX_BYTES:,} bytes; expected a MIDI song")
        require(not _runaway.search(content), f"{path}: has 1,000 bytes above 127 in a row; it is no song")
        return mido.MidiFile(file=io.BytesIO(content))
    except UserError:
        raise
    except Exception as error:  # damaged bytes provoke anything from EOFError to KeyError in the parser
        raise _damaged(path, error) from error


def _note_ons(path: Path, file: mido.MidiFile) -> NoteOns:
    events: list[tuple[int, int, int, int]] = []
    tempos = [(0, DEFAULT_TEMPO)]
    end = 0
    for track in file.tracks:
        tick = 0
        for message in track:
            tick += message.time
            require(tick <= MAX_TICK, f"{path}: has an event after tick {MAX_TICK:,}; it is most likely damaged")
            if message.type == "note_on":
                events.append((tick, message.channel, message.note, message.velocity))
                end = max(end, tick)
            elif message.type == "note_off":
                end = max(end, tick)
            elif message.type == "set_tempo":
                require(message.tempo > 0, f"{path}: has a tempo of 0 microseconds per quarter note; it is damaged")
                tempos.append((tick, message.tempo))
    table = np.array(events, dtype=np.int64).reshape(-1, 4)
    ticks, channels, notes, velocities = table[np.argsort(table[:, 0], kind="stable")].T
    changes = np.array(sorted(tempos, key=lambda change: change[0]), dtype=np.int64)  # of one tick the last counts
    times = _microseconds(np.append(ticks, end), changes, file.ticks_per_beat)
    return NoteOns(ticks, times[:-1], channels, notes, velocities, float(times[-1]))


def _microseconds(ticks: Ints, changes: Ints, resolution: int) -> NDArray[np.float64]:
    """Times of ``ticks``, given ``changes`` (n, 2) of ascending tick and tempo (microseconds per quarter note)."""
    at, tempo = changes.T
    before = np.concatenate([[0], np.cumsum(np.diff(at) * tempo[:-1])])  # integers: nothing is rounded on the way
    part = np.searchsorted(at, ticks, side="right") - 1
    return (before[part] + (ticks - at[part]) * tempo[part]) / resolution


def steps_of(
    note_ons: NoteOns, several_notes: SeveralNotes = "highest", note_ends: NoteEnds = "keep"
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Turn a song into SeER's input: the notes at each time stamp, channel by channel.

    A row belongs to one distinct time stamp (MIDI tick) with a note-on event. The columns interleave C1 note,
    C1 velocity, C2 note, ..., C16 velocity, raw values 0..127; a channel without an event at that time is 0, 0.

    Two points the paper leaves open:

    ``note_ends``      Files may write the end of a note as a note-on of velocity 0. ``keep`` (default) makes it a row
        like any other, with its note number and velocity 0: figure 4 of the paper keeps all events that MIDICSV calls
        Note_on_c, and those are among them. ``drop`` leaves them out, so that a song reads the same however its
        file writes the ends. True note-off events never make a row.
    ``several_notes``  What becomes of several notes of one channel at one time. A starting note beats an ending one;
        then ``highest`` (default; of equal ones the loudest): the melody mostly lies on top, and a note that sounded
        stays one that sounded. ``lowest`` and ``loudest`` (of equally loud ones the highest) select likewise; ``last``
        takes the last in the order of the file, as a table overwritten event by event would; ``mean`` rounds the means
        of notes and of velocities (as one replication does), which makes notes that nobody played.

    Returns:
        steps: uint8, shape (T, 32); T is 0 for a song without notes.
        times: float64, shape (T,), ascending, in microseconds since the start of the song.

    Source: arXiv 1907.01640 v2, section 3.1 and figure 4.
    """
    used = np.flatnonzero((note_ons.velocities > 0) | (note_ends == "keep"))
    notes, velocities = note_ons.notes[used], note_ons.velocities[used]
    stamps, first, row = np.unique(note_ons.ticks[used], return_index=True, return_inverse=True)
    cell = row * CHANNELS + note_ons.channels[used]
    chosen = np.zeros((len(stamps) * CHANNELS, 2), dtype=np.int64)  # note and velocity of each stamp and channel
    starts = velocities > 0
    if several_notes == "mean":
        started = np.zeros(len(chosen), dtype=bool)
        started[cell[starts]] = True
        counted = starts == started[cell]
        count = np.bincount(cell[counted], minlength=len(chosen))
        for column, values in enumerate((notes, velocities)):
            total = np.zeros_like(count)
            np.add.at(total, cell[counted], values[counted])
            chosen[:, column] = (2 * total + count) // np.maximum(2 * count, 1)  # halves are rounded up
    else:
        better = {
            "highest": (velocities, notes),
            "lowest": (velocities, -notes),
            "loudest": (notes, velocities),
            "last": (np.arange(len(used)),),
        }[several_notes]
        order = np.lexsort((*better, starts, cell))  # by cell; within it the best comes last
        best = order[np.flatnonzero(np.diff(cell[order], append=-1))]
        chosen[cell[best]] = np.stack([notes[best], velocities[best]], axis=1)
    return chosen.reshape(-1, 2 * CHANNELS).astype(np.uint8), note_ons.times[used][first]


def read_midi(path: Path) -> pretty_midi.PrettyMIDI:
    """Read a MIDI file (.mid) for pictures and sound.

    Tempo events of every track count, as in :func:`read_note_ons`, so that both tell the same times.

    Raises:
        UserError: the file is missing, too large, is not MIDI or is damaged.
    """
    file = _parsed(path)
    try:
        whole = _tempo_in_first_track(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tempo events elsewhere, which are there twice now
            midi = pretty_midi.PrettyMIDI(whole)
    except Exception as error:  # damaged bytes provoke anything from EOFError to KeyError in the parser
        raise _damaged(path, error) from error
    _check_resolution(path, midi.resolution)
    return midi


def _tempo_in_first_track(file: mido.MidiFile) -> io.BytesIO:
    """The file with all its tempo events in its first track, where alone PrettyMIDI looks for them."""
    if any(message.type == "set_tempo" for track in file.tracks[1:] for message in track):
        tempos = [mido.MidiTrack(m for m in _with_rests(track, "set_tempo")) for track in file.tracks]
        others = mido.MidiTrack(m for m in file.tracks[0] if m.type != "end_of_track")
        file.tracks[0] = mido.merge_tracks([others, *tempos[1:]])
    whole = io.BytesIO()
    file.save(file=whole)
    whole.seek(0)
    return whole


def _with_rests(track: mido.MidiTrack, kind: str) -> list[mido.MetaMessage]:
    """The messages of one kind, each with the time since the one before it."""
    found, rest = [], 0
    for message in track:
        rest += message.time
        if message.type == kind:
            found.append(message.copy(time=rest))
            rest = 0
    return found


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable MIDI file ({type(error).__name__}: {error}); is it a whole .mid file?")


def _check_resolution(path: Path, resolution: int) -> None:
    require(resolution != 0, f"{path}: has 0 ticks per quarter note; it is damaged")
    require(resolution > 0, f"{path}: its times are SMPTE frames; expected MIDI ticks per quarter note")


def midi_to_array(midi: pretty_midi.PrettyMIDI) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """The steps and times (see :func:`steps_of`, with its default choices) of a song that is not in a file.

    PrettyMIDI knows no channels nor how a note end is written. So drums take channel 10 (index 9), the other
    instruments the remaining channels in their order, starting again after 15 of them, and every end counts as
    a note-on of velocity 0.

    Raises:
        UserError: a note number or velocity lies outside 0..127.
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
    # The last first: PrettyMIDI rebuilds its table of times for every tick that lies beyond it.
    times = np.array([midi.tick_to_time(int(tick)) for tick in ticks[::-1]], dtype=np.float64)[::-1] * 1e6
    order = np.argsort(which, kind="stable")
    both = (np.tile(channels, 2), np.tile(pitch, 2), np.concatenate([velocity, np.zeros_like(velocity)]))
    channel_of, note_of, velocity_of = (column[order].astype(np.int64) for column in both)
    end = float(times.max(initial=0.0))
    return steps_of(NoteOns(ticks[which[order]], times[which[order]], channel_of, note_of, velocity_of, end))
