"""The HTML page of explained recommendations: one file that holds its pictures and sounds and loads nothing else."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from string import Template

from common import console
from common.options import replacing
from seer.presentation.notes import clock
from seer.presentation.pictures import HEIGHT, WIDTH, Picture

LOWEST, HIGHEST = 1.0, 5.0
"""Ends of the scale of ratings."""
_template = Path(__file__).with_name("page.html")


@dataclass(frozen=True)
class Rated:
    """A song that the user rated."""

    rating: float
    title: str
    artist: str


@dataclass(frozen=True)
class Section:
    """The section that explains a recommendation; its times in seconds from the song's start."""

    start_s: float
    end_s: float
    why: str
    """A sentence with the numbers."""
    picture: Picture
    wav: bytes | None = None
    """The section as sound; None if there is none."""
    midi: bytes | None = None
    """The section as a MIDI file."""
    times_us: tuple[float, float] | None = None
    """The same times in microseconds, as the released code prints them."""


@dataclass(frozen=True)
class Recommendation:
    """A recommended song."""

    rank: int
    title: str
    artist: str
    rating: float
    """As predicted, not clipped."""
    explanation: Section | str
    """A text says why there is none."""
    album: str = ""
    year: int | None = None


@dataclass(frozen=True)
class Content:
    """All that the page says; texts are plain, not HTML."""

    heading: str
    """For example "Five songs for user 12"."""
    model: str
    """A line: model, dataset, protocol."""
    synthetic: bool
    """Whether the data are made up; the page says so."""
    note: str
    """What is personal about these recommendations, with the numbers."""
    rated: tuple[Rated, ...]
    """The user's own highest ratings."""
    recommendations: tuple[Recommendation, ...]
    sound: str
    """Where notes and sound come from; empty if there is no sound."""
    versions: str


def write_page(path: Path, content: Content) -> None:
    """Write the page; it works from disk, without a network, which its content security policy forbids."""
    with replacing(path, "w") as file:
        file.write(render_page(content))


def render_page(content: Content) -> str:
    """The page as HTML."""
    template = _template.read_text("utf-8")
    styles, scripts = (re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL) for tag in ("style", "script"))
    synthetic = '<p class="badge">Synthetic data: users and ratings are made up</p>'
    return Template(template).substitute(
        policy=f"default-src 'none'; img-src data:; media-src data:; style-src {_hash(styles[0])}; "
        f"script-src {_hash(scripts[0])}; base-uri 'none'; form-action 'none'",
        title=console.html(content.heading),
        heading=console.html(content.heading),
        model=console.html(content.model),
        badge=synthetic if content.synthetic else "",
        note=console.html(content.note),
        rated=_rated(content.rated),
        songs="\n".join(map(_card, content.recommendations)) or '<p class="none">No song to recommend.</p>',
        sound=f"<p>{console.html(content.sound)}</p>" if content.sound else "",
        versions=console.html(content.versions),
    )


def _hash(code: str) -> str:
    """Allows exactly this style or script, so that nothing inside a title can ever run."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _rated(rated: tuple[Rated, ...]) -> str:
    if not rated:
        return ""
    rows = "\n".join(
        f'<tr><td>{song.rating:g}</td><td dir="auto">{console.html(song.title)}</td>'
        f'<td dir="auto">{console.html(song.artist)}</td></tr>'
        for song in rated
    )
    return f"""<section aria-labelledby="rated">
<h2 id="rated">This user’s highest ratings</h2>
<table>
<thead><tr><th scope="col">Rating</th><th scope="col">Title</th><th scope="col">Artist</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</section>"""


def _card(song: Recommendation) -> str:
    explanation = song.explanation
    if isinstance(explanation, str):
        times, body = "", f'<p class="wide none">{console.html(explanation)}</p>'
    else:
        times = f' data-start="{explanation.start_s:.3f}" data-end="{explanation.end_s:.3f}"'
        body = _explanation(song, explanation)
    facts = [f"<bdi>{console.html(fact)}</bdi>" for fact in (song.artist, song.album, str(song.year or "")) if fact]
    share = (song.rating - LOWEST) / (HIGHEST - LOWEST)
    beyond = "" if 0 <= share <= 1 else "<br>beyond the scale"
    return f"""<article tabindex="-1" aria-labelledby="song-{song.rank}"{times}>
<p class="rank">{song.rank}</p>
<div>
<h3 id="song-{song.rank}" dir="auto">{console.html(song.title) or "Untitled"}</h3>
<p class="by">{" · ".join(facts)}</p>
</div>
<div class="rating">
<p class="big">{song.rating:.2f}</p>
<svg class="scale" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
<rect class="all" width="100" height="6" rx="2"/>
<rect class="part" width="{100 * min(max(share, 0.0), 1.0):.2f}" height="6" rx="2"/>
</svg>
<p class="small">predicted, scale {LOWEST:g} to {HIGHEST:g}{beyond}</p>
</div>
{body}
</article>"""


def _explanation(song: Recommendation, explanation: Section) -> str:
    when = f"{clock(explanation.start_s)}–{clock(explanation.end_s)}"
    picture = explanation.picture
    left, right = picture.section or (0.0, 1.0)
    name = f"{song.rank}-{when.replace(':', 'm').replace('–', '-')}.mid"
    download = (
        f'<a class="get" download="{name}" href="{_data("audio/midi", explanation.midi)}">MIDI of the section</a>'
        if explanation.midi
        else ""
    )
    silent = "" if explanation.wav else f"<strong>{when}</strong> "
    exact = f" In microseconds: {explanation.times_us}." if explanation.times_us else ""
    return f"""<div class="wide roll" tabindex="0" role="group" aria-label="Picture of the song">
<div class="sheet" data-left="{left:.5f}" data-right="{right:.5f}">
<img src="{_data("image/png", picture.png)}" width="{WIDTH}" height="{HEIGHT}" alt="{console.html(picture.text)}">
<div class="now" hidden></div>
</div>
</div>
{_player(song, explanation, when)}
<p class="wide why">{silent}{console.html(explanation.why + exact)} {download}</p>"""


def _player(song: Recommendation, explanation: Section, when: str) -> str:
    """Without scripts the browser's own controls are there; the script puts a larger button in their place."""
    if explanation.wav is None:
        return ""
    of_song = f"{when.replace('–', ' to ')} of {console.html(song.title)}"
    return f"""<audio class="wide" controls preload="auto" src="{_data("audio/wav", explanation.wav)}"></audio>
<div class="wide player" hidden>
<button class="play" type="button" aria-label="Play {of_song}" data-play="Play {of_song}" data-pause="Pause {of_song}">
<svg class="start" viewBox="0 0 20 20" aria-hidden="true"><path d="M5 2.5v15l12.5-7.5z"/></svg>
<svg class="stop" viewBox="0 0 20 20" aria-hidden="true"><path d="M4 3h4.2v14H4zM11.8 3H16v14h-4.2z"/></svg>
</button>
<span class="when">{when}</span>
<input class="seek" type="range" min="0" max="10" step="0.1" value="0" aria-label="Position in the section">
</div>"""
