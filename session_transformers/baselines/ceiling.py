"""How well skips can be foretold at all, where it is known how they were made up: in the synthetic sample.

A session's mood and taste are hidden. Its first half is evidence about them; with the rules of
:mod:`common.mssd.world` known, the chance of each skip in the second half is a mean over moods and tastes (drawn
from their prior, weighted by the likelihood of the first half) of the chance in a chain of two states. That a track
comes twice in a row is evidence, too: the listener went back, which is likelier after a skip. No model that sees what
ours see can be expected to have a higher accuracy, but for the error of the draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from common.mssd.world import (
    CONTEXTS,
    END_SHARES,
    ENDS,
    LATENT,
    SKIP_AGAIN,
    SKIP_BASE,
    SKIP_MOOD,
    SKIP_TASTE,
    SKIP_TRACK,
    TASTE_SPREAD,
    USUAL_DISTANCE,
    World,
    draw_world,
)
from session_transformers.evaluation import skip_outcome
from session_transformers.kinds import HALF
from session_transformers.preprocess import SequenceData
from session_transformers.sessions.halves import Halves

Floats = NDArray[np.float64]
BLOCK = 16
"""Sessions at a time: with 2,000 draws about 5 MB for each array of them."""


def sample_world(tracks: int, seed: int) -> World:
    """The tracks of the sample that :func:`common.mssd.sample.write_sample` writes with these options."""
    return draw_world(tracks, np.random.default_rng(seed))


def ceiling_figures(data: SequenceData, tracks: int, seed: int) -> dict[str, float]:
    """The figures of a model that foretells skips as well as can be, on the sample with these options."""
    chances = best_skip_chances(data.test, data.track_ids, sample_world(tracks, seed))
    return skip_outcome(chances, data.test.target_skips, data.test.target_mask).figures()


def best_skip_chances(test: Halves, track_ids: list[str], world: World, draws: int = 2000, seed: int = 1) -> Floats:
    """(sessions, 10) the chance of a skip at each place of the second halves.

    Args:
        test: sessions of 20 tracks of ``world``.
        track_ids: (V,) the track of each id in ``test``.
        world: what the sessions were drawn from, see :func:`sample_world`.
        draws: moods and tastes.
        seed: of these.

    Raises:
        ValueError: a session is shorter, or a track is not of this world.
    """
    numbers = {name: number for number, name in enumerate(world.ids)}
    number_of = np.array([numbers.get(name, -1) for name in track_ids])
    tracks = number_of[test.tracks]
    if (tracks < 0).any():
        raise ValueError("only whole sessions of tracks of this world have a ceiling")
    rng = np.random.default_rng(seed)
    moods, tastes = rng.standard_normal(draws), rng.standard_normal((draws, LATENT))
    blocks = [
        _chances(world, tracks[start : start + BLOCK], test.skips[start : start + BLOCK], moods, tastes)
        for start in range(0, len(test), BLOCK)
    ]
    return np.concatenate(blocks) if blocks else np.zeros(test.target.shape)


def _chances(
    world: World, tracks: NDArray[np.int64], skips: NDArray[np.uint8], moods: Floats, tastes: Floats
) -> Floats:
    logits = _logits(world, tracks, moods, tastes)  # (sessions, draws, 20)
    state = np.where(skips > 0, 1.0, -1.0)[:, None]
    before = np.concatenate([np.zeros_like(state[..., :1]), state[..., : HALF - 1]], axis=2)
    likelihood = _sigmoid(state[..., :HALF] * (logits[..., :HALF] + SKIP_AGAIN * before)).prod(axis=2)
    seen = _evidence(world, tracks[:, HALF:])  # (sessions, 10, 2)

    # forward[i][s]: chance that place i is in state s, and of all that was seen until then
    forward = []
    last = np.stack([1.0 - skips[:, HALF - 1], skips[:, HALF - 1]], axis=-1)[:, None] * likelihood[..., None]
    rises = [_sigmoid(logits[..., HALF:] + SKIP_AGAIN * sign) for sign in (-1, 1)]
    for place in range(HALF):
        skip = sum(last[..., state] * rises[state][..., place] for state in (0, 1))
        last = np.stack([last.sum(axis=-1) - skip, skip], axis=-1) * seen[:, None, place]
        forward.append(last)
    # backward[s]: chance of all that is seen after place i if it is in state s
    backward = np.ones_like(last)
    chances = np.zeros((len(tracks), HALF))
    for place in reversed(range(HALF)):
        both = (forward[place] * backward).sum(axis=1)
        chances[:, place] = both[:, 1] / both.sum(axis=1)
        after = backward * seen[:, None, place]
        backward = np.stack(
            [(1 - rise[..., place]) * after[..., 0] + rise[..., place] * after[..., 1] for rise in rises], axis=-1
        )
    return chances


def _logits(world: World, tracks: NDArray[np.int64], moods: Floats, tastes: Floats) -> Floats:
    """(sessions, draws, 20) log-odds of a skip without the part of the skip before; all tracks are of one genre."""
    centre = world.centres[world.genres[tracks[:, 0]]]
    offset = world.qualities[tracks] - centre[:, None]  # (sessions, 20, qualities)
    spread = TASTE_SPREAD * tastes
    square = (offset**2).sum(axis=2)[:, None] + (spread**2).sum(axis=1)[:, None]
    distance = (square - 2 * (spread @ offset.transpose(0, 2, 1))) / LATENT - USUAL_DISTANCE
    mood = SKIP_BASE + SKIP_MOOD * moods[:, None]
    return mood - SKIP_TRACK * world.appeal[tracks][:, None] + SKIP_TASTE * distance


def _evidence(world: World, tracks: NDArray[np.int64]) -> Floats:
    """(sessions, 10, 2) chance of whether the next track is the same one, if this one was played, or skipped."""
    back = np.array([END_SHARES[skipped][ENDS.index("backbtn")] for skipped in (False, True)])
    same = back + (1 - back) * _same_by_chance(world)[tracks[:, :-1], None]
    again = (tracks[:, 1:] == tracks[:, :-1])[..., None]
    return np.concatenate([np.where(again, same, 1 - same), np.ones((len(tracks), 1, 2))], axis=1)


def _same_by_chance(world: World) -> Floats:
    """(tracks,) chance that the same track comes next though nobody went back: drawn again, or twice in a playlist."""
    number = len(world.ids)
    places, copies = np.unique(np.arange(len(world.playlists))[:, None] * number + world.playlists, return_counts=True)
    track, others = places % number, world.playlists.shape[1] - 1
    pairs = np.bincount(track, copies * (copies - 1) / others, minlength=number)
    in_playlist = pairs / np.maximum(np.bincount(track, copies, minlength=number), 1)
    of_genre = np.bincount(world.genres, world.popularity)[world.genres]
    radio = CONTEXTS["radio"]
    return radio * world.popularity / of_genre + (1 - radio) * in_playlist


def _sigmoid(logit: Floats) -> Floats:
    return 1 / (1 + np.exp(-logit))
