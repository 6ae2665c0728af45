"""A small synthetic dataset in SeER's released formats, so that everything runs without the real files.

The songs are composed: six styles that differ in instruments, register, tempo, scale, rhythm and loudness.
Each song has an energy that can be heard (loudness, busy melody, tempo) and makes a part of its appeal. Users
love one or two styles. So popularity, personal taste and the content of the MIDI each carry information, as
in the real data; every name and number here is invented.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pretty_midi

from common.options import UserError, require, run_script
from common.sources import mark_synthetic
from seer.midi import CHANNELS, DRUM_CHANNEL, midi_to_array

USERS, SONGS, STEPS = 400, 150, 600
RATINGS_PER_USER = (30, 40)
"""Fewest and most songs that a user rates."""


@dataclass(frozen=True)
class Part:
    """One instrument: its General MIDI program, lowest note, loudness against the style, gate, and bars.

    A bar is a string with one character per sixteenth: ``m`` a note of the melody, ``#`` the whole chord,
    ``0`` to ``2`` one tone of the chord, ``.`` nothing new. Of several bars an energetic song takes the later
    (busier) ones. ``gate`` is the sounding share of the time until the next stroke: 1 is legato.
    """

    program: int
    low: int
    loudness: int
    gate: float
    bars: tuple[str, ...]


@dataclass(frozen=True)
class Style:
    """How a style's songs are made: tempo in quarter notes a minute, scale in semitones, roots of chords."""

    name: str
    tempo: tuple[int, int]
    scale: tuple[int, ...]
    chords: tuple[tuple[int, ...], ...]
    velocity: int
    parts: tuple[Part, ...]
    drums: tuple[tuple[int, str], ...] = ()


MAJOR, MINOR, DORIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 3, 5, 7, 9, 10)
WALTZ = (
    Part(0, 65, 6, 1.0, ("m...........", "m.......m...", "m...m...m...", "m...m.m.m...", "m.m.m.m.m.m.")),
    Part(0, 55, -10, 0.5, ("....#...#...",)),
    Part(0, 36, 0, 1.0, ("0...........",)),
)
ROCK = (
    Part(30, 57, 4, 1.0, ("m.......m.......", "m...m...m.m.....", "m.m.m...m.m.m...", "m.m.m.m.m.m.m.m.")),
    Part(29, 45, -4, 1.0, ("#...#.#...#.#...", "#.#.#.#.#.#.#.#.")),
    Part(33, 28, 0, 1.0, ("0...0...0...0.0.", "0.0.0.0.0.0.0.0.")),
)
ROCK_DRUMS = ((36, "x.......x.x....."), (38, "....x.......x..."), (42, "x.x.x.x.x.x.x.x."))
TECHNO = (
    Part(81, 57, 0, 0.5, ("m.....m.....m...", "m..m..m...m..m..", "m..m..m.m..m..m.", "m.mm.mm.m.mm.mm.")),
    Part(89, 60, -20, 1.0, ("#...............",)),
    Part(38, 31, 2, 1.0, ("..0...0...0...0.",)),
)
TECHNO_DRUMS = ((36, "x...x...x...x..."), (46, "..x...x...x...x."), (39, "....x.......x..."))
QUARTET = (
    Part(40, 62, 4, 1.0, ("m...............", "m.......m.......", "m...m...m...m...", "m...m.m.m.m.m...")),
    Part(40, 57, -4, 1.0, ("2.......1.......", "2...1...2...1...", "2.1.2.1.2.1.2.1.")),
    Part(41, 50, -6, 1.0, ("1...0...1...0...", "1.0.2.0.1.0.2.0.")),
    Part(42, 38, 0, 1.0, ("0...............", "0.......2.......")),
)
BOSSA = (
    Part(73, 67, 2, 1.0, ("......m...m.....", "..m...m...m.....", "..m..m..m...m...", "m.m..m..m.m..m..")),
    Part(24, 52, -6, 0.5, ("#..#..#...#..#..",)),
    Part(32, 33, 0, 1.0, ("0.....2.2.....0.",)),
)
BOSSA_DRUMS = ((37, "x..x..x...x..x.."), (70, "x.x.x.x.x.x.x.x."))
MARCH = (
    Part(56, 58, 6, 0.5, ("m.......m.......", "m...m...m...m...", "m..mm...m..mm...", "m..mm.m.m..mm.mm")),
    Part(57, 50, -6, 0.5, ("..#...#...#...#.",)),
    Part(58, 31, 0, 0.5, ("0...2...0...2...",)),
)
MARCH_DRUMS = ((38, "x..xx.x.x..xx.x."), (35, "x.......x......."))
STYLES = (
    Style("Waltz", (120, 170), MAJOR, ((0, 3, 4, 0), (0, 5, 1, 4)), 68, WALTZ),
    Style("Rock", (105, 150), MINOR, ((0, 5, 2, 6), (0, 6, 5, 6)), 86, ROCK, ROCK_DRUMS),
    Style("Techno", (122, 140), MINOR, ((0, 0, 5, 6), (0, 0, 3, 0)), 84, TECHNO, TECHNO_DRUMS),
    Style("Quartet", (66, 100), MINOR, ((0, 3, 4, 0), (0, 5, 3, 4)), 56, QUARTET),
    Style("Bossa", (90, 130), DORIAN, ((0, 3, 1, 4), (1, 4, 0, 0)), 62, BOSSA, BOSSA_DRUMS),
    Style("March", (95, 125), MAJOR, ((0, 4, 4, 0), (0, 3, 4, 0)), 82, MARCH, MARCH_DRUMS),
)


def compose(style: Style, energy: float, rng: np.random.Generator) -> pretty_midi.PrettyMIDI:
    """Compose a song of 60 to 120 seconds, form A A B A; ``energy`` (0..1) makes it loud, busy and fast."""
    tempo = style.tempo[0] + (style.tempo[1] - style.tempo[0]) * (0.5 * energy + 0.5 * rng.random())
    # In whole microseconds, as a MIDI file stores it, so that the times in the file are exactly these.
    quarter = 4 * round(15e6 / tempo)
    sixteenth = quarter / 4e6
    length = len(style.parts[0].bars[0])  # sixteenths in a bar
    bars = round(rng.uniform(64, 116) / (length * sixteenth))
    key = int(rng.integers(12))
    chords = [style.chords[int(i)] for i in rng.permutation(2)]  # of the A and of the B sections
    midi = pretty_midi.PrettyMIDI(resolution=480, initial_tempo=6e7 / quarter)

    at_all = np.arange(bars * length)
    section = at_all // length * 4 // bars == 2  # B
    loud = style.velocity + 44 * (energy - 0.5) + 10 * section + 6 * (at_all % length == 0)

    def velocities(loudness: int) -> list[int]:
        human = 4 * rng.standard_normal(len(loud))
        return [int(velocity) for velocity in np.clip(loud + loudness + human, 16, 127)]

    def note(velocity: int, pitch: int, start: float, end: float) -> pretty_midi.Note:
        return pretty_midi.Note(velocity, pitch, start * sixteenth, end * sixteenth)

    for part in style.parts:
        instrument = pretty_midi.Instrument(part.program)
        busy = rng.binomial(len(part.bars) - 1, energy, size=bars)
        signs = "".join(part.bars[i] for i in busy)
        strokes = [at for at, sign in enumerate(signs) if sign != "."]
        ends = [*strokes[1:], len(signs)]
        walk = rng.integers(-2, 3, size=len(strokes)).tolist()
        velocity = velocities(part.loudness)
        degree = 4
        for at, end, move in zip(strokes, ends, walk, strict=True):
            root = chords[int(section[at])][at // length % 4]
            if signs[at] == "m":
                degree = min(max(degree + move, 0), 10)
                if at % length == 0:  # a strong beat: go to the nearest tone of the chord
                    near = [(abs(d - degree), d) for d in range(11) if (d - root) % 7 in (0, 2, 4)]
                    degree = min(near)[1]
                tonic = part.low + (key - part.low) % 12
                pitches = [tonic + 12 * (degree // 7) + style.scale[degree % 7]]
            else:
                tones = (0, 2, 4) if signs[at] == "#" else (2 * int(signs[at]),)
                pitches = [part.low + (key + style.scale[(root + i) % 7] - part.low) % 12 for i in tones]
            stop = at + (end - at) * part.gate
            instrument.notes += [note(velocity[at], pitch, at, stop) for pitch in pitches]
        midi.instruments.append(instrument)
    if style.drums:
        instrument = pretty_midi.Instrument(0, is_drum=True)
        for pitch, bar in style.drums:
            velocity = velocities(0)
            strokes = [at for at, sign in enumerate(bar * bars) if sign == "x"]
            instrument.notes += [note(velocity[at], pitch, at, at + 1) for at in strokes]
        midi.instruments.append(instrument)
    return midi


def encode_midi(midi: pretty_midi.PrettyMIDI) -> bytes:
    """Encode a song of one tempo as a MIDI file of format 1; twenty times as fast as ``PrettyMIDI.write``."""

    def chunk(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return kind + len(body).to_bytes(4, "big") + body

    def delta(ticks: int) -> bytes:
        """Seven bits a byte, the highest bit set on all but the last."""
        out = bytes([ticks & 127])
        while ticks := ticks >> 7:
            out = bytes([ticks & 127 | 128]) + out
        return out

    end = b"\x00\xff\x2f\x00"
    tempo = float(midi.get_tempo_changes()[1][0])
    per_second = tempo / 60 * midi.resolution  # ticks
    tracks = [chunk(b"MTrk", b"\x00\xff\x51\x03", round(6e7 / tempo).to_bytes(3, "big"), end)]
    melodic = iter(channel for channel in range(CHANNELS) if channel != DRUM_CHANNEL)
    for instrument in midi.instruments:
        channel = DRUM_CHANNEL if instrument.is_drum else next(melodic)
        events = [(round(n.start * per_second), n.velocity, n.pitch) for n in instrument.notes]
        events += [(round(n.end * per_second), 0, n.pitch) for n in instrument.notes]
        events.sort()  # at one time the ends come first: they have velocity 0
        content, now = [b"\x00" + bytes([0xC0 | channel, instrument.program])], 0
        for tick, velocity, pitch in events:
            content.append(delta(tick - now) + bytes([0x90 | channel, pitch, velocity]))
            now = tick
        tracks.append(chunk(b"MTrk", *content, end))
    numbers = (1, len(tracks), midi.resolution)
    return b"".join([chunk(b"MThd", *(number.to_bytes(2, "big") for number in numbers)), *tracks])


def write_sample(folder: Path, seed: int = 7) -> None:
    """Write the synthetic dataset into ``folder``: the released files of SeER and ``midi/<song number>.mid``.

    The same seed gives the same bytes. The folder appears only when it is complete. If it is there already
    with the very same content, it stays: two runs may write the sample at the same moment.

    Files: ``triplets.txt`` (user song rating), ``midi_array.zip`` (per song 600 steps of 32 numbers, flat),
    ``Time_array.zip`` (microseconds of each step, zeros at the end), ``song_information.csv``,
    ``song_to_number_matching.csv``, ``user_to_number_matching.csv``.

    Raises:
        UserError: ``folder`` holds something else, or cannot be written.
    """
    folder = folder.resolve()
    # One dot in front, also of a folder that is hidden itself: so replacing_folder removes what a kill leaves.
    beside = folder.parent / f".{folder.name.lstrip('.')}.{os.getpid()}.part"
    try:
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "midi").mkdir(parents=True)
        _write_files(beside, np.random.default_rng(seed))
        mark_synthetic(beside)
        try:
            beside.rename(folder)
        except OSError:
            names = [str(path.relative_to(beside)) for path in beside.rglob("*") if path.is_file()]
            equal = filecmp.cmpfiles(beside, folder, names, shallow=False)[0] if folder.is_dir() else []
            message = f"{folder}: already there with other content; remove it or choose another folder"
            require(len(equal) == len(names), message)
    except OSError as error:
        raise UserError(f"{folder}: cannot write the sample there ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _write_files(folder: Path, rng: np.random.Generator) -> None:
    style_of = rng.permutation(SONGS) % len(STYLES)
    energy = rng.random(SONGS)
    steps = np.zeros((SONGS, STEPS, 32), dtype=np.uint8)
    times = np.zeros((SONGS, STEPS))
    duration = np.zeros(SONGS)
    for song in range(SONGS):
        midi = compose(STYLES[style_of[song]], energy[song], rng)
        (folder / "midi" / f"{song}.mid").write_bytes(encode_midi(midi))
        rows, stamps = midi_to_array(midi)
        kept = min(len(rows), STEPS)
        steps[song, :kept] = rows[:kept]
        times[song, :kept] = np.round(stamps[:kept], 1)
        duration[song] = round(midi.get_end_time() + rng.uniform(0.2, 2.0), 5)
    _write_zip(folder / "midi_array.zip", "midi_array.txt", steps.reshape(SONGS, -1).tolist())
    _write_zip(folder / "Time_array.zip", "time_array.txt", times.tolist())

    ratings = _draw_ratings(style_of, energy, rng)
    with (folder / "triplets.txt").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{user} {song} {rating}\n" for user, song, rating in ratings.tolist())

    song_ids = _draw_ids(rng)
    names = [STYLES[style].name for style in style_of]
    by = rng.choice(("Ensemble", 'and the "Oscillators"', "Sœurs & Frères", "Trio, Quartet & Co"), SONGS)
    year = np.where(rng.random(SONGS) < 0.28, 0, rng.integers(1960, 2011, SONGS))  # 0 is unknown
    album = rng.integers(1, 9, SONGS)
    information = pd.DataFrame(
        {
            "song_id": song_ids,
            "artist_name": [f"The Synthetic {names[i]} {by[i]}" for i in range(SONGS)],
            "title": [f"{names[i]} No. {i}{', été' if i % 7 == 0 else ''}" for i in range(SONGS)],
            "release": [f"{names[i]} Album {album[i]}" for i in range(SONGS)],
            "year": year,
            "duration": duration,
        }
    )
    information = information.iloc[rng.permutation(SONGS)].reset_index(drop=True)
    _write_csv(folder / "song_information.csv", information)
    songs = pd.DataFrame({"song_id": song_ids, "number": np.arange(SONGS)})
    _write_csv(folder / "song_to_number_matching.csv", songs)
    users = pd.DataFrame({"user_id": [rng.bytes(20).hex() for _ in range(USERS)], "number": np.arange(USERS)})
    _write_csv(folder / "user_to_number_matching.csv", users)


def _draw_ratings(style_of: np.ndarray, energy: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw who rates what and how: int64, shape (ratings, 3) of user, song, rating 1..5, in random order."""
    # Appeal has mean 0 and variance 1; the energy that the MIDI shows makes 60 % of it.
    appeal = np.sqrt(0.6 * 12) * (energy - 0.5) + np.sqrt(0.4) * rng.standard_normal(SONGS)
    affinity = rng.uniform(-1.0, -0.4, size=(USERS, len(STYLES)))
    for likes in affinity:
        loved = rng.choice(len(STYLES), size=rng.integers(1, 3), replace=False)
        likes[loved] = rng.uniform(0.8, 1.5, size=len(loved))
    taste = affinity[:, style_of]
    latent = 2.7 + 0.45 * rng.standard_normal((USERS, 1)) + taste + 0.5 * appeal
    rating = np.clip(np.round(latent + 0.45 * rng.standard_normal(latent.shape)), 1, 5).astype(np.int64)

    # Gumbel noise: the largest keys are a draw without replacement with weights exp(1.1 appeal + 0.8 taste).
    keys = 1.1 * appeal + 0.8 * taste + rng.gumbel(size=latent.shape)
    place = np.argsort(np.argsort(-keys, axis=1), axis=1)
    low, high = RATINGS_PER_USER
    chosen = place < rng.integers(low, high + 1, size=(USERS, 1))
    unheard = np.flatnonzero(~chosen.any(axis=0))
    chosen[np.argmax(keys[:, unheard], axis=0), unheard] = True  # every song occurs, as in the released data
    user, song = np.nonzero(chosen)
    return rng.permutation(np.stack([user, song, rating[user, song]], axis=1))


def _draw_ids(rng: np.random.Generator) -> list[str]:
    """Sorted song ids that look like the Million Song Dataset's; the X at their end occurs in no real one."""
    ids: set[str] = set()
    while len(ids) < SONGS:
        letters = "".join(chr(65 + int(i)) for i in rng.integers(0, 26, size=5))
        ids.add(f"SO{letters}12A{int(rng.integers(16**7)):07X}X")
    return sorted(ids)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    table.to_csv(path, encoding="utf-8", lineterminator="\n")


def _write_zip(path: Path, name: str, content: object) -> None:
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # a fixed date: same content, same bytes
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system, entry.external_attr = 3, 0o644 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, json.dumps(content))


@dataclass(frozen=True)
class SampleOptions:
    """Options of seer/sample.py."""

    out: Path
    """Folder to write; it must not hold anything else."""
    seed: int = 7
    """Seed of the songs, users and ratings; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")


def main(options: SampleOptions) -> dict[str, object]:
    """Write a small synthetic dataset in the released formats of SeER."""
    started = time.perf_counter()
    write_sample(options.out, options.seed)
    ratings = (options.out / "triplets.txt").read_bytes().count(b"\n")
    seconds = round(time.perf_counter() - started, 1)
    print(f"{options.out}: synthetic, {USERS} users, {SONGS} songs, {ratings} ratings ({seconds} s)")
    facts = {"users": USERS, "songs": SONGS, "ratings": ratings, "seconds": seconds}
    return {"folder": str(options.out), **facts}


if __name__ == "__main__":
    run_script(main, SampleOptions)
