from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from common.options import UserError
from common.row_counts import RowCounts
from seer.building.play_counts import PlayCounts, read_play_counts
from seer.building.song_catalogue import read_songs

LINES = "bob\tS2\t1\nann\tS1\t6\nbob\tS9\t4\nbob\tS1\t3\nann\tS1\t2\nann\tS2\t5\n"


def rows(plays: PlayCounts) -> list[tuple[str, str, int]]:
    columns = (plays.users, plays.songs, plays.counts)
    return [(plays.user_ids[u], plays.song_ids[s], c) for u, s, c in zip(*map(np.ndarray.tolist, columns), strict=True)]


def test_play_counts_are_filtered_added_up_and_numbered(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(LINES)
    plays, lines = read_play_counts(tmp_path / "t.txt", {"S3", "S2", "S1"})
    assert lines == 6
    assert plays.user_ids == ["ann", "bob"] and plays.song_ids == ["S1", "S2"]  # S3 was never played
    # In the order of the file; ann played S1 6 + 2 times.
    assert rows(plays) == [("bob", "S2", 1), ("ann", "S1", 8), ("bob", "S1", 3), ("ann", "S2", 5)]
    assert plays.ratings().tolist() == [1, 5, 3, 4]


def test_a_byte_order_mark_makes_no_user(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + LINES.encode())
    (tmp_path / "t.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbf" + LINES.encode()))
    for name in ("t.txt", "t.txt.gz"):
        plays, lines = read_play_counts(tmp_path / name, {"S1", "S2", "S9"})
        assert lines == 6 and plays.user_ids == ["ann", "bob"]
        assert plays.lines.sum() == 6 and plays.keep_songs({"S1"}).lines.tolist() == [2, 1]
    (tmp_path / "t.txt").write_bytes(LINES.encode() + b"\xef\xbb\xbf" + LINES.encode())
    with pytest.raises(UserError, match=r"line 7: begins with a byte order mark"):
        read_play_counts(tmp_path / "t.txt", {"S1", "S2", "S9"})
    (tmp_path / "u.txt").write_bytes(b"\xef\xbb\xbfTR1<SEP>S1<SEP>artist<SEP>title\n")
    assert [song.track_id for song in read_songs(tmp_path / "u.txt")] == ["TR1"]
    (tmp_path / "u.txt").write_bytes((tmp_path / "u.txt").read_bytes() * 2)
    with pytest.raises(UserError, match="line 2 is"):
        list(read_songs(tmp_path / "u.txt"))


def test_blank_lines_are_no_rows_and_rows_are_counted(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(LINES.replace("bob\tS9", "\nbob\tS9") + "\n\n")
    counts = RowCounts()
    plays, rows_of_file = read_play_counts(tmp_path / "t.txt", {"S1", "S2"}, counts)
    assert (rows_of_file, counts.rows, counts.blanks) == (6, {"t.txt": 6}, {"t.txt": 3})
    assert rows(plays) == [("bob", "S2", 1), ("ann", "S1", 8), ("bob", "S1", 3), ("ann", "S2", 5)]


def test_keeping_songs_and_users(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("b\tS1\t1\na\tS1\t1\na\tS2\t2\nc\tS3\t3\nc\tS2\t3\na\tS2\t9\n")
    plays, _ = read_play_counts(tmp_path / "t.txt", {"S1", "S2", "S3"})
    assert rows(plays.keep_songs({"S2"})) == [("a", "S2", 11), ("c", "S2", 3)]
    active = plays.keep_active_users(2)  # distinct songs, not lines
    assert active.user_ids == ["a", "c"] and active.song_ids == ["S1", "S2", "S3"]
    nobody = plays.keep_active_users(3)
    assert nobody.user_ids == [] and nobody.song_ids == [] and nobody.counts.size == 0
    assert nobody.keep_songs({"S1"}).keep_active_users(1).counts.size == 0


def test_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(LINES.replace("\n", "\r\n").rstrip())  # also: other line ends, none on the last
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(LINES.encode()))
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("t.txt", LINES)
    songs = {"S1", "S2"}
    first, *others = (rows(read_play_counts(tmp_path / name, songs)[0]) for name in ("t.txt", "t.tsv.gz", "t.zip"))
    assert first and all(other == first for other in others)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a S1 1", "has 1 value; expected 3, one for each column, separated by tabs"),
        ("a\tS1", "has 2 values"),
        ("a\tS1\t1\t2", "has 4 values"),
        ("a\tS1\t0", "plays is '0'; expected an integer in 1..1000000000"),
        ("a\tS1\t-1", "plays is '-1'"),
        ("a\tS1\t1.5", "plays is '1.5'"),
        ("a\tS1\t²", "plays is '²'"),
        ("a\tS1\t99999999999999999999", "plays is '9999"),
        ("\tS1\t1", "user is ''"),
        ("a\t\t1", "song is ''"),
        ("user\tsong\tplay_count", "plays is 'play_count'"),
        ("x" * 5000, "has 1 value;"),
    ],
)
def test_malformed_lines_are_named(tmp_path: Path, line: str, shown: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(f"a\tS1\t1\n{line}\nb\tS1\t1\n", encoding="utf-8")
    with pytest.raises(UserError, match=shown) as caught:
        read_play_counts(path, {"S1"})
    message = str(caught.value)
    assert message.startswith(f"{path}, line 2: ")
    assert "\n" not in message and len(message) < 400


def test_unreadable_files(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d\tS1\t%d\n" % (i, i % 7 + 1) for i in range(5000)))
    flipped = whole[:2000] + bytes([whole[2000] ^ 255]) + whole[2001:]
    content = {
        "e.txt": b"",
        "cut.gz": whole[:-20],
        "text.gz": b"a\tS1\t1\n",
        "flip.gz": flipped,
        "u.txt": b"\xff\tS1\t1\n",
    }
    reasons = {"e.txt": "is empty", "u.txt": "as UTF-8 text"}
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(UserError, match=reasons.get(name, "damaged|line ")) as caught:
            read_play_counts(tmp_path / name, {"S1"})
        assert str(caught.value).startswith(str(tmp_path / name))


def test_random_bytes_never_crash(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for _ in range(100):
        alphabet = np.frombuffer(b"S1\t\t\n 90\xff\r\0", np.uint8)
        (tmp_path / "t.txt").write_bytes(rng.choice(alphabet, int(rng.integers(0, 60))).tobytes())
        try:
            plays, _ = read_play_counts(tmp_path / "t.txt", {"S1"})
        except UserError as error:
            assert "\n" not in str(error)
        else:
            assert (plays.counts >= 1).all()
