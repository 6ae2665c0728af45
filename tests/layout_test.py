"""The rules of the house: which folder may import which, and what a model may build on."""

import ast
from pathlib import Path

import pytest

from common.options import PROJECT

PAPERS = tuple(sorted(p.parent.name for p in PROJECT.glob("*/train.py") if p.parent.name != "template"))
MODULES = sorted(
    path for folder in ("common", *PAPERS) for path in (PROJECT / folder).rglob("*.py") if "test" not in path.stem
)


def imported(path: Path, at_import_only: bool = False) -> set[str]:
    """The first words of the modules that a file imports, anywhere or when it is itself imported."""
    tree = ast.parse(path.read_text("utf-8"))
    nodes = tree.body if at_import_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add((node.module or "").split(".")[0])
    return names


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT))


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
