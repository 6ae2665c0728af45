"""Item cold start: the split, figures by user, the content baselines, and that structure is learnt and noise is not."""

import numpy as np
import pandas as pd
import pytest

from common import metrics
from common.options import UserError
from common.sources import Dataset
from seer import baselines
from seer.evaluation import catalogue_metrics, released_metrics
from seer.preprocess import Ratings, SeerData, Split
from seer.studies import content
from seer.studies.by_user import FIGURES, ByUser, by_user, released_by_user, resampled, with_interval
from seer.studies.cold_start import run, song_split
from seer.studies.options import ColdStart

USERS, SONGS = 60, 48


def some_ratings(rows=1500, seed=0):
    rng = np.random.default_rng(seed)
    return Ratings(
        rng.integers(0, USERS, rows), rng.integers(0, SONGS, rows), rng.integers(1, 6, rows).astype(np.float32)
    )


def styles(noise, seed=0):
    """Songs of two styles that use different channels; each user likes one of them, or nothing means anything."""
    rng = np.random.default_rng(seed)
    style = np.arange(SONGS) % 2
    midi = np.zeros((SONGS, 20, 32), np.uint8)
    for song, kind in enumerate(style):
        midi[song, :, 8 * kind] = rng.integers(40, 80, 20)
        midi[song, :, 8 * kind + 1] = rng.integers(50, 120, 20)
    ratings = some_ratings(3000)
    likes = (ratings.users % 2) == style[ratings.songs]
    values = ratings.values if noise else np.where(likes, 5, 1).astype(np.float32)
    ids = pd.DataFrame({"song_id": [f"S{n}" for n in range(SONGS)], "duration": 100.0})
    times = np.tile(np.arange(20) * 1e5, (SONGS, 1))
    return SeerData(midi, times, ratings.users, ratings.songs, values, ids, "test", USERS)


# --- split ---------------------------------------------------------------------------------------------------------


def test_held_out_songs_never_occur_in_training_and_nothing_is_lost():
    ratings = some_ratings()
    split = song_split(ratings, SONGS, 0.25, seed=3)
    songs = [set(part.songs.tolist()) for part in (split.train, split.validation, split.test)]
    assert not (songs[0] & songs[1] or songs[0] & songs[2] or songs[1] & songs[2])
    assert [len(found) for found in songs] == [SONGS - 12 - 6, 6, 12]
    rows = [row for part in vars(split).values() for row in zip(*vars(part).values(), strict=True)]
    assert sorted(rows) == sorted(zip(*vars(ratings).values(), strict=True))
    assert songs[2] == set(song_split(ratings, SONGS, 0.25, seed=3).test.songs.tolist())
    assert songs[2] != set(song_split(ratings, SONGS, 0.25, seed=4).test.songs.tolist())


@pytest.mark.parametrize("share", [0.001, 0.66])
def test_a_share_that_leaves_no_songs_is_refused(share):
    with pytest.raises(UserError, match="--share"):
        song_split(some_ratings(), 3, share, seed=1)


# --- figures by user -----------------------------------------------------------------------------------------------


def random_split(seed=1):
    part = np.random.default_rng(seed).integers(0, 3, 1500)
    return Split(*(some_ratings()[np.flatnonzero(part == number)] for number in range(3)))


def joined(*parts):
    return Ratings(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("users", "songs", "values")))


def test_figures_by_user_are_those_of_the_whole_evaluation():
    split = random_split()
    scores = np.random.default_rng(2).integers(1, 8, (USERS, SONGS)) / 2  # with ties
    recommender = baselines.Rater(lambda users, songs: scores[users, songs], lambda users: scores[users])
    found = by_user(split.test, recommender, USERS, 3, np.arange(SONGS), joined(split.train, split.validation))
    whole = catalogue_metrics(split, recommender, 3, SONGS)
    released = released_metrics(split.test, scores[split.test.users, split.test.songs], 3)
    figures = found.figures()
    for name in FIGURES:
        assert figures[name] == pytest.approx((whole | released)[name], rel=1e-12), name
    legacy = released_by_user(split.test, recommender, USERS, 3)
    assert legacy.figures()["map@10_v2"] == pytest.approx(released["map@10_v2"], rel=1e-12)
    one = Ratings(*(column[split.test.users == 7] for column in vars(split.test).values()))
    assert found.values("rmse")[7] == pytest.approx(metrics.rmse(one.values, scores[one.users, one.songs]))


def test_only_candidates_are_ranked():
    test = Ratings(np.array([0, 0]), np.array([3, 5]), np.array([5.0, 1.0]))
    scores = np.arange(8.0)[None]
    recommender = baselines.Rater(lambda u, s: scores[u, s], lambda u: scores[u], is_rating=False)
    found = by_user(test, recommender, 2, 3, np.array([3, 5]))
    assert "rmse" not in found.totals
    assert found.values("auc")[0] == 0 and np.isnan(found.values("auc")[1])  # 5 stands above 3, nothing else counts
    assert found.values("map@10")[0] == 0.5


def test_seeds_add_up_and_bootstrap_draws_the_same_users_for_all_models():
    one = ByUser({"rmse": np.array([4.0, 0, 2]), "auc": np.array([1.0, 0, 0])}, {
        "rmse": np.array([2.0, 0, 1]), "auc": np.array([1.0, 0, 1])})  # fmt: skip
    assert (one + one).figures() == one.figures() == {"rmse": pytest.approx(np.sqrt(2)), "auc": 0.5}
    samples = resampled({"a": one, "b": one}, seed=1, samples=200)
    for figure in ("rmse", "auc"):
        np.testing.assert_array_equal(samples["a"][figure], samples["b"][figure])
    assert np.nanstd(samples["a"]["auc"]) > 0.1


# --- baselines -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_an_undefined_figure_has_an_undefined_interval():
    assert np.isnan(with_interval(float("nan"), np.full(5, np.nan))).all()
    assert with_interval(2.0, np.array([1.0, np.nan, 3.0]), level=1.0) == (2.0, 1.0, 3.0)


def test_midi_statistics_of_a_small_song():
    song = np.zeros((5, 4), np.uint8)
    song[0] = (60, 100, 0, 0)
    song[1] = (64, 80, 36, 90)
    song[2] = (60, 0, 0, 0)  # an end
    share, mean, spread, loudness, interval, classes = np.split(
        content.midi_statistics(song[None])[0], [2, 4, 6, 8, 10]
    )
    np.testing.assert_allclose(share, [2 / 3, 1 / 3])
    np.testing.assert_allclose(mean, [62, 36])
    np.testing.assert_allclose(spread, [2, 0])
    np.testing.assert_allclose(loudness, [90, 90])
    np.testing.assert_allclose(interval, [4, 0])
    np.testing.assert_allclose(classes[[0, 4]], [2 / 3, 1 / 3])


def test_statistics_of_a_silent_song_are_zero():
    assert not content.midi_statistics(np.zeros((1, 4, 32), np.uint8)).any()


def test_user_mean_of_a_user_without_ratings_is_the_mean_of_all():
    train = Ratings(np.array([0, 0, 2]), np.array([0, 1, 0]), np.array([1.0, 2.0, 5.0]))
    np.testing.assert_allclose(content.user_means(train, 4), [1.5, 8 / 3, 5, 8 / 3])


def test_ridge_learns_what_is_liked_and_by_whom_on_unheard_songs():
    rng = np.random.default_rng(0)
    statistics = rng.normal(size=(SONGS, 3))
    taste = rng.normal(size=(USERS, 3)) * [1, 1, 0]
    ratings = some_ratings()
    true = 3 + statistics[:, 2] + taste @ statistics.T  # (users, songs): the third is liked by all
    split = song_split(Ratings(ratings.users, ratings.songs, true[ratings.users, ratings.songs]), SONGS, 0.25, 1)
    found = content.content_ridge(split, statistics, USERS)
    found["mean"] = content.user_mean(split.train, USERS, SONGS)
    held_out = np.unique(split.test.songs)
    errors = {name: by_user(split.test, one, USERS, 3, held_out).figures()["rmse"] for name, one in found.items()}
    assert errors["ridge per user"] < 0.7 * errors["ridge on MIDI statistics"]
    assert errors["ridge on MIDI statistics"] < 0.95 * errors["mean"]
    users, songs = split.test.users, split.test.songs
    for one in found.values():
        np.testing.assert_allclose(one.rate(users, songs), one.scores(users)[np.arange(len(users)), songs])


# --- the experiment ------------------------------------------------------------------------------------------------


def cold_start(data, folder, **options):
    chosen = {"variant": "dot", "seeds": 1, "latent_features": 16, "sequence_length": 20, "batch_size": 4}
    chosen |= {"epochs": 40, "learning_rate": 3e-2, "run_dir": folder} | options
    return run(ColdStart(**chosen), Dataset(folder, folder, "planted", True), data)


@pytest.mark.slow
def test_structure_in_the_midi_is_learnt_for_unheard_songs(tmp_path):
    found = cold_start(styles(noise=False), tmp_path / "run")
    for name in ("mean of all ratings", "mean of the user", "ridge on MIDI statistics"):
        _, low, high = found["differences"][f"SeER dot (gru) - {name}"]["rmse"]
        assert low < high < -0.5, name
    assert found["differences"]["SeER dot (gru) - random"]["auc"][1] > 0.2
    assert found["metrics"]["mean of all ratings"]["auc"] == 0.5
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        "metrics.json", "report.md", "comparison.png", "options.json"}  # fmt: skip


@pytest.mark.slow
def test_noise_is_not(tmp_path):
    found = cold_start(styles(noise=True), tmp_path / "run", seeds=2)
    assert len(found["by_seed"]["random"]) == 2
    assert found["differences"]["SeER dot (gru) - mean of all ratings"]["rmse"][2] > 0
    assert abs(found["metrics"]["SeER dot (gru)"]["auc"] - 0.5) < 0.06
