import zipfile
from collections import Counter

import pytest

from audiotext.hetrec import ARCHIVE, is_hetrec, read_hetrec
from common.options import UserError

FILES = {
    "artists.dat": "id\tname\turl\tpictureURL\r\n7\tOne\thttp://x\t\r\n3\tMötley\thttp://y\thttp://z\r\n9\t\tu\tp\r\n",
    "user_artists.dat": "userID\tartistID\tweight\r\n2\t3\t100\r\n2\t7\t5\r\n5\t3\t1\r\n",
    "tags.dat": b"tagID\ttagValue\r\n1\tmetal\r\n2\tm\xfasica\r\n",
    "user_taggedartists.dat": (
        "userID\tartistID\ttagID\tday\tmonth\tyear\r\n2\t3\t1\t1\t4\t2009\r\n5\t3\t1\t1\t4\t2009\r\n"
        "5\t3\t1\t1\t5\t2009\r\n2\t3\t2\t1\t4\t2009\r\n2\t7\t2\t1\t4\t2009\r\n2\t99\t1\t1\t4\t2009\r\n"
    ),
}


@pytest.fixture
def folder(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def packed(folder, names=FILES):
    archive = folder / "packed" / ARCHIVE
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name in names:
            file.write(folder / name, name)
    return archive


def test_folder_and_archive_are_read_alike(folder):
    archive = packed(folder)
    for place in (folder, archive, archive.parent):
        assert is_hetrec(place)
        raw = read_hetrec(place)
        assert raw.artist_level and raw.songs == raw.artists == ["7", "3", "9"] and raw.users == ["2", "5"]
        assert raw.plays.toarray().tolist() == [[5, 100, 0], [0, 1, 0]]
        assert (raw.artist_plays() != raw.plays).nnz == 0
        assert raw.tags == [Counter({"música": 1}), Counter({"metal": 2, "música": 1}), Counter()]
        assert raw.counts == {
            "artists": 3, "users": 2, "pairs of user and artist": 3, "plays": 106, "artists without plays": 1,
            "artists without tags": 1, "tags of unknown artists": 1,
        }  # fmt: skip
        files = {name.rpartition(": ")[2]: rows for name, rows in raw.rows.as_json()["files"].items()}
        reasons = {"tags of artists that artists.dat lacks": 1, "tags that the user gave the artist before": 1}
        assert files.pop("user_taggedartists.dat") == {"rows": 6, "used": 4, "left_out": reasons}
        assert files == {
            name: {"rows": rows, "used": rows, "left_out": {}}
            for name, rows in (("artists.dat", 3), ("user_artists.dat", 3), ("tags.dat", 2))
        }
        assert raw.artist_names == {"7": "One", "3": "Mötley"}
        assert len(raw.split_by_artist(1, 0.34).test_songs) == 1
    assert not is_hetrec(folder.parent) and not is_hetrec(folder / "tags.dat")


def test_byte_order_marks(folder):
    for name in FILES:
        text = (folder / name).read_bytes().decode("latin-1" if name == "tags.dat" else "utf-8")
        (folder / name).write_bytes(text.encode("utf-8-sig"))
    raw = read_hetrec(folder)
    assert raw.tags[0] == Counter({"música": 1}) and raw.artist_names["3"] == "Mötley"


@pytest.mark.parametrize(
    "name, line, message",
    [
        ("artists.dat", "7\tTwo\tu\tp", r"artists\.dat, line 5: the artist 7 is there already"),
        ("artists.dat", "9\tTwo\tu\tp", r"artists\.dat, line 5: the artist 9 is there already"),
        ("artists.dat", "x\tTwo\tu\tp", r"artists\.dat, line 5: id is 'x'; expected an integer"),
        ("artists.dat", "8\tTwo", r"artists\.dat, line 5: has 2 values; expected 4"),
        ("user_artists.dat", "2\t4\t1", r"user_artists\.dat, line 5: the artist 4 is not in artists\.dat"),
        ("user_artists.dat", "2\t3\t1", r"user_artists\.dat, line 5: user 2 and artist 3 are there already"),
        ("user_artists.dat", "2\t9\t0", r"user_artists\.dat, line 5: weight is '0'; expected an integer in 1\.\."),
        ("user_taggedartists.dat", "2\t3\t8\t1\t1\t2009", r"line 8: the tag 8 is not in tags\.dat"),
        ("tags.dat", "1\tjazz", r"tags\.dat, line 4: the tag 1 is there already"),
        ("tags.dat", "3\t", r"tags\.dat, line 4: tagValue is ''; expected a text"),
    ],
)
def test_mistakes_are_named(folder, name, line, message):
    with (folder / name).open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=message):
        read_hetrec(folder)


def test_files_that_are_missing_or_damaged(folder):
    archive = packed(folder, [name for name in FILES if name != "tags.dat"])
    with pytest.raises(UserError, match=r"hetrec2011-lastfm-2k\.zip: holds 0 files tags\.dat; expected one"):
        read_hetrec(archive)
    (folder / "tags.dat").unlink()
    with pytest.raises(UserError, match=r"lacks tags\.dat and hetrec2011-lastfm-2k\.zip"):
        read_hetrec(folder)
    content = bytearray(archive.read_bytes())
    for damaged in (content[:200], content[:40] + b"\xff" * 30 + content[70:]):
        archive.write_bytes(damaged)
        with pytest.raises(UserError, match="is damaged"):
            read_hetrec(archive)
    with pytest.raises(UserError, match=r"lacks artists\.dat"):
        read_hetrec(folder / "none")
    (folder / "user_artists.dat").write_text("userID\tartistID\tweight\n")
    with pytest.raises(UserError, match=r"user_artists\.dat holds no plays"):
        read_hetrec(folder)
