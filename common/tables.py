"""Tables that a user hands over (csv, tsv, Parquet, JSON lines, data frames), read and checked on DuckDB.

    columns = {"user": Column("id", names=("user", "user_id")), "plays": Column("integer", 1, 10**9)}
    with open_table(folder / "plays.tsv.gz", columns) as table:
        console.say(*table.notes)                   # what was recognised, for the console and the report
        for frame in table.chunks():                # pandas; the index is the number of the row, from 0
            wrong = frame.index[~frame.user.isin(known)]
            if len(wrong):
                raise table.error(wrong[0], "the user is not in users.tsv")     # "plays.tsv.gz, line 17: the user ..."

Sources: a file (csv, tsv, any separator; plain, ``.gz``, ``.zst``, ``.zip``; Parquet; JSON lines), a member of a tar
archive, a pattern, a folder, a list of them, or a pandas, Polars or Arrow table. Only the declared columns are read.

What a caller may rely on:

- Every value of a frame has the declared kind and bounds; all else ends in a UserError that names file, line and value.
- ``table.rows`` is the number of rows in the files, counted byte by byte beside the reading and compared with it.
  Blank lines are no rows; ``table.files`` has both for each file, and :class:`common.row_counts.RowCounts` takes them.
- The quoting rules are those of :mod:`common.table_text`. Formats without quoting are read with ``quotes=False``: a
  mark is a character there. Values over several lines need ``multiline=True`` (RFC 4180), and no tabs as separators.
- Texts are as they stand: NA, nan, null, blanks and zeros in front are text. Only where a whole column of ``id`` is of
  integers, some or all with ``.0`` (a column of pandas with gaps), that ``.0`` is dropped, and ``notes`` says so.
- Times are seconds since 1970 (UTC) in a float64. Milliseconds, microseconds and nanoseconds are recognised by their
  size and ISO 8601 texts by their form; ``notes`` says which.

Memory is bounded: the columns wanted lie in a DuckDB table that moves to the disk when it grows beyond a gigabyte. Its
typed rows are the view ``table.name`` of ``table.database``, with the columns and ``row``, for joins and counts in SQL.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.options import UserError, require
from common.row_counts import short
from common.table_sources import Source, find_sources, is_archive, open_source, telling_damage
from common.table_text import LONGEST_LINE, TextScan, decoding, line_of, raise_broken_row, read_layout
from common.table_values import LONGEST_ID as LONGEST_ID
from common.table_values import NOTHING, Column, at_once, literal, one_of, quoted, reading

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

ROWS = 250_000
"""Rows in a frame of :meth:`Table.chunks`."""
MEMORY, SCRATCH_MEMORY = "1GB", "512MB"
"""That DuckDB may use, also where ``scratch`` is given; it moves what does not fit to the disk."""
_VIEW_ROWS = 2048
"""Rows in a vector of DuckDB."""
_number = itertools.count()


@dataclass(frozen=True)
class TableFile:
    """A file of a table."""

    name: str
    """The path, and the member of an archive."""
    rows: int
    blanks: int
    """Blank lines, which are no rows."""
    first: int
    """The number of its first row in the table."""


@dataclass
class Table:
    """The checked rows of one or several files; see the module. Close it, or use it in a ``with`` block."""

    columns: dict[str, Column]
    """Those that are there."""
    database: DuckDBPyConnection
    name: str
    """The view with the typed columns and ``row``."""
    files: list[TableFile] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was recognised, a sentence each, for the console and the report."""
    named: dict[str, str] = field(default_factory=dict)
    """Column -> its name in the file that was read last."""
    _close: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)
    _tellers: list[Any] = field(default_factory=list, repr=False)

    @property
    def rows(self) -> int:
        """Rows in all files."""
        return sum(file.rows for file in self.files)

    def __len__(self) -> int:
        return self.rows

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give memory and disk back."""
        self._close.close()

    def frame(self) -> pd.DataFrame:
        """All rows."""
        frames = list(self.chunks(max(self.rows, 1)))
        return frames[0] if len(frames) == 1 else pd.concat(frames)

    def chunks(self, rows: int = ROWS) -> Iterator[pd.DataFrame]:
        """The rows in the order of the files, in frames of about ``rows`` rows; one empty frame if there is none."""
        names = ", ".join(map(quoted, self.columns))
        cursor = self.database.cursor()
        result = cursor.execute(f"SELECT {names} FROM {self.name}")
        done = 0
        while len(frame := result.fetch_df_chunk(-(-rows // _VIEW_ROWS))) or not done:
            frame = self._as_declared(frame)
            frame.index = pd.RangeIndex(done, done + len(frame))
            done += len(frame)
            if done > self.rows or (not len(frame) and self.rows):
                break
            yield frame
            if not len(frame):
                return
        require(done == self.rows, f"{self.files[0].name}: {done:,} of {self.rows:,} rows could be read back")

    def _as_declared(self, frame: pd.DataFrame) -> pd.DataFrame:
        for name, column in self.columns.items():
            if column.kind in ("text", "id") and frame[name].dtype != object:
                frame[name] = frame[name].astype(object)
            elif column.kind in ("integer", "number", "time") and column.empty:
                frame[name] = frame[name].astype("float64")
        return frame

    def numbered(self, column: str) -> tuple[NDArray[np.int32], list[str]]:
        """The number of each row's text in a column of text or ids, from 0 in the order in which the rows first name
        them, (rows,); and the texts by number.
        """
        name, numbers = quoted(column), f"{self.name}_numbers_{next(_number)}"
        self.database.execute(
            f"CREATE TABLE {numbers} AS SELECT text, row_number() OVER (ORDER BY first) - 1 AS number "
            f"FROM (SELECT {name} AS text, min(row) AS first FROM {self.name} GROUP BY {name})"
        )
        query = f"SELECT row, number FROM {self.name} JOIN {numbers} ON {name} = text"
        found = self.database.execute(query).fetchnumpy()
        numbered = np.empty(self.rows, np.int32)
        numbered[np.asarray(found["row"])] = found["number"]
        texts = self.database.execute(f"SELECT text FROM {numbers} ORDER BY number").fetchnumpy()["text"]
        self.database.execute(f"DROP TABLE {numbers}")
        return numbered, np.asarray(texts, dtype=object).tolist()

    def values(self, column: str) -> NDArray[Any]:
        """The values of a column of numbers, flags or times without missing ones, (rows,)."""
        query = f"SELECT {quoted(column)} AS value FROM {self.name}"
        return np.asarray(self.database.execute(query).fetchnumpy()["value"])

    def count(self, condition: str) -> int:
        """The rows for which an SQL ``condition`` on the columns holds."""
        found = self.database.execute(f"SELECT count(*) FROM {self.name} WHERE {condition}").fetchone()
        return int(found[0]) if found else 0

    def where(self, row: int) -> str:
        """File and line of a row, for messages; the file is read again up to there."""
        place = next(place for place, file in enumerate(self.files) if row < file.first + file.rows)
        return str(self._tellers[place](int(row) - self.files[place].first))

    def error(self, row: int, message: str) -> UserError:
        """An error about a row, which names its file and line."""
        return UserError(f"{self.where(row)}: {message}")


def connect(scratch: Path | None = None) -> tuple[DuckDBPyConnection, Path, contextlib.ExitStack]:
    """A database in memory that moves what does not fit to ``scratch``; a folder for files; and what closes both.

    Without ``scratch`` all tables of this process share a database, as opening one takes 20 ms.
    """
    stack = contextlib.ExitStack()
    if scratch is None:
        database, home = _shared(os.getpid())
        cursor = database.cursor()
        stack.callback(cursor.close)
        return cursor, Path(stack.enter_context(_temporary(home))), stack
    folder = stack.enter_context(_temporary(scratch))
    database = _new_database(folder, SCRATCH_MEMORY)
    stack.callback(database.close)
    return database, Path(folder), stack


def _temporary(folder: Path | str | None) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=".tables-", dir=folder, ignore_cleanup_errors=True)


@functools.cache
def _shared(process: int) -> tuple[DuckDBPyConnection, str]:
    """The database of this process (a child by fork needs its own) and its folder, until the process ends."""
    folder = _temporary(None)
    atexit.register(_end, folder, process)
    return _new_database(folder.name, MEMORY), folder.name


def _end(folder: tempfile.TemporaryDirectory[str], process: int) -> None:
    if os.getpid() == process:
        folder.cleanup()


def _new_database(folder: str, memory: str) -> DuckDBPyConnection:
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": memory,
        "temp_directory": folder,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    database = duckdb.connect(config=settings)
    database.execute("SET enable_progress_bar = false")  # it would go to the standard output
    return database


def open_table(
    source: Any,
    columns: Mapping[str, Column],
    *,
    header: Sequence[str] | None = None,
    separator: str | None = None,
    quotes: bool = True,
    multiline: bool = False,
    scratch: Path | None = None,
    stream: IO[bytes] | None = None,
) -> Table:
    """Read and check a table; see the module for what may be relied on.

    Args:
        source: a path, a folder, a pattern, a :class:`Source`, a list of them, or a pandas, Polars or Arrow table.
        columns: the name in frames of each column that is wanted, and what it must hold.
        header: text: the names of all columns of a file without a header line.
        separator: text: one ASCII character; None takes the one that fits the header.
        quotes: text: whether values may be quoted.
        multiline: text: whether quoted values may go on over several lines; never where tabs separate.
        scratch: an existing folder for temporary files; None is the system's.
        stream: the bytes of ``source``, one Source of text, where they are at hand, as in an archive read once.

    Raises:
        UserError: a file is missing or damaged, a column is missing, or a row or value is wrong.
    """
    database, folder, stack = connect(scratch)
    try:
        table = Table(dict(columns), database, f"table_{next(_number)}", _close=stack)
        loader = _Loader(table, columns, header, separator, quotes, multiline, folder)
        stack.callback(loader.drop)
        if isinstance(source, str | Path | Source) or _is_list_of_files(source):
            for one in find_sources(source):
                whole = one.member is not None or not is_archive(one.path)
                require(whole, f"{one}: is an archive of files; expected a table")
                loader.load(one, stream)
        else:
            loader.load_frame(source)
        loader.finish()
        return table
    except BaseException:
        stack.close()
        raise


def _is_list_of_files(source: Any) -> bool:
    return isinstance(source, list | tuple) and all(isinstance(one, str | Path | Source) for one in source)


@dataclass
class _Loader:
    """Loads the files of a table one after the other: the text of the wanted columns, then checks, then kinds."""

    table: Table
    columns: Mapping[str, Column]
    header: Sequence[str] | None
    separator: str | None
    quotes: bool
    multiline: bool
    folder: Path
    _selects: list[str] = field(default_factory=list)
    _found: set[str] = field(default_factory=set)

    @property
    def _raw(self) -> str:
        return f"{self.table.name}_raw_{len(self.table.files)}"

    def _names(self, column: str) -> tuple[str, ...]:
        return self.columns[column].names or (column,)

    def _chosen(self, names: Sequence[str], where: str) -> dict[str, str]:
        """Column -> its name in the file."""
        chosen = {
            column: next((name for name in self._names(column) if name in names), None) for column in self.columns
        }
        missing = [column for column, name in chosen.items() if name is None and self.columns[column].required]
        told = ", ".join(one_of(self._names(column)) for column in missing)
        require(
            not missing,
            f"{where}: the column{'s' * (len(missing) > 1)} {told} {'are' if len(missing) > 1 else 'is'} missing "
            f"among {', '.join(map(str, names))[:500]}",
        )
        found = {column: name for column, name in chosen.items() if name is not None}
        self.table.named |= found
        return found

    def load(self, source: Source, stream: IO[bytes] | None) -> None:
        """Load one file."""
        if source.name.endswith(".parquet"):
            self._load_parquet(source)
        elif source.name.endswith((".jsonl", ".ndjson", ".json")):
            with contextlib.ExitStack() as stack:
                self._load_json(source, stream or stack.enter_context(open_source(source)))
        else:
            with contextlib.ExitStack() as stack:
                self._load_text(source, stream or stack.enter_context(open_source(source)))

    def _load_text(self, source: Source, stream: IO[bytes]) -> None:
        import duckdb

        wanted = [self._names(name) for name, column in self.columns.items() if column.required]
        layout, head = read_layout(
            source,
            stream,
            wanted,
            header=self.header,
            separator=self.separator,
            quotes=self.quotes,
            multiline=self.multiline,
        )
        chosen = self._chosen(layout.names, f"{source}, line 1")
        usual = "\t" if source.name.endswith((".tsv", ".txt", ".tab")) else ","
        if self.separator is None and layout.separator != usual and len(layout.names) > 1:
            self.table.notes.append(f"{short(str(source))}: the values are separated by {layout.told}")
        if layout.cr:
            self.table.notes.append(f"{short(str(source))}: the lines end in carriage returns (CR)")
        scan = TextScan(source, stream, layout, head)
        with self._normalised(source, scan) as (path, skip):
            places = {name: layout.names.index(chosen[name]) for name in chosen}
            texts = {name: f"coalesce(c{place}, '')" for name, place in places.items()}
            if scan.escaped:
                texts = {name: decoding(text, layout.separator) for name, text in texts.items()}
            values = {name: at_once(text, self.columns[name]) for name, text in texts.items()}
            texts |= {name: value for name, value in values.items() if value is not None}
            selected = ", ".join(f"{text} AS {quoted(name)}" for name, text in texts.items()) or "NULL AS nothing"
            types = ", ".join(f"'c{place}': 'VARCHAR'" for place in range(len(layout.names)))
            query = f"""CREATE TABLE {self._raw} AS SELECT {selected} FROM read_csv(
                {literal(str(path))}, columns = {{{types}}}, auto_detect = false, header = false, skip = {skip},
                delim = {literal(layout.separator)}, quote = '', escape = '', comment = '', new_line = '\\n',
                strict_mode = true, null_padding = false, ignore_errors = false, compression = 'none',
                max_line_size = {max(scan.longest, 1024) + 1}, hive_partitioning = false)"""
            try:
                if scan.rows:
                    self.table.database.execute(query)
                else:
                    nothing = {name: at_once("''", self.columns[name]) or "''" for name in texts}
                    none = ", ".join(f"{value} AS {quoted(name)}" for name, value in nothing.items())
                    self.table.database.execute(
                        f"CREATE TABLE {self._raw} AS SELECT {none or 'NULL AS nothing'} WHERE false"
                    )
            except duckdb.OutOfMemoryException as error:
                raise UserError(f"{source}: {str(error).splitlines()[0]}; is the disk full?") from None
            except duckdb.Error as error:
                raise_broken_row(source, layout)
                raise UserError(f"{source}: cannot be read as a table: {str(error).splitlines()[0]}") from None
        read = self._one(f"SELECT count(*) FROM {self._raw}")
        if read != scan.rows or scan.separators != scan.rows * (len(layout.names) - 1):
            raise_broken_row(source, layout)
            raise UserError(f"{source}: {read:,} rows were read of {scan.rows:,} in the file; it cannot be trusted")

        def tell(row: int) -> str:
            return f"{source}, line {line_of(source, layout, row)[0]}"

        def text(row: int, column: str) -> str:
            return line_of(source, layout, row)[1][places[column]]

        done = {name for name, value in values.items() if value is not None}
        self._take(str(source), scan.rows, scan.blanks, list(chosen), tell, done, text)

    @contextlib.contextmanager
    def _normalised(self, source: Source, scan: TextScan) -> Iterator[tuple[Path, int]]:
        """A file for DuckDB, and how many lines of it to skip: a link if the text is in order, else a copy."""
        link, copy = self.folder / "text.csv", self.folder / "copy.csv"
        body = 0  # bytes in order, from the first row on
        start = 0
        with contextlib.ExitStack() as stack:
            for path in (link, copy):
                stack.callback(path.unlink, missing_ok=True)
            # DuckDB takes the end of the first line, even of one that it skips, for that of all lines.
            fits = source.plain and not (scan.layout.header and scan.head.partition(b"\n")[0].endswith(b"\r"))
            target: IO[bytes] | None = None if fits else stack.enter_context(copy.open("wb"))
            for block, changed in scan.blocks():
                if target is None and changed:
                    target = stack.enter_context(copy.open("wb"))
                    start = start or self._start(source, scan)
                    with source.path.open("rb") as file:
                        file.seek(start)
                        remaining = body
                        while remaining and (piece := file.read(min(remaining, 2**20))):
                            target.write(piece)
                            remaining -= len(piece)
                if target is None:
                    body += len(block)
                else:
                    target.write(block)
            if target is not None:
                target.close()
                yield copy, 0
                return
            # DuckDB takes brackets and stars in a name for a pattern; in a link there are none.
            link.symlink_to(source.path.resolve())
            yield link, int(scan.layout.header)

    @staticmethod
    def _start(source: Source, scan: TextScan) -> int:
        """Where the rows begin in a plain file."""
        with source.path.open("rb") as file:
            mark = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
            file.seek(mark)
            if not scan.layout.header:
                return mark
            return mark + len(file.readline())

    def _load_parquet(self, source: Source) -> None:
        import duckdb

        link = self.folder / "table.parquet"
        try:
            if source.plain:
                link.symlink_to(source.path.resolve())
            else:
                with open_source(source) as stream, link.open("wb") as copy:
                    shutil.copyfileobj(stream, copy)
            typed = f"read_parquet({literal(str(link))}, hive_partitioning = false)"
            chosen = self._load_typed(typed, str(source))
        except duckdb.Error as error:
            reason = str(error).splitlines()[0].replace(str(link), str(source))
            raise UserError(f"{source}: cannot be read as Parquet: {reason}") from None
        finally:
            link.unlink(missing_ok=True)
        rows = self._one(f"SELECT count(*) FROM {self._raw}")
        self._take(str(source), rows, 0, chosen, lambda row: f"{source}, row {row + 1}")

    def _load_typed(self, typed: str, name: str) -> list[str]:
        """Load what DuckDB knows the types of, ``typed`` being such a table in SQL; returns the columns found."""
        database = self.table.database
        kinds = {str(row[0]): str(row[1]) for row in database.execute(f"DESCRIBE SELECT * FROM {typed}").fetchall()}
        chosen = self._chosen(list(kinds), name)
        for column in chosen.values():
            single = not kinds[column].endswith("]") and not kinds[column].startswith(("STRUCT", "MAP", "UNION"))
            require(single, f"{name}: the column {column} holds {kinds[column]}; expected one value in each row")
        texts = [_as_text(quoted(there), column, kinds[there]) for column, there in chosen.items()]
        selected = ", ".join(texts) or "NULL AS nothing"
        database.execute(f"CREATE TABLE {self._raw} AS SELECT {selected} FROM {typed}")
        return list(chosen)

    def _load_json(self, source: Source, stream: IO[bytes]) -> None:
        rows: list[list[str]] = []
        lines: list[int] = []
        blanks = number = 0
        seen: dict[str, None] = {}
        batch = 50_000
        self._create_empty(list(self.columns))
        with telling_damage(source.path):
            while line := stream.readline(LONGEST_LINE):
                number += 1
                where = f"{source}, line {number}"
                require(len(line) < LONGEST_LINE, f"{where}: has more than {LONGEST_LINE:,} bytes; mend it")
                if not line.strip():
                    blanks += 1
                    continue
                try:
                    values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_float=_Number,
                                        parse_int=_Number, parse_constant=_constant)  # fmt: skip
                except (ValueError, RecursionError) as error:
                    raise UserError(f"{where}: is no JSON ({error}); expected an object in each line") from None
                require(isinstance(values, dict), f"{where}: expected an object such as {{...}} in each line")
                chosen = self._chosen_of_object(values, where)
                seen.update(dict.fromkeys(chosen))
                rows.append([self._json_text(values.get(chosen.get(name, "")), name, where) for name in self.columns])
                lines.append(number)
                if len(rows) >= batch:
                    self._insert(rows)
                    rows = []
        self._insert(rows)
        found = [name for name, column in self.columns.items() if column.required or name in seen]
        self._take(str(source), len(lines), blanks, found, lambda row: f"{source}, line {lines[row]}")

    def _chosen_of_object(self, values: Mapping[str, Any], where: str) -> dict[str, str]:
        chosen = {}
        for column in self.columns:
            name = next((name for name in self._names(column) if name in values), None)
            if name is not None:
                chosen[column] = name
            else:
                allowed = not self.columns[column].required or self.columns[column].empty
                require(allowed, f"{where}: lacks {' or '.join(self._names(column))}")
        return chosen

    @staticmethod
    def _json_text(value: Any, name: str, where: str) -> str:
        require(not isinstance(value, list | dict), f"{where}: {name} is a {type(value).__name__}; expected one value")
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        whole = text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)
        require(whole, f"{where}: {name} is {text!a}, with half a character; mend it")
        return text

    def load_frame(self, frame: Any) -> None:
        """Load a pandas table, or one that hands itself over as an Arrow stream: of Arrow, Polars, DuckDB, ..."""
        if not isinstance(frame, pd.DataFrame):
            for whole in ("collect", "read_all"):  # a LazyFrame of Polars, and an Arrow reader, which streams only once
                frame = getattr(frame, whole)() if hasattr(frame, whole) else frame
            self._load_arrow(frame)
            return
        names = [str(name) for name in frame.columns]
        column_of = {str(name): frame[name] for name in frame.columns}
        chosen = self._chosen(names, "the table")
        _refuse_twins(names, chosen)
        texts = {column: [_text_of(value) for value in column_of[name].tolist()] for column, name in chosen.items()}
        content = pd.DataFrame({column: pd.Series(values, dtype=object) for column, values in texts.items()})
        self._create_empty(list(chosen))
        self._insert_frame(content)
        self._take("the table", len(content), 0, list(chosen), _row_of_a_table)

    def _load_arrow(self, frame: Any) -> None:
        import duckdb

        require(
            hasattr(frame, "__arrow_c_stream__"),
            f"a {type(frame).__name__} is no table; expected a path, or a pandas, Polars or Arrow table",
        )
        names = getattr(frame, "column_names", None) or getattr(getattr(frame, "schema", None), "names", [])
        if not callable(names):
            names = [str(name) for name in names]
            _refuse_twins(names, self._chosen(names, "the table") if names else {})
        database = self.table.database
        database.register("given", _ArrowStream(frame))
        try:
            chosen = self._load_typed("given", "the table")
        except duckdb.Error as error:
            raise UserError(f"the table: cannot be read: {str(error).splitlines()[0]}") from None
        finally:
            database.unregister("given")
        self._take("the table", self._one(f"SELECT count(*) FROM {self._raw}"), 0, chosen, _row_of_a_table)

    def _create_empty(self, names: Sequence[str]) -> None:
        columns = ", ".join(f"{quoted(name)} VARCHAR" for name in names) or "nothing VARCHAR"
        self.table.database.execute(f"CREATE TABLE {self._raw} ({columns})")

    def _insert(self, rows: list[list[str]]) -> None:
        if rows:
            self._insert_frame(pd.DataFrame(rows, columns=list(self.columns), dtype=object))

    def _insert_frame(self, frame: pd.DataFrame) -> None:
        if len(frame):
            import duckdb

            database = self.table.database
            database.register("given", frame)
            try:
                database.execute(f"INSERT INTO {self._raw} SELECT * FROM given")
            except duckdb.InvalidInputException as error:  # such as half a character
                raise UserError(f"the table: cannot be read: {str(error).splitlines()[0]}") from None
            finally:
                database.unregister("given")

    def _take(
        self,
        name: str,
        rows: int,
        blanks: int,
        found: list[str],
        tell: Any,
        done: Collection[str] = (),
        text: Any = None,
    ) -> None:
        """Check the texts of the file's columns and note how they become values.

        Args:
            done: columns that hold values already, NULL where they are wrong; ``text`` (row, column) is what was there.
        """
        first = self.table.rows
        values, wrong = [], {}
        for column, declared in self.columns.items():
            if column in done:
                value, wrong[column] = quoted(column), f"{quoted(column)} IS NULL"
            elif column in found:
                value, wrong[column], note = reading(self.table.database, self._raw, column, declared)
                if note:
                    self.table.notes.append(f"{short(name)}: {note}")
            else:
                value = NOTHING[declared.kind]
            values.append(f"{value} AS {quoted(column)}")
        counts = ", ".join(f"count(*) FILTER (WHERE {condition})" for condition in wrong.values()) or "0"
        if any(self.table.database.execute(f"SELECT {counts} FROM {self._raw}").fetchone() or ()):
            self._refuse(wrong, tell, done, text)
        self._found.update(found)
        self._selects.append(f"SELECT rowid + {first} AS row, {', '.join(values)} FROM {self._raw}")
        self.table.files.append(TableFile(name, rows, blanks, first))
        self.table._tellers.append(tell)

    def _refuse(self, wrong: Mapping[str, str], tell: Any, done: Collection[str], text_of: Any) -> None:
        """Raise the UserError about the first wrong value."""
        first: list[tuple[int, str, str]] = []
        for column, condition in wrong.items():
            query = f"SELECT rowid, {quoted(column)} FROM {self._raw} WHERE {condition} ORDER BY rowid LIMIT 1"
            if (found := self.table.database.execute(query).fetchone()) is not None:
                first.append((found[0], column, found[1]))
        row, column, text = min(first, key=lambda one: one[0])
        if column in done:
            text = text_of(row, column)
        value = repr(text if len(text) <= 60 else text[:50]) + (
            f"... ({len(text):,} characters)" if len(text) > 60 else ""
        )
        raise UserError(f"{tell(row)}: {column} is {value}; expected {self.columns[column].expected}")

    def finish(self) -> None:
        """Make the view."""
        table = self.table
        there = {name: column for name, column in table.columns.items() if name in self._found or column.required}
        table.columns = there
        names = ", ".join(["row", *map(quoted, there)])
        union = " UNION ALL ".join(self._selects)
        table.database.execute(f"CREATE VIEW {table.name} AS SELECT {names} FROM ({union})")

    def drop(self) -> None:
        """Give the memory of the rows back."""
        self.table.database.execute(f"DROP VIEW IF EXISTS {self.table.name}")
        for number in range(len(self.table.files) + 1):
            self.table.database.execute(f"DROP TABLE IF EXISTS {self.table.name}_raw_{number}")

    def _one(self, query: str) -> Any:
        row = self.table.database.execute(query).fetchone()
        assert row
        return row[0]


@dataclass(frozen=True)
class _ArrowStream:
    """A table by the Arrow stream that it gives, and nothing else: DuckDB asks for pyarrow where it knows the type."""

    frame: Any

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self.frame.__arrow_c_stream__(requested_schema)


def _row_of_a_table(row: int) -> str:
    return f"the table, row {row}"


def _refuse_twins(names: Sequence[str], chosen: Mapping[str, str]) -> None:
    twice = [name for name in chosen.values() if names.count(name) > 1]
    require(not twice, f"the table: names the column {', '.join(twice)} twice")


class _Number(str):
    """A number of JSON, as it stands."""


def _constant(name: str) -> str | None:
    """What JSON has no word for: NaN, which Python writes, is no value."""
    return None if name == "NaN" else name


def _as_text(name: str, column: str, kind: str) -> str:
    """SQL: a value of a type as text; NULL, and NaN among numbers, are empty."""
    text = f"decode({name})" if kind == "BLOB" else f"CAST({name} AS VARCHAR)"
    if kind in ("FLOAT", "DOUBLE"):
        text = f"nullif({text}, 'nan')"
    return f"coalesce({text}, '') AS {quoted(column)}"


def _text_of(value: Any) -> str:
    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_):
        return str(bool(value)).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
