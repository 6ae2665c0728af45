"""Terminal output and escaping: every word for a terminal, a Markdown file or an HTML page passes through here.

Titles, ids, names of files and texts of errors come from data. Here their control characters, escape sequences and
direction marks become visible, nothing in them is taken for markup, and what the terminal cannot encode is replaced.
Tables fit the terminal: a name or a number is never cut.
"""

from __future__ import annotations

import contextlib
import html as _html
import json
import re
import shlex
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TextIO

from rich.cells import cell_len

LONGEST = 60
"""Characters of a name that :func:`short` shows."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode's categories of characters that act instead of being seen: control, format (direction, zero width), ..."""
_PLAIN = {"–": "-", "—": "-", "−": "-", "±": "+-", "×": "x", "…": "...", "→": "->", "↑": "^", "↓": "v", "’": "'"}
"""Our own characters, for terminals that cannot show them."""
_NUMBER = re.compile(r"[-+−]?\d[\d.,]*(e[-+]?\d+)?%?( *(±|\+-|\[|\(|to ).*)?|[–-]||nan")
_GAP = "  "
Rows = Sequence[Sequence[str]]


def visible(text: object) -> str:
    r"""A text in one line in which nothing acts on a terminal: such characters stand as Python writes them.

    >>> print(visible("red\x1b[31m\u202eneerg\n"), visible("caf\udce9"))
    red\x1b[31m\u202eneerg\n caf\xe9
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in _HIDDEN or _is_none(c) else c for c in text)


def _is_none(character: str) -> bool:
    """Whether it is one of Unicode's noncharacters, which HTML forbids."""
    code = ord(character)
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


def counted(count: int, what: str) -> str:
    """A number with what it counts, in the singular or plural.

    >>> counted(1, "value"), counted(2_000, "test event"), counted(0, "pair of a user and a song")
    ('1 value', '2,000 test events', '0 pairs of a user and a song')
    """
    head, of, rest = what.partition(" of ")
    return f"{count:,} {head}{'s' * (count != 1)}{of}{rest}"


def short(name: object) -> str:
    """A name from data for a message: visible, and not too long."""
    text = str(name)
    return visible(text if len(text) <= LONGEST else f"{text[: LONGEST - 10]}...")


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return f"\\u{code:04x}"
    return character.encode("unicode_escape").decode("ascii")


def encodable(text: str, stream: TextIO) -> str:
    """``text`` with what ``stream`` cannot encode replaced."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        for character, plain in _PLAIN.items():
            try:
                character.encode(encoding)
            except UnicodeEncodeError:
                text = text.replace(character, plain)
        return text.encode(encoding, "replace").decode(encoding)


def say(*lines: object, end: str = "\n", flush: bool = False) -> None:
    """Print lines on stdout, made :func:`visible`: each argument is one line."""
    _write(sys.stdout, lines, end, flush)


def notify(*lines: object) -> None:
    """Print lines on stderr, made :func:`visible`: what is no result, such as warnings and errors."""
    sys.stdout.flush()  # in the order in which they were said, also where both go to one file
    _write(sys.stderr, lines, "\n", True)


_held_back: ContextVar[list[str] | None] = ContextVar("held_back", default=None)


@contextlib.contextmanager
def held_back() -> Iterator[list[str]]:
    """Print nothing within the block: the list takes the lines of :func:`notify`; those of :func:`say` are dropped."""
    lines: list[str] = []
    before = _held_back.set(lines)
    try:
        yield lines
    finally:
        _held_back.reset(before)


def _write(stream: TextIO, lines: Sequence[object], end: str, flush: bool) -> None:
    if (held := _held_back.get()) is not None:
        held += map(visible, lines) if stream is sys.stderr else ()
        return
    if lines:
        stream.write(encodable("\n".join(visible(line) for line in lines) + end, stream))
    if flush:
        stream.flush()


def no_bar(quiet: bool = False) -> bool | None:
    """For ``disable`` of a progress bar of tqdm: there is one on a terminal and in a notebook, unless ``quiet``."""
    if quiet:
        return True
    return False if "ipykernel" in sys.modules else None  # None: a bar if stderr is a terminal


def say_json(content: Any, indent: int | None = 1) -> None:
    r"""Print JSON on stdout; what acts on a terminal, or what it cannot encode, stands as ``\uXXXX`` in it."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"

    def safe(character: str) -> str:
        if character == "\n" or (character.isprintable() and _encodes(character, encoding)):
            return character
        return json.dumps(character)[1:-1]

    text = json.dumps(content, indent=indent, ensure_ascii=False)
    if not text.replace("\n", "").isprintable() or not _encodes(text, encoding):
        text = "".join(map(safe, text))
    sys.stdout.write(f"{text}\n")


def _encodes(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def next_step(*words: object) -> None:
    """Say by which command one goes on.

    >>> next_step("python", "gru4rec/recommend.py", "--run-dir", "runs/a b")
    next: python gru4rec/recommend.py --run-dir 'runs/a b'
    """
    say(f"next: {command(*words)}")


def command(*words: object) -> str:
    r"""A command as one types it into a shell (bash, zsh), in characters that are all :func:`visible`.

    >>> command("python", "seer/train.py", "--run-dir", "runs/a b")
    "python seer/train.py --run-dir 'runs/a b'"
    >>> print(command("ls", "runs/caf\udce9 \x1b[1m"))  # a name in Latin-1, and one with a control character
    ls $'runs/caf\xe9 \x1b[1m'
    """
    return " ".join(_shell_word(str(word)) for word in words)


def _shell_word(word: str) -> str:
    if visible(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(map(_in_ansi_c_quotes, word)) + "'"


def _in_ansi_c_quotes(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if visible(character) == character:
        return character
    errors = "surrogateescape" if 0xDC80 <= ord(character) <= 0xDCFF else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", errors))


def markdown(text: object) -> str:
    r"""A text for a Markdown page or table cell: no markup, no HTML, no cell ends, one line.

    >>> print(markdown("a|b <script> [x](y) `c` *d* &lt; snake_case"))
    a\|b &lt;script&gt; \[x\](y) \`c\` \*d\* &amp;lt; snake_case
    """
    text = re.sub(r"\\(?=[^\w\s])|[|`*\[\]]|~(?=~)|(?<!\w)_|_(?!\w)", r"\\\g<0>", visible(text))
    text = re.sub(r"^([#+>-]|\d+[.)])(?=\s|$)", r"\\\1", text)  # what would begin a heading or a list
    return re.sub(r"&(?=[#\w]+;)", "&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def html(text: object) -> str:
    """A text for an HTML page, within or outside an attribute."""
    return _html.escape(visible(text))


def markdown_table(columns: Sequence[str], rows: Rows) -> str:
    """A Markdown table; columns of numbers are ranged right."""
    cells = [[markdown(cell) for cell in row] for row in (columns, *rows)]
    right = [_is_numeric(column) for column in zip(*rows, strict=True)] or [False] * len(columns)
    rule = "|" + "".join("---:|" if numeric else "---|" for numeric in right)
    lines = ["|" + "|".join(f" {cell} " if cell else " " for cell in row) + "|" for row in cells]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def print_table(title: str, columns: Sequence[str], rows: Rows) -> None:
    """Print a table that is no wider than the terminal (80 columns where there is none).

    A table that is too wide is transposed, or split into several, each with the first column. A text that is too wide
    even so is broken at blanks, a number never; where that does not help, each row becomes a list.
    """
    width = max(shutil.get_terminal_size().columns, 20)
    stream = sys.stdout
    title, *columns = [encodable(visible(text), stream) for text in (title, *columns)]
    cells = [[encodable(visible(cell), stream) for cell in row] for row in rows]
    lines = [*(_wrapped(title, width) if title else []), *_laid_out(columns, cells, width)]
    stream.write("\n".join(line.rstrip() for line in lines) + "\n\n")


def _laid_out(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    needed = _needed(columns, rows, width)
    if _total(needed) <= width:
        return _rendered(columns, rows, width)
    turned = [list(row) for row in zip(columns[1:], *(row[1:] for row in rows), strict=True)]
    head = [columns[0], *(row[0] for row in rows)]
    if (
        rows
        and len(rows) < len(columns) - 1
        and _total([max(map(cell_len, columns)), *map(cell_len, head[1:])]) <= width
    ):
        return _rendered(head, turned, width)
    if any(_total([needed[0], other]) > width for other in needed[1:]):
        return _lists(columns, rows)
    lines: list[str] = []
    rest = list(range(1, len(columns)))
    while rest:
        group = [0]
        while rest and _total([needed[place] for place in (*group, rest[0])]) <= width:
            group.append(rest.pop(0))
        lines += [""] * bool(lines)
        lines += _rendered([columns[i] for i in group], [[row[i] for i in group] for row in rows], width)
    return lines


def _needed(columns: Sequence[str], rows: Rows, width: int) -> list[int]:
    """The least width of each column: that of its cells, or of their longest word if they are too wide beside a name.

    Headings are broken at blanks.
    """
    whole, words = [], []
    for place, column in enumerate(columns):
        cells = [row[place] for row in rows]
        texts = cells if _is_numeric(cells) else [word for cell in cells for word in cell.split(" ")]
        head = max(map(cell_len, column.split(" ")))
        whole.append(max(head, *map(cell_len, cells), 0))
        words.append(max(head, *map(cell_len, texts), 0))
    first = whole[0] if all(_total([whole[0], other]) <= width for other in words[1:]) else words[0]
    fits = [_total([first, one]) <= width for one in whole[1:]]
    others = [one if fit else least for one, least, fit in zip(whole[1:], words[1:], fits, strict=True)]
    return [first, *others]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _is_numeric(cells: Sequence[str]) -> bool:
    return any(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)


def _rendered(columns: list[str], rows: list[list[str]], width: int) -> list[str]:
    widths = _needed(columns, rows, width)
    wanted = [max(cell_len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    for _ in range(width - _total(widths)):  # what is left goes to where most is missing
        missing = [want - has for want, has in zip(wanted, widths, strict=True)]
        if max(missing) <= 0:
            break
        widths[missing.index(max(missing))] += 1
    right = [_is_numeric([row[place] for row in rows]) for place in range(len(columns))]
    lines: list[str] = []
    for row in (columns, *rows):
        parts = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for number in range(max(map(len, parts))):
            shown = [part[number] if number < len(part) else "" for part in parts]
            blanks = [" " * (size - cell_len(text)) for text, size in zip(shown, widths, strict=True)]
            lines.append(_GAP.join(b + t if r else t + b for t, b, r in zip(shown, blanks, right, strict=True)))
        if row is columns:
            lines.append(_GAP.join("-" * size for size in widths))
    return lines


def _lists(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = []
    for row in rows:
        lines.append(f"{columns[0]}: {row[0]}" if columns[0] else row[0])
        lines += [f"  {column}: {cell}" for column, cell in zip(columns[1:], row[1:], strict=True)]
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of words, each as wide as ``width`` at most unless a single word is wider."""
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(joined) <= width or not lines[-1]:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
