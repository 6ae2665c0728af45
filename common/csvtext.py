"""Large CSV files, plain or compressed or inside a tar archive, as checked tables of a bounded number of rows.

A wrong header, value or line ends in one line that names the file, the line and what was expected.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal, cast

import numpy as np
import pandas as pd

from common.options import UserError, require

ROWS = 250_000
"""Rows in a table: about 150 MB while a log of 21 columns is read."""
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, tarfile.TarError)
MOST_MEMBERS = 100_000
"""Members of an archive; MSSD's largest has under a thousand. All of them are kept in memory."""
MOST_BEHIND = 2**26
"""Bytes behind the last member of an archive, which are zeros to fill up a block."""
LONGEST_LINE = 2**20
"""Bytes; a file without line ends would fill the memory."""
_INTEGER = re.compile(r"[+-]?\d+")


@dataclass(frozen=True)
class Column:
    """What a column must hold; an empty value is always wrong."""

    kind: Literal["text", "integer", "number", "flag", "date"]
    """text; integer; number (finite); flag (true or false, in any case); date (2018-07-15)."""
    low: float = -np.inf
    high: float = np.inf
    """Smallest and largest integer or number allowed."""
    choices: tuple[str, ...] = ()
    """The texts allowed; any if empty."""

    @property
    def expected(self) -> str:
        """What an error message says."""
        if self.choices:
            return " or ".join(self.choices)
        bounds = f" in {self.low:g}..{self.high:g}" if np.isfinite([self.low, self.high]).all() else ""
        return {
            "text": "a text",
            "integer": f"an integer{bounds}",
            "number": f"a number{bounds}",
            "flag": "true or false",
            "date": "a date such as 2018-07-15",
        }[self.kind]

    def wrong(self, values: pd.Series) -> Any:
        """Mask of the values, dates and flags still as text, that are not allowed."""
        if self.choices:
            return ~values.isin(self.choices).to_numpy()
        if self.kind == "text":
            return (values == "").to_numpy(dtype=bool)
        if self.kind in ("date", "flag"):
            return ~values.map({text: self.accepts(text) for text in values.unique()}).to_numpy(dtype=bool)
        numbers = values.to_numpy(dtype=np.float64)
        return ~((numbers >= self.low) & (numbers <= self.high) & np.isfinite(numbers))

    def accepts(self, text: str) -> bool:
        """Whether one value, as it stands in the file, is allowed."""
        if self.kind == "flag":
            return text.lower() in ("true", "false")
        if self.kind == "text":
            return text != "" and (not self.choices or text in self.choices)
        if self.kind == "date":
            return _is_date(text)
        try:
            number = float(text)
        except ValueError:
            return False
        whole = self.kind == "number" or _INTEGER.fullmatch(text.strip()) is not None
        return whole and bool(np.isfinite(number)) and self.low <= number <= self.high


def _is_date(text: str) -> bool:
    try:
        return datetime.strptime(text, "%Y-%m-%d").strftime("%Y-%m-%d") == text
    except ValueError:
        return False


_DTYPES = {"text": "str", "date": "str", "integer": "int64", "number": "float64", "flag": "str"}


@dataclass(frozen=True)
class Source:
    """A CSV file, or a member of a tar archive; ``.gz`` is unpacked on the fly, nothing is ever extracted."""

    path: Path
    member: str | None = None

    def __str__(self) -> str:
        return f"{self.path}: {self.member}" if self.member else str(self.path)


@contextlib.contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGED as error:
        raise UserError(f"{path}: the archive is damaged: {error}; download the file again") from error


def is_archive(path: Path) -> bool:
    """Whether the name of ``path`` says that it is a tar archive."""
    return path.name.lower().endswith((".tar", ".tar.gz", ".tgz"))


def open_sources(path: Path, *patterns: str) -> Iterator[tuple[Source, IO[bytes]]]:
    """The file ``path``, or the members of the archive ``path`` whose names match, one after the other.

    Args:
        path: a file that is taken whatever its name, or a tar archive, which is read once from front to back.
        patterns: of file names (without folders, in lower case) such as ``log_*.csv``.

    Raises:
        UserError: the file cannot be read or is damaged; raised while reading, too.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_telling_damage(path))
        if not is_archive(path):
            yield Source(path), stack.enter_context(_unpacked(path.open("rb"), path.name))
            return
        packed = stack.enter_context(path.open("rb"))
        # tarfile unpacks gzip by itself where it only reads forward, but never looks at the checksum.
        zipped = packed.peek(2)[:2] == b"\x1f\x8b"
        whole = _unpacked(packed, ".gz" if zipped else "")
        archive = stack.enter_context(tarfile.open(fileobj=whole, mode="r|*"))
        for number, member in enumerate(archive):
            require(number < MOST_MEMBERS, f"{path}: has more than {MOST_MEMBERS:,} members; expected tables")
            name = PurePosixPath(member.name).name.lower()
            if member.isfile() and any(fnmatch(name, pattern) for pattern in patterns):
                content = archive.extractfile(member)
                if content is not None:
                    with _unpacked(content, name) as stream:
                        yield Source(path, member.name), stream
        behind = 0
        while zipped and (rest := len(whole.read(2**20))):  # behind the last member: the checksum is at the very end
            behind += rest
            require(behind <= MOST_BEHIND, f"{path}: goes on for over {MOST_BEHIND:,} bytes behind its last member")


def _unpacked(stream: IO[bytes], name: str) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(stream)) if name.lower().endswith(".gz") else stream


def read_table(
    source: Source,
    stream: IO[bytes],
    columns: Mapping[str, Column],
    *,
    header: Sequence[str] | None = None,
    required: Sequence[str] = (),
    separator: str = ",",
    rows: int = ROWS,
) -> Iterator[pd.DataFrame]:
    """The ``columns`` of a CSV file as tables of at most ``rows`` rows; their index counts the rows from 0.

    Args:
        source: where ``stream`` comes from: named in errors, and read again to find the line of one.
        columns: name and content of the columns that are wanted.
        header: the names of all columns of a file without a header line; None reads them from the first line.
        required: names that the header must have besides those of ``columns``.

    Raises:
        UserError: a column is missing, or a line has too few or too many values or one that is not allowed.
    """
    with _telling_damage(source.path):
        names = list(header) if header is not None else _read_header(source, stream, separator)
    missing = [name for name in dict.fromkeys([*required, *columns]) if name not in names]
    require(
        not missing,
        f"{source}, line 1: the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
        f"{'are' if len(missing) > 1 else 'is'} missing among {', '.join(names)}",
    )
    first_line = 1 if header is not None else 2
    counted = _Counted(source, stream, separator)
    try:
        with (
            _telling_damage(source.path),
            pd.read_csv(
                counted,  # type: ignore[call-overload]
                sep=separator,
                header=None,
                names=names,
                usecols=[*columns],
                dtype={name: _DTYPES[column.kind] for name, column in columns.items()},
                index_col=False,
                na_filter=False,
                chunksize=rows,
                engine="c",
            ) as tables,
        ):
            for table in tables:
                for name, column in columns.items():
                    if column.wrong(table[name]).any():
                        raise ValueError(f"a value of {name} is wrong")
                    if column.kind == "flag":
                        flags = {text: text.lower() == "true" for text in table[name].unique()}
                        table[name] = table[name].map(flags).astype(bool)
                if len(table):
                    yield table
    except pd.errors.EmptyDataError:
        return
    except (ValueError, OverflowError) as error:  # UnicodeDecodeError and pandas' ParserError are among them
        _raise_mistake(source, names, columns, separator, first_line)
        raise UserError(f"{source}: cannot be read as a table: {error}") from error
    if counted.separators != counted.lines * (len(names) - 1):  # pandas forgives lines that are too long or short
        _raise_mistake(source, names, columns, separator, first_line)


class _Counted:
    """A stream that counts the lines and separators in it; pandas takes its bytes as they are."""

    def __init__(self, source: Source, stream: IO[bytes], separator: str) -> None:
        self._source, self._stream, self._separator, self._last = source, stream, separator.encode(), b"\n"
        self.lines = self.separators = self._open = 0

    def read(self, size: int = -1) -> bytes:
        block = self._stream.read(size)
        self.separators += block.count(self._separator)
        self.lines += block.count(b"\n")
        self._open = len(block) - 1 - block.rfind(b"\n") if b"\n" in block else self._open + len(block)
        require(self._open <= LONGEST_LINE, f"{self._source}: has a line of more than {LONGEST_LINE:,} bytes; mend it")
        if not block and self._last != b"\n":
            self.lines += 1  # the last one has no end
        self._last = block[-1:] or b"\n"
        return block

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._stream)


def _read_header(source: Source, stream: IO[bytes], separator: str) -> list[str]:
    line = stream.readline(LONGEST_LINE)
    require(bool(line.strip()), f"{source}, line 1: is empty; expected the names of the columns")
    try:
        return next(csv.reader([line.decode("utf-8-sig").strip("\r\n")], delimiter=separator))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{source}, line 1: expected the names of the columns as UTF-8 text") from error


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    while line := stream.readline(LONGEST_LINE):
        yield line


def _raise_mistake(
    source: Source,
    names: Sequence[str],
    columns: Mapping[str, Column],
    separator: str,
    first_line: int,
) -> None:
    """Read ``source`` again, line by line, and raise a UserError for the first value that is not allowed, if any."""
    pattern = glob.escape(PurePosixPath(source.member).name.lower()) if source.member else ""
    for found, stream in open_sources(source.path, pattern):
        if found != source:
            continue
        for number, line in enumerate(_lines(stream), start=1):
            where = f"{source}, line {number}"
            if number < first_line or not line.strip():
                continue
            try:
                text = line.decode("utf-8").strip("\r\n")
                values = next(csv.reader([text], delimiter=separator))
            except (UnicodeDecodeError, csv.Error) as mistake:
                raise UserError(f"{where}: is not UTF-8 text of {len(names)} values; mend or remove it") from mistake
            require(
                len(values) == len(names),
                f"{where}: has {len(values)} values; expected {len(names)}, one for each column",
            )
            for name, column in columns.items():
                value = values[names.index(name)]
                require(
                    column.accepts(value),
                    f"{where}: {name} is {value!r}; expected {column.expected}",
                )
