from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dtnmr.preprocess as preprocess
from common.arrays import META
from common.command import parse
from common.options import PROJECT, UserError
from dtnmr.encoding import encode_user
from dtnmr.evaluation import make_task
from dtnmr.options import DataOptions
from dtnmr.preprocess import PreprocessOptions, load_dataset, main, prepare
from dtnmr.selection_test import table, write_adversarial

TRAIN = "msno,song_id,source_system_tab,source_screen_name,source_type,target"
TEST = "id,msno,song_id,source_system_tab,source_screen_name,source_type"
SONGS = "song_id,song_length,genre_ids,artist_name,composer,lyricist,language"
MEMBERS = "msno,city,bd,gender,registered_via,registration_init_time,expiration_date"
SMALL = DataOptions(top=0, min_playlist_len=2, max_playlist_len=6, short_term_len=1, long_term_len=2, subset_size=2)
ALL = replace(SMALL, validation_share=0)


def write_kkbox(
    folder: Path, train: str, test: str = "", songs: dict | None = None, members: dict | None = None
) -> Path:
    """Plays such as ``u:abc`` (user u plays a, b, c); songs are single letters."""
    folder.mkdir(parents=True, exist_ok=True)

    def rows(text):
        return [(user, song) for part in text.split() for user, played in [part.split(":")] for song in played]

    letters = sorted({song for _, song in rows(train) + rows(test)})
    songs = songs if songs is not None else dict.fromkeys(letters, "200000,1,An Artist,A Writer,,3")
    listed = {user for user, _ in rows(train) + rows(test)}
    members = members if members is not None else dict.fromkeys(sorted(listed), "1,25,male,7,20100101,20170101")
    lines = {
        "train": [TRAIN, *(f"{user},{song},radio,Radio,radio,1" for user, song in rows(train))],
        "test": [TEST, *(f"{n},{user},{song},radio,Radio,radio" for n, (user, song) in enumerate(rows(test)))],
        "songs": [SONGS, *(f"{song},{rest}" for song, rest in songs.items())],
        "members": [MEMBERS, *(f"{user},{rest}" for user, rest in members.items())],
    }
    for name, content in lines.items():
        (folder / f"{name}.csv").write_text("\n".join(content) + "\n", "utf-8")
    return folder


def files_of(data) -> dict:
    return data.rows["files"]


def played(data) -> dict[str, str]:
    """User -> training songs, a bar, test songs."""
    found = {}
    for row, owner in enumerate(data.owners.tolist()):
        songs = [data.song_ids[song] for song in data.songs_played[row]]
        found[data.user_ids[owner]] = "".join(songs[: data.trained[row]]) + "|" + "".join(songs[data.trained[row] :])
    return found


def labels(data, points) -> list[str]:
    """User, history and song to predict, of each example."""
    starts, ends = data.histories(points)
    songs = [data.song_ids[song] for song in data.songs_played.values]
    users = [data.user_ids[data.owners[row]] for row in points.playlists]
    return [f"{user}:{''.join(songs[a:b])}>{songs[b]}" for user, a, b in zip(users, starts, ends, strict=True)]


def test_test_plays_go_on_from_training_and_known_pairs_go(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abc v:ab u:d w:a", "v:cbd u:ea w:ab n:abcd")
    data = prepare(raw, tmp_path / "out", ALL)
    assert played(data) == {"u": "abcd|e", "v": "ab|cd", "n": "|abcd"}
    assert labels(data, data.train) == ["u:ab>c", "u:abc>d"]
    # w's playlist is shorter than two songs; n has no training play, and needs two test plays as history
    assert labels(data, data.test) == ["n:ab>c", "n:abc>d", "u:abcd>e", "v:ab>c", "v:abc>d"]
    assert len(data.validation) == 0 and not data.released
    assert dict(zip(data.song_ids, data.plays.tolist(), strict=True)) == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 0}
    assert data.counts["test: of a song that the user has heard in training"] == 3
    assert data.counts["new songs, without a training play"] == 1
    assert data.counts["new users, without a training play"] == 1


def test_the_last_examples_of_each_user_are_for_validation(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abcdef v:abc", "u:g")
    data = prepare(raw, tmp_path / "out", replace(SMALL, validation_share=0.5))
    assert labels(data, data.train) == ["u:ab>c", "u:abc>d"]
    assert labels(data, data.validation) == ["u:abcd>e", "u:abcde>f", "v:ab>c"]


def test_of_a_long_playlist_the_last_songs_count_and_the_history_is_bounded(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abcdefgh", "u:ij")
    data = prepare(raw, tmp_path / "out", replace(ALL, max_playlist_len=4))
    assert played(data) == {"u": "abcdefgh|ij"}
    assert labels(data, data.train) == ["u:bcd>e", "u:cde>f", "u:def>g", "u:efg>h"]
    assert labels(data, data.test) == ["u:fgh>i", "u:ghi>j"]


def test_repeated_plays_count_once(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abacb", "u:dd")
    data = prepare(raw, tmp_path / "out", ALL)
    assert played(data) == {"u": "abc|d"}
    assert data.counts["train: listed again"] == 2 and data.counts["test: listed again"] == 1
    assert data.plays.sum() == 3


def test_a_released_history_ends_before_the_first_play_of_the_song(tmp_path):
    songs = dict.fromkeys("abcde", "200000,1,An Artist,A Writer,,3")
    raw = write_kkbox(tmp_path / "raw", "u:abcdc v:abca", "u:abc", songs)
    data = prepare(raw, tmp_path / "out", SMALL, "released")
    assert played(data)["v"] == "abca|"
    assert labels(data, data.train) == ["u:ab>c", "u:abc>d", "u:ab>c", "v:ab>c"]
    assert data.counts["examples with too short a history, as the song was played before"] == 1
    assert labels(data, data.test) == ["u:ab>c"] and data.trained.tolist() == [5, 4, 0]


def test_popularity_and_new_songs(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abcd v:abcd w:abc", "u:x v:d")
    options = replace(ALL, top=0.5)
    assert prepare(raw, tmp_path / "a", options).song_ids == list("abcdx")
    assert prepare(raw, tmp_path / "b", replace(options, keep_new_songs=False)).song_ids == list("abcd")
    assert prepare(raw, tmp_path / "c", replace(options, top=0.7)).song_ids == list("abcx")
    assert prepare(raw, tmp_path / "d", replace(options, top=0.7), "released").song_ids == list("abc")


def test_shorter_playlists_are_left_out_in_both_protocols(tmp_path):
    """The playlist is that of the training file; of users who are new in the test, that of the test file."""
    raw = write_kkbox(tmp_path / "raw", "u:abcd v:abc w:ab", "u:ef v:d w:cdefg n:abcd m:ab")
    options = replace(ALL, min_playlist_len=3)
    data = prepare(raw, tmp_path / "a", options)
    assert played(data) == {"u": "abcd|ef", "v": "abc|d", "n": "|abcd"} and data.plays.tolist() == [2, 2, 2, 1, 0, 0, 0]
    assert data.counts["members: with a playlist shorter than --min-playlist-len"] == 2
    assert data.counts["train: of a playlist shorter than --min-playlist-len"] == 2
    data = prepare(raw, tmp_path / "b", options, "released")
    assert labels(data, data.train) == ["u:abc>d"] and labels(data, data.test) == ["n:abc>d"]
    task = make_task(data, seed=1)
    assert [data.user_ids[user] for user in task.users.users] == ["n"]


def test_popularity_is_that_among_the_users_kept(tmp_path):
    members = {"u": "1,25,male", "v": "1,0,male", "w": "1,0,", "x": "1,25,"}
    raw = write_kkbox(tmp_path / "raw", "u:abcd v:cd w:d x:abc", "u:e", members=members)
    (raw / "members.csv").write_text((raw / "members.csv").read_text().replace(MEMBERS, "msno,city,bd,gender"))
    assert prepare(raw, tmp_path / "a", replace(ALL, top=0.6, age_filter=True)).song_ids == list("abce")
    shorter = replace(ALL, top=0.67, min_playlist_len=1, long_term_len=1)
    assert prepare(raw, tmp_path / "b", shorter, "released").song_ids == list("cd")


def test_no_value_without_a_training_play_gets_a_column(tmp_path):
    songs = {
        "a": "200000,1|2,One Artist,A Writer,,3", "b": "200000,2,One Artist,,,3.0", "c": "100000,,BTS,A Writer,,",
        "d": "360000,9,Long Song,A Writer,,9", "x": "300000,7|1,New One|  One Artist,A Writer,,3",
    }  # fmt: skip
    members = dict.fromkeys("u", "1,25,male,7,1,1") | dict.fromkeys("n", "2,30,female,7,1,1") | {"o": "9,61,odd,7,1,1"}
    raw = write_kkbox(tmp_path / "raw", "u:abcd o:abc", "u:x n:abc", songs, members)
    data = prepare(raw, tmp_path / "a", replace(ALL, age_filter=True))
    assert data.song_ids == list("abcx") and data.user_ids == ["u", "n"]
    assert data.values == {
        "genre": ["", "1", "2"], "artist": ["BTS", "One Artist"], "composer": ["", "A Writer"], "language": ["", "3"],
        "age": ["25"], "gender": ["male"], "city": ["1"], "behaviour": ["radio"],
    }  # fmt: skip
    bits = [data.song_bits[song].tolist() for song in range(4)]
    assert bits == [[1, 2, 4, 6, 8], [2, 4, 5, 8], [0, 3, 6, 7], [1, 4, 6, 8]]
    assert data.lengths.tolist() == [1, 1, 0.5, 1.5] and data.longest_length == 200
    assert [data.user_bits[user].tolist() for user in (0, 1)] == [[0, 1, 2], []]


def test_the_name_filter_is_an_option(tmp_path):
    texts = {
        "a": "An Artist,A Writer",
        "b": "An Artist|  B C,A Writer",
        "c": "BTS,A Writer",
        "d": "An Artist,",
        "e": "A 張,B C",
    }
    songs = {song: f"200000,1,{names},,3" for song, names in texts.items()}
    raw = write_kkbox(tmp_path / "raw", "u:abcde", "u:a", songs)
    shorter = replace(ALL, min_playlist_len=1, long_term_len=1)
    assert prepare(raw, tmp_path / "a", shorter).song_ids == list("abcde")
    data = prepare(raw, tmp_path / "b", replace(shorter, name_filter=True))
    assert data.song_ids == list("ab") and data.values["artist"] == ["An Artist", "B C"]
    assert data.counts["songs: by name (artist)"] == 2
    assert data.counts["songs: by name (composer)"] == 1
    data = prepare(raw, tmp_path / "c", shorter, "released")  # the value of a song that the composer drops stays
    assert data.song_ids == list("ab") and data.values["composer"] == ["A Writer"]


def test_tabs_that_mean_nothing_are_merged_and_new_ones_have_no_column(tmp_path):
    raw = write_kkbox(tmp_path / "raw", "u:abcd", "u:e")
    text = (raw / "train.csv").read_text().replace("u,a,radio", "u,a,null").replace("u,b,radio", "u,b,")
    (raw / "train.csv").write_text(text)
    (raw / "test.csv").write_text((raw / "test.csv").read_text().replace("u,e,radio", "u,e,only here"))
    data = prepare(raw, tmp_path / "a", ALL)
    assert data.values["behaviour"] == ["", "radio"] and data.behaviours[0].tolist() == [0, 0, 1, 1, -1]
    data = prepare(raw, tmp_path / "b", ALL, "released")
    assert data.values["behaviour"] == ["", "radio"] and data.behaviours[0].tolist() == [-1, 0, 1, 1]


def test_what_the_released_files_contain_is_counted(tmp_path):
    songs = dict.fromkeys("abcd", "200000,1,An Artist,A Writer,,3") | {"e": "long,1,An Artist,A Writer,,3"}
    members = {"u": "1,25,male,7,1,1", "v": "1,old,male,7,1,1"}
    raw = write_kkbox(tmp_path / "raw", "u:abcdez v:ab w:a", "u:ay w:b", songs, members)
    with (raw / "songs.csv").open("a") as file:
        file.write("a,100000,5,Another One,A Writer,,3\n")
    with (raw / "members.csv").open("a") as file:
        file.write("u,2,30,female,7,1,1\n")
    data = prepare(raw, tmp_path / "out", ALL)
    none, other = "of no length, or not shorter than --max-song-seconds", "of a song left out"
    assert files_of(data) == {
        "train.csv": {
            "rows": 9, "used": 6,
            "left_out": {"of a user not in members.csv": 1, "of a song not in songs.csv": 1, other: 1},
        },
        "test.csv": {
            "rows": 3, "used": 0,
            "left_out": {
                "of a user not in members.csv": 1, "of a song not in songs.csv": 1,
                "of a song that the user has heard in training": 1,
            },
        },
        "songs.csv": {"rows": 6, "used": 4, "left_out": {"listed again": 1, none: 1}},
        "members.csv": {"rows": 3, "used": 2, "left_out": {"listed again": 1}},
    }  # fmt: skip
    assert played(data) == {"u": "abcd|", "v": "ab|"} and data.values["genre"] == ["1"]
    assert data.values["age"] == ["25", "unknown"]
    data = prepare(raw, tmp_path / "out", replace(ALL, age_filter=True))
    left_out = files_of(data)["members.csv"]["left_out"]
    assert left_out == {"listed again": 1, "of another age than --min-age to --max-age": 1}


def test_every_row_is_used_or_left_out_for_one_reason(tmp_path):
    """Whatever the files hold, in both protocols."""
    for seed in range(6):
        folder = tmp_path / str(seed)
        options = write_adversarial(folder, seed)
        for protocol in ("corrected", "released"):
            try:
                data = prepare(folder, folder / protocol, options, protocol)
            except UserError:
                continue
            for name, found in files_of(data).items():
                rows = len(table(folder / name))
                assert found["rows"] == rows == found["used"] + sum(found["left_out"].values()), (seed, protocol, name)


def test_a_title_that_begins_with_a_quotation_mark_swallows_no_row(tmp_path):
    """One mark in songs.csv lost six songs, and their plays, without a word; properly quoted it is read."""
    songs = {song: f"200000,1,An Artist,A Writer,Poet {song},3" for song in "abcdefghij"}
    raw = write_kkbox(tmp_path / "raw", "u:abcdefghij", "u:a", songs)
    text = (raw / "songs.csv").read_text()
    (raw / "songs.csv").write_text(text.replace("Poet c", '"Poet c').replace("Poet i", '"Poet" i'))
    with pytest.raises(UserError, match=r"songs\.csv, line 4: a quotation mark opens a value"):
        prepare(raw, tmp_path / "out", ALL)
    (raw / "songs.csv").write_text(text.replace("Poet c", '"""Poet"" c"').replace("Poet i", '12" Poet'))
    assert prepare(raw, tmp_path / "out", ALL).song_ids == list("abcdefghij")


def test_ids_with_and_without_a_decimal_are_the_same(tmp_path):
    members, songs = {"1.0": "1,25,male,7,1,1"}, {str(n): "200000,1,An Artist,A Writer,,3" for n in range(5)}
    raw = write_kkbox(tmp_path / "raw", "u:01234", "u:0", songs, members)
    for name in ("train", "test"):
        file = raw / f"{name}.csv"
        file.write_text(re.sub(r"u,(\d)", r"1,\1.0", file.read_text()))
    data = prepare(raw, tmp_path / "out", ALL)
    assert played(data) == {"1": "01234|"} and files_of(data)["train.csv"]["used"] == 5
    assert len(data.notes) == 3 and all("101.0" in line or ".0" in line for line in data.notes), data.notes
    with pytest.raises(UserError, match=r"has no entry for any song of .*: ids are such as '0' here, and '0\.0' there"):
        prepare(raw, tmp_path / "exact", ALL, "released")


def test_preprocess_prints_json(raw, tmp_path, capsys):
    with (raw / "train.csv").open("a") as file:
        file.writelines("nobody,a,radio,Radio,radio,1\n" for _ in range(30))
    main(PreprocessOptions(**{**vars(ALL), "db": raw, "cache": tmp_path / "c", "json": True}))
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert found["files"]["train.csv"] == {"rows": 39, "used": 9, "left_out": {"of a user not in members.csv": 30}}
    assert found["parts"]["train"] == {"users": 2, "examples": 5} and found["parts"]["test"]["examples"] == 2
    assert printed.err.splitlines() == [
        "warning: most rows of train.csv are left out: 30 of 39 (of a user not in members.csv: 30)",
        "warning: only 2 test examples: the figures say little (expected 100 or more)",
    ]


def test_an_unknown_age_is_a_value_and_the_filters_are_options(tmp_path):
    ages = {"u": "25", "v": "0", "w": "61", "x": "25.0", "y": ""}
    members = {
        user: f"{city},{age},male,7,1,1"
        for (user, age), city in zip(ages.items(), ["5", "5.0", "6", "5", "5"], strict=True)
    }
    songs = {"a": "200000,1,An Artist,A Writer,,3", "b": "360000,1,An Artist,A Writer,,3.0"}
    raw = write_kkbox(tmp_path / "raw", "u:ab v:ab w:ab x:ab y:ab", "u:c", songs, members)
    short = replace(ALL, min_playlist_len=1, long_term_len=1, max_song_seconds=0)
    data = prepare(raw, tmp_path / "a", short)
    assert data.values["age"] == ["25", "unknown"] and data.values["city"] == ["5", "6"] and data.song_ids == ["a", "b"]
    assert [data.user_bits[user][0] for user in range(5)] == [0, 1, 1, 0, 1] and data.values["language"] == ["3"]
    assert encode_user(data, 61, "male", "5.0").tolist() == encode_user(data, "\0", "male", 5).tolist() == [1, 2, 3]
    data = prepare(raw, tmp_path / "b", replace(short, max_age=61, age_filter=True))
    assert data.values["age"] == ["25", "61"] and data.user_ids == ["u", "w", "x"]
    with pytest.raises(UserError, match="no example to learn from"):
        prepare(raw, tmp_path / "c", replace(short, max_song_seconds=360))
    with pytest.raises(UserError, match="--min-age is 30 and --max-age is 20"):
        replace(short, min_age=30, max_age=20)


def test_blank_rows_are_counted_as_blank(raw, tmp_path):
    for name, blank in (("train", ",,,,,"), ("test", ",,,,,"), ("songs", ",,,,,,"), ("members", ",,,,,,")):
        with (raw / f"{name}.csv").open("a") as file:
            file.write(f"{blank}\n{blank}\n")
    found = files_of(prepare(raw, tmp_path / "out", ALL))
    assert [found[f"{name}.csv"]["blank_lines"] for name in ("train", "test", "songs", "members")] == [2] * 4
    assert found["train.csv"] == {"rows": 9, "used": 9, "left_out": {}, "blank_lines": 2}


@pytest.fixture
def raw(tmp_path) -> Path:
    return write_kkbox(tmp_path / "raw", "u:abcde v:abcd", "u:fg")


def same(one, other) -> bool:
    return (
        one.values == other.values
        and one.song_ids == other.song_ids
        and all(np.array_equal(vars(one.songs_played)[k], vars(other.songs_played)[k]) for k in ("indptr", "values"))
        and np.array_equal(one.train.positions, other.train.positions)
    )


def test_every_way_the_files_may_be_packed_gives_the_same(raw, tmp_path):
    plain = prepare(raw, tmp_path / "plain", ALL)
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in ("train", "songs"):
        (packed / f"{name}.csv.gz").write_bytes(gzip.compress((raw / f"{name}.csv").read_bytes()))
    with zipfile.ZipFile(packed / "test.csv.zip", "w") as archive:
        archive.write(raw / "test.csv", "test.csv")
    text = (raw / "members.csv").read_text()
    (packed / "members.csv").write_bytes(
        b"\xef\xbb\xbf" + text.strip().replace("\n", "\r\n").encode() + b"\r\n\r\n\r\n"
    )
    assert same(plain, prepare(packed, tmp_path / "b", ALL))
    old = (packed / "songs.csv.gz").read_bytes()
    (packed / "songs.csv.gz").write_bytes(gzip.compress(gzip.decompress(old).replace(b"song_length", b"song_len")))
    assert same(plain, prepare(packed, tmp_path / "b", ALL))


def test_quoted_fields(tmp_path):
    songs = dict.fromkeys("abcd", "200000,1,An Artist,A Writer,,3") | {
        "b": '200000,1,"Crosby, Stills ""and"" Nash",A Writer,,3', "c": '200000,1,"Two\nLines",12" Single,,3'
    }  # fmt: skip
    data = prepare(write_kkbox(tmp_path / "raw", "u:abcd", "u:a", songs), tmp_path / "out", ALL)
    assert data.values["artist"] == ["An Artist", 'Crosby, Stills "and" Nash', "Two\nLines"]
    assert data.values["composer"] == ['12" Single', "A Writer"]


BROKEN = {
    "too few values": (
        "train.csv",
        "u,b,radio,Radio,radio,1",
        "u,b,radio,Radio,1",
        "train.csv, line 3: has 5 values; expected 6",
    ),
    "too many values": ("train.csv", "u,b,radio,", "u,b,radio,x,", "train.csv, line 3: has 7 values; expected 6"),
    "one value too few at the end": (
        "songs.csv",
        "A Writer,,3\nc",
        "A Writer,\nc",
        "songs.csv, line 3: has 6 values; expected 7",
    ),
    "one value": ("test.csv", "1,u,g", "1\n1,u,g", "test.csv, line 3: has 1 value; expected 6"),
    "missing columns": ("train.csv", "msno,song_id", "user,song", "line 1: the columns msno, song_id are missing"),
    "no length": ("songs.csv", "song_length", "length", "the column song_length or song_len is missing among song_id"),
    "a column twice": ("members.csv", "msno,city", "msno,msno", "members.csv, line 1: "),
    "an open quote": (
        "songs.csv",
        "c,200000,1,An",
        'c,200000,1,"An',
        "songs.csv, line 4: a quotation mark opens a value",
    ),
    "no UTF-8": ("songs.csv", "c,200000,1,An", "c,200000,1,\udcff", "songs.csv, line 4: is not UTF-8"),
    "nothing to learn from": ("songs.csv", ",200000,", ",400000,", "no song is left"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named_with_the_line(raw, tmp_path, case):
    name, old, new, expected = BROKEN[case]
    text = (raw / name).read_text()
    assert old in text
    (raw / name).write_bytes(text.replace(old, new).encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        prepare(raw, tmp_path / "out", ALL)
    assert expected in str(error.value) and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["train.csv", "test.csv", "songs.csv", "members.csv"])
def test_empty_missing_and_packed_files(raw, tmp_path, name):
    header = (raw / name).read_text().split("\n")[0]
    for content, expected in ((header + "\n", "holds no row"), ("", "line 1: is empty")):
        (raw / name).write_text(content)
        with pytest.raises(UserError, match=f"{name}.*{expected}"):
            prepare(raw, tmp_path / "out", ALL)
    (raw / name).rename(raw / f"{name}.7z")
    with pytest.raises(UserError, match=f"{name}.7z: cannot be read as it is; extract it first: 7z x {name}.7z"):
        prepare(raw, tmp_path / "out", ALL)
    (raw / f"{name}.7z").unlink()
    with pytest.raises(UserError, match=f"lacks {name} or {name}.gz or {name}.zip"):
        prepare(raw, tmp_path / "out", ALL)
    for suffix, damage in ((".gz", gzip.compress(header.encode() * 9)[:-9]), (".zip", b"PK\3\4nothing")):
        (raw / f"{name}{suffix}").write_bytes(damage)
        with pytest.raises(UserError, match=f"{name}{suffix}.*download the file again"):
            prepare(raw, tmp_path / "out", ALL)
        (raw / f"{name}{suffix}").unlink()


def test_no_playlist_is_long_enough(raw, tmp_path):
    with pytest.raises(UserError, match=r"no example to learn from is left.*--min-playlist-len 20"):
        prepare(raw, tmp_path / "out", DataOptions(top=0))
    with pytest.raises(UserError, match=r"--validation-share 0\.99 leaves no example to learn from"):
        prepare(raw, tmp_path / "out", replace(ALL, validation_share=0.99))
    expected = "no user has a training playlist of more than --min-playlist-len 2 .* fewer than --max-playlist-len 3"
    with pytest.raises(UserError, match=expected):
        prepare(raw, tmp_path / "out", replace(ALL, max_playlist_len=3), "released")
    again = write_kkbox(tmp_path / "again", "u:abab v:abba", "u:a")  # longer than two, but all was played before
    with pytest.raises(
        UserError, match="is left: all 4 have a history shorter than --long-term-len 2, as the user has"
    ):
        prepare(again, tmp_path / "out", ALL, "released")
    with pytest.raises(UserError, match="--subset-size is 9; it must be at most the number of songs kept, 7"):
        prepare(raw, tmp_path / "out", replace(ALL, subset_size=9))


def counting(monkeypatch) -> list[int]:
    built = []
    real = preprocess.build
    monkeypatch.setattr(preprocess, "build", lambda *arguments: built.append(1) or real(*arguments))
    return built


def test_arrays_are_made_anew_when_files_or_options_change_and_only_then(raw, tmp_path, monkeypatch):
    built = counting(monkeypatch)
    first = prepare(raw, tmp_path / "out", ALL)
    again = prepare(raw, tmp_path / "out", replace(ALL, subset_size=3, db=raw))
    assert len(built) == 1 and first.fingerprint == again.fingerprint and same(first, again)
    assert isinstance(again.songs_played.values, np.memmap) and again.counts == first.counts
    assert prepare(raw, tmp_path / "out", replace(ALL, min_playlist_len=3)).fingerprint != first.fingerprint
    text = (raw / "test.csv").read_text()
    (raw / "test.csv").write_text(text.replace("u,f", "v,f"))  # of the same size
    assert prepare(raw, tmp_path / "out", ALL).fingerprint != first.fingerprint
    assert len(built) == 3
    (raw / "test.csv").write_text(text)
    assert prepare(raw, tmp_path / "out", ALL).fingerprint == first.fingerprint and len(built) == 3
    prepare(raw, tmp_path / "out", replace(ALL, reload=True))
    for path in (tmp_path / "out").glob("dtnmr-*/plays.npy"):
        path.write_bytes(b"")
    prepare(raw, tmp_path / "out", ALL)
    assert len(built) == 5
    prepare(raw, tmp_path / "out", ALL, "released")
    prepare(raw, tmp_path / "out", replace(ALL, validation_share=0.3), "released")  # which has no validation
    assert len(built) == 6
    (raw / "song_extra_info.csv").write_text("song_id,name,isrc\na,A title,X\n")  # which a run keeps, too
    assert prepare(raw, tmp_path / "out", ALL).fingerprint != first.fingerprint


def test_a_cache_of_the_users_is_never_replaced_unasked(raw, tmp_path):
    cache = tmp_path / "cache"
    options = replace(ALL, db=raw, cache=cache)
    _, data = load_dataset(options, "corrected")
    assert (cache / META).is_file() and load_dataset(options, "corrected")[1].fingerprint == data.fingerprint
    with pytest.raises(UserError, match=r"--cache .*was made with top 0, now 0.1; give --reload"):
        load_dataset(replace(options, top=0.1), "corrected")
    with pytest.raises(UserError, match="was made with protocol corrected, now released"):
        load_dataset(options, "released")
    load_dataset(replace(options, reload=True), "released")
    text = (raw / "test.csv").read_text()
    (raw / "test.csv").write_text(text.replace("u,f", "v,f"))
    with pytest.raises(UserError, match="made from other files"):
        load_dataset(options, "released")
    (raw / "test.csv").write_text(text)
    (cache / "plays.npy").unlink()
    with pytest.raises(UserError, match="is damaged, or of version 0"):
        load_dataset(options, "released")
    (cache / META).write_text('{"state": {"options": 3}}')
    with pytest.raises(UserError, match="is damaged, or of version 0"):
        load_dataset(options, "released")
    (cache / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"is no folder of prepared arrays \(it holds notes.txt\)"):
        load_dataset(replace(options, reload=True), "released")
    assert (cache / "notes.txt").read_text() == "mine"


def test_names_of_the_folder(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path / "data"))
    dataset, _ = load_dataset(ALL, "corrected", data_dir=raw)
    assert dataset.name == "raw" and not dataset.synthetic and dataset.prepared.is_relative_to(tmp_path / "data")
    load_dataset(replace(ALL, db=raw), "corrected", data_dir=raw)
    with pytest.raises(UserError, match=r"--db .* and --data-dir .* are two names for one folder"):
        load_dataset(replace(ALL, db=raw), "corrected", data_dir=tmp_path)
    with pytest.raises(UserError, match=r"--db .*nowhere: no such folder"):
        load_dataset(replace(ALL, db=tmp_path / "nowhere"), "corrected")
    assert not capsys.readouterr().err
    raw.rename(tmp_path / "data" / "kkbox" / "released")
    for options in (ALL, replace(ALL, db=tmp_path / "data" / "kkbox")):
        dataset, _ = load_dataset(options, "corrected")
        assert dataset.name == "released"


RULES = {
    "long_term_len=21": "--long-term-len is 21 and --min-playlist-len is 20; the first must be at most the second",
    "short_term_len=21": "--short-term-len is 21 and --long-term-len is 20",
    "min_playlist_len=200": "--min-playlist-len is 200 and --max-playlist-len is 200; the first must be less than",
    "subset_size=1": "--subset-size is 1; it must lie in 2..2147483647",
    "short_term_len=0": "--short-term-len is 0; it must lie in 1..2147483647",
    f"max_playlist_len={10**20}": "--max-playlist-len is 100000000000000000000; it must lie in 2..2147483647",
    "top=1.0": "--top is 1.0; it must be 0 or more and below 1",
    "top=-0.1": "--top is -0.1",
    "top=nan": "--top is nan",
    "validation_share=1": "--validation-share is 1.0",
}


@pytest.mark.parametrize("given", RULES)
def test_options_that_do_not_fit_together_are_refused_with_the_rule(given):
    name, value = given.split("=")
    with pytest.raises(UserError) as error:
        parse(PreprocessOptions, [f"--{name}", value])
    assert RULES[given] in str(error.value)


def test_the_script_prints_counts(raw, tmp_path, capsys):
    found = main(PreprocessOptions(**{**vars(ALL), "db": raw, "cache": tmp_path / "c"}))
    printed = capsys.readouterr().out
    assert "train examples" in printed and "songs kept" in printed and f"Prepared in {tmp_path / 'c'}" in printed
    assert found["sizes"]["songs kept"] == 7


def test_the_command_line(raw, tmp_path):
    command = [sys.executable, str(PROJECT / "dtnmr/preprocess.py"), "--db", str(raw), "--cache", str(tmp_path / "c")]
    command += ["--top", "0", "--min_playlist_len", "2", "--max-playlist-len", "6", "--short-term-len", "1"]
    command += ["--subset-size", "2"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    good = subprocess.run([*command, "--long-term-len", "2"], capture_output=True, text=True, env=environment)
    assert good.returncode == 0 and "test examples" in good.stdout and good.stderr.count("\n") == 1
    bad = subprocess.run([*command, "--long-term-len", "3"], capture_output=True, text=True, env=environment)
    assert bad.returncode == 2 and bad.stderr.startswith("error: --long-term-len is 3") and bad.stderr.count("\n") == 1


def test_csv_module_agrees_on_odd_lines(tmp_path):
    lines = ["a,200000,,x,,,3", 'b,200000,"q,""r""",y,,,', "c,200000,1|2,z\t,,,3"]
    raw = write_kkbox(tmp_path / "raw", "u:abc", "u:a", {line[0]: line[2:] for line in lines})
    data = prepare(raw, tmp_path / "out", replace(ALL))
    rows = list(csv.reader(lines))
    assert data.values["genre"] == sorted({part for row in rows for part in row[2].split("|")})
    assert data.values["language"] == ["", "3"] and data.values["artist"] == ["x", "y", "z"]
