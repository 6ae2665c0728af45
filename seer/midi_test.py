from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import pretty_midi
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from common.options import UserError
from seer.midi import CHANNELS, DRUM_CHANNEL, MAX_BYTES, NoteOns, midi_to_array, read_midi, read_note_ons, steps_of


def song(*instruments: tuple[bool, list[Note]]) -> PrettyMIDI:
    """A song at 125 quarter notes a minute, 480 ticks each: a tick is 1000 microseconds."""
    midi = PrettyMIDI(resolution=480, initial_tempo=125)
    for is_drum, notes in instruments:
        midi.instruments.append(Instrument(0, is_drum=is_drum))
        midi.instruments[-1].notes = notes
    return midi


def test_worked_example() -> None:
    midi = song(
        (False, [Note(90, 60, 0.0, 0.5), Note(80, 64, 0.5, 1.0)]),
        (False, [Note(70, 48, 0.5, 1.5)]),
    )
    steps, times = midi_to_array(midi)
    expected = np.zeros((4, 32), dtype=np.uint8)
    expected[0, :2] = 60, 90  # at 0 s the first instrument starts
    expected[1, :4] = 64, 80, 48, 70  # at 0.5 s both start: one row; the end of note 60 gives way
    expected[2, :2] = 64, 0  # at 1 s a note end: note number, velocity 0
    expected[3, 2:4] = 48, 0
    np.testing.assert_array_equal(steps, expected)
    assert steps.dtype == np.uint8 and times.dtype == np.float64
    np.testing.assert_allclose(times, [0, 500_000, 1_000_000, 1_500_000], rtol=1e-12)


def test_several_notes_of_one_channel_at_one_time() -> None:
    chord = [Note(50, 60, 0.0, 1.0), Note(40, 67, 0.0, 1.0), Note(99, 64, 0.0, 1.0), Note(30, 67, 0.0, 2.0)]
    steps, _ = midi_to_array(song((False, chord)))
    assert steps[0, :2].tolist() == [67, 40]  # the highest, then the loudest
    assert steps[1, :2].tolist() == [67, 0]
    # A start beats an end, even of a higher note.
    steps, _ = midi_to_array(song((False, [Note(50, 90, 0.0, 1.0), Note(1, 30, 1.0, 2.0)])))
    assert steps[1, :2].tolist() == [30, 1]


def test_channels() -> None:
    instruments = [(i == 2, [Note(10 + i, 20 + i, 0.0, 1.0)]) for i in range(17)]
    steps, _ = midi_to_array(song(*instruments))
    notes = steps[0, 0::2]
    assert notes[DRUM_CHANNEL] == 22
    assert notes[:4].tolist() == [36, 21, 23, 24]  # the 16th other instrument shares channel 1, where 36 > 20
    assert notes[8] == 29 and notes[10] == 30 and notes[15] == 35
    assert steps.shape == (2, 2 * CHANNELS)


def test_equal_stamps_whose_seconds_differ_in_the_last_bit() -> None:
    late = 0.1 + 0.2  # 0.30000000000000004
    steps, times = midi_to_array(song((False, [Note(9, 60, 0.3, 1)]), (False, [Note(9, 61, late, 1)])))
    assert len(times) == len(steps) == 2
    assert steps[0, 0::2][:2].tolist() == [60, 61]


def test_song_without_notes() -> None:
    steps, times = midi_to_array(song())
    assert steps.shape == (0, 32) and times.shape == (0,)


@pytest.mark.parametrize(("pitch", "velocity"), [(128, 9), (-1, 9), (60, 128), (60, -1)])
def test_values_outside_midi(pitch: int, velocity: int) -> None:
    with pytest.raises(UserError, match=r"0\.\.127"):
        midi_to_array(song((False, [Note(velocity, pitch, 0.0, 1.0)])))


def test_file_with_a_tempo_change(tmp_path: Path) -> None:
    """A written file reads back the same; ticks after a tempo change have the new length."""
    midi = song((True, [Note(5, 36, 0.0, 0.5)]), (False, [Note(90, 60, 0.0, 0.5), Note(80, 64, 0.5, 1.0)]))
    path = tmp_path / "song.mid"
    midi.write(str(path))
    for ours, theirs in zip(midi_to_array(midi), midi_to_array(read_midi(path)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Delta 500 ticks, then a tempo of 960,000 microseconds a quarter note: 2000 microseconds a tick.
    data = path.read_bytes()
    end = data.index(b"\xff\x2f\x00") - 1
    tempo = b"\x83\x74\xff\x51\x03" + (960_000).to_bytes(3, "big")
    size = int.from_bytes(data[18:22], "big") + len(tempo)
    path.write_bytes(data[:18] + size.to_bytes(4, "big") + data[22:end] + tempo + data[end:])
    _, times = midi_to_array(read_midi(path))
    np.testing.assert_allclose(times, [0, 500_000, 1_500_000], rtol=1e-12)


def test_read_midi_mistakes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing\.mid: no such"):
        read_midi(tmp_path / "missing.mid")
    with pytest.raises(UserError, match="is a folder"):
        read_midi(tmp_path)
    whole = tmp_path / "whole.mid"
    song((False, [Note(90, 60, 0.0, 0.5)])).write(str(whole))
    data = whole.read_bytes()
    runaway = b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\x30\0\0" + b"\xff" * (3 * 2**20)
    wrong = {"empty": b"", "text": b"not midi at all", "cut": data[:-9], "runaway": runaway}
    for name, content in wrong.items():
        path = tmp_path / f"{name}.mid"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.mid: ") as caught:
            read_midi(path)
        assert "\n" not in str(caught.value)
    assert isinstance(read_midi(whole), pretty_midi.PrettyMIDI)


# --- exact note-on events of files -----------------------------------------------------------------------------------


def number(value: int) -> bytes:
    """A MIDI variable-length number."""
    out = bytes([value & 127])
    while value := value >> 7:
        out = bytes([value & 127 | 128]) + out
    return out


def track(*events: tuple[int, bytes]) -> bytes:
    """A track chunk of (tick, event bytes), the ticks counted from the start."""
    ticks = [0, *(tick for tick, _ in events)]
    deltas = [number(b - a) for a, b in pairwise(ticks)]
    body = b"".join(delta + event for delta, (_, event) in zip(deltas, events, strict=True)) + b"\0\xff\x2f\0"
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def on(channel: int, note: int, velocity: int) -> bytes:
    return bytes([0x90 | channel, note, velocity])


def off(channel: int, note: int) -> bytes:
    return bytes([0x80 | channel, note, 64])


def tempo(microseconds: int) -> bytes:
    return b"\xff\x51\x03" + microseconds.to_bytes(3, "big")


def write(path: Path, *tracks: bytes, resolution: int = 480, kind: int = 1) -> Path:
    header = b"".join(value.to_bytes(2, "big") for value in (kind, len(tracks), resolution))
    path.write_bytes(b"MThd\0\0\0\6" + header + b"".join(tracks))
    return path


def test_channels_and_note_ends_are_exact(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.mid",
        track((0, on(3, 60, 90)), (480, on(3, 60, 0)), (480, on(3, 62, 80)), (960, off(3, 62))),
        track((0, on(9, 36, 100)), (240, off(9, 36)), (480, on(15, 127, 1))),
    )
    note_ons = read_note_ons(path)
    assert note_ons.ticks.tolist() == [0, 0, 480, 480, 480]
    assert note_ons.channels.tolist() == [3, 9, 3, 3, 15]
    assert note_ons.notes.tolist() == [60, 36, 60, 62, 127]
    assert note_ons.velocities.tolist() == [90, 100, 0, 80, 1]
    assert note_ons.end == 1_000_000  # the note-off at tick 960 lasts, but makes no step
    steps, times = steps_of(note_ons)
    expected = np.zeros((2, 32), np.uint8)
    expected[0, [6, 7, 18, 19]] = 60, 90, 36, 100
    expected[1, [6, 7, 30, 31]] = 62, 80, 127, 1  # the start of 62 beats the end of 60
    np.testing.assert_array_equal(steps, expected)
    assert times.tolist() == [0, 500_000]


def test_note_ends_kept_and_dropped(tmp_path: Path) -> None:
    note_ons = read_note_ons(write(tmp_path / "a.mid", track((0, on(0, 60, 90)), (480, on(0, 60, 0)))))
    kept, times = steps_of(note_ons)
    assert kept[:, :2].tolist() == [[60, 90], [60, 0]] and times.tolist() == [0, 500_000]
    dropped, times = steps_of(note_ons, note_ends="drop")
    assert dropped[:, :2].tolist() == [[60, 90]] and times.tolist() == [0]


def test_tempo_changes_in_the_middle_of_a_song(tmp_path: Path) -> None:
    # Two changes, one of them outside the first track, and two at the same tick, of which the later one counts.
    path = write(
        tmp_path / "a.mid",
        track((0, tempo(600_001)), (1000, tempo(1)), (1000, tempo(333_333)), (3000, on(0, 60, 9))),
        track((500, on(0, 61, 9)), (2000, tempo(16_777_215)), (2001, on(0, 62, 9))),
        resolution=96,
    )
    times = read_note_ons(path).times
    first = 1000 * 600_001
    second = first + 1000 * 333_333
    exact = [500 * 600_001 / 96, (second + 16_777_215) / 96, (second + 1000 * 16_777_215) / 96]
    np.testing.assert_allclose(times, exact, rtol=0, atol=1e-3)  # a thousandth of a microsecond
    alone = write(tmp_path / "b.mid", track((0, on(0, 60, 9)), (480, on(0, 60, 0))))
    assert read_note_ons(alone).times.tolist() == [0, 500_000]  # no tempo event: 120 quarter notes a minute


def test_agrees_with_pretty_midi(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    midi = PrettyMIDI(resolution=220, initial_tempo=133)
    for program in range(3):
        midi.instruments.append(Instrument(program))
        start = np.cumsum(rng.uniform(0.05, 0.5, 50))
        midi.instruments[-1].notes = [Note(64, int(rng.integers(30, 90)), t, t + 0.04) for t in start]
    midi.write(str(tmp_path / "a.mid"))
    ours = steps_of(read_note_ons(tmp_path / "a.mid"))
    theirs = midi_to_array(read_midi(tmp_path / "a.mid"))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=0, atol=1e-3)


def of(*events: tuple[int, int, int, int]) -> NoteOns:
    ticks, channels, notes, velocities = np.array(events).T
    return NoteOns(ticks, ticks * 1000.0, channels, notes, velocities, 1e6)


@pytest.mark.parametrize(
    ("rule", "starting", "ending"),
    [
        ("highest", [67, 40], [90, 0]),
        ("lowest", [60, 50], [40, 0]),
        ("loudest", [64, 99], [90, 0]),
        ("mean", [65, 55], [65, 0]),  # (60 + 67 + 64 + 67) / 4 = 64.5, (50 + 40 + 99 + 30) / 4 = 54.75
        ("last", [67, 30], [40, 0]),
    ],
)
def test_rules_for_several_notes(rule, starting, ending) -> None:
    chord = [(0, 2, 60, 50), (0, 2, 67, 40), (0, 2, 64, 99), (0, 2, 67, 30), (0, 2, 90, 0), (0, 2, 20, 0)]
    steps, times = steps_of(of(*chord, (5, 2, 90, 0), (5, 2, 40, 0)), rule)
    assert steps[:, 4:6].tolist() == [starting, ending]
    assert steps.sum() == sum(starting) + sum(ending) and times.tolist() == [0, 5000]


@pytest.mark.parametrize("rule", ["highest", "lowest", "loudest", "mean", "last"])
def test_songs_without_notes_and_of_one_note(rule) -> None:
    steps, times = steps_of(of((7, 15, 0, 1)), rule)
    assert steps.shape == (1, 32) and steps[0, 30:].tolist() == [0, 1] and times.tolist() == [7000]
    silent = NoteOns(*[np.zeros(0, np.int64)] * 5, end=0.0)  # type: ignore[arg-type]
    assert steps_of(silent, rule)[0].shape == (0, 32)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty", b"", "is empty"),
        ("text", b"not midi at all", "no MIDI header"),
        ("smpte", {"resolution": 0x8728}, "SMPTE"),
        ("zero", {"resolution": 0}, "0 ticks per quarter"),
        ("late", [(0, on(0, 60, 9)), (9_999_999, on(0, 60, 0))], "after tick 9,999,998"),
        ("stopped", [(0, tempo(0)), (9, on(0, 60, 9))], "tempo of 0"),
        ("runaway", b"MThd\0\0\0\6\0\1\0\1\1\xe0MTrk\0\x10\0\0" + b"\xff" * 10**6, "more than 8 bytes"),
        ("large", b"M" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name, content, reason) -> None:
    path = tmp_path / f"{name}.mid"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        note = track((0, on(0, 60, 9)))
        write(path, note, **content) if isinstance(content, dict) else write(path, track(*content))
    with pytest.raises(UserError, match=reason) as caught:
        read_note_ons(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_damaged_files_end_in_a_user_error_or_in_notes(tmp_path: Path) -> None:
    whole = write(
        tmp_path / "whole.mid",
        track((0, tempo(400_000)), (5, b"\xff\x03\x02hi"), (900, b"\xf0\x03\x01\x02\xf7")),
        track(*((100 * i, on(i % 16, 60 + i, i % 3 * 40)) for i in range(20))),
    ).read_bytes()
    rng = np.random.default_rng(1)
    for trial in range(1000):
        if trial % 2:
            damaged = bytearray(whole[: int(rng.integers(15, len(whole) + 1))])
            for _ in range(rng.integers(1, 6)):
                damaged[rng.integers(len(damaged))] = rng.integers(256)
        else:
            damaged = bytearray(whole[:22] + rng.bytes(int(rng.integers(0, 300))))
        path = tmp_path / "damaged.mid"
        path.write_bytes(damaged)
        try:
            note_ons = read_note_ons(path)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        steps, times = steps_of(note_ons)
        assert steps.max(initial=0) <= 127 and (np.diff(times) >= 0).all() and np.isfinite(times).all()


def test_pictures_and_sound_tell_the_times_of_the_array(tmp_path):
    """Tempo events outside the first track, which PrettyMIDI alone would ignore."""
    file = mido.MidiFile(ticks_per_beat=100)
    head, notes = mido.MidiTrack(), mido.MidiTrack()
    file.tracks += [head, notes]
    head.append(mido.MetaMessage("set_tempo", tempo=500_000, time=0))
    for number in range(6):
        notes.append(mido.Message("note_on", note=60 + number, velocity=80, time=50))
        notes.append(mido.MetaMessage("set_tempo", tempo=300_000 + 100_000 * number, time=25))
        notes.append(mido.Message("note_off", note=60 + number, time=25))
    file.save(tmp_path / "a.mid")
    exact = read_note_ons(tmp_path / "a.mid")
    heard = [note.start for note in read_midi(tmp_path / "a.mid").instruments[0].notes]
    np.testing.assert_allclose(heard, exact.times / 1e6, atol=1e-9)
    assert not np.allclose(np.diff(heard), np.diff(heard)[0])
