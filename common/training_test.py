"""The training loop: order of the examples, dropout, kill and resume, damaged checkpoints, precisions."""

import functools
import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from common import checkpoint, runtime
from common.epochs import Monitor, epoch_order
from common.optimizers import make_optimizer
from common.options import UserError
from common.testing import history_of
from common.training import Batch, BlockPredictor, Trainer, padded

MONITOR = Monitor("val")
EPOCHS, SIZE, ROWS = 3, 16, 90  # 6 batches an epoch, the last one of 10 rows


@pytest.fixture(autouse=True)
def float32():
    yield
    keras.config.set_dtype_policy("float32")


def make_model(dropout=0.5, norm=True):
    """An embedding, a normalisation with its own state, dropout: everything that a checkpoint has to cover."""
    keras.utils.set_random_seed(5)
    item, x = keras.Input((), dtype="int32", name="item"), keras.Input((12,), name="x")
    hidden = layers.Dense(3, activation="tanh")(x)
    hidden = layers.BatchNormalization()(hidden) if norm else hidden
    both = layers.Dropout(dropout)(layers.concatenate([layers.Embedding(7, 3)(item), hidden]))
    rating = keras.ops.reshape(layers.Dense(1, dtype="float32")(both), (-1,))
    return keras.Model({"item": item, "x": x}, rating)


@functools.cache
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 12)).astype(np.float32)
    item = rng.integers(0, 7, ROWS).astype(np.int32)
    return item, x, (x.sum(1) + item).astype(np.float32)


def batches(epoch, stop=None):
    """The batches of an epoch; ``stop`` raises before the batch of that number."""
    item, x, targets = data()
    order = epoch_order(ROWS, 1, epoch)
    for number, start in enumerate(range(0, ROWS, SIZE)):
        if stop is not None and number == stop:
            raise RuntimeError("killed")
        rows = order[start : start + SIZE]
        inputs = {"item": padded(item[rows], SIZE), "x": padded(x[rows], SIZE)}
        yield [Batch(inputs, padded(targets[rows], SIZE), padded(np.ones(len(rows), np.float32), SIZE))]


def figures(trainer):
    """A validation figure that is best in the middle, so that the best weights are not the last."""
    return lambda epoch: {"val": float(abs(epoch - 1)), "norm": float(np.square(trainer.model.get_weights()[0]).sum())}


def new_trainer(run_dir=None, monitor=MONITOR):
    return Trainer(make_model(), make_optimizer("adam", 0.01), 3, run_dir, jit=False, monitor=monitor)


def state(trainer):
    variables = [*trainer.model.weights, *trainer.optimizer.variables]
    return [np.array(keras.ops.convert_to_numpy(v)) for v in variables]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trainer = new_trainer(folder)
    trainer.fit(batches, EPOCHS, figures(trainer), quiet=True)
    return trainer, folder


def assert_same_run(trainer, folder, whole):
    expected, expected_folder = whole
    for ours, theirs in zip(state(trainer), state(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert history_of(folder) == history_of(expected_folder)
    assert trainer.progress.batch_losses == expected.progress.batch_losses
    assert trainer.progress.best_epoch == expected.progress.best_epoch == 2
    with np.load(folder / "checkpoint.npz") as ours, np.load(expected_folder / "checkpoint.npz") as theirs:
        assert ours.files == theirs.files
        for name in set(ours.files) - {"progress"}:
            np.testing.assert_array_equal(ours[name], theirs[name])


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def raise_killed(*_):
    raise Killed


@pytest.mark.parametrize(
    ("epoch", "moment"),
    [(0, "batch"), (2, "batch"), (1, "evaluate"), (1, "rename"), (1, "history"), (2, "history")],
)
def test_killed_at_any_moment_and_resumed_equals_uninterrupted(epoch, moment, tmp_path, uninterrupted, monkeypatch):
    trainer = new_trainer(tmp_path)
    source, evaluate, calls = batches, figures(trainer), []
    if moment == "batch":

        def source(e):
            return batches(e, stop=3 if e == epoch else None)

    elif moment == "evaluate":

        def evaluate(e):
            return raise_killed() if e == epoch else figures(trainer)(e)

    else:  # while the checkpoint is written, or between its rename and history.csv
        target = "write_history" if moment == "history" else "replacing"
        original = getattr(checkpoint, target)

        def counted(path, *rest):
            calls.append(path)
            if str(path).endswith("checkpoint.npz" if moment == "rename" else "history.csv"):
                done = sum(p.name == path.name for p in calls)
                if done == epoch + 1:
                    raise_killed()
            return original(path, *rest)

        monkeypatch.setattr(checkpoint, target, counted)
    with pytest.raises((Killed, RuntimeError)):
        trainer.fit(source, EPOCHS, evaluate, quiet=True)
    monkeypatch.undo()

    again = new_trainer(tmp_path)
    again.resume()
    assert again.progress.epochs == epoch + (moment == "history")
    again.fit(batches, EPOCHS, figures(again), quiet=True)
    assert_same_run(again, tmp_path, uninterrupted)
    assert not [p.name for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_finished_run_resumes_to_itself_and_can_be_prolonged(tmp_path, uninterrupted):
    trainer = new_trainer(tmp_path)
    trainer.fit(batches, EPOCHS - 1, figures(trainer), quiet=True)
    for _ in range(2):  # the second time there is nothing left to do but to restore the best epoch
        trainer = new_trainer(tmp_path)
        trainer.resume()
        trainer.fit(batches, EPOCHS, figures(trainer), quiet=True)
    assert_same_run(trainer, tmp_path, uninterrupted)


def test_the_best_epoch_is_restored_and_without_monitor_the_last_kept(uninterrupted):
    trainer = new_trainer()
    trainer.fit(batches, 2, figures(trainer), quiet=True)
    for ours, theirs in zip(trainer.model.trainable_variables, uninterrupted[0].model.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    last = new_trainer(monitor=None)
    last.fit(batches, EPOCHS, figures(last), quiet=True)
    assert not np.array_equal(last.model.get_weights()[0], trainer.model.get_weights()[0])


def damage_cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_byte(path):
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as saved:
        largest = max(saved.infolist(), key=lambda member: member.file_size)
    content[largest.header_offset + largest.file_size] ^= 255  # within the array: the member's header is shorter
    path.write_bytes(content)


def damage_shape(path):
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **(arrays | {"model_0": np.zeros((2, 2), np.float32)}))


def damage_progress(path):
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **(arrays | {"progress": np.array(json.dumps([1, 2]))}))


def damage_object(path):
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **(arrays | {"progress": np.array({"epochs": 1}, dtype=object)}))


def damage_other_model(path):
    with np.load(path) as saved:
        arrays = dict(saved)
    np.savez(path, **(arrays | {"model_99": np.zeros(3, np.float32)}))


@pytest.mark.parametrize(
    "damage",
    [
        damage_cut,
        damage_byte,
        damage_shape,
        damage_progress,
        damage_object,
        damage_other_model,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"no zip"),
        lambda p: (p.unlink(), p.mkdir()),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(damage, tmp_path, uninterrupted):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes((uninterrupted[1] / "checkpoint.npz").read_bytes())
    damage(path)
    trainer = new_trainer(tmp_path)
    before = state(trainer)
    with pytest.raises(UserError, match=r"checkpoint\.npz: damaged, or of another model") as caught:
        trainer.resume()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert trainer.progress.epochs == 0
    for ours, theirs in zip(state(trainer), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loss_that_is_not_finite_is_told_and_leaves_the_checkpoint(tmp_path):
    trainer = new_trainer(tmp_path)
    trainer.fit(batches, 1, figures(trainer), quiet=True)
    saved = (tmp_path / "checkpoint.npz").read_bytes()

    def broken(epoch):
        for (batch,) in batches(epoch):
            batch.targets[0] = np.inf
            yield [batch]

    with pytest.raises(UserError, match=r"the loss is .*learning-rate"):
        trainer.fit(broken, 2, figures(trainer), quiet=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == saved


def test_every_epoch_has_an_order_of_its_own_in_training():
    """What ``fit(shuffle=True)`` of Keras gets wrong on TensorFlow: it repeats one order once a seed is set."""

    class Recorder(layers.Layer):
        def __init__(self):
            super().__init__()
            self.kernel = self.add_weight(shape=(1,), initializer="ones", name="kernel")
            self.seen = tf.Variable(np.zeros(0, np.float32), shape=(None,), trainable=False)

        def call(self, inputs):
            self.seen.assign(tf.concat([self.seen, tf.reshape(inputs["row"], (-1,))], 0))
            return inputs["row"] * self.kernel

    def by_epoch(model, recorder, fit):
        seen = []
        for epoch in (1, 2):
            recorder.seen.assign(np.zeros(0, np.float32))
            fit(model, epoch)
            seen.append(recorder.seen.numpy().tolist())
        return seen

    def fit(model, epoch):
        trainers.setdefault(id(model), Trainer(model, make_optimizer("sgd", 1e-9), 1, jit=False))
        trainers[id(model)].fit(rows, epoch, quiet=True)

    def rows(epoch):
        order = epoch_order(12, 1, epoch).astype(np.float32)
        for start in range(0, 12, 4):
            part = order[start : start + 4]
            yield [Batch({"row": part}, part, np.ones(4, np.float32))]

    trainers, found = {}, []
    for _ in range(2):
        keras.utils.set_random_seed(1)
        recorder, row = Recorder(), keras.Input((), name="row")
        model = keras.Model({"row": row}, recorder({"row": row}))
        found.append(by_epoch(model, recorder, fit))
    assert found[0] == found[1]
    first, second = found[0]
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def dropped(model, epoch=None):
    if epoch is not None:
        runtime.reseed(model, 3, epoch)
    return [np.asarray(model(np.ones((2, 50), np.float32), training=True)) for _ in range(2)]


def test_dropout_follows_from_seed_and_epoch():
    """What ``BackupAndRestore`` of Keras loses: the state of dropout's generators."""
    model = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5), layers.GaussianNoise(1.0)])
    first, second = dropped(model, 0), dropped(model, 1)
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[0], second[0])
    assert not np.array_equal(dropped(model)[0], dropped(model)[0])  # it moves on by itself
    for index, array in enumerate(dropped(model, 0)):
        np.testing.assert_array_equal(array, first[index])
    other = keras.Sequential([keras.Input((50,)), layers.Dropout(0.5, seed=9), layers.GaussianNoise(1.0, seed=8)])
    np.testing.assert_array_equal(dropped(other, 0), first)  # whatever was drawn before, in another process say
    states = [v for v in model.non_trainable_variables if v.path.endswith("seed_generator_state")]
    runtime.reseed(model, 3, 0)
    assert len(states) == 2 and not np.array_equal(states[0], states[1])


def test_reseed_finds_the_generators_of_recurrent_cells_and_submodels():
    inner = keras.Sequential([keras.Input((3, 4)), layers.GRU(2, dropout=0.5, recurrent_dropout=0.5)])
    model = keras.Sequential([keras.Input((3, 4)), inner, layers.Dropout(0.5)])

    def once():
        runtime.reseed(model, 1, 2)
        return np.asarray(model(np.ones((5, 3, 4), np.float32), training=True))

    np.testing.assert_array_equal(once(), once())


def in_two(epoch):
    """The same batches, each in two parts; the second part of the last one is all padding."""
    for (batch,) in batches(epoch):
        halves = [slice(0, 10), slice(10, SIZE)]
        yield [
            Batch(
                {name: padded(array[half], 10) for name, array in batch.inputs.items()},
                padded(batch.targets[half], 10),
                padded(batch.weights[half], 10),
            )
            for half in halves
        ]


def test_a_batch_in_parts_gives_the_weights_of_the_whole_batch():
    found = []
    for kind in (batches, in_two):
        model = make_model(dropout=0.0, norm=False)
        trainer = Trainer(model, make_optimizer("adam", 0.01), 1)
        trainer.fit(kind, EPOCHS, quiet=True)
        found.append((trainer.progress.batch_losses, model.get_weights()))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    for whole, parts in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(whole, parts, atol=1e-6)


def test_parts_draw_their_own_dropout_and_the_generators_move_on():
    x = keras.Input((400,), name="x")
    model = keras.Model({"x": x}, keras.ops.sum(layers.Dropout(0.5)(layers.Dense(400, use_bias=False)(x)), axis=-1))
    states = [runtime.state_of_part(model, part) for part in (0, 0, 1)]
    trainable = [v.value for v in model.trainable_variables]
    rows = {"x": np.ones((1, 400), np.float32)}
    values = [float(model.stateless_call(trainable, state, rows, training=True)[0][0]) for state in states]
    assert values[0] == values[1] != values[2]
    trainer = Trainer(model, make_optimizer("sgd", 1e-9), 1)
    after = []
    for number in (1, 3):
        trainer.progress.epochs = 0
        trainer.fit(lambda epoch, n=number: [[Batch(rows, np.zeros(1), np.ones(1))] * 2] * n, 1, quiet=True)
        after.append(np.array(model.non_trainable_variables[0]))
    np.testing.assert_array_equal(after[1] - after[0], [0, 2])  # one draw for each batch


def test_loss_is_the_mean_over_real_rows_and_padding_teaches_nothing():
    def with_rubbish(epoch):
        for (batch,) in batches(epoch):
            extra = {name: padded(array, SIZE + 5) for name, array in batch.inputs.items()}
            for array in extra.values():
                array[SIZE:] = 3
            yield [Batch(extra, padded(batch.targets, SIZE + 5), padded(batch.weights, SIZE + 5))]

    trainers = []
    for source in (batches, with_rubbish):
        trainer = Trainer(make_model(dropout=0.0, norm=False), make_optimizer("adam", 0.01), 3, jit=False)
        trainer.fit(source, 2, quiet=True)
        trainers.append(trainer)
    assert trainers[0].progress.history[1]["loss"] == pytest.approx(trainers[1].progress.history[1]["loss"], rel=1e-5)
    for ours, theirs in zip(state(trainers[0]), state(trainers[1]), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)
    item, x, targets = data()
    model = make_model(dropout=0.0, norm=False)
    error = np.square(np.asarray(model({"item": item, "x": x})) - targets)
    still = Trainer(model, make_optimizer("sgd", 1e-12), 3, jit=False)
    assert still.fit(batches, 1, quiet=True).history[0]["loss"] == pytest.approx(error.mean(), rel=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_precisions_learn_and_keep_float32_weights(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    scaled = policy == "mixed_float16"
    trainer = Trainer(make_model(0.1), make_optimizer("adam", 0.03, scaled), 3, tmp_path, jit=False)
    losses = [row["loss"] for row in trainer.fit(batches, 4, quiet=True).history]
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]
    assert {str(v.dtype) for v in trainer.model.weights} == {"float32"}
    assert trainer.model.layers[2].compute_dtype == policy.removeprefix("mixed_")
    assert isinstance(trainer.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
    if scaled:  # the scale is part of what is resumed
        again = Trainer(make_model(0.1), make_optimizer("adam", 0.03, True), 3, tmp_path, jit=False)
        again.resume()
        for ours, theirs in zip(state(again), state(trainer), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_loss_scaling_saves_small_gradients_and_loses_no_first_step():
    """A gradient of about 1e-8 is zero in float16 unless the loss is scaled."""

    def train(scaled, targets, steps=1):
        keras.config.set_dtype_policy("mixed_float16")
        x = keras.Input((1,), name="x")
        # The gradient passes through the float16 layer: 2e-9 underflows there.
        rating = keras.ops.reshape(layers.Dense(1, kernel_initializer="ones", use_bias=False)(x), (-1,))
        model = keras.Model({"x": x}, rating)
        trainer = Trainer(
            model,
            make_optimizer("sgd", 1e6, scaled),
            1,
            loss=lambda t, p, w: keras.ops.sum(w * 1e-9 * keras.ops.cast(p, "float32") * t),
        )
        parts = [Batch({"x": np.ones((2, 1), np.float32)}, targets, np.ones(2, np.float32))]
        trainer.fit(lambda epoch: [parts], steps, quiet=True)
        return float(model.get_weights()[0].ravel()[0]), trainer.optimizer

    ones = np.ones(2, np.float32)
    assert train(False, ones)[0] == 1.0
    weight, optimizer = train(True, ones)
    assert weight == pytest.approx(1 - 1e-3, rel=1e-4)
    assert int(np.asarray(optimizer.iterations)) == 1
    before = float(np.asarray(optimizer.dynamic_scale))
    weight, optimizer = train(True, ones * 1e13)  # 1e4 overflows float16 once scaled: the scale falls until it does not
    assert weight == pytest.approx(1 - 1e10, rel=1e-2) and float(np.asarray(optimizer.dynamic_scale)) == before / 2**13
    weight, optimizer = train(True, ones * 1e20)  # overflows without any scale: the step is left out
    assert weight == 1.0 and float(np.asarray(optimizer.dynamic_scale)) == before / 2**16


def test_block_predictor_takes_no_rows_and_several_inputs():
    a, b = keras.Input((2,)), keras.Input((2,))
    predict = BlockPredictor(keras.Model([a, b], layers.add([a, b])), 4, jit=False)
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    np.testing.assert_array_equal(predict(rows, rows), 2 * rows)
    assert predict(rows[:0], rows[:0]).shape == (0, 2)
