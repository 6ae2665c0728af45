"""DuckDB's reading of logs is NumPy's, bit for bit, and so are its mistakes."""

import dataclasses
import gzip
import io
import tarfile

import pytest

from common.mssd import engines
from common.mssd.engines import chosen_engine, open_logs
from common.mssd.files import find_mssd
from common.mssd.files_test import HEADER, MONDAY, TUESDAY, archive, check_both_days, row
from common.mssd.logs import join_logs
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError

pytest.importorskip("duckdb", reason="DuckDB is not installed: the extra big")


def outcome(folder, engine):
    return outcome_of(find_mssd(folder).logs, folder, engine)


def outcome_of(paths, folder, engine):
    """The arrays as bytes, or the message of the mistake."""
    before = sorted(folder.rglob("*"))
    try:
        with open_logs(paths, folder, engine) as (parts, _):
            log = join_logs(parts)
        found = {field.name: getattr(log, field.name) for field in dataclasses.fields(log)}
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()}
    except UserError as error:
        return str(error)
    finally:
        assert sorted(folder.rglob("*")) == before


def test_the_sample_is_read_alike(tmp_path):
    write_sample(tmp_path, SessionSampleOptions(tmp_path, sessions=2000, tracks=300, days=4))
    plain = outcome(tmp_path, "numpy")
    assert isinstance(plain, dict) and outcome(tmp_path, "duckdb") == plain


def test_a_large_log_is_cut_into_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("common.mssd.duckdb_engine.PART_SESSIONS", 7)
    write_sample(tmp_path, SessionSampleOptions(tmp_path, sessions=400, tracks=100, days=2))
    with open_logs(find_mssd(tmp_path).logs, tmp_path, "duckdb") as (parts, _):
        assert len(parts) == 2 * -(-200 // 7) and len({part.date for part in parts}) == 2
        assert max(len(part.load()) for part in parts) == 7
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")


def test_files_and_archives_together(tmp_path):
    (tmp_path / "log_1.csv").write_text(MONDAY)
    archive(tmp_path / "set.tar.gz", {"t/log_0.csv": TUESDAY, "t/log_input_0.csv": "no\n"})
    with open_logs(find_mssd(tmp_path).logs, tmp_path, "duckdb") as (parts, _):
        check_both_days(join_logs(parts))
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")
    archive(tmp_path / "set.tar.gz", {"t/log_0.csv.gz": TUESDAY, "readme.txt": "no"})
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")


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


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("packed", [False, True])
def test_the_same_log_or_the_same_mistake(name, packed, tmp_path):
    content = TEXTS[name].encode()
    if packed:
        (tmp_path / "log_0.csv.gz").write_bytes(gzip.compress(content))
    else:
        (tmp_path / "log_0.csv").write_bytes(content)
    (tmp_path / "log_9.csv").write_text(HEADER + row("q", 1, "y"))
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")


def test_members_of_the_same_name_are_both_read(tmp_path):
    for second in (MONDAY, TUESDAY):
        with tarfile.open(tmp_path / "set.tar", "w") as file:
            for text in (MONDAY, second):
                info = tarfile.TarInfo("log_0.csv")
                info.size = len(text)
                file.addfile(info, io.BytesIO(text.encode()))
        assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")


def test_names_that_look_like_patterns(tmp_path):
    (tmp_path / "log_[1]*.csv").write_text(MONDAY)
    (tmp_path / "log_1x.csv").write_text(TUESDAY)
    with open_logs(find_mssd(tmp_path).logs, tmp_path, "duckdb") as (parts, _):
        check_both_days(join_logs(parts))


def test_damaged_files_and_sessions_in_two(tmp_path):
    path = tmp_path / "log_0.csv.gz"
    flipped = bytearray(gzip.compress(MONDAY.encode(), 0))  # stored as it is, so only the checksum tells
    flipped[flipped.index(b",x,") + 1] ^= 1
    for content in (
        bytes(flipped),
        gzip.compress(MONDAY.encode())[:-9],
        b"no gzip",
        MONDAY.encode("utf-16"),
        b"a,\xff\n",
    ):
        path.write_bytes(content)
        expected = outcome(tmp_path, "numpy")
        assert isinstance(expected, str) and outcome(tmp_path, "duckdb") == expected
    path.write_bytes(gzip.compress(MONDAY.encode()))
    (tmp_path / "log_1.csv").write_text(MONDAY)
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")
    assert "session a is in" in str(outcome(tmp_path, "duckdb"))
    path.unlink()
    whole = tmp_path / "set.tar.gz"
    archive(whole, {"t/log_3.csv.gz": TUESDAY * 50})
    whole.write_bytes(whole.read_bytes()[:-60])
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")
    archive(whole, {"log_3.csv": "\0" * 1000 + TUESDAY})  # not unpacked to the disk: its first line is no header
    assert outcome(tmp_path, "duckdb") == outcome(tmp_path, "numpy")
    archive(tmp_path / "empty.tar", {"readme.txt": "no"})
    assert "empty.tar: no log_*.csv" in str(outcome_of([tmp_path / "empty.tar"], tmp_path, "duckdb"))


def test_auto_takes_duckdb_for_large_logs_only(tmp_path, monkeypatch):
    (tmp_path / "log_0.csv").write_text(MONDAY)
    paths = find_mssd(tmp_path).logs
    assert chosen_engine("auto", paths) == "numpy" and chosen_engine("dask", paths) == "dask"
    monkeypatch.setattr(engines, "BIG_BYTES", 1)
    assert chosen_engine("auto", paths) == "duckdb"
    monkeypatch.setattr(engines, "_has_duckdb", lambda: False)
    assert chosen_engine("auto", paths) == "numpy"
