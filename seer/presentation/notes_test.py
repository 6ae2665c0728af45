from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from common.options import UserError
from seer.midi import midi_to_array, read_note_ons, steps_of
from seer.presentation.notes import array_to_midi, clock, song_notes
from seer.presentation.pictures import piano_roll
from seer.presentation.sound import clip, midi_bytes

CASES = Path(__file__).parents[1] / "testdata" / "midi"


def array(*events: tuple[int, int, int, float], padding: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Events (channel, note, velocity, seconds), one per row, then padding."""
    steps, times = np.zeros((len(events) + padding, 32), np.uint8), np.zeros(len(events) + padding)
    for row, (channel, note, velocity, seconds) in enumerate(events):
        steps[row, 2 * channel : 2 * channel + 2] = note, velocity
        times[row] = seconds * 1e6
    return steps, times


def notes(midi: PrettyMIDI) -> list[list[tuple[int, int, float, float]]]:
    return [[(n.pitch, n.velocity, n.start, n.end) for n in sorted(i.notes, key=_order)] for i in midi.instruments]


def _order(note: Note) -> tuple[float, int]:
    return note.start, note.pitch


def test_rule_of_ends() -> None:
    steps, times = array((0, 60, 90, 0.0), (0, 64, 80, 0.5), (0, 60, 0, 0.75), (0, 64, 70, 1.0), (9, 36, 99, 3.0))
    midi = array_to_midi(steps, times)
    # 60 has its end; 64 is struck again at 1 s, then its end is lost: 2 s; the drum too.
    assert notes(midi) == [[(60, 90, 0.0, 0.75), (64, 80, 0.5, 1.0), (64, 70, 1.0, 3.0)], [(36, 99, 3.0, 5.0)]]
    assert [i.is_drum for i in midi.instruments] == [False, True]
    assert [i.program for i in midi.instruments] == [0, 0]


def test_events_at_time_zero_and_padding() -> None:
    steps, times = array((3, 60, 90, 0.0), padding=5)
    assert notes(array_to_midi(steps, times)) == [[(60, 90, 0.0, 2.0)]]
    steps[4, :2] = 50, 50  # a note in a row without time
    times[1] = 1e6
    assert notes(array_to_midi(steps, times)) == [[(60, 90, 0.0, 2.0)]]


@pytest.mark.parametrize("padding", [0, 3])
def test_song_without_notes(padding: int) -> None:
    assert array_to_midi(*array(padding=padding)).instruments == []
    assert array_to_midi(*array((0, 60, 0, 1.0), padding=padding)).instruments == []  # an end without a start


def test_wrong_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(3, 30\)"):
        array_to_midi(np.zeros((3, 30)), np.zeros(3))
    with pytest.raises(ValueError, match="times"):
        array_to_midi(np.zeros((3, 32)), np.zeros(2))


def test_one_voice_survives_the_array() -> None:
    rng = np.random.default_rng(1)
    midi = PrettyMIDI(resolution=480, initial_tempo=125)
    instrument = Instrument(0)
    pitches, starts = rng.integers(1, 128, 300), np.arange(300) * 0.25
    instrument.notes = [Note(80, int(p), float(s), float(s + 0.125)) for p, s in zip(pitches, starts, strict=True)]
    midi.instruments.append(instrument)
    expected, found = notes(midi)[0], notes(array_to_midi(*midi_to_array(midi)))[0]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_file_or_array(tmp_path: Path) -> None:
    steps, times = array((0, 60, 90, 0.0))
    midi = PrettyMIDI()
    midi.instruments.append(Instrument(40))
    midi.instruments[0].notes = [Note(90, 72, 0.0, 1.0)]
    midi.write(str(tmp_path / "12.mid"))
    from_file = song_notes(tmp_path, 12, steps, times)
    assert from_file.source == "the MIDI file of the song"
    assert from_file.midi.instruments[0].program == 40
    for folder, number in ((tmp_path, 13), (None, 12), (tmp_path / "missing", 12)):
        song = song_notes(folder, number, steps, times)
        assert "guess" in song.source
        assert song.midi.instruments[0].notes[0].pitch == 60


@pytest.mark.parametrize("name", ["12.MID", "12.kar", "12.mid.gz"])
def test_endings(tmp_path: Path, name: str) -> None:
    steps, times = array((0, 60, 90, 0.0))
    (tmp_path / "12.txt").write_text("no song")
    shutil.copy(CASES / "plain.mid", tmp_path / name)
    assert song_notes(tmp_path, 12, steps, times).source == "the MIDI file of the song"
    assert "guess" in song_notes(tmp_path, 1, steps, times).source


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_what_is_heard_is_drawn_and_sounds(tmp_path: Path, path: Path) -> None:
    """A file that the model can read never ends the answer."""
    (tmp_path / "0.mid").write_bytes(path.read_bytes())
    steps, times = steps_of(read_note_ons(path), note_ends="drop")
    song = song_notes(tmp_path, 0, steps, times)
    picture = piano_roll(song.midi, [0.0], [3.0], (0.0, 1.0), None, "A")
    assert f"{len(steps)} notes" in picture.text
    section = PrettyMIDI(io.BytesIO(midi_bytes(clip(song.midi, 1.0, 2.0))))
    sounding = [note for instrument in section.instruments for note in instrument.notes]
    assert len(sounding) == (7 if path.name == "hanging-notes.mid" else 4)  # three started before, and never end
    heard = times[(times >= 1e6) & (times < 2e6)] / 1e6 - 1
    assert {round(note.start, 3) for note in sounding} == set(heard.round(3).tolist())


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "12.mid").write_bytes(b"MThd no")
    with pytest.raises(UserError, match=r"12\.mid: .*remove it") as caught:
        song_notes(tmp_path, 12, *array((0, 60, 90, 0.0)))
    assert "\n" not in str(caught.value)


def test_clock() -> None:
    assert [clock(s) for s in (0, 9.95, 59.94, 59.96, 72.44, 3600)] == [
        "0:00.0",
        "0:10.0",
        "0:59.9",
        "1:00.0",
        "1:12.4",
        "60:00.0",
    ]
