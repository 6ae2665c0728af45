"""Each baseline against its definition computed by hand, on histories long, short and empty."""

from dataclasses import replace

import numpy as np
import pytest

from dtnmr import baselines
from dtnmr.baselines import train_bpr
from dtnmr.dataset import Queries, of_users
from dtnmr.evaluation import evaluate, make_task
from dtnmr.testing import rows_of, tiny_data

DATA = tiny_data()
USERS = of_users(DATA)
NOBODY = Queries(np.array([-1], np.int32), rows_of([[]]), rows_of([[]]))


@pytest.mark.parametrize("name", list(baselines.make_baselines(DATA, 1)))
def test_scores_do_not_depend_on_the_block_and_exist_for_everybody(name):
    scores = baselines.make_baselines(DATA, 1)[name]()
    table = scores(USERS)
    assert table.shape == (DATA.users, DATA.songs) and np.isfinite(table).all()
    some = np.array([7, 2, 39])
    np.testing.assert_allclose(scores(USERS.take(some)), table[some], rtol=1e-6, atol=1e-6)
    assert np.isfinite(scores(NOBODY)).all()
    again = baselines.make_baselines(DATA, 1)[name]()(USERS)
    np.testing.assert_array_equal(again, table)


def test_popularity_and_chance():
    assert (baselines.popularity(DATA)(USERS)[3] == DATA.plays).all()
    one, other = (baselines.chance(DATA, seed)(USERS) for seed in (1, 2))
    assert not np.allclose(one, other) and 0.45 < one.mean() < 0.55 and len(np.unique(one[0])) == DATA.songs


def test_repeat_artist_counts_songs_of_the_same_artist():
    table = baselines.repeat_artist(DATA)(USERS)
    for user in (0, 5):
        heard = USERS.histories[user]
        for song in range(DATA.songs):
            assert int(table[user, song]) == sum(heard % 12 == song % 12)


def test_popularity_decides_between_songs_of_as_many_plays_of_their_artist():
    """Their scores differ by 1e-7 of themselves, which float32 does not tell apart."""
    plays = 10_000_000 - np.arange(DATA.songs)
    table = baselines.repeat_artist(replace(DATA, plays=plays))(USERS)
    for row in table:
        for count in range(int(row.max()) + 1):
            alike = row[row.astype(int) == count]
            assert (np.diff(alike) < 0).all()


def test_the_markov_chain_of_artists():
    table = baselines.artist_markov(DATA)(USERS)
    moves = np.zeros((12, 12))
    for user in range(DATA.users):
        heard = USERS.histories[user] % 12
        np.add.at(moves, (heard[:-1], heard[1:]), 1)
    weight = np.maximum(DATA.plays, 0.5)
    artist = np.arange(DATA.songs) % 12
    for user in (0, 11):
        chance = moves[USERS.histories[user][-1] % 12]
        expected = 0.9 * (chance / chance.sum())[artist] * weight / np.bincount(artist, DATA.plays)[artist]
        np.testing.assert_allclose(table[user], expected + 0.1 * weight / DATA.plays.sum(), rtol=1e-5)
    np.testing.assert_allclose(baselines.artist_markov(DATA)(NOBODY)[0], 0.1 * weight / DATA.plays.sum(), rtol=1e-6)


def test_a_song_of_two_artists_belongs_half_to_each():
    data = replace(DATA, song_bits=rows_of([[0, 3, 4], *([[0, 3 + s % 12] for s in range(1, DATA.songs)])]))
    artists = baselines.artists_of(data).toarray()
    assert artists[0].nonzero()[0].tolist() == [0, 1] and artists[5].nonzero()[0].tolist() == [5]
    assert np.isfinite(baselines.artist_markov(data)(of_users(data))).all()


@pytest.mark.parametrize("pairs", [baselines.PAIRS, 3 * DATA.songs])
def test_item_knn_sums_similarities(monkeypatch, pairs):
    monkeypatch.setattr(baselines, "PAIRS", pairs)
    table = baselines.item_knn(DATA)(USERS)
    within = np.zeros((DATA.users, DATA.songs))
    for user in range(DATA.users):
        within[user, USERS.histories[user]] = 1
    together, count = within.T @ within, within.sum(axis=0)
    similar = together / np.sqrt(np.outer(count + 20, count + 20))
    np.fill_diagonal(similar, 0)
    np.testing.assert_allclose(table, within @ similar, rtol=1e-5, atol=1e-7)


def test_item_knn_keeps_the_nearest_neighbours_alone(monkeypatch):
    monkeypatch.setattr(baselines, "NEIGHBOURS", 2)
    single = Queries(np.array([0], np.int32), rows_of([[4]]), rows_of([[0]]))
    whole = baselines.item_knn(DATA)(single)[0]
    monkeypatch.undo()
    full = baselines.item_knn(DATA)(single)[0]
    border = np.sort(full)[-2]
    np.testing.assert_allclose(whole, np.where(full >= border, full, 0), rtol=1e-6)


def test_metadata_popularity_knows_new_songs_by_their_metadata():
    """All songs of genre 0 are played often, the others hardly: a new song of genre 0 stands above those."""
    plays = np.where(np.arange(DATA.songs) % 3 == 0, 500, 1)
    plays[[33, 34]] = 0
    bits = rows_of([[s % 3, 3 + (s * 5) % 12] for s in range(DATA.songs)])
    table = baselines.metadata_popularity(replace(DATA, plays=plays, song_bits=bits))(USERS)
    assert (table == table[0]).all() and table[0, 33] > table[0, 34] + 2


def test_bpr_learns_who_likes_what():
    task = make_task(DATA, 1)
    figures = evaluate(baselines.bpr_mf(DATA, 1), task, (5,)).figures()
    plain = evaluate(baselines.popularity(DATA), task, (5,)).figures()
    assert figures["map"] > plain["map"] + 0.1 and figures["auc"] > plain["auc"] + 0.1


def test_bpr_without_plays():
    from scipy import sparse

    model = train_bpr(sparse.csr_array((3, 4), dtype=np.float32), 1)
    assert not model.users.any() and not model.bias.any()
