"""AudioText in Python: tables of all kinds, songs with sound, and the contract of every recommender."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiotext import AudioText
from common.options import UserError
from tests.recommender_contract import RecommenderContract

pytestmark = pytest.mark.filterwarnings(
    "ignore:Even though the .*experimental_run_functions_eagerly:UserWarning", "ignore:only .* figures say little"
)
SMALL = {"model": "a-tags", "text_units": [8, 8], "epochs": 2, "factors": 4, "batch_size": 8, "deterministic": True}
HEARD, ALL, LISTENERS = 24, 30, 20


def taste(user, artist):
    """Users play artists of one of two kinds."""
    return artist % 2 == user % 2


def plays(first, last, seed):
    rng = np.random.default_rng(seed)
    rows = [
        (f"u{user}", f"a{artist}", int(rng.integers(1, 9)))
        for user in range(LISTENERS)
        for artist in range(first, last)
        if taste(user, artist) and rng.random() < 0.7
    ]
    return pd.DataFrame(rows, columns=["who", "whom", "times"])


def tags_of_artists():
    rng = np.random.default_rng(5)
    rows = [(f"a{artist}", f"tag{2 * int(rng.integers(4)) + artist % 2}") for artist in range(ALL) for _ in range(4)]
    return pd.DataFrame(rows, columns=["artist_id", "tag"]).drop_duplicates()


class TestContract(RecommenderContract):
    """The contract of every recommender."""

    kind, options, ids = AudioText, SMALL, ("who", "whom")
    columns: ClassVar = {"user": "who", "item": "whom", "plays": "times"}
    asked: ClassVar = ["u1", "u2", "u7"]
    unknown: ClassVar = "nobody"

    @staticmethod
    def tables():
        return plays(0, HEARD, 1), plays(HEARD, ALL, 2)

    @classmethod
    def besides(cls, renamed=False):
        tags = tags_of_artists()
        return {"tags": tags.assign(artist_id="new " + tags.artist_id) if renamed else tags}


@pytest.fixture(scope="module")
def fitted():
    return AudioText(**SMALL).fit(plays(0, HEARD, 1), tags=tags_of_artists(), user="who", item="whom", plays="times")


def test_what_nobody_has_played_is_recommended(fitted):
    assert set(fitted.recommend("u1", k=99)["item"]) == {f"a{artist}" for artist in range(HEARD, ALL)}
    found = fitted.listeners(terms=["tag1", "tag3"], k=5)
    assert list(found.columns) == ["rank", "user", "score"] and found.score.is_monotonic_decreasing
    assert set(found.user) <= {f"u{user}" for user in range(LISTENERS)}


def test_whatever_holds_the_plays_the_model_is_the_same(fitted, tmp_path):
    table = plays(0, HEARD, 1).rename(columns={"who": "user_id", "whom": "artist_id", "times": "plays"})
    table.to_csv(tmp_path / "plays.csv", index=False)
    every = table.loc[table.index.repeat(table.plays), ["user_id", "artist_id"]]  # a row for each play
    for source in (table, tmp_path / "plays.csv", every):
        found = AudioText(**SMALL).fit(source, tags=tags_of_artists()).recommend("u1")
        pd.testing.assert_frame_equal(found, fitted.recommend("u1"))


def test_rows_of_a_later_table_are_used_or_left_out(fitted):
    later = plays(HEARD, ALL, 2)
    later.loc[:2, "whom"] = ["a0", "nobody", "a25"]
    later.loc[2, "who"] = "stranger"
    found = fitted.tested_on(fitted.data, later, {"user": "who", "item": "whom", "plays": "times"})
    assert found.rows["files"]["the table"]["left_out"] == {
        "of items that had plays in training": 1, "of unknown items": 1, "of unknown users": 1,
    }  # fmt: skip
    with pytest.raises(UserError, match="none of the users"):
        fitted.evaluate(later.assign(whom="a0"), user="who", item="whom")


def test_wrong_tables_are_told(fitted):
    table, tags = plays(0, HEARD, 1).rename(columns={"who": "user", "whom": "artist"}), tags_of_artists()
    for data, more, words in (
        (table, {}, "all artists of the tables have plays"),
        (table.drop(columns="artist"), {"tags": tags}, "column"),
        (table[:0], {"tags": tags}, "holds no row"),
        (table, {"tags": tags.rename(columns={"tag": "word"})}, "column tag"),
        (table, {"tags": tags, "validation": table}, "validation"),
        ("no such file.csv", {"tags": tags}, "no such file"),
        ("sample", {"tags": tags}, "belong to a table"),
    ):
        with pytest.raises(UserError, match=words):
            AudioText(**SMALL).fit(data, **more)
    with pytest.raises(UserError, match="recommends songs"):
        AudioText(model="audio").fit(table, tags=tags)
    for k in (0, 1.5, None):
        with pytest.raises(UserError, match="k is"):
            fitted.recommend("u1", k=k)
    for given, words in (
        ({"audio": "x.wav", "terms": ["tag1"]}, "audio: the a-tags network reads no sound"),
        ({}, "text is missing"),
        ({"text": "words"}, "biography: the network reads tags"),
        ({"terms": ["nothing"]}, "knows none"),
    ):
        with pytest.raises(UserError, match=words):
            fitted.listeners(**given)


@pytest.fixture
def songs(tmp_path):
    """Two songs of each artist, with sound, and a biography for each artist."""
    rng, rows = np.random.default_rng(3), []
    for song in range(40):
        path = tmp_path / f"s{song}.wav"
        soundfile.write(path, 0.1 * rng.normal(size=9000), 22050)
        rows.append((f"s{song}", f"a{song // 2}", f"Song {song}", f"Artist {song // 2}", str(path)))
    table = pd.DataFrame(rows, columns=["song_id", "artist_id", "title", "artist", "audio"])
    words = {f"a{artist}": " ".join(rng.choice([f"w{number}" for number in range(12)], 8)) for artist in range(20)}
    heard = [(f"u{user}", f"s{song}") for user in range(12) for song in range(32) if rng.random() < 0.5]
    return table, words, pd.DataFrame(heard, columns=["user", "song"])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_songs_by_sound_and_biographies_with_branches_that_are_kept(songs, tmp_path, eagerly):
    table, words, heard = songs
    sizes = {"text_units": [8, 8], "filters": [4] * 4, "pools": [2, 1, 1, 1], "fusion_units": 8, "frames": 18}
    model = AudioText(model="mm-lf-h1", epochs=1, factors=4, batch_size=8, jobs=1, deterministic=True, **sizes)
    model.fit(heard, songs=table, biographies=words)
    found = model.recommend(["u1", "u2"], k=2)
    assert list(found.columns) == ["user", "rank", "item", "score", "title", "artist"] and len(found) == 4
    assert set(found["item"]) <= {f"s{song}" for song in range(32, 40)} and found.title.str.startswith("Song").all()
    asked = {"audio": table.audio[39], "text": words["a19"]}
    listeners = model.listeners(**asked)
    loaded = AudioText.load(model.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(loaded.recommend(["u1", "u2"], k=2), found)
    pd.testing.assert_frame_equal(loaded.listeners(**asked), listeners)
    later = pd.DataFrame([("u1", "s39"), ("u2", "s35"), ("u3", "s33")], columns=["user", "song"])
    measured = model.evaluate(later)
    assert {"A-TEXT alone", "AUDIO alone", "random"} <= measured.baselines.keys()
    assert loaded.evaluate(later).rows == measured.rows
