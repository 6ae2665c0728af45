from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common.options import PROJECT, UserError
from common.sources import MARKER
from dtnmr.encoding import UNKNOWN_AGE, unknown_values
from dtnmr.options import DataOptions
from dtnmr.preprocess import load_dataset
from dtnmr.sample import KkboxSampleOptions, ceiling, draw_plays, draw_world, probabilities, write_sample

SMALL = KkboxSampleOptions(Path("unused"), users=150, songs=300)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kkbox")
    write_sample(folder, replace(SMALL, out=folder))
    return folder


def test_the_same_seed_gives_the_same_bytes(sample, tmp_path):
    write_sample(tmp_path, SMALL)
    names = sorted(path.name for path in sample.iterdir())
    assert names == [MARKER, "members.csv", "songs.csv", "test.csv", "train.csv"]
    assert all((tmp_path / name).read_bytes() == (sample / name).read_bytes() for name in names)
    write_sample(tmp_path, replace(SMALL, seed=8))
    assert (tmp_path / "train.csv").read_bytes() != (sample / "train.csv").read_bytes()


def test_prepared_it_has_new_songs_and_users_and_odd_entries(sample):
    dataset, data = load_dataset(DataOptions(db=sample), "corrected")
    assert dataset.synthetic
    for reason in (
        "train: of a song not in songs.csv", "songs: of no length, or not shorter than --max-song-seconds",
        "new songs, without a training play", "new users, without a training play",
        "test: of a song that the user has heard in training",
    ):  # fmt: skip
        assert data.counts[reason] > 0, reason
    assert len(data.train) > 1000 and len(data.test) > 500 and len(data.validation) > 100
    assert (data.plays == 0).sum() == data.counts["new songs, without a training play"]
    assert UNKNOWN_AGE in data.values["age"] and "0" not in data.values["age"]
    assert "" in data.values["genre"] and "" in data.values["composer"] and "" in data.values["gender"]
    assert unknown_values(data, "artist", "Nobody At All|" + data.values["artist"][0]) == ["Nobody At All"]


def test_the_released_protocol_has_enough_examples(sample):
    _, data = load_dataset(DataOptions(db=sample, min_playlist_len=10, long_term_len=10), "released")
    assert len(data.train) > 500 and len(data.test) > 20
    assert data.counts["songs: by name (artist)"] > 0 and data.counts["songs: by name (composer)"] > 0


def test_the_law_is_a_distribution_over_songs_not_heard():
    rng = np.random.default_rng(1)
    world = draw_world(SMALL.users, SMALL.songs, rng)
    users, last = np.arange(4), np.array([-1, 3, 5, 7])
    free = rng.random((4, SMALL.songs)) < 0.5
    chances = probabilities(world, users, np.array([0, 1, 2, 3]), last, free)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances[~free] == 0).all() and (chances[free] > 0).all()


def test_users_genres_drift_and_differ_and_popularity_says_little():
    rng = np.random.default_rng(SMALL.seed)
    world = draw_world(SMALL.users, SMALL.songs, rng)
    played = draw_plays(world, rng)
    genre = world.genres[world.artists[played.songs]]
    lists = [genre[played.users == user] for user in range(SMALL.users)]
    near = np.mean([np.mean(row[1:] == row[:-1]) for row in lists])
    far = np.mean([np.mean(row[20:] == row[:-20]) for row in lists if len(row) > 25])
    shares = np.bincount(genre, minlength=12) / len(genre)
    assert near > far + 0.15 > (shares**2).sum() + 0.25
    assert ceiling(SMALL)["recall@10"] > 4 * np.sort(np.bincount(played.songs))[-10:].sum() / len(played.songs)
    for user in range(SMALL.users):
        songs = played.songs[played.users == user]
        assert len(np.unique(songs)) == len(songs)
    assert (played.times[world.fresh[played.songs] | world.late[played.users]] >= 0.8).all()


def test_the_script(tmp_path):
    command = [sys.executable, str(PROJECT / "dtnmr/sample.py"), "--out", str(tmp_path), "--users"]
    good = subprocess.run([*command, "30", "--songs", "300"], capture_output=True, text=True, cwd=PROJECT)
    assert good.returncode == 0 and "recall@10" in good.stdout
    with pytest.raises(UserError, match="--users is 3; it must be 20 or more"):
        KkboxSampleOptions(tmp_path, users=3)
