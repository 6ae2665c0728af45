"""Tests of seer/preprocess.py --from-midi: the files it writes, byte by byte, and how it bears mistakes and kills."""

from __future__ import annotations

import csv
import filecmp
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from common.command import run_script
from common.options import PROJECT, UserError
from common.row_counts import UNNEEDED
from common.sources import MARKER
from seer.building.from_midi import FromMidiOptions, build_dataset
from seer.midi import midi_to_array, read_midi, read_note_ons
from seer.preprocess import PreprocessOptions, main, prepare

CASES = Path(__file__).parents[1] / "testdata" / "midi"
SONGS = 'song_id,title,artist_name,release,year\nSB,Té,"B, the",R,1999\nSA,Ta,A,R,\nSC,Tc,C,R,0\nSX,Tx,X,R,0\n'
TRIPLETS = "bob\tSC\t1\nann\tSA\t2\nbob\tSA\t9\nann\tSB\t4\neve\tSB\t5\nbob\tS0\t1\n"


def song_bytes(*events: tuple[int, int, int, int]) -> bytes:
    """A MIDI file of note-ons (delta in ticks of 1/480 quarter note below 128, channel, note, velocity)."""
    body = b"".join(bytes([delta, 0x90 | channel, note, velocity]) for delta, channel, note, velocity in events)
    body += b"\0\xff\x2f\0"
    return b"MThd\0\0\0\6\0\0\0\1\x01\xe0MTrk" + len(body).to_bytes(4, "big") + body


FILES = {
    "SA": song_bytes((0, 0, 60, 90), (96, 0, 60, 0)),
    "SB": song_bytes((48, 15, 61, 1), (48, 0, 62, 2), (0, 0, 63, 1), (48, 0, 64, 3)),
    "SC": song_bytes((96, 9, 36, 127)),
}


def write_sources(folder: Path, files: dict[str, bytes] = FILES, songs: str = SONGS, triplets: str = TRIPLETS) -> Path:
    for name, content in files.items():
        path = folder / "midi" / f"{name}.mid"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "songs.csv").write_text(songs, "utf-8")
    (folder / "triplets.txt").write_text(triplets)
    return folder


def options(folder: Path, **changed: Any) -> FromMidiOptions:
    paths = {name: folder / file for name, file in (("triplets", "triplets.txt"), ("songs", "songs.csv"))}
    standard = {"from_midi": folder / "midi", "out": folder / "out", "min_songs": 2, "workers": 1}
    return FromMidiOptions(**{**standard, **paths, **changed})


def skipped(out: Path) -> list[tuple[str, ...]]:
    with (out / "skipped.csv").open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def content(zipped: Path) -> str:
    with zipfile.ZipFile(zipped) as archive:
        return archive.read(f"{zipped.stem}.txt").decode()


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_same_files(ours: Path, theirs: Path) -> None:
    names = files_of(theirs)
    assert files_of(ours) == names and len(names) > 8
    assert filecmp.cmpfiles(ours, theirs, names, shallow=False)[0] == names


def test_every_file_byte_by_byte(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    counts = build_dataset(options(folder, steps=3))
    out = folder / "out"
    # eve heard one song only; ann is user 0 and bob user 1, of the songs SA, SB and SC.
    assert (out / "triplets.txt").read_bytes() == b"1 2 1\n0 0 2\n1 0 5\n0 1 4\n"
    header = b",song_id,artist_name,title,release,year,duration\n"
    rows = '0,SA,A,Ta,R,0,0.1\n1,SB,"B, the",Té,R,1999,0.15\n2,SC,C,Tc,R,0,0.1\n'
    assert (out / "song_information.csv").read_bytes() == header + rows.encode()
    assert (out / "song_to_number_matching.csv").read_bytes() == b",song_id,number\n0,SA,0\n1,SB,1\n2,SC,2\n"
    assert (out / "user_to_number_matching.csv").read_bytes() == b",user_id,number\n0,ann,0\n1,bob,1\n"
    assert (
        content(out / "time_array.zip") == "[[0.0, 100000.0, 0.0], [50000.0, 100000.0, 150000.0], [100000.0, 0.0, 0.0]]"
    )
    zeros = [0] * 30
    song_a = [60, 90, *zeros, 60, 0, *zeros, *[0] * 32]
    song_b = [*zeros, 61, 1, 63, 1, *zeros, 64, 3, *zeros]
    song_c = [*[0] * 18, 36, 127, *[0] * 12, *[0] * 64]
    assert content(out / "midi_array.zip") == json.dumps([song_a, song_b, song_c])
    assert [(out / f"midi/{number}.mid").read_bytes() for number in range(3)] == list(FILES.values())
    assert (out / "skipped.csv").read_bytes() == b"song_id,file,reason\n"
    facts = json.loads((out / "provenance.json").read_text())
    assert facts["counts"] == counts and not facts["synthetic"] and facts["options"]["several_notes"] == "highest"
    assert counts["of these with plays"] == {"users": 3, "songs": 3, "ratings": 5}
    assert counts["of users with enough songs"] == {"users": 2, "songs": 3, "ratings": 4} and counts["lines"] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["midi", "out", "songs.csv", "triplets.txt"]
    data = prepare(out, tmp_path / "prepared")
    assert (data.num_users, data.num_songs, data.num_steps) == (2, 3, 3)


def test_choices_change_the_arrays(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    assert build_dataset(options(folder))["steps"] == 2  # the median of 2, 3 and 1
    build_dataset(options(folder, several_notes="lowest", note_ends="drop", steps=2))  # replaces our own folder
    arrays = np.array(json.loads(content(folder / "out/midi_array.zip"))).reshape(3, 2, 32)
    assert arrays[0, :, :2].tolist() == [[60, 90], [0, 0]] and arrays[1, 1, :2].tolist() == [62, 2]


def test_synthetic_is_handed_on(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    build_dataset(options(folder, synthetic_ratings=True))
    assert (folder / "out" / MARKER).is_file()
    (folder / MARKER).write_text("made up")
    build_dataset(options(folder))
    assert (folder / "out" / MARKER).is_file()


def test_mapping_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {"deep/er/1": FILES["SA"], "2": FILES["SB"], "3": FILES["SC"]}
    folder = write_sources(tmp_path, files)
    wrong = "S9,2.mid\nSC,../songs.csv\nSX,gone.mid\n"
    (folder / "midi/mapping.csv").write_text(
        "file,song_id\n"
        + "".join(
            f"{file},{song}\n"
            for song, file in (line.split(",") for line in f"SA,deep/er/1.mid\nSB,2.mid\n{wrong}".split())
        )
    )
    counts = build_dataset(options(folder, min_songs=1))
    said = capsys.readouterr()
    assert "mapping.csv names a file for each of 5 songs" in said.out and "3.mid is not in mapping.csv" in said.err
    rows = counts["rows"]["files"]
    used = {name: (file["rows"], file["used"]) for name, file in rows.items()}
    songs = len((folder / "songs.csv").read_text().splitlines()) - 1
    assert used["mapping.csv"] == (5, 2) and used["songs.csv"] == (songs, 2)
    assert rows["mapping.csv"]["left_out"] == {"whose file cannot be taken": 2, UNNEEDED: 1}
    assert skipped(folder / "out") == [
        ("", "3.mid", "not in mapping.csv"),
        ("S9", "2.mid", "not in songs.csv"),
        ("SC", "../songs.csv", "leads out of the folder; expected a path relative to it"),
        ("SX", "gone.mid", "no such file"),
    ]
    (folder / "midi/mapping.csv").rename(folder / "elsewhere.csv")
    build_dataset(options(folder, min_songs=1, mapping=folder / "elsewhere.csv"))
    assert len(skipped(folder / "out")) == 4
    (folder / "midi" / "4.mid").write_bytes(FILES["SC"])
    build_dataset(options(folder, min_songs=1, mapping=folder / "elsewhere.csv"))
    assert ("", "3.mid", "not in elsewhere.csv, and 1 more MIDI files") in skipped(folder / "out")
    (folder / "elsewhere.csv").write_text("song_id,path\nSA,2.mid\n")
    with pytest.raises(UserError, match=r"elsewhere\.csv, line 1: the column file is missing"):
        build_dataset(options(folder, mapping=folder / "elsewhere.csv"))


@pytest.mark.parametrize("table", ["csv", "unique_tracks", "database"])
def test_lakh_layout(tmp_path: Path, table: str) -> None:
    md5 = {name: f"{number:032x}" for number, name in enumerate("abcd", 10)}
    tracks = {"SA": ["TRAAAAA1"], "SB": ["TRBBBBB1", "TRBBBBB2"], "SC": ["TRCCCCC1"]}
    scores = {
        "TRAAAAA1": {md5["a"]: 0.4, md5["b"]: 0.9},
        "TRBBBBB1": {md5["c"]: 0.5},
        "TRBBBBB2": {md5["a"]: 0.8},
        "TRCCCCC1": {md5["d"]: 1.0},  # its file is missing
        "TRDDDDD1": {md5["d"]: 1.0},  # its track is in no table
        "../../x": {md5["a"]: 1.0},
        "TREEEEE1": {"../../../songs": 1.0},
    }
    best = {
        f"lmd_matched/A/A/A/TRAAAAA1/{md5['b']}": FILES["SA"],
        f"lmd_matched/B/B/B/TRBBBBB2/{md5['a']}": FILES["SB"],
    }
    folder = write_sources(tmp_path, {**best, f"lmd_matched/A/A/A/TRAAAAA1/{md5['a']}": b"worse"})
    (folder / "midi/match_scores.json").write_text(json.dumps(scores))
    rows = [(song, track) for song, all_tracks in tracks.items() for track in all_tracks]
    path = folder / "songs.csv"
    if table == "csv":
        path.write_text(
            "track_id,song_id,title,artist_name,release,year,duration\n"
            + "".join(f"{track},{song},T{track},A,R,0,9.5\n" for song, track in rows)
        )
    elif table == "unique_tracks":
        path.write_text("".join(f"{track}<SEP>{song}<SEP>A<SEP>T{track}\n" for song, track in rows))
    else:
        path.unlink()
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE songs (track_id, title, song_id, release, artist_name, duration, year)")
        values = [(track, f"T{track}", song, "R", "A", 9.5, 0) for song, track in rows]
        database.executemany("INSERT INTO songs VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        database.commit()
        database.close()
    build_dataset(options(folder, min_songs=1))
    out = folder / "out"
    assert [(out / f"midi/{number}.mid").read_bytes() for number in range(2)] == [FILES["SA"], FILES["SB"]]
    with (out / "song_information.csv").open(newline="") as file:
        songs = list(csv.DictReader(file))
    assert [song["title"] for song in songs] == ["TTRAAAAA1", "TTRBBBBB2"]
    assert [song["duration"] for song in songs] == (["0.1", "0.15"] if table == "unique_tracks" else ["9.5", "9.5"])
    assert {row[0] or Path(row[1]).name[:8]: row[2] for row in skipped(out)} == {
        "SC": "no such file",
        md5["d"][:8]: "not in songs.csv",
        "x": f"track id or md5 '{md5['a']}' is wrong, or it has no file",
        "TREEEEE1": "track id or md5 '../../../songs' is wrong, or it has no file",
    }


def test_bad_files_are_skipped_with_reasons(tmp_path: Path) -> None:
    bad = {"S1": b"", "S2": b"text", "S3": song_bytes(), "S4": FILES["SA"][:-3], "S5": song_bytes((0, 0, 60, 9))}
    songs = SONGS + "".join(f"{song},T,A,R,0\n" for song in [*bad, "S6", "S7"])
    triplets = TRIPLETS + "".join(f"bob\t{song}\t1\n" for song in bad) + "solo\tS6\t1\n"
    folder = write_sources(
        tmp_path, {**FILES, **bad, "S6": FILES["SA"], "S7": FILES["SA"], "sub/SA": b"2"}, songs, triplets
    )
    build_dataset(options(folder))
    found = skipped(folder / "out")
    assert [row[:2] for row in found] == [*((f"S{n}", f"S{n}.mid") for n in range(1, 8)), ("SA", "sub/SA.mid")]
    reasons = ["is empty", "no MIDI header", "has no note", "is cut off", "all its notes lie at time 0"]
    reasons += ["played only by users with fewer than 2 songs", "not in triplets.txt", "the song has a file: SA.mid"]
    for row, reason in zip(found, reasons, strict=True):
        assert reason in row[2] and str(tmp_path) not in row[2]
    assert (folder / "out/triplets.txt").read_bytes() == b"1 2 1\n0 0 2\n1 0 5\n0 1 4\n"


def test_every_ending_of_a_midi_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_sources(tmp_path)
    for path in (folder / "midi").iterdir():
        path.unlink()
    names = {"SA.MID": "plain.mid", "SB.Kar": "karaoke.kar", "SC.mid.gz": "zipped.mid.gz", "SX.RMI": "riff.rmi"}
    for name, case in names.items():
        shutil.copy(CASES / case, folder / "midi" / name)
    shutil.copy(CASES / "databyte.mid", folder / "midi" / "SD.smf")
    (folder / "midi" / "SE.mid").mkdir()
    (folder / "midi" / "SF.midi").symlink_to(folder / "nowhere")
    for name in ("a.txt", "b.TXT", "README", "SA.mid.zip", os.fsdecode(b"S\xff.mid")):
        (folder / "midi" / name).write_text("x")
    (folder / "songs.csv").write_text(SONGS + "SD,T,A,R,0\n", "utf-8")
    (folder / "triplets.txt").write_text("".join(f"ann\tS{letter}\t1\n" for letter in "ABCDX"))
    counts = build_dataset(options(folder))
    assert counts["songs with MIDI and metadata"] == 5 and counts["steps"] == 8
    assert counts["read although they break the standard"] == {"values above 127": 1}
    out = capsys.readouterr().out
    assert "1 MIDI file breaks the standard, read as players read it (values above 127: 1)" in " ".join(out.split())
    assert [(song, file, reason[:7]) for song, file, reason in skipped(folder / "out")] == [
        ("", "*.txt", "2 files"),
        ("", "*.zip", "a file "),
        ("", "no ending", "a file "),
        ("SE", "SE.mid", "is a fo"),
        ("SF", "SF.midi", "leads t"),
        (r"S\udcff", r"S\udcff.mid", "not in "),
    ]
    for number in range(5):  # one kind of file for all that follows
        assert (folder / f"out/midi/{number}.mid").read_bytes()[:4] in (b"MThd", b"RIFF")


@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_table", ["NFC", "NFD"])
@pytest.mark.parametrize("mapped", [False, True])
def test_accents_are_written_in_two_ways(tmp_path: Path, on_disk, in_table, mapped) -> None:
    """macOS takes letters and their accents apart."""
    name, other = (unicodedata.normalize(form, "Säo Pé") for form in (on_disk, in_table))
    folder = write_sources(tmp_path, {name: FILES["SA"], "SB": FILES["SB"]}, SONGS + f"{other},T,A,R,0\n")
    (folder / "triplets.txt").write_text(f"ann\t{name}\t2\nann\tSB\t1\n", "utf-8")
    if mapped:
        (folder / "midi" / "mapping.csv").write_text(f"song_id,file\n{other},{other}.mid\nSB,SB.mid\n", "utf-8")
    assert build_dataset(options(folder))["of users with enough songs"] == {"users": 1, "songs": 2, "ratings": 2}
    assert skipped(folder / "out") == []
    with (folder / "out/song_information.csv").open(newline="", encoding="utf-8") as file:
        assert {row["song_id"] for row in csv.DictReader(file)} == {other, "SB"}


def test_the_new_folder_may_be_the_current_one_or_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_sources(tmp_path)
    (folder / "link").symlink_to(folder / "real")
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    for out in (folder / "link", Path(), folder / "link"):
        build_dataset(options(folder, out=out))
    assert files_of(folder / "real") == files_of(folder / "here") and (folder / "link").is_symlink()


@pytest.mark.parametrize("ending", ["\r", "\n", "\r\n"])
def test_ends_of_lines_within_a_title(tmp_path: Path, ending: str) -> None:
    folder = write_sources(tmp_path)
    (folder / "songs.csv").write_bytes(SONGS.replace("Ta", f'"T{ending}a"').encode())
    build_dataset(options(folder))
    data = prepare(folder / "out", folder / "prepared")
    assert data.song_information["title"][0].split() == ["T", "a"]


def test_a_lost_end_of_line_in_the_play_counts(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    (folder / "triplets.txt").write_bytes(b"ann\tSA\t1\nbob\rx\tSA\t2\n")
    with pytest.raises(UserError, match=r"triplets\.txt, line 2: a value holds a carriage return"):
        build_dataset(options(folder))


def test_nothing_left(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    with pytest.raises(UserError, match=r"3 songs with a MIDI file.*3 of them played, but no user played 20 "):
        build_dataset(options(folder, min_songs=20))
    (folder / "triplets.txt").write_text("ann\tS0\t1\n")
    with pytest.raises(UserError, match="0 of them played"):
        build_dataset(options(folder))
    write_sources(tmp_path, dict.fromkeys(FILES, b"text"))
    with pytest.raises(UserError, match="nothing is left"):
        build_dataset(options(folder))
    with pytest.raises(UserError, match=r"no MIDI file belongs to a song .*--mapping"):
        build_dataset(options(folder, from_midi=PROJECT / "common"))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("songs", "message"),
    [
        ("", "is empty"),
        ("song_id,title\nSA,T\n", "line 1: the columns artist_name, release, year are missing"),
        (SONGS + "SA,T,A,R,0\n", "line 6: song_id 'SA' is on line 3 already"),
        (SONGS + "SD,T,A,R,MCM\n", "line 6: column 'year' is 'MCM'"),
        (SONGS + "SD,T\n", "line 6: has 2 values"),
        ("song_id,title,artist_name,release,year,duration\nSA,T,A,R,0,-1\n", "line 2: column 'duration' is '-1'"),
        ("T<SEP>S\n", "line 1 is"),
        ("SQLite format 3\0rubbish", "track_metadata.db"),
        ('song_id,title,artist_name,release,year\n"SA', "line 2: a quotation mark opens"),
        ("\0\0\0", "line 1: holds a NUL character"),
    ],
)
def test_wrong_metadata(tmp_path: Path, songs: str, message: str) -> None:
    folder = write_sources(tmp_path, songs=songs)
    with pytest.raises(UserError) as caught:
        build_dataset(options(folder))
    assert message in str(caught.value) and str(caught.value).startswith(str(folder / "songs.csv"))


@pytest.mark.parametrize("scores", ["[]", "{", '{"TRAAAAA1": 3}', '{"TRAAAAA1": {"a": "b"}}', "[" * 10**5])
def test_wrong_match_scores(tmp_path: Path, scores: str) -> None:
    folder = write_sources(tmp_path)
    (folder / "match_scores.json").write_text(scores)
    with pytest.raises(UserError, match=r"match_scores\.json: .*expected \{track id"):
        build_dataset(options(folder))


def test_foreign_folders_are_left_alone(tmp_path: Path) -> None:
    folder = write_sources(tmp_path)
    (folder / "mine").mkdir()
    (folder / "mine/thesis.txt").write_text("years of work")
    for out, message in (
        (folder / "mine", "holds something else"),
        (folder, "would be lost"),
        (folder / "songs.csv", "would be lost"),
    ):
        with pytest.raises(UserError, match=message):
            build_dataset(options(folder, out=out))
    assert (folder / "mine/thesis.txt").read_text() == "years of work"
    build_dataset(options(folder))
    build_dataset(options(folder))
    (folder / "out/thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds something else \('thesis.txt'\)"):
        build_dataset(options(folder))
    assert (folder / "out/thesis.txt").read_text() == "years of work"
    assert files_of(folder / "midi") == ["SA.mid", "SB.mid", "SC.mid"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--steps", "5"], "--steps: only with --from-midi"),
        (["--from-midi", "{0}/midi"], "--from-midi needs --triplets"),
        (["--from-midi", "{0}/gone"], "no such folder"),
        (
            ["--from-midi", "{0}/midi", "--triplets", "{0}/gone", "--songs", "{0}/songs.csv", "--out", "{0}/o"],
            "no such file",
        ),
        (["{all}", "--steps", "0"], "--steps is 0"),
        (["{all}", "--steps", "average"], "--steps"),
        (["{all}", "--min-songs", "0"], "--min-songs is 0"),
        (["{all}", "--workers", "0"], "--workers is 0"),
        (["{all}", "--data-dir", "{0}"], "give one of them"),
    ],
)
def test_command_line_mistakes(tmp_path: Path, monkeypatch, capsys, arguments: list[str], message: str) -> None:
    folder = write_sources(tmp_path)
    everything = [
        "--from-midi",
        "{0}/midi",
        "--triplets",
        "{0}/triplets.txt",
        "--songs",
        "{0}/songs.csv",
        "--out",
        "{0}/o",
    ]
    given = [part for argument in arguments for part in (everything if argument == "{all}" else [argument])]
    monkeypatch.setattr("sys.argv", ["seer/preprocess.py", *(part.format(folder) for part in given)])
    with pytest.raises(SystemExit) as stop:
        run_script(main, PreprocessOptions)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.count("\n") == 1
    assert not (folder / "o").exists()


def long_song(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    columns = (
        rng.integers(1, 100, 700),
        rng.integers(0, 16, 700),
        rng.integers(0, 128, 700),
        rng.integers(0, 128, 700),
    )
    return song_bytes(*zip(*(column.tolist() for column in columns), strict=True))


@pytest.mark.slow
def test_killed_and_run_again(tmp_path: Path) -> None:
    names = [f"S{number:03d}" for number in range(120)]
    songs = "song_id,title,artist_name,release,year\n" + "".join(f"{name},T,A,R,0\n" for name in names)
    triplets = "".join(f"u{user}\t{name}\t{1 + user}\n" for name in names for user in range(3))
    folder = write_sources(tmp_path, {name: long_song(n) for n, name in enumerate(names)}, songs, triplets)

    def command(out: str, workers: int) -> list[str]:
        sources = [
            "--from-midi",
            "midi",
            "--triplets",
            "triplets.txt",
            "--songs",
            "songs.csv",
            "--out",
            out,
            "--steps",
            "40",
        ]
        return [sys.executable, str(PROJECT / "seer/preprocess.py"), *sources, "--workers", str(workers)]

    cache = folder / "out.midi-cache"
    process = subprocess.Popen(command("out", 2), cwd=folder, stdout=subprocess.DEVNULL, start_new_session=True)
    while not (cache.is_dir() and len(list(cache.glob("*.npz"))) > 3):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("*.npz")}
    assert 3 < len(kept) < len(names) and not (folder / "out").exists()
    damaged = min(kept)
    damaged.write_bytes(damaged.read_bytes()[:200])  # the disk lost the rest
    subprocess.run(command("out", 1), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    assert not cache.exists()
    (folder / "out").rename(folder / "continued")
    subprocess.run(command("out", 2), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    assert_same_files(folder / "continued", folder / "out")


def test_songs_read_before_are_not_read_again(tmp_path: Path, monkeypatch) -> None:
    folder = write_sources(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("seer.building.from_midi._write_arrays", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build_dataset(options(folder))
    assert not (folder / "out").exists()
    write_sources(folder, {"SA": FILES["SB"]})  # this one changes
    read: list[str] = []

    def spy(path: Path):
        read.append(path.stem)
        return read_note_ons(path)

    monkeypatch.setattr("seer.building.midi_songs.read_note_ons", spy)
    build_dataset(options(folder))
    assert read == ["SA"]
    steps, _ = midi_to_array(read_midi(folder / "midi/SC.mid"))
    assert steps[0, 18:20].tolist() == [36, 127]  # a note that never ends is drawn, and in the dataset
    arrays = np.array(json.loads(content(folder / "out/midi_array.zip"))).reshape(3, -1, 32)
    assert arrays[0].tolist() == arrays[1].tolist() and arrays[2, 0, 18:20].tolist() == [36, 127]
