"""A section of a song as a MIDI clip and as sound."""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
from numpy.typing import NDArray

from common.options import UserError, require

RATE = 22_050
"""Samples a second of all sound."""
TAIL_SECONDS = 0.5
"""A sound is so much longer than its section: the last notes ring out."""
_peak = 0.89  # of full scale: 1 dB below
_fade_in, _fade_out = 0.005, 0.25  # seconds
_shortest = 0.01  # seconds; in a file a note of no length would end before it starts, and so never
_timeout_seconds = 120
_soundfonts = (
    "/usr/share/sounds/sf2/default-GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/soundfonts/default.sf2",
    "/usr/share/soundfonts/FluidR3_GM.sf2",
    "/usr/share/sounds/sf3/default-GM.sf3",
)
_harmonics, _decay = 6, 1.6  # of the built-in tone; decay of its fundamental in 1/s


def clip(midi: pretty_midi.PrettyMIDI, start_s: float, end_s: float) -> pretty_midi.PrettyMIDI:
    """The section from ``start_s`` to ``end_s`` as a song of its own, starting at 0.

    Notes that sound in the section are cut to it, to 0.01 s at least; one that started before is struck again at 0,
    unless it ends within 0.01 s. Each instrument keeps its program, and its controllers (such as the sustain pedal)
    and pitch bend start as they stood at ``start_s``; a note that only the pedal still held then is lost. The tempo
    is the one at ``start_s``; the times in seconds are exact all the same. A section that does not start before its
    end is empty.
    """
    section = pretty_midi.PrettyMIDI(resolution=960, initial_tempo=_tempo(midi, start_s))
    for instrument in midi.instruments if start_s < end_s else []:
        part = pretty_midi.Instrument(instrument.program, is_drum=instrument.is_drum)
        for note in instrument.notes:
            if (start_s <= note.start < end_s) or (note.start < start_s < note.end - _shortest):
                start = max(note.start - start_s, 0.0)
                end = max(min(note.end, end_s) - start_s, start + _shortest)
                part.notes.append(pretty_midi.Note(note.velocity, note.pitch, start, end))
        if not part.notes:
            continue
        controls: dict[int, list[pretty_midi.ControlChange]] = {}
        for change in instrument.control_changes:
            controls.setdefault(change.number, []).append(change)
        for changes in controls.values():
            for at, change in _in_section(changes, start_s, end_s):
                part.control_changes.append(pretty_midi.ControlChange(change.number, change.value, at))
        for at, bend in _in_section(instrument.pitch_bends, start_s, end_s):
            part.pitch_bends.append(pretty_midi.PitchBend(bend.pitch, at))
        section.instruments.append(part)
    return section


def _in_section(events: Iterable[Any], start_s: float, end_s: float) -> list[tuple[float, Any]]:
    """The last event up to the start of the section, at 0, and the events in it; with their new times."""
    events = sorted(events, key=lambda event: event.time)
    before = [(0.0, event) for event in events if event.time <= start_s][-1:]
    return before + [(event.time - start_s, event) for event in events if start_s < event.time < end_s]


def _tempo(midi: pretty_midi.PrettyMIDI, at: float) -> float:
    """Quarter notes a minute at a time; 120 where the file says something absurd, which could not be written."""
    times, tempi = midi.get_tempo_changes()
    tempo = float(tempi[max(int(np.searchsorted(times, at, side="right")) - 1, 0)])
    return tempo if 20 <= tempo <= 500 else 120.0


def midi_bytes(midi: pretty_midi.PrettyMIDI) -> bytes:
    """The song as the content of a ``.mid`` file."""
    file = io.BytesIO()
    midi.write(file)
    return file.getvalue()


@dataclass(frozen=True)
class Synthesiser:
    """Turns MIDI into sound: with fluidsynth and a soundfont, or with the built-in tone."""

    description: str
    """In words, to be shown beside the sound."""
    program: str | None = None
    """Path of fluidsynth; None is the built-in tone."""
    soundfont: Path | None = None

    def render(self, section: pretty_midi.PrettyMIDI, seconds: float) -> bytes:
        """Render a clip as WAV: 22,050 Hz, mono, 16 bits, the loudest sample at -1 dB, faded in and out.

        Args:
            section: as :func:`clip` makes it; without notes it is silence.
            seconds: length of the section; the sound is ``TAIL_SECONDS`` longer. Less than 0 counts as 0.

        Raises:
            UserError: fluidsynth fails.
        """
        length = round((max(seconds, 0.0) + TAIL_SECONDS) * RATE)
        sound = np.zeros(length)
        if any(instrument.notes for instrument in section.instruments):
            played = _tones(section, length) if self.program is None else self._fluidsynth(section)[:length]
            sound[: len(played)] = played
        return _wav(sound)

    def _fluidsynth(self, section: pretty_midi.PrettyMIDI) -> NDArray[np.float64]:
        """Play with fluidsynth, faster than real time, into a file of raw samples."""
        with tempfile.TemporaryDirectory(prefix="encore-") as folder:
            song, sound = Path(folder, "clip.mid"), Path(folder, "clip.raw")
            song.write_bytes(midi_bytes(section))
            format_options = ["-F", str(sound), "-T", "raw", "-O", "s16", "-E", "little", "-r", str(RATE)]
            command = [
                str(self.program),
                "-n",
                "-i",
                "-q",
                "-g",
                "0.5",
                *format_options,
                str(self.soundfont),
                str(song),
            ]
            try:
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_timeout_seconds, check=False
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise UserError(f"{self.program} cannot play the section: {error}") from error
            said = done.stderr.decode("utf-8", "replace")
            # It ends with status 0 and silence when it cannot read the soundfont.
            failed = done.returncode != 0 or "Failed to load" in said or not sound.is_file()
            if failed:
                reason = " ".join(said.split())[-300:] or f"exit status {done.returncode}"
                raise UserError(f"{self.program} cannot play the section with {self.soundfont}: {reason}")
            stereo = np.frombuffer(sound.read_bytes(), "<i2").reshape(-1, 2)
            return np.asarray(stereo.mean(axis=1, dtype=np.float64))


def find_synthesiser(soundfont: Path | None = None) -> Synthesiser:
    """The best synthesiser that is installed.

    fluidsynth on the PATH plays the soundfont given, else one in a usual place, else the small one that
    pretty_midi ships. Without fluidsynth there is the built-in tone.

    Raises:
        UserError: ``soundfont`` is missing or no soundfont, or it is given and fluidsynth is not installed.
    """
    program = shutil.which("fluidsynth")
    if soundfont is not None:
        require(soundfont.is_file(), f"soundfont {soundfont}: no such file; expected a General MIDI soundfont (.sf2)")
        require(_is_soundfont(soundfont), f"soundfont {soundfont}: not a soundfont; expected a .sf2 or .sf3 file")
        require(
            program is not None,
            f"soundfont {soundfont}: needs the program fluidsynth, which is not on the PATH; install it "
            "(apt install fluidsynth, brew install fluid-synth) or leave the soundfont out",
        )
    shipped = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    candidates = [soundfont] if soundfont else [*map(Path, _soundfonts), shipped]
    found = next((path.resolve() for path in candidates if _is_soundfont(path)), None)
    if program is None or found is None:
        text = "the built-in tone: every instrument sounds alike, drums are noise, pitch bends and pedal are left out"
        return Synthesiser(text)
    return Synthesiser(f"fluidsynth with the soundfont {found.name}", program, found)


def _is_soundfont(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[:4] == b"RIFF" and head[8:] == b"sfbk"


def _tones(section: pretty_midi.PrettyMIDI, length: int) -> NDArray[np.float64]:
    """The built-in sound of a clip: ``length`` samples."""
    sound = np.zeros(length)
    for instrument in section.instruments:
        for note in instrument.notes:
            first = int(note.start * RATE)
            if first >= length:
                continue
            room = (length - first) / RATE
            tone = _stroke(note.pitch, room) if instrument.is_drum else _tone(note.pitch, note.end - note.start, room)
            sound[first : first + len(tone)] += (note.velocity / 127) ** 1.5 * tone[: length - first]
    return sound


def _tone(pitch: int, seconds: float, room: float) -> NDArray[np.float64]:
    """A struck tone: harmonics that fall off as 1/k^1.5 and decay the faster the higher they are."""
    release = 0.12
    time = np.arange(int(min(seconds + release, room) * RATE)) / RATE
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    tone = np.zeros(len(time))
    for k in range(1, _harmonics + 1):
        if k * frequency < RATE / 2:
            tone += np.sin(2 * np.pi * k * frequency * time) * np.exp(-_decay * (1 + 0.5 * (k - 1)) * time) / k**1.5
    envelope = np.minimum(time / 0.004, 1) * np.clip((seconds + release - time) / release, 0, 1)
    return np.asarray(tone * envelope)


def _stroke(pitch: int, room: float) -> NDArray[np.float64]:
    """A drum: bass drums are a falling tone, all else is noise, the brighter and longer the higher its number."""
    time = np.arange(int(min(0.4, room) * RATE)) / RATE
    if pitch <= 36:
        return np.asarray(1.2 * np.sin(2 * np.pi * (45 * time + 4 * (1 - np.exp(-time / 0.04)))) * np.exp(-time / 0.09))
    noise = np.random.default_rng(pitch).uniform(-1, 1, len(time))  # the same at every stroke and in every run
    bright = pitch >= 42
    noise = np.diff(noise, prepend=0.0) if bright else noise
    return np.asarray(0.5 * noise * np.exp(-time / (0.1 if pitch in (46, 49, 51, 57) else 0.035 if bright else 0.06)))


def _wav(sound: NDArray[np.float64]) -> bytes:
    loudest = float(np.abs(sound).max(initial=0.0))
    if loudest > 0:
        sound = sound * (_peak / loudest)
    rise, fall = (min(int(seconds * RATE), len(sound)) for seconds in (_fade_in, _fade_out))
    sound[:rise] *= np.linspace(0, 1, rise)
    sound[len(sound) - fall :] *= np.linspace(1, 0, fall)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.rint(sound * 32767).astype("<i2").tobytes())
    return file.getvalue()
