"""Words of the synthetic sample: an invented language in which each genre has words, entities and tags of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STOP_WORDS = ("the", "and", "of", "in", "a", "with", "is", "from", "to", "for", "their", "was", "by", "on", "as", "at")
SHARES = (0.35, 0.45, 0.20)
"""Of stop-words, words that any biography may use, and words of the artist's genres."""
COMMON, OWN, NAMES, TAGS = 400, 60, 12, 10
"""Common words; and for each genre words, entities and tags."""
LENGTH = (40, 420)
"""Words of a biography: fewest and most. Only the first 300 pieces of a text are used."""
NOISE = 0.15
"""Share of the entities and tags that are drawn from all genres alike."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Language:
    """Words; of the lists of lists there is one for each genre."""

    common: list[str]
    words: list[list[str]]
    entities: list[list[str]]
    tags: list[list[str]]


def draw_language(genres: int, rng: np.random.Generator) -> Language:
    """Invent the words; no word is in two lists."""
    words = _invent(COMMON + genres * (OWN + 2 * NAMES + TAGS), rng)
    taken = iter(words)

    def take(count: int) -> list[str]:
        return [next(taken) for _ in range(count)]

    return Language(
        common=take(COMMON),
        words=[take(OWN) for _ in range(genres)],
        entities=[
            [f"{first.title()} {second.title()}" for first, second in zip(take(NAMES), take(NAMES), strict=True)]
            for _ in range(genres)
        ],
        tags=[take(TAGS) for _ in range(genres)],
    )


def _invent(count: int, rng: np.random.Generator) -> list[str]:
    """Different words of two to four syllables."""
    found: dict[str, None] = {}
    while len(found) < count:
        letters = zip(rng.choice(list("bdfgklmnprstvz"), 4), rng.choice(list("aeiou"), 4), strict=True)
        found["".join(a + b for a, b in list(letters)[: rng.integers(2, 5)])] = None
    return list(found)


def biography(language: Language, genres: Floats, rng: np.random.Generator) -> str:
    """Sentences; ``genres`` are the artist's shares."""
    length = int(rng.integers(LENGTH[0], LENGTH[1] + 1))
    kinds = rng.choice(3, length, p=SHARES)
    genre = rng.choice(len(genres), length, p=genres)
    place = rng.random(length)
    words = []
    for kind, own, where in zip(kinds.tolist(), genre.tolist(), place.tolist(), strict=True):
        source = (STOP_WORDS, language.common, language.words[own])[kind]
        words.append(source[int(len(source) * where**2)])  # the first words are the most frequent
    sentences = [" ".join(words[i : i + 12]).capitalize() + "." for i in range(0, length, 12)]
    return "\n\n".join(" ".join(sentences[i : i + 5]) for i in range(0, len(sentences), 5)) + "\n"


def entities(language: Language, genres: Floats, rng: np.random.Generator) -> list[str]:
    """Three to eight mentions of entities of two words each."""
    return _names(language.entities, genres, int(rng.integers(3, 9)), rng)


def tags(language: Language, genres: Floats, rng: np.random.Generator) -> dict[str, int]:
    """Tags with how often each was given, in all 5 to 60 times."""
    given = _names(language.tags, genres, int(rng.integers(5, 61)), rng)
    return {tag: given.count(tag) for tag in dict.fromkeys(given)}


def names(language: Language, artist_of: Sequence[int], rng: np.random.Generator) -> list[tuple[str, str]]:
    """Title and artist of each song, of one to three common words; all songs of an artist name it alike."""
    words = np.array(language.common)

    def drawn(most: int) -> str:
        return " ".join(rng.choice(words, rng.integers(1, most + 1))).title()

    artists = ["The " + drawn(2) for _ in range(max(artist_of) + 1)]
    return [(drawn(3), artists[artist]) for artist in artist_of]


def _names(lists: list[list[str]], genres: Floats, count: int, rng: np.random.Generator) -> list[str]:
    shares = (1 - NOISE) * genres + NOISE / len(genres)
    genre = rng.choice(len(genres), count, p=shares / shares.sum())
    return [lists[g][int(len(lists[g]) * where**2)] for g, where in zip(genre, rng.random(count), strict=True)]
