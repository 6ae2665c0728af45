"""Tags: the file, favourites and matches by hand, and a classifier that hears what is there."""

import re

import numpy as np
import pandas as pd
import pytest

from common.options import UserError
from seer.preprocess import SeerData
from seer.studies.tag_classifier import SongTags, TagClassifier, read_tags, tags_of_titles
from seer.studies.tag_matching import favourites, liked_tags, matching

SONGS = 24


@pytest.fixture(scope="module")
def data():
    """Songs of two kinds: one plays on channel 1, the other on channel 9; three ratings."""
    rng = np.random.default_rng(0)
    midi = np.zeros((SONGS, 60, 32), np.uint8)
    for song in range(SONGS):
        length, channel = rng.integers(30, 61), 16 * (song % 2)
        midi[song, :length, channel] = rng.integers(30, 90, length)
        midi[song, :length, channel + 1] = rng.integers(40, 100, length)
    times = np.where(midi.any(axis=2), np.arange(60) * 2e5 + 1, 0)
    information = pd.DataFrame(
        {
            "song_id": [f"S{n}" for n in range(SONGS)],
            "title": [f"{('Low', 'High')[n % 2]} No. {n}" for n in range(SONGS)],
        }
    )
    users, songs = np.array([0, 0, 1]), np.array([0, 1, 3])
    ratings = np.array([5, 3, 4], np.float32)
    return SeerData(midi, times, users, songs, ratings, information, "test", 2)


def written(tmp_path, text):
    path = tmp_path / "tags.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_tags_of_unknown_songs_and_rare_tags_are_left_out(data, tmp_path):
    lines = ["S0,rock", "S1, rock ", "S1,rock", "S2,jazz", "S3,jazz", "S5,jazz", "S4,rare", "NOBODY,jazz", "X,rare"]
    tags = read_tags(written(tmp_path, "song_id,tag\n" + "\n".join(lines) + "\n"), data, 2)
    assert tags.names == ["jazz", "rock"]
    assert np.flatnonzero(tags.has[:, 0]).tolist() == [2, 3, 5] and np.flatnonzero(tags.has[:, 1]).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("song_id,tag\nS0,rock\n", "no tag is on 2 songs"),
        ("song_id,tag\nS0,\n", "line 2: a field is empty"),
        ("song_id,tag\n,rock\n", "line 2: a field is empty"),
        ("song_id,tag\nX,rock\n", "none of its song_ids"),
        ("song,tag\nS0,rock\n", "the column song_id is missing"),
        ("song_id,tag\nS0,rock,loud\n", "line 2: has 3 values"),
        ("", "is empty"),
    ],
)
def test_bad_files_end_in_one_line_that_names_them(text, message, data, tmp_path):
    path = written(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_tags(path, data, 2)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_titles_of_the_sample_begin_with_the_style(data):
    tags = tags_of_titles(data, 5)
    assert sorted(tags.names) == ["High", "Low"] and (tags.has.sum(axis=1) == 1).all()


def test_favourites_and_matches_by_hand(data):
    tags = SongTags(["a", "b", "c"], np.zeros((SONGS, 3), bool))
    tags.has[0], tags.has[1], tags.has[3] = [0, 1, 1], [1, 0, 0], [1, 0, 1]
    count = liked_tags(tags, data)
    np.testing.assert_array_equal(count, [[0, 1, 1], [1, 0, 1]])  # song 1 was rated 3: not liked
    np.testing.assert_array_equal(favourites(count, 1), [[False, True, False], [True, False, False]])
    np.testing.assert_array_equal(favourites(count, 3), [[False, True, True], [True, False, True]])
    has = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 1], [1, 0, 0]], bool)
    np.testing.assert_allclose(matching(has, np.array([0, 0, 0, 1, 1]), favourites(count, 1)), [100 / 3, 50])
    np.testing.assert_allclose(matching(has, np.array([0, 0, 0, 1, 1]), favourites(count, 3)), [200 / 3, 100])


def test_the_classifier_hears_the_channel_in_songs_and_in_sections(data):
    tags = tags_of_titles(data, 5)
    classifier = TagClassifier(data, tags, 16, 60, epochs=40, seed=1, jit=False)
    assert classifier.accuracy["whole songs"]["top 1"] == classifier.accuracy["parts of songs"]["top 1"] == 1
    sections = [(song, 5, 25) for song in range(SONGS)]
    assert (classifier.tags(sections) == tags.has).mean() > 0.9
    padded = classifier.probabilities([(0, 0, 60), (0, 0, int(data.midi[0].any(axis=1).sum()))])
    np.testing.assert_allclose(padded[0], padded[1], atol=1e-6)  # padding is not heard


def test_a_section_without_a_likely_tag_has_the_most_probable_one(data, monkeypatch):
    classifier = TagClassifier(data, tags_of_titles(data, 5), 4, 60, epochs=1, seed=1, jit=False)
    p = np.array([[0.2, 0.4], [0.6, 0.5], [0.3, 0.3]])
    monkeypatch.setattr(classifier, "probabilities", lambda sections: p)
    np.testing.assert_array_equal(classifier.tags([]), [[False, True], [True, True], [True, False]])
