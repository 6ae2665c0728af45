"""The results of the last run of each part as JSON, and the tables of README.md made from them."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.options import PROJECT, replacing, require, write_json

FOLDER = PROJECT / "faults" / "results"
PAGE = PROJECT / "faults" / "README.md"
Row = Mapping[str, Any]


def write(part: str, settings: Mapping[str, Any], rows: Sequence[Row], folder: Path = FOLDER) -> None:
    """Keep the rows of a part; rows of the same name are replaced, others stay, so that parts can be run singly."""
    file = folder / f"{part}.json"
    kept = json.loads(file.read_text("utf-8"))["rows"] if file.is_file() else []
    about = dict(settings) | {"date": time.strftime("%Y-%m-%d")}
    new = [{**without_places(row), "settings": about} for row in rows]
    names = {row["name"]: row for row in new}
    merged = [names.pop(row["name"], row) for row in kept]
    write_json(file, {"part": part, "python": platform.python_version(), "rows": merged + list(names.values())})


def without_places(row: Row) -> dict[str, Any]:
    """A row without the temporary folders of this machine, which a message of a trainer or reader names."""
    return dict(json.loads(re.sub(r"(/[\w.-]+)*/faults-\w+", "FOLDER", json.dumps(dict(row)))))


def report(part: str, rows: Sequence[Row]) -> int:
    """Print the table of a part and its defects; returns how many there are."""
    print(table(rows))
    defects = [(row["name"], defect) for row in rows for defect in row["defects"]]
    for name, defect in defects:
        print(f"DEFECT {part} {name}: {defect}")
    return len(defects)


def table(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown: their numbers and texts, last how many defects there are."""
    columns = [name for name in rows[0] if name not in ("defects", "settings", "notes")] if rows else []
    lines = ["| " + " | ".join([*columns, "defects"]) + " |"]
    lines.append("|" + "|".join("---" if name == "name" else "---:" for name in [*columns, "defects"]) + "|")
    for row in rows:
        cells = [str(row.get(name, "")) for name in columns] + [str(len(row["defects"]))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_page(page: Path = PAGE, folder: Path = FOLDER) -> None:
    """Put the tables of all parts between the marks of the page.

    Raises:
        UserError: a mark is missing.
    """
    text = page.read_text("utf-8")
    for file in sorted(folder.glob("*.json")):
        begin, end = f"<!-- {file.stem} -->\n", f"<!-- end of {file.stem} -->"
        require(begin in text and end in text, f"{page}: lacks the marks of {file.stem}")
        head, rest = text.split(begin)
        rows = json.loads(file.read_text("utf-8"))["rows"]
        text = f"{head}{begin}\n{table(rows)}\n\n{end}{rest.split(end, 1)[1]}"
    with replacing(page, "w") as stream:
        stream.write(text)
