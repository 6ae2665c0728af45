"""Read a huge JSON list of lists of numbers row by row, in bounded memory and on all cores."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from common.options import UserError, require
from common.sources import open_text_or_zip

Array = NDArray[Any]
CHUNK = 2**21
LONGEST_ROW = 2**25
"""Bytes of text that one row may have (the longest released rows have about 0.6 MB)."""
BOM = b"\xef\xbb\xbf"
MEND = "the file is cut off or changed; get it again (data/README.md)"
_blanks = re.compile(rb"[ \t\r\n]*")
# NaN and Infinity are no JSON, yet Python's decoder takes them: leave them as text, which is refused later.
_decode = json.JSONDecoder(parse_constant=str).decode


def rows_of(path: Path, parse: Callable[[bytes, str], Array]) -> Generator[Array]:
    """Yield ``parse(text of the row, name of the row for messages)`` for each row of ``path``, in order.

    The file is plain text or a zip of it. Rows are parsed by one thread per core: NumPy releases the
    interpreter while it works on a long row, and threads, unlike processes, need not copy rows nor import
    anything. A few rows at most are in memory at a time. Close the generator if you leave it early.

    Raises:
        UserError: the file is damaged or no list of lists; of several mistakes the first one is named.
    """
    threads = os.cpu_count() or 1
    waiting: deque[Future[Array]] = deque()
    failure: Exception | None = None
    with open_text_or_zip(path) as stream, ThreadPoolExecutor(threads) as pool:
        numbered = enumerate(split_rows(stream, path))
        more = True
        try:
            while more or waiting:
                if not more or len(waiting) > threads + 1:
                    yield waiting.popleft().result()
                    continue
                try:
                    number, text = next(numbered)
                    waiting.append(pool.submit(parse, text, f"{path}: row {number} (counted from 0)"))
                except StopIteration:
                    more = False
                except Exception as error:  # rows before it may hold a mistake, too, which comes first
                    more, failure = False, error
            if failure is not None:
                raise failure
        finally:
            for future in waiting:
                future.cancel()


def split_rows(stream: IO[bytes], path: Path, longest: int = LONGEST_ROW) -> Iterator[bytes]:
    """Yield the text ``[...]`` of each inner list of a JSON list of lists; the inside is not looked at.

    Raises:
        UserError: the text is empty, cut off, not a list of lists, nested deeper, has a row of more than
            ``longest`` bytes, or goes on after its end.
    """
    text, at, row = b"", 0, 0

    def read() -> bool:
        nonlocal text, at
        chunk = stream.read(CHUNK)
        text, at = text[at:] + chunk, 0
        return bool(chunk)

    def peek() -> bytes:
        """The next byte that is no blank, or nothing at the end."""
        nonlocal at
        blanks = 0
        while True:
            start, at = at, _blanks.match(text, at).end()  # type: ignore[union-attr]
            blanks += at - start
            require(blanks <= longest, f"{path}: has over {longest:,} blanks beside row {row} (counted from 0)")
            if at < len(text) or not read():
                return text[at : at + 1]

    read()
    if text.startswith(BOM):
        at = len(BOM)
    sign = peek()
    require(sign != b"", f"{path}: is empty; expected a JSON list with one list of numbers per song")
    require(sign == b"[", f"{path}: begins with {_shown(sign)}; expected a JSON list of lists of numbers")
    at += 1
    require(peek() != b"]", f"{path}: holds no rows; expected a JSON list with one list of numbers per song")
    while True:
        sign = peek()
        require(sign != b"", f"{path}: ends before row {row} (counted from 0): {MEND}")
        require(
            sign == b"[",
            f"{path}: row {row} (counted from 0) begins with {_shown(sign)}; expected '[', a list",
        )
        searched = 1
        while (end := text.find(b"]", at + searched)) < 0:
            searched = len(text) - at
            _check_length(searched, longest, path, row)
            require(read(), f"{path}: ends inside row {row} (counted from 0): {MEND}")
        _check_length(end + 1 - at, longest, path, row)
        require(
            text.find(b"[", at + 1, end) < 0,
            f"{path}: row {row} (counted from 0) has a list inside; expected a flat list of numbers",
        )
        yield text[at : end + 1]
        at, row = end + 1, row + 1
        sign = peek()
        if sign != b",":
            break
        at += 1
    require(sign != b"", f"{path}: ends after row {row - 1} (counted from 0) without ']': {MEND}")
    require(
        sign == b"]",
        f"{path}: row {row - 1} (counted from 0) is followed by {_shown(sign)}; expected ',' or ']'",
    )
    at += 1
    sign = peek()
    require(
        sign == b"",
        f"{path}: goes on with {_shown(sign)} after its end (row {row - 1}, counted from 0); remove the rest",
    )


def _check_length(length: int, longest: int, path: Path, row: int) -> None:
    require(
        length <= longest,
        f"{path}: row {row} (counted from 0) has over {longest:,} bytes; expected the numbers of one song",
    )


def _shown(sign: bytes) -> str:
    return ascii(sign.decode("latin-1"))


def parse_numbers(text: bytes, where: str) -> NDArray[np.float64]:
    """The flat JSON list ``text`` as float64.

    Raises:
        UserError: it is no JSON list of finite numbers; says ``where`` and names the first wrong entry.
    """
    try:
        values = _decode(text.decode("ascii", errors="replace"))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where} is no list of numbers: {error.msg} at character {error.pos} of the row, "
            f"near {error.doc[max(error.pos - 10, 0) : error.pos + 10]!r}"
        ) from None
    except ValueError:  # Python refuses to read integers of thousands of digits
        raise UserError(f"{where} has a number of thousands of digits; expected finite numbers") from None
    if not set(map(type, values)) <= {int, float}:
        wrong = next(index for index, value in enumerate(values) if type(value) not in (int, float))
        value = _value_shown(values[wrong])
        raise UserError(f"{where}, entry {wrong} (counted from 0) is {value}; expected a finite number")
    with contextlib.suppress(OverflowError):
        numbers = np.array(values, np.float64)
        if np.isfinite(numbers).all():
            return numbers
    raise UserError(f"{where} has a number that is too large; expected finite numbers")


def _value_shown(value: object) -> str:
    """A JSON value as in the file, cut short."""
    if value in ("NaN", "Infinity", "-Infinity"):
        return str(value)
    return json.dumps(value)[:40]


def parse_small_numbers(text: bytes) -> Array | None:
    """The flat JSON list ``text`` of numbers from 0 up to 999, or None if it is anything else.

    Vectorised, hence faster than Python's decoder: the one to three digits before each number's end or
    decimal point make its integer part. Numbers with a real fraction (means of chords, say) are converted
    one by one.

    Returns:
        uint16, or float64 if a number has a fraction other than ``.0``.

    Example:
        >>> parse_small_numbers(b"[0, 12, 127.0]").tolist()
        [0, 12, 127]
        >>> parse_small_numbers(b"[64.5, 7]").tolist()
        [64.5, 7.0]
        >>> parse_small_numbers(b"[1, -1]") is None
        True
    """
    signs = np.frombuffer(text, np.uint8)
    digits = signs - np.uint8(ord("0"))  # wraps around: below 10 are the digits
    comma, point = signs == ord(","), signs == ord(".")
    number = (digits < 10) | point
    if not (number | comma | (signs == ord(" ")))[1:-1].all():
        return None
    edges = np.flatnonzero(number[1:] != number[:-1])  # before each first and at each last sign of a number
    first, last = edges[::2] + 1, edges[1::2]
    if not last.size or np.count_nonzero(comma) != last.size - 1 or not comma[last[:-1] + 1].all():
        return None
    stop = last + 1  # behind the integer part
    points = np.flatnonzero(point)
    owner = np.searchsorted(last, points)  # the number that each decimal point belongs to
    if (owner[1:] == owner[:-1]).any() or (points == last[owner]).any():
        return None
    stop[owner] = points
    width = stop - first
    if width.min() < 1 or width.max() > 3 or ((signs[first] == ord("0")) & (width > 1)).any():
        return None
    values = digits[stop - 1].astype(np.uint16)
    values += np.where(width > 1, digits[stop - 2], 0) * np.uint16(10)
    values += np.where(width > 2, digits[stop - 3], 0) * np.uint16(100)
    broken = owner[(last[owner] != points + 1) | (signs[last[owner]] != ord("0"))]
    if not broken.size:
        return values
    exact = values.astype(np.float64)
    spans = zip(first[broken].tolist(), (last[broken] + 1).tolist(), strict=True)
    exact[broken] = [float(text[begin:end]) for begin, end in spans]
    return exact
