"""The rules of the house: which folder may import which, no import circles, and what a model may build on.

Modules are read as text, none is imported. Imports inside functions and for types alone count as all others do: where
they make a circle, two modules cannot be understood one without the other.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from common.options import PROJECT

PAPERS = tuple(sorted(p.parent.name for p in PROJECT.glob("*/train.py") if p.parent.name != "template"))
HOUSE = ("common", *PAPERS, "template", "encore", "comparisons", "benchmarks", "faults")
MODULES = sorted(
    path for folder in ("common", *PAPERS) for path in (PROJECT / folder).rglob("*.py") if "test" not in path.stem
)
OF_ONE_PAPER = {"common.interactions": "the template: what a new paper of users and items starts from"}
"""Modules of common that serve one paper alone -> why they stay there all the same."""


def imports(path: Path, at_import_only: bool = False) -> Iterator[tuple[str, str]]:
    """Module and name (empty for a whole module) of what a file imports, anywhere or when it is itself imported."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in tree.body if at_import_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from ((node.module or "", alias.name) for alias in node.names)


def imported(path: Path, at_import_only: bool = False) -> set[str]:
    """The first words of the modules that a file imports."""
    return {module.split(".")[0] for module, _ in imports(path, at_import_only)}


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@cache
def files() -> Mapping[str, Path]:
    """Module -> its file, tests left out."""
    found = {}
    for path in (path for folder in HOUSE for path in (PROJECT / folder).rglob("*.py")):
        if not path.stem.endswith("_test"):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def graph() -> Mapping[str, set[str]]:
    """Module -> modules of the house that it imports; what a package passes on is imported from where it is written."""
    known = files()
    passed_on = {
        (package, name): module
        for package, path in known.items()
        if path.stem == "__init__"
        for module, name in imports(path)
        if name and module.startswith(f"{package}.")
    }
    found: dict[str, set[str]] = {module: set() for module in known}
    for module, path in known.items():
        for source, name in imports(path):
            target = next(
                (one for one in (f"{source}.{name}", passed_on.get((source, name)), source) if one in known), ""
            )
            found[module] |= {target} - {"", module}
    return found


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes each of which can be reached from each other one (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_ones: list[str] = []
    found = []

    def visit(node: str) -> None:
        number[node] = lowest[node] = len(number)
        open_ones.append(node)
        for target in sorted(edges[node]):
            if target not in number:
                visit(target)
                lowest[node] = min(lowest[node], lowest[target])
            elif target in open_ones:
                lowest[node] = min(lowest[node], number[target])
        if lowest[node] == number[node]:
            group = open_ones[open_ones.index(node) :]
            del open_ones[open_ones.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(edges):
        if node not in number:
            visit(node)
    return found


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}) == [
        ["d", "e"],
        ["a", "b", "c"],
    ]


def test_no_modules_import_each_other_in_a_circle():
    assert len(graph()) > 200
    for group in circles(graph()):
        ties = [f"{one} -> {target}" for one in group for target in sorted(graph()[one]) if target in group]
        pytest.fail(f"import circle: {', '.join(ties)}")


def test_common_holds_nothing_that_one_paper_uses_alone():
    users: dict[str, set[str]] = defaultdict(set)
    for module in graph():
        paper = module.split(".")[0]
        if paper in (*PAPERS, "template"):
            reached, ahead = set(), {module}
            while ahead:
                reached |= ahead
                ahead = {target for one in ahead for target in graph()[one]} - reached
            for target in reached:
                users[target].add(paper)
    alone = {module for module, papers in users.items() if module.startswith("common") and len(papers) == 1}
    assert alone == OF_ONE_PAPER.keys(), {module: users[module] for module in alone ^ OF_ONE_PAPER.keys()}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_papers_do_not_import_each_other_and_common_imports_none(path):
    own = path.relative_to(PROJECT).parts[0]
    assert not imported(path) & (set(PAPERS) - {own})


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "model.py"], ids=name_of)
def test_models_are_of_keras_alone(path):
    found = imported(path)
    assert "keras" in found and not found & {"tensorflow", "jax", "torch"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name.endswith("options.py")], ids=name_of)
def test_options_do_not_wait_for_keras(path):
    assert not imported(path, at_import_only=True) & {"keras", "tensorflow"}
