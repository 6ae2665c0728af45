"""Text of any kind in a picture: in any script, of any length, and never read as mathematics."""

from __future__ import annotations

import functools
import logging
from typing import Any

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font

_cjk = ("Noto Sans CJK", "Noto Sans SC", "WenQuanYi", "Droid Sans Fallback", "Microsoft YaHei", "PingFang")
_most_letters = 200  # more never fit into a line


def draw_line(figure: Figure, text: str, at: tuple[float, float], right: float, **style: Any) -> None:
    """Write ``text`` in one line from ``at``; what goes beyond ``right`` is cut off, with an ellipsis.

    A letter that no font has is a box: else Matplotlib warns for each on the console. So is what acts on other letters,
    such as a mark of direction.

    Args:
        at: left end and middle of the line, as shares of the figure.
        right: share of the figure's width.
    """
    fonts = _fonts()
    known = frozenset[int]().union(*(letters for _, letters in fonts))
    shows = (letter if letter.isprintable() and ord(letter) in known else "□" for letter in " ".join(text.split()))
    line = "".join(shows)
    shown = line[:_most_letters]
    written = figure.text(*at, "", va="center", parse_math=False, family=[name for name, _ in fonts], **style)
    room = (right - at[0]) * figure.bbox.width
    while True:
        written.set_text(shown if shown == line else f"{shown.rstrip()}…")
        width = written.get_window_extent().width
        if width <= room or not shown:
            return
        shown = shown[: min(len(shown) - 1, int(len(shown) * room / width))]


@functools.cache
def _fonts() -> list[tuple[str, frozenset[int]]]:
    """The font that comes with Matplotlib and, if there is one, an installed one for Chinese, with their letters."""
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    names = ["DejaVu Sans", *sorted(name for name in installed if name.startswith(_cjk))[:1]]
    # Lines may be bold, and a bold font lacks letters that the regular one has. Matplotlib logs a line about it.
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    fonts = []
    for name in names:
        paths = [font_manager.findfont(font_manager.FontProperties(family=name, weight=w)) for w in ("regular", "bold")]
        fonts.append((name, frozenset.intersection(*(frozenset(get_font(path).get_charmap()) for path in paths))))
    return fonts
