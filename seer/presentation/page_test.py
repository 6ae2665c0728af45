from __future__ import annotations

import base64
import html.parser
import re
from dataclasses import replace
from pathlib import Path

import pytest

from common.console import visible
from seer.presentation.page import Content, Rated, Recommendation, Section, render_page, write_page
from seer.presentation.pictures import HEIGHT, WIDTH, Picture

PICTURE = Picture(b"\x89PNG picture", 'Piano roll of "A" & B.', (0.25, 0.5))
EXPLAINED = Section(72.44, 82.44, "Of 62 sections this one is best: 4.21.", PICTURE, b"RIFF sound", b"MThd clip")
SONG = Recommendation(1, "First song", "An artist", 4.2, EXPLAINED, "An album", 1999)
CONTENT = Content(
    heading="One song for user 12",
    model="SeER (dot) on the sample",
    synthetic=True,
    note="Personal: 4.2 against 3.1.",
    rated=(Rated(5.0, "Loved", "Somebody"), Rated(3.5, "Liked", "Another")),
    recommendations=(SONG, Recommendation(2, "Silent", "Nobody", 3.0, "This song has no notes.")),
    sound="Sound: built-in.",
    versions="Keras 3",
)
HOSTILE = "</style></script><script>alert(1)</script><img src=x onerror=alert(2)>\" ' & $model ${note} {rank}"
VOID = {"meta", "link", "img", "br", "input"}


class Reader(html.parser.HTMLParser):
    """Collects tags, attributes and text, and sees to it that every element is closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def with_song(**changes: object) -> Content:
    return replace(CONTENT, recommendations=(replace(SONG, **changes),))


def test_content() -> None:
    page = Reader(render_page(CONTENT))
    for text in ("One song for user 12", "SeER (dot) on the sample", "Synthetic data", "Personal: 4.2", "Loved", "3.5"):
        assert text in page.text
    for text in (
        "First song",
        "An album",
        "1999",
        "4.20",
        "1:12.4–1:22.4",
        "Of 62 sections",
        "This song has no notes.",
    ):
        assert text in page.text
    assert page.all("img")[0]["alt"] == PICTURE.text
    assert (page.all("img")[0]["width"], page.all("img")[0]["height"]) == (str(WIDTH), str(HEIGHT))
    assert page.all("html") == [{"lang": "en"}]
    identifiers = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in page.tags:
        assert attributes.get("aria-labelledby", identifiers[0]) in identifiers


def test_pictures_and_sounds_are_inside() -> None:
    page = Reader(render_page(CONTENT))
    embedded = [page.all("img")[0]["src"], page.all("audio")[0]["src"], page.all("a")[1]["href"]]
    for address, kind, content in zip(
        embedded,
        ("image/png", "audio/wav", "audio/midi"),
        (PICTURE.png, EXPLAINED.wav, EXPLAINED.midi),
        strict=True,
    ):
        head, _, data = (address or "").partition(",")
        assert head == f"data:{kind};base64" and base64.b64decode(data) == content
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert not re.search(r"url\(|@import|https?:", render_page(CONTENT))


@pytest.mark.parametrize("field", ["heading", "model", "note", "sound", "versions"])
def test_texts_are_escaped(field: str) -> None:
    page = Reader(render_page(replace(CONTENT, **{field: HOSTILE})))
    assert HOSTILE in page.text
    assert [len(page.all(tag)) for tag in ("script", "style", "img")] == [1, 1, 1]


@pytest.mark.parametrize(
    "song", [{"title": HOSTILE}, {"artist": HOSTILE}, {"album": HOSTILE}, {"explanation": HOSTILE}]
)
def test_song_texts_are_escaped(song: dict[str, str]) -> None:
    page = Reader(render_page(with_song(**song)))
    assert HOSTILE in page.text and len(page.all("script")) == 1
    rated = replace(CONTENT, rated=(Rated(5, HOSTILE, HOSTILE),))
    assert Reader(render_page(rated)).text.count(HOSTILE) == 2
    picture = replace(EXPLAINED, picture=replace(PICTURE, text=HOSTILE), why=HOSTILE)
    page = Reader(render_page(with_song(explanation=picture)))
    assert page.all("img")[0]["alt"] == HOSTILE and HOSTILE in page.text


@pytest.mark.parametrize("title", ["", "x" * 300, "שלום", "a\0b\x1b\ud800c\ufffe", "大海"])
def test_any_title(tmp_path: Path, title: str) -> None:
    write_page(tmp_path / "page.html", with_song(title=title))
    written = (tmp_path / "page.html").read_text("utf-8")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f\ud800-\udfff\ufffe]", written.replace("\n", ""))
    assert (visible(title) or "Untitled") in Reader(written).text
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("rating", "width"), [(1, "0.00"), (3, "50.00"), (5, "100.00"), (5.36, "100.00"), (-7, "0.00")]
)
def test_bar_is_clipped_but_not_the_number(rating: float, width: str) -> None:
    page = Reader(render_page(with_song(rating=rating)))
    assert f"{rating:.2f}" in page.text
    assert page.all("rect")[1]["width"] == width
    assert ("beyond the scale" in page.text) == (not 1 <= rating <= 5)


def test_what_is_missing_is_left_out() -> None:
    bare = replace(CONTENT, synthetic=False, rated=(), recommendations=(), sound="")
    page = Reader(render_page(bare))
    assert "Synthetic" not in page.text and "highest ratings" not in page.text and "No song" in page.text
    quiet = replace(EXPLAINED, wav=None, midi=None, picture=replace(PICTURE, section=None))
    page = Reader(render_page(with_song(explanation=quiet, album="", year=None)))
    assert page.all("audio") == [] and "MIDI" not in page.text and "1:12.4–1:22.4" in page.text
    assert "An artist" in page.text and "·" not in page.text.split("An artist")[1].split("4.20")[0]
    assert "0 ·" not in Reader(render_page(with_song(year=0))).text


def test_the_policy_allows_the_page_itself_only() -> None:
    policy = Reader(render_page(CONTENT)).all("meta")[1]["content"] or ""
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy and "http" not in policy and policy.count("'sha256-") == 2
