"""Tests of the parser of MIDI files: valid files give their own events, and broken ones what players play."""

from __future__ import annotations

import gzip
import io
import zlib
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import pytest

from common.options import UserError
from seer.midi import MAX_BYTES, read_midi, read_note_ons, steps_of
from seer.midi_file import META, Damaged, Event, parse
from seer.midi_test import off, on, tempo, track, write

CASES = Path(__file__).with_name("testdata") / "midi"
PLAIN = (CASES / "plain.mid").read_bytes()
TRACK = PLAIN[14:]
END = b"\0\xff\x2f\0"


def header(kind: int = 1, tracks: int = 1, division: int = 480) -> bytes:
    return b"MThd\0\0\0\6" + b"".join((value & 0xFFFF).to_bytes(2, "big") for value in (kind, tracks, division))


def chunk(body: bytes, name: bytes = b"MTrk", length: int | None = None) -> bytes:
    return name + (len(body) if length is None else length).to_bytes(4, "big") + body


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(name + len(data).to_bytes(4, "little") + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"RMID" + body


def notes_of(content: bytes) -> list[tuple[int, int]]:
    """Tick and note of each note-on."""
    file = parse(content, MAX_BYTES)
    return [(e.tick, e.data[0]) for t in file.tracks for e in t if e.status >> 4 == 9 and e.data[1] > 0]


EXPECTED = notes_of(PLAIN)


def valid_file(rng: np.random.Generator) -> mido.MidiFile:
    """Every kind of message, in random order; running status comes from mido's writer."""
    file = mido.MidiFile(type=int(rng.integers(2)), ticks_per_beat=int(rng.integers(1, 32768)))
    makers = [
        lambda v: mido.Message("note_on", channel=v[0] % 16, note=v[1], velocity=v[2]),
        lambda v: mido.Message("note_off", channel=v[0] % 16, note=v[1], velocity=v[2]),
        lambda v: mido.Message("note_on", channel=v[0] % 2, note=v[1], velocity=0),
        lambda v: mido.Message("polytouch", channel=v[0] % 16, note=v[1], value=v[2]),
        lambda v: mido.Message("control_change", channel=v[0] % 16, control=v[1], value=v[2]),
        lambda v: mido.Message("program_change", channel=v[0] % 16, program=v[1]),
        lambda v: mido.Message("aftertouch", channel=v[0] % 16, value=v[1]),
        lambda v: mido.Message("pitchwheel", channel=v[0] % 16, pitch=v[1] * 100 - 8192),
        lambda v: mido.Message("sysex", data=v),
        lambda v: mido.MetaMessage("set_tempo", tempo=1 + v[0] * v[1] * v[2]),
        lambda v: mido.MetaMessage("track_name", name="MTrk" + "ÿ" * v[0]),
        lambda v: mido.MetaMessage("lyrics", text="é" * v[0]),
        lambda v: mido.MetaMessage("key_signature", key="F#m"),
        lambda v: mido.MetaMessage("time_signature", numerator=1 + v[0], denominator=8),
        lambda v: mido.MetaMessage("sequencer_specific", data=v),
        lambda v: mido.UnknownMetaMessage(0x60, data=v),
    ]
    for _ in range(1 if file.type == 0 else int(rng.integers(1, 5))):
        messages = mido.MidiTrack()
        for _ in range(int(rng.integers(0, 60))):
            message = makers[int(rng.integers(len(makers)))]([int(v) for v in rng.integers(0, 128, 3)])
            message.time = int(rng.choice([0, 1, 127, 128, 20_000]))
            messages.append(message)
        messages.append(mido.MetaMessage("end_of_track", time=int(rng.integers(0, 300))))
        file.tracks.append(messages)
    return file


def test_a_valid_file_gives_its_own_events() -> None:
    rng = np.random.default_rng(3)
    for _ in range(150):
        file, out = valid_file(rng), io.BytesIO()
        file.save(file=out)
        ours = parse(out.getvalue(), MAX_BYTES)
        assert ours.repairs == () and ours.resolution == file.ticks_per_beat
        assert len(ours.tracks) == len(file.tracks)
        for events, messages in zip(ours.tracks, file.tracks, strict=True):
            tick, expected = 0, []
            for message in messages:
                tick += message.time
                if message.is_meta:
                    data = bytes(message.bytes())
                    size = next(n for n in range(2, 6) if data[n] < 128) + 1
                    expected.append(Event(tick, META, data[1:2] + data[size:]))
                elif message.type != "sysex":
                    expected.append(Event(tick, message.bytes()[0], bytes(message.bytes()[1:])))
            assert list(events) == expected


@pytest.mark.parametrize("path", sorted(CASES.iterdir()), ids=lambda path: path.name)
def test_files_that_players_play(path: Path) -> None:
    note_ons = read_note_ons(path)
    steps, times = steps_of(note_ons)
    heard = [note for instrument in read_midi(path).instruments for note in instrument.notes]
    np.testing.assert_allclose([note.start for note in heard], times / 1e6, atol=1e-9)
    assert [note.pitch for note in heard] == steps[:, 0].tolist()
    if path.name == "hanging-notes.mid":
        assert len(steps) == 40 and note_ons.end == 10_000_000
        # Each sounds until the last note has started, the last one a tick.
        np.testing.assert_allclose([note.end for note in heard], [10] * 39 + [10 + 0.5 / 480], atol=1e-9)
    else:
        plain, plain_times = steps_of(read_note_ons(CASES / "plain.mid"))
        np.testing.assert_array_equal(steps, plain)
        np.testing.assert_array_equal(times, plain_times)
        np.testing.assert_allclose([note.end - note.start for note in heard], [0.125] * 8, atol=1e-9)


@pytest.mark.parametrize(
    ("content", "repairs"),
    [
        (b"\0" * 128 + PLAIN, ["bytes before the header"]),  # MacBinary
        (PLAIN + b"\0" * 3, []),
        (PLAIN + b"junk at the end of it", []),
        (header(0, 3) + TRACK, ["a wrong number of tracks"]),
        (header(0, 0) + TRACK, ["a wrong number of tracks"]),
        (header(2, 1) + TRACK, []),
        (header(7, 1) + TRACK, []),
        (b"MThd\0\0\0\x0a" + header()[8:] + b"more" + TRACK, []),
        (b"MThd\0\0\0\0" + header()[8:] + TRACK, ["a wrong length of the header"]),
        (b"MThd\0\0\xff\6" + header()[8:] + TRACK, ["a wrong length of the header"]),
        (header() + chunk(TRACK[8:], length=0), ["wrong lengths of tracks"]),
        (header() + chunk(TRACK[8:], length=20), ["wrong lengths of tracks"]),
        (header() + chunk(TRACK[8:], length=2**32 - 1), ["wrong lengths of tracks"]),
        (header() + chunk(TRACK[8:] + b"\0\0\0"), ["wrong lengths of tracks"]),
        (header() + chunk(TRACK[8:-4]), ["tracks without an end"]),
        (header(1, 2) + chunk(b"") + TRACK, ["tracks without an end"]),
        (header(1, 2) + chunk(END, length=5000) + TRACK, ["wrong lengths of tracks"]),
        (header(1, 2) + chunk(END, length=4 + len(TRACK)) + TRACK, ["wrong lengths of tracks"]),
        (header(1, 2) + chunk(END) + b"\0\0" + TRACK, []),
        (header() + chunk(b"abc", b"XFKM") + TRACK + chunk(b"MTrk!", b"XFIH"), ["unknown chunks"]),
        (header() + TRACK + chunk(b"abc", b"XFKM", 10**9), []),
        (gzip.compress(PLAIN, mtime=0) + b"\0\0", []),
        (gzip.compress(riff((b"DISP", b"odd"), (b"data", PLAIN), (b"LIST", b"INFO")), mtime=0), []),
        (riff((b"LIST", b"x" * 5000), (b"data", PLAIN)), []),
        # A tempo of two bytes, text that is no text, an impossible time signature, an unknown meta event
        (
            header() + chunk(b"\0\xff\x51\2\1\2\0\xff\3\3\xff\xfe\x80\0\xff\x58\1\0\0\xff\x7f\0" + TRACK[8:]),
            [],
        ),
        (header() + chunk(b"\0\xf0\5\x43\1\2\3\xf7\0\xf7\2\xf3\1\0\xf0\1\x41" + TRACK[8:]), []),  # never ended
        (header() + chunk(b"\0\xf2\1\2\0\xf6\0\xfe\0\xf1\5\0\xf9" + TRACK[8:]), ["real-time messages"]),
        (header() + chunk(b"\x80\x80\x80\x80\x80\0\xb0\1\2" + TRACK[8:]), []),  # a time of six bytes
        (header() + chunk(b"\0\xe0\xff\xff\0\xc0\xff" + TRACK[8:]), ["values above 127"]),
        (header() + chunk(b"\0\x90\xbc\x50\0\x80\xbc\x50" + TRACK[8:]), ["values above 127"]),  # note 188
    ],
)
def test_what_breaks_the_standard(content: bytes, repairs: list[str]) -> None:
    assert notes_of(content) == EXPECTED
    assert parse(content, MAX_BYTES).repairs == tuple(repairs)


def test_running_status_goes_on_over_other_events() -> None:
    body = b"\0\x90\x3c\x50\x10\x3d\x50\0\xff\1\1a\0\x3e\x50\0\xf0\1\xf7\0\x3f\x50\0\xf8\0\x40\x50" + END
    assert notes_of(header() + chunk(body)) == [(0, 60), (16, 61), (16, 62), (16, 63), (16, 64)]


def test_real_time_messages_within_others() -> None:
    body = b"\0\x90\xf8\x3c\x50\x10\x3d\xfe\x50\x10\x80\x3c\xf8\xf8\x40" + END
    file = parse(header() + chunk(body), MAX_BYTES)
    assert [tuple(e) for e in file.tracks[0][:3]] == [
        (0, 0x90, b"\x3c\x50"),
        (16, 0x90, b"\x3d\x50"),
        (32, 0x80, b"\x3c\x40"),
    ]
    assert file.repairs == ("real-time messages within others",)


@pytest.mark.parametrize(
    ("frames", "ticks", "seconds"), [(25, 40, 0.001), (24, 100, 1 / 2400), (30, 80, 1 / 2400), (29, 100, 1.001 / 3000)]
)
def test_smpte_times(tmp_path: Path, frames: int, ticks: int, seconds: float) -> None:
    """The tempo does not count."""
    body = track((0, tempo(1)), (700, on(0, 60, 9)), (1500, off(0, 60)))
    path = tmp_path / "a.mid"
    path.write_bytes(header(1, 1, (-frames << 8) | ticks) + body)
    assert read_note_ons(path).times.tolist() == [pytest.approx(700 * seconds * 1e6, rel=1e-12)]
    (note,) = read_midi(path).instruments[0].notes
    assert (note.start, note.end) == (pytest.approx(700 * seconds), pytest.approx(1500 * seconds))


def gzipped(plain: bytes, damage: int) -> bytes:
    content = bytearray(gzip.compress(plain, mtime=0))
    content[damage] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no MIDI header"),
        (b"ID3 and so on" * 900, "no MIDI header"),
        (PLAIN[:12], "cut off in its header"),
        (PLAIN[:14], "no track"),
        (header(1, 0), "no track"),
        (PLAIN[:30], "cut off"),
        (PLAIN[:-3], "cut off"),
        (PLAIN[:-4], r"cut off: track 1 should have 68 bytes, and 64 are there"),
        (header(1, 2) + TRACK + TRACK[:-20], r"cut off.*track 2"),
        (header(2, 2) + TRACK + TRACK, "format 2"),
        (header(1, 1, 0) + TRACK, "0 ticks"),
        (header(1, 1, (-25 << 8)) + TRACK, "SMPTE frames, 25 a second of 0 ticks"),
        (header(1, 1, (-77 << 8) | 40) + TRACK, "SMPTE frames, 77"),
        (header() + chunk(b"\0\x3c\x50" + END), "data without a message.*track 1"),
        (header() + chunk(b"\0\xf0\x7f\1\2\3" + END), "system exclusive message that does not end"),
        (header() + chunk(b"\xff" * 5000 + END), "more than 8 bytes"),
        (gzip.compress(PLAIN, mtime=0)[:-20], "gzip compression is damaged"),
        (gzipped(PLAIN, -5), "gzip compression is damaged"),
        (gzipped(PLAIN, 2), "gzip compression is damaged"),
        (gzip.compress(b"\0" * (MAX_BYTES + 1), mtime=0), "larger than"),
        (gzip.compress(gzip.compress(PLAIN, mtime=0), mtime=0), "no MIDI header"),
    ],
)
def test_what_cannot_be_read(content: bytes, reason: str) -> None:
    with pytest.raises(Damaged, match=reason) as caught:
        parse(content, MAX_BYTES)
    assert "\n" not in str(caught.value)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b"\0" * 2**20) for _ in range(40)) + packer.flush()
    with pytest.raises(Damaged, match="larger than 4,194,304 bytes when unpacked"):
        parse(bomb, MAX_BYTES)


def test_a_track_that_ends_long_after_its_last_note(tmp_path: Path) -> None:
    path = tmp_path / "a.mid"
    path.write_bytes(header() + chunk(TRACK[8:-4] + b"\xff\xff\xff\x7f\xff\x2f\0"))
    np.testing.assert_array_equal(read_note_ons(path).times, read_note_ons(CASES / "plain.mid").times)
    assert read_note_ons(path).end == 1_875_000 and len(read_midi(path).instruments[0].notes) == 8
    path.write_bytes(header() + chunk(b"\xff\xff\xff\x7f" + TRACK[9:]))
    with pytest.raises(UserError, match="a note after tick 9,999,998"):
        read_note_ons(path)


def test_ends_of_one_note_in_several_tracks(tmp_path: Path) -> None:
    """The earlier ones in a later track."""
    ends = b"".join(b"\x01\x80\x3c\x40" for _ in range(500))
    late = b"\x87\xa1\x20" + ends[1:]
    path = tmp_path / "a.mid"
    path.write_bytes(header(1, 3) + b"".join(chunk(body + END) for body in (b"\0\x90\x3c\x50", late, ends)))
    assert read_note_ons(path).end == pytest.approx((0x7 << 14 | 0x21 << 7 | 0x20) * 1e6 / 960 + 499 * 1e6 / 960)
    assert [note.end for note in read_midi(path).instruments[0].notes] == [pytest.approx(1 / 960)]


def test_notes_that_nothing_ends(tmp_path: Path) -> None:
    """Another track ends them, or their channel is silenced, or the longest track ends; nothing lasts no time."""
    path = write(
        tmp_path / "a.mid",
        track((0, on(0, 60, 9)), (0, on(1, 61, 9)), (0, on(2, 62, 9)), (480, on(3, 63, 9)), (480, off(3, 63))),
        track((240, off(0, 60)), (480, b"\xb1\x7b\0"), (1920, b"\xff\1\0")),
    )
    assert read_note_ons(path).end == 2_000_000  # the end of the second track
    heard = sorted((n.pitch, n.start, round(n.end, 6)) for i in read_midi(path).instruments for n in i.notes)
    assert heard == [(60, 0, 0.25), (61, 0, 0.5), (62, 0, 2), (63, 0.5, round(481 / 960, 6))]


def test_every_song_that_is_read_can_be_drawn(tmp_path: Path) -> None:
    """Damaged files, too: the picture has the note-ons that the model reads, at the same times."""
    whole = PLAIN[:14] + track(
        (0, tempo(400_000)),
        (5, b"\xff\x03\x02hi"),
        *((60 + 60 * i, on(i % 16, 60 + i % 3, i % 3 * 40)) for i in range(40)),
    )
    rng = np.random.default_rng(1)
    path, read = tmp_path / "damaged.mid", 0
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            damaged[rng.integers(22, len(damaged))] = rng.choice([0x7F, 0x90, 0xF8, 0xFF, *rng.integers(128, size=12)])
        path.write_bytes(damaged)
        try:
            note_ons = read_note_ons(path)
        except UserError:
            continue
        read += 1
        starts = note_ons.velocities > 0
        heard = sorted((n.start, n.pitch, n.velocity) for i in read_midi(path).instruments for n in i.notes)
        rows = note_ons.times / 1e6, note_ons.notes, note_ons.velocities
        ours = sorted(zip(*(row[starts] for row in rows), strict=True))
        np.testing.assert_allclose(np.array(heard).reshape(-1, 3), np.array(ours).reshape(-1, 3), atol=1e-6)
        assert all(a <= b for a, b in pairwise(note_ons.times))
    assert read > 50
