"""Tables of pages; and the guard: what the pages of this project show is what their committed figures give."""

import json
import re

import pytest

from common import pages
from common.options import PROJECT, UserError
from common.pages import PagesOptions, declared, main, render, rewritten

ALLOWED_HEADINGS = ("option", "#", "file", "script", "folder", "package", "zip", "array", "written by", "`--model`")
"""Tables whose first heading is one of these tell of options, deviations, files and the like: not of results."""
ALLOWED = ("| | difference |", "| | released code | ours |")
"""Equality with the released code: tests hold it, with bounds in the code of the tests."""
GRID = """
[sample]
columns = ["rmse", "auc", ["interval", "{rmse:.2fb}"], ["paper", "{paper}"]]
digits = 2
bold = ["rmse", "auc"]
lowest = ["rmse"]
unranked = ["oracle"]
[sample.rows]
a = { title = "model `a`", paper = "0.5 (B1)" }
b = {}
oracle = {}
[free]
align = "left"
header = ["what", "how fast"]
cells = [["step", "{speed[ms]:.1f} ms"]]
"""
FIGURES = {
    "a": {"rmse": [1.0, 1.2], "auc": {"mean": 0.711, "sd": 0.02}},
    "b": {"rmse": 1.5, "auc": 0.709},
    "oracle": {"rmse": 0.1, "auc": 0.99},
}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "paper"
    (folder / "results").mkdir(parents=True)
    (folder / "results.toml").write_text(GRID)
    content = {"figures": FIGURES, "intervals": {"a": {"rmse": [0.9, 1.3]}}}
    (folder / "results" / "sample.json").write_text(json.dumps(content))
    (folder / "results" / "speed.json").write_text(json.dumps({"figures": {"ms": 2.04}}))
    return tmp_path


def test_a_grid_has_figures_intervals_texts_and_its_best_in_bold(root):
    assert render("paper", "sample", root).splitlines() == [
        "| | rmse | auc | interval | paper |",
        "|---|---:|---:|---:|---:|",
        "| model `a` | **1.10** ± 0.14 | **0.71** ± 0.02 | 0.90 to 1.30 | 0.5 (B1) |",
        "| b | 1.50 | **0.71** | – | – |",
        "| oracle | 0.10 | 0.99 | – | – |",
    ]


def test_a_grid_may_show_all_rows_that_have_a_column(root):
    path = root / "paper" / "results.toml"
    path.write_text('[sample]\ncolumns = ["auc", ["paper", "{paper}"]]\nrows = "*"\n')
    figures = FIGURES | {"paper: a": {"paper": "0.5"}, "best": {"cell": "gru"}}
    (root / "paper" / "results" / "sample.json").write_text(json.dumps({"figures": figures}))
    lines = render("paper", "sample", root).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["a", "b", "oracle", "paper: a"]


def test_a_free_table_has_templates(root):
    assert render("paper", "free", root) == "| what | how fast |\n|---|---|\n| step | 2.0 ms |\n"


def test_pages_are_rewritten_between_the_markers_alone(root):
    page = "Before 3.14.\n\n<!-- table: paper/free -->\nold\n<!-- end of table -->\n\nAfter.\n"
    now = rewritten(page, root)
    assert now.startswith("Before 3.14.\n\n<!-- table: paper/free -->\n\n| what |") and now.endswith("-->\n\nAfter.\n")
    assert "old" not in now and rewritten(now, root) == now


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[free]", "[other]", r"\[free\] is not there; declared are: sample, other"),
        ("{speed[ms]", "{speed[s]", "no such figure"),
        ('header = ["what", ', "header = [", "2 cells under 1 headings"),
        ('header = ["what", "how fast"]', "", "declares no table"),
        ("[free]", "[free", "cannot be read"),
    ],
)
def test_mistakes_in_declarations_are_told(root, old, new, message):
    path = root / "paper" / "results.toml"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        render("paper", "free", root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\nb = {}", "\nc = {}", "has no row 'c'; it has a, b, oracle"),
        ('"auc", [', '"aux", [', "no row has aux"),
        ("{paper}", "{papers}", "no row has papers"),
        ("[sample]", '[sample]\nfrom = "gone"', r"gone\.json is missing"),
    ],
)
def test_mistakes_in_grids_are_told(root, old, new, message):
    path = root / "paper" / "results.toml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        render("paper", "sample", root)


@pytest.mark.parametrize("page", ["<!-- table: paper/free -->\n", "<!-- table: free -->\n<!-- end of table -->\n"])
def test_a_marker_needs_its_end_and_a_whole_name(root, page):
    with pytest.raises(UserError, match="needs its own"):
        rewritten(page, root)


def test_the_command_writes_pages_or_only_tells(root):
    page = root / "paper" / "README.md"
    page.write_text("<!-- table: paper/free -->\n<!-- end of table -->\n")
    with pytest.raises(UserError, match=r"paper/README\.md: a table differs"):
        main(PagesOptions(check=True), root)
    assert main(PagesOptions(), root) == [page] and "2.0 ms" in page.read_text()
    assert main(PagesOptions(check=True), root) == []


def test_the_tables_of_this_project_are_what_their_figures_give():
    assert main(PagesOptions(check=True)) == []


def test_every_declared_table_is_on_a_page():
    shown = {found[1:3] for page in pages.pages() for found in pages.TABLE.findall(page.read_text("utf-8"))}
    tables = [
        (path.parent.name, name) for path in PROJECT.glob("*/results.toml") for name in declared(path.parent.name)
    ]
    measured_only = {("seer", name) for name in ("replicates", "sections", "tags")}  # are in seer/experiments
    assert set(tables) - measured_only == shown


def unmarked(text):
    """Headings of tables outside markers in which a cell behind the first holds a number with a decimal point."""
    text = re.sub(r"<!-- (\w+) -->.*?<!-- end of \1 -->", "", text, flags=re.DOTALL)  # of faults/, which writes its own
    text = pages.TABLE.sub("", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        heading, _, *rows = block.splitlines()
        cells = [cell for row in rows for cell in row.strip("|").split("|")[1:]]
        first = heading.strip("|").split("|")[0].strip()
        if heading not in ALLOWED and first not in ALLOWED_HEADINGS and any(re.search(r"\d\.\d", c) for c in cells):
            yield heading


@pytest.mark.parametrize("page", pages.pages(), ids=lambda page: str(page.relative_to(PROJECT)))
def test_no_table_of_results_is_typed_by_hand(page):
    assert not list(unmarked(page.read_text("utf-8"))), "give it markers and declare it in results.toml"


def test_the_guard_sees_typed_numbers():
    table = "| | rmse |\n|---|---:|\n| a | 0.5 |\n"
    assert list(unmarked(table)) == ["| | rmse |"]
    assert not list(unmarked(f"```\n{table}```\n<!-- table: a/b -->\n{table}<!-- end of table -->\n"))
    assert not list(unmarked(table.replace("| | rmse", "| option | rmse")))
    assert not list(unmarked(table.replace("0.5", "half")))
