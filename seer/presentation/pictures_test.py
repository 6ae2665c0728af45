from __future__ import annotations

import io
import logging
import warnings

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
from pretty_midi import Instrument, Note, PrettyMIDI

from common.options import PROJECT
from seer.presentation.pictures import HEIGHT, WIDTH, Picture, _palette, piano_roll

GREY = 0.05
"""Colours whose channels differ by less are grey."""


def test_the_picture_of_the_readme_has_true_colours() -> None:
    """With a palette of 128 colours guitar and flute were alike."""
    image = matplotlib.image.imread(PROJECT / "docs" / "explanation.png")[:, :, :3]
    for colour in _palette[:3]:
        near = np.abs(image - matplotlib.colors.to_rgb(colour)).max(axis=2) < 0.01
        assert near.sum() > 50


def song(*notes: Note, program: int = 0, is_drum: bool = False) -> PrettyMIDI:
    midi = PrettyMIDI()
    midi.instruments.append(Instrument(program, is_drum=is_drum))
    midi.instruments[0].notes = list(notes)
    return midi


def orchestra(instruments: int, notes: int = 60) -> PrettyMIDI:
    midi, rng = PrettyMIDI(), np.random.default_rng(1)
    for i in range(instruments):
        midi.instruments.append(Instrument(8 * i % 128, is_drum=i == 9))
        midi.instruments[-1].notes = [
            Note(int(rng.integers(1, 128)), int(rng.integers(128)), s, s + 0.4) for s in rng.uniform(0, 200, notes)
        ]
    return midi


def pixels(picture: Picture) -> np.ndarray:
    image = matplotlib.image.imread(io.BytesIO(picture.png))[:, :, :3]
    assert image.shape == (HEIGHT, WIDTH, 3)
    return image


def draw(midi: PrettyMIDI, **other: object) -> Picture:
    usual: dict = {"starts_s": [0.0, 1.0, 2.0], "scores": [3.5, 4.0, 3.0], "chosen": (1.0, 11.0), "seen_s": None}
    return piano_roll(midi, **(usual | {"title": "A song"} | other))


@pytest.fixture(autouse=True)
def silent(caplog: pytest.LogCaptureFixture):
    """No picture may provoke a warning, by the module warnings or by logging."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_notes_section_and_what_was_not_read_lie_where_they_should() -> None:
    midi = song(Note(127, 60, 0.0, 20.0), Note(127, 84, 30.0, 40.0))
    picture = draw(midi, chosen=(10.0, 20.0), seen_s=25.0)
    image = pixels(picture)
    assert picture.section is not None
    left, right = (round(share * WIDTH) for share in picture.section)
    width = right - left  # of ten seconds; the axis is four times that
    blue = (image[:, :, 2] > image[:, :, 0] + 0.3).nonzero()
    columns, rows = blue[1], blue[0]
    inside = rows < 0.85 * HEIGHT  # the legend lies below
    assert columns[inside].min() == pytest.approx(left - width, abs=2)
    first = columns[inside & (columns < left + 1.5 * width)]
    assert first.max() == pytest.approx(right, abs=2)  # 20 s
    assert rows[inside & (columns < right)].min() > 0.6 * HEIGHT  # the low note
    shaded = image[:, left + width // 2]
    assert (shaded[:, 0] > shaded[:, 2] + 0.1).sum() > 0.5 * HEIGHT
    beside = image[int(0.13 * HEIGHT) : int(0.85 * HEIGHT), right + width // 4]
    assert (np.ptp(beside, axis=1) < GREY).all()
    unread = image[int(0.2 * HEIGHT), right + width]
    assert (unread < 0.98).all() and np.ptp(unread) < GREY


def test_words() -> None:
    midi = song(Note(90, 60, 0.0, 20.0), program=40)
    midi.instruments.append(Instrument(0, is_drum=True))
    midi.instruments[1].notes = [Note(90, 36, 0.0, 0.1)]
    words = draw(midi, seen_s=12.0).text
    assert "0:20.0 long: 2 notes (Violin, drums)" in words
    assert "from 3.00 to 4.00" in words
    assert "0:01.0 to 0:11.0 is shaded" in words
    assert "after 0:12.0 was not read" in words
    assert "not read" not in draw(midi).text


def test_curve_is_broken_where_there_is_no_candidate() -> None:
    midi = song(Note(90, 60, 0.0, 100.0))
    starts = np.array([*range(30), 45, *range(60, 90)], float)
    for scores in (np.full(len(starts), 3.0), np.linspace(2, 4, len(starts))):
        image = pixels(draw(midi, starts_s=starts, scores=scores, chosen=None))
        curve = (image[65:160] < 0.35).all(axis=2).any(axis=0)  # black, by column
        at = [round((0.072 + 0.91 * second / 100) * WIDTH) for second in (20, 37, 45, 52, 75)]
        assert [bool(curve[x - 2 : x + 3].any()) for x in at] == [True, False, True, False, True]


@pytest.mark.parametrize("instruments", [1, 9, 10, 16])
def test_many_instruments(instruments: int) -> None:
    picture = draw(orchestra(instruments), starts_s=np.arange(190.0), scores=np.sin(np.arange(190)))
    pixels(picture)
    assert ("more" in picture.text) == (instruments > 10)
    assert ("drums" in picture.text) == (instruments > 9)


@pytest.mark.parametrize(
    "midi",
    [
        PrettyMIDI(),
        song(),
        song(Note(90, 60, 0.0, 0.0)),
        song(*(Note(90, pitch, 3.0, 3.0) for pitch in range(128))),
        song(Note(90, 36, 2.0, 2.0), is_drum=True),
        song(Note(0, 0, 0.0, 1.0), Note(127, 127, 0.0, 36_000.0)),
    ],
)
@pytest.mark.parametrize("scores", [[], [4.0], [np.nan, np.nan], [3.0, np.nan, 3.0]])
def test_odd_songs(midi: PrettyMIDI, scores: list[float]) -> None:
    starts = list(range(len(scores)))
    for chosen in (None, (0.0, 10.0), (500.0, 510.0), (7.0, 7.0), (35.0, 33.0)):
        picture = draw(midi, starts_s=starts, scores=scores, chosen=chosen, seen_s=0.0)
        pixels(picture)
        if chosen:
            assert picture.section is not None and 0 <= min(picture.section) <= max(picture.section) < 1
        else:
            assert picture.section is None


@pytest.mark.parametrize(
    "title",
    [
        "",
        "大海 — 七里香",
        "שלום עולם",
        "مرحبا",
        "100 $ and $x^$ \\frac{",
        "a\nb\0c\x1b[0m",
        "🎹🎵",
        "T" * 300,
        "W" * 300,
        "i" * 199,
        "\ud800",
    ],
)
def test_any_title(title: str) -> None:
    image = pixels(draw(song(Note(90, 60, 0.0, 20.0)), title=title))
    heading = (image[:40] < 0.5).all(axis=2)
    assert heading.any() == bool(title)
    assert not heading[:, -5:].any()  # it ends within the picture


def test_soft_notes_are_paler() -> None:
    loud, soft = (pixels(draw(song(Note(v, 60, 0.0, 20.0)), chosen=None)) for v in (127, 10))
    assert soft[:400].min() >= 0.0 and loud[200:400].sum() < soft[200:400].sum()
