import dataclasses

import numpy as np
import pytest

from common.options import UserError
from dtnmr.batches import Negatives, _repeated, distinct
from dtnmr.dataset import Points
from dtnmr.testing import tiny_data


def test_released_draws_are_distinct_and_uniform_over_all_songs():
    for songs, count in ((10, 4), (400, 4)):  # both ways to draw
        drawn = distinct(np.random.default_rng(1), songs, 40_000, count)
        assert (np.diff(np.sort(drawn, axis=1), axis=1) > 0).all()
        for column in drawn.T:
            share = np.bincount(column, minlength=songs) * songs / len(column)
            np.testing.assert_allclose(share, 1, atol=6 * np.sqrt(songs / len(column)))
    assert distinct(np.random.default_rng(1), 5, 0, 4).shape == (0, 4)
    np.testing.assert_array_equal(np.sort(distinct(np.random.default_rng(1), 5, 9, 5)), np.tile(np.arange(5), (9, 1)))


@pytest.mark.parametrize("kind", ["released", "uniform", "popularity"])
def test_draws_follow_from_seed_and_epoch(kind):
    data = tiny_data()
    first = Negatives(data, kind, 4, 7).epoch(data.train, 2)
    np.testing.assert_array_equal(first, Negatives(data, kind, 4, 7).epoch(data.train, 2))
    assert first.shape == (len(data.train), 4) and first.dtype == np.int32
    assert not np.array_equal(first, Negatives(data, kind, 4, 7).epoch(data.train, 3))
    assert not np.array_equal(first, Negatives(data, kind, 4, 8).epoch(data.train, 2))


@pytest.mark.parametrize("rounds", [64, 0])
@pytest.mark.parametrize("kind", ["uniform", "popularity"])
def test_corrected_draws_are_neither_heard_nor_the_label_nor_new(kind, rounds, monkeypatch):
    monkeypatch.setattr("dtnmr.batches.ROUNDS", rounds)
    data = tiny_data()
    drawn = Negatives(data, kind, 4, 1).epoch(data.train, 0)
    assert (data.plays[drawn] > 0).all()
    for row in range(len(data.train)):
        heard = data.songs_played[data.train.playlists[row]][: data.train.positions[row] + 1]
        assert not set(heard) & set(drawn[row]) and len(set(drawn[row])) == 4


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_draws_by_popularity_follow_plays_to_the_power(alpha):
    data = tiny_data()
    data = dataclasses.replace(data, plays=np.arange(1, data.songs + 1) ** 2)
    points = Points(np.zeros(60_000, np.int32), np.full(60_000, 4, np.int32))
    drawn = Negatives(data, "popularity", 1, 1, alpha).epoch(points, 0)[:, 0]
    expected = data.plays**alpha * ~np.isin(np.arange(data.songs), data.songs_played[0][:5])
    np.testing.assert_allclose(
        np.bincount(drawn, minlength=data.songs) / len(drawn), expected / expected.sum(), atol=0.01
    )


def test_songs_that_stand_further_to_the_left_too():
    rows = np.random.default_rng(0).integers(0, 6, (50, 7), np.int32)
    expected = [[song in row[:place] for place, song in enumerate(row)] for row in rows.tolist()]
    np.testing.assert_array_equal(_repeated(rows), expected)


def test_two_columns_are_drawn_as_without_replacement():
    data = dataclasses.replace(tiny_data(), plays=np.array([0] * 30 + [6, 3, 2, 1] + [0] * 2))
    points = Points(np.full(40_000, 39, np.int32), np.zeros(40_000, np.int32))  # nothing of these is heard
    data.songs_played.values[data.songs_played.indptr[39]] = 0
    drawn = Negatives(data, "popularity", 2, 1, alpha=1.0).epoch(points, 0) - 30
    share = np.array([6, 3, 2, 1]) / 12
    for first in range(4):
        for second in set(range(4)) - {first}:
            expected = share[first] * share[second] / (1 - share[first])
            assert abs(np.mean((drawn == [first, second]).all(axis=1)) - expected) < 0.01


def test_impossible_draws_are_refused():
    data = tiny_data()
    with pytest.raises(UserError, match="need 37 songs; there are 36"):
        Negatives(data, "released", 36)
    with pytest.raises(UserError, match="at least one"):
        Negatives(data, "released", 0)
    few = dataclasses.replace(data, plays=np.array([1] * 3 + [0] * 33))
    with pytest.raises(UserError, match=r"leaves only [0-3] of 3 songs to draw 3 negatives"):
        Negatives(few, "uniform", 3).epoch(data.train, 0)
