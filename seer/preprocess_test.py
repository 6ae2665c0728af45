"""Tests of seer/preprocess.py: the golden data converted, and every mistake in a file named in one line."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.options import PROJECT, UserError
from common.sources import find_file, open_text_or_zip
from seer.preprocess import REQUIRED, PreprocessOptions, main, prepare, select_channels
from seer.tables import read_triplets

GOLDEN = Path(os.environ.get("GOLDEN_DIR", PROJECT / "tests/golden")) / "seer"
USERS, SONGS, STEPS = 4, 3, 2
MIDI = [[(song + entry) % 128 for entry in range(32 * STEPS)] for song in range(SONGS)]
TIMES = [[0.0, 1000.5], [5.0, 0.0], [0.0, 0.0]]
TRIPLETS = "0 0 5\n1 2 3\n3 1 1\n2 0 4\n1 0 2\n"
SONG_NUMBERS = ",song_id,number\n0,A,0\n1,B,1\n2,C,2\n"
INFORMATION = (
    ",song_id,artist_name,title,release,year,duration\n"
    '0,C,"NA, ""the"" é","two\nlines",null,0,236.5\n0,A,None,,R,1999,11.49\n0,B,x,y,z,2001,30\n'
)
USER_NUMBERS = ",user_id,number\n0,u0,0\n1,u1,1\n2,u2,2\n3,u3,3\n"
FILES = {
    "triplets": ("triplets.txt", TRIPLETS),
    "midi": ("midi_array.txt", json.dumps(MIDI)),
    "times": ("time_array.txt", json.dumps(TIMES)),
    "information": ("song_information.csv", INFORMATION),
    "matching": ("song_to_number_matching.csv", SONG_NUMBERS),
    "users": ("user_to_number_matching.csv", USER_NUMBERS),
}
"""Of each role, the name of its file and correct content."""


def write_raw(folder: Path, **changed: "str | bytes | None") -> Path:
    """Write a small correct set of files into ``folder``; ``changed`` replaces (None: leaves out) some."""
    folder.mkdir(exist_ok=True)
    for role, (name, text) in FILES.items():
        content = changed.get(role, text)
        if content is not None:
            (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def zip_arrays(folder: Path) -> None:
    for name, zipped in (("midi_array.txt", "midi_array.zip"), ("time_array.txt", "Time_array.zip")):
        with zipfile.ZipFile(folder / zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(folder / name, name)
        (folder / name).unlink()


def changed_midi(song: int, entry: int, value: object) -> str:
    """The midi array as JSON text with one entry replaced; NaN and Infinity stay as they are."""
    rows: list[list[object]] = [list(row) for row in MIDI]
    rows[song][entry] = value
    return json.dumps(rows)


@pytest.mark.golden
def test_golden_data_converted(tmp_path: Path) -> None:
    raw = GOLDEN / "Data"
    data = prepare(raw, tmp_path / "prepared")
    arrays = []
    for names in (REQUIRED["midi"], REQUIRED["times"]):
        path = find_file(raw, *names)
        assert path is not None
        with open_text_or_zip(path) as stream:
            arrays.append(json.loads(stream.read()))
    midi, times = np.array(arrays[0]), np.array(arrays[1])
    np.testing.assert_array_equal(data.midi.reshape(len(midi), -1), midi)
    np.testing.assert_array_equal(data.times, times)
    triplets = np.loadtxt(raw / "triplets.txt", dtype=int)
    np.testing.assert_array_equal(np.stack([data.users, data.songs, data.ratings], 1), triplets)
    assert (data.users.dtype, data.songs.dtype, data.ratings.dtype) == (np.int32, np.int32, np.float32)
    assert isinstance(data.midi, np.memmap) and isinstance(data.times, np.memmap)
    assert data.midi.shape == (data.num_songs, data.num_steps, 32)
    assert data.num_users == triplets[:, 0].max() + 1 and data.num_songs == triplets[:, 1].max() + 1
    matching = (raw / "song_to_number_matching.csv").read_text().splitlines()[1:]
    assert data.song_information["song_id"].tolist() == [line.split(",")[1] for line in matching]
    assert data.song_information.index.tolist() == list(range(data.num_songs))
    assert (data.song_information["duration"] > 0).all()


@pytest.mark.golden
def test_golden_channel_reduction(tmp_path: Path) -> None:
    info = json.loads((GOLDEN / "expected/train_reference_info.json").read_text())["reduce_num_channels"]
    midi = prepare(GOLDEN / "Data", tmp_path / "prepared").midi
    assert info
    for channels, expected in info.items():
        kept = select_channels(np.arange(96).reshape(1, 3, 32), int(channels))
        assert kept.ravel().tolist() == expected["columns_kept_of_first_96"]
        first = select_channels(midi, int(channels))[0, 0]
        assert first.tolist() == expected["checksum_song0_first_step"]


@pytest.mark.parametrize("channels", [0, 17, -1])
def test_channels_out_of_range(channels: int) -> None:
    with pytest.raises(UserError, match=r"1\.\.16"):
        select_channels(np.zeros((1, 1, 32)), channels)


def test_small_data(tmp_path: Path) -> None:
    data = prepare(write_raw(tmp_path / "raw"), tmp_path / "prepared")
    assert (data.num_users, data.num_songs, data.num_steps) == (USERS, SONGS, STEPS)
    assert data.midi.dtype == np.uint8 and data.midi.reshape(SONGS, -1).tolist() == MIDI
    assert data.times.tolist() == TIMES
    assert data.users.tolist() == [0, 1, 3, 2, 1] and data.ratings.tolist() == [5, 3, 1, 4, 2]
    frame = data.song_information
    assert frame["song_id"].tolist() == ["A", "B", "C"]
    assert frame.loc[2].tolist() == ["C", 'NA, "the" é', "two\nlines", "null", 0, 236.5]
    assert frame.loc[0].tolist() == ["A", "None", "", "R", 1999, 11.49]


def test_a_song_that_a_user_rates_twice_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = prepare(write_raw(tmp_path / "raw", triplets=TRIPLETS + "0 0 4\n"), tmp_path / "prepared")
    assert data.rows["parts"]["ratings"]["of a song that the user rated before"] == 1 and len(data.ratings) == 6
    assert "triplets.txt: 1 line rates a song that the user rated before" in capsys.readouterr().err


def test_zip_equals_text(tmp_path: Path) -> None:
    text = prepare(write_raw(tmp_path / "raw"), tmp_path / "a/prepared")
    zip_arrays(tmp_path / "raw")
    zipped = prepare(tmp_path / "raw", tmp_path / "b/prepared")
    assert zipped.fingerprint == text.fingerprint
    np.testing.assert_array_equal(zipped.midi, text.midi)
    np.testing.assert_array_equal(zipped.times, text.times)


def test_byte_order_mark_crlf_blank_ends_and_layout_do_not_matter(tmp_path: Path) -> None:
    def windows(text: str) -> str:
        return "\ufeff" + text.replace("two\nlines", "two_lines").replace("\n", "\r\n") + "\r\n"

    information = INFORMATION.replace("two\nlines", "two_lines")
    plain = prepare(write_raw(tmp_path / "a", information=information), tmp_path / "p")
    raw = write_raw(
        tmp_path / "b",
        triplets=windows(TRIPLETS),
        midi=windows(json.dumps(MIDI, indent=1)),
        times=windows(json.dumps(TIMES, separators=(",", ":"))),
        information=windows(INFORMATION),
        matching=windows(SONG_NUMBERS),
        users=windows(USER_NUMBERS),
    )
    assert prepare(raw, tmp_path / "q").fingerprint == plain.fingerprint
    whole = json.dumps(MIDI).replace(",", ".0,").replace("].0,", ".0],").replace("]]", ".0]]")
    assert json.loads(whole) == MIDI and ".0" in whole
    assert (
        prepare(write_raw(tmp_path / "a", midi=whole, information=information), tmp_path / "p").fingerprint
        == plain.fingerprint
    )


@pytest.mark.parametrize("song", range(SONGS))
def test_fractions_switch_the_array_to_float32(tmp_path: Path, song: int) -> None:
    raw = write_raw(tmp_path / "raw", midi=changed_midi(song, 5, 64.5))
    midi = prepare(raw, tmp_path / "prepared").midi
    assert midi.dtype == np.float32
    assert midi.reshape(SONGS, -1).tolist() == json.loads(changed_midi(song, 5, 64.5))
    assert not list((tmp_path / "prepared").glob("*.part"))


def test_the_users_file_is_optional(tmp_path: Path) -> None:
    whole = prepare(write_raw(tmp_path / "raw"), tmp_path / "a")
    (tmp_path / "raw/user_to_number_matching.csv").unlink()
    assert prepare(tmp_path / "raw", tmp_path / "b").fingerprint == whole.fingerprint


def midi_rows(*rows: object) -> str:
    return json.dumps(list(rows))


JSON = json.dumps(MIDI)
CUT = JSON.index("]") + 40
CORRUPT = {
    # midi_array: structure of the file
    "midi empty": ("midi", "", "is empty"),
    "midi only blanks": ("midi", " \n ", "is empty"),
    "midi cut": ("midi", JSON[:CUT], r"ends inside row 1 "),
    "midi cut between": ("midi", JSON[: JSON.index("]") + 1], r"ends after row 0 "),
    "midi cut after comma": ("midi", JSON[: JSON.index("]") + 2], r"ends before row 1 "),
    "midi cut at start": ("midi", "[", "ends before row 0 "),
    "midi object": ("midi", '{"a": 1}', "begins with '{'; expected a JSON list"),
    "midi utf-16": ("midi", JSON.encode("utf-16"), "begins with .*; expected a JSON list"),
    "midi no rows": ("midi", "[]", "holds no rows"),
    "midi flat": ("midi", "[1, 2]", r"row 0 .* begins with '1'; expected '\['"),
    "midi row is null": ("midi", midi_rows(MIDI[0], None), "row 1 .* begins with 'n'"),
    "midi nested": ("midi", midi_rows(MIDI[0], [MIDI[1]], MIDI[2]), "row 1 .* list inside"),
    "midi trailing comma": ("midi", JSON[:-1] + ",]", r"row 3 .* begins with '\]'"),
    "midi no comma": ("midi", JSON.replace("], [", "] ["), r"row 0 .* followed by '\['"),
    "midi garbage": ("midi", JSON + " x", "goes on with 'x' after its end .row 2"),
    "midi twice": ("midi", JSON + JSON, r"goes on with '\[' after its end"),
    # midi_array: entries
    "midi NaN": ("midi", changed_midi(1, 7, float("nan")), "row 1 .* entry 7 .* is NaN"),
    "midi inf": ("midi", changed_midi(2, 0, float("-inf")), "row 2 .* entry 0 .* is -Infinity"),
    "midi null": ("midi", changed_midi(0, 3, None), "row 0 .* entry 3 .* is null"),
    "midi bool": ("midi", changed_midi(1, 3, True), "row 1 .* entry 3 .* is true"),
    "midi text": ("midi", changed_midi(1, 3, "64"), 'row 1 .* entry 3 .* is "64"'),
    "midi object entry": ("midi", changed_midi(1, 3, {}), r"row 1 .* entry 3 .* is \{\}"),
    "midi text with bracket": ("midi", changed_midi(1, 3, "]"), "row 1 .* no list of numbers"),
    "midi too high": ("midi", changed_midi(1, 9, 128), r"row 1 .* entry 9 .* is 128; .* 0..127"),
    "midi high": ("midi", changed_midi(1, 9, 300), r"row 1 .* entry 9 .* is 300; .* 0..127"),
    "midi higher": ("midi", changed_midi(1, 9, 70000), r"row 1 .* entry 9 .* is 70000.0;"),
    "midi fraction": ("midi", changed_midi(1, 9, 127.5), r"row 1 .* entry 9 .* is 127.5;"),
    "midi negative": ("midi", changed_midi(2, 9, -1), r"row 2 .* entry 9 .* is -1.0; .* 0..127"),
    "midi huge": ("midi", changed_midi(2, 9, 10**400), "row 2 .* too large"),
    "midi 1e999": ("midi", JSON.replace(" 7,", " 1e999,"), "row 0 .* too large"),
    "midi many digits": ("midi", JSON.replace(" 7,", " 1" + "0" * 5000 + ","), "row 0 .* digits"),
    "midi leading zero": ("midi", JSON.replace(" 7,", " 07,"), "row 0 .* no list of numbers"),
    "midi two numbers": ("midi", JSON.replace(" 7,", " 7 7,"), "row 0 .* no list of numbers"),
    "midi two commas": ("midi", JSON.replace(" 7,", " 7,,"), "row 0 .* no list of numbers"),
    "midi bare point": ("midi", JSON.replace(" 7,", " 7.,"), "row 0 .* no list of numbers"),
    "midi two points": ("midi", JSON.replace(" 7,", " 7.0.0,"), "row 0 .* no list of numbers"),
    "midi split point": ("midi", JSON.replace(" 7,", " 7 .0,"), "row 0 .* no list of numbers"),
    "midi letter": ("midi", JSON.replace(" 7,", " é,"), "row 0 .* no list of numbers"),
    # midi_array: sizes
    "midi no multiple": (
        "midi",
        midi_rows(*[row[:-1] for row in MIDI]),
        "row 0 .* 63 numbers; .* multiple of 32",
    ),
    "midi empty row": ("midi", midi_rows([], [], []), "row 0 .* 0 numbers; .* multiple of 32"),
    "midi unequal": ("midi", midi_rows(MIDI[0], MIDI[1][:32], MIDI[2]), "row 1 .* 32 .* 64"),
    "midi not as times": ("midi", midi_rows(*[row[:32] for row in MIDI]), "row 0 .* 32 .* 64.*2 times"),
    "midi few rows": ("midi", midi_rows(*MIDI[:2]), "ends after row 1 .*expected 3 rows"),
    "midi many rows": ("midi", midi_rows(*MIDI, MIDI[0]), "row 3 .*expected 3 rows"),
    # time_array
    "times empty": ("times", "", "is empty"),
    "times cut": ("times", json.dumps(TIMES)[:-3], "ends inside row 2 "),
    "times negative": ("times", "[[-1, 2], [0, 0], [0, 0]]", r"row 0 .* entry 0 .* -1.0"),
    "times fall": ("times", "[[0, 2], [5, 4], [0, 0]]", "row 1 .* entry 1 .* 4.0 after 5.0"),
    "times hole": ("times", "[[1, 0, 2], [5, 6, 7], [0, 0, 0]]", "row 0 .* entry 1 .* 0.0 after 1.0"),
    "times NaN": ("times", "[[0, 2], [5, 6], [0, NaN]]", "row 2 .* entry 1 .* NaN"),
    "times null": ("times", "[[0, null], [5, 6], [0, 0]]", "row 0 .* entry 1 .* null"),
    "times unequal": ("times", "[[0, 2], [5, 6, 7], [0, 0]]", "row 1 .* 3 numbers; expected 2"),
    "times no steps": ("times", "[[], [], []]", "row 0 .* empty"),
    "times few rows": ("times", "[[0, 2]]", "ends after row 0 .*expected 3 rows"),
    # triplets
    "triplets empty": ("triplets", "\n", "is empty"),
    "triplets two": ("triplets", TRIPLETS + "1 1\n", "line 6 is '1 1': it has 2 fields"),
    "triplets four": ("triplets", "0 0 1 1\n" + TRIPLETS, "line 1 .*it has 4 fields"),
    "triplets blank line": ("triplets", TRIPLETS.replace("3 1 1", ""), "line 3 .*it has 0 fields"),
    "triplets two blanks": ("triplets", TRIPLETS.replace("3 1 1", "3  1 1"), "line 3 .*single blanks"),
    "triplets tab": ("triplets", TRIPLETS.replace("3 1 1", "3\t1\t1"), "line 3 .*single blanks"),
    "triplets end blank": ("triplets", TRIPLETS.replace("3 1 1", "3 1 1 "), "line 3 .*single blanks"),
    "triplets float": ("triplets", TRIPLETS.replace("3 1 1", "3 1 1.0"), "line 3 .*the rating is no integer"),
    "triplets NaN": ("triplets", TRIPLETS.replace("3 1 1", "3 1 NaN"), "line 3 .*the rating is no integer"),
    "triplets word": ("triplets", "user song rating\n" + TRIPLETS, "line 1 .*the user is no integer"),
    "triplets other digit": (
        "triplets",
        TRIPLETS.replace("3 1 1", "3 ١ 1"),
        "line 3 .*the song is no integer",
    ),
    "triplets negative": ("triplets", TRIPLETS.replace("3 1 1", "3 -1 1"), "line 3 .*the song is negative"),
    "triplets huge": ("triplets", TRIPLETS.replace("3 1", "3333333333 1"), "line 3 .*the user is too large"),
    "triplets zero": ("triplets", TRIPLETS.replace("3 1 1", "3 1 0"), "line 3 .*the rating is not one of"),
    "triplets six": ("triplets", TRIPLETS.replace("3 1 1", "3 1 6"), "line 3 .*the rating is not one of"),
    "triplets no latin": ("triplets", TRIPLETS.encode() + b"\xff", "line 6 "),
    "triplets user gap": ("triplets", TRIPLETS.replace("2 0 4\n", ""), "user 2 has no line.*3"),
    "triplets song gap": ("triplets", TRIPLETS.replace("0 0", "0 5"), "song 3 has no line.*5"),
    "triplets no song 0": ("triplets", "0 1 5\n1 2 4\n", "song 0 has no line"),
    "triplets far": ("triplets", TRIPLETS + "999999999 0 1\n", "user 4 has no line"),
    "triplets more songs": ("triplets", TRIPLETS + "0 3 1\n", "matching.csv: .*ends at 2 .*expected 3"),
    # csv files
    "matching empty": ("matching", "", "is empty"),
    "matching header only": ("matching", ",song_id,number\n", "has no row after line 1"),
    "matching column": (
        "matching",
        SONG_NUMBERS.replace("number", "no"),
        "line 1: the column number is missing",
    ),
    "matching order": ("matching", SONG_NUMBERS.replace("B,1", "B,2"), "line 3: .*'number' is 2; expected 1"),
    "matching float": ("matching", SONG_NUMBERS.replace("B,1", "B,1.0"), "line 3: column 'number' is '1.0'"),
    "matching NaN": ("matching", SONG_NUMBERS.replace("B,1", "B,"), "line 3: column 'number' is ''"),
    "matching short": ("matching", SONG_NUMBERS.replace("2,C,2\n", ""), "ends at 1 .*expected 2.*3 distinct"),
    "matching twice": (
        "matching",
        SONG_NUMBERS.replace("1,B", "1,A"),
        "line 3: song_id 'A' is on line 2 already",
    ),
    "matching no id": ("matching", SONG_NUMBERS.replace("1,B", "1,"), "line 3: column 'song_id' is empty"),
    "matching fields": ("matching", SONG_NUMBERS.replace("1,B", "1,B,C"), "line 3: has 4 values; expected 3"),
    "matching other song": (
        "matching",
        SONG_NUMBERS.replace("1,B", "1,D"),
        "information.csv, line 5: song_id 'B' is not in song_to",
    ),
    "information column": (
        "information",
        INFORMATION.replace("duration", "length"),
        "line 1: the column duration is missing among ",
    ),
    "information fewer": (
        "information",
        INFORMATION.replace("0,B,x,y,z,2001,30\n", ""),
        "matching.csv, line 3: song_id 'B' is not in song_information",
    ),
    "information twice": (
        "information",
        INFORMATION.replace("0,B", "0,A"),
        "line 5: song_id 'A' is on line 4",
    ),
    "duration 0": (
        "information",
        INFORMATION.replace("11.49", "0"),
        "line 4: column 'duration' is '0'; .*positive",
    ),
    "duration nan": (
        "information",
        INFORMATION.replace("11.49", "nan"),
        "line 4: column 'duration' is 'nan'",
    ),
    "duration inf": (
        "information",
        INFORMATION.replace("11.49", "inf"),
        "line 4: column 'duration' is 'inf'",
    ),
    "duration empty": ("information", INFORMATION.replace("11.49", ""), "line 4: column 'duration' is ''"),
    "duration negative": (
        "information",
        INFORMATION.replace("11.49", "-1"),
        "line 4: column 'duration' is '-1'",
    ),
    "duration odd": (
        "information",
        INFORMATION.replace("11.49", "1_1"),
        "line 4: column 'duration' is '1_1'",
    ),
    "year": ("information", INFORMATION.replace("1999", "NaN"), "line 4: column 'year' is 'NaN'"),
    "quote": ("information", INFORMATION + '0,D,"x', "line 6: a quotation mark opens"),
    "latin-1": ("information", INFORMATION.encode("latin-1"), "line 2: is not UTF-8"),
    "users short": ("users", USER_NUMBERS.replace("3,u3,3\n", ""), "expected 3.*4 distinct"),
    "users twice": ("users", USER_NUMBERS.replace("u3", "u1"), "line 5: user_id 'u1' is on line 3"),
    "users column": ("users", USER_NUMBERS.replace("user_id", "id"), "line 1: the column user_id is missing among "),
}


@pytest.mark.parametrize(("role", "content", "message"), CORRUPT.values(), ids=CORRUPT.keys())
def test_mistakes_are_named_and_leave_nothing(tmp_path: Path, role: str, content: str | bytes, message: str) -> None:
    raw = write_raw(tmp_path / "raw", **{role: content})
    with pytest.raises(UserError, match=message) as caught:
        prepare(raw, tmp_path / "home/prepared")
    text = str(caught.value)
    assert "\n" not in text and FILES[role][0] in text
    assert text.startswith(str(raw / FILES[role][0])) or ".csv" in message
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", [names[0] for names in REQUIRED.values()])
def test_missing_file_is_named(tmp_path: Path, name: str) -> None:
    raw = write_raw(tmp_path / "raw")
    (raw / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: no such file.*data/README\.md"):
        prepare(raw, tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_hostile_and_damaged_zips(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    zip_arrays(raw)
    whole = (raw / "midi_array.zip").read_bytes()
    (raw / "midi_array.zip").write_bytes(whole[:-30])
    with pytest.raises(UserError, match=r"midi_array\.zip"):
        prepare(raw, tmp_path / "home/prepared")
    with zipfile.ZipFile(raw / "midi_array.zip", "w") as archive:
        archive.writestr("../../midi_array.txt", JSON)
    with pytest.raises(UserError, match=r"midi_array\.zip.*leads out"):
        prepare(raw, tmp_path / "home/prepared")
    with zipfile.ZipFile(raw / "midi_array.zip", "w") as archive:
        archive.writestr("midi_array.txt", JSON + " " * 100)
    flipped = bytearray((raw / "midi_array.zip").read_bytes())
    flipped[flipped.index(b"]]  ") + 50] = ord("\n")  # still the same JSON: only the checksum can tell
    (raw / "midi_array.zip").write_bytes(flipped)
    with pytest.raises(UserError, match=r"midi_array\.zip.*CRC"):
        prepare(raw, tmp_path / "home/prepared")
    assert list((tmp_path / "home").iterdir()) == []


def test_wrong_file_keeps_the_former_arrays(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    former = prepare(raw, tmp_path / "prepared")
    (raw / "triplets.txt").write_text(TRIPLETS + "x")
    with pytest.raises(UserError, match="line 6"):
        prepare(raw, tmp_path / "prepared")
    (raw / "triplets.txt").write_text(TRIPLETS)
    assert prepare(raw, tmp_path / "prepared").fingerprint == former.fingerprint


def test_arrays_are_made_once_for_each_content_and_again_when_they_are_damaged(tmp_path: Path) -> None:
    raw, prepared = write_raw(tmp_path / "raw"), tmp_path / "prepared"

    def sets() -> list[str]:
        return sorted(path.name for path in prepared.glob("seer-*"))

    first = prepare(raw, prepared)
    assert prepare(raw, prepared).fingerprint == first.fingerprint and len(sets()) == 1
    (raw / "triplets.txt").write_text(TRIPLETS.replace("0 0 5", "0 0 4"))
    (before,) = sets()
    second = prepare(raw, prepared)
    assert second.ratings[0] == 4 and second.fingerprint != first.fingerprint
    (folder,) = (prepared / name for name in sets() if name != before)
    for name in ("midi.npy", "songs.json", "meta.json", "users.npy"):  # cut off, as on a full disk
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])
        assert prepare(raw, prepared).fingerprint == second.fingerprint
        assert (folder / name).read_bytes() == content or name == "meta.json"
    assert first.ratings[0] == 5 and first.midi.reshape(SONGS, -1).tolist() == MIDI  # old maps stay usable
    (raw / "triplets.txt").write_text(TRIPLETS)
    assert prepare(raw, prepared).fingerprint == first.fingerprint and len(sets()) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "raw"]


def test_two_processes_at_once(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    code = (
        "import sys; from pathlib import Path; from seer.preprocess import prepare; sys.stdin.readline();"
        f"print(prepare(Path({str(raw)!r}), Path({str(tmp_path / 'prepared')!r})).fingerprint)"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0] and len(outputs[0][0].strip()) == 64
    told = "".join(error for _, error in outputs)  # the second one waits, unless the first one is through already
    assert not told or (told.count("\n") == 1 and "another process is making it" in told)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared", "raw"]


def test_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seer.preprocess.convert_midi", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(write_raw(tmp_path / "raw"), tmp_path / "home/prepared")
    assert list((tmp_path / "home").iterdir()) == []


def test_folder_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        prepare(write_raw(tmp_path / "raw"), tmp_path / "file/prepared")


def test_script_prints_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "data"))
    result = main(PreprocessOptions(data_dir=write_raw(tmp_path / "raw")))
    printed = capsys.readouterr().out
    assert "4 users" in printed and "3 songs" in printed and str(tmp_path / "data/seer") in printed
    assert result["rating_histogram"] == {1: 1, 2: 1, 3: 1, 4: 1, 5: 1} and result["ratings"] == 5
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == sorted(
        ["user_to_number_matching.csv", *(names[0] for names in REQUIRED.values())]
    )


def test_script_ends_in_one_line_on_a_mistake(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", midi=changed_midi(1, 7, 200))
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "ENCORE_DATA": str(tmp_path / "data")}
    command = [sys.executable, str(PROJECT / "seer/preprocess.py"), "--data-dir", str(raw)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2 and ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1 and "row 1 " in ended.stderr
    shutil.rmtree(raw)


def test_a_table_of_a_terabyte_is_refused_unread(tmp_path):
    with (tmp_path / "triplets.txt").open("wb") as file:
        file.truncate(2**40)  # takes no space
    with pytest.raises(UserError, match=r"triplets.txt: has 1,099,511,627,776 bytes; expected a small table"):
        read_triplets(tmp_path / "triplets.txt")
