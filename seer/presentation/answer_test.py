"""Names of files and folders of an answer, whatever the data and the user are called."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from common.options import PROJECT
from seer.presentation.answer import _folder


@pytest.mark.parametrize(
    "name",
    ["../../etc", "a/b\\c", "<script>alert(1)</script>", "x\u202ey", "\x1b[2J", "x" * 300, "caf\udce9", "a|b", ".."],
)
def test_the_default_folder_has_a_harmless_name(name: str) -> None:
    folder = _folder(SimpleNamespace(output=None), SimpleNamespace(name=name), SimpleNamespace(name=name))  # type: ignore[arg-type]
    assert folder.parent == (PROJECT / "runs" / "seer").resolve()
    assert folder.name.startswith("for-") and folder.name.isprintable() and len(folder.name) < 130
    assert not set(folder.name) & set("<>|/\\\x1b\u202e")
