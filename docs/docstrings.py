"""Makes the docstrings of the project Markdown: an extension of Griffe, which reads them for the API reference."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([\w.]+)`")
_SHARED = re.compile(r"^( +)(\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)
_LITERAL = re.compile(r"::$", re.MULTILINE)
_DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)


def _apart(match: re.Match[str]) -> str:
    """``a, b: text`` among the arguments as two lines."""
    return "\n".join(f"{match[1]}{name}: {match[3]}" for name in match[2].split(", "))


class Docstrings(griffe.Extension):
    """Roles such as ``:func:`name``` become links, doctests and what follows ``::`` become code."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of an object."""
        if obj.docstring is None:
            return

        def link(match: re.Match[str]) -> str:
            first, *rest = match[1].split(".")
            with contextlib.suppress(griffe.NameResolutionError):
                first = obj.resolve(first)
            target = ".".join([first, *rest])
            # Private names have no page, and a single word may be a name of elsewhere; a wrong path MkDocs tells.
            plain = "." not in target or target.rpartition(".")[2].startswith("_")
            return f"`{match[1]}`" if plain else f"[`{match[1]}`][{target}]"

        text = _LITERAL.sub(":", _SHARED.sub(_apart, obj.docstring.value))
        text = _DOCTEST.sub(r"```pycon\n\g<0>\n```", text)
        obj.docstring.value = _ROLE.sub(link, text)
