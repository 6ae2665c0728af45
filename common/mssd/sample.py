"""Synthetic sessions in the released formats of the Music Streaming Sessions Dataset (MSSD), of any size.

What is carried over from the real data are aggregates, named below with their source. The rest is a small model
of listening: tracks belong to genres and have latent qualities which their features show; playlists are runs of
tracks that many sessions share; a session plays through one of them, now and then goes back or elsewhere, and
skips what does not suit its taste, in a mood that lasts. So next tracks can be learned from the sequence and from
the features, and skips from the sequence, the track and the features. No row, listener or track is real.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, ndtr

from common import console
from common.command import run_script
from common.mssd.files import FEATURE_COLUMNS, LOG_COLUMNS
from common.mssd.world import CONTEXTS, ENDS, LATENT, Play, World, choose, draw_ids, draw_sessions, draw_world
from common.options import replacing, require
from common.sources import mark_synthetic

# From the same two sources of aggregates as in common/mssd/world.py, where they are named.
PREMIUM = 0.81
MARGINS: dict[str, tuple[float, float, float, float]] = {
    "duration": (233.2, 108.4, 30.0, 1800.0),
    "release_year": (2009.26, 11.03, 1950.0, 2019.0),
    "us_popularity_estimate": (95.574, 2.736, 90.0, 100.0),
    "acousticness": (0.3470, 0.3426, 0.0, 1.0),
    "beat_strength": (0.4618, 0.1718, 0.0, 1.0),
    "bounciness": (0.4791, 0.1990, 0.0, 1.0),
    "danceability": (0.5565, 0.1858, 0.0, 1.0),
    "dyn_range_mean": (7.848, 2.680, 0.0, 52.61),
    "energy": (0.5918, 0.2603, 0.0, 1.0),
    "flatness": (0.9935, 0.0552, 0.0, 1.168),
    "instrumentalness": (0.2070, 0.3448, 0.0, 1.0),
    "liveness": (0.2127, 0.1924, 0.0, 1.0),
    "loudness": (-9.605, 5.733, -60.0, 6.275),
    "mechanism": (0.4996, 0.2562, 0.0, 1.0),
    "organism": (0.4619, 0.2509, 0.0, 1.0),
    "speechiness": (0.1045, 0.1386, 0.0, 1.0),
    "tempo": (120.07, 30.43, 0.0, 249.99),
    "valence": (0.4815, 0.2725, 0.0, 1.0),
}
"""Mean, standard deviation, least and greatest value of a feature."""
KEYS = np.array([438, 346, 394, 119, 282, 309, 223, 450, 227, 389, 255, 275]) / 3707
TIME_SIGNATURES = {0: 0.0009, 1: 0.0122, 3: 0.1062, 4: 0.8598, 5: 0.0209}
MAJOR = 0.6515
PAUSES = (0.806, 0.030, 0.164)
SKIP_KINDS = {  # skip_1, skip_2, skip_3, not_skipped: share among the tracks skipped or played in the sense of skip_2
    True: {"True,True,True,False": 0.737, "False,True,True,False": 0.263},
    False: {"False,False,False,True": 0.663, "False,False,True,False": 0.309, "False,False,False,False": 0.028},
}
STARTS = ("trackdone", "fwdbtn", "backbtn", "clickrow", "appload", "playbtn", "remote")
FIRST_STARTS = (0.30, 0.10, 0.02, 0.48, 0.07, 0.02, 0.01)
FEATURE_SHARE = 0.85
"""Correlation of a track's features with its latent qualities; made up, as the acoustic vectors are."""
FIRST_DAY = np.datetime64("2018-07-15")
SAMPLE_FILES = ("log_0_20180715_000000000000.csv", "tf_0.csv")
"""Two of the files that :func:`write_sample` writes."""
BLOCK = 20_000
"""Sessions drawn at once."""
PAUSE_TEXTS, SEEK_TEXTS = ("1,0,0", "0,0,1", "0,1,1"), ("0,0", "1,0", "0,1")
SEEKS = (0.95, 0.019, 0.031)


@dataclass(frozen=True)
class SessionSampleOptions:
    """What to draw, and where to write it."""

    out: Path
    """Folder for the files; those of the same names are replaced."""
    sessions: int = 4000
    """Sessions; on average of 16.6 tracks."""
    tracks: int = 2000
    """Tracks; MSSD has 3.7 million for 160 million sessions."""
    days: int = 6
    """Days that the sessions are spread over evenly: one log for each."""
    seed: int = 7
    """Seed of everything; the same seed gives the same bytes."""

    def __post_init__(self) -> None:
        require(self.sessions >= self.days, f"--sessions is {self.sessions}; it must be --days ({self.days}) or more")
        require(self.tracks >= 100, f"--tracks is {self.tracks}; it must be 100 or more")
        require(1 <= self.days <= 3650, f"--days is {self.days}; it must lie in 1..3650")
        require(0 <= self.seed < 2**31, f"--seed is {self.seed}; it must lie in 0..2147483647")


def write_sample(folder: Path, options: SessionSampleOptions | None = None) -> int:
    """Write the logs, one for each day, and the table of track features into ``folder``; returns the rows of the logs.

    The files are named as the released ones: ``log_0_20180715_000000000000.csv``, and so on, and ``tf_0.csv``.
    """
    options = options or SessionSampleOptions(out=folder)
    rng = np.random.default_rng(options.seed)
    folder.mkdir(parents=True, exist_ok=True)
    world = draw_world(options.tracks, rng)
    _write_features(folder / "tf_0.csv", world, rng)
    rows = 0
    shares = np.diff(np.linspace(0, options.sessions, options.days + 1).astype(int))
    for day, sessions in enumerate(shares.tolist()):
        date = str(FIRST_DAY + day)
        with replacing(folder / f"log_0_{date.replace('-', '')}_000000000000.csv", "w") as file:
            file.write(",".join(LOG_COLUMNS) + "\n")
            for first in range(0, sessions, BLOCK):
                play = draw_sessions(world, min(BLOCK, sessions - first), rng)
                file.writelines(_log_lines(world, play, date, rng))
                rows += int(play.lengths.sum())
    mark_synthetic(folder)
    return rows


def _log_lines(world: World, play: Play, date: str, rng: np.random.Generator) -> Iterator[str]:
    count, width = play.tracks.shape
    # Most listening is in the afternoon and evening.
    hours = choose(1.6 - np.cos(2 * np.pi * (np.arange(24) - 4) / 24), count, rng).tolist()
    premium = np.less(rng.random((count,)), PREMIUM).tolist()
    contexts = list(CONTEXTS)
    heads = draw_ids("0_", count, rng)
    tails = [
        f"{shuffled},{hour},{date},{pays},{contexts[context]}"
        for shuffled, hour, pays, context in zip(
            play.shuffled.tolist(), hours, premium, play.contexts.tolist(), strict=True
        )
    ]
    # A track starts for the reason that the one before ended; what has no counterpart is taken for a click.
    starts = np.where(play.ends < 3, play.ends, STARTS.index("clickrow"))
    starts = np.concatenate([choose(FIRST_STARTS, count, rng)[:, None], starts[:, :-1]], axis=1)
    kinds = list(SKIP_KINDS[True]) + list(SKIP_KINDS[False])
    kind = np.where(
        play.skipped,
        choose(list(SKIP_KINDS[True].values()), count * width, rng).reshape(count, width),
        len(SKIP_KINDS[True]) + choose(list(SKIP_KINDS[False].values()), count * width, rng).reshape(count, width),
    )
    pause = choose(PAUSES, count * width, rng).reshape(count, width)
    seek = choose(SEEKS, count * width, rng).reshape(count, width)
    middles = [f"{a},{b},{c},{d}" for a, b, c, d in product(kinds, "01", PAUSE_TEXTS, SEEK_TEXTS)]
    middle = ((kind * 2 + play.switched) * len(PAUSES) + pause) * len(SEEKS) + seek
    reasons = [f"{start},{end}\n" for start, end in product(STARTS, ENDS)]
    reason = starts * len(ENDS) + play.ends
    for session, length in enumerate(play.lengths.tolist()):
        head, tail = heads[session], tails[session]
        events = zip(
            play.tracks[session, :length].tolist(),
            middle[session, :length].tolist(),
            reason[session, :length].tolist(),
            strict=True,
        )
        yield "".join(
            f"{head},{position},{length},{world.ids[track]},{middles[m]},{tail},{reasons[r]}"
            for position, (track, m, r) in enumerate(events, start=1)
        )


def _write_features(path: Path, world: World, rng: np.random.Generator) -> None:
    loadings = {name: _standardising(rng.standard_normal(LATENT), world) for name in FEATURE_COLUMNS}
    with replacing(path, "w") as file:
        file.write(",".join(FEATURE_COLUMNS) + "\n")
        for first in range(0, len(world.ids), BLOCK):
            block = slice(first, first + BLOCK)
            columns = [_feature_texts(name, *loadings[name], world, block, rng) for name in FEATURE_COLUMNS[1:]]
            rows = zip(world.ids[block], *columns, strict=True)
            file.writelines(",".join(row) + "\n" for row in rows)


def _standardising(loading: NDArray[np.float64], world: World) -> tuple[NDArray[np.float64], float]:
    """``loading`` scaled, and what to subtract then: so the tracks have mean 0 and variance 1 along it."""
    shown = world.qualities @ loading
    return loading / shown.std(), float(shown.mean() / shown.std())


def _feature_texts(
    name: str,
    loading: NDArray[np.float64],
    mean: float,
    world: World,
    block: slice,
    rng: np.random.Generator,
) -> list[str]:
    """A feature of the tracks in ``block`` as text: normal scores from the qualities, brought to the real margin."""
    qualities = world.qualities[block]
    shown = qualities @ loading - mean
    if name == "us_popularity_estimate":
        logarithm = np.log(world.popularity)
        shown = (logarithm[block] - logarithm.mean()) / logarithm.std()
    score = FEATURE_SHARE * shown + np.sqrt(1 - FEATURE_SHARE**2) * rng.standard_normal(len(qualities))
    level = ndtr(score)
    if name == "mode":
        return ["major" if major else "minor" for major in (level < MAJOR).tolist()]
    if name == "key":
        return [str(key) for key in np.searchsorted(np.cumsum(KEYS)[:-1], level).tolist()]
    if name == "time_signature":
        places = np.searchsorted(np.cumsum(list(TIME_SIGNATURES.values()))[:-1], level)
        return [str(beats) for beats in np.array(list(TIME_SIGNATURES))[places].tolist()]
    if name.startswith("acoustic_vector"):
        return [f"{value:.6f}" for value in np.clip(0.25 * score, -1, 1).tolist()]
    values = _from_margin(level, *MARGINS[name])
    return [f"{value:.0f}" if name == "release_year" else f"{value:.6f}" for value in values.tolist()]


def _from_margin(
    level: NDArray[np.float64], mean: float, deviation: float, low: float, high: float
) -> NDArray[np.float64]:
    """Quantiles at ``level`` of the beta distribution on low..high that has this mean and standard deviation."""
    centre, spread = (mean - low) / (high - low), deviation / (high - low)
    total = centre * (1 - centre) / spread**2 - 1
    grid = np.linspace(0, 1, 1001)
    quantiles = betaincinv(centre * total, (1 - centre) * total, grid)
    return low + (high - low) * np.interp(level, grid, quantiles)


def main(options: SessionSampleOptions) -> dict[str, Any]:
    """Write synthetic sessions and tracks in the released formats of MSSD, streamed, of any size."""
    started = time.perf_counter()
    rows = write_sample(options.out, options)
    seconds = round(time.perf_counter() - started, 1)
    console.say(
        f"{options.out}: synthetic, {options.sessions:,} sessions, {rows:,} events, {options.tracks:,} tracks, "
        f"{options.days} days ({seconds} s)"
    )
    return {"folder": str(options.out), "sessions": options.sessions, "events": rows, "seconds": seconds}


if __name__ == "__main__":
    run_script(main, SessionSampleOptions)
