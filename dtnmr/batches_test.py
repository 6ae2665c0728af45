import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtnmr.batches import Examples, UserInputs, taken, touched
from dtnmr.dataset import Rows
from dtnmr.options import Architecture
from dtnmr.testing import tiny_data


def rows_of(lists):
    flat = [value for part in lists for value in part]
    return Rows(np.cumsum([0, *map(len, lists)]), np.array(flat, np.int32))


def grouped(values, rows, count):
    return [sorted(values[rows == row].tolist()) for row in range(count)]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_user_columns_are_the_union_of_the_songs_heard(data):
    songs, width = 6, 3
    song_bits = [sorted(data.draw(st.sets(st.integers(0, 8), max_size=4))) for _ in range(songs)]
    playlists = data.draw(st.lists(st.lists(st.integers(0, songs - 1), max_size=7), min_size=1, max_size=5))
    own = [sorted(data.draw(st.sets(st.integers(0, width - 1)))) for _ in playlists]
    longest = data.draw(st.integers(1, 8))
    inputs = UserInputs(rows_of(playlists), rows_of(song_bits), rows_of(own), width, longest)
    asked = [(row, at) for row, playlist in enumerate(playlists) for at in range(len(playlist) + 1)]
    asked = np.array(data.draw(st.permutations(asked)), np.int32)
    columns, rows = inputs(asked[:, 0], asked[:, 1])
    assert (np.diff(rows) >= 0).all()
    for (row, at), found in zip(asked, grouped(columns, rows, len(asked)), strict=True):
        heard = {bit + width for song in playlists[row][max(at - longest, 0) : at] for bit in song_bits[song]}
        assert found == sorted(heard | set(own[row]))


def test_user_columns_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    data = tiny_data()
    own = rows_of([data.user_bits[user].tolist() for user in data.owners])
    points = data.train.playlists, data.train.positions
    whole = UserInputs(data.songs_played, data.song_bits, own, data.user_width)(*points)
    monkeypatch.setattr("dtnmr.batches.BLOCK", 5)
    blocks = UserInputs(data.songs_played, data.song_bits, own, data.user_width)(*points)
    for one, other in zip(whole, blocks, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("top", [9, 70_000])
def test_touched_rows_rebuild_the_list(top):
    bits = np.random.default_rng(1).integers(0, top, 200).astype(np.int32)
    found = touched(bits)
    np.testing.assert_array_equal(found.rows, np.unique(bits))
    np.testing.assert_array_equal(found.rows[found.place], bits)
    assert (np.diff(bits[found.order]) >= 0).all() and sorted(found.order) == list(range(200))
    assert all(len(part) == 0 for part in touched(np.empty(0, np.int32)))


def test_inputs_hold_each_song_once_and_the_last_songs_before_the_position():
    data = tiny_data()
    architecture = Architecture(data.song_width, data.user_width, 2, long_length=6, short_length=3)
    examples = Examples.of(architecture, data)
    playlists, positions = np.array([3, 0, 3], np.int32), np.array([9, 2, 0], np.int32)
    candidates = np.array([[1, 2], [2, 2], [5, 1]], np.int32)
    inputs = examples.inputs(playlists, positions, candidates, songs=30)
    distinct = np.unique(np.concatenate([data.songs_played[3][3:9], data.songs_played[0][:2], [1, 2, 5, 0]]))
    assert len(inputs.lengths) == 30
    np.testing.assert_array_equal(distinct[inputs.candidates], candidates)
    np.testing.assert_array_equal(distinct[inputs.history[0]], data.songs_played[3][3:9])
    np.testing.assert_array_equal(inputs.live, [[1] * 6, [0] * 4 + [1] * 2, [0] * 6])
    np.testing.assert_array_equal(distinct[inputs.history[1, 4:]], data.songs_played[0][:2])
    np.testing.assert_array_equal(inputs.behaviours[0], data.behaviours[3][3:9])
    assert (inputs.behaviours[2] == -1).all()
    np.testing.assert_allclose(inputs.lengths[: len(distinct)], data.lengths[distinct])
    values, rows = taken(data.song_bits, distinct)
    np.testing.assert_array_equal(values, inputs.song_bits)
    np.testing.assert_array_equal(rows, inputs.song_rows)
    every = examples.inputs_of_all(playlists, positions, candidates)
    np.testing.assert_array_equal(every.candidates, candidates)
    np.testing.assert_array_equal(every.history[0], data.songs_played[3][3:9])


def test_inputs_of_somebody_who_has_heard_nothing():
    data = tiny_data()
    architecture = Architecture(data.song_width, data.user_width, 2, long_length=6, short_length=3)
    nothing = rows_of([[]])
    examples = Examples(architecture, data, nothing, nothing, rows_of([[1]]))
    inputs = examples.inputs(np.zeros(1, np.int32), np.zeros(1, np.int32), np.array([[4]], np.int32))
    assert inputs.live.sum() == 0 and inputs.user_bits.tolist() == [1]
