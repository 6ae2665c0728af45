"""Explained recommendations: the sections of a song with their ratings, as numbers, as a picture and as sound."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common import console
from seer.explain import SECOND, Explainer, Explanation
from seer.preprocess import SeerData
from seer.presentation.notes import SongNotes, clock, song_notes
from seer.presentation.pictures import Picture, piano_roll
from seer.presentation.sound import Synthesiser, clip, find_synthesiser, midi_bytes


@dataclass(frozen=True)
class Shown:
    """What pictures and sounds are made of."""

    explainer: Explainer
    data: SeerData
    midi_dir: Path | None = None
    """MIDI files by song number; songs without one are reconstructed from the data."""


@dataclass(frozen=True)
class Explained:
    """Why a user would like a song: the section of it that the model would rate highest on its own.

    Attributes:
        rating: predicted for the part of the song that the model read in training.
        explanation: the sections as :mod:`seer.explain` gives them.
    """

    rating: float
    explanation: Explanation = field(repr=False)
    shown: Shown = field(repr=False)

    @property
    def song(self) -> str:
        """Id of the song."""
        return str(self._about["song_id"])

    @property
    def title(self) -> str:
        """Of the song; empty if it is not known."""
        return str(self._about["title"])

    @property
    def artist(self) -> str:
        """Of the song; empty if it is not known."""
        return str(self._about["artist_name"])

    @property
    def sections(self) -> pd.DataFrame:
        """All sections: columns ``start`` and ``end``, seconds, and ``rating``, predicted for each on its own."""
        windows = self.explanation.windows
        columns = {
            "start": windows.start_us / SECOND,
            "end": windows.end_us / SECOND,
            "rating": self.explanation.scores,
        }
        return pd.DataFrame(columns)

    @property
    def start(self) -> float | None:
        """Where the best section starts, in seconds; None if the song has no section."""
        return None if self.chosen is None else self.chosen[0]

    @property
    def end(self) -> float | None:
        """Where it ends."""
        return None if self.chosen is None else self.chosen[1]

    @property
    def chosen(self) -> tuple[float, float] | None:
        """Both."""
        section = self.explanation.section_us
        return None if section is None else (section[0] / SECOND, section[1] / SECOND)

    @property
    def audible(self) -> tuple[float, float] | None:
        """The same, unless nothing can be heard of it: the released rule may choose one that runs backwards."""
        return None if self.chosen is None or self.chosen[1] <= self.chosen[0] else self.chosen

    @property
    def seen(self) -> float | None:
        """How far into the song the model read, in seconds; None if it read all that the sections are of."""
        explainer, stop = self.shown.explainer, self.explanation.windows.stop
        whole = explainer.protocol == "released" or bool(stop.size and stop.max() > explainer.seen_steps)
        song = self.explanation.song
        return None if whole or explainer.reads_whole(song) else explainer.seen_seconds(song)

    @cached_property
    def notes(self) -> SongNotes:
        """Of the whole song, and where they are from."""
        song, data = self.explanation.song, self.shown.data
        return song_notes(self.shown.midi_dir, song, np.asarray(data.midi[song]), np.asarray(data.times[song]))

    @cached_property
    def drawn(self) -> Picture:
        """The notes of the song below the ratings of its sections, with the same in words."""
        title = " – ".join(filter(None, [self.title or self.song, self.artist]))
        starts, scores = self.explanation.windows.start_us / SECOND, self.explanation.scores
        return piano_roll(self.notes.midi, starts, scores, self.audible, self.seen, title)

    def picture(self) -> bytes:
        """The same as PNG."""
        return self.drawn.png

    def midi(self) -> bytes | None:
        """The best section as a MIDI file; None if there is none to be heard."""
        return None if self.audible is None else midi_bytes(clip(self.notes.midi, *self.audible))

    def sound(self, soundfont: Path | None = None, synthesiser: Synthesiser | None = None) -> bytes | None:
        """The best section as WAV; None if there is none to be heard.

        Args:
            soundfont: for fluidsynth, see :func:`seer.presentation.sound.find_synthesiser`.
            synthesiser: what that has found, if it is known.

        Raises:
            UserError: the soundfont is missing or of no use.
        """
        if self.audible is None:
            return None
        player = synthesiser or find_synthesiser(soundfont)
        return player.render(clip(self.notes.midi, *self.audible), self.audible[1] - self.audible[0])

    def _repr_html_(self) -> str:
        """In a notebook: picture and sound."""
        when = "no section" if self.chosen is None else f"{clock(self.chosen[0])}–{clock(self.chosen[1])}"
        head = console.html(f"{self.title or self.song} {self.artist}: rated {self.rating:.2f}; {when}")
        picture, wav = (base64.b64encode(part or b"").decode() for part in (self.picture(), self.sound()))
        audio = f'<audio controls src="data:audio/wav;base64,{wav}"></audio>' if wav else ""
        return f'<p>{head}</p><img src="data:image/png;base64,{picture}" alt="{console.html(self.drawn.text)}">{audio}'

    @property
    def _about(self) -> Any:
        return self.shown.data.song_information.iloc[self.explanation.song]
