"""MIDI to the array that SeER reads: one row per time stamp, a note and a velocity for each of 16 channels.

Source: Damak, Nasraoui, arXiv 1907.01640 v2, section 3.1 and figures 1 to 4.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mido
import numpy as np
import pretty_midi
from numpy.typing import NDArray

from common.options import UserError, reason_of, require
from seer.midi_file import META, SET_TEMPO, Damaged, Event, MidiFile, is_meta, parse, tempo_data, tempo_of

Ints = NDArray[np.int64]
SeveralNotes = Literal["highest", "lowest", "loudest", "mean", "last"]
NoteEnds = Literal["keep", "drop"]
CHANNELS = 16
DRUM_CHANNEL = 9
"""Index of MIDI channel 10, which General MIDI keeps for drums."""
MAX_BYTES = 4 * 2**20
"""Of a MIDI file. An event needs two bytes at least, so this bounds the events, and with them the memory."""
MAX_TICK = 9_999_998
"""Latest tick of a note: with the tick that it lasts at least, the limit of pretty_midi."""
DEFAULT_TEMPO = 500_000
"""Microseconds per quarter note until the first tempo event, by the MIDI standard."""
_MELODIC = [channel for channel in range(CHANNELS) if channel != DRUM_CHANNEL]
_SILENCE = frozenset({120, 123, 124, 125, 126, 127})
"""Controllers that end all notes of a channel."""
_TRACK_NAME = 0x03


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
    """Microseconds from the start to the end of the last note; 0 for a song without notes."""
    repairs: tuple[str, ...] = ()
    """What of the file breaks the standard and was read all the same."""


def read_note_ons(path: Path) -> NoteOns:
    """Read the note-on events of a MIDI file exactly: their channels, and those of velocity 0, too.

    Tempo events of every track count. The bytes are read by :mod:`seer.midi_file`, which says what is repaired.

    Raises:
        UserError: the file is missing, too large, not MIDI, damaged, or holds several songs.
    """
    file = _parsed(path)
    notes = [
        (event.tick, event.status & 15, *event.data)
        for track in file.tracks
        for event in track
        if event.status >> 4 == 9
    ]
    table = np.array(notes, dtype=np.int64).reshape(-1, 4)
    ticks, channels, pitches, velocities = table[np.argsort(table[:, 0], kind="stable")].T
    end = _with_ends(file)[1]
    times = _microseconds(np.append(ticks, end), np.array(_tempos(path, file, end), dtype=np.int64), file.resolution)
    return NoteOns(ticks, times[:-1], channels, pitches, velocities, float(times[-1]), file.repairs)


def _parsed(path: Path) -> MidiFile:
    """The events of the file; a UserError if it is missing, too large, not MIDI or damaged."""
    require(not path.is_dir(), f"{path}: is a folder, not a MIDI file")
    require(path.is_file(), f"{path}: no such MIDI file")
    try:
        size = path.stat().st_size
        require(size <= MAX_BYTES, f"{path}: is larger than {MAX_BYTES:,} bytes; expected a MIDI song")
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {reason_of(error)}") from error
    require(content != b"", f"{path}: is empty; expected a MIDI song")
    try:
        file = parse(content, MAX_BYTES)
    except Damaged as error:
        raise UserError(f"{path}: {error}") from error
    late = any(event.tick > MAX_TICK for track in file.tracks for event in track if is_note(event))
    require(not late, f"{path}: has a note after tick {MAX_TICK:,}; it is most likely damaged")
    return file


def is_note(event: Event) -> bool:
    """Whether an event starts or ends a note."""
    return event.status >> 4 in (8, 9)


def _tempos(path: Path, file: MidiFile, end: int) -> list[tuple[int, int]]:
    """Tick and tempo, ascending; of several at one tick the last one in the file counts.

    A tempo of 0 before the song's ``end`` is a UserError.
    """
    found = [(event.tick, tempo) for track in file.tracks for event in track if (tempo := tempo_of(event)) is not None]
    changes = dict([(0, DEFAULT_TEMPO), *sorted(found, key=lambda change: change[0])])
    stopped = any(tempo == 0 and tick <= end for tick, tempo in changes.items())
    require(not stopped, f"{path}: has a tempo of 0 microseconds per quarter note; it is damaged")
    return [(tick, tempo) for tick, tempo in changes.items() if tempo > 0 and tick <= MAX_TICK]


def _with_ends(file: MidiFile) -> tuple[list[list[Event]], int]:
    """The tracks with an end for every note that starts, and the tick of the last note event.

    PrettyMIDI forgets notes that nothing ends, and those that end when they start; the array has both. Here a note
    that its own track does not end lasts until another track ends it or silences its channel, or else until the end of
    the longest track, as players sound it; and every note lasts a tick at least.
    """
    ends: dict[tuple[int, int], list[int]] = {}
    silences: dict[int, list[int]] = {}
    last = longest = 0
    for event in (event for track in file.tracks for event in track if event.tick <= MAX_TICK):
        longest = max(longest, event.tick)
        kind, channel = event.status >> 4, event.status & 15
        if kind in (8, 9):
            last = max(last, event.tick)
            if not _starts(event):
                ends.setdefault((channel, event.data[0]), []).append(event.tick)
        elif kind == 11 and event.data[0] in _SILENCE:
            silences.setdefault(channel, []).append(event.tick)
    for ticks in (*ends.values(), *silences.values()):
        ticks.sort()

    tracks = []
    for track in file.tracks:
        sounding: dict[tuple[int, int], list[int]] = {}
        kept, added = [], []
        for event in track:
            if is_note(event):
                key = event.status & 15, event.data[0]
                if _starts(event):
                    sounding.setdefault(key, []).append(event.tick)
                else:
                    starts = sounding.pop(key, [])
                    now = [start for start in starts if start == event.tick]
                    if now and now == starts:
                        added.append(_note_off(event.tick + 1, *key))
                        continue
                    if now:
                        sounding[key] = now
            kept.append(event)
        for (channel, note), starts in sounding.items():
            for start in set(starts):
                stops = (ends.get((channel, note), []), silences.get(channel, []))
                later = [ticks[at] for ticks in stops if (at := bisect.bisect(ticks, start)) < len(ticks)]
                end = min(later, default=longest)
                added.append(_note_off(max(end, start + 1), channel, note))
                last = max(last, end)
        tracks.append(sorted([*kept, *added], key=lambda event: event.tick))
    return tracks, last


def _starts(event: Event) -> bool:
    return event.status >> 4 == 9 and event.data[1] > 0


def _note_off(tick: int, channel: int, note: int) -> Event:
    return Event(tick, 0x80 | channel, bytes([note, 64]))


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
    """Read a MIDI file for pictures and sound: the notes at the times that :func:`read_note_ons` gives the model.

    Every file that the one reads the other reads as well.

    Raises:
        UserError: as :func:`read_note_ons`.
    """
    file = _parsed(path)
    tracks, end = _with_ends(file)
    # PrettyMIDI looks for tempo events in the first track alone.
    tempos = [Event(tick, META, tempo_data(tempo)) for tick, tempo in _tempos(path, file, end)]
    song = mido.MidiFile(ticks_per_beat=file.resolution)
    for number, track in enumerate(tracks):
        played = [event for event in track if event.tick <= MAX_TICK + 1 and event.status != META]
        named = [event for event in track if is_meta(event, _TRACK_NAME)][:1]
        events = sorted([*(tempos if number == 0 else []), *named, *played], key=lambda event: event.tick)
        ticks = [0, *(event.tick for event in events)]
        messages = [_message(event, event.tick - before) for event, before in zip(events, ticks, strict=False)]
        song.tracks.append(mido.MidiTrack([*messages, mido.MetaMessage("end_of_track")]))
    return pretty_midi.PrettyMIDI(mido_object=song)


def _message(event: Event, time: int) -> mido.Message | mido.MetaMessage:
    if event.status != META:
        return mido.Message.from_bytes([event.status, *event.data], time=time)
    if is_meta(event, SET_TEMPO):
        return mido.MetaMessage("set_tempo", tempo=tempo_of(event), time=time)
    return mido.MetaMessage("track_name", name=event.data[1:].decode("latin1"), time=time)


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
