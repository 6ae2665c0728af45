"""The page of explained recommendations in a real browser, without a window."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from pretty_midi import Instrument, Note, PrettyMIDI

from seer.presentation.page import Content, Rated, Recommendation, Section, write_page
from seer.presentation.pictures import piano_roll
from seer.presentation.sound import Synthesiser, clip, midi_bytes

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
]
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"
NAMES = ("chromium", "chromium-browser", "google-chrome")

pytestmark = pytest.mark.browser


def browser_path() -> str | None:
    return os.environ.get("ENCORE_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


def explanation(seconds: float) -> Section:
    midi = PrettyMIDI()
    midi.instruments.append(Instrument(0))
    midi.instruments[0].notes = [Note(90, 60 + second % 12, second, second + 0.9) for second in range(60)]
    starts = np.arange(50.0)
    chosen = (40.0, 40.0 + seconds)
    section = clip(midi, *chosen)
    return Section(
        *chosen,
        "Of 50 sections this one would be rated highest: 4.21.",
        piano_roll(midi, starts, np.sin(starts / 9), chosen, 55.0, "A song"),
        Synthesiser("built-in").render(section, seconds),
        midi_bytes(section),
    )


@pytest.fixture(scope="module")
def content() -> Content:
    titles = ("First", HOSTILE, "x" * 300, "שלום עולם " * 20)
    songs = [Recommendation(i + 1, title, "Artist", 4.5 - i, explanation(1.0 + i)) for i, title in enumerate(titles)]
    silent = Recommendation(5, "Silent", "Nobody", 6.0, "This song has no notes.")
    heading = f"Five songs for user 12 {HOSTILE}"
    rated = (Rated(5, HOSTILE, "y" * 300),)
    return Content(heading, "SeER", True, "A note.", rated, (*songs, silent), "Built-in.", "Keras 3")


@pytest.fixture(scope="module")
def address(content: Content, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_page(path, content)
    return path.as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = browser_path()
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH and ENCORE_BROWSER is not set")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page opened; afterwards: no error on the console, no request that left the disk, nothing injected ran."""
    opened = browser.new_page(viewport={"width": 1100, "height": 800}, color_scheme="light")
    faults: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            faults.append(message.text)

    opened.on("console", hear)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else faults.append(r.url))
    opened.goto(address)
    yield opened
    assert opened.evaluate("window.hacked") is None
    opened.close()
    assert faults == []


def wait_until(page: Page, condition: str, seconds: float = 15) -> None:
    """Playwright's own wait_for_function needs eval, which the page's policy forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(30)


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-labelledby') || document.activeElement.tagName")


def test_title_and_pictures(page: Page, content: Content) -> None:
    assert page.title() == content.heading
    widths = page.evaluate("Promise.all([...document.images].map(i => i.decode().then(() => i.naturalWidth)))")
    assert len(widths) == 4 and min(widths) > 0
    expect(page.locator("#song-2")).to_have_text(HOSTILE)


def test_every_sound_plays(page: Page) -> None:
    for number in range(4):
        card = page.locator("article").nth(number)
        button = card.locator(".play")
        assert (button.get_attribute("aria-label") or "").startswith("Play 0:40.0 to 0:4")
        button.click()
        wait_until(page, f"document.querySelectorAll('audio')[{number}].currentTime > 0.2")
        assert (button.get_attribute("aria-label") or "").startswith("Pause ")
        expect(card.locator(".now")).to_be_visible()
    # One at a time: the last one silenced the others.
    assert page.evaluate("[...document.querySelectorAll('audio')].map(a => a.paused || a.ended)") == [True] * 3 + [
        False
    ]
    lengths = page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
    assert lengths == pytest.approx([1.5, 2.5, 3.5, 4.5], abs=0.01)


def test_the_line_follows_the_sound_through_the_section(page: Page, content: Content) -> None:
    card = page.locator("article").nth(3)
    explained = content.recommendations[3].explanation
    assert isinstance(explained, Section) and explained.picture.section is not None
    card.locator(".seek").fill("2")  # of 4 seconds
    left = float(card.locator(".now").evaluate("line => parseFloat(line.style.left)"))
    assert left == pytest.approx(100 * sum(explained.picture.section) / 2, abs=0.01)
    assert card.locator(".seek").get_attribute("aria-valuetext") == "0:42.0"
    assert card.locator("audio").evaluate("audio => audio.currentTime") == pytest.approx(2)


def test_play_all(page: Page) -> None:
    page.get_by_role("button", name="Play all sections").click()
    wait_until(page, "document.querySelectorAll('audio')[1].currentTime > 0.2")
    assert focused(page) == "song-2"
    assert page.evaluate("document.querySelectorAll('audio')[0].ended")


def test_keys(page: Page) -> None:
    for key, expected in zip("jjkj", ("song-1", "song-2", "song-1", "song-2"), strict=True):
        page.keyboard.press(key)
        assert focused(page) == expected
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert focused(page) == "song-5"
    page.keyboard.press("Space")  # has no sound
    page.keyboard.press("ArrowLeft")
    for key, paused in ((" ", False), (" ", True), ("Enter", False), ("Enter", True)):
        page.keyboard.press(key)
        wait_until(page, f"document.querySelectorAll('audio')[3].paused === {str(paused).lower()}")
    # In a control the keys are the control's own.
    page.locator("article").nth(3).locator(".seek").focus()
    page.keyboard.press("ArrowLeft")
    assert focused(page) == "INPUT"
    page.locator("article").nth(3).locator(".play").focus()
    page.keyboard.press("Enter")
    wait_until(page, "!document.querySelectorAll('audio')[3].paused")


def test_help_and_skip_link(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the recommended songs")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "songs"
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert focused(page) == "H2"


def test_light_and_dark(page: Page) -> None:
    def paper() -> str:
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    light = paper()
    page.get_by_role("button", name="Dark", exact=True).click()
    dark = paper()
    assert light != dark and "invert" in page.evaluate("getComputedStyle(document.images[0]).filter")
    page.get_by_role("button", name="Light", exact=True).click()
    assert paper() == light
    page.emulate_media(color_scheme="dark")
    assert paper() == light  # the button's choice stays
    page.reload()
    assert paper() == dark
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.images[0]).filter") == "none"


@pytest.mark.parametrize("width", [320, 360, 800])
def test_nothing_to_scroll_sideways(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for button in page.locator("button:visible").all():
        box = button.bounding_box()
        assert box is not None and box["x"] >= 0 and box["x"] + box["width"] <= width
    # The picture keeps a readable size; its frame scrolls, and starts with the explanation in sight.
    frame = page.evaluate(
        "(() => { const f = document.querySelector('.roll'); return [f.scrollLeft, f.clientWidth, f.scrollWidth]; })()"
    )
    section = np.array([0.68, 0.70]) * frame[2]
    assert frame[0] <= section[0] and section[1] <= frame[0] + frame[1]


def test_midi_can_be_saved(page: Page, content: Content) -> None:
    explained = content.recommendations[0].explanation
    assert isinstance(explained, Section)
    with page.expect_download() as waiting:
        page.get_by_role("link", name="MIDI of the section").first.click()
    assert waiting.value.suggested_filename.endswith(".mid")
    assert Path(waiting.value.path()).read_bytes() == explained.midi


def test_without_scripts_the_browsers_own_player_is_there(browser: Browser, address: str) -> None:
    page = browser.new_page(java_script_enabled=False)
    page.goto(address)
    expect(page.locator("audio").first).to_be_visible()
    expect(page.locator(".player").first).to_be_hidden()
    page.close()


def test_the_policy_forbids_the_network_and_foreign_scripts(browser: Browser, address: str) -> None:
    page = browser.new_page()
    page.goto(address)
    blocked = page.evaluate(
        """async () => {
          const seen = [];
          document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
          for (const [tag, name, value] of [
            ["img", "src", "http://127.0.0.1:9/a.png"], ["script", "text", "window.hacked = 3"],
            ["iframe", "src", "http://127.0.0.1:9/"],
          ]) {
            const element = document.createElement(tag);
            element[name] = value;
            document.body.append(element);
          }
          await fetch("http://127.0.0.1:9/").catch(() => {});
          await new Promise((done) => setTimeout(done, 200));
          return seen.sort();
        }"""
    )
    assert blocked == ["connect-src", "frame-src", "img-src", "script-src-elem"]
    assert page.evaluate("window.hacked") is None
    page.close()


def test_nothing_to_play(browser: Browser, content: Content, tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", replace(content, recommendations=content.recommendations[4:], rated=()))
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    expect(page.get_by_role("button", name="Play all sections")).to_be_hidden()
    page.keyboard.press("j")
    assert focused(page) == "song-5"
    page.close()
