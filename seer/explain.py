"""Why a song was recommended: the section of it that the same model would rate highest on its own.

Source: arXiv 1907.01640 v2, section 3.4 and algorithm 2: x_u^{s,exp} is the segment k of song s with the largest
r^k_us. Candidates are sections of ten seconds, one from each second on. Two rules:

``released``   what the released code does, step by step: starts from second 1, both ends included, the values of a
               section shifted by one (a velocity is read as the next channel's note), zeros after every section up to
               the song's longest, all steps of the song.
``corrected``  a section starts with the first event of a second, second 0 included, and lasts exactly ten seconds; the
               model reads its steps and nothing else; silent sections are no candidates; only the part of the song
               that the model saw in training, unless the whole song is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from common.training import BlockPredictor
from seer.json_arrays import FEATURES
from seer.model import Networks
from seer.preprocess import SeerData, select_channels

Protocol = Literal["corrected", "released"]
SECOND = 1e6
"""Times are microseconds."""
_BLOCK = 128  # sections in a call of the model
TIE = 1e-6
"""Scores that differ by less tie, as float32 cannot tell them apart: the earliest section wins."""


@dataclass(frozen=True)
class Windows:
    """Candidate sections of a song, (w,) each, by time.

    Attributes:
        first: number of the section's first step.
        stop: number after its last step (released rule: may be at or before ``first``, around a silence).
        start_us: its start in microseconds.
        end_us: its end in microseconds.
    """

    first: np.ndarray
    stop: np.ndarray
    start_us: np.ndarray
    end_us: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True)
class Explanation:
    """The candidate sections of a song and how one user would rate each of them.

    Attributes:
        song: song number.
        windows: the candidates.
        scores: (w,) predicted rating of each section on its own.
        best: the chosen one, the earliest of those that tie; None if there is no candidate.
    """

    song: int
    windows: Windows
    scores: np.ndarray
    best: int | None

    @property
    def section_us(self) -> tuple[float, float] | None:
        """Start and end of the chosen section in microseconds."""
        if self.best is None:
            return None
        return float(self.windows.start_us[self.best]), float(self.windows.end_us[self.best])


def song_length(steps: np.ndarray, times_us: np.ndarray) -> int:
    """Number of a song's steps without the padding at its end; ``steps`` (T, 32), ``times_us`` (T,).

    Only the first step can lie at time 0; a later one without a time cannot be placed, whatever notes it has.
    """
    used = np.flatnonzero(times_us)
    return int(used[-1]) + 1 if used.size else int(steps[:1].any())


def corrected_windows(steps: np.ndarray, times_us: np.ndarray, duration: float, seconds: float) -> Windows:
    """Candidate sections by the corrected rule.

    Args:
        steps: (T, 32) the part of the song to look at, padding included.
        times_us: (T,) microseconds of the steps.
        duration: length of the recording in seconds: a section beyond it could not be listened to.
        seconds: length of a section.

    Returns:
        Sections within the part, at most one from each second on, all of ``seconds`` length; if the part is shorter,
        a single one that is the whole part. None without a note that starts in it.
    """
    count = song_length(steps, times_us)
    times = times_us[:count]
    end = min(float(times[-1]), duration * SECOND) if count else 0.0
    starts = np.unique(np.searchsorted(times, np.arange(math.floor(end / SECOND) + 1) * SECOND))
    starts = starts[starts < count]
    starts = starts[(times[starts] + seconds * SECOND <= end) | (starts == 0)]
    ends = np.minimum(times[starts] + seconds * SECOND, max(end, 0.0))
    # The last step of the part may be the end of its last note: it belongs to a section that reaches so far.
    stops = np.where(ends >= times[-1], count, np.searchsorted(times, ends)) if count else starts
    sounding = np.concatenate([[0], np.cumsum((steps[:count, 1::2] > 0).any(axis=1))])
    heard = sounding[np.maximum(stops, starts)] > sounding[starts]
    return Windows(starts[heard], stops[heard], times[starts[heard]], ends[heard])


def released_windows(times_us: np.ndarray, duration: float, seconds: float) -> Windows:
    """Candidate sections by the released rule; ``times_us`` (T,) with zeros as padding, ``duration`` in seconds."""
    used = np.flatnonzero(times_us)  # the released code takes a zero for padding even at the start of a song
    times = times_us[used]
    # Starts after the last event find none: they need not be tried, however long the song is said to be.
    latest = min(duration - seconds, float(times[-1]) / SECOND + 2) if used.size else 0.0
    begins = np.arange(1, int(latest)) * SECOND
    # The first step at or after the start; the last one at or before the end.
    first = np.searchsorted(times, begins)
    last = np.searchsorted(times, begins + seconds * SECOND, side="right") - 1
    found = (first < len(times)) & (last >= 0)
    first, last = used[first[found]], used[last[found]]
    return Windows(first, last + 1, times_us[first], times_us[last])


class Explainer:
    """Finds the sections that explain recommendations; every song's sections are encoded once, for all users.

    Args:
        seer: the model.
        data: the songs.
        section_seconds: length of a section (paper and released code: 10).
        protocol: which rule, see above.
        whole_song: corrected rule: look beyond the steps that the model saw in training.
    """

    def __init__(
        self,
        seer: Networks,
        data: SeerData,
        section_seconds: float = 10.0,
        protocol: Protocol = "corrected",
        whole_song: bool = False,
    ) -> None:
        self.seer, self.data, self.seconds, self.protocol = seer, data, section_seconds, protocol
        self._steps = None if whole_song or protocol == "released" else self.seen_steps
        # Not compiled by XLA: every length of sections would be compiled anew, which takes longer than to encode it.
        self._encode = BlockPredictor(seer.section_encoder, _BLOCK, jit=False)

    def windows(self, song: int) -> Windows:
        """The candidate sections of a song."""
        times = np.asarray(self.data.times[song, : self._steps])
        duration = float(self.data.song_information["duration"].iloc[song])
        if self.protocol == "released":
            return released_windows(times, duration, self.seconds)
        return corrected_windows(np.asarray(self.data.midi[song, : self._steps]), times, duration, self.seconds)

    @property
    def seen_steps(self) -> int:
        """Steps of each song that the model read in training."""
        return self.seer.architecture.sequence_length

    def seen_seconds(self, song: int) -> float:
        """How far into the song the model read in training, in seconds."""
        steps = self.seen_steps
        count = song_length(np.asarray(self.data.midi[song, :steps]), np.asarray(self.data.times[song, :steps]))
        return float(self.data.times[song, count - 1]) / SECOND if count else 0.0

    def reads_whole(self, song: int) -> bool:
        """Whether the model read the whole song in training; one that fills its row of the array may have been cut."""
        midi, times = np.asarray(self.data.midi[song]), np.asarray(self.data.times[song])
        return song_length(midi, times) <= min(self.seen_steps, len(times) - 1)

    def explain(self, users: np.ndarray, songs: np.ndarray) -> list[Explanation]:
        """The explanation of each pair of user id and song, (n,) each."""
        return self.explain_vectors(self.seer.user_vectors(users), songs)

    def explain_vectors(self, vectors: np.ndarray, songs: np.ndarray) -> list[Explanation]:
        """The same for users given by their vectors (n, latent), new users for example."""
        distinct = [int(song) for song in np.unique(songs)]
        windows = [self.windows(song) for song in distinct]
        sections = [part for song, found in zip(distinct, windows, strict=True) for part in self.sections(song, found)]
        bounds = np.cumsum([0, *map(len, windows)])
        hidden = self.encode(sections)
        explained = []
        for vector, song in zip(vectors, songs, strict=True):
            place = distinct.index(int(song))
            scores = self.seer.score_matrix(vector[None], hidden[bounds[place] : bounds[place + 1]])[0]
            best = int(np.argmax(scores >= scores.max() - TIE)) if len(scores) else None
            explained.append(Explanation(int(song), windows[place], scores, best))
        return explained

    def sections(self, song: int, windows: Windows) -> list[np.ndarray]:
        """What the model reads of each section: (steps, features) each."""
        channels = self.seer.architecture.channels
        midi = np.asarray(self.data.midi[song])
        if self.protocol == "corrected":
            parts = [midi[first:stop] for first, stop in zip(windows.first, windows.stop, strict=True)]
        else:
            flat = midi.reshape(-1)
            longest = max((stop - first for first, stop in zip(windows.first, windows.stop, strict=True)), default=0)
            parts = []
            for first, stop in zip(windows.first, windows.stop, strict=True):
                part = np.zeros((max(longest, 1), FEATURES), midi.dtype)
                values = flat[first * FEATURES + 1 : (stop - 1) * FEATURES]
                part.reshape(-1)[: len(values)] = values
                parts.append(part)
        return [select_channels(part, channels) for part in parts]

    def encode(self, sections: Sequence[np.ndarray]) -> np.ndarray:
        """Encodings (n, latent) of sections (steps, features) of any lengths, those of like length together."""
        lengths = np.array([len(section) for section in sections], np.int32)
        hidden = np.empty((len(sections), self.seer.architecture.latent_features), np.float32)
        order = np.argsort(lengths, kind="stable")

        def encode_block(rows: np.ndarray) -> None:
            block = np.zeros((len(rows), lengths[rows[-1]], self.seer.architecture.features), np.float32)
            for place, row in enumerate(rows):
                block[place, : lengths[row]] = sections[row]
            hidden[rows] = self._encode(block, lengths[rows])

        # Two blocks at a time: the many small operations of a step leave most of a second core idle.
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(encode_block, (order[start : start + _BLOCK] for start in range(0, len(order), _BLOCK))))
        return hidden
