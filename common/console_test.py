"""Words from data on a terminal, in Markdown and in HTML; tables that fit."""

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from common import console
from common.options import PROJECT

HOSTILE = [
    "x\x1b[31my",
    "\x9b31m",
    "a\u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "x[red]y",
    "x[/y]",
    "a|b",
    "<script>alert(1)</script>",
    "two\nlines\r\n",
    "line\u2028end\x85",
    "tab\there",
    "caf\udce9",
    "\x07\x00\x7f",
    "日本語 タイトル",
    "\u2066isolate\u2069",
    "\U000e0041tag",
    ":smile:",
    "`code` *em* _em_ **b** [l](http://x) ![i](y) ~~s~~ &lt; \\",
]


class Stream(io.TextIOWrapper):
    """A stdout of some encoding, which is strict, as Python's is."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n", write_through=True)

    def text(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


def printed(what, encoding="utf-8"):
    stream = Stream(encoding)
    with contextlib.redirect_stdout(stream):
        what()
    return stream.text()


def harmless(text: str) -> bool:
    return not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e007f]",
        text,
    )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "utf-16"])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_acts_on_a_terminal_of_any_encoding(name, encoding):
    def everything():
        console.say(name, f"of {name}")
        console.print_table(name, [name, "score"], [[name, "0.5"]])
        console.next_step("python", "x.py", "--run-dir", name)
        console.say_json({name: [name]})

    text = printed(everything, encoding)
    assert harmless(text)
    for literal in ("[red]", "[/y]", "<script>", ":smile:"):
        assert (literal in name) == (literal in text)


@pytest.mark.parametrize("name", [*HOSTILE, "caf\udce9", "a'\\\x1b'b", "\udcff\udcfe"])
def test_a_command_that_is_shown_names_the_same_folder_in_a_shell(name):
    shown = console.command("printf", "%s", name)
    assert console.visible(shown) == shown
    if "\0" in name or re.search("[\ud800-\udc7f\udd00-\udfff]", name):
        return  # no folder has such a name
    done = subprocess.run(["bash", "-c", os.fsencode(shown)], capture_output=True, check=True)
    assert os.fsdecode(done.stdout) == name


@given(st.text())
def test_visible_is_one_harmless_line(text):
    seen = console.visible(text)
    assert harmless(seen) and "\n" not in seen and seen == console.visible(seen)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@given(name=st.text(), value=st.sampled_from(HOSTILE))
def test_json_is_read_back_whatever_the_encoding(encoding, name, value):
    content = {name: [value, 1.5, None]}
    assert json.loads(printed(lambda: console.say_json(content), encoding)) == content


def test_characters_that_are_missing_are_replaced():
    assert printed(lambda: console.say("0.5 ± 0.1 – 日"), "ascii") == "0.5 +- 0.1 - ?\n"
    assert printed(lambda: console.say("0.5 ± 0.1 – ü"), "latin-1") == "0.5 ± 0.1 - ü\n"


def test_columns_of_numbers_stay_right_where_dashes_are_replaced():
    rows = [["a", "0.5000"], ["b", "–"]]
    assert printed(lambda: console.print_table("", ["", "recall"], rows), "latin-1").splitlines()[-2] == "b       -"


def test_a_name_that_is_too_long_is_shortened():
    assert console.short("a" * 500) == "a" * 50 + "..."
    assert console.short("\x1b" * 3) == r"\x1b\x1b\x1b"


@pytest.mark.parametrize("name", HOSTILE)
def test_markdown_and_html_show_the_name_and_nothing_else(name):
    cell = console.markdown(name)
    assert harmless(cell) and not re.search(r"(?<!\\)[|`*\[\]]|<|&(?=(?!lt|gt|amp)\w+;)", cell)
    page = console.html(f"{name}\"'")
    assert harmless(page) and not re.search("[<>\"']", page)
    lines = console.markdown_table([name, "n"], [[name, "1"], [name, "–"]]).splitlines()
    assert len(lines) == 4 and all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in lines)
    assert lines[1].endswith("---:|")


def test_names_without_markup_stay_as_they_are():
    for name in ("mixed_float16", "recall@10", "a.b-c", "Café", "K-9 & co", "5 > 4"[:1], "0.5 ± 0.1"):
        assert console.markdown(name) == name


def table(width, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", str(width))
    return printed(lambda: console.print_table(*arguments))


NUMBERS = [f"0.{n:04d}" for n in range(12)]
COLUMNS = ["", *(f"recall@{n}" for n in range(12))]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("rows", [1, 3, 30])
def test_no_number_or_name_is_cut_and_lines_fit(width, rows, monkeypatch):
    names = ["popularity", "item-kNN"] * rows
    text = table(width, monkeypatch, "A title of several words", COLUMNS, [[name, *NUMBERS] for name in names[:rows]])
    for word in (*COLUMNS, *NUMBERS, *names[:rows]):
        assert re.search(rf"(?<!\S){re.escape(word)}:?(?!\S)", text), word
    assert "…" not in text and max(map(cell_len, text.splitlines())) <= width


def test_titles_break_at_blanks_and_wide_characters_count_twice(monkeypatch):
    rows = [["1", "Songs of love and hate from a very distant city " * 3, "日本語" * 5, "0.5000"]]
    text = table(60, monkeypatch, "For you", ["", "title", "artist", "score"], rows)
    assert max(map(cell_len, text.splitlines())) <= 60
    for word in (*rows[0][1].split(), "日本語" * 5, "0.5000"):
        assert word in text


def test_a_name_wider_than_the_terminal_stands_whole_in_a_list(monkeypatch):
    text = table(40, monkeypatch, "", ["item", "score"], [["x" * 70, "0.5"], ["b", "0.4"]])
    assert f"item: {'x' * 70}\n  score: 0.5\n" in text


def test_few_rows_of_many_figures_are_transposed(monkeypatch):
    text = table(40, monkeypatch, "t", COLUMNS, [["a model", *NUMBERS]])
    assert "recall@11" in text.splitlines()[-2] and NUMBERS[11] in text.splitlines()[-2]


def test_an_empty_table_and_odd_columns_are_printed(monkeypatch):
    assert "score" in table(80, monkeypatch, "none", ["item", "score"], [])
    assert table(30, monkeypatch, "none", COLUMNS, [])


# --- the sources ---------------------------------------------------------------------------------------------------

PACKAGES = ("audiotext", "common", "comparisons", "dtnmr", "gru4rec", "seer", "session_transformers", "template")
SOURCES = {
    str(path.relative_to(PROJECT)): path.read_text("utf-8")
    for name in PACKAGES
    for path in sorted((PROJECT / name).rglob("*.py"))
    if not path.name.endswith("_test.py")
}


def imported(node):
    """Packages of an import statement."""
    names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
    return {name.split(".")[0] for name in names}


def mistakes(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import) and "rich" in imported(node):
            yield f"line {node.lineno}: rich"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in ("print", "sys.stdout.write", "sys.stderr.write"):
            yield f"line {node.lineno}: {called}; use console.say or console.notify"
        texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
        if called in ("console.say", "console.notify") and any("\n" in one for one in texts if isinstance(one, str)):
            yield f"line {node.lineno}: a line end; each argument is one line"


def test_nothing_is_printed_past_this_module():
    found = {
        name: list(mistakes(ast.parse(text)))
        for name, text in SOURCES.items()
        if name != "common/console.py" and re.search(r"\bprint\(|\bsys\.std|\brich\b|console\.(say|notify)", text)
    }
    assert len(found) > 20 and not any(found.values()), {name: lines for name, lines in found.items() if lines}


def test_a_command_imports_the_project_before_what_takes_its_time():
    """So that Ctrl-C while it is still importing is one line."""
    for name, text in SOURCES.items():
        if '__name__ == "__main__"' not in text or name.startswith(("common/", "template/")):
            continue
        imports = (node for node in ast.parse(text).body if isinstance(node, ast.ImportFrom | ast.Import))
        for packages in map(imported, imports):
            if packages & set(PACKAGES):
                break
            assert packages <= sys.stdlib_module_names, f"{name}: {packages} come before import common"


def test_ctrl_c_is_answered_before_anything_else_is_imported():
    found = "import sys, common; print({'enum', 'pathlib', 'signal'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-S", "-c", found], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_progress_bars_are_shown_on_terminals_and_in_notebooks(monkeypatch):
    assert console.no_bar(quiet=True) is True and console.no_bar() is None
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    assert console.no_bar() is False and console.no_bar(quiet=True) is True
