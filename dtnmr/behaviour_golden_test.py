"""The whole pipeline in the released protocol against runs of the released code: what it learns, and how far."""

import csv
import json

import numpy as np
import pytest

from common.command import parse
from common.paper import WEIGHTS
from common.tables import Column, open_table
from conftest import GOLDEN
from dtnmr.dataset import read_data
from dtnmr.evaluation import RELEASED_ACCURACY, Scorer, make_task, point_values, recommender
from dtnmr.kkbox import kkbox_files
from dtnmr.options import DtnmrOptions
from dtnmr.train import main
from dtnmr.weights import load_model

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "dtnmr"
SEEDS = (1, 2)


def frozen(data, behaviour):
    """Numbers of the test points, and their candidates besides the label."""
    with open_table(kkbox_files(FOLDER / "csv")["songs"], {"song_id": Column("text")}, multiline=True) as table:
        ids = table.frame().song_id.tolist()
    numbers = {name: number for number, name in enumerate(data.song_ids)}
    index = np.array(behaviour["test_point_index"])
    negatives = np.zeros((len(data.test), len(behaviour["negative_song_rows"][0])), np.int32)
    negatives[index] = [[numbers[ids[row]] for row in rows] for rows in behaviour["negative_song_rows"]]
    return index, negatives


@pytest.mark.slow
def test_it_learns_what_the_released_code_learns(tmp_path, private_data):
    behaviour = json.loads((FOLDER / "behaviour_default.json").read_text())
    released = [run["epochs"][-1] for run in behaviour["runs"]]
    epochs = len(behaviour["runs"][0]["epochs"])
    accuracies, losses, training = [], [], []
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        arguments = ["--db", str(FOLDER / "csv"), "--protocol", "released", "--no-baselines", "--seed", str(seed)]
        arguments += ["--deterministic"]  # without XLA: compiling takes longer than such a run
        found = main(parse(DtnmrOptions, [*arguments, "--epochs", str(epochs), "--run-dir", str(folder)]))
        assert found["protocol"] == "released" and found["dataset"]["counts"]["validation_points"] == 0
        data = read_data(folder)
        index, negatives = frozen(data, behaviour)
        task = make_task(data, seed, negatives=negatives)
        scores = recommender(Scorer(load_model(folder / WEIGHTS, data), data))
        accuracies.append(point_values(scores, task)[RELEASED_ACCURACY][index].mean())
        table = scores(task.points.take(index))
        candidates = np.concatenate([task.labels[index, None], negatives[index]], axis=1)
        chosen = np.take_along_axis(table, candidates.astype(np.int64), axis=1).astype(np.float64)
        losses.append((np.log(np.exp(chosen - chosen[:, :1]).sum(axis=1))).mean())
        with (folder / "history.csv").open() as rows:
            training.append(float(list(csv.DictReader(rows))[-1]["loss"]))

    chance = np.sqrt(0.25 * 0.75 / len(index))  # standard error of one run's share
    top1 = np.array([run["top1"] for run in released])
    assert top1.min() - 2.5 * chance < min(accuracies) and max(accuracies) < top1.max() + 2.5 * chance
    assert abs(np.mean(accuracies) - top1.mean()) < 2.5 * chance
    for ours, theirs in ((losses, "loss"), (training, "train_loss")):
        expected = np.array([run[theirs] for run in released])
        far = 6 * np.abs(expected - np.log(5)).mean()  # all are within a hair of ln 5: nearly nothing is learnt
        assert abs(np.mean(ours) - expected.mean()) < far, (theirs, ours, expected)
