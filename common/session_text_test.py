from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from common.options import UserError
from common.session_text import read_session_texts


@pytest.mark.parametrize(
    ("text", "sessions"),
    [
        ("a b,c\n\nd\n", [["a", "b", "c"], ["d"]]),
        ("Bad Guy\tHalo\r\nLose, Yourself\t\n\t\n", [["Bad Guy", "Halo"], ["Lose, Yourself"]]),
        ('\ufeff"Heroes\nb\n', [['"Heroes'], ["b"]]),
        ("a\tb\nBad Guy\n", [["a", "b"], ["Bad Guy"]]),
        ("a b\rc\r", [["a", "b"], ["c"]]),
    ],
)
def test_tabs_separate_where_there_are_any(text, sessions, tmp_path, monkeypatch):
    path = tmp_path / "s.txt"
    path.write_text(text, newline="")
    assert [words for _, words in read_session_texts((), path, "expected ids")] == sessions
    given = SimpleNamespace(buffer=io.BytesIO(text.encode()), isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", given)
    assert [words for _, words in read_session_texts((), None, "expected ids")] == sessions


def test_mistakes_name_the_line(tmp_path):
    path = tmp_path / "s.txt"
    path.write_bytes(b"a\n\xff\n")
    with pytest.raises(UserError, match=r"s.txt, line 2: not UTF-8 text; expected ids"):
        read_session_texts((), path, "expected ids")
    path.write_text("\n \n")
    with pytest.raises(UserError, match="no session in it"):
        read_session_texts((), path, "expected ids")
