"""The same events in both papers' terms, and the table of a tiny comparison."""

import json
import sys
from subprocess import CompletedProcess

import numpy as np
import pytest

from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import PROJECT, UserError
from common.testing import in_process
from comparisons.next_track import NextTrackOptions, against_best, main, of_second_halves
from gru4rec.evaluation import NextItemRanks, baseline_ranks
from session_transformers.baselines.comparison import track_results
from session_transformers.baselines.of_tracks import sessions_of
from session_transformers.kinds import CORRECTED_IDS
from session_transformers.options import SessionOptions
from session_transformers.sessions.halves import Halves
from session_transformers.train import main as train_session_model


class Data:
    """Two test sessions, one of all twenty tracks, one of six and four."""

    def __init__(self):
        tracks = np.zeros((2, 20), np.int32)
        tracks[0] = np.arange(3, 23)
        tracks[1, :6], tracks[1, 10:14] = np.arange(30, 36), np.arange(40, 44)
        self.test = Halves(tracks, np.zeros((2, 20), np.uint8))


def test_sessions_are_both_halves_without_padding():
    sessions = sessions_of(Data().test, first_track=3)
    np.testing.assert_array_equal(sessions.offsets, [0, 20, 30])
    np.testing.assert_array_equal(sessions.items[20:], [27, 28, 29, 30, 31, 32, 37, 38, 39, 40])


def test_ranks_of_second_halves_are_those_of_their_own_tracks():
    lengths = np.array([19, 9])  # events with a next one; the rank of each names the item that it belongs to
    told = np.concatenate([np.arange(4, 23), np.arange(31, 36), np.arange(40, 44)])
    ranks = NextItemRanks(np.repeat([0, 1], lengths), told, np.ones(28, np.int64), 100)
    found = of_second_halves(ranks, Data())
    np.testing.assert_array_equal(found.greater[0], np.arange(13, 23))
    np.testing.assert_array_equal(found.greater[1], [40, 41, 42, 43, 0, 0, 0, 0, 0, 0])
    assert found.mask.sum() == 14


def test_both_papers_rank_the_same_events_by_the_same_baselines():
    """The way of GRU4Rec, all events of whole sessions, and the way of the transformers, of the second halves."""
    data = Data()
    train = Halves(np.random.default_rng(1).integers(3, 44, (60, 20)).astype(np.int32), np.zeros((60, 20), np.uint8))
    theirs = track_results(train, data.test, 44, CORRECTED_IDS)
    for name, ranks in baseline_ranks(sessions_of(train, 3), sessions_of(data.test, 3), 41).items():
        found = of_second_halves(ranks, data)
        for counts in ("greater", "equal"):
            ours, other = (getattr(one, counts)[found.mask] for one in (found, theirs[name].forced))
            np.testing.assert_array_equal(ours, other, err_msg=name)


def test_models_that_do_not_read_the_second_half_are_refused():
    with pytest.raises(UserError, match="--models ddpg: reads no true track"):
        NextTrackOptions(models=("ddpg",))


def test_the_best_baseline_is_what_a_model_is_tested_against():
    class Known:
        def __init__(self, values):
            self.per_session = np.array(values)

    found = against_best({"m": Known([0.5, 0.7, 0.6])}, {"weak": Known([0.0] * 3), "strong": Known([0.1, 0.2, 0.3])})
    assert found["m"]["against"] == "strong" and found["m"]["difference"] == pytest.approx(0.4)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_one_table_of_both_papers_and_finished_runs_are_used_again(tmp_path, capsys, monkeypatch):
    write_sample(tmp_path / "logs", SessionSampleOptions(tmp_path / "logs", sessions=200, tracks=100, days=2, seed=7))
    options = NextTrackOptions(
        out=tmp_path / "out", runs=tmp_path / "runs", data_dir=tmp_path / "logs", models=("lstm",), seeds=1, epochs=1
    )

    def started(command, **_):
        assert command[:2] == [sys.executable, str(PROJECT / "session_transformers" / "train.py")]
        train = in_process(monkeypatch, capsys, train_session_model, SessionOptions)
        return CompletedProcess(command, *train(*command[2:], "--deterministic"))

    monkeypatch.setattr("session_transformers.compare.subprocess.run", started)
    found = main(options)
    events = found["dataset"]["counts"]["events"]
    assert events == found["dataset"]["counts"]["test_sessions"] * 10 > 0
    assert set(found["models"]) == {"lstm", "GRU4Rec, cross-entropy", "GRU4Rec, bpr-max"}
    assert {"Markov", "item-kNN", "session-kNN", "most popular"} <= set(found["baselines"])
    assert "session-kNN" in capsys.readouterr().out
    assert json.loads((options.out / "next_track.json").read_text())["models"] == found["models"]
    assert (options.out / "next_track.png").is_file()
    monkeypatch.setattr("session_transformers.compare.subprocess.run", None)
    monkeypatch.setattr("common.experiment.run", None)
    assert main(options)["models"] == found["models"]
