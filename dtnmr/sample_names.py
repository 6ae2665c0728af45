"""Invented names of artists and composers for the sample: most of two words, some that the name filter drops."""

from __future__ import annotations

import numpy as np

FIRST = "Aru Bela Cirra Dovan Elko Fanni Gorin Hesta Ilmo Jorra Kesti Lumo Marra Nelo Orvi Pesta Quin Rulo Sevi Tarmo"
LAST = (
    "Aldervik Brostam Carvelo Dunmere Eskorin Falvest Grenholt Hovarin Istrand Jelvik Korvane Lisbrand Mortave Norvel"
)
SCRIPTS = (
    "山河樂隊",
    "ほしぞら",
    "바람소리",
    "ฟ้าใส",
    "星光 Orkestra",
    "Vimm",
    "Zorrax",
    "Onehundredandfourteen Orchestras United",
)
OTHERS = 0.3
"""Share of artists with a name that the name filter drops."""


def artist_names(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different names."""
    plain = _pairs(count, rng)
    others = rng.random(count) < OTHERS
    return [
        f"{SCRIPTS[place % len(SCRIPTS)]}{place}" if other else name
        for place, (name, other) in enumerate(zip(plain, others.tolist(), strict=True))
    ]


def writer_names(count: int, rng: np.random.Generator) -> list[str]:
    """``count`` different names, all of two words; one in ten is written with the surname first."""
    return [
        ", ".join(reversed(name.split(" ", 1))) if place % 10 == 0 else name
        for place, name in enumerate(_pairs(count, rng))
    ]


def _pairs(count: int, rng: np.random.Generator) -> list[str]:
    names = [f"{first} {last}" for first in FIRST.split() for last in LAST.split()]
    chosen = [names[place] for place in rng.permutation(len(names))]
    return [
        f"{chosen[place % len(chosen)]}{f' {place // len(chosen) + 1}' * (place >= len(chosen))}"
        for place in range(count)
    ]
