from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.optimizers import sum_rows
from common.options import UserError
from dtnmr.batches import Batches, Negatives
from dtnmr.dataset import Points, Rows
from dtnmr.losses import make_loss, softmax
from dtnmr.model import Networks
from dtnmr.model_test import DATA, SMALL
from dtnmr.training import Trainer, fit, make_optimizer

SMALL = replace(SMALL, lstm_layers=1, long_length=4, short_length=2)  # tracing a step takes longer than running it
PLAIN = replace(SMALL, dropout=0.0)
RATES = {"sgd": 0.1, "adam": 0.01, "lazy-adam": 0.01, "adagrad": 0.05}


def parts(architecture=PLAIN, optimizer="sgd", loss="softmax", batch=16, data=DATA, seed=1, count=4, **options):
    model = Networks(architecture, 1)
    chosen = make_optimizer(optimizer, model.named, RATES[optimizer])
    full = loss == "full-softmax"
    pool = data.plays > 0 if full else None
    trainer = Trainer(model, chosen, make_loss(loss), pool, seed, **({"jit": False} | options))
    negatives = None if full else Negatives(data, "uniform", count, seed)
    return trainer, chosen, Batches(architecture, data, data.train, negatives, batch, seed)


def weights_of(model):
    return {name: np.array(variable) for name, variable in model.named.items()}


def everything(trainer, optimizer):
    """Name -> variable and value of all that a run changes."""
    variables = trainer.model.named | {f"state.{name}": variable for name, variable in optimizer.state.items()}
    return {name: (variable, np.array(variable)) for name, variable in variables.items()}


def restart(start, factor=1):
    """Everything as it was, or something else."""
    for variable, value in start.values():
        variable.assign((value * factor).astype(value.dtype))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("optimizer", "rating"), [("sgd", "linear"), ("sgd", "mlp"), ("adam", "dot")])
def test_steps_equal_keras_on_the_whole_kernels(optimizer, rating):
    architecture = replace(PLAIN, rating=rating)
    trainer, _, batches = parts(architecture, optimizer, user_side=True)
    kind = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}[optimizer]
    other, keras_optimizer = Networks(architecture, 1), kind(RATES[optimizer])
    variables = list(other.named.values())
    for number, batch in enumerate(list(batches.epoch(0))[:4]):
        loss, _, _ = trainer.step(batch, 0, number)
        with tf.GradientTape() as tape:
            values = softmax(other(batch.inputs), np.zeros(16, np.int32))
            expected = tf.reduce_sum(values * batch.weights) / batch.weights.sum()
        gradients = tape.gradient(expected, [v.value for v in variables], unconnected_gradients="zero")
        keras_optimizer.apply([sum_rows(gradient) for gradient in gradients], variables)
        assert abs(float(loss) - float(expected)) < 1e-6
    for name, values in weights_of(trainer.model).items():
        atol = 2e-6 if optimizer == "sgd" else 5e-5  # Adam makes steps of rounding errors where a gradient is tiny
        np.testing.assert_allclose(values, other.named[name], atol=atol, err_msg=name)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("optimizer", ["lazy-adam", "adagrad"])
def test_rows_that_no_example_needs_stay(optimizer):
    trainer, _, batches = parts(optimizer=optimizer, batch=64)
    before = weights_of(trainer.model)
    batch = batches.batch(np.array([5]), batches.negatives.epoch(DATA.train, 0))  # 63 rows fill it up
    trainer.step(batch)
    for name, touched in (("user.0.kernel", batch.users), ("song.0.kernel", batch.songs)):
        moved = np.flatnonzero(np.abs(np.asarray(trainer.model.named[name]) - before[name]).max(axis=1))
        assert set(moved) <= set(touched.rows) and 0 < len(moved) < len(before[name])


def test_lazy_adam_is_adam_for_rows_that_every_step_touches():
    start = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    lazy, exact = keras.Variable(start, name="a"), keras.Variable(start, name="b")
    row, whole = make_optimizer("lazy-adam", {"t": lazy}, 0.1), keras.optimizers.Adam(0.1)
    for step in range(5):
        gradient = np.random.default_rng(step).normal(size=(5, 3)).astype(np.float32)
        gradient[3:] = 0.0
        row.rows("t", np.arange(3, dtype=np.int32), gradient[:3])
        whole.apply([tf.constant(gradient)], [exact])
    np.testing.assert_allclose(lazy, exact, atol=1e-6)
    assert set(row.state) == {"mean.t", "square.t", "steps.t"}
    with pytest.raises(UserError, match="expected one of sgd, adam, lazy-adam, adagrad"):
        make_optimizer("lion", {"t": lazy}, 0.1)


@pytest.mark.usefixtures("eagerly")
def test_what_fills_up_the_last_batch_changes_nothing():
    results = []
    for size in (3, 8):
        trainer, _, batches = parts(batch=size)
        found = trainer.step(batches.batch(np.array([4, 9, 1]), batches.negatives.epoch(DATA.train, 0)))
        results.append((float(found[0]), float(found[1]), weights_of(trainer.model)))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-6) and results[0][1] == results[1][1]
    for name, values in results[0][2].items():
        np.testing.assert_allclose(values, results[1][2][name], atol=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_without_the_users_side_linear_learns_the_same():
    results = []
    for user_side in (True, False):
        trainer, optimizer, batches = parts(replace(PLAIN, rating="linear"), user_side=user_side)
        progress = fit(trainer, optimizer, batches, 2)
        results.append((progress.batch_losses, weights_of(trainer.model)))
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-6)
    for name, values in results[0][1].items():
        np.testing.assert_allclose(values, results[1][1][name], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "loss"), [("sgd", "softmax"), ("adam", "full-softmax"), ("lazy-adam", "bpr")])
def test_killed_and_resumed_equals_uninterrupted(optimizer, loss, tmp_path):
    trainer, chosen, batches = parts(replace(SMALL, dropout=0.4), optimizer, loss, batch=64)
    start = everything(trainer, chosen)
    whole, expected = fit(trainer, chosen, batches, 3), weights_of(trainer.model)
    restart(start)
    fit(trainer, chosen, batches, 2, tmp_path)
    restart(start, factor=0)  # nothing may survive in memory
    resumed = fit(trainer, chosen, batches, 3, tmp_path, resume=True)
    assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]
    for name, values in weights_of(trainer.model).items():
        np.testing.assert_array_equal(values, expected[name])
    assert (tmp_path / "history.csv").read_text().count("\n") == 4


@pytest.mark.slow
def test_compiled_steps_equal_uncompiled_ones():
    results = []
    for jit in (True, False):
        trainer, optimizer, batches = parts(jit=jit)
        results.append(fit(trainer, optimizer, batches, 1).batch_losses)
    np.testing.assert_allclose(*results, atol=1e-5)


@pytest.mark.slow
def test_dropout_and_order_follow_from_the_seed():
    trainer, optimizer, batches = parts(replace(SMALL, dropout=0.4), batch=64)
    start = everything(trainer, optimizer)

    def losses(of_dropout, of_order):
        restart(start)
        trainer.seed, batches.seed = of_dropout, of_order
        return fit(trainer, optimizer, batches, 1).batch_losses

    first = losses(3, 3)
    assert losses(3, 3) == first != losses(4, 3)
    assert losses(3, 4) != first


def test_dead_units_are_reported(capsys):
    trainer, optimizer, batches = parts(replace(PLAIN, final_relu=True))
    trainer.model.named["song.2.bias"].assign(np.full(6, -100.0))
    progress = fit(trainer, optimizer, batches, 1)
    row = progress.history[0]
    assert row["units_alive"] == 0 and row["accuracy"] == 0.0 and row["loss"] == pytest.approx(np.log(5), abs=1e-5)
    printed = capsys.readouterr().err
    assert "all units of the songs' vectors are dead" in printed and "another --seed" in printed


@pytest.mark.usefixtures("eagerly")
def test_impossible_training_is_refused(tmp_path):
    nothing = replace(DATA, train=Points(np.empty(0, np.int32), np.empty(0, np.int32)))
    with pytest.raises(UserError, match="no training example is left"):
        trainer, optimizer, batches = parts(data=nothing)
        fit(trainer, optimizer, batches, 1)
    trainer, optimizer, batches = parts()
    trainer.model.named["head.0.bias"].assign(np.full(7, np.nan))
    with pytest.raises(UserError, match=r"epoch 1/1: the loss is nan; try a smaller --learning-rate"):
        fit(trainer, optimizer, batches, 1, tmp_path)
    assert not list(tmp_path.iterdir())


def faithful(seed=0, users=24):
    """Users who play songs of their own genre alone, half of its songs each; there are three genres of 12 songs."""
    rng = np.random.default_rng(seed)
    playlists = [rng.permutation(np.arange(user % 3, 36, 3))[:8] for user in range(users)]
    played = Rows(np.arange(users + 1) * 8, np.concatenate(playlists).astype(np.int32))
    where = np.arange(users, dtype=np.int32)
    train = Points(np.repeat(where, 4), np.tile(np.arange(4, 8, dtype=np.int32), users))
    return replace(
        DATA, songs_played=played, behaviours=Rows(played.indptr, np.zeros(len(played.values), np.int32)),
        owners=where, user_ids=[f"u{user}" for user in where], train=train,
        plays=np.bincount(played.values, minlength=36),
        user_bits=Rows(np.arange(users + 1), np.zeros(users, np.int32)),  # nothing is known of them but their songs
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rating", ["linear", "dot", "mlp"])
def test_taste_is_learnt_unless_the_user_cancels_out(rating):
    architecture = replace(SMALL, rating=rating, mlp=(32, 16), embedding=8, lstm=16, dropout=0.0)
    trainer, optimizer, batches = parts(architecture, "adam", data=faithful(), count=2)
    progress = fit(trainer, optimizer, batches, 25)
    accuracy = np.mean([row["accuracy"] for row in progress.history[-3:]])
    # Of two negatives, each is of the same genre, and no worse, one time in six or so.
    assert accuracy < 0.5 if rating == "linear" else accuracy > 0.6, accuracy


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("half", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns_as_much(half):
    """The losses of steps stay finite and close to those in float32; in float16 no step is left out."""
    losses = []
    for policy in ("float32", half):
        try:
            keras.config.set_dtype_policy(policy)
            model = Networks(PLAIN, 1)
        finally:
            keras.config.set_dtype_policy("float32")
        chosen = make_optimizer("adam", model.named, RATES["adam"], scaled=policy == "mixed_float16")
        trainer = Trainer(model, chosen, make_loss("softmax"), jit=False)
        batches = Batches(PLAIN, DATA, DATA.train, Negatives(DATA, "uniform", 4, 1), 64, 1)
        losses.append([float(trainer.step(batch, 0, n)[0]) for n, batch in enumerate(batches.epoch(0))])
        assert chosen.scale is None or float(chosen.scale.factor) == chosen.scale.START
        assert all(np.isfinite(np.asarray(variable)).all() for variable in model.named.values())
    np.testing.assert_allclose(losses[1], losses[0], atol=0.02)
    assert losses[1][-1] < losses[1][0]
