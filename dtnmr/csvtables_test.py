from __future__ import annotations

import pytest

import dtnmr.csvtables as csvtables
from common.options import UserError
from dtnmr.csvtables import read_table

COLUMNS = {"first": ("a", "A"), "last": ("c",)}


def read(path, dtype="str"):
    return [tuple(row) for table in read_table(path, COLUMNS, dtype) for row in table.itertuples(index=False)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(csvtables, "ROWS", 3)


@pytest.mark.parametrize("dtype", ["str", "category"])
def test_pieces_blank_lines_and_ends(tmp_path, dtype):
    file = tmp_path / "t.csv"
    file.write_bytes(b'\xef\xbb\xbfA,b,c\r\n1,2,3\r\n\r\n"4,5",,\n6,7,"8""9"\n,,\n10,11,12')
    assert read(file, dtype) == [("1", "3"), ("4,5", ""), ("6", '8"9'), ("", ""), ("10", "12")]


WRONG = {
    "short": (6, "1,2", "line 6: expected 3 values"),
    "long": (6, "1,2,3,4", "line 6: expected 3 values"),
    "short in the first piece": (3, "1,2", "line 3: expected 3 values"),
    "one value": (7, "1", "line 7: expected 3 values"),
    "only commas": (4, ",,,", "line 4: expected 3 values"),
    "an open quote": (6, '1,2,"3', "near line 6: a quotation mark is opened"),
    "an open quote at the end": (10, '1,2,"3', "near line 10: a quotation mark is opened"),
    "not UTF-8": (8, "1,2,\udcff", "line 8: is not UTF-8"),
}


@pytest.mark.parametrize("dtype", ["str", "category"])
@pytest.mark.parametrize("case", WRONG)
def test_the_broken_line_is_named(tmp_path, case, dtype):
    number, text, expected = WRONG[case]
    lines = ["a,b,c", *["1,2,3"] * 9]
    lines[number - 1] = text
    file = tmp_path / "t.csv"
    file.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        read(file, dtype)
    assert f"t.csv, {expected}" in str(error.value)


def test_no_line_of_a_piece_is_long_enough(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("a,b,c\n" + "1,2,3\n" * 3 + "1\n" * 5)
    with pytest.raises(UserError, match=r"line 5: expected 3 values"):
        read(file)
    file.write_text("a,b,c,d,e\n1\n1\n")
    with pytest.raises(UserError, match=r"line 2: expected 5 values"):
        read(file)


@pytest.mark.parametrize("filling", [b"x", b'"', b"\n", b"\0"])
def test_endless_lines_are_refused_before_they_fill_the_memory(tmp_path, monkeypatch, filling):
    monkeypatch.setattr(csvtables, "LONGEST_LINE", 300_000)
    file = tmp_path / "t.csv"
    file.write_bytes(b"a,b,c\n1,2,3\n" + filling * 2_000_000 + b"\n1,2,3\n")
    with pytest.raises(UserError, match=r"t.csv: has a line, or blank lines, of more than 300,000 bytes"):
        read(file)


def test_an_empty_table_has_no_pieces(tmp_path):
    for text in ("a,b,c\n", "a,b,c", "a,b,c\n\n\n"):
        (tmp_path / "t.csv").write_text(text)
        assert read(tmp_path / "t.csv") == []
