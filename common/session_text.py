"""Session input: sessions given on the command line, in a text file, or on the standard input."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from common.options import UserError, require


def read_session_texts(ids: Sequence[str], file: Path | None, expected: str) -> list[tuple[str, list[str]]]:
    """Where each session comes from, for messages, and its words.

    Sessions are separated by lines. If there is a tab anywhere in the text, tabs alone separate the words of a session,
    which then may hold blanks and commas; else blanks and commas do. Empty lines are passed over.

    Args:
        ids: the words of one session; if there are none, they are read from ``file``.
        file: a text in UTF-8; None is the standard input.
        expected: for messages: what the words should be.

    Raises:
        UserError: there is no session, or the text is not UTF-8.
    """
    if ids:
        return [("the session", list(ids))]
    if file is None:
        require(not sys.stdin.isatty(), f"no session: name it, or give --session-file, or pipe one in; {expected}")
    source, data = ("standard input", sys.stdin.buffer.read()) if file is None else (str(file), file.read_bytes())
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{source}, line {line}: not UTF-8 text; {expected}") from None
    sessions = [_words(line, "\t" in text) for line in re.split("\r\n?|\n", text)]
    found = [(f"{source}, line {number}", words) for number, words in enumerate(sessions, 1) if words]
    require(bool(found), f"{source}: no session in it; {expected}")
    return found


def _words(line: str, tabs: bool) -> list[str]:
    return [word for word in line.split("\t") if word.strip()] if tabs else line.replace(",", " ").split()
