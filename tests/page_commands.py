"""The commands in the pages: of the code blocks, as the shell reads them, and those in backticks elsewhere."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.options import PROJECT

PAGES = [Path("README.md"), Path("CONTRIBUTING.md")]
PAGES += [path.relative_to(PROJECT) for path in sorted(PROJECT.glob("*/README.md"))]
MAKEFILE = (PROJECT / "Makefile").read_text("utf-8")
BLOCK = re.compile(r"^ *```\w*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
SHELL = r"""
shown() { printf '%s\0' "${BASH_LINENO[1]}" "${TF_CONFIG-}" "$@" $'\x1e'; }
python() { shown python "$@"; }
make() { shown make "$@"; }
pip() { shown pip "$@"; }
command_not_found_handle() { shown "$@"; }
"""
"""What shows each command, with its line and TF_CONFIG, in place of running it; at once, as some run side by side."""


@dataclass(frozen=True)
class Command:
    """A command of a page; ``words`` begin with the program."""

    page: Path
    line: int
    words: tuple[str, ...]
    tf_config: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line} {' '.join(self.words)}"

    @property
    def script(self) -> str:
        """Path of the script in the project, or the name of another module, or ``-c``; empty of other programs."""
        if self.words[0] != "python":
            return ""
        if self.words[1] == "-m":
            name = self.words[2].replace(".", "/")
            paths = [path for path in (f"{name}.py", f"{name}/__main__.py") if (PROJECT / path).is_file()]
            return paths[0] if paths else self.words[2]
        return self.words[1]

    @property
    def arguments(self) -> tuple[str, ...]:
        """What the script is given."""
        return self.words[3 if self.words[1] == "-m" else 2 :]


def all_commands() -> list[Command]:
    """Those of all pages, and the steps of ``make demo``; each once, where it is first named."""
    found = [one for page in PAGES for one in commands_in(page, (PROJECT / page).read_text("utf-8"))]
    steps = re.findall(r"^\tstep ((?:\\\n|.)*?);", MAKEFILE, re.MULTILINE)
    demo = [("python", *step.replace("\\", "").split()) for step in steps]
    found += [Command(Path("Makefile"), 0, words) for words in demo]
    first: dict[tuple[tuple[str, ...], str], Command] = {}
    for one in found:
        first.setdefault((one.words, one.tf_config), one)
    return list(first.values())


def commands_in(page: Path, text: str) -> Iterator[Command]:
    """Those of one page; loops are run through, and of a part that is no shell's nothing is taken."""
    for block in BLOCK.finditer(text):
        if re.search(r"(^|[ ;])(python|make|pip) ", block[1], re.MULTILINE):
            yield from _shown(page, text.count("\n", 0, block.start(1)), block[1])
    plain = BLOCK.sub(lambda block: "\n" * block[0].count("\n"), text)
    for span in re.finditer(r"`((?:python|make|pip) [^`]+)`", plain):
        yield from _shown(page, plain.count("\n", 0, span.start()), span[1])


def _shown(page: Path, before: int, code: str) -> Iterator[Command]:
    """The commands of a piece of shell code with so many lines ``before`` it."""
    code = SHELL + re.sub(r"<(\w+)>", r"\1", code)  # which the shell would take for a redirection
    # Restricted and with no program to be found, so that nothing is done but to show the words; no patterns of files.
    shell = [shutil.which("bash") or "bash", "--restricted", "-f", "-c", code]
    done = subprocess.run(shell, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, f"{page}:{before + 1}: {done.stderr}"
    for shown in done.stdout.split("\0\x1e\0")[:-1]:
        line, tf_config, *words = shown.split("\0")
        yield Command(page, before + int(line) - SHELL.count("\n"), tuple(words), tf_config)
