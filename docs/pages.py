"""Makes the pages of the repository pages of the site: a hook of MkDocs.

A page keeps its place: ``seer/README.md`` is ``seer/index.html``. So links from page to page are the same here and
where the repository is browsed. A link to a module of a package leads to its page of the API reference, which exists
for every module; a link to another text file (a test, a benchmark, the Makefile) to a page that shows the file; what
else is linked (pictures, JSON) is copied. A link to nothing is an error where warnings are: ``mkdocs build --strict``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported late: the tests use the rest without MkDocs
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("*.md", "*/README.md", "docs/metrics.md", "docs/python.md", "tests/golden/**/README.md")
LIBRARY = "common"
COPIED = {".gif", ".jpg", ".json", ".png", ".svg"}
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".cff": "yaml"}

_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)\s#]+)([^)]*\))")
_SOURCE = re.compile(r"""(\bsrc=")([^"]+)(")""")


def packages() -> list[str]:
    """The library first, then the papers: the folders with a ``model.py`` and a page."""
    papers = (path.parent.name for path in ROOT.glob("*/model.py") if path.with_name("README.md").is_file())
    return [LIBRARY, *sorted(set(papers) - {"template"})]


def modules(package: str) -> list[str]:
    """Paths of a package's modules and subpackages, tests apart, as ``seer/model`` and ``seer/building``."""
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        if not path.stem.endswith("_test"):
            name = (path.parent if path.stem == "__init__" else path.with_suffix("")).relative_to(ROOT).as_posix()
            found.append(name)
    return sorted(set(found) - {package})


def _is_package(module: str) -> bool:
    return (ROOT / module / "__init__.py").is_file()


@cache
def summary(module: str) -> str:
    """The first sentence of a module's docstring, on one line."""
    file = ROOT / (f"{module}/__init__.py" if _is_package(module) else f"{module}.py")
    text = ast.get_docstring(ast.parse(file.read_text("utf-8")))
    return " ".join((text or "").split("\n\n")[0].split())


def page_of(path: str) -> str:
    """The page or file of the site for ``path`` in the repository, both relative to their roots."""
    if (ROOT / path).is_dir():
        return f"{path}/{'README' if (ROOT / path / 'README.md').is_file() else 'index'}.md"
    suffix = PurePosixPath(path).suffix
    if suffix == ".md" or suffix in COPIED:
        return path
    return f"{path.removesuffix('.py')}.md"


def _is_elsewhere(target: str) -> bool:
    return "://" in target or target.startswith(("#", "mailto:"))


def rewritten(markdown: str, replace: Callable[[str], str]) -> str:
    """``markdown`` with the target of every link and picture outside of code blocks replaced."""
    lines, fenced = [], False
    for line in markdown.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            for pattern in (_LINK, _SOURCE):
                line = pattern.sub(lambda m: m[1] + (m[2] if _is_elsewhere(m[2]) else replace(m[2])) + m[3], line)
        lines.append(line)
    return "\n".join(lines) + "\n"


def links(page: str) -> Iterator[str]:
    """Paths in the repository that ``page`` links to."""
    found: list[str] = []
    folder = PurePosixPath(page).parent

    def collect(target: str) -> str:
        found.append(normpath(folder / target))
        return target

    rewritten((ROOT / page).read_text("utf-8"), collect)
    yield from found


def pages() -> list[str]:
    """The pages of the repository."""
    found = (path.relative_to(ROOT).as_posix() for pattern in PAGES for path in ROOT.glob(pattern))
    return sorted(page for page in found if not page.startswith("."))


def _reference(module: str) -> str:
    name = module.replace("/", ".")
    head = f"---\ntitle: {name.partition('.')[2] or name}\n---\n\n::: {name}\n"
    if _is_package(module):
        return f"{head}    options: {{members: false}}\n\n{_table(module, module)}"
    return head


def _table(package: str, where: str) -> str:
    """The modules of ``package`` with a sentence each; links are relative to the folder ``where``."""
    rows = []
    for module in modules(package):
        name = module.removeprefix(f"{package}/").replace("/", ".")
        link = f"[`{name}`]({relpath(page_of_module(module), where)})"
        rows.append(f"| {link} | {summary(module)} |")
    return "\n".join(["| module | what |", "|---|---|", *rows]) + "\n"


def page_of_module(module: str) -> str:
    """The page of the API reference for ``seer/model`` or the subpackage ``seer/building``."""
    return f"{module}/index.md" if _is_package(module) else f"{module}.md"


def _shown(path: str) -> str:
    language = LANGUAGES.get(PurePosixPath(path).suffix, "text")
    text = (ROOT / path).read_text("utf-8")
    return f"---\nsearch: {{exclude: true}}\n---\n\n# {path}\n\n````{language}\n{text}\n````\n"


def on_config(config: Any) -> Any:
    """Add the API reference to the navigation."""
    reference = [{package: [page_of_module(m) for m in modules(package)]} for package in packages()]
    config.nav.append({"API reference": ["api.md", *reference]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the repository's pages, a page for every module, and what pages link to."""
    from mkdocs.structure.files import File

    texts = {page_of_module(m): _reference(m) for package in packages() for m in modules(package)}
    texts[f"{LIBRARY}/index.md"] = _reference(LIBRARY)
    for page in pages():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / page)))
        for path in links(page):
            target = page_of(path)
            if target in texts or not (ROOT / path).is_file() or (target == path and path.endswith(".md")):
                continue  # a page, or nothing, which MkDocs tells
            if target != path:
                texts[target] = _shown(path)
            elif files.get_file_from_path(path) is None:
                files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    for page, text in texts.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links lead to the pages that stand for files; list the modules on the front page of the reference."""
    here = PurePosixPath(page.file.src_uri).parent
    if page.file.src_uri == "api.md":
        parts = (f"## {package}\n\n{summary(package)}\n\n{_table(package, '.')}" for package in packages())
        return "\n".join([markdown.replace("](../", "]("), *parts])
    if page.file.generated_by is None or (ROOT / page.file.src_uri).is_file():
        return rewritten(markdown, lambda target: relpath(page_of(normpath(here / target)), here))
    return markdown
