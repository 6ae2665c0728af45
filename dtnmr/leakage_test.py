"""Leakage: rows that only the test file names change nothing that is trained, neither the model nor a baseline."""

import csv

import numpy as np
import pytest

from common.command import parse
from dtnmr import baselines
from dtnmr.dataset import Queries, of_users
from dtnmr.model import Networks
from dtnmr.options import DataOptions, DtnmrOptions
from dtnmr.preprocess import prepare
from dtnmr.recommender import architecture_of
from dtnmr.sample import KkboxSampleOptions, write_sample
from dtnmr.testing import rows_of
from dtnmr.training import train

OPTIONS = ("--mlp", "8", "--embedding", "4", "--lstm", "4", "--lstm-layers", "1", "--dropout", "0.2", "--epochs", "1")
OPTIONS = (*OPTIONS, "--batch-size", "512", "--deterministic", "--long-term-len", "3", "--short-term-len", "2")


def append(file, *rows):
    with file.open("a", newline="") as lines:
        csv.writer(lines).writerows(rows)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The same training file; the second test file names songs, users and values besides that it does not."""
    found = []
    for name in ("plain", "more"):
        folder = tmp_path_factory.mktemp(name)
        write_sample(folder, KkboxSampleOptions(folder, users=36, songs=300))
        if name == "more":
            lines = (folder / "songs.csv").read_text().splitlines()
            new = [f'new{n},{359_000 + n},{n},"New Artist | {n}",Writer {n},,{n}.0' for n in range(5)]
            (folder / "songs.csv").write_text("\n".join([lines[0], *new, *lines[1:]]) + "\n")  # before all others
            lines = (folder / "members.csv").read_text().splitlines()
            more = [f"nobody{n},99,{17 + n},other,7,20100101,20171231" for n in range(3)]
            (folder / "members.csv").write_text("\n".join([lines[0], *more, *lines[1:]]) + "\n")
            users = [line.split(",")[0] for line in lines[1:4]]
            plays = [(user, f"new{n}") for n in range(5) for user in (*users, "nobody0", "nobody1")]
            with (folder / "train.csv").open() as rows:
                old = [row["song_id"] for row in csv.DictReader(rows)][:30]
            plays += [("nobody2", song) for song in old]
            append(folder / "test.csv", *((900_000 + n, *play, "elsewhere", "x", "y") for n, play in enumerate(plays)))
        found.append(prepare(folder, folder / "prepared", DataOptions(long_term_len=3, short_term_len=2)))
    return found


def test_the_second_data_have_more_songs_and_users(pair):
    plain, more = pair
    assert more.songs >= plain.songs + 5 and more.users > plain.users and more.song_ids[0] == "new0"
    assert more.values == plain.values and more.longest_length == plain.longest_length


@pytest.mark.parametrize("loss", ["softmax", "full-softmax"])
def test_trained_weights_are_equal_bit_for_bit(pair, loss, tmp_path, eagerly):
    found = []
    for data in pair:
        options = parse(DtnmrOptions, [*OPTIONS, "--loss", loss]).completed(synthetic=False)
        model = Networks(architecture_of(options, data), options.seed)
        progress = train(model, options, data, tmp_path)
        history = [{name: row[name] for name in ("loss", "val_next_mrr")} for row in progress.history]
        found.append((history, {name: np.asarray(variable) for name, variable in model.named.items()}))
    (history, weights), (other_history, other_weights) = found
    assert history == other_history
    for name, array in weights.items():
        np.testing.assert_array_equal(array, other_weights[name], err_msg=name)


@pytest.mark.parametrize("name", [name for name in baselines.make_baselines(None, 1) if name != "random"])
def test_baselines_score_the_songs_of_the_training_alike(pair, name):
    tables = []
    for data in pair:
        songs = np.flatnonzero(data.plays > 0)
        everybody = of_users(data)
        users = [data.user_ids.index(user) for user in pair[0].user_ids[:20]]
        nobody = Queries(np.array([-1], np.int32), rows_of([[]]), rows_of([[]]))
        scores = baselines.make_baselines(data, 1)[name]()
        tables.append(np.concatenate([scores(everybody.take(np.array(users))), scores(nobody)])[:, songs])
    np.testing.assert_allclose(tables[1], tables[0], rtol=1e-5, atol=1e-6)
