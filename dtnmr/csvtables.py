"""Large csv files as tables of text of bounded size, plain, ``.gz`` or ``.zip``; a broken line is named.

Unlike :mod:`common.csvtext`, fields may be empty, quoted and hold line breaks, as those of KKBOX's songs.csv do; and a
line with too few values is told from one with empty values although pandas reads them alike.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, cast

import pandas as pd

from common.options import UserError, require
from common.sources import open_text_or_zip

ROWS = 500_000
"""Rows in a table: about 100 MB while train.csv is read."""
LONGEST_HEADER = 2**16
LONGEST_LINE = 2**20
"""Bytes; a file without line ends, or of nothing else, would fill the memory."""
_END = "\x1f"
"""Closes every line as a column of its own, which a line with too few or too many values has in another place."""


def read_table(
    path: Path, columns: Mapping[str, tuple[str, ...]], dtype: Literal["str", "category"]
) -> Iterator[pd.DataFrame]:
    """The ``columns`` of a csv file as text, in tables of at most :data:`ROWS` rows.

    Args:
        path: plain, ``.gz`` or ``.zip``.
        columns: name to give -> names in the file, of which any will do.

    Raises:
        UserError: a column is missing or a line is broken (which one is named), or the file cannot be unpacked.
    """
    with opened(path) as stream:
        header = _read_header(path, stream)
        chosen = _chosen(path, header, columns)
        # A blank line is known by its first two values; the first may be different in every line.
        wanted = dict.fromkeys(header[:2], "str") | dict.fromkeys(chosen, dtype) | {_END: "category"}
        line = 2  # of the next row
        try:
            with pd.read_csv(
                cast(Any, _Closed(path, stream)),
                header=None,
                names=[*header, _END],
                usecols=list(wanted),
                dtype=wanted,
                index_col=False,
                na_filter=False,
                chunksize=ROWS,
                engine="c",
            ) as tables:
                for table in tables:
                    line += len(table)
                    whole = _whole_lines(path, table, header)
                    if len(whole):
                        yield whole[list(chosen)].rename(columns=chosen)
        except pd.errors.EmptyDataError:
            return
        except (ValueError, OverflowError) as error:  # UnicodeDecodeError and pandas' ParserError are among them
            raise UserError(_complaint(path, error, line, len(header))) from error


def unmarked(texts: pd.Series) -> pd.Series:
    """``texts`` of a table as they are in the file: a line break within quotes has got the mark of a line's end."""
    return texts.str.replace(f",{_END}\n", "\n", regex=False)


def _chosen(path: Path, header: list[str], columns: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Name in the file -> name to give."""
    found = {name: next((choice for choice in choices if choice in header), "") for name, choices in columns.items()}
    missing = [" or ".join(columns[name]) for name, choice in found.items() if not choice]
    require(
        not missing,
        f"{path}, line 1: the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
        f"{'are' if len(missing) > 1 else 'is'} missing among {', '.join(header)}",
    )
    return {choice: name for name, choice in found.items()}


def _whole_lines(path: Path, table: pd.DataFrame, header: list[str]) -> pd.DataFrame:
    """``table`` without blank lines; a line whose end is not in the last column is a mistake."""
    if list(table[_END].cat.categories) == [_END]:
        return table
    odd = table[table[_END] != _END]
    broken = odd[(odd[header[0]] != "") | (odd[header[1]] != _END)]
    if len(broken):
        raise UserError(f"{path}, line {broken.index[0] + 2}: {_expected(len(header))}")
    return table.drop(index=odd.index)


def _expected(columns: int) -> str:
    return f"expected {columns} values, one for each column; mend the line or remove it"


def _complaint(path: Path, error: Exception, line: int, columns: int) -> str:
    if isinstance(error, UnicodeDecodeError):
        with opened(path) as stream:
            for number, text in enumerate(stream, start=1):
                try:
                    text.decode()
                except UnicodeDecodeError:
                    return f"{path}, line {number}: is not UTF-8 text; mend the line or remove it"
    if "Too many columns specified" in str(error):  # no line of the table has as many values as it should
        return f"{path}, line {line}: {_expected(columns)}"
    if "EOF inside string" in str(error):
        row = int(str(error).rsplit(maxsplit=1)[-1])
        return f"{path}, near line {row + 2}: a quotation mark is opened and never closed; mend the line or remove it"
    return f"{path}: cannot be read as a table: {error}"


class _Closed:
    """A stream of lines, each closed with the column :data:`_END`; blank lines at the end of the file are left out."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self._path, self._stream, self._open, self._long = path, stream, False, 0
        self._held = b""  # line ends that count only if more lines follow
        self._close = f",{_END}\n".encode()

    def read(self, size: int = -1) -> bytes:
        while block := self._stream.read(size):
            lines = self._held + block.replace(b"\r", b"")
            whole = lines.rstrip(b"\n")
            self._held = lines[len(whole) :]
            self._long = len(block) - 1 - block.rfind(b"\n") if b"\n" in block else self._long + len(block)
            told = f"{self._path}: has a line, or blank lines, of more than {LONGEST_LINE:,} bytes; mend it"
            require(max(self._long, len(self._held)) <= LONGEST_LINE, told)
            if whole:
                self._open = True
                return whole.replace(b"\n", self._close)
        self._open, was_open = False, self._open
        return self._close if was_open else b""

    def __iter__(self) -> Iterator[bytes]:  # pandas asks for it and never uses it
        return iter(lambda: self.read(2**18), b"")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked.

    Raises:
        UserError: the archive is damaged; raised while reading, too.
    """
    again = "download the file again"
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path) as stream:
                yield cast(IO[bytes], stream)
        else:
            with open_text_or_zip(path) as stream:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path}: the archive is damaged: {error}; {again}") from error


def _read_header(path: Path, stream: IO[bytes]) -> list[str]:
    line = stream.readline(LONGEST_HEADER)
    require(bool(line.strip()), f"{path}, line 1: is empty; expected the names of the columns")
    try:
        header = next(csv.reader([line.decode("utf-8-sig").strip("\r\n")]))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}, line 1: expected the names of the columns as UTF-8 text") from error
    require(len(set(header)) == len(header), f"{path}, line 1: names a column twice: {', '.join(header)}")
    return header
