"""Row accounting of a preparation: rows in each file = rows used + rows left out, by reason.

    counts = RowCounts()
    counts.add(table)                                   # every file of a table, and its blank lines
    counts.leave_out("plays.csv", "songs without an entry", 17)
    counts.parts = {"train": {"users": 10, "plays": 300}, ...}
    meta["rows"] = counts.as_json()                     # beside the prepared arrays, and later in metrics.json
    tell_preparation(summary, counts, notes, tested, as_json=options.json)

What is not left out is used. A preparation that counts what it uses says so with :meth:`RowCounts.check_used`, which
refuses any difference: a row may not get lost between a file and the arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from common import console
from common.console import counted
from common.options import require

FEWEST_TESTED = 100
"""Test events below which a figure says little."""
UNNEEDED = "of tracks that are not needed"
"""Why rows of a catalogue are left out; no warning tells of it, as catalogues are larger than what is played."""
MOST_LISTED = 6
"""Files with a line of their own; more are told as one."""


class FileOfTable(Protocol):
    """A file that was read as a table, or as a part of one; see :class:`common.tables.TableFile`."""

    @property
    def name(self) -> str:
        """The path, and the member of an archive."""

    @property
    def rows(self) -> int:
        """Rows without the header."""

    @property
    def blanks(self) -> int:
        """Blank lines, which are no rows."""


class ReadTable(Protocol):
    """What is counted of a :class:`common.tables.Table`."""

    @property
    def files(self) -> Sequence[FileOfTable]:
        """All files of it."""


@dataclass
class RowCounts:
    """What became of the rows of each file."""

    rows: dict[str, int] = field(default_factory=dict)
    """File -> rows in it, without its header and blank lines."""
    left_out: dict[str, dict[str, int]] = field(default_factory=dict)
    """File -> reason -> rows."""
    blanks: dict[str, int] = field(default_factory=dict)
    """File -> blank lines, which are no rows; files without any are not listed."""
    parts: dict[str, Any] = field(default_factory=dict)
    """What the rows became: part (train, validation, test) -> what -> how many."""

    def add(self, table: ReadTable) -> None:
        """Count the files of a table, by their names without folders."""
        for file in table.files:
            self.add_file(file.name, file.rows, file.blanks)

    def add_file(self, name: str | Path, rows: int, blanks: int = 0) -> None:
        """Count a file, or more rows of it."""
        name = short(name)
        self.rows[name] = self.rows.get(name, 0) + rows
        self.left_out.setdefault(name, {})
        if blanks:
            self.blanks[name] = self.blanks.get(name, 0) + blanks

    def leave_out(self, name: str | Path, reason: str, rows: int) -> None:
        """Count rows of a file that are not used."""
        name = short(name)
        if rows:
            reasons = self.left_out[name]
            reasons[reason] = reasons.get(reason, 0) + int(rows)
        if not 0 <= self.used(name) <= self.rows[name]:
            raise RuntimeError(f"{name}: {sum(self.left_out[name].values()):,} rows left out of {self.rows[name]:,}")

    def append(self, other: RowCounts) -> None:
        """Count the files of ``other``, too."""
        self.rows |= other.rows
        self.left_out |= other.left_out
        self.blanks |= other.blanks

    def used(self, name: str | Path) -> int:
        """Rows of a file that are used."""
        name = short(name)
        return self.rows[name] - sum(self.left_out[name].values())

    def check_used(self, name: str | Path, rows: int) -> None:
        """Compare with what the preparation itself counts of a file; a difference is a fault of the program."""
        _check(short(name), self.used(name), rows)

    def check_total(self, rows: int) -> None:
        """The same of all files together."""
        _check(", ".join(list(self.rows)[:MOST_LISTED]), sum(map(self.used, self.rows)), rows)

    def as_json(self) -> dict[str, Any]:
        """``{"files": {name: {"rows": n, "used": n, "left_out": {reason: n}}}, "parts": {...}}``."""
        files = {
            name: {"rows": rows, "used": self.used(name), "left_out": dict(self.left_out[name])}
            | ({"blank_lines": self.blanks[name]} if name in self.blanks else {})
            for name, rows in self.rows.items()
        }
        return {"files": files, "parts": self.parts}

    @classmethod
    def of_json(cls, content: Mapping[str, Any]) -> RowCounts:
        """The counts that :meth:`as_json` gave; none of an empty one, of data made in memory."""
        files = content.get("files", {})
        return cls(
            rows={name: int(file["rows"]) for name, file in files.items()},
            left_out={name: dict(file["left_out"]) for name, file in files.items()},
            blanks={name: int(file["blank_lines"]) for name, file in files.items() if "blank_lines" in file},
            parts=dict(content.get("parts", {})),
        )

    def lines(self) -> list[str]:
        """A sentence for each file, for the console and the report."""
        names = list(self.rows)
        if len(names) <= MOST_LISTED:
            return [_sentence(name, self.rows[name], self.left_out[name], self.blanks.get(name, 0)) for name in names]
        kinds: dict[str, list[str]] = {}  # log_0.csv, log_1.csv and tf_0.csv are of two kinds
        for name in names:
            kinds.setdefault(Path(name.rpartition(": ")[2]).name.partition("_")[0], []).append(name)
        if len(kinds) > MOST_LISTED:
            kinds = {"": names}
        return [
            self._sum(f"{counted(len(of), 'file')}{f' {kind}_*' if len(kinds) > 1 else ''}", of)
            for kind, of in kinds.items()
        ]

    def _sum(self, title: str, names: Sequence[str]) -> str:
        reasons: dict[str, int] = {}
        for name in names:
            for reason, rows in self.left_out[name].items():
                reasons[reason] = reasons.get(reason, 0) + rows
        rows, blanks = sum(self.rows[name] for name in names), sum(self.blanks.get(name, 0) for name in names)
        return _sentence(title, rows, reasons, blanks)

    def warnings(self, tested: int | None = None, what: str = "test event") -> list[str]:
        """A line for each file of which most rows were left out, and one if fewer than 100 events are tested."""
        found = []
        for name, rows in self.rows.items():
            if 2 * self.used(name) < rows:
                reason = max(self.left_out[name], key=lambda one: self.left_out[name][one])
                if reason != UNNEEDED:
                    found.append(
                        f"most rows of {name} are left out: {rows - self.used(name):,} of {rows:,} "
                        f"({reason}: {self.left_out[name][reason]:,})"
                    )
        if tested is not None and tested < FEWEST_TESTED:
            found.append(f"only {counted(tested, what)}: the figures say little (expected {FEWEST_TESTED} or more)")
        return found


def short(name: str | Path) -> str:
    """A file by its name without folders; a member of an archive stays behind the archive.

    >>> short("/data/mssd/train.tar.gz: logs/log_0.csv")
    'train.tar.gz: logs/log_0.csv'
    """
    path, _, member = str(name).partition(": ")
    return Path(path).name + (f": {member}" if member else "")


def _sentence(name: str, rows: int, left_out: Mapping[str, int], blanks: int) -> str:
    used = rows - sum(left_out.values())
    told = f"{name}: {counted(rows, 'row')} = {used:,} used"
    told += "".join(f" + {count:,} left out ({reason})" for reason, count in left_out.items() if count)
    return told + (f"; {counted(blanks, 'blank line')}" if blanks else "")


def print_json(counts: RowCounts | Mapping[str, Any]) -> None:
    """``preprocess.py --json``: one JSON object on the standard output, for pipelines."""
    content = counts.as_json() if isinstance(counts, RowCounts) else counts
    console.say_json(content, indent=None)


def _check(name: str, left: int, used: int) -> None:
    require(
        left == used,
        f"{name}: {used:,} rows are used, but the rows in the file less those left out are {left:,}; this is a fault "
        "of Encore, please report it",
    )


def tell_preparation(
    summary: str, counts: RowCounts, notes: Sequence[str] = (), tested: int | None = None, *, as_json: bool = False
) -> None:
    """End of every ``preprocess.py``: what was read, recognised and left out.

    Args:
        summary: a sentence or two on what there is now.
        notes: what was recognised in the files.
        tested: test events, of which a warning tells if they are few.
        as_json: print one JSON object on the standard output instead, for pipelines (``--json``).
    """
    if as_json:
        print_json(counts)
        console.notify(*notes)
    else:
        console.say(summary, *notes, *counts.lines())
    console.notify(*(f"warning: {warning}" for warning in counts.warnings(tested)))
