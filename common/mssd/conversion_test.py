"""Logs as arrays: what is odd is read as it is, what is wrong is told; large logs in parts, the same arrays."""

from __future__ import annotations

import dataclasses
import gzip
import io
import tarfile

import pytest

from common.mssd import conversion
from common.mssd.conversion import converted_logs, read_logs
from common.mssd.files import LOG_COLUMNS, find_mssd
from common.mssd.files_test import HEADER, MONDAY, TUESDAY, archive, check_both_days, row
from common.mssd.logs import COLUMNS, join_logs
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError


def outcome(folder):
    """The arrays as bytes, or the message of the mistake."""
    before = sorted(folder.rglob("*"))
    try:
        log = read_logs(find_mssd(folder).logs, folder)
        found = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()}
    except UserError as error:
        return str(error)
    finally:
        assert sorted(folder.rglob("*")) == before


def test_a_large_log_is_cut_into_parts(tmp_path, monkeypatch):
    write_sample(tmp_path, SessionSampleOptions(tmp_path, sessions=60, tracks=100, days=2))
    whole = outcome(tmp_path)
    monkeypatch.setattr(conversion, "PART_SESSIONS", 7)
    with converted_logs(find_mssd(tmp_path).logs, tmp_path) as parts:
        assert len(parts) == 2 * -(-30 // 7) and len({part.date for part in parts}) == 2
        assert max(len(part.load()) for part in parts) == 7
        rows = sum(len(path.read_text().splitlines()) - 1 for path in tmp_path.glob("log_*.csv"))
        assert sum(part.events for part in parts) == rows
    assert outcome(tmp_path) == whole


def test_files_and_archives_together(tmp_path):
    (tmp_path / "log_1.csv").write_text(MONDAY)
    for name in ("t/log_0.csv", "t/log_0.csv.gz"):
        archive(tmp_path / "set.tar.gz", {name: TUESDAY, "t/log_input_0.csv": "no\n", "readme.txt": "no"})
        with converted_logs(find_mssd(tmp_path).logs, tmp_path) as parts:
            check_both_days(join_logs(parts))


TEXTS = {
    "rows in any order": HEADER + row("b", 2, "y") + row("a", 1, "x") + row("b", 1, "z", hour=3),
    "CRLF": MONDAY.replace("\n", "\r\n"),
    "a byte order mark": "\ufeff" + MONDAY,
    "empty lines": MONDAY.replace("\n", "\n\n"),
    "no last line end": MONDAY.rstrip("\n"),
    "odd ids": HEADER
    + row('"b,1"', 1, " x ")
    + row("ä\u2028", 1, '"x ""y"""')
    + row("NULL", 1, "日本")
    + row("1", 1, "1"),
    "ids like comments": HEADER + row("#a", 1, "x") + row("#b", 1, "#") + row("# c", 1, "//"),
    "dates of a session apart": HEADER + row("a", 2, "x", date="2018-07-10") + row("a", 1, "x", date="2018-07-15"),
    "columns in another order": "\n".join(",".join(line.split(",")[::-1]) for line in MONDAY.splitlines()) + "\n",
    "one more column": "\n".join(line + ",z" for line in MONDAY.splitlines()) + "\n",
    "upper case": MONDAY.replace("False", "FALSE").replace("True", "true"),
    "old dates": HEADER + row("a", 1, "x", date="0999-01-01") + row("a", 2, "x", date="1900-01-01"),
    "a date without a leading zero": HEADER + row("a", 1, "x", date="2018-7-15"),
    "no date": HEADER + row("a", 1, "x", date="today"),
    "position 0": HEADER + row("a", 0, "x"),
    "position 21": MONDAY + row("c", 21, "x"),
    "position as a text": MONDAY + row("c", "x", "x"),
    "position 0x1": MONDAY + row("c", "0x1", "x"),
    "position 1_0": MONDAY + row("c", "1_0", "x"),
    "position ' +1'": MONDAY + row("c", " +1", "x"),
    "CR": MONDAY.replace("\n", "\r"),
    "a line end within quotes": HEADER + row('"a\nb"', 1, "x"),
    "a column twice": HEADER.replace("premium", "date") + row("a", 1, "x"),
    "a date with blanks": HEADER + row("a", 1, "x", date=" 2018-07-15"),
    "hour 24": HEADER + row("a", 1, "x", hour=24),
    "no session": HEADER + row("", 1, "x"),
    "no track": HEADER + row("a", 1, ""),
    "a flag as a number": HEADER + row("a", 1, "x", skip="1"),
    "a NUL": HEADER + row("a\0", 1, "x"),
    "an endless id": HEADER + row("a", 1, "x" * 600),
    "a position twice": HEADER + row("a", 1, "x") + row("a", 1, "y"),
    "a position beyond the session": HEADER + row("a", 1, "x") + row("b", 11, "y").replace(",20,", ",10,"),
    "a value too few": HEADER + row("a", 1, "x").replace(",fwdbtn", ""),
    "a value too many": MONDAY + row("c", 1, "x").replace("fwdbtn", "fwdbtn,1"),
    "a column missing": HEADER.replace("skip_3,", "") + "x\n",
    "no row": HEADER,
    "nothing": "",
    "binary": "\0\1\2",
}
TOLD = {
    "a date without a leading zero": "line 2: date is '2018-7-15'; expected a date",
    "no date": "line 2: date is 'today'",
    "position 0": "line 2: session_position is '0'; expected an integer in 1..20",
    "position 21": "line 5: session_position is '21'",
    "position as a text": "line 5: session_position is 'x'",
    "position 0x1": "line 5: session_position is '0x1'",
    "position 1_0": "line 5: session_position is '1_0'",
    "a line end within quotes": "line 2: a quotation mark opens a value",
    "a column twice": "line 1: names the column date twice",
    "a date with blanks": "line 2: date is ' 2018-07-15'",
    "hour 24": "line 2: hour_of_day is '24'",
    "no session": "line 2: session_id is ''; expected an id",
    "no track": "line 2: track_id_clean is ''",
    "a NUL": "line 2: holds a NUL",
    "an endless id": "line 2: track_id_clean is 'xxx",
    "a position twice": "session a has session_position 1 twice",
    "a position beyond the session": "session b has session_position 11, but session_length 10",
    "a value too few": "line 2: has 20 values; expected 21",
    "a value too many": "line 5: has 22 values; expected 21",
    "a column missing": "line 2: has 1 value; expected 20",
    "no row": "holds no row",
    "nothing": "line 1: is empty",
    "binary": "line 1: holds a NUL",
}


@pytest.mark.parametrize("name", TEXTS)
def test_odd_logs_are_read_and_mistakes_are_told(name, tmp_path):
    (tmp_path / "log_0.csv").write_bytes(TEXTS[name].encode())
    (tmp_path / "log_9.csv").write_text(HEADER + row("q", 1, "y"))
    plain = outcome(tmp_path)
    if name in TOLD:
        assert isinstance(plain, str) and TOLD[name] in plain and "log_0.csv" in plain and "\n" not in plain
    else:
        assert isinstance(plain, dict), plain
        rows = TEXTS[name].replace("\r\n", "\n").replace("\r", "\n").strip("\n").split("\n")[1:]
        assert plain["tracks"][1] == (len(list(filter(None, rows))) + 1,)
    (tmp_path / "log_0.csv").unlink()
    (tmp_path / "log_0.csv.gz").write_bytes(gzip.compress(TEXTS[name].encode()))
    packed = outcome(tmp_path)
    assert packed == plain if isinstance(plain, dict) else packed == plain.replace("log_0.csv", "log_0.csv.gz")


@pytest.mark.parametrize(
    "name",
    [
        "CRLF",
        "a byte order mark",
        "empty lines",
        "no last line end",
        "columns in another order",
        "one more column",
        "CR",
    ],
)
def test_other_ways_to_write_a_log_change_nothing(name, tmp_path):
    found = []
    for text in (TEXTS[name], MONDAY):
        (tmp_path / "log_0.csv").write_bytes(text.encode())
        found.append(outcome(tmp_path))
    assert isinstance(found[0], dict) and found[0] == found[1]


def test_odd_ids_flags_and_logs_with_the_used_columns_only(tmp_path):
    path = tmp_path / "log_0.csv"
    path.write_text(TEXTS["odd ids"])
    log = read_logs([path], tmp_path)
    assert [name.decode() for name in log.session_ids.tolist()] == ["b,1", "ä\u2028", "NULL", "1"]
    assert [log.track_ids[track].decode() for track in log.tracks] == [" x ", 'x "y"', "日本", "1"]
    path.write_text(MONDAY)
    expected = outcome(tmp_path)
    path.write_text(MONDAY.replace("False", "0").replace("True", "1"))
    assert outcome(tmp_path) == expected
    places = [LOG_COLUMNS.index(name) for name in COLUMNS]
    lines = [line.split(",") for line in MONDAY.splitlines()]
    path.write_text("".join(",".join(line[place] for place in places) + "\n" for line in lines))
    assert outcome(tmp_path) == expected
    path.write_text(HEADER.replace("skip_2", "skipped") + "x\n")
    assert "line 1: the column skip_2 is missing among session_id, " in str(outcome(tmp_path))


def test_blank_lines_are_counted(tmp_path):
    (tmp_path / "log_0.csv").write_text(MONDAY.replace("\n", "\n\n") + "," * 20 + "\n")
    with converted_logs(find_mssd(tmp_path).logs, tmp_path) as parts:
        assert [(part.events, part.blanks) for part in parts] == [(3, 5)]


def test_members_of_the_same_name_are_both_read(tmp_path):
    for second in (MONDAY, TUESDAY):
        with tarfile.open(tmp_path / "set.tar", "w") as file:
            for text in (MONDAY, second):
                info = tarfile.TarInfo("log_0.csv")
                info.size = len(text)
                file.addfile(info, io.BytesIO(text.encode()))
        if second is TUESDAY:
            check_both_days(read_logs(find_mssd(tmp_path).logs, tmp_path))
        else:
            assert "session a is in" in str(outcome(tmp_path))


def test_names_that_look_like_patterns(tmp_path):
    (tmp_path / "log_[1]*.csv").write_text(MONDAY)
    (tmp_path / "log_1x.csv").write_text(TUESDAY)
    check_both_days(read_logs(find_mssd(tmp_path).logs, tmp_path))


def test_damaged_files_and_sessions_in_two(tmp_path):
    path = tmp_path / "log_0.csv.gz"
    flipped = bytearray(gzip.compress(MONDAY.encode(), 0))  # stored as it is, so only the checksum tells
    flipped[flipped.index(b",x,") + 1] ^= 1
    for content, told in (
        (bytes(flipped), "the archive is damaged: CRC"),
        (gzip.compress(MONDAY.encode())[:-9], "the archive is damaged"),
        (b"no gzip", "the archive is damaged"),
        (MONDAY.encode("utf-16"), "the archive is damaged"),
        (gzip.compress(b"a,\xff\n"), "line 1: expected the names of the columns as UTF-8"),
    ):
        path.write_bytes(content)
        assert told in str(outcome(tmp_path))
    path.write_bytes(gzip.compress(MONDAY.encode()))
    (tmp_path / "log_1.csv").write_text(MONDAY)
    assert "session a is in" in str(outcome(tmp_path))
    path.unlink()
    whole = tmp_path / "set.tar.gz"
    archive(whole, {"t/log_3.csv.gz": TUESDAY * 50})
    whole.write_bytes(whole.read_bytes()[:-60])
    assert "set.tar.gz: the archive is damaged" in str(outcome(tmp_path))
    archive(whole, {"log_3.csv": "\0" * 1000 + TUESDAY})
    assert "set.tar.gz: log_3.csv, line 1: holds a NUL" in str(outcome(tmp_path))
    archive(tmp_path / "empty.tar", {"readme.txt": "no"})
    with pytest.raises(UserError, match=r"empty.tar: no log_\*.csv"):
        read_logs([tmp_path / "empty.tar"], tmp_path)


def test_a_mistake_in_an_archive_names_the_member(tmp_path):
    archive(tmp_path / "set.tar.gz", {"t/log_0.csv": MONDAY, "t/log_[1].csv": TUESDAY.replace("c,2,", "c,x,")})
    told = str(outcome(tmp_path))
    assert told.startswith(f"{tmp_path / 'set.tar.gz'}: t/log_[1].csv, line 3: session_position is 'x'")
