"""SeER in Python: songs and ratings of all kinds, recommendations and explanations, and the recommenders' contract."""

import warnings
from typing import ClassVar

import numpy as np
import pandas as pd
import pretty_midi
import pytest

from common.command import parse
from common.options import UserError
from common.testing import metrics_of
from seer import SeER, baselines
from seer.options import SeerOptions
from seer.songs import Songs, ratings_of_tables, read_kept, write_kept
from seer.train import main
from tests.recommender_contract import RecommenderContract

SMALL = {
    "cell": "rnn",
    "latent_features": 3,
    "sequence_length": 3,
    "epochs": 2,
    "batch_size": 64,
    "deterministic": True,
}
SONGS, STEPS = 10, 30


def ratings(seed):
    """Users who like every second song; each rates seven of ten."""
    rng = np.random.default_rng(seed)
    rows = [(u, s, 5 if u % 2 == s % 2 else 2) for u in range(20) for s in rng.permutation(SONGS)[:7]]
    table = pd.DataFrame(rows, columns=["who", "what", "stars"])
    return table.assign(who="u" + table.who.astype(str), what="s" + table.what.astype(str))


def songs(prefix=""):
    """A step every half second, for a quarter of a minute; songs of two kinds."""
    found = {}
    for song in range(SONGS):
        rng, steps = np.random.default_rng(song), np.zeros((STEPS, 32), np.uint8)
        steps[:, 2 * (song % 2)] = rng.integers(30, 90, STEPS)
        steps[:, 2 * (song % 2) + 1] = rng.integers(40, 100, STEPS)
        found[f"{prefix}s{song}"] = (steps, 5e5 * np.arange(1, STEPS + 1))
    return found


COLUMNS = {"user": "who", "song": "what", "rating": "stars"}


@pytest.fixture(scope="module", autouse=True)
def short():
    """Matrix factorisation is trained for 3,000 steps otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "FEWEST_STEPS", 3)
        yield


class TestContract(RecommenderContract):
    """The contract of every recommender."""

    kind, options, columns, ids = SeER, SMALL, COLUMNS, ("who", "what")
    asked: ClassVar = ["u1", "u7", "u3"]
    unknown: ClassVar = "nobody"

    @staticmethod
    def tables():
        return ratings(1), ratings(2)

    @classmethod
    def besides(cls, renamed=False):
        return {"songs": songs("new " if renamed else "")}


@pytest.fixture(scope="module")
def fitted():
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield SeER(variant="dot", **SMALL).fit(ratings(1), songs=songs(), **COLUMNS)
    tf.config.run_functions_eagerly(False)


def written(folder):
    """The songs as MIDI files that sound like the arrays."""
    folder.mkdir()
    for name, (steps, times) in songs().items():
        midi, channel = pretty_midi.PrettyMIDI(), int(name[1:]) % 2
        part = pretty_midi.Instrument(channel)
        for step, at in zip(steps, times, strict=True):
            note, velocity = step[2 * channel : 2 * channel + 2]
            part.notes.append(pretty_midi.Note(int(velocity), int(note), at / 1e6, at / 1e6 + 0.25))
        midi.instruments.append(part)
        midi.write(str(folder / f"{name}.mid"))
    return folder


def test_songs_may_be_files_a_folder_or_a_table(tmp_path):
    folder = written(tmp_path / "midi")
    files = {path.stem: path for path in sorted(folder.iterdir())}
    table = pd.DataFrame({"song": list(files), "file": list(map(str, files.values()))})
    table["title"], table["artist"] = "Song " + table.song, "Nobody"
    midi = {name: pretty_midi.PrettyMIDI(str(path)) for name, path in files.items()}
    found = [SeER(**SMALL).read(SeER(**SMALL).options, ratings(1), None, {"songs": one} | COLUMNS)[2]
             for one in (folder, files, table, {name: str(path) for name, path in files.items()})]  # fmt: skip
    for other in found[1:]:
        np.testing.assert_array_equal(other.midi, found[0].midi)
        np.testing.assert_array_equal(other.times, found[0].times)
    assert found[2].song_information["title"].tolist()[3] == "Song s3"
    of_objects = SeER(**SMALL).read(SeER(**SMALL).options, ratings(1), None, {"songs": midi} | COLUMNS)[2]
    assert of_objects.num_songs == SONGS and of_objects.midi[:, :, 1::2].max() > 0


def test_explanations_have_times_ratings_picture_and_sound(fitted):
    best = fitted.recommend("u4", k=2)["item"].tolist()
    found = fitted.explain("u4", best, whole_song=True)
    assert [one.song for one in found] == best
    for one in found:
        assert list(one.sections.columns) == ["start", "end", "rating"] and len(one.sections) > 3
        chosen = one.sections[one.sections.start == one.start].iloc[0]
        assert chosen.end == one.end and one.end - one.start == pytest.approx(10)
        assert chosen.rating >= one.sections.rating.max() - 1e-6
        assert one.rating == pytest.approx(fitted.recommend("u4", k=99).set_index("item").score[one.song])
    assert found[0].picture().startswith(b"\x89PNG") and found[0].sound().startswith(b"RIFF")
    assert found[0].midi().startswith(b"MThd") and "<audio" in found[0]._repr_html_()
    assert len(fitted.explain("u4")) == 3  # all that the user has not rated
    (alone,) = fitted.explain(ratings={best[0]: 5}, songs=best[1], seconds=3, whole_song=True)
    assert alone.song == best[1] and alone.end - alone.start == pytest.approx(3)
    with pytest.raises(UserError, match="song 's99': not in the data"):
        fitted.explain("u4", "s99")


def test_somebody_new_is_told_by_ratings(fitted):
    one = {"s1": 5, "s2": 1.5}
    found = fitted.recommend(ratings=one, k=3)
    assert not set(found["item"]) & set(one) and "user" not in found
    several = fitted.recommend(ratings={"ann": one, "bob": {"s3": 4}}, k=3)
    assert list(several["user"].unique()) == ["ann", "bob"]
    pd.testing.assert_frame_equal(several[several.user == "ann"].drop(columns="user"), found)
    table = pd.DataFrame({"song": ["s1", "s2"], "rating": [5, 1.5]})
    pd.testing.assert_frame_equal(fitted.recommend(ratings=table, k=3), found)
    in_rows = pd.concat([table.assign(user="ann"), pd.DataFrame({"song": ["s3"], "rating": [4], "user": ["bob"]})])
    pd.testing.assert_frame_equal(fitted.recommend(ratings=in_rows, k=3), several)
    assert set(fitted.recommend(ratings=one, k=99, exclude_rated=False)["item"]) == set(songs())
    near, far = (fitted.recommend(ratings=one, k=3, ridge=ridge)["score"] for ridge in (0.1, 1e9))
    assert not np.allclose(near, far)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "name a user, or give ratings"),
        ({"user": "u1", "ratings": {"s1": 3}}, "one of them"),
        ({"user": []}, "user is empty"),
        ({"user": "u1", "k": 0}, "k is 0"),
        ({"user": "u1", "ridge": 1.0}, "ridge belongs to ratings"),
        ({"ratings": {}}, "ratings: there is none"),
        ({"ratings": {"s1": 6}}, "from 1 to 5"),
        ({"ratings": {"s1": "5"}}, "from 1 to 5"),
        ({"ratings": {"s99": 5}}, "song 's99': not in the data"),
        ({"ratings": {"s1": 5}, "ridge": -1}, "ridge is -1"),
    ],
)
def test_wrong_questions_are_told(fitted, asked, words):
    with pytest.raises(UserError, match=words):
        fitted.recommend(**asked)


def test_a_song_of_one_chord_at_its_start_is_kept(tmp_path):
    """The songs of a dataset may be such; MIDI files never are."""
    steps, times = zip(*songs().values(), strict=True)
    times = [np.zeros(1), *times[1:]]
    given = Songs(list(songs()), [steps[0][:1], *steps[1:]], times, pd.DataFrame({"title": [""] * SONGS}))
    data = ratings_of_tables(ratings(1), None, given, COLUMNS, validated=False, seed=1)
    write_kept(tmp_path, data)
    assert read_kept(tmp_path).fingerprint == data.fingerprint


def test_wrong_songs_and_ratings_are_told(tmp_path):
    table, good = ratings(1), songs()
    steps, times = good["s1"]
    (tmp_path / "empty").mkdir()
    (tmp_path / "s1.mid").write_bytes(b"MThd")
    for given, words in (
        (None, "songs is missing"),
        ({}, "songs is empty"),
        (tmp_path / "empty", "neither a dataset of SeER nor MIDI files"),
        ({"s1": tmp_path / "s1.mid"}, "s1.mid"),
        ({"s1": 3}, "expected a MIDI file, or arrays"),
        ({"s1": (steps[:, :3], times)}, "has shapes"),
        ({"s1": (steps + 99, times)}, "outside 0..127"),
        ({"s1": (steps, times[::-1])}, "never decrease"),
        ({"other": good["s1"]}, "none of its songs is known"),
    ):
        with pytest.raises(UserError, match=words):
            SeER(**SMALL).fit(table, songs=given, **COLUMNS)
    for wrong, words in (
        (table.drop(columns="stars"), "column stars"),
        (table.assign(stars=9), "row 0"),
        (table[:0], "holds no row"),
        (None, "songs are given without ratings"),
        ("no such file.csv", "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            SeER(**SMALL).fit(wrong, songs=good, **COLUMNS)


def test_rows_of_a_later_table_are_used_or_left_out(fitted):
    later = ratings(2)
    later.loc[:9, "what"] = "new"
    found = fitted.tested_on(fitted.data, later, COLUMNS)
    assert found.rows["files"]["the table"] == {
        "rows": 140, "used": 130, "left_out": {"users or songs that the model does not know": 10},
    }  # fmt: skip
    with pytest.raises(UserError, match="none of its users is known"):
        fitted.evaluate(later.assign(who="new"), **COLUMNS)
    with pytest.warns(UserWarning, match="130 that are measured rate a song that the same user rated in training"):
        fitted.tested_on(fitted.data, later, COLUMNS)  # half of the pairs are those of training
        fitted.evaluate(later, baselines=False, **COLUMNS)


def test_the_command_line_makes_the_same_model(tmp_path, eagerly):
    from seer.train_test import SMALL as OPTIONS
    from seer.train_test import write_raw

    raw, run = write_raw(tmp_path / "raw"), tmp_path / "run"
    arguments = [
        "--data-dir",
        str(raw),
        *OPTIONS,
        "--cell",
        "rnn",
        "--epochs",
        "2",
        "--deterministic",
        "--run-dir",
        str(run),
    ]
    main(parse(SeerOptions, arguments))
    named = {
        "cell": "rnn",
        "sequence_length": 6,
        "latent_features": 4,
        "baselines": False,
        "batch_size": 200,
        "epochs": 2,
    }
    model, loaded = SeER(**named, deterministic=True).fit(raw), SeER.load(run)
    asked = {"user": [0, 3], "k": 4, "exclude_rated": False}
    expected = model.recommend(**asked)
    assert list(expected.columns) == ["user", "rank", "item", "score", "title", "artist"]
    pd.testing.assert_frame_equal(loaded.recommend(**asked), expected)
    metrics = metrics_of(run)["metrics"]
    for found in (model.evaluate(baselines=False), loaded.evaluate(baselines=False)):
        assert dict(found.metrics) == metrics
    with pytest.raises(UserError, match=r"user 25: not in the data; their users are numbered 0\.\.24"):
        model.recommend(25)
    again = SeER.load(model.save(tmp_path / "kept"))
    pd.testing.assert_frame_equal(again.recommend(**asked), expected)
    (raw / "triplets.txt").write_text((raw / "triplets.txt").read_text() + "0 0 1\n")
    with pytest.raises(UserError, match="another one or has changed since"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SeER.load(run).recommend(0)
