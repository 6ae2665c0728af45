"""Text of delimited tables (csv, tsv): checked and normalised byte by byte, so that no row is ever swallowed or split.

:class:`TextScan` turns the bytes of a file into rows that a reader without any notion of quoting splits rightly: every
row ends in a line feed, and a separator or line end inside of quotes is written as an escape. It counts the rows, so
that what is read afterwards can be compared with what is there. Text that is in order passes at the speed of a few
searches for single bytes; only blocks with quotes, carriage returns or blank lines are rewritten.

The rules, which :mod:`common.tables` promises to all papers:

- A quotation mark that opens a value is closed directly before the next separator or line end; inside, two stand for
  one. Anything else is an error at the line on which it opens. Within a value that does not begin with one, it is a
  character like any other; and a value such as ``"A" and "B"``, which nobody who quotes would write, is as it stands.
- A line end inside of quotes is allowed only where the format says so, and never where the lines that the value spans
  all look like rows of their own.
- Lines end in LF, CRLF or, if the first line does, in CR alone. A CR elsewhere is a character of its value.
- A line of nothing but separators, blanks and tabs is blank: it is counted, and is no row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, NoReturn

from common.console import counted
from common.options import UserError, require
from common.table_sources import Source, open_source, telling_damage
from common.table_values import one_of

LONGEST_LINE = 2**20
"""Bytes; a file without line ends would fill the memory."""
BLOCK = 2**20
"""Bytes read at a time."""
SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars", " ": "blanks"}
_ESCAPE = b"\x10"
_MARK = re.compile(rb"(?:^|(?<=[\n\r]))\xef\xbb\xbf")
_CODES = {"n": "\n", "r": "\r", "s": "", "p": "\x10"}
"""What the letter behind an escape stands for; s is the separator."""


@dataclass(frozen=True)
class Layout:
    """How a file is laid out."""

    names: tuple[str, ...]
    """Of all columns."""
    separator: str
    """One ASCII character."""
    header: bool
    """Whether the first line names the columns."""
    quotes: bool = True
    """Whether values may be quoted."""
    multiline: bool = False
    """Whether quoted values may hold line ends."""
    cr: bool = False
    """Whether lines end in carriage returns alone."""

    @property
    def told(self) -> str:
        """The separator in words."""
        return SEPARATORS.get(self.separator, repr(self.separator))


@dataclass
class TextScan:
    """One pass over the bytes of a table."""

    source: Source
    stream: IO[bytes]
    layout: Layout
    head: bytes = b""
    """What has been read from the stream already, without a byte order mark."""
    rows: int = 0
    """Rows so far, without the header."""
    blanks: int = 0
    """Blank lines so far."""
    separators: int = 0
    """Separators between the values so far."""
    longest: int = 0
    """Bytes of the longest block, in which the longest row is."""
    escaped: bool = False
    """Whether the rewritten text holds escapes."""
    _lines: int = 0  # before the block in hand
    _quoted: re.Pattern[bytes] = field(init=False, repr=False)
    _plain: re.Pattern[bytes] = field(init=False, repr=False)
    _not_plain: re.Pattern[bytes] = field(init=False, repr=False)
    _blank: re.Pattern[bytes] = field(init=False, repr=False)
    _doubtful: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        separator = re.escape(self.layout.separator.encode())
        ends = rb"\n\r" if self.layout.cr else rb"\n"
        starts = rb'"(?<![^' + separator + ends + rb']")'  # a mark at the start of a value
        stops = rb'"(?=[' + separator + ends + rb"]" + (rb")" if self.layout.cr else rb"|\r\n)")
        one = rb'[^"]*+' if self.layout.multiline else rb'[^"' + ends + rb"]*+"
        content = one + rb'(?:""' + one + rb")*+"  # possessive: a mark is never given back
        plain = rb'[^"\n\r\x10' + separator + rb"]*+"
        as_it_stands = rb'(?:[^"\n\r' + separator + rb']|"")*+"[^\n\r' + separator + rb']++(?<=")'
        self._quoted = re.compile(
            starts
            + rb"(?:(" + content + rb")" + stops
            + rb"|(" + as_it_stands + rb")(?=[" + separator + rb"\n\r])"
            + rb"|" + content + rb"(\Z)?)"
        )  # fmt: skip
        self._plain = re.compile(starts + rb"(" + plain + rb")" + stops)
        self._not_plain = re.compile(starts + rb"(?!" + plain + stops + rb")")
        self._blank = re.compile(rb"\n[ \t" + separator + rb"]*+(?=\n)")
        self._doubtful = tuple({b"\n ", b"\n\t", b"\n\n", b"\n" + self.layout.separator.encode()})

    def blocks(self) -> Iterator[tuple[bytes, bool]]:
        """The rows as normalised text, whole rows in each block; and whether the block differs from the file's.

        Raises:
            UserError: a row is broken; the message names its line.
        """
        for block in self._raw_blocks():
            if self._in_order(block):
                text, changed = block, False
            else:
                text, changed = self._rewritten(block), True
                if self._may_hold_blanks(text):
                    text, blank = self._blank.subn(b"", b"\n" + text)
                    text, self.blanks = text[1:], self.blanks + blank
            self.longest = max(self.longest, len(text))
            self.rows += text.count(b"\n")
            self.separators += text.count(self.layout.separator.encode())
            self._lines += self._count_lines(block)
            if text:
                yield text, changed

    def numbered_rows(self) -> Iterator[tuple[int, list[str]]]:
        """The line on which each row begins, counted from 1, and its values: slow, for messages."""
        separator = self.layout.separator.encode()
        for block in self._raw_blocks():
            line, text = self._lines + 1, self._rewritten(block)
            for row in text[:-1].split(b"\n"):
                if not self._blank.match(b"\n" + row + b"\n"):
                    yield line, [self._decoded(value) for value in row.split(separator)]
                line += 1 + row.count(b"\x10n") + (row.count(b"\x10r") if self.layout.cr else 0)
            self._lines += self._count_lines(block)

    def _raw_blocks(self) -> Iterator[bytes]:
        """The bytes of the file, cut where a row ends; without the header."""
        end = b"\r" if self.layout.cr else b"\n"
        held, header = self.head, self.layout.header
        while True:
            with telling_damage(self.source.path):
                read = self.stream.read(BLOCK)
            held += read
            if header and held:
                place = held.find(end)
                if place < 0 and read:
                    self._require_short(len(held))
                    continue
                place = place if place >= 0 else len(held) - 1
                if self.layout.cr and held[place + 1 : place + 2] == b"\n":
                    place += 1
                held, header = held[place + 1 :], False
                self._lines = 1
            if not read:
                break
            cut = held.rfind(end) + 1
            if self.layout.cr and cut == len(held):  # perhaps the half of a CRLF
                cut = held.rfind(end, 0, cut - 1) + 1 if cut else 0
            if self.layout.quotes and self.layout.multiline and cut:
                cut = self._whole_rows(held, cut)
            self._require_short(len(held) - cut)
            if cut:
                block, held = held[:cut], held[cut:]
                yield self._text(block)
        if held:
            yield self._text(held if held.endswith((b"\n", end)) else held + end)

    def _whole_rows(self, held: bytes, cut: int) -> int:
        """``cut``, or 0 if a quoted value is still open there."""
        if b'"' not in held:
            return cut
        for found in self._quoted.finditer(held, 0, cut):
            if found[3] is not None:
                return 0
        return cut

    def _require_short(self, length: int) -> None:
        require(
            length <= LONGEST_LINE + BLOCK * self.layout.multiline,
            f"{self.source}, line {self._lines + 1} or after: a line, or a quoted value, has more than "
            f"{LONGEST_LINE:,} bytes; mend it",
        )

    def _text(self, block: bytes) -> bytes:
        if not block.isascii():
            try:
                block.decode()
            except UnicodeDecodeError as error:
                self._fail(block, error.start, "is not UTF-8 text; save the file in UTF-8")
            if found := _MARK.search(block):  # of files put one behind the other
                self._fail(block, found.end(), "begins with a byte order mark (U+FEFF) within the file; remove it")
        if (place := block.find(b"\0")) >= 0:
            self._fail(block, place, "holds a NUL character; is the file UTF-16 text, or damaged?")
        return block

    def _count_lines(self, block: bytes) -> int:
        ends = block.count(b"\n")
        return ends + block.count(b"\r") - block.count(b"\r\n") if self.layout.cr else ends

    def _fail(self, block: bytes, place: int, message: str) -> NoReturn:
        line = self._lines + 1 + self._count_lines(block[:place])
        raise UserError(f"{self.source}, line {line}: {message}")

    def _in_order(self, block: bytes) -> bool:
        """Whether the block is as it must be already."""
        return not (
            b"\r" in block
            or _ESCAPE in block
            or (self.layout.quotes and b'"' in block)
            or self._may_hold_blanks(block)
            or (self.layout.cr and b"\n" in block)
        )

    def _may_hold_blanks(self, block: bytes) -> bool:
        return block.startswith(tuple(start[1:] for start in self._doubtful)) or any(
            start in block for start in self._doubtful
        )

    def _rewritten(self, block: bytes) -> bytes:
        """The block with LF at the ends of rows, no quoting, and escapes; blank lines are still there."""
        text = block
        if _ESCAPE in text:
            text = text.replace(_ESCAPE, b"\x10p")
            self.escaped = True
        if self.layout.quotes and b'"' in text:
            if self._not_plain.search(text):
                text = self._quoted.sub(self._unquoted, text)
            else:  # no value holds a separator, so that each mark found is one that opens or closes a value
                text = self._plain.sub(rb"\1", text)
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
            if self.layout.cr:
                text = text.replace(b"\r", b"\n")
            elif b"\r" in text:
                require(
                    len(self.layout.names) > 1,
                    f"{self.source}: has lines that end in carriage returns among others; save it with one line end",
                )
                text = text.replace(b"\r", b"\x10r")
                self.escaped = True
        return text

    def _unquoted(self, found: re.Match[bytes]) -> bytes:
        """The content of a quoted value, what has a meaning in it escaped."""
        block, content, separator = found.string, found[1], self.layout.separator.encode()
        if found[2] is not None:
            return found[0]
        if content is None:
            start = block[found.start() : found.start() + 40].replace(b"\x10p", _ESCAPE)
            told = re.split(rb"[\n\r]", start)[0].decode("utf-8", "ignore")
            self._fail(
                block,
                found.start(),
                f"a quotation mark opens a value, {told!r}, and is not closed directly before the next separator or "
                "line end; close it, or write a mark that belongs to the text twice and quote the value",
            )
        if (b"\r" if self.layout.cr else b"\n") in content:
            self._check_swallowed(found)
        if b'"' in content:
            content = content.replace(b'""', b'"')
        for letter, character in ((b"n", b"\n"), (b"r", b"\r"), (b"s", separator)):
            if character in content:
                content = content.replace(character, _ESCAPE + letter)
                self.escaped = True
        return content

    def _check_swallowed(self, found: re.Match[bytes]) -> None:
        """A value over several lines is refused if these look like rows of their own."""
        block, least, end = found.string, len(self.layout.names) - 1, b"\r" if self.layout.cr else b"\n"
        first = block.rfind(end, 0, found.start()) + 1
        last = block.find(end, found.end())
        lines = block[first : last if last >= 0 else len(block)].split(end)
        separator = self.layout.separator.encode()
        full = [line.count(separator) >= least for line in lines]
        if least and (any(full[1:-1]) or all(full)):
            self._fail(
                block,
                found.start(),
                f"a quoted value goes on over {len(lines)} lines that look like rows; close or remove the mark",
            )

    def _decoded(self, value: bytes) -> str:
        text = value.decode("utf-8", "replace")
        codes = _CODES | {"s": self.layout.separator}
        return re.sub("\x10([nrsp])", lambda found: codes[found[1]], text) if "\x10" in text else text


def decoding(column: str, separator: str) -> str:
    """SQL: the text of ``column``, an expression, with the escapes of :class:`TextScan` undone."""
    for letter, code in (("n", 10), ("r", 13), ("s", ord(separator)), ("p", 16)):
        column = f"replace({column}, chr(16) || '{letter}', chr({code}))"
    return column


def read_layout(
    source: Source,
    stream: IO[bytes],
    wanted: Sequence[Sequence[str]],
    *,
    header: Sequence[str] | None,
    separator: str | None,
    quotes: bool,
    multiline: bool,
) -> tuple[Layout, bytes]:
    """Read the first line of a table; returns its layout and the bytes that were read.

    Args:
        wanted: the names of the columns that must be there, of which any will do for each.
        header: the names of all columns of a file without a header line.
        separator: one ASCII character, or None: the one that fits the first line.

    Raises:
        UserError: the file is empty or its first line is not as it must be.
    """
    with telling_damage(source.path):
        head = stream.read(BLOCK)
        while len(head) <= LONGEST_LINE and not (b"\n" in head or b"\r" in head) and (more := stream.read(BLOCK)):
            head += more
    require(
        not head.startswith((b"\xff\xfe", b"\xfe\xff")), f"{source}, line 1: is UTF-16 text; save the file in UTF-8"
    )
    head = head.removeprefix(b"\xef\xbb\xbf")
    first = re.split(rb"[\r\n]", head, maxsplit=1)[0]
    rest = head[len(first) : len(first) + 2]
    cr = rest[:1] == b"\r" and len(rest) == 2 and rest != b"\r\n"
    require(len(first) <= LONGEST_LINE, f"{source}, line 1: has more than {LONGEST_LINE:,} bytes; is it a table?")
    expected = "the names of the columns" if header is None else counted(len(header), "value")
    require(b"\0" not in first, f"{source}, line 1: holds a NUL character; expected {expected} as UTF-8 text")
    if header is None or head:
        require(bool(first.strip()), f"{source}, line 1: is empty; expected {expected}")
    try:
        line = first.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{source}, line 1: expected {expected} as UTF-8 text") from error
    usual = "\t" if source.name.endswith((".tsv", ".txt", ".tab")) else ","
    candidates = [separator] if separator else sorted(SEPARATORS, key=lambda one: one != usual)

    def parts(one: str) -> list[str]:
        if not quotes:
            return line.split(one)
        try:
            return next(csv.reader([line], delimiter=one, strict=True), [])
        except csv.Error as error:
            if len(candidates) > 1:
                return []
            raise UserError(f"{source}, line 1: expected {expected}; a quotation mark is not closed") from error

    if header is not None:
        fitting = [one for one in candidates if len(parts(one)) == len(header)]
        chosen = (fitting or candidates)[0]
        return Layout(tuple(header), chosen, False, quotes, multiline and chosen != "\t", cr), head
    fitting = [one for one in candidates if all(any(name in parts(one) for name in names) for names in wanted)]
    chosen = max(fitting, key=lambda one: len(parts(one))) if fitting else candidates[0]
    names = parts(chosen)
    missing = [one_of(choices) for choices in wanted if not any(name in names for name in choices)]
    if missing:
        told = f"{source}, line 1: the column{'s' * (len(missing) > 1)} {', '.join(missing)} "
        told += f"{'are' if len(missing) > 1 else 'is'} missing among {', '.join(names)[:500]}"
        others = {len(parts(one)): one for one in SEPARATORS if len(parts(one)) > 1}
        if len(names) == 1 and others:
            told += f"; its values seem to be separated by {SEPARATORS[others[max(others)]]}"
        elif len(names) == 1:
            told += f"; expected values separated by {SEPARATORS.get(chosen, repr(chosen))}"
        raise UserError(told)
    twice = [name for choices in wanted for name in choices if names.count(name) > 1]
    require(not twice, f"{source}, line 1: names the column {', '.join(twice)} twice")
    return Layout(tuple(names), chosen, True, quotes, multiline and chosen != "\t", cr), head


def line_of(source: Source, layout: Layout, row: int) -> tuple[int, list[str]]:
    """The line on which a row of the table begins, and the values of the row; reads the file up to there."""
    with open_source(source) as stream:
        scan = TextScan(source, stream, layout, _without_mark(stream))
        for number, found in enumerate(scan.numbered_rows()):
            if number == row:
                return found
    return 0, []


def raise_broken_row(source: Source, layout: Layout) -> None:
    """Read the file row by row and raise a UserError for the first row with too few or too many values, if any."""
    with open_source(source) as stream:
        for line, values in TextScan(source, stream, layout, _without_mark(stream)).numbered_rows():
            require(
                len(values) == len(layout.names),
                f"{source}, line {line}: has {counted(len(values), 'value')}; expected {len(layout.names)}, one for "
                f"each column, separated by {layout.told}",
            )


def _without_mark(stream: IO[bytes]) -> bytes:
    return stream.read(3).removeprefix(b"\xef\xbb\xbf")
