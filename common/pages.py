"""Tables of results in the pages, written from committed figures, so that none of their numbers is typed by hand.

``<folder>/results.toml`` declares each table of a page by name; in the page it stands between the lines
``<!-- table: <folder>/<name> -->`` and ``<!-- end of table -->``. ``python -m common.pages`` rewrites all of them from
the files in ``<folder>/results/`` (see :mod:`common.reporting.figures`), ``--check`` only says which ones differ.

A table is either a grid, with a row of figures for each of ``rows`` and a column for each of ``columns``::

    [sample]
    columns = ["rmse", ["95 % interval", "{rmse:.3fb}"]]    # the name of a figure, or a title and a template
    digits = 3                                              # of plain columns
    bold = ["rmse"]                                         # columns whose best figure is set in bold, ...
    lowest = ["rmse"]                                       # ... which is the lowest in these
    unranked = ["oracle"]                                   # rows that cannot be the best
    from = "sample"                                         # the file of figures; default: the table's name
    head = "model"                                          # the heading of the rows' names
    [sample.rows]
    dot = { title = "SeER dot", args = "--variant dot" }    # other keys are texts (or templates) for templates

(``rows = "*"``: all rows of the file that have one of the columns)
or free, with a template in every cell: ``header = [...]``, ``cells = [[...], ...]``, whose fields begin with the name
of a file: ``{lstm[ratio_dropout_0.2]:.1f}x``. ``align = "left"`` is for texts. What else a table declares says how its
figures are measured (see :mod:`common.results`); a table that says only that is not shown by itself.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import console
from common.command import run_script
from common.options import PROJECT, UserError, replacing, require
from common.reporting.figures import DASH, Figure, Files, fill

TABLE = re.compile(r"(<!-- table: (\w+)/([\w-]+) -->\n)(.*?)(<!-- end of table -->)", re.DOTALL)
Spec = Mapping[str, Any]


def declared(folder: str, root: Path = PROJECT) -> dict[str, Spec]:
    """The tables in the ``results.toml`` of a folder, by name.

    Raises:
        UserError: the file is missing or damaged, or a table is neither a grid nor free.
    """
    path = root / folder / "results.toml"
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    tables = {name: spec for name, spec in found.items() if name != "report"}
    for name, spec in tables.items():
        kinds = ({"header", "cells"}, {"columns", "rows"}, {"command", "file", "figures"})
        require(any(kind <= spec.keys() for kind in kinds), f"{path}: [{name}] declares no table and no command")
    return tables


def render(folder: str, name: str, root: Path = PROJECT) -> str:
    """A declared table as Markdown.

    Raises:
        UserError: there is no such table, or a figure that it names is missing.
    """
    tables = declared(folder, root)
    where = f"{folder}/results.toml: [{name}]"
    require(name in tables, f"{where} is not there; declared are: {', '.join(tables)}")
    spec, files = tables[name], Files(folder, root)
    if "cells" in spec:
        lines = [[fill(cell, files, where) for cell in row] for row in spec["cells"]]
        return _markdown(spec["header"], lines, spec.get("align") == "left")
    source = spec.get("from", name)
    require(source in list(files), f"{where}: {folder}/results/{source}.json is missing; make results writes it")
    header = [spec.get("head", ""), *(column if isinstance(column, str) else column[0] for column in spec["columns"])]
    return _markdown(header, _grid(spec, files, source, where), False)


def _grid(spec: Spec, files: Files, source: str, where: str) -> list[list[str]]:
    names: dict[str, Mapping[str, Any]] = {}
    every = spec["rows"] == "*"
    rows = {row: {} for row, part in files[source].tree.items() if isinstance(part, Mapping)} if every else spec["rows"]
    for row, about in rows.items():
        found = files[source].row(row)
        require(len(found) > 0, f"{where}: {source}.json has no row {row!r}; it has {', '.join(files[source])}")
        texts = {key: fill(text, files, f"{where}, {row}") for key, text in about.items() if isinstance(text, str)}
        names[row] = {**found, **texts}
    columns = [_column(spec, column, names, where) for column in spec["columns"]]
    titles = [about.get("title", row) for row, about in rows.items()]
    lines = [list(row) for row in zip(titles, *columns, strict=True)]
    return [line for line in lines if not every or {*line[1:]} != {DASH}]


def _column(spec: Spec, column: str | list[str], names: Mapping[str, Mapping[str, Any]], where: str) -> list[str]:
    """The cells of a column; a figure that some rows lack is a dash there, one that all lack is a mistake."""
    title, template = (column, f"{{{column}:.{spec.get('digits', 3)}f}}") if isinstance(column, str) else column
    fields = re.findall(r"{([^\[:}]+)", template)
    cells = [
        fill(template, known, f"{where}, {row}") if set(fields) <= known.keys() else DASH
        for row, known in names.items()
    ]
    require(any(cell != DASH for cell in cells), f"{where}: no row has {', '.join(fields)}")
    if title in spec.get("bold", ()):
        ranked = {
            place: known[fields[0]].mean
            for place, (row, known) in enumerate(names.items())
            if row not in spec.get("unranked", ()) and isinstance(known.get(fields[0]), Figure)
        }
        best = (min if title in spec.get("lowest", ()) else max)(ranked, key=lambda place: ranked[place])
        shown = cells[best].split(" ")[0]  # rows that look as good are as good
        for place in ranked:
            mean, *spread = cells[place].split(" ", 1)
            if mean == shown:
                cells[place] = " ".join((f"**{mean}**", *spread))
    return cells


def _markdown(header: list[str], rows: list[list[str]], left: bool) -> str:
    for row in rows:
        require(len(row) == len(header), f"a row has {len(row)} cells under {len(header)} headings: {row}")
    lines = [[f" {cell} " if cell else " " for cell in line] for line in (header, *rows)]
    lines.insert(1, ["---", *(["---" if left else "---:"] * (len(header) - 1))])
    return "".join(f"|{'|'.join(line)}|\n" for line in lines)


def rewritten(text: str, root: Path = PROJECT) -> str:
    """A page with all its marked tables written anew.

    Raises:
        UserError: a marker names no table, or has no end.
    """
    require(
        text.count("<!-- table: ") == text.count("<!-- end of table -->") == len(TABLE.findall(text)),
        "each <!-- table: folder/name --> needs its own <!-- end of table -->",
    )
    # The blank lines are for readers of Markdown that would take the table for a part of the comment.
    return TABLE.sub(lambda found: f"{found[1]}\n{render(found[2], found[3], root)}\n{found[5]}", text)


def pages(root: Path = PROJECT) -> list[Path]:
    """All pages: the README of the project and those of its folders."""
    return sorted([*root.glob("README.md"), *root.glob("*/README.md")])


@dataclass(frozen=True)
class PagesOptions:
    """Options of this command."""

    check: bool = False
    """Change nothing; end with an error if a page has another table than its figures give."""


def main(options: PagesOptions, root: Path = PROJECT) -> list[Path]:
    """Write the tables of results in the pages anew from the committed figures; returns the pages that changed."""
    changed = []
    for page in pages(root):
        text = page.read_text("utf-8")
        try:
            now = rewritten(text, root)
        except UserError as error:
            raise UserError(f"{page}: {error}") from None
        if now != text:
            changed.append(page)
            if not options.check:
                with replacing(page, "w") as file:
                    file.write(now)
    names = ", ".join(str(page.relative_to(root)) for page in changed)
    require(
        not (changed and options.check), f"{names}: a table differs from its figures; python -m common.pages writes it"
    )
    console.say(f"Tables written anew in {names}" if changed else "All tables are as their figures are")
    return changed


if __name__ == "__main__":
    run_script(main, PagesOptions)
