from __future__ import annotations

import json

import pytest

from common.options import UserError
from common.row_counts import RowCounts, short, tell_preparation
from common.tables import Column, open_table


def test_rows_are_used_or_left_out(tmp_path, capsys):
    path = tmp_path / "plays.csv"
    path.write_text("user\n" + "a\n" * 10 + "\n")
    counts = RowCounts()
    with open_table(path, {"user": Column("id")}) as table:
        counts.add(table)
    counts.leave_out(path, "songs without an entry", 4)
    counts.leave_out("plays.csv", "songs without an entry", 3)
    counts.leave_out(path, "nothing", 0)
    counts.parts = {"train": {"plays": 3}}
    assert counts.used(path) == 3
    counts.check_used(path, 3)
    counts.check_total(3)
    with pytest.raises(UserError, match="4 rows are used, but the rows in the file less those left out are 3"):
        counts.check_used(path, 4)
    assert counts.lines() == ["plays.csv: 10 rows = 3 used + 7 left out (songs without an entry); 1 blank line"]
    assert counts.warnings(25) == [
        "most rows of plays.csv are left out: 7 of 10 (songs without an entry: 7)",
        "only 25 test events: the figures say little (expected 100 or more)",
    ]
    assert RowCounts.of_json(json.loads(json.dumps(counts.as_json()))) == counts
    tell_preparation("Two songs.", counts, ["times in seconds"], 25, as_json=True)
    out, err = capsys.readouterr()
    assert json.loads(out) == {
        "files": {"plays.csv": {"rows": 10, "used": 3, "left_out": {"songs without an entry": 7}, "blank_lines": 1}},
        "parts": {"train": {"plays": 3}},
    }
    assert [line.split(":")[0] for line in err.splitlines()] == ["times in seconds", "warning", "warning"]
    tell_preparation("Two songs.", counts, ["times in seconds"])
    assert capsys.readouterr().out.splitlines() == ["Two songs.", "times in seconds", *counts.lines()]
    with pytest.raises(RuntimeError, match="11 rows left out of 10"):
        counts.leave_out(path, "too many", 4)


def test_many_files_are_one_line():
    counts = RowCounts()
    for day in range(10):
        counts.add_file(f"/data/log_{day}.csv", 100)
        counts.leave_out(f"log_{day}.csv", "short sessions", day)
    assert counts.lines() == ["10 files: 1,000 rows = 955 used + 45 left out (short sessions)"]
    assert counts.warnings(100) == []
    counts.add_file("tf_0.csv", 7)
    assert counts.lines() == [
        "10 files log_*: 1,000 rows = 955 used + 45 left out (short sessions)",
        "1 file tf_*: 7 rows = 7 used",
    ]
    assert short("/a/b.tar.gz: c/d.csv") == "b.tar.gz: c/d.csv"
