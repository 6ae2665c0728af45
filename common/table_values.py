"""Kinds of columns of a table: what is allowed in them, and the SQL that checks their text and gives their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Kind = Literal["text", "id", "integer", "number", "flag", "date", "time"]
LONGEST_ID = 500
"""Characters."""
_UNITS = (("milliseconds", 1e3), ("microseconds", 1e6), ("nanoseconds", 1e9))
_DIGITS = ((19000101, 21000101), (19000101000000, 21000101000000))
"""Numbers that may be dates, or dates with times, of two centuries."""
_FIRST, _LAST = 1e8, 4.2e9
"""Seconds: times of 1973 to 2103 can be told to be in seconds, milliseconds, ... by their size."""


@dataclass(frozen=True)
class Column:
    """What a column must hold."""

    kind: Kind
    """text; id (of at most 500 characters, 101.0 being 101 in a column of integers); integer; number (finite); flag
    (true or false in any case, or 1 or 0); date (2018-07-15); time (a number of seconds or of smaller units since
    some start, or ISO 8601)."""
    low: float = -np.inf
    high: float = np.inf
    """Smallest and largest integer or number allowed."""
    choices: tuple[str, ...] = ()
    """The texts allowed; any if empty."""
    names: tuple[str, ...] = ()
    """Names in the file, of which the first that is there is taken; the key of the column if empty."""
    required: bool = True
    """Whether a file without the column is refused; else frames have the column only if a file has it."""
    empty: bool = False
    """Whether a value may be missing: "" in text and id, NaN in integer (then float64), number and time."""

    @property
    def expected(self) -> str:
        """What an error message says."""
        bounds = f" in {self.low:.15g}..{self.high:.15g}" if np.isfinite([self.low, self.high]).all() else ""
        if not bounds and np.isfinite(self.low):
            bounds = f" of {self.low:.15g} or more"
        words = {
            "text": "a text",
            "id": f"an id of 1 to {LONGEST_ID} characters",
            "integer": f"an integer{bounds}",
            "number": f"a number{bounds}",
            "flag": "true or false",
            "date": "a date such as 2018-07-15",
            "time": "a time: a number, in one unit in all rows, or a text such as 2018-07-15T06:30:00Z",
        }
        return (" or ".join(self.choices) or words[self.kind]) + (", or nothing" if self.empty else "")


def quoted(name: str) -> str:
    """A name as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL takes it."""
    return "'" + text.replace("'", "''") + "'"


def at_once(text: str, column: Column) -> str | None:
    """SQL: the value of ``text``, an expression, NULL if it is wrong; None where a value cannot be judged by itself.

    That is so where values may be missing, and where the whole column tells what they are.
    """
    if column.empty or column.choices or column.kind in ("text", "id", "time"):
        return None
    value, fine = _value_and_check(text, column)
    return f"CASE WHEN {fine} THEN {value} END"


def reading(database: DuckDBPyConnection, table: str, name: str, column: Column) -> tuple[str, str, str]:
    """SQL for the values of a column of texts in ``table``, SQL for whether one is wrong, and what was recognised."""
    text, note = quoted(name), ""
    if column.kind == "id":
        value, note = _id(database, table, name)
        fine = f"length({text}) <= {LONGEST_ID} AND NOT contains({text}, chr(0))"
    elif column.kind == "time":
        value, fine, note = _time(database, table, name)
    else:
        value, fine = _value_and_check(text, column)
    if column.choices:
        fine = f"{text} IN ({', '.join(map(literal, column.choices))})"
    wrong = f"NOT coalesce({fine}, false)"
    if column.empty:
        if column.kind not in ("text", "id"):
            value = f"CASE WHEN {text} <> '' THEN {value} END"
        return value, f"{text} <> '' AND {wrong}", note
    return value, f"({text} = '' OR {wrong})", note


def _value_and_check(text: str, column: Column) -> tuple[str, str]:
    value, fine = _VALUES[column.kind](text)
    if column.kind in ("integer", "number"):
        low, high = max(column.low, -1e300), min(column.high, 1e300)
        fine += f" AND ({value}) BETWEEN {low!r} AND {high!r}"
    return value, fine


def _id(database: DuckDBPyConnection, table: str, name: str) -> tuple[str, str]:
    text = quoted(name)
    dotted, others, example = database.execute(
        f"SELECT count(*) FILTER (WHERE ends_with({text}, '.0')), "
        f"count(*) FILTER (WHERE NOT ends_with({text}, '.0') AND {text} <> ''), "
        f"min({text}) FILTER (WHERE ends_with({text}, '.0')) FROM {table}"
    ).fetchone() or (0, 0, "")
    if not dotted:
        return text, ""
    strange = f"{text} <> '' AND NOT regexp_full_match({text}, '[+-]?[0-9]+([.]0)?')"
    if database.execute(f"SELECT 1 FROM {table} WHERE {strange} LIMIT 1").fetchone():
        return text, ""
    kind = "integers, some with .0" if others else "integers with .0"
    note = f"the values of {name} are all {kind}; those such as {example} are read as {example[:-2]}"
    return f"CASE WHEN ends_with({text}, '.0') THEN {text}[:-3] ELSE {text} END", note


def _time(database: DuckDBPyConnection, table: str, name: str) -> tuple[str, str, str]:
    text = quoted(name)
    number, fine = _number(text)
    numbers, texts, largest, smallest = database.execute(
        f"SELECT count(*) FILTER (WHERE {fine}), "
        f"count(*) FILTER (WHERE NOT coalesce({fine}, false) AND {text} <> ''), "
        f"max(abs({number})) FILTER (WHERE {fine}), "
        f"min(abs({number})) FILTER (WHERE {fine} AND abs({number}) >= {_FIRST!r}) FROM {table}"
    ).fetchone() or (0, 0, 0.0, 0.0)
    if texts and texts >= numbers:
        iso = _iso(text)
        return iso, f"({iso}) IS NOT NULL", f"the times in {name} are texts; those without an offset are UTC"
    if numbers and any(low <= largest < high for low, high in _DIGITS):
        digits = _compact(text)
        others = f"SELECT 1 FROM {table} WHERE {text} <> '' AND ({digits}) IS NULL LIMIT 1"
        if not database.execute(others).fetchone():
            return digits, f"({digits}) IS NOT NULL", f"the times in {name} are dates such as {int(largest)}, in UTC"
    if not numbers or largest < _FIRST * 1e3:
        return number, fine, ""
    for unit, per_second in _UNITS:
        if _FIRST * per_second <= largest <= _LAST * per_second:
            if smallest < _FIRST * per_second:  # such as a row in seconds among others in milliseconds
                fine += f" AND NOT (abs({number}) >= {_FIRST!r} AND abs({number}) < {_FIRST * per_second!r})"
            return f"({number}) / {per_second!r}", fine, f"the times in {name} are in {unit}"
    beyond = f"taken for seconds, although the largest, {largest:.15g}, is thousands of years away"
    return number, fine, f"the times in {name} are {beyond}"


def _compact(text: str) -> str:
    """SQL: seconds since 1970 of 20180715 and 20180715063000, as ISO 8601 writes them without marks between."""
    found = f"coalesce(try_strptime({text}, '%Y%m%d'), try_strptime({text}, '%Y%m%d%H%M%S'))"
    return f"CASE WHEN regexp_full_match({text}, '(19|20)[0-9]{{6}}([0-9]{{6}})?') THEN epoch({found}) END"


NOTHING = {
    "text": "''",
    "id": "''",
    "integer": "NULL::BIGINT",
    "number": "NULL::DOUBLE",
    "flag": "NULL::BOOLEAN",
    "date": "NULL::DATE",
    "time": "NULL::DOUBLE",
}


def _integer(text: str) -> tuple[str, str]:
    """DuckDB alone would take 1.5, 0x1 and 1_0 too."""
    value = f"TRY_CAST(trim({text}) AS BIGINT)"
    return value, f"({value}::VARCHAR = {text} OR regexp_full_match({text}, ' *[+-]?[0-9]+ *'))"


def _number(text: str) -> tuple[str, str]:
    value = f"TRY_CAST({text} AS DOUBLE)"
    return value, f"isfinite({value}) AND NOT contains({text}, '_')"


def _flag(text: str) -> tuple[str, str]:
    return f"lower({text}) IN ('true', '1')", f"lower({text}) IN ('true', 'false', '1', '0')"


def _date(text: str) -> tuple[str, str]:
    value = f"TRY_CAST({text} AS DATE)"
    return value, f"length({text}) = 10 AND ({value})::VARCHAR = {text}"


def _iso(text: str) -> str:
    """SQL: seconds since 1970; DuckDB alone would not look at the offset behind a time."""
    day, clock, offset = (
        "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        "[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?",
        "[+-](?:[01][0-9]|2[0-3])",
    )
    form = f"({day})([T ]({clock}) ?(Z|UTC|({offset}:?([0-5][0-9])?))?)?"
    start = f"epoch(TRY_CAST(regexp_extract({text}, '^{day}([T ]{clock})?') AS TIMESTAMP))"
    behind = f"regexp_extract({text}, '{clock} ?({offset}):?([0-9]{{2}})?$', 3)"
    minutes = f"regexp_extract({text}, '{clock} ?({offset}):?([0-9]{{2}})$', 4)"
    sign = f"(CASE WHEN starts_with({behind}, '-') THEN -1 ELSE 1 END)"
    seconds = (
        f"({sign} * (3600 * abs(coalesce(TRY_CAST({behind} AS INTEGER), 0)) "
        f"+ 60 * coalesce(TRY_CAST({minutes} AS INTEGER), 0)))"
    )
    return f"CASE WHEN regexp_full_match({text}, '{form}') THEN {start} - {seconds} END"


_VALUES: dict[str, Any] = {
    "text": lambda text: (text, "true"),
    "integer": _integer,
    "number": _number,
    "flag": _flag,
    "date": _date,
}


def one_of(names: Sequence[str]) -> str:
    """The names that a column may have, for messages.

    >>> one_of(["user", "user_id"]), one_of(["time", "ts", "when", "played_at"])
    ('user or user_id', 'time (or ts, when, ...)')
    """
    return " or ".join(names) if len(names) <= 3 else f"{names[0]} (or {', '.join(names[1:3])}, ...)"
