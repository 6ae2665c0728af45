from __future__ import annotations

from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from common.options import UserError
from seer.midi import CHANNELS, DRUM_CHANNEL, midi_to_array, read_midi


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
    with pytest.raises(UserError, match="no such"):
        read_midi(tmp_path)
    whole = tmp_path / "whole.mid"
    song((False, [Note(90, 60, 0.0, 0.5)])).write(str(whole))
    data = whole.read_bytes()
    smpte = data[:12] + (0xE728).to_bytes(2, "big") + data[14:]  # 25 frames a second, 40 ticks a frame
    for name, content in {"empty": b"", "text": b"not midi at all", "cut": data[:-9], "smpte": smpte}.items():
        path = tmp_path / f"{name}.mid"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.mid: ") as caught:
            read_midi(path)
        assert "\n" not in str(caught.value)
    assert isinstance(read_midi(whole), pretty_midi.PrettyMIDI)
