"""Sections and their scores: the released rule against the released code, the corrected one against its definition."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from seer.explain import Explainer, corrected_windows, released_windows, song_length
from seer.model import Architecture, Networks
from seer.weights import read_released

SETTINGS = [("LSTM", "as_released_random_dense"), ("LSTM", "with_trained_dense"), ("GRU", "as_released")]


def golden_model(folder, cell, block):
    (path,) = (folder / "weights").glob(f"SeER_{cell}_*.h5")
    seer = read_released(path).build()
    if block == "as_released_random_dense":  # the released script never loads this layer
        random = np.load(folder / "expected" / "explainability_random_dense_LSTM.npz")
        kernel, bias = sorted((random[name] for name in random.files), key=np.size, reverse=True)
        seer.model.get_layer("dense_1").set_weights([kernel.reshape(-1, 1), bias.reshape(1)])
    return seer


@pytest.mark.golden
@pytest.mark.parametrize(("cell", "block"), SETTINGS)
def test_released_rule_equals_the_released_code(golden_seer, seer_golden_data, cell, block):
    expected = json.loads((golden_seer / "expected" / f"explanations_{cell}.json").read_text("utf-8"))[block]
    explainer = Explainer(golden_model(golden_seer, cell, block), seer_golden_data, protocol="released")
    segments = expected["segments"]
    users = np.array([segment["user"] for segment in segments])
    explained = explainer.explain(users, np.array([segment["song"] for segment in segments]))
    chosen = 0
    for segment, ours in zip(segments, explained, strict=True):
        np.testing.assert_array_equal(ours.windows.first, segment["start_indices"])
        np.testing.assert_array_equal(ours.windows.stop - 1, segment["end_indices"])
        np.testing.assert_allclose(ours.scores, segment["scores"], atol=1e-5)
        if segment["margin_to_second"] > 1e-4:
            chosen += 1
            assert ours.best == segment["argmax"]
            assert ours.section_us == (segment["start_us"], segment["end_us"])
    assert chosen > 0  # how many are told apart so well differs between draws


@pytest.mark.golden
@pytest.mark.parametrize(("cell", "block"), SETTINGS)
def test_released_recommendations_carry_the_released_sections(golden_seer, seer_golden_data, cell, block):
    expected = json.loads((golden_seer / "expected" / f"explanations_{cell}.json").read_text("utf-8"))[block]
    explainer = Explainer(golden_model(golden_seer, cell, block), seer_golden_data, protocol="released")
    close = 0
    for user, songs in expected["recommendations"].items():
        explained = explainer.explain(np.full(len(songs), int(user)), np.array([song["song"] for song in songs]))
        for song, ours in zip(songs, explained, strict=True):
            if np.diff(np.sort(ours.scores)[-2:])[0] > 1e-4:
                assert ours.section_us == (song["start_us"], song["end_us"])
                close += 1
    assert close > 0


def steps_at(*seconds, silent=()):
    """A song with a note at each of ``seconds`` (at those in ``silent`` only the end of one), and two steps of
    padding."""
    times = np.array([*seconds, 0, 0], float) * 1e6
    steps = np.zeros((len(times), 32), np.uint8)
    steps[: len(seconds), 4] = 60
    steps[: len(seconds), 5] = [0 if second in silent else 90 for second in seconds]
    return steps, times


def spans(windows):
    return [(a / 1e6, b / 1e6) for a, b in zip(windows.start_us, windows.end_us, strict=True)]


def test_corrected_sections_start_with_an_event_and_cover_the_first_second():
    steps, times = steps_at(0.25, 0.5, 3.5, 8, 10.25, 12, 14)
    windows = corrected_windows(steps, times, 99, 10)
    assert spans(windows) == [(0.25, 10.25), (3.5, 13.5)]
    assert list(windows.first) == [0, 2]
    assert list(windows.stop) == [4, 6]  # 10.25 lies outside, as the section ends there


def test_a_song_that_starts_at_zero_keeps_its_first_step():
    steps, times = steps_at(0, 4, 10)
    windows = corrected_windows(steps, times, 99, 10)
    assert spans(windows) == [(0, 10)] and windows.first[0] == 0
    assert windows.stop[0] == 3  # the section reaches the end of the song: its last event belongs to it


def test_short_songs_are_one_section():
    assert spans(corrected_windows(*steps_at(1, 2, 3), 99, 10)) == [(1, 3)]
    assert spans(corrected_windows(*steps_at(1), 99, 10)) == [(1, 1)]


def test_silence_is_no_candidate():
    steps, times = steps_at(1, 2, 30, 31, 45, silent=(30, 31))
    windows = corrected_windows(steps, times, 99, 10)
    assert spans(windows) == [(1, 11), (2, 12)]
    assert len(corrected_windows(*steps_at(), 99, 10)) == 0
    assert len(corrected_windows(*steps_at(1, 2, silent=(1, 2)), 99, 10)) == 0


def test_sections_end_with_the_recording():
    windows = corrected_windows(*steps_at(*range(40)), 25.5, 10)
    assert spans(windows)[-1] == (15, 25)
    assert len(corrected_windows(*steps_at(30, 31), 25.5, 10)) == 0


def test_released_sections_skip_the_first_second_and_may_run_backwards_over_a_gap():
    _, times = steps_at(0.5, 2, 20, 30)
    windows = released_windows(times, 30, 10)
    assert windows.first[0] == 1 and windows.start_us[0] == 2e6  # second 1 begins at the event of second 2
    backwards = windows.stop - 1 < windows.first
    assert backwards.any() and (windows.start_us > windows.end_us).any()
    assert len(released_windows(times, 11.4, 10)) == 0


def test_released_sections_do_not_depend_on_a_duration_beyond_the_last_event():
    _, times = steps_at(0.5, 2, 20, 30)
    as_said, absurd = (released_windows(times, duration, 10) for duration in (60, 1e300))
    assert spans(as_said) == spans(absurd) and len(as_said) > 20
    assert len(released_windows(np.zeros(3), 1e300, 10)) == 0


def test_length_without_padding():
    steps, times = steps_at(0)
    assert song_length(steps, times) == 1  # at time 0, but with a note
    assert song_length(*steps_at(0, 5, 6)) == 3
    assert song_length(*steps_at()) == 0
    steps, times = steps_at(0, 5, 6)
    times[2] = 0  # a note without a time cannot be placed
    assert song_length(steps, times) == 2 and spans(corrected_windows(steps, times, 99, 10)) == [(0, 5)]


@pytest.fixture(scope="module")
def songs():
    """Five songs of 100 to 140 random steps, a quarter of a second apart; the last one is silent."""
    rng = np.random.default_rng(0)
    midi = np.zeros((5, 150, 32), np.uint8)
    times = np.zeros((5, 150))
    for song in range(4):
        count = 100 + 10 * song
        midi[song, :count, :6] = rng.integers(1, 128, (count, 6))
        times[song, :count] = np.cumsum(rng.uniform(0.1, 0.4, count)) * 1e6
    information = pd.DataFrame({"duration": [200.0] * 5})
    return SimpleNamespace(midi=midi, times=times, song_information=information)


@pytest.mark.parametrize(("variant", "cell"), [("concat", "lstm"), ("dot", "gru"), ("dot", "rnn")])
def test_scores_equal_the_model_on_each_section_alone(songs, variant, cell):
    seer = Networks(Architecture(6, 90, variant, cell, 7))
    users = np.array([0, 5, 5, 3])
    explained = Explainer(seer, songs).explain(users, np.array([0, 0, 3, 4]))
    for user, ours in zip(users, explained, strict=True):
        for place in range(0, len(ours.scores), 5):
            first, stop = ours.windows.first[place], ours.windows.stop[place]
            hidden = np.asarray(seer.encoder(songs.midi[ours.song, None, first:stop].astype(np.float32)))
            alone = np.asarray(seer.head([np.array([user]), hidden]))
            np.testing.assert_allclose(ours.scores[place], alone[0], atol=2e-6)
    scores = explained[0].scores
    assert scores[explained[0].best] >= scores.max() - 2e-6  # of sections that tie the earliest is taken
    assert explained[3].best is None and explained[3].section_us is None and len(explained[3].scores) == 0
    assert max(map(max, (e.windows.stop for e in explained[:3]))) <= 90  # what the model saw in training


def test_the_whole_song_on_request_and_other_lengths(songs):
    seer = Networks(Architecture(6, 20, latent_features=3))
    seen, whole = (Explainer(seer, songs, 5.0, whole_song=whole) for whole in (False, True))
    assert seen.windows(0).stop.max() <= 20 < whole.windows(0).stop.max()
    assert seen.seen_seconds(0) == songs.times[0, 19] / 1e6
    length = whole.windows(0).end_us - whole.windows(0).start_us
    np.testing.assert_allclose(length, 5e6)
    assert seen.seen_seconds(4) == 0


def test_whether_the_whole_song_was_read(songs):
    """The songs have 100, 110, 120, 130 and no steps, in rows of 150."""
    read = [Explainer(Networks(Architecture(6, steps, latent_features=3)), songs) for steps in (110, 150)]
    assert [[explainer.reads_whole(song) for song in range(5)] for explainer in read] == [
        [True, True, False, False, True],
        [True] * 5,
    ]
    cut = SimpleNamespace(**(vars(songs) | {"midi": songs.midi[:, :110], "times": songs.times[:, :110]}))
    explainer = Explainer(Networks(Architecture(6, 110, latent_features=3)), cut)
    assert [explainer.reads_whole(song) for song in (0, 1)] == [True, False]


def test_ties_go_to_the_earliest_section(songs):
    same = replace_midi(songs, np.where(songs.midi > 0, 64, 0).astype(np.uint8))
    seer = Networks(Architecture(6, 150, "dot", "lstm", 3))
    (ours,) = Explainer(seer, same).explain(np.array([0]), np.array([1]))
    settled = ours.scores >= ours.scores.max() - 1e-6
    assert settled.sum() > 1 and ours.best == np.flatnonzero(settled)[0]


def replace_midi(songs, midi):
    return SimpleNamespace(**(vars(songs) | {"midi": midi}))


def test_fewer_channels(songs):
    seer = Networks(replace(Architecture(6, 90, latent_features=3), channels=2))
    assert {part.shape[1] for part in Explainer(seer, songs).sections(0, Explainer(seer, songs).windows(0))} == {4}
    assert Explainer(seer, songs, protocol="released").explain(np.array([1]), np.array([0]))[0].best is not None
