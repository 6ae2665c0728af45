from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.options import UserError
from common.table_sources import Source
from common.tables import Column, open_table

COLUMNS = {"name": Column("text"), "age": Column("integer", 0, 99), "day": Column("date"), "new": Column("flag")}
HEADER = "name,age,other,day,new\n"
ROW = "ada,3,x,2018-07-15,True\n"
TEXTS = {"a": Column("text", empty=True), "b": Column("text", empty=True), "c": Column("text", empty=True)}


def rows_of(path, columns=TEXTS, **layout) -> list[list[str]]:
    with open_table(path, columns, **layout) as table:
        frame = table.frame()
        assert len(frame) == table.rows == sum(file.rows for file in table.files)
        return frame.to_numpy().tolist()


def told(path, columns=TEXTS, **layout) -> str:
    with pytest.raises(UserError) as caught:
        open_table(path, columns, **layout).close()
    return str(caught.value)


def test_frames_have_the_asked_columns_and_bounded_rows(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + ROW * 5000 + "bob,4,,2018-07-16,false\r\n\n")
    with open_table(path, COLUMNS) as table:
        frames = list(table.chunks(2048))
        assert [len(frame) for frame in frames] == [2048, 2048, 905]
        assert list(frames[0].columns) == ["name", "age", "day", "new"]
        assert frames[2].iloc[-1].tolist() == ["bob", 4, pd.Timestamp("2018-07-16"), False]
        assert frames[2].index[-1] == 5000
        assert [str(kind) for kind in frames[0].dtypes] == ["object", "int64", "datetime64[us]", "bool"]
        assert table.rows == 5001 and table.files[0].blanks == 1 and table.count("new") == 5000
        assert table.where(5000) == f"{path}, line 5002"


def test_order_of_columns_byte_order_mark_and_aliases_do_not_matter(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfnew,day,who,age\r\nfalse,2018-07-15,ada,3\r\n")
    columns = COLUMNS | {"name": Column("text", names=("name", "who"))}
    assert rows_of(path, columns) == [["ada", 3, pd.Timestamp("2018-07-15"), False]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ada,x,x,2018-07-15,True", "line 5: age is 'x'; expected an integer in 0..99"),
        ("ada,1.5,x,2018-07-15,True", "line 5: age is '1.5'"),
        ("ada,0x1,x,2018-07-15,True", "line 5: age is '0x1'"),
        ("ada,1_0,x,2018-07-15,True", "line 5: age is '1_0'"),
        ("ada,1e1,x,2018-07-15,True", "line 5: age is '1e1'"),
        ("ada,100,x,2018-07-15,True", "line 5: age is '100'"),
        ("ada,99999999999999999999,x,2018-07-15,True", "line 5: age is"),
        (",3,x,2018-07-15,True", "line 5: name is ''; expected a text"),
        ("ada,3,x,15.7.2018,True", "line 5: day is '15.7.2018'; expected a date such as 2018-07-15"),
        ("ada,3,x,2018-02-30,True", "line 5: day is '2018-02-30'"),
        ("ada,3,x,2018-7-15,True", "line 5: day is '2018-7-15'"),
        ("ada,3,x,2018-07-15,maybe", "line 5: new is 'maybe'; expected true or false"),
        ("ada,3,x,2018-07-15", "line 5: has 4 values; expected 5"),
        ("ada,3,x,2018-07-15,True,9", "line 5: has 6 values; expected 5"),
        ("ada,3,x,2018-07-15,True,", "line 5: has 6 values; expected 5"),
        ("ad\udcff,3,x,2018-07-15,True", "line 5: is not UTF-8 text"),
        ("ad\0,3,x,2018-07-15,True", "line 5: holds a NUL character"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(tmp_path, line, message):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + ROW * 3 + line + "\n" + ROW, errors="surrogateescape")
    assert told(path, COLUMNS).startswith(f"{path}, {message}")


def test_missing_columns_and_other_separators(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("name,age\nada,3\n")
    assert "line 1: the columns day, new are missing among name, age" in told(path, COLUMNS)
    path.write_text("")
    assert "line 1: is empty" in told(path, COLUMNS)
    path.write_text((HEADER + ROW).replace(",", ";"))
    with open_table(path, COLUMNS) as table:
        assert table.rows == 1 and table.notes == ["a.csv: the values are separated by semicolons"]
    assert "its values seem to be separated by semicolons" in told(path, COLUMNS, separator=",")
    path.write_text("a,a,b\n1,2,3\n")
    assert "names the column a twice" in told(path, {"a": Column("text")})


def test_no_rows_are_an_empty_frame(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER)
    with open_table(path, COLUMNS) as table:
        assert table.rows == 0 and len(table.frame()) == 0
        assert [str(kind) for kind in table.frame().dtypes] == ["object", "int64", "datetime64[us]", "bool"]


@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize(
    ("value", "read"),
    [
        ('"Heroes"', "Heroes"),
        ('He said "no"', 'He said "no"'),
        ('"A" and "B"', '"A" and "B"'),
        ('"say ""no"""', 'say "no"'),
        ('""', ""),
        ('""""', '"'),
        ('"a{s}b"', "a{s}b"),
        (' "x"', ' "x"'),
        ("NA", "NA"),
        ("x\x10n", "x\x10n"),
        ('"x\x10s{s}\x10"', "x\x10s{s}\x10"),
        ('"{s}""{s}"', '{s}"{s}'),
        ('"Heroes', None),
        ('"Heroes" (live)', None),
        ('"Heroes""', None),
        ('"', None),
        ('"a{s}b', None),
    ],
)
def test_quotation_marks(tmp_path, separator, value, read):
    path = tmp_path / "a.txt"
    rows = ["1,2,3", f"x,{value},y", "4,5,6"]
    path.write_text("\n".join(["a,b,c", *rows, ""]).replace(",", separator).replace("{s}", separator))
    if read is None:
        message = told(path, separator=separator)
        assert message.startswith(f"{path}, line 3: a quotation mark opens a value, ")
    else:
        assert rows_of(path, separator=separator)[1] == ["x", read.replace("{s}", separator), "y"]
    if "{s}" not in value:
        assert rows_of(path, separator=separator, quotes=False)[1] == ["x", value, "y"]


def test_two_lone_marks_never_swallow_the_rows_between(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b,c\n1,"x,3\n4,5,6\n7,8",9\n')
    assert "line 2: a quotation mark opens" in told(path)
    assert "line 2: a quoted value goes on over 3 lines that look like rows" in told(path, multiline=True)
    path.write_text('a,b,c\n1,"x,3\n4,5",6\n')
    assert "line 2: a quoted value goes on over 2 lines" in told(path, multiline=True)
    path.write_text('a,b,c\n1,"x\ny\r\nz",3\n4,"q\n",6\n7,x,"\n')
    assert "line 7: a quotation mark opens" in told(path, multiline=True)
    path.write_text('a,b,c\n1,"x\ny\r\nz, d",3\n\n4,"q\n",6\n7,8,9')
    assert rows_of(path, multiline=True) == [["1", "x\ny\r\nz, d", "3"], ["4", "q\n", "6"], ["7", "8", "9"]]
    with open_table(path, TEXTS, multiline=True) as table:
        assert [table.where(row).rsplit(" ", 1)[1] for row in range(3)] == ["2", "6", "8"]
    path.write_text(path.read_text().replace(",", "\t"))
    assert "line 2: a quotation mark opens" in told(path, multiline=True, separator="\t")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_ends_of_lines(tmp_path, end, last):
    path = tmp_path / "a.csv"
    text = end.join(["a,b,c", "1,2,3", "", ",,", ' "," ,', "4,5,6", *[""] * last])
    path.write_bytes(b"\xef\xbb\xbf" + text.replace('"', "").encode())
    with open_table(path, TEXTS) as table:
        assert table.frame().to_numpy().tolist() == [["1", "2", "3"], ["4", "5", "6"]]
        assert table.files[0].blanks == 3 and table.where(1).endswith("line 6")
        assert bool(table.notes) == (end == "\r")


@pytest.mark.parametrize(("first", "second"), [("\r\n", "\n"), ("\n", "\r\n")])
def test_a_header_with_an_end_of_its_own(tmp_path, first, second):
    path = tmp_path / "a.csv"
    path.write_bytes(("a,b,c" + first + "1,2,3" + second + "4,5,6" + second).encode())
    assert rows_of(path) == [["1", "2", "3"], ["4", "5", "6"]]


def test_a_lone_carriage_return_is_a_character(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b'a,b,c\n1,x\ry,3\n1,"x\r\ry",3\r\n')
    assert rows_of(path) == [["1", "x\ry", "3"], ["1", "x\r\ry", "3"]]
    path.write_bytes(b"a,b,c\n1,2,3\r4,5,6\n")
    assert "line 2: has 5 values" in told(path)


def test_tables_larger_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("common.table_text.BLOCK", 64)
    rng = np.random.default_rng(1)
    values = ["x", "", '"', "a,b", 'say "no"', "l\nm", "ö", "NA"]
    rows = [[str(number), *rng.choice(values, 2)] for number in range(300)]
    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n"):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator=end).writerows([["a", "b", "c"], *rows])
        assert rows_of(path, multiline=True) == rows
    plain = [[str(number), "x", "y"] for number in range(300)]
    plain[200][1] = '"q"'  # from here on the text is rewritten
    path.write_text("a,b,c\n" + "".join(",".join(row) + "\n" for row in plain))
    plain[200][1] = "q"
    assert rows_of(path) == plain


ids = st.text(st.sampled_from('ab,"\t\n\r 0;\x10é\u2028NA'), max_size=6)
tables = st.lists(st.tuples(ids, ids, ids), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=tables,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    end=st.sampled_from(["\n", "\r\n"]),
    separator=st.sampled_from([",", "\t", ";"]),
)
def test_what_python_writes_is_read_as_it_was(tmp_path, rows, quoting, end, separator):
    path = tmp_path / "a.csv"
    # Of tables separated by tabs none has line ends in its values; and Python leaves a lone CR unquoted before LF.
    never = "\n" * (separator == "\t") + "\r" * (end == "\n" and quoting == csv.QUOTE_MINIMAL)
    clean = str.maketrans(dict.fromkeys(never, " "))
    rows = [
        [f"k{number}{a}".translate(clean), b.translate(clean), c.translate(clean)]
        for number, (a, b, c) in enumerate(rows)
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, quoting=quoting, lineterminator=end, delimiter=separator).writerows([["a", "b", "c"], *rows])
    try:
        assert rows_of(path, multiline=True, separator=separator) == rows
    except UserError as error:
        assert "lines that look like rows" in str(error)
        assert any("\n" in value and separator in value for row in rows for value in row)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(0, 5),
    at=st.integers(0, 11),
    what=st.sampled_from(['"', '""', '","', "\t", ",", "\r", "\r\n", "\x00", "\xff", "", '"x', 'x"', "\x10n", " "]),
    multiline=st.booleans(),
)
def test_damage_of_a_row_is_an_error_or_stays_in_the_row(tmp_path, place, at, what, multiline):
    path = tmp_path / "a.csv"
    good = [[f"k{row}", f'x "{row}"', f"y{row}"] for row in range(6)]
    lines = [f'k{row},"x ""{row}""",y{row}' for row in range(6)]
    lines[place] = lines[place][:at] + what + lines[place][at + 1 :]
    path.write_bytes("\n".join(["a,b,c", *lines, ""]).encode("latin-1"))
    try:
        read = rows_of(path, multiline=multiline)
    except UserError as error:
        assert re.search(
            rf"a.csv, line ({place + 2}|{place + 3}): " if what == "\r\n" else rf"line {place + 2}: ", str(error)
        )
        return
    if len(read) == 6:
        assert [row for number, row in enumerate(read) if number != place] == good[:place] + good[place + 1 :]
    else:
        assert what == "\r\n" and len(read) == 7, read


def test_numbers_by_first_appearance(tmp_path):
    rng = np.random.default_rng(2)
    names = [f"n{number}" for number in rng.integers(0, 900, 5000)]
    for place, part in enumerate((names[:3000], names[3000:])):
        (tmp_path / f"{place}.csv").write_text("a,b\n" + "".join(f"{name},{len(name)}\n" for name in part))
    with open_table(tmp_path, {"a": Column("id"), "b": Column("integer")}) as table:
        numbers, texts = table.numbered("a")
        codes, distinct = pd.factorize(np.array(names, dtype=object))
        assert numbers.tolist() == codes.tolist() and texts == distinct.tolist()
        assert table.values("b").tolist() == [len(name) for name in names]


@pytest.mark.parametrize(
    ("ids", "read", "noted"),
    [
        (["101.0", "7.0"], ["101", "7"], "are all integers with .0; those such as 101.0 are read as 101"),
        (["101.0", "7"], ["101", "7"], "are all integers, some with .0; those such as 101.0"),
        (["101.0", "7.5"], ["101.0", "7.5"], ""),
        (["101.0", "x"], ["101.0", "x"], ""),
        (["NA", "nan"], ["NA", "nan"], ""),
        ([" a", "007"], [" a", "007"], ""),
        (["null", "東京"], ["null", "東京"], ""),
    ],
)
def test_ids(tmp_path, ids, read, noted):
    path = tmp_path / "a.csv"
    path.write_text("a\n" + "".join(f"{name}\n" for name in ids))
    with open_table(path, {"a": Column("id")}) as table:
        assert table.frame().a.tolist() == read
        assert noted in "".join(table.notes) and bool(table.notes) == bool(noted)
    path.write_text("a\n" + "x" * 501 + "\n")
    assert "line 2: a is 'xxx" in told(path, {"a": Column("id")})


@pytest.mark.parametrize(
    ("times", "seconds", "noted"),
    [
        (["1396867869.5", "1.5e9", "0"], [1396867869.5, 1.5e9, 0], ""),
        (["1396867869277", "0"], [1396867869.277, 0], "milliseconds"),
        (["1396867869277001"], [1396867869.277001], "microseconds"),
        (["1396867869277001000"], [1396867869.277001], "nanoseconds"),
        (["2014-04-07T10:51:09.277Z"], [1396867869.277], "texts"),
        (["2014-04-07 10:51:09+02:00", "2014-04-07"], [1396867869 - 7200, 1396828800], "texts"),
        (["2014-04-07T10:51:09-0330"], [1396867869 + 12600], "texts"),
        (["-5", "3"], [-5, 3], ""),
        (["1e15", "7e12"], None, "line 3: Time is '7e12'; expected a time: a number, in one unit"),
        (["7e12"], [7e12], "taken for seconds"),
        (["2014-04-07T10:51:09", "5"], None, "line 3: Time is '5'"),
        (["2014-04-07T10:51:09", "5", "6"], None, "line 2: Time is '2014-04-07T10:51:09'"),
        (["20140407", "20140408"], [1396828800, 1396915200], "dates such as 20140408"),
        (["20140407105109", "20140408"], [1396867869, 1396915200], "dates such as 20140407105109"),
        (["20140407", "20140431"], [20140407, 20140431], ""),
        (["2014-04-07T10:51:09+24:00"], None, "Time is '2014-04-07T10:51:09+24:00'"),
        (["2014-04-07T10:51:09+02:60"], None, "Time is '2014-04-07T10:51:09+02:60'"),
        (["2014-02-30T10:51:09"], None, "Time is '2014-02-30T10:51:09'"),
        (["2014-04-07T25:51:09"], None, "Time is"),
        (["1396867869277", "1396867869"], None, "line 3: Time is '1396867869'"),
        (["inf"], None, "Time is 'inf'"),
        (
            ["yesterday"],
            None,
            "line 2: Time is 'yesterday'; expected a time: a number, in one unit in all rows, or a text such as 2018",
        ),
    ],
)
def test_times(tmp_path, times, seconds, noted):
    path = tmp_path / "a.csv"
    path.write_text("Time\n" + "".join(f"{time}\n" for time in times))
    columns = {"Time": Column("time")}
    if seconds is None:
        assert noted in told(path, columns)
        return
    with open_table(path, columns) as table:
        assert table.frame().Time.tolist() == pytest.approx(seconds, rel=0, abs=1e-6)
        assert noted in "".join(table.notes) and bool(table.notes) == bool(noted)


def test_optional_columns_and_empty_values(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,n\nx,\ny,3\n")
    columns = {"a": Column("id"), "n": Column("integer", 0, 9, empty=True), "m": Column("number", required=False)}
    with open_table(path, columns) as table:
        assert list(table.frame().columns) == ["a", "n"]
        assert table.frame().n.tolist()[1] == 3 and np.isnan(table.frame().n[0])
    (tmp_path / "b.csv").write_text("m,a,n\n1.5,z,4\n")
    with open_table([path, tmp_path / "b.csv"], columns) as table:
        frame = table.frame()
        assert frame.a.tolist() == ["x", "y", "z"] and frame.m.isna().tolist() == [True, True, False]
        assert table.where(2) == f"{tmp_path / 'b.csv'}, line 2"
        assert [file.rows for file in table.files] == [2, 1]


def test_packed_files_folders_patterns_and_members(tmp_path):
    text = (HEADER + ROW).encode()
    (tmp_path / "a [1].csv").write_bytes(text)
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(text))
    with zipfile.ZipFile(tmp_path / "c.csv.zip", "w") as archive:
        archive.writestr("c.csv", text)
    (tmp_path / "README.md").write_text("no table")
    assert len(rows_of(tmp_path, COLUMNS)) == 3
    assert len(rows_of(tmp_path / "*.csv*", COLUMNS)) == 3
    with tarfile.open(tmp_path / "d.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("x/d.csv")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text))
    assert len(rows_of(Source(tmp_path / "d.tar.gz", "x/d.csv"), COLUMNS)) == 1
    assert "no such file" in told(tmp_path / "none.csv")
    assert "no file is called so" in told(tmp_path / "none*.csv")


def test_parquet_json_lines_and_frames(tmp_path):
    frame = pd.DataFrame(
        {"a": [101.0, 7.0], "t": pd.to_datetime(["2014-04-07T10:51:09", "2014-04-08T00:00:00"]), "f": [True, False]}
    )
    columns = {"a": Column("id"), "t": Column("time"), "f": Column("flag")}
    expected = [["101", 1396867869.0, True], ["7", 1396915200.0, False]]
    assert rows_of(frame, columns) == expected
    import duckdb

    duckdb.sql(f"COPY (SELECT * FROM frame) TO '{tmp_path / 'a.parquet'}' (FORMAT parquet)")
    assert rows_of(tmp_path / "a.parquet", columns) == expected
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"a": 101.0, "t": "2014-04-07T10:51:09", "f": true, "x": [1]}\n\n{"f": false, "a": 7, "t": "2014-04-08"}\n'
    )
    assert rows_of(path, columns) == expected
    path.write_text('{"a": 1, "t": 5, "f": true}\n{"a": 1, "t": 5, "f": 3}\n')
    assert "line 2: f is '3'; expected true or false" in told(path, columns)
    path.write_text('{"a": 1, "t": 5, "f": true}\n{"a": 1, "t"\n')
    assert "line 2: is no JSON" in told(path, columns)
    assert "row 1: a is ''" in told(pd.DataFrame({"a": [None, 1]}), {"a": Column("id")}).replace("row 0", "row 1")


class Stream:
    """All that is known of a table is that it gives an Arrow stream."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


FRAME = {"a": Column("id"), "n": Column("number", empty=True), "t": Column("time"), "f": Column("flag")}
RAW = {
    "x": [[1], [2]],
    "a": ["007", "NA"],
    "n": [0.5, None],
    "t": [datetime(2014, 4, 7, 10, 51, 9), datetime(2014, 4, 8)],
    "f": [True, False],
}
EXPECTED = [["007", 0.5, 1396867869.0, True], ["NA", None, 1396915200.0, False]]


def frames_of(table):
    return [[None if value != value else value for value in row] for row in rows_of(table, FRAME)]


def test_anything_that_gives_an_arrow_stream_is_a_table():
    import duckdb

    database = duckdb.connect()
    database.execute("CREATE TABLE made (x INTEGER[], a VARCHAR, n DOUBLE, t TIMESTAMP, f BOOLEAN)")
    database.executemany("INSERT INTO made VALUES (?, ?, ?, ?, ?)", list(zip(*RAW.values(), strict=True)))
    assert frames_of(Stream(database.table("made"))) == EXPECTED
    wrong = Stream(database.sql("SELECT 'yes' AS f"))
    assert "the table, row 0: f is 'yes'; expected true or false" in told(wrong, {"f": FRAME["f"]})
    assert "the column x holds INTEGER[]" in told(Stream(database.table("made")), {"x": Column("id")})
    assert "the column b is missing among x, a, n, t, f" in told(Stream(database.table("made")), {"b": Column("id")})
    none = Stream(database.sql("SELECT * FROM made WHERE false"))
    assert frames_of(none) == []


def test_arrow_tables():
    arrow = pytest.importorskip("pyarrow", reason="pip install pyarrow")
    table = arrow.table(RAW)
    assert frames_of(table) == frames_of(table.to_reader()) == EXPECTED
    assert frames_of(table.set_column(1, "a", table.column("a").dictionary_encode())) == EXPECTED
    twice = arrow.table([["1"], ["2"]], names=["a", "a"])
    assert "names the column a twice" in told(twice, {"a": Column("id")})


def test_polars_tables():
    polars = pytest.importorskip("polars", reason="pip install polars")
    assert frames_of(polars.DataFrame(RAW)) == frames_of(polars.LazyFrame(RAW)) == EXPECTED


def test_strange_values_of_parquet_and_json_lines(tmp_path):
    import duckdb

    columns, path = {"a": Column("id")}, tmp_path / "a.parquet"

    def write(value):
        path.unlink(missing_ok=True)
        duckdb.sql(f"COPY (SELECT {value} AS a) TO '{path}' (FORMAT parquet)")

    for value, read in (("'nan'", "nan"), (r"'\xC3\xA9'::BLOB", "é"), ("7.0::DOUBLE", "7")):
        write(value)
        assert rows_of(path, columns) == [[read]]
    for value, message in (
        ("['x']", "the column a holds VARCHAR[]; expected one value in each row"),
        ("'x' || chr(0)", "a is 'x\\x00'; expected an id"),
        ("'nan'::DOUBLE", "a is ''; expected an id"),
    ):
        write(value)
        assert message in told(path, columns)
    path = tmp_path / "a.jsonl"
    for text, message in (
        ("NaN", "line 1: a is ''; expected an id"),
        (r'"\ud800x"', r"line 1: a is '\ud800x', with half a character"),
        (r'"x\u0000"', "line 1: a is 'x\\x00'; expected an id"),
    ):
        path.write_text(f'{{"a": {text}}}\n')
        assert message in told(path, columns)
    assert "cannot be read" in told(pd.DataFrame({"a": ["\ud800"]}), columns)
    assert "names the column a twice" in told(pd.DataFrame([[1, 2]], columns=["a", "a"]), columns)


def test_a_byte_order_mark_of_files_put_together(tmp_path):
    path = tmp_path / "a.csv"
    for end in ("\n", "\r\n", "\r"):
        path.write_bytes(end.join(["\ufeffa,b,c", "1,x\ufeff,3", "\ufeff1,2,3", "1,2,3", ""]).encode())
        for layout in ({}, {"multiline": True}, {"quotes": False}):
            assert "line 3: begins with a byte order mark" in told(path, **layout)


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zip"])
def test_damaged_archives(tmp_path, name):
    path = tmp_path / name
    content = (HEADER + ROW * 5000).encode()
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(content))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.csv", content)
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], b"not packed at all" * 50, whole[:60] + b"\0" * 60 + whole[120:]):
        path.write_bytes(broken)
        assert "download the file again" in told(path, COLUMNS)


def test_endless_lines(tmp_path, monkeypatch):
    monkeypatch.setattr("common.table_text.LONGEST_LINE", 10_000)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROW + "x" * 3_000_000).encode()))
    assert "more than 10,000 bytes; mend it" in told(path, COLUMNS)
    path.write_bytes(gzip.compress(bytes(3_000_000)))
    assert "line 1: " in told(path, COLUMNS)
    path.write_bytes(gzip.compress((HEADER + ROW + "x" * 8000 + ",1,x,2018-07-15,true\n").encode()))
    assert len(rows_of(path, COLUMNS)) == 2


def test_nothing_is_left_behind(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(HEADER + ROW + "x\n")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    told(path, COLUMNS, scratch=scratch)
    path.write_text(HEADER + ROW)
    open_table(path, COLUMNS, scratch=scratch).close()
    assert not list(scratch.iterdir()) and [file.name for file in tmp_path.iterdir() if file.is_file()] == ["a.csv"]


def test_an_unknown_kind_of_table():
    assert "a int is no table" in told(5)
    assert isinstance(Path("x"), Path)
