"""The models learn what there is to learn and no more: planted structure, and coin flips.

Each dataset is made here so that its best possible figures are known.
"""

import numpy as np
import pytest

from common.command import parse
from session_transformers import testing
from session_transformers.baselines.comparison import skip_results, track_results
from session_transformers.fitting import fit
from session_transformers.kinds import CORRECTED_IDS
from session_transformers.model import build_model
from session_transformers.options import SessionOptions
from session_transformers.sessions.halves import Halves

TRACKS = 30
FIRST = CORRECTED_IDS.first_track
VOCABULARY = FIRST + TRACKS
TINY = ("--width", "32", "--feed-forward", "64", "--encoder-layers", "1", "--decoder-layers", "1", "--heads", "2")
TINY += (
    "--deterministic",
    "--dropout",
    "0",
    "--initialisation",
    "normal",
    "--clip",
    "1",
    "--batch-size",
    "64",
    "--no-baselines",
)


def of(sessions: Halves, start: int, stop: int) -> Halves:
    return Halves(sessions.tracks[start:stop], sessions.skips[start:stop])


def trained(folder, train, *arguments):
    """A tiny transformer after a few seconds of training, ready to be judged."""
    options = parse(SessionOptions, [*TINY, *arguments]).completed(synthetic=True)
    model = build_model(options.architecture(VOCABULARY, 0, CORRECTED_IDS), np.zeros((VOCABULARY, 0)), 3, "normal")
    plays = np.bincount(train.tracks.ravel(), minlength=VOCABULARY)
    fit(model, options, train, of(train, 0, 0), plays, folder)  # nothing to choose an epoch by: the last one stays
    return testing.Tester(model, jit=False)


def circles(sessions: int, rng: np.random.Generator) -> Halves:
    """Walks around a circle of tracks, half of them clockwise: the next track follows from the two before.

    A first-order Markov chain knows the two neighbours of a track, and not which of them comes next.
    """
    start, way = rng.integers(0, TRACKS, (sessions, 1)), rng.choice([-1, 1], (sessions, 1))
    tracks = (start + way * np.arange(20)) % TRACKS + FIRST
    return Halves(tracks.astype(np.int32), np.zeros(tracks.shape, np.uint8))


@pytest.mark.slow
def test_the_transformer_of_tracks_beats_markov_and_popularity_where_two_tracks_tell_the_next(tmp_path):
    data = circles(600, np.random.default_rng(1))
    train, test = of(data, 0, 400), of(data, 400, 600)
    tester = trained(tmp_path, train, "--epochs", "12", "--learning-rate", "0.01")
    forced = tester.forced(test).figures()["forced_recall@1"]
    free = tester.free(test)[0].figures()["free_maa"]
    known = track_results(train, test, VOCABULARY, CORRECTED_IDS)
    assert known["Markov"].figures()["forced_recall@1"] == pytest.approx(0.5, abs=0.08)
    for name in ("Markov", "most popular"):
        assert forced > known[name].figures()["forced_recall@1"] + 0.3, name
        assert free > known[name].figures()["free_maa"] + 0.3, name
    assert forced > 0.95 and free > 0.9  # nothing is left to chance but what a tiny model has not learned


def moods(sessions: int, rng: np.random.Generator, certainty: float) -> Halves:
    """Listeners who skip, or play, with this probability all the session long; the tracks tell nothing."""
    tracks = rng.integers(FIRST, VOCABULARY, (sessions, 20)).astype(np.int32)
    chance = np.where(rng.random((sessions, 1)) < 0.5, certainty, 1 - certainty)
    return Halves(tracks, (rng.random((sessions, 20)) < chance).astype(np.uint8))


@pytest.mark.slow
def test_the_transformer_of_skips_beats_repeating_the_last_skip_where_a_mood_persists(tmp_path):
    certainty = 0.8
    data = moods(1000, np.random.default_rng(2), certainty)
    train, test = of(data, 0, 700), of(data, 700, 1000)
    arguments = ("--task", "skip", "--skip-input", "embedding", "--epochs", "4", "--learning-rate", "0.005")
    figures = trained(tmp_path, train, *arguments).skips(test).figures()
    repeated = skip_results(train, test, VOCABULARY)["repeat last skip"].figures()
    for name in ("maa", "accuracy", "first_accuracy"):
        assert figures[name] > repeated[name] + 0.04, (name, figures, repeated)
    # A mood is all that can be known, and ten tracks tell it nearly always.
    assert figures["accuracy"] == pytest.approx(certainty, abs=0.025)


@pytest.mark.slow
def test_nobody_foretells_coin_flips(tmp_path):
    data = moods(800, np.random.default_rng(3), 0.5)
    train, test = of(data, 0, 400), of(data, 400, 800)
    arguments = ("--task", "skip", "--skip-input", "embedding", "--epochs", "4", "--learning-rate", "0.005")
    outcomes = skip_results(train, test, VOCABULARY)
    outcomes["transformer"] = trained(tmp_path, train, *arguments).skips(test)
    flips = int(test.target_mask.sum())
    bound = 3.3 * 0.5 / np.sqrt(flips)  # 99.9 % of the binomial distribution
    for name, outcome in outcomes.items():
        assert outcome.figures()["accuracy"] == pytest.approx(0.5, abs=bound), name
    assert outcomes["transformer"].figures()["log_loss"] > np.log(2) - 0.01  # nor thinks that it does
