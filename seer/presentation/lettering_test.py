from __future__ import annotations

import io
import warnings

import pytest
from matplotlib.figure import Figure

from seer.presentation.lettering import draw_line


def line(text: str, **style: object) -> str:
    """What is written of ``text`` into half of 1,000 pixels; a warning is an error."""
    figure = Figure(figsize=(10, 1), dpi=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_line(figure, text, (0.25, 0.5), 0.75, **style)
        figure.savefig(io.BytesIO(), format="png")
    written = figure.texts[0]
    assert written.get_window_extent().x1 <= 751
    return written.get_text()


@pytest.mark.parametrize("text", ["A song", "Füße – Ωμέγα – Привет", "$x^2$ 100 $", ""])
def test_short_text_is_kept(text: str) -> None:
    assert line(text) == text


@pytest.mark.parametrize("text", ["W" * 300, "i" * 300, "word " * 60, "大" * 300])
def test_long_text_is_cut(text: str) -> None:
    written = line(text, fontsize=12, fontweight="bold")
    assert written.endswith("…") and 10 < len(written) < len(text)


def test_letters_without_a_glyph_are_boxes() -> None:
    assert line("a\ud800b\U0010fffdc\x07") == "a□b□c□"
    assert line("one\n two\t three") == "one two three"
    assert line("a\u202eb\u200bc\x1b[2J\x9bd") == "a□b□c□[2J□d"


@pytest.mark.parametrize("weight", ["regular", "bold"])
def test_no_letter_provokes_a_warning(weight: str) -> None:
    for first in range(0x20, 0x3000, 200):
        line("".join(map(chr, range(first, first + 200))), fontsize=2, fontweight=weight)
    for first in range(0x3000, 0x20000, 10_000):
        line("".join(map(chr, range(first, first + 10_000, 53))), fontsize=4, fontweight=weight)
