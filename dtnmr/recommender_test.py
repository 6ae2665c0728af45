"""DTNMR in Python: tables of all kinds, listeners of all kinds, and the contract of every recommender."""

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from common.command import parse
from common.options import UserError
from common.testing import metrics_of
from dtnmr import DTNMR
from dtnmr.options import DtnmrOptions
from dtnmr.sample import KkboxSampleOptions, write_sample
from dtnmr.testing import tiny_data
from dtnmr.train import main
from tests.recommender_contract import RecommenderContract

SMALL = {
    "mlp": [8], "embedding": 4, "lstm": 4, "lstm_layers": 1, "epochs": 2, "batch_size": 128, "deterministic": True,
    "learning_rate": 0.01, "long_term_len": 3, "short_term_len": 2, "min_playlist_len": 6, "top": 0.0,
    "validation_share": 0.3,
}  # fmt: skip
DATA = tiny_data()


def plays(later=False):
    """The plays of the training part of the playlists, or those after it."""
    rows = [
        (DATA.user_ids[user], DATA.song_ids[song], DATA.values["behaviour"][how] if how >= 0 else "")
        for user in range(DATA.users)
        for place, (song, how) in enumerate(zip(DATA.songs_played[user], DATA.behaviours[user], strict=True))
        if (place >= DATA.trained[user]) == later
    ]
    return pd.DataFrame(rows, columns=["user", "song", "source_system_tab"])


def songs():
    starts = np.cumsum([0, *(len(DATA.values[name]) for name in ("genre", "artist", "composer"))])
    names = [DATA.values[name] for name in ("genre", "artist", "composer", "language")]
    rows = [
        (song, 1000 * 350 * length, *(names[i][bit - starts[i]] for i, bit in enumerate(bits)))
        for song, length, bits in zip(
            DATA.song_ids, DATA.lengths, map(DATA.song_bits.__getitem__, range(36)), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=["song", "length", "genres", "artists", "composer", "language"])


def members():
    ages, genders = (20, 30, 40, 50), ("female", "male")
    rows = [(user, ages[n % 4], genders[n % 2], 1) for n, user in enumerate(DATA.user_ids)]
    return pd.DataFrame(rows, columns=["user", "age", "gender", "city"])


class TestContract(RecommenderContract):
    """The contract of every recommender."""

    kind, options, ids = DTNMR, SMALL, ("user", "song")
    asked: ClassVar = ["u1", "u7", "u3"]
    unknown = "nobody"

    @staticmethod
    def tables():
        return plays(), plays(later=True)

    @classmethod
    def besides(cls, renamed=False):
        found = {"songs": songs(), "members": members()}
        new = "new " if renamed else ""
        return {n: t.assign(**{c: new + t[c] for c in cls.ids if c in t}) for n, t in found.items()}


@pytest.fixture(scope="module")
def fitted(request):
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield DTNMR(**SMALL).fit(plays(), songs=songs().assign(title="Song " + songs().song), members=members())
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def db(tmp_path_factory):
    """A small dataset in KKBOX's formats."""
    folder = tmp_path_factory.mktemp("kkbox")
    write_sample(folder, KkboxSampleOptions(folder, users=40, songs=300))
    return folder


def test_tables_give_the_model_and_the_figures_that_the_files_of_kkbox_give(db, tmp_path, eagerly):
    sizes = SMALL | {"min_playlist_len": 20, "epochs": 1, "batch_size": 512, "dropout": 0.0}
    run, plain = tmp_path / "run", {name: size for name, size in sizes.items() if name not in ("mlp", "deterministic")}
    given = [f"--{name.replace('_', '-')}={size}" for name, size in plain.items()]
    given += ["--mlp=8", "--deterministic", "--no-baselines", "--db", str(db), "--run-dir", str(run)]
    main(parse(DtnmrOptions, given))
    loaded = DTNMR.load(run)
    expected = metrics_of(run)["metrics"]
    assert dict(loaded.evaluate(baselines=False).metrics) == expected
    names = ("train", "test", "songs", "members")
    files = {name: pd.read_csv(db / f"{name}.csv", keep_default_na=False, dtype=str) for name in names}
    beside = {name: files[name] for name in ("songs", "members")}
    model = DTNMR(**sizes).fit(files["train"], **beside)
    for name, variable in model.networks.named.items():
        np.testing.assert_array_equal(np.asarray(variable), np.asarray(loaded.networks.named[name]), err_msg=name)
    drawn = {"accuracy@5_released"}  # by the numbers of the songs
    for found in (model.evaluate(files["test"], False, **beside), model.evaluate(db, False)):
        assert {n: v for n, v in found.metrics.items() if n not in drawn} == pytest.approx(
            {n: v for n, v in expected.items() if n not in drawn}, abs=1e-6
        )
        (counts,) = found.data["files"].values()
        assert counts["rows"] == len(files["test"]) == counts["used"] + sum(counts["left_out"].values())
    without = model.evaluate(files["test"], False)  # new songs and users are not known
    assert without.data["files"]["later plays"]["left_out"]["of a song that is not known"] > 0


def test_listeners_may_come_in_any_form(fitted):
    one = fitted.recommend("u1", k=2)
    assert list(one.columns) == ["rank", "item", "score", "title", "artist"]
    assert (
        list(one["title"]) == ["Song " + item for item in one["item"]] and one["artist"].str.startswith("artist").all()
    )
    new = fitted.recommend(age=30, gender="male", city=1, history=["s3", "s9"], k=2)
    assert not set(new["item"]) & {"s3", "s9"}
    told = {"age": 30, "gender": "male", "city": "1", "history": ["s3", "s9"]}
    several = fitted.recommend(["u1", told], k=2)
    assert list(several["user"]) == ["u1", "u1", 1, 1]
    for key, alone in (("u1", one), (1, new)):
        part = several[several["user"] == key].drop(columns="user").reset_index(drop=True)
        pd.testing.assert_frame_equal(part, alone)
    table = pd.DataFrame([{"user_id": "u1"}, told])
    pd.testing.assert_frame_equal(fitted.recommend(table, k=2), several)
    pd.testing.assert_frame_equal(fitted.recommend(told, k=2), new)
    longer = fitted.recommend("u1", history=list(one["item"]), k=40)
    assert not set(longer["item"]) & set(one["item"])
    with pytest.warns(UserWarning, match="history: nothing is not among the songs"):
        fitted.recommend("u1", history=["nothing"], k=1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "nobody to recommend to: name user, or tell of a new one with age, gender, city and history"),
        ({"user": "nobody"}, "user nobody: not among the 39 users"),
        ({"user": "u1", "age": 3}, "user names a user of the dataset; leave out age"),
        ({"user": []}, "user is empty"),
        ({"user": ["u1"], "age": 3}, "age: of one listener"),
        ({"user": [{"name": "x"}]}, "name: nothing that is told of a listener"),
        ({"history": "s1"}, "history must be a list"),
        ({"history": ["x"]}, "nothing that is told of the user is known"),
        ({"user": "u1", "k": 0}, "k is 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*not among the songs")
def test_what_is_no_listener_is_told(fitted, given, words):
    with pytest.raises(UserError, match=words):
        fitted.recommend(**given)


def test_several_weights_are_compared(fitted, tmp_path):
    other = DTNMR(**SMALL | {"learning_rate": 0.1, "epochs": 1}).fit(plays(), songs=songs(), members=members())
    files = [model.save(tmp_path / name) / "model.weights.h5" for name, model in (("a", fitted), ("b", other))]
    both = DTNMR(**SMALL | {"epochs": 0, "weights": files}).fit(plays(), songs=songs(), members=members())
    found = both.evaluate(plays(later=True), baselines=False)
    assert found.models == ("DTNMR (dot)", str(files[1]))
    for name, model in zip(found.models, (fitted, other), strict=True):
        alone = model.evaluate(plays(later=True), baselines=False)
        assert found.rows[name] == alone.metrics
    with pytest.raises(UserError, match="weights names several files, which can be compared"):
        DTNMR(weights=files)


def test_new_songs_are_ranked_too(fitted):
    new = songs().iloc[[4]].assign(song="new", title="New")
    found = fitted.recommend(age=20, songs=new, k=40).set_index("item")
    assert found.loc["new", "score"] == pytest.approx(found.loc["s4", "score"], abs=1e-6)
    assert found.loc["new", "title"] == "New"


def test_little_is_needed_and_ids_of_integers_stay_integers(tmp_path, eagerly):
    numbers = {name: number for number, name in enumerate([*DATA.song_ids, *DATA.user_ids])}
    table = plays()[["user", "song"]].map(numbers.get).rename(columns={"user": "who", "song": "what"})
    bare = songs()[["song", "artists"]].assign(what=lambda frame: frame.song.map(numbers.get)).drop(columns="song")
    model = DTNMR(**SMALL | {"epochs": 1}).fit(table, songs=bare, user="who", song="what")
    found = model.recommend(36, k=2)
    assert found["item"].dtype == np.int64 and set(found["item"]) <= set(range(36))
    pd.testing.assert_frame_equal(DTNMR.load(model.save(tmp_path / "kept")).recommend("36", k=2), found)


def test_wrong_tables_are_told(fitted):
    for given, words in (
        ({"data": plays()}, "songs is missing"),
        ({"data": "sample", "songs": songs()}, "songs: belong to a table of plays"),
        ({"data": plays().drop(columns="song"), "songs": songs()}, "plays: the table: the column song_id"),
        ({"data": plays(), "songs": songs().drop(columns="song")}, "songs: the table: the column song_id"),
        ({"data": plays()[:0], "songs": songs()}, "holds no row"),
        ({"data": plays(), "songs": songs().assign(song="x")}, "has no entry for any song"),
        ({"data": plays(), "songs": songs(), "validation": plays()}, "validation"),
        ({"data": "no such file.csv", "songs": songs()}, "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            DTNMR(**SMALL).fit(**given)
    with pytest.raises(
        UserError, match=r"none of its .* songs is known: ids are such as 's0' in training, and 'x' here"
    ):
        fitted.evaluate(plays(later=True).assign(song="x"))
    with pytest.raises(UserError, match="no test example is left"):
        fitted.evaluate()
