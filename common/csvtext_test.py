from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from common.csvtext import Column, open_sources, read_table
from common.options import UserError

COLUMNS = {"name": Column("text"), "age": Column("integer", 0, 99), "day": Column("date"), "new": Column("flag")}
HEADER = "name,age,other,day,new\n"
ROW = "ada,3,x,2018-07-15,True\n"


def read(path: Path, rows: int = 2):
    return [
        table
        for source, stream in open_sources(path, "*.csv*")
        for table in read_table(source, stream, COLUMNS, rows=rows)
    ]


def test_tables_have_the_asked_columns_and_at_most_so_many_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + ROW * 3 + "bob,4,,2018-07-16,false\r\n\n")
    tables = read(path)
    assert [len(table) for table in tables] == [2, 2]
    assert list(tables[0].columns) == ["name", "age", "day", "new"]
    assert tables[1].iloc[1].tolist() == ["bob", 4, "2018-07-16", False]
    assert tables[1].index.tolist() == [2, 3]


def test_order_of_columns_and_byte_order_mark_do_not_matter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfnew,day,name,age\r\nfalse,2018-07-15,ada,3\r\n")
    (table,) = read(path)
    assert table[list(COLUMNS)].iloc[0].tolist() == ["ada", 3, "2018-07-15", False]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("ada,x,x,2018-07-15,True", "line 5: age is 'x'; expected an integer in 0..99"),
        ("ada,1.5,x,2018-07-15,True", "line 5: age is '1.5'"),
        ("ada,100,x,2018-07-15,True", "line 5: age is '100'"),
        ("ada,99999999999999999999,x,2018-07-15,True", "line 5: age is"),
        (",3,x,2018-07-15,True", "line 5: name is ''; expected a text"),
        ("ada,3,x,15.7.2018,True", "line 5: day is '15.7.2018'; expected a date such as 2018-07-15"),
        ("ada,3,x,2018-02-30,True", "line 5: day is '2018-02-30'"),
        ("ada,3,x,2018-07-15,maybe", "line 5: new is 'maybe'; expected true or false"),
        ("ada,3,x,2018-07-15", "line 5: has 4 values; expected 5"),
        ("ada,3,x,2018-07-15,True,9", "line 5: has 6 values; expected 5"),
        ("ad\udcff,3,x,2018-07-15,True", "line 5: is not UTF-8 text"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path, line, told):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + ROW * 3 + line + "\n" + ROW, errors="surrogateescape")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}, {told}")


def test_missing_columns_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,age\nada,3\n")
    with pytest.raises(UserError, match="line 1: the columns day, new are missing among name, age"):
        read(path)
    path.write_text("")
    with pytest.raises(UserError, match="line 1: is empty"):
        read(path)


def test_no_rows_are_no_tables(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER)
    assert read(path) == []


def write_archive(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_packed_files_and_members_of_archives(tmp_path):
    text = (HEADER + ROW).encode()
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text))
    assert len(read(tmp_path / "a.csv.gz")) == 1
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"x/a.csv": text, "x/b.csv.gz": gzip.compress(text * 1), "x/notes.txt": b"no"})
    assert [str(source) for source, _ in open_sources(path, "*.csv*")] == [f"{path}: x/a.csv", f"{path}: x/b.csv.gz"]
    assert len(read(path)) == 2


def test_a_mistake_in_an_archive_names_the_member(tmp_path):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"x/a.csv": (HEADER + ROW).encode(), "x/b.csv": (HEADER + ROW + "ada\n").encode()})
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value) == f"{path}: x/b.csv, line 3: has 1 values; expected 5, one for each column"


@pytest.mark.parametrize("name", ["a.csv.gz", "a.tar.gz"])
def test_damaged_archives(tmp_path, name):
    path = tmp_path / name
    content = (HEADER + ROW * 5000).encode()
    if name == "a.csv.gz":
        path.write_bytes(gzip.compress(content))
    else:
        write_archive(path, {"a.csv": content})
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not packed at all" * 50, whole[:60] + b"\0" * 60 + whole[120:]):
        path.write_bytes(broken)
        with pytest.raises(UserError, match="download the file again"):
            read(path, rows=100)


def test_endless_lines_end_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("common.csvtext.LONGEST_LINE", 10_000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROW + "x" * 3_000_000).encode()))
    with pytest.raises(UserError, match=r"a.csv.gz: has a line of more than 10,000 bytes"):
        read(path)
    path.write_bytes(gzip.compress(bytes(3_000_000)))
    with pytest.raises(UserError, match=r"a.csv.gz, line 1: "):
        read(path)


def test_an_archive_that_goes_on_behind_its_members(tmp_path, monkeypatch):
    path = tmp_path / "a.tar.gz"
    write_archive(path, {"a.csv": (HEADER + ROW).encode()})
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(3_000_000)))
    assert len(read(path)) == 1
    monkeypatch.setattr("common.csvtext.MOST_BEHIND", 2_000_000)
    with pytest.raises(UserError, match=r"a.tar.gz: goes on for over 2,000,000 bytes behind its last member"):
        read(path)
    with (tmp_path / "zeros.tar").open("wb") as file:
        file.truncate(2**40)  # takes no space, and no time
    assert read(tmp_path / "zeros.tar") == []


def test_a_member_whose_name_has_wildcards(tmp_path):
    content = (HEADER + "ada,x,x,2018-07-15,True\n").encode()
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        info = tarfile.TarInfo("log_[1].csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    with pytest.raises(UserError, match=r"log_\[1\].csv, line 2: age is 'x'"):
        read(tmp_path / "a.tar")
