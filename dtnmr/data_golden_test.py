"""Kept songs and users, values, playlists, examples and encodings against the released code."""

import csv
import io
import json

import numpy as np
import pytest

from common.table_sources import Source, open_source
from conftest import GOLDEN
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES
from dtnmr.encoding import accepted_name, encode_song, encode_user, heard_bits
from dtnmr.kkbox import kkbox_files
from dtnmr.options import DataOptions
from dtnmr.preprocess import prepare

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "dtnmr"


def read(name, folder=FOLDER):
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def rows_by_id(part, folder=FOLDER):
    """Id -> row of songs.csv or members.csv, counted from 0."""
    with open_source(Source(kkbox_files(folder / "csv")[part])) as stream:
        rows = list(csv.reader(io.TextIOWrapper(stream, "utf-8")))[1:]
    return {row[0]: number for number, row in enumerate(rows)}


@pytest.fixture(scope="module", params=["default", "small"])
def golden(request, tmp_path_factory):
    """What is expected, our data, and the rows in the files of our songs and users."""
    return prepared(request.param, FOLDER, tmp_path_factory.mktemp("golden") / "out")


def prepared(name, folder, out):
    """The same, of a setting and the files in ``folder``."""
    expected = read(f"expected_{name}", folder)
    given = expected["options"]
    options = DataOptions(
        top=given["top"], min_playlist_len=given["min_len"], max_playlist_len=given["max_len"],
        subset_size=given["subset"], short_term_len=given["st"], long_term_len=given["lt"],
    )  # fmt: skip
    data = prepare(folder / "csv", out, options, "released")
    songs, users = rows_by_id("songs", folder), rows_by_id("members", folder)
    song_rows, user_rows = [songs[song] for song in data.song_ids], [users[user] for user in data.user_ids]
    return name, expected, data, song_rows, user_rows


def test_songs_users_and_values(golden):
    _, expected, data, song_rows, user_rows = golden
    assert song_rows == expected["kept_song_rows"] and user_rows == expected["kept_user_rows"]
    assert data.longest_length == expected["max_length_s"]
    for feature, values in expected["feature_sets"].items():
        assert data.values[feature] == values
    assert data.values["behaviour"] == expected["behaviors_encoded"]
    assert data.song_width + 1 == expected["song_size"]
    assert data.user_width + data.song_width == expected["user_size"]
    assert data.counts["train: plays"] == expected["n_train_rows"]
    assert data.counts["test: plays"] == expected["n_test_rows"]


def test_dead_values(golden):
    _, expected, data, _, _ = golden
    used = set(np.unique(data.song_bits.values).tolist())
    start = 0
    for feature in SONG_FEATURES:
        columns = enumerate(data.values[feature], start)
        assert [value for column, value in columns if column not in used] == expected["dead_values"][feature]
        start += len(data.values[feature])


@pytest.mark.parametrize("part", ["train", "test"])
def test_playlists_and_examples_in_order(golden, part):
    _, expected, data, song_rows, user_rows = golden
    wanted, points = expected[part], getattr(data, part)
    rows = [row for row in range(len(data.owners)) if (data.trained[row] > 0) == (part == "train")]
    lengths = [[str(user_rows[data.owners[row]]), len(data.songs_played[row])] for row in rows]
    assert lengths == [list(item) for item in wanted["playlist_len_by_user_row"].items()]
    assert len(lengths) == wanted["n_users_with_any_play"]
    found = [
        [user_rows[data.owners[row]], song_rows[data.songs_played[row][position]]]
        for row, position in zip(points.playlists, points.positions, strict=True)
    ]
    assert found == wanted["points"] and len(found) == wanted["n_points"]
    assert len(np.unique(points.playlists)) == wanted["n_users_with_points"]


@pytest.mark.parametrize("name", ["default", "small"])
def test_files_in_which_every_rule_bites(name, tmp_path):
    """Ties at --top, a longest song with a bad name, blanks and letters of all kinds, repeated plays, bounds met."""
    folder = FOLDER / "adversarial"
    if not folder.is_dir():
        pytest.skip("these golden data have no folder of such files; they may be such themselves")
    found = prepared(name, folder, tmp_path / "out")
    test_songs_users_and_values(found)
    test_dead_values(found)
    for part in ("train", "test"):
        test_playlists_and_examples_in_order(found, part)


def words(data, features, columns):
    """Feature -> the set of values that ``columns`` stand for."""
    names = [(feature, value) for feature in features for value in data.values[feature]]
    return {
        feature: {value for column in columns for f, value in [names[column]] if f == feature} for feature in features
    }


def dense_words(vector, expected, features, longer):
    """The same of a dense vector of the released code, by its column order of one process."""
    order = expected["column_order_seed0"]
    names = [(feature, value) for feature in features for value in order[feature]]
    assert len(vector) == len(names) + longer and set(np.unique(vector[longer:])) <= {0, 1}
    set_ones = [names[column] for column in np.flatnonzero(vector[longer:])]
    return {feature: {value for f, value in set_ones if f == feature} for feature in features}


def test_songs_have_the_same_bits_by_name(golden):
    name, expected, data, song_rows, _ = golden
    described = read(f"encodings_{name}")["songs"]
    vectors = np.load(FOLDER / f"encodings_{name}.npz")["songs"]
    for song, vector in zip(described, vectors, strict=True):
        number = song_rows.index(song["row"])
        bits = data.song_bits[number]
        assert words(data, SONG_FEATURES, bits) == {feature: set(song[feature]) for feature in SONG_FEATURES}
        assert words(data, SONG_FEATURES, bits) == dense_words(vector, expected, SONG_FEATURES, longer=1)
        assert data.lengths[number] == np.float32(song["length_code"]) == np.float32(vector[0])
        assert len(bits) == song["n_bits"] and (np.diff(bits) > 0).all()
        length, again = encode_song(
            data, song["length_s"][0], song["genre"], song["artist"], song["composer"], song["language"][0]
        )
        assert length == song["length_code"] and again.tolist() == bits.tolist()


def test_users_have_the_same_bits_by_name(golden):
    name, expected, data, song_rows, user_rows = golden
    described = read(f"encodings_{name}")["users"]
    vectors = np.load(FOLDER / f"encodings_{name}.npz")["users"]
    for user, vector in zip(described, vectors, strict=True):
        number = user_rows.index(user["row"])
        own = data.user_bits[number]
        heard = heard_bits(data, [song_rows.index(row) for row in user["prefix_song_rows"]])
        found = words(data, USER_FEATURES, own) | words(data, SONG_FEATURES, heard)
        assert found == dense_words(vector, expected, USER_FEATURES + SONG_FEATURES, longer=0)
        assert len(own) + len(heard) == user["n_bits"] and (np.diff(heard) > 0).all()
        fields = [user[feature][0] for feature in USER_FEATURES]
        assert encode_user(data, *fields).tolist() == own.tolist()
        prefixes = [
            [song_rows[song] for song in data.songs_played[row]][: len(user["prefix_song_rows"])]
            for row in np.flatnonzero(data.owners == number)
        ]
        assert user["prefix_song_rows"] in prefixes


def test_behaviours_have_the_same_bits(golden):
    name, expected, data, _, _ = golden
    described = read(f"encodings_{name}")
    vectors = np.load(FOLDER / f"encodings_{name}.npz")["behaviors"]
    for tab, vector, bits in zip(described["behaviors"], vectors, described["behavior_bits"], strict=True):
        ones = [expected["column_order_seed0"]["behavior"][column] for column in np.flatnonzero(vector)]
        assert ones == ([tab] if tab in data.values["behaviour"] else []) and len(ones) == bits


def test_edge_cases(golden):
    _, _, data, _, _ = golden
    expected = read("edge_cases")
    assert {name: accepted_name(name) for name in expected["name filter"]} == expected["name filter"]
    longest = encode_song(data, data.longest_length, "no such genre", "", "", "")
    assert longest[0] == expected["song length code for length == max"]
    genres = len(data.values["genre"])
    assert (longest[1] < genres).sum() == expected["genre value unknown to the encoder"]
