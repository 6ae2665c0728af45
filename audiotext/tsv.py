"""Small tables of text separated by tabs, taken as they stand: no quotes, no escapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.csvtext import LONGEST_LINE
from common.options import UserError, require


@dataclass(frozen=True)
class Line:
    """A line of a table: its values by column, and where it is, for messages."""

    path: Path
    number: int
    values: dict[str, str]

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path}, line {self.number}"

    def text(self, column: str) -> str:
        """A value that must not be empty."""
        value = self.values[column]
        require(bool(value.strip()), f"{self.where}: {column} is empty")
        return value

    def count(self, column: str, low: int, high: int) -> int:
        """An integer in low..high."""
        text = self.values[column].strip()
        digits = text.isascii() and text.isdigit() and len(text) < 20
        if not digits or not low <= int(text) <= high:
            raise UserError(f"{self.where}: {column} is {text!r}; expected an integer in {low}..{high}")
        return int(text)


def read_tsv(
    path: Path, columns: Sequence[str], *, stream: IO[bytes] | None = None, encoding: str = "utf-8"
) -> Iterator[Line]:
    """The lines of a table below its header; lines without any text are passed over.

    Args:
        path: the file; only named in messages if there is a ``stream``.
        columns: names that the header must have; others may be there too.
        stream: the bytes of the file, if it is not to be opened here.

    Raises:
        UserError: the file or a column is missing, a column is there twice, or a line is no text in ``encoding`` or has
            too few or too many values.
    """
    if stream is None:
        require(path.is_file(), f"{path}: no such file")
        with path.open("rb") as opened:
            yield from read_tsv(path, columns, stream=opened, encoding=encoding)
        return
    header = _values(stream, path, 1, "utf-8-sig" if encoding == "utf-8" else encoding)
    require(header is not None, f"{path}, line 1: is empty; expected the names of the columns: {', '.join(columns)}")
    names = header or []
    missing = [name for name in columns if name not in names]
    require(not missing, f"{path}, line 1: lacks the column {', '.join(missing)} among {', '.join(names)}")
    twice = [name for name in columns if names.count(name) > 1]
    require(not twice, f"{path}, line 1: names the column {', '.join(twice)} twice")
    number = 1
    while (values := _values(stream, path, number := number + 1, encoding)) is not None:
        if values == [""]:
            continue
        if len(values) != len(names):
            raise UserError(
                f"{path}, line {number}: has {len(values)} values; expected {len(names)}, separated by tabs: "
                f"{', '.join(names)}"
            )
        yield Line(path, number, dict(zip(names, values, strict=True)))


def _values(stream: IO[bytes], path: Path, number: int, encoding: str) -> list[str] | None:
    line = stream.readline(LONGEST_LINE)
    if not line:
        return None
    if len(line) >= LONGEST_LINE:
        raise UserError(f"{path}, line {number}: is longer than {LONGEST_LINE:,} bytes")
    try:
        return line.decode(encoding).rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {number}: is not text in {encoding.upper()}: {error.reason}") from error
