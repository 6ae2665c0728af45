import gzip
import unicodedata
from collections import Counter

import numpy as np
import pytest

from audiotext.new_song import read_biography
from audiotext.raw import read_raw
from audiotext.text import beginning
from common.options import UserError

FILES = {
    "songs.tsv": "song_id\tartist_id\taudio\ns1\ta1\tsound/one.mp3\ns2\ta2\t\ns3\ta1\t\ns4\ta3\t\n",
    "plays.tsv": "user_id\tsong_id\tplays\nx\ts1\t3\ny\ts1\t1\nx\ts2\t2\nx\ts3\t5\n",
    "tags.tsv": 'artist_id\ttag\tcount\na1\t"new" wave\t7\na1\trock\t1\na2\trock\t0\n',
    "entities.tsv": "artist_id\tentity\na2\tNew York\na2\tNew York\na2\tJazz\n",
    "biographies/a1.txt": "Sängerin aus Köln.\n",
    "biographies/a2.txt": " \n",
    "biographies/a9.txt": "nobody's",
    "sound/one.mp3": "",
    "clips/s1.wav": "",
    "clips/s3.FLAC": "",
    "clips/s2.doc": "",
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, "utf-8")
    return tmp_path


def test_everything_is_read(folder):
    raw = read_raw(folder)
    assert (raw.songs, raw.artists, raw.users) == (["s1", "s2", "s3", "s4"], ["a1", "a2", "a3"], ["x", "y"])
    assert raw.artist_of.tolist() == [0, 1, 0, 2]
    assert raw.plays.toarray().tolist() == [[3, 2, 5, 0], [1, 0, 0, 0]]
    assert raw.artist_plays().toarray().tolist() == [[8, 2, 0], [1, 0, 0]]
    assert raw.biographies == ["Sängerin aus Köln.\n", " \n", ""]
    assert raw.tags == [Counter({'"new" wave': 7, "rock": 1}), Counter(), Counter()]
    assert raw.entities == [Counter(), Counter({"New York": 2, "Jazz": 1}), Counter()]
    assert raw.audio == [folder / "sound/one.mp3", None, folder / "clips/s3.FLAC", None]
    assert raw.counts == {
        "songs": 4, "artists": 3, "users": 2, "pairs of user and song": 4, "plays": 11, "songs without plays": 1,
        "songs without audio": 2, "artists without biography": 2, "biographies of unknown artists": 1,
        "artists without tags": 2, "artists without entities": 2,
    }  # fmt: skip


def test_optional_files_may_be_missing(folder):
    for name in ("tags.tsv", "entities.tsv", *(name for name in FILES if "/" in name)):
        (folder / name).unlink()
    (folder / "songs.tsv").write_text("artist_id\tsong_id\r\na1\ts1\r\n\r\na2\ts2\r\na1\ts3\r\n", newline="")
    (folder / "plays.tsv.gz").write_bytes(gzip.compress((folder / "plays.tsv").read_bytes()))
    (folder / "plays.tsv").unlink()
    raw = read_raw(folder)
    assert raw.songs == ["s1", "s2", "s3"] and raw.audio == [None] * 3 and raw.biographies == [""] * 2
    assert raw.plays.sum() == 11


def test_line_ends_of_biographies_stay_as_they_are(folder):
    (folder / "biographies/a1.txt").write_bytes(b"one\rtwo\r\nthree\n")
    assert read_raw(folder).biographies[0] == "one\rtwo\r\nthree\n"
    pieces = " ".join(f"w{number}\rx" for number in range(400))  # a lone carriage return is no line end
    (folder / "biographies/a1.txt").write_text(pieces, newline="")
    assert beginning(read_raw(folder).biographies[0]).split(" ")[-1] == "w299\rx"
    assert beginning(read_biography(folder / "biographies/a1.txt")) == beginning(pieces)


def test_composed_and_decomposed_names_are_the_same(folder):
    composed, apart = (unicodedata.normalize(form, "Björk") for form in ("NFC", "NFD"))
    for of_id, of_file in ((composed, apart), (apart, composed), (composed, composed)):
        for path in (*folder.glob("biographies/B*"), *folder.glob("clips/B*"), *folder.glob("sound/B*")):
            path.unlink()
        (folder / "songs.tsv").write_text(f"song_id\tartist_id\taudio\n{of_id}\t{of_id}\t\ns1\ta1\tsound/{of_id}.mp3\n")
        (folder / "plays.tsv").write_text(f"user_id\tsong_id\tplays\nx\t{of_id}\t3\n")
        for name in ("tags.tsv", "entities.tsv"):
            (folder / name).unlink(missing_ok=True)
        (folder / f"biographies/{of_file}.txt").write_text("Reykjavík")
        for place in (f"clips/{of_file}.ogg", f"sound/{of_file}.mp3"):
            (folder / place).touch()
        raw = read_raw(folder)
        assert raw.biographies[0] == "Reykjavík" and raw.songs[0] == of_id
        assert raw.audio == [folder / f"clips/{of_file}.ogg", folder / f"sound/{of_file}.mp3"]
    (folder / f"biographies/{apart}.txt").write_text("another")
    with pytest.raises(UserError, match="written otherwise"):
        read_raw(folder)


def test_a_quotation_mark_is_a_character_and_no_row_is_lost(folder):
    """Formats that are separated by tabs have no quoting: songs.tsv and plays.tsv agree on that."""
    songs = ['"s1', 's2"', '"s3"', '""', '"', 's"6']
    lines = [f'{song}\t"a{number % 2}\t"Title {number}\t\n' for number, song in enumerate(songs)]
    (folder / "songs.tsv").write_text("song_id\tartist_id\ttitle\tartist\n" + "".join(lines))
    plays = [f'"u{user}\t{song}\t{user + 1}\n' for user in range(40) for song in songs]
    (folder / "plays.tsv").write_text("user_id\tsong_id\tplays\n" + "".join(plays))
    (folder / "tags.tsv").write_text('artist_id\ttag\tcount\n"a0\t"rock\t3\n"a1\t"rock\t4\n')
    (folder / "entities.tsv").write_text('artist_id\tentity\n"a0\t"X" and "Y"\n')
    raw = read_raw(folder)
    assert raw.songs == songs and raw.artists == ['"a0', '"a1'] and raw.users == [f'"u{user}' for user in range(40)]
    assert raw.plays.nnz == 240 and raw.plays.sum() == 6 * sum(range(1, 41))
    assert raw.song_names['"s1'] == ('"Title 0', "")
    assert raw.tags == [Counter({'"rock': 3}), Counter({'"rock': 4})] and raw.entities[0] == Counter({'"X" and "Y"': 1})
    expected = {"songs.tsv": 6, "plays.tsv": 240, "tags.tsv": 2, "entities.tsv": 1}
    assert raw.rows.as_json()["files"] == {
        name: {"rows": rows, "used": rows, "left_out": {}} for name, rows in expected.items()
    }


def test_marks_endings_and_ids_of_other_programs_change_nothing(folder):
    known = read_raw(folder)
    for name in ("songs.tsv", "plays.tsv", "tags.tsv", "entities.tsv"):
        text = (folder / name).read_text("utf-8").replace("\n", "\r\n").replace("\r\n", "\r\n\r\n", 1)
        (folder / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = read_raw(folder)
    assert (found.songs, found.artists, found.users, found.tags) == (
        known.songs,
        known.artists,
        known.users,
        known.tags,
    )
    assert (found.plays != known.plays).nnz == 0 and found.rows.blanks["songs.tsv"] == 1
    (folder / "songs.tsv").write_text("song_id\tartist_id\n1\t7\n2\t8\n")
    (folder / "plays.tsv").write_text("user_id\tsong_id\tplays\n5.0\t1.0\t1\n6.0\t2.0\t1\n")
    (folder / "tags.tsv").unlink()
    (folder / "entities.tsv").unlink()
    found = read_raw(folder)
    assert found.users == ["5", "6"] and any("1.0 are read as 1" in note for note in found.notes), found.notes


def test_titles_and_artists_are_kept(folder):
    (folder / "songs.tsv").write_text(
        'song_id\ttitle\tartist_id\tartist\ns1\t"Heroes"  (live)\ta1\tBowie\ns2\t\ta2\t\ns3\t\ta1\tDavid Bowie\n'
        "s4\tA | B\ta1\tDavid Bowie\ns5\tX\ta3\t\n"
    )
    (folder / "plays.tsv").write_text("user_id\tsong_id\tplays\nx\ts1\t3\n")
    (folder / "entities.tsv").unlink()
    (folder / "tags.tsv").unlink()
    raw = read_raw(folder)
    assert raw.song_names == {
        "s1": ('"Heroes" (live)', "Bowie"), "s3": ("", "David Bowie"), "s4": ("A | B", "David Bowie"), "s5": ("X", ""),
    }  # fmt: skip
    assert raw.artist_names == {"a1": "David Bowie"}  # what most of the songs say


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "songs.tsv",
            "song_id\tartist\n",
            r"songs\.tsv, line 1: the column artist_id is missing among song_id, artist",
        ),
        ("songs.tsv", "", r"songs\.tsv, line 1: is empty"),
        ("songs.tsv", "song_id\tartist_id\n", r"songs\.tsv: holds no song"),
        ("songs.tsv", "song_id\tartist_id\ns1\ta1\ns1\ta2\n", r"songs\.tsv, line 3: the song 's1' is there already"),
        ("songs.tsv", "song_id\tartist_id\ns1\n", r"line 2: has 1 value; expected 2"),
        ("songs.tsv", "song_id\tartist_id\ns1\t\n", r"line 2: artist_id is ''; expected an id"),
        ("songs.tsv", "song_id\tartist_id\taudio\ns1\ta\tnone.mp3\n", r"line 2: there is no .*none\.mp3"),
        (
            "songs.tsv",
            "song_id\tartist_id\taudio\ns1\ta\t../x.mp3\n",
            r"line 2: audio is '\.\./x\.mp3'; expected",
        ),
        ("songs.tsv", "song_id\tartist_id\taudio\ns1\ta\t/etc/x.mp3\n", r"line 2: audio is '/etc"),
        ("plays.tsv", "user_id\tsong_id\tplays\n", r"plays\.tsv: holds no plays"),
        ("plays.tsv", "user_id\tsong_id\n", r"plays\.tsv, line 1: the column plays is missing"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\t0\n", r"plays\.tsv, line 2: plays is '0'; expected an integer"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\t1\nx\ts2\t-3\n", r"line 3: plays is '-3'"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\tmany\n", r"line 2: plays is 'many'"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\t1.5\n", r"line 2: plays is '1\.5'"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\t1\t2\n", r"line 2: has 4 values"),
        ("plays.tsv", "user_id\tsong_id\tplays\nx\ts1\t1\ny\ts8\t1\n", r"line 3: the song 's8' is not in songs\.tsv"),
        (
            "plays.tsv",
            "user_id\tsong_id\tplays\nx\ts1\t1\ny\ts1\t1\nx\ts2\t1\nx\ts1\t4\n",
            r"plays\.tsv, line 5: repeats the user and song of line 2; add up",
        ),
        (
            "tags.tsv",
            "artist_id\ttag\tcount\na7\trock\t1\n",
            r"tags\.tsv, line 2: the artist 'a7' is not in",
        ),
        ("tags.tsv", "artist_id\ttag\tcount\na1\trock\t1\na1\trock\t2\n", r"line 3: the tag 'rock' of 'a1' is there"),
        ("tags.tsv", "artist_id\ttag\tcount\na1\trock\t-1\n", r"line 2: count is '-1'; expected an integer in 0"),
        ("tags.tsv", "artist_id\ttag\tcount\na1\trock\t١\n", r"line 2: count is '١'"),
        ("entities.tsv", "artist_id\tentity\na1\t \n", r"entities\.tsv, line 2: entity is blank"),
        ("entities.tsv", "artist_id\tterm\n", r"entities\.tsv, line 1: the column entity is missing"),
    ],
)
def test_mistakes_are_named(folder, name, content, message):
    (folder / name).write_text(content, "utf-8")
    with pytest.raises(UserError, match=message):
        read_raw(folder)


def test_files_that_are_missing_or_not_text(folder):
    (folder / "biographies/a1.txt").write_bytes(b"K\xf6ln")
    with pytest.raises(UserError, match=r"a1\.txt: cannot be read as UTF-8 text"):
        read_raw(folder)
    (folder / "tags.tsv").write_bytes(b"artist_id\ttag\tcount\na1\tK\xf6ln\t1\n")
    (folder / "biographies/a1.txt").unlink()
    with pytest.raises(UserError, match=r"tags\.tsv, line 2: is not UTF-8 text"):
        read_raw(folder)
    (folder / "plays.tsv").rename(folder / "plays.tsv.gz")
    with pytest.raises(UserError, match=r"plays\.tsv\.gz: the archive is damaged"):
        read_raw(folder)
    (folder / "plays.tsv.gz").unlink()
    with pytest.raises(UserError, match=r"plays\.tsv: no such file, nor plays\.tsv\.gz"):
        read_raw(folder)
    (folder / "songs.tsv").unlink()
    with pytest.raises(UserError, match=r"songs\.tsv: no such file"):
        read_raw(folder)


def test_artists_are_held_out_with_all_their_songs(folder):
    raw = read_raw(folder)
    for seed in range(5):
        split = raw.split_by_artist(seed, 0.34)
        assert len(split.test_artists) == 1
        assert sorted([*split.train_artists, *split.test_artists]) == [0, 1, 2]
        assert set(raw.artist_of[split.test_songs]) == set(split.test_artists)
        assert set(raw.artist_of[split.train_songs]) == set(split.train_artists)
        again = raw.split_by_artist(seed, 0.34)
        assert all(np.array_equal(a, b) for a, b in zip(vars(split).values(), vars(again).values(), strict=True))
    with pytest.raises(UserError, match=r"3 artists cannot be split: a share of 0\.1"):
        raw.split_by_artist(1, 0.1)
