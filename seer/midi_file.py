"""Standard MIDI files: a parser that reads what players play, and refuses what they could only guess.

Programs and keyboards write files that break the standard in small ways. mido, on which pretty_midi stands, refuses
most of these files, and reads some that it cannot write again. So SeER reads the bytes itself, once, for the model, the
pictures and the sound. A file that keeps the standard gives the very events that it holds.

Source: MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001); Microsoft, RIFF MIDI (RP-029).
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

ENDINGS = (".mid", ".midi", ".kar", ".rmi", ".smf")
"""Of names of MIDI files, in capitals, too; each may have .gz behind it."""
META = 0xFF
END_OF_TRACK, SET_TEMPO = 0x2F, 0x51
_gzip = b"\x1f\x8b"
_longest_number = 8
"""Bytes of a variable-length number; the standard has 4, some programs put empty ones before them."""
_drop_frame = 29
_frames = {24: 24, 25: 25, _drop_frame: 30, 30: 30}
"""SMPTE format -> frames of a second; drop-frame is 30 in 1.001 seconds."""
_system_data = {0xF1: 1, 0xF2: 2, 0xF3: 1}  # data bytes of system common messages; the others have none


class Damaged(ValueError):
    """The bytes are no MIDI song; the text says why, without the file's name."""


class Event(NamedTuple):
    """A channel message or a meta event."""

    tick: int
    """Since the start of the song."""
    status: int
    """0x80..0xEF with the channel in the last four bits, or ``META``."""
    data: bytes
    """One or two values 0..127; of a meta event its type and its content."""


@dataclass(frozen=True)
class MidiFile:
    """A song as its file has it."""

    resolution: int
    """Ticks per quarter note, 1..32767."""
    tracks: tuple[tuple[Event, ...], ...]
    """The events of each track, ascending in time."""
    repairs: tuple[str, ...] = ()
    """What of the file breaks the standard and was read all the same, for people; sorted."""


def parse(content: bytes, largest: int) -> MidiFile:
    """Read the bytes of a MIDI file.

    A program that compresses (.mid.gz) or wraps it (RIFF, .rmi) is looked through. What breaks the standard is read as
    players read it: a value above 127 is 127, but a note above 127 is none; bytes of other kinds of MIDI data (system
    exclusive and real-time messages) are left out, and so are unknown chunks; tracks are counted, and their true end is
    found; a message without its status has that of the last one. SMPTE times become ticks of a constant tempo.

    Args:
        content: the file.
        largest: bytes that an unpacked file may have.

    Raises:
        Damaged: there is no MIDI header, no track or no clock; the file is cut off or too large; its tracks are
            songs of their own (format 2); or bytes make no sense.
    """
    repairs: set[str] = set()
    content = unpacked(content, largest)
    riff = content[:4] == b"RIFF" and content[8:12] == b"RMID"
    start = content.find(b"MThd", 0, len(content) if riff else 4096)
    if start < 0:
        raise Damaged("has no MIDI header (MThd); is it a MIDI file?")
    if start > 0 and not riff:
        repairs.add("bytes before the header")
    header = content[start + 8 : start + 14]
    if len(header) < 6:
        raise Damaged("is cut off in its header")
    kind, count = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:4], "big")
    tracks = list(_tracks(content, start, repairs))
    if not tracks:
        raise Damaged("has no track (MTrk)")
    if kind == 2 and len(tracks) > 1:
        raise Damaged("its tracks are independent (format 2); expected one song (format 0 or 1)")
    if count != len(tracks):
        repairs.add("a wrong number of tracks")
    resolution, tempo = _clock(int.from_bytes(header[4:6], "big", signed=True))
    if tempo:
        tracks = [[event for event in track if not is_meta(event, SET_TEMPO)] for track in tracks]
        tracks[0].insert(0, Event(0, META, tempo_data(tempo)))
    return MidiFile(resolution, tuple(map(tuple, tracks)), tuple(sorted(repairs)))


def is_meta(event: Event, kind: int) -> bool:
    """Whether an event is a meta event of this type."""
    return event.status == META and event.data[0] == kind


def tempo_of(event: Event) -> int | None:
    """Microseconds per quarter note of a tempo event; None for any other event, or one that is too short."""
    return int.from_bytes(event.data[1:4], "big") if is_meta(event, SET_TEMPO) and len(event.data) >= 4 else None


def tempo_data(tempo: int) -> bytes:
    """The data of a tempo event."""
    return bytes([SET_TEMPO]) + tempo.to_bytes(3, "big")


def song_name(file: str) -> str | None:
    """The name of a MIDI file without its ending; None if the ending is of another kind.

    >>> song_name("TRAAA.MID"), song_name("a.b.mid.gz"), song_name("notes.txt")
    ('TRAAA', 'a.b', None)
    """
    path = PurePath(file)
    path = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return path.stem if path.suffix.lower() in ENDINGS else None


def is_gzip(path: Path) -> bool:
    """Whether gzip has compressed a file, whatever it is called."""
    with path.open("rb") as file:
        return file.read(len(_gzip)) == _gzip


def unpacked(content: bytes, largest: int) -> bytes:
    """The bytes of a file that gzip has compressed, at most ``largest``; those of any other file as they are.

    Raises:
        Damaged: the compression is damaged, or the file is larger.
    """
    if not content.startswith(_gzip):
        return content
    try:
        with gzip.open(io.BytesIO(content)) as stream:
            unpacked = stream.read(largest + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Damaged(f"its gzip compression is damaged ({error})") from error
    if len(unpacked) > largest:
        raise Damaged(f"is larger than {largest:,} bytes when unpacked; expected a MIDI song")
    return unpacked


def _clock(division: int) -> tuple[int, int]:
    """Ticks per quarter note, and 0; or for SMPTE times a resolution and the tempo that make ticks of their length."""
    if division > 0:
        return division, 0
    if division == 0:
        raise Damaged("has 0 ticks per quarter note; it is damaged")
    frames, ticks = -(division >> 8), division & 0xFF
    if frames not in _frames or ticks == 0:
        raise Damaged(f"its times are SMPTE frames, {frames} a second of {ticks} ticks each, which do not exist")
    return _frames[frames] * ticks, 1_001_000 if frames == _drop_frame else 1_000_000


def _tracks(content: bytes, start: int, repairs: set[str]) -> Iterator[list[Event]]:
    """The tracks behind the header at ``start``."""
    size = int.from_bytes(content[start + 4 : start + 8], "big")
    at = start + 8 + size
    if size < 6 or not _is_chunk(content, at):
        repairs.add("a wrong length of the header")
        at = _next_track(content, start + 14)
    number = 0
    while at + 8 <= len(content):
        size = int.from_bytes(content[at + 4 : at + 8], "big")
        if content[at : at + 4] == b"MTrk":
            number += 1
            track, at = _track(content, at + 8, size, number, repairs)
            yield track
        elif _is_chunk(content, at):
            at += 8 + size
            repairs.add("unknown chunks")
        elif (at := _next_track(content, at)) < len(content):
            repairs.add("bytes between the tracks")


def _is_chunk(content: bytes, at: int) -> bool:
    """Whether a track or a whole chunk of another kind starts there."""
    name = content[at : at + 4]
    if name == b"MTrk":
        return True
    fits = at + 8 + int.from_bytes(content[at + 4 : at + 8], "big") <= len(content)
    return fits and all(32 <= letter < 127 for letter in name)


def _next_track(content: bytes, at: int) -> int:
    found = content.find(b"MTrk", at)
    return found if found >= 0 else len(content)


def _track(content: bytes, start: int, size: int, number: int, repairs: set[str]) -> tuple[list[Event], int]:
    """The events of a track whose first byte is at ``start``, and the place of the next chunk."""
    stop = start + size
    believed = stop == len(content) or _is_chunk(content, stop)  # else the track ends where it says itself
    limit = stop if believed else _next_track(content, start)
    readings: list[_Reading] = []
    wrong: Damaged | None = None
    # Bytes above 127 within a message are values too large, or real-time messages: the reading that ends well counts.
    for realtime_within in (False, True):
        try:
            readings.append(_events(content, start, limit, realtime_within))
        except Damaged as error:
            wrong = wrong or Damaged(f"{error} (track {number})")
            continue
        if readings[-1].ended and readings[-1].end == stop:
            break
    if not readings:
        assert wrong is not None
        raise wrong
    reading = max(readings, key=lambda reading: (reading.ended and reading.end == stop, reading.ended))
    if not reading.ended and not believed and limit == len(content):
        raise Damaged(f"is cut off: track {number} should have {size:,} bytes, and {len(content) - start:,} are there")
    repairs |= reading.repairs
    if not reading.ended:
        repairs.add("tracks without an end")
    if reading.end != stop:
        repairs.add("wrong lengths of tracks")
    following = _next_track(content, reading.end)
    return reading.events, min(following, stop) if believed else following


class _Reading(NamedTuple):
    """One way to read the bytes of a track."""

    events: list[Event]
    end: int
    """Place behind the last event."""
    ended: bool
    """Whether the event that ends a track was met."""
    repairs: set[str]


def _events(content: bytes, start: int, stop: int, realtime_within: bool) -> _Reading:
    """Read events up to the end of the track, or to ``stop``."""
    events: list[Event] = []
    repairs: set[str] = set()
    tick, running, at = 0, 0, start
    while at < stop:
        delta, at = _number(content, at, stop)
        tick += delta
        status = _byte(content, at, stop)
        if status < 0x80:
            if not running:
                raise Damaged("has data without a message that they belong to")
            status = running
        else:
            at += 1
        if status < 0xF0:
            running = status
            length = 1 if 0xC0 <= status < 0xE0 else 2
            data = content[at : min(at + length, stop)]
            at += length
            if len(data) == length and max(data) > 127:
                if realtime_within:
                    data, at = _without_realtime(content, at - length, stop, length)
                    repairs.add("real-time messages within others")
                if max(data, default=0) > 127:
                    repairs.add("values above 127")
                    if status < 0xB0 and data[0] > 127:
                        continue  # a note that no instrument has
                    data = bytes(min(value, 127) for value in data)
            if len(data) < length:
                raise Damaged("is cut off in the middle of a message")
            events.append(Event(tick, status, data))
        elif status == META:
            kind = _byte(content, at, stop)
            length, at = _number(content, at + 1, stop)
            if at + length > stop:
                raise Damaged("is cut off in the middle of a meta event")
            events.append(Event(tick, META, bytes([kind]) + content[at : at + length]))
            at += length
            if kind == END_OF_TRACK:
                return _Reading(events, at, True, repairs)
        elif status in (0xF0, 0xF7):
            length, at = _number(content, at, stop)
            if at + length > stop:
                raise Damaged("has a system exclusive message that does not end")
            at += length
        else:
            at += _system_data.get(status, 0)
            repairs.add("real-time messages")
    return _Reading(events, at, False, repairs)


def _byte(content: bytes, at: int, stop: int) -> int:
    if at >= stop:
        raise Damaged("is cut off in the middle of a message")
    return content[at]


def _number(content: bytes, at: int, stop: int) -> tuple[int, int]:
    """A variable-length number, and the place behind it."""
    value = 0
    for place in range(at, min(at + _longest_number, stop)):
        byte = content[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    if at + _longest_number > stop:
        raise Damaged("is cut off in the middle of a time or a length")
    raise Damaged(f"has a time or a length of more than {_longest_number} bytes")


def _without_realtime(content: bytes, at: int, stop: int, length: int) -> tuple[bytes, int]:
    """The next ``length`` bytes that are no real-time message, and the place behind them."""
    data = bytearray()
    while len(data) < length and at < stop:
        if not 0xF8 <= content[at] < META:
            data.append(content[at])
        at += 1
    return bytes(data), at
