from __future__ import annotations

import io
import shutil
import stat
import wave
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from pretty_midi import ControlChange, Instrument, Note, PitchBend, PrettyMIDI

from common.options import UserError
from seer.midi import read_midi
from seer.presentation.sound import RATE, TAIL_SECONDS, Synthesiser, clip, find_synthesiser, midi_bytes

SHIPPED = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
BUILT_IN = Synthesiser("built-in")
needs_fluidsynth = pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="fluidsynth is not installed")


def song(*notes: Note, program: int = 0, is_drum: bool = False, tempo: float = 120) -> PrettyMIDI:
    midi = PrettyMIDI(initial_tempo=tempo)
    midi.instruments.append(Instrument(program, is_drum=is_drum))
    midi.instruments[0].notes = list(notes)
    return midi


def times(midi: PrettyMIDI) -> list[tuple[int, float, float]]:
    return [(n.pitch, round(n.start, 6), round(n.end, 6)) for i in midi.instruments for n in i.notes]


def samples(wav: bytes) -> np.ndarray:
    with wave.open(io.BytesIO(wav)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32768


def strongest_hertz(sound: np.ndarray) -> float:
    return float(np.abs(np.fft.rfft(sound * np.hanning(len(sound)))).argmax() * RATE / len(sound))


def installed(name: str) -> Synthesiser:
    if name == "built-in":
        return BUILT_IN
    program = shutil.which("fluidsynth")
    return Synthesiser("fluidsynth", program, SHIPPED)


both = pytest.mark.parametrize("name", ["built-in", pytest.param("fluidsynth", marks=needs_fluidsynth)])


def test_clip_cuts_and_shifts_notes() -> None:
    midi = song(
        Note(90, 60, 0.0, 9.0),  # before
        Note(90, 61, 9.0, 10.0),  # ends as the section starts
        Note(90, 62, 9.0, 12.0),
        Note(90, 63, 11.0, 12.0),
        Note(90, 64, 19.0, 25.0),
        Note(90, 65, 20.0, 21.0),  # after
        Note(90, 66, 0.0, 30.0),
        Note(90, 67, 9.0, 10.001),  # a remnant
        Note(90, 68, 15.0, 15.0),
        program=40,
    )
    midi.instruments += song(Note(90, 36, 1.0, 2.0), is_drum=True).instruments
    section = clip(midi, 10.0, 20.0)
    assert times(section) == [(62, 0, 2), (63, 1, 2), (64, 9, 10), (66, 0, 10), (68, 5, 5.01)]
    assert [i.program for i in section.instruments] == [40]
    assert times(midi)[0] == (60, 0, 9)  # the song is as it was


def test_clip_keeps_controls_as_they_stood() -> None:
    midi = song(Note(90, 60, 0.0, 30.0))
    instrument = midi.instruments[0]
    instrument.control_changes = [
        ControlChange(7, 100, 0.0),
        ControlChange(64, 127, 9.0),
        ControlChange(64, 0, 12.0),
        ControlChange(7, 80, 5.0),
        ControlChange(64, 127, 25.0),
    ]
    instrument.pitch_bends = [PitchBend(100, 1.0), PitchBend(200, 8.0), PitchBend(0, 11.0), PitchBend(9, 21.0)]
    part = clip(midi, 10.0, 20.0).instruments[0]
    controls = [(c.number, c.value, c.time) for c in part.control_changes]
    assert controls == [(7, 80, 0.0), (64, 127, 0.0), (64, 0, 2.0)]
    assert [(b.pitch, b.time) for b in part.pitch_bends] == [(200, 0.0), (0, 1.0)]


def test_clip_as_a_file(tmp_path: Path) -> None:
    """Every note has an end in the file, also those of no length and those cut short."""
    notes = [Note(90, 60, 0.5, 2.0), Note(90, 62, 1.0, 1.0), Note(90, 64, 9.9999, 11.0)]
    for tempo in (40, 120, 137.3):
        section = clip(song(*notes, program=5, tempo=tempo), 0.25, 10.0)
        path = tmp_path / "clip.mid"
        path.write_bytes(midi_bytes(section))
        again = read_midi(path)
        assert again.instruments[0].program == 5
        np.testing.assert_allclose(sorted(times(again)), sorted(times(section)), atol=2e-3)
        assert again.get_tempo_changes()[1][0] == pytest.approx(tempo, rel=1e-4)


def test_absurd_tempo_can_be_written() -> None:
    for tempo in (1e-3, 1e9):
        assert midi_bytes(clip(song(Note(90, 60, 0.0, 1.0), tempo=tempo), 0.0, 1.0))[:4] == b"MThd"


@both
@pytest.mark.parametrize("program", [0, 73])
def test_pitch_and_length(name: str, program: int) -> None:
    section = clip(song(Note(100, 69, 10.0, 13.0), program=program), 10.0, 13.0)
    sound = samples(installed(name).render(section, 3.0))
    assert len(sound) == round((3 + TAIL_SECONDS) * RATE)
    assert np.abs(sound).max() == pytest.approx(0.89, abs=0.01)
    assert strongest_hertz(sound[: 3 * RATE]) == pytest.approx(440, rel=0.01)
    assert abs(sound[0]) < 1e-3 and abs(sound[-1]) < 1e-3


@both
def test_drums_sound_and_rests_do_not(name: str) -> None:
    section = clip(song(*(Note(100, pitch, 1.0, 1.1) for pitch in (36, 38, 42, 49)), is_drum=True), 0.0, 4.0)
    sound = samples(installed(name).render(section, 4.0))
    assert np.abs(sound[: RATE // 2]).max() < 0.01 < 0.3 < np.abs(sound[RATE : 2 * RATE]).max()


@pytest.mark.parametrize("end", [5.0, 3.0])
def test_empty_section(end: float) -> None:
    section = clip(song(Note(90, 60, 0.0, 20.0)), 5.0, end)
    assert section.instruments == []
    assert len(samples(BUILT_IN.render(section, end - 5.0))) == round(TAIL_SECONDS * RATE)


@both
def test_odd_sections(name: str) -> None:
    synthesiser = installed(name)
    notes = [Note(90, pitch, 1.0, 2.0) for pitch in range(128)]
    for midi, end in ((PrettyMIDI(), 1.0), (song(*notes), 500.0), (song(Note(90, 60, 0.0, 0.0)), 10.0)):
        sound = samples(synthesiser.render(clip(midi, end - 10.0, end), 10.0))
        assert len(sound) == round(10.5 * RATE) and np.isfinite(sound).all()
    assert np.abs(samples(synthesiser.render(clip(song(*notes), 0.0, 3.0), 3.0))).max() > 0.8


def test_the_same_clip_sounds_the_same() -> None:
    section = clip(song(Note(90, 38, 0.0, 1.0), is_drum=True), 0.0, 2.0)
    assert BUILT_IN.render(section, 2.0) == BUILT_IN.render(section, 2.0)


@needs_fluidsynth
def test_fluidsynth_is_found() -> None:
    assert "fluidsynth" in find_synthesiser().description
    assert "TimGM6mb.sf2" in find_synthesiser(SHIPPED).description


def test_without_fluidsynth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "built-in" in find_synthesiser().description
    with pytest.raises(UserError, match="install it"):
        find_synthesiser(SHIPPED)


def test_wrong_soundfont(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        find_synthesiser(tmp_path / "none.sf2")
    for content in (b"", b"RIFF", b"RIFF0000WAVE"):
        (tmp_path / "wrong.sf2").write_bytes(content)
        with pytest.raises(UserError, match="not a soundfont"):
            find_synthesiser(tmp_path / "wrong.sf2")


@needs_fluidsynth
def test_damaged_soundfont(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.sf2"
    damaged.write_bytes(SHIPPED.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"damaged\.sf2") as caught:
        find_synthesiser(damaged).render(song(Note(90, 60, 0.0, 1.0)), 1.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("script", ["exit 3", "echo broken >&2; exit 1", "exit 0"])
def test_failing_program(tmp_path: Path, script: str) -> None:
    program = tmp_path / "fluidsynth"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    with pytest.raises(UserError, match="cannot play"):
        Synthesiser("broken", str(program), SHIPPED).render(song(Note(90, 60, 0.0, 1.0)), 1.0)
