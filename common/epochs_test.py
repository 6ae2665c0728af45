"""The loop over epochs, with variables and training that are made up: no model is needed."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from common import checkpoint
from common.checkpoint import FILE
from common.epochs import SPEED, EpochLoop, Monitor, Trained, advancing, epoch_order, hyperparameters
from common.options import UserError
from common.testing import arrays_of, events_of, history_of

EPOCHS = 4
FIGURES = (0.5, 0.2, 0.2, 0.3)
MONITOR = Monitor("val_error")


class Variable:
    """As much of a variable as a checkpoint needs."""

    def __init__(self, values):
        self.values = np.array(values, np.float32)
        self.shape, self.dtype = self.values.shape, self.values.dtype

    def assign(self, values):
        self.values = np.array(values, np.float32)

    def __array__(self, dtype=None, copy=None):
        return self.values


class Run:
    """A run whose only weight moves at random, and whose validation figures are given."""

    def __init__(self, folder=None, monitor=MONITOR, figures=FIGURES):
        self.weight, self.state = Variable(np.zeros(3)), Variable(1.0)
        variables = {"model.weight": self.weight, "optimizer.state": self.state}
        self.loop = EpochLoop(variables, folder, monitor, ["model.weight"])
        self.figures, self.after = figures, {}

    def train(self, epoch, bar):
        draw = np.random.default_rng((1, epoch)).normal(size=3)
        self.weight.assign(self.weight.values + draw * self.state.values)
        self.state.assign(self.state.values * 0.9)
        self.after[epoch + 1] = self.weight.values
        losses = [float(value) for value in advancing(bar, draw)]
        return Trained(float(draw.mean()), 3, {"accuracy": 0.5}, losses)

    def validate(self, epoch):
        return {"val_error": self.figures[epoch]}

    def __call__(self, epochs=EPOCHS, resume=False, train=None, **options):
        if resume:
            self.loop.resume()
        return self.loop.run(train or self.train, epochs, self.validate, "test, ", quiet=True, **options)


def timeless(progress):
    """All of a progress but its times."""
    history = [{name: value for name, value in row.items() if name != SPEED} for row in progress.history]
    return vars(progress) | {"seconds": 0, "history": history}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    run = Run(folder)
    run()
    return run, folder


def same(run, folder, whole):
    expected, expected_folder = whole
    np.testing.assert_array_equal(run.weight.values, expected.weight.values)
    np.testing.assert_array_equal(run.state.values, expected.state.values)
    assert timeless(run.loop.progress) == timeless(expected.loop.progress)
    found, wanted = (arrays_of(path / FILE) for path in (folder, expected_folder))
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)
    assert history_of(folder) == history_of(expected_folder)
    assert not list(folder.glob(".*"))


def test_the_history_has_loss_figures_speed_and_validation_in_this_order(whole):
    run, folder = whole
    assert list(run.loop.progress.history[0]) == ["epoch", "loss", "accuracy", SPEED, "val_error"]
    lines = (folder / "history.csv").read_text().splitlines()
    assert lines[0] == f"epoch,loss,accuracy,{SPEED},val_error" and len(lines) == 1 + EPOCHS
    assert [row["epoch"] for row in run.loop.progress.history] == [1, 2, 3, 4]
    assert all(row[SPEED] > 0 for row in run.loop.progress.history) and run.loop.progress.seconds > 0
    assert len(run.loop.progress.batch_losses) == 3


def test_of_equal_epochs_the_first_is_best_and_its_weights_are_restored(whole):
    run, folder = whole
    assert run.loop.progress.best_epoch == 2
    np.testing.assert_array_equal(run.weight.values, run.after[2])
    saved = arrays_of(folder / FILE)  # to go on from the last epoch
    np.testing.assert_array_equal(saved["model.weight"], run.after[4])
    np.testing.assert_array_equal(saved["best.model.weight"], run.after[2])
    assert saved.keys() == {"model.weight", "optimizer.state", "best.model.weight"}


def test_without_a_monitor_or_without_restoring_the_last_epoch_stays():
    for monitor in (None, Monitor("val_error", restore=False)):
        run = Run(monitor=monitor)
        assert run().best_epoch == 0
        np.testing.assert_array_equal(run.weight.values, run.after[4])


def test_higher_may_be_better_and_what_is_not_finite_is_never_best():
    nan, inf = math.nan, math.inf
    for values, lower, higher in (
        ((0.5, 0.2, 0.2, 0.5), 2, 1),
        ((nan, 0.5, 0.2, nan), 3, 2),
        ((-inf, inf, 0.3, 0.1), 4, 3),
        ((nan, nan, inf, nan), 0, 0),
    ):
        for monitor, best in ((MONITOR, lower), (Monitor("val_error", higher=True), higher)):
            run = Run(monitor=monitor, figures=values)
            assert run().best_epoch == best
            np.testing.assert_array_equal(run.weight.values, run.after[best or 4])


def test_patience_stops_as_keras_does_and_a_run_that_stopped_stays_so(tmp_path):
    figures = (0.5, 0.4, 0.45, 0.4, 0.41, 0.1)
    run = Run(tmp_path, Monitor("val_error", patience=3), figures)
    assert run(9).epochs == 5 and run.loop.progress.best_epoch == 2
    np.testing.assert_array_equal(run.weight.values, run.after[2])
    again = Run(tmp_path, Monitor("val_error", patience=3), figures)
    assert again(9, resume=True).epochs == 5
    np.testing.assert_array_equal(again.weight.values, run.after[2])
    last = Run(None, Monitor("val_error", patience=3, restore=False), figures)
    assert last(9).epochs == 5
    np.testing.assert_array_equal(last.weight.values, last.after[5])
    assert Run(None, Monitor("val_error", patience=0), figures)(6).epochs == 6
    assert Run(None, Monitor("val_error", patience=2), (math.nan,) * 9)(9).epochs == 2


@pytest.mark.parametrize("done", range(1, EPOCHS + 1))
def test_resumed_after_any_epoch_it_equals_an_uninterrupted_run(done, tmp_path, whole):
    Run(tmp_path)(done)
    run = Run(tmp_path)
    run(resume=True)
    same(run, tmp_path, whole)


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


@pytest.mark.parametrize("stop", [Killed, KeyboardInterrupt])
@pytest.mark.parametrize("moment", ["train", "validate", "checkpoint", "history"])
def test_stopped_at_any_moment_and_resumed_it_equals_an_uninterrupted_run(stop, moment, tmp_path, whole, monkeypatch):
    run, calls = Run(tmp_path), iter(range(99))

    def deadly(real):
        def call(*arguments):
            if next(calls) == 2:
                raise stop
            return real(*arguments)

        return call

    with monkeypatch.context() as patch, pytest.raises(stop):
        if moment in ("train", "validate"):
            patch.setattr(run, moment, deadly(getattr(run, moment)))
        else:
            name = {"checkpoint": "replacing", "history": "write_history"}[moment]
            real = getattr(checkpoint, name)
            hit = deadly(real)
            watched = FILE if moment == "checkpoint" else "history.csv"
            patch.setattr(checkpoint, name, lambda path, *r: (hit if Path(path).name == watched else real)(path, *r))
        run()
    again = Run(tmp_path)
    again.loop.resume()
    assert again.loop.progress.epochs == 2 + (moment == "history")
    again()
    same(again, tmp_path, whole)


def test_a_loss_that_is_not_finite_is_told_and_earlier_epochs_are_kept(tmp_path):
    run = Run(tmp_path)
    run(1)
    saved = (tmp_path / FILE).read_bytes()
    message = rf"^test, epoch 2/2: the loss is nan; try a smaller --learning-rate \(earlier .* kept in {tmp_path}\)$"
    with pytest.raises(UserError, match=message):
        run(2, train=lambda epoch, bar: Trained(math.nan, 1, {"accuracy": 0.5}))
    assert (tmp_path / FILE).read_bytes() == saved and run.loop.progress.epochs == 1
    with pytest.raises(UserError, match=r"epoch 1/1: the policy loss is inf; try a smaller --learning-rate$"):
        Run(tmp_path / "other")(1, train=lambda epoch, bar: Trained(0.5, 1, {"policy_loss": math.inf}))
    assert not (tmp_path / "other").exists()


def test_no_epoch_leaves_nothing(tmp_path):
    run = Run(tmp_path)
    assert run(0).history == [] and run.loop.progress.epochs == 0 and not run.weight.values.any()
    assert not list(tmp_path.iterdir())
    assert Run(tmp_path)(0, resume=True).epochs == 0


def test_a_checkpoint_of_another_model_or_version_is_refused(tmp_path):
    Run(tmp_path)(1)
    other = EpochLoop({"model.weight": Variable(np.zeros(4)), "optimizer.state": Variable(1.0)}, tmp_path)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged, or of another model"):
        other.resume()
    with np.load(tmp_path / FILE) as saved:
        arrays = dict(saved)
    progress = json.loads(str(arrays["progress"]))
    del progress["history"][0][SPEED]
    np.savez(tmp_path / FILE, **arrays | {"progress": np.array(json.dumps(progress))})
    run = Run(tmp_path)
    with pytest.raises(UserError, match="another version began this run"):
        run.loop.resume()
    assert run.loop.progress.epochs == 0


def test_tensorboard_has_the_curves_of_all_sessions_and_the_options(tmp_path):
    options = {"rate": 0.5, "layers": [3, 4], "loss": "bpr", "resume": False, "own": {"walks": 2, "none": None}}
    (tmp_path / "options.json").write_text(json.dumps({"options": options | {"baselines": True}}))
    Run(tmp_path)(2)
    run = Run(tmp_path)
    run(resume=True)
    curves, found = events_of(tmp_path)
    assert curves.keys() == {"loss", "accuracy", SPEED, "val_error"}
    assert curves["loss"] == [(row["epoch"], pytest.approx(row["loss"])) for row in run.loop.progress.history]
    assert curves["val_error"] == [(epoch, pytest.approx(value)) for epoch, value in enumerate(FIGURES, 1)]
    assert found == {"rate": 0.5, "layers": "[3, 4]", "loss": "bpr", "own.walks": 2, "baselines": True}
    assert not hyperparameters(tmp_path / "none")


def test_the_writer_is_closed_even_by_an_interruption_and_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    made = []
    real = tf.summary.create_file_writer
    monkeypatch.setattr(tf.summary, "create_file_writer", lambda path: made.append(real(path)) or made[-1])
    run = Run(tmp_path)

    def interrupted(epoch, bar):
        if epoch == 1:
            raise KeyboardInterrupt
        return run.train(epoch, bar)

    with pytest.raises(KeyboardInterrupt):
        run(train=interrupted)
    Run()()
    assert len(made) == 1 and made[0]._closed
    assert not tf.summary.should_record_summaries()


def test_the_bar_tells_epoch_unit_and_total_on_a_terminal_only(monkeypatch):
    told = []

    def train(epoch, bar):
        assert list(advancing(bar, "abc")) == list("abc")
        told.append(None if bar.disable else (bar.desc, bar.unit, bar.n, bar.total))
        return Trained(0.5, 3, {})

    for terminal, quiet in ((False, False), (True, True), (True, False)):
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        EpochLoop({}).run(train, 1, title="test, ", unit="chunk", total=3, quiet=quiet)
    assert told == [None, None, ("test, epoch 1/1", " chunk", 3, 3)]


def test_epoch_order_changes_with_the_epoch_and_follows_from_the_seed():
    orders = [epoch_order(50, 1, epoch) for epoch in range(5)]
    assert len({tuple(order) for order in orders}) == 5
    for epoch, order in enumerate(orders):
        assert sorted(order) == list(range(50))
        np.testing.assert_array_equal(order, epoch_order(50, 1, epoch))
    assert not np.array_equal(epoch_order(50, 1, 0), epoch_order(50, 2, 0))
    np.testing.assert_array_equal(epoch_order(4, 1, 3, shuffle=False), [0, 1, 2, 3])
