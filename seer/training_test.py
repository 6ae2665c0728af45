"""Training SeER: the released trajectory, batches, learning, and that structure is learnt and noise is not."""

import itertools
import json
from dataclasses import dataclass, replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from common import runtime
from common.optimizers import make_optimizer
from common.options import UserError
from common.training import BlockPredictor, Trainer
from common.weights import load_weights
from seer import layers
from seer.model import Architecture, Networks
from seer.preprocess import Ratings, corrected_split, released_split
from seer.training import Evaluator, PairBatches, SongBatches, model_input

LAYERS = {"L": "LSTM_1", "e": "embedding_user", "d": "dense_1"}


def golden_weights(reference, prefix):
    """Weights w0_i or w1_i of the golden training, by layer."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for i, name in enumerate(map(str, reference["weight_names"])):
        layer = LAYERS[name[0]]
        found.setdefault(layer, {})[name.rsplit("/", 1)[1].removesuffix(":0")] = reference[f"{prefix}_{i}"]
    return found


def golden_ratings(golden_seer):
    split = np.load(golden_seer / "expected" / "split.npz")
    return Ratings(split["train_users"], split["train_songs"], split["train_labels"])


@dataclass(frozen=True)
class State:
    """Weights in the middle of a training, with Adam's two averages of each, and the orders of the steps so far."""

    weights: list
    first: list
    second: list
    losses: tuple = ()
    orders: tuple = ()
    coming: tuple = ()
    """Loss of the next step, and its residuals; empty after the last one."""


class Steps:
    """Steps of Adam as TensorFlow 1 may order its reads and writes.

    In an order (counter, dense_first), ``counter`` is added to the number of the step in Adam's bias correction: the
    counter is read before or after it is incremented. With ``dense_first`` the Dense layer's new weights are in place
    before the gradient passes through them.
    """

    def __init__(self, seer, batches, epochs, rate):
        self.variables, self.rate = seer.model.trainable_variables, rate
        self.dense = [variable.path.startswith("dense") for variable in self.variables]
        self.orders = [(counter, first) for counter in (0, 1) for first in (False, True)[: 1 + any(self.dense)]]
        self.initial = [np.array(variable) for variable in self.variables]
        self.batches = [
            (
                {name: tf.constant(array) for name, array in batch.inputs.items()},
                batch.targets,
                batch.weights / batch.weights.sum(),
            )
            for _ in range(epochs)
            for (batch,) in batches(0)
        ]
        model = seer.model

        @tf.function
        def residuals(inputs, targets, weights):
            return weights * (model(inputs, training=True) - targets)

        @tf.function
        def gradients(inputs, residual):
            """Of the loss; its residuals are given, and pass through the model as it is now."""
            with tf.GradientTape() as tape:
                surrogate = tf.reduce_sum(2.0 * residual * model(inputs, training=True))
            found = tape.gradient(surrogate, [variable.value for variable in self.variables])
            return [tf.convert_to_tensor(gradient) for gradient in found]  # those of an embedding are rows

        self._residuals, self._gradients = residuals, gradients

    def start(self):
        """Before the first step."""
        zeros = [np.zeros_like(array) for array in self.initial]
        return self._ready(State(self.initial, zeros, zeros))

    def assign(self, weights):
        """Give the model these weights."""
        for variable, array in zip(self.variables, weights, strict=True):
            variable.assign(array)

    def _ready(self, state):
        """The state with the loss of its next step."""
        if len(state.losses) == len(self.batches):
            return state
        inputs, targets, weights = self.batches[len(state.losses)]
        self.assign(state.weights)
        residual = self._residuals(inputs, targets, weights)
        real = weights > 0
        loss = float(np.sum(residual.numpy()[real] ** 2 / weights[real]))
        return replace(state, coming=(loss, residual))

    def after(self, state, orders=None):
        """The state after the next step, for each of ``orders``."""
        step = len(state.losses)
        (loss, residual), (inputs, *_) = state.coming, self.batches[step]
        self.assign(state.weights)
        found = [gradient.numpy() for gradient in self._gradients(inputs, residual)]
        states = []
        for order in orders or self.orders:
            gradients = found
            if order[1]:
                new, *_ = self._adam(state, gradients, step + order[0])
                mixed = [one if first else old for one, old, first in zip(new, state.weights, self.dense, strict=True)]
                self.assign(mixed)
                late = [gradient.numpy() for gradient in self._gradients(inputs, residual)]
                gradients = [one if first else new for one, new, first in zip(found, late, self.dense, strict=True)]
            arrays = self._adam(state, gradients, step + order[0])
            states.append(self._ready(State(*arrays, (*state.losses, loss), (*state.orders, order))))
        return states

    def _adam(self, state, gradients, step):
        """Keras 2.2.4's Adam."""
        rate = np.float32(self.rate * np.sqrt(1 - 0.999 ** (step + 1)) / (1 - 0.9 ** (step + 1)))
        first = [np.float32(0.9) * m + np.float32(0.1) * g for m, g in zip(state.first, gradients, strict=True)]
        second = [
            np.float32(0.999) * v + np.float32(0.001) * g * g for v, g in zip(state.second, gradients, strict=True)
        ]
        moves = [rate * m / (np.sqrt(v) + np.float32(1e-7)) for m, v in zip(first, second, strict=True)]
        return [w - move for w, move in zip(state.weights, moves, strict=True)], first, second

    def in_one_order(self, order):
        """The state after all steps, each in the same order."""
        state = self.start()
        for _ in self.batches:
            (state,) = self.after(state, [order])
        return state

    def following(self, losses, width=6, noise=2e-6, change=10.0):
        """States after all steps whose losses are nearest to the given ones, by a search over the order of each step.

        The loss of a step tells the orders of the steps before, some of them so faintly that the noise of float32
        hides it: so a change of the order costs as much as ``change`` squared errors of the size of the noise. The
        best ``width`` states are kept after each step; those after the last, whose order no loss tells, are all
        returned.
        """

        def cost(state):
            far = np.array([*state.losses, *state.coming[:1]]) / losses[: len(state.losses) + 1] - 1
            changes = sum(one != other for one, other in itertools.pairwise(state.orders))
            return float(np.sum((far / noise) ** 2)) + change * changes

        kept = [self.start()]
        for _ in self.batches:
            kept = sorted((new for state in kept for new in self.after(state)), key=cost)
            if kept[0].coming:
                kept = kept[:width]
        return kept


def error_of(seer, end):
    """Per weight: norm of the difference from ``end``, relative to the norm of ``end``."""
    found = {}
    for layer, arrays in end.items():
        ours = {variable.name: np.asarray(variable) for variable in seer.model.get_layer(layer).weights}
        for name, array in arrays.items():
            found[f"{layer}/{name}"] = float(np.linalg.norm(ours[name] - array) / np.linalg.norm(array))
    return found


@tf.custom_gradient
def tanh_of_tensorflow_1(x):
    """tanh as TensorFlow 1.15 approximates it: a rational function on [-9, 9] in single precision.

    Its value never quite reaches 1, so that a saturated unit keeps a gradient of about 1e-7; today's reaches 1 and has
    none. Adam, which divides a gradient by its own size, moves a weight by full steps in the one case and not at all
    in the other.
    """
    numerator = (4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08)
    numerator += (-8.60467152213735e-11, 2.00018790482477e-13, -2.76076847742355e-16)
    denominator = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
    clipped = tf.clip_by_value(x, -9.0, 9.0)

    def polynomial(coefficients):
        value = tf.zeros_like(x)
        for coefficient in reversed(coefficients):
            value = value * (clipped * clipped) + coefficient
        return value

    y = tf.where(tf.abs(x) < 0.0004, x, clipped * polynomial(numerator) / polynomial(denominator))
    return y, lambda upstream: upstream * (1.0 - y * y)


def test_the_order_of_each_step_is_found_by_the_losses():
    keras.utils.set_random_seed(1)
    seer = Networks(Architecture(30, 3, "concat", "lstm", 4, channels=1, dropout=0.0))
    midi = np.random.default_rng(1).integers(0, 3, (17, 3, 2)).astype(np.uint8)
    steps = Steps(seer, PairBatches(some_ratings(96), midi, 16, seed=1), 1, 0.03)
    state, orders = steps.start(), [(1, True), (1, True), (0, True), (0, True), (1, False), (1, False)]
    for order in orders:
        (state,) = steps.after(state, [order])
    found = steps.following(np.array(state.losses))
    assert orders[:-1] in [list(one.orders[:-1]) for one in found]
    best = min(found, key=lambda one: sum(np.abs(a - b).sum() for a, b in zip(one.weights, state.weights, strict=True)))
    assert list(best.orders) == orders


@pytest.mark.golden
@pytest.mark.slow
@pytest.mark.parametrize(("variant", "cell"), [("concat", "lstm"), ("dot", "gru")])
def test_released_training_trajectory(variant, cell, golden_seer, seer_golden_data, monkeypatch):
    """Steps of Adam without dropout and shuffling.

    TensorFlow 1 reads and writes its variables in no fixed order (:class:`Steps`). The four orders are tried; where
    none of them fits, the order may have changed from step to step, and that of each step is searched for. With
    TensorFlow 1's tanh all weights then agree to 1e-4, but for the GRU's input kernel: there, runs of our own whose
    initial weights differ in the last bit differ by 1.2e-4.
    """
    reference = np.load(golden_seer / "expected" / f"train_nodropout_{cell.upper()}.npz")
    info = json.loads((golden_seer / "expected" / "train_reference_info.json").read_text())
    start, end = golden_weights(reference, "w0"), golden_weights(reference, "w1")
    users, latent = start["embedding_user"]["embeddings"].shape
    architecture = Architecture(users, info["sequence_length"], variant, cell, latent, dropout=0.0)
    midi = model_input(seer_golden_data, architecture)
    batches = PairBatches(golden_ratings(golden_seer), midi, info["batch"], seed=1, shuffle=False)

    def fresh(tanh=None):
        seer = Networks(architecture)
        if tanh:
            seer.model.get_layer("LSTM_1").cell.activation = tanh
        load_weights(seer.model, golden_seer, start, {name: name for name in start})
        return seer

    def loss_error(state):
        return float(np.max(np.abs(state.losses / reference["batch_losses"] - 1)))

    def weight_error(state):
        """The largest of a weight, but for the input kernel, whose units may be at the edge of saturation."""
        steps.assign(state.weights)
        return max(error for name, error in error_of(seer, end).items() if name != "LSTM_1/kernel")

    with monkeypatch.context() as patched:
        patched.setattr(layers.ops, "tanh", tanh_of_tensorflow_1)  # what the written-out LSTM calls
        seer = fresh(tanh_of_tensorflow_1)
        steps = Steps(seer, batches, info["epochs"], info["lr"])
        in_one = [steps.in_one_order(order) for order in steps.orders]
        best = min(in_one, key=loss_error)
        # Where the order changes at almost every step, the narrow search may miss it.
        for settings in ({}, {"width": 20, "change": 2.0}):
            if max(loss_error(best), weight_error(best)) > 1e-4:
                best = min(steps.following(reference["batch_losses"], **settings), key=weight_error)
    assert loss_error(best) < 1e-4, best.orders
    assert max(map(loss_error, in_one)) > 1e-3  # a wrong order, or a wrong optimizer, is far outside
    steps.assign(best.weights)
    sizes = np.array([np.count_nonzero(batch.weights) for (batch,) in batches(0)])
    epochs = [np.average(part, weights=sizes) for part in np.split(np.array(best.losses), info["epochs"])]
    np.testing.assert_allclose(epochs, reference["epoch_losses"], rtol=1e-5)
    for name, far in error_of(seer, end).items():
        # Here 1.2e-4 and 6e-5 at most; other golden data may have more units at the edge of saturation.
        assert far < (5e-4 if name == "LSTM_1/kernel" else 2e-4), (name, far)
    test_pred = ours_on_test(seer, midi, golden_seer)
    np.testing.assert_allclose(test_pred, reference["test_pred"], atol=1e-3)

    # The trainer takes the one defined order: step t, gradients of the weights that gave the loss.
    trained = fresh()
    trainer = Trainer(trained.model, make_optimizer("adam", info["lr"]), seed=1)
    ours = [loss for e in range(info["epochs"]) for loss in trainer.fit(batches, e + 1, quiet=True).batch_losses]
    expected = Steps(fresh(), batches, info["epochs"], info["lr"]).in_one_order((0, False)).losses
    np.testing.assert_allclose(ours, expected, rtol=5e-5)


def ours_on_test(seer, midi, golden_seer):
    users, songs = np.load(golden_seer / "expected" / "split.npz")["test_set"].T
    return Evaluator(seer, midi, jit=True).rater().rate(users, songs)


@pytest.mark.golden
def test_released_split_and_order(golden_seer, seer_golden_data):
    data, expected = seer_golden_data, np.load(golden_seer / "expected" / "split.npz")
    split = released_split(Ratings(data.users, data.songs, data.ratings))
    np.testing.assert_array_equal(split.train.users, expected["train_users"])
    np.testing.assert_array_equal(split.train.songs, expected["train_songs"])
    np.testing.assert_array_equal(split.train.values, expected["train_labels"])
    np.testing.assert_array_equal(np.c_[split.test.users, split.test.songs], expected["test_set"])
    np.testing.assert_array_equal(split.test.values, expected["test_true"])


def some_ratings(rows=500, users=30, songs=17, seed=0):
    rng = np.random.default_rng(seed)
    return Ratings(
        rng.integers(0, users, rows), rng.integers(0, songs, rows), rng.integers(1, 6, rows).astype(np.float32)
    )


def test_repeated_pairs_keep_the_first_place_and_the_last_value():
    ratings = Ratings(np.array([1, 2, 1, 3, 2] * 4), np.array([5, 6, 5, 7, 6] * 4), np.arange(20) % 5 + 1.0)
    train = released_split(ratings).train
    assert len(set(zip(train.users, train.songs, strict=True))) == len(train)
    rows = released_rows(ratings)
    for user, song, value in zip(train.users, train.songs, train.values, strict=True):
        last = [v for u, s, v in rows if (u, s) == (user, song)][-1]
        assert value == last
    order = list(dict.fromkeys((u, s) for u, s, _ in rows))
    assert order == list(zip(train.users, train.songs, strict=True))


def released_rows(ratings):
    from sklearn.model_selection import train_test_split

    train, _ = train_test_split(np.arange(len(ratings)), test_size=0.2, random_state=1)
    return [(ratings.users[i], ratings.songs[i], ratings.values[i]) for i in train]


def test_corrected_split_keeps_the_released_test_set_and_loses_nothing():
    ratings = some_ratings()
    released, corrected = released_split(ratings), corrected_split(ratings, seed=1)
    np.testing.assert_array_equal(released.test.users, corrected.test.users)
    parts = [set(zip(p.users, p.songs, p.values, strict=True)) for p in (corrected.train, corrected.validation)]
    assert parts[0] | parts[1] == set(
        zip(released.train.users, released.train.songs, released.train.values, strict=True)
    )
    assert not parts[0] & parts[1]


def test_too_few_ratings_to_split_are_refused():
    for rows, split in ((1, released_split), (2, lambda ratings: corrected_split(ratings, seed=1))):
        with pytest.raises(UserError, match="expected 2 or more"):
            split(some_ratings(rows))


def seen(batches, epoch):
    """Every (user, song's bytes, rating) of an epoch, through the batch's own indirection."""
    found = []
    for parts in batches(epoch):
        for part in parts:
            real = part.weights > 0
            songs = part.inputs["song_feature_input"][part.inputs["song_input"][real]]
            users, targets = part.inputs["user_input"][real], part.targets[real]
            found += [(int(u), s.tobytes(), float(t)) for u, s, t in zip(users, songs, targets, strict=True)]
    return found


@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize("kind", ["distinct", "each", "songs"])
def test_every_rating_occurs_once_per_epoch_in_a_new_order(kind, replicas):
    ratings = some_ratings()
    midi = np.random.default_rng(1).integers(0, 128, (17, 4, 32)).astype(np.uint8)
    if kind == "songs":
        batches = SongBatches(ratings, midi, 5, seed=1, parts=replicas)
    else:
        batches = PairBatches(ratings, midi, 64, seed=1, distinct=kind == "distinct", parts=replicas)
    expected = sorted((int(u), midi[s].tobytes(), float(v)) for u, s, v in zip(*vars(ratings).values(), strict=True))
    first, second = seen(batches, 0), seen(batches, 1)
    assert sorted(first) == sorted(second) == expected
    assert first != second and first == seen(batches, 0)
    shapes = {tuple(part.inputs["song_feature_input"].shape) for parts in batches(0) for part in parts}
    assert len(shapes) <= 8
    for parts in batches(0):
        assert len(parts) == replicas
        assert len({tuple(array.shape for array in part.inputs.values()) for part in parts}) == 1


def styles(noise, seed=0):
    """Songs of two styles that use different channels; each user likes one of them, or nothing means anything."""
    rng = np.random.default_rng(seed)
    style = rng.integers(0, 2, 40)
    midi = np.zeros((40, 20, 32), np.uint8)
    for song, kind in enumerate(style):
        midi[song, :, 8 * kind] = rng.integers(40, 80, 20)
        midi[song, :, 8 * kind + 1] = rng.integers(50, 120, 20)
    users, songs = rng.integers(0, 60, 3000), rng.integers(0, 40, 3000)
    likes = (users % 2) == style[songs]
    values = rng.integers(1, 6, 3000) if noise else np.where(likes, 5, 1)
    return midi, Ratings(users, songs, values.astype(np.float32))


def fitted_rmse(variant, noise, batching="pairs"):
    midi, ratings = styles(noise)
    split = corrected_split(ratings, seed=1)
    keras.utils.set_random_seed(1)
    seer = Networks(Architecture(60, 20, variant, "lstm", 32 if batching == "pairs" else 16))
    if batching == "songs":  # a tenth of the steps per epoch
        batches, rate, epochs = SongBatches(split.train, midi, 4, seed=1), 3e-2, 40
    else:
        batches, rate, epochs = PairBatches(split.train, midi, 64, seed=1), 1e-2, 12
    trainer = Trainer(seer.model, make_optimizer("adam", rate), seed=1)
    trainer.fit(batches, epochs, quiet=True)
    predicted = Evaluator(seer, midi, jit=True).rater().rate(split.test.users, split.test.songs)
    return float(np.sqrt(np.mean((predicted - split.test.values) ** 2)))


@pytest.mark.slow
@pytest.mark.parametrize("batching", ["pairs", "songs"])
def test_dot_learns_who_likes_which_style_from_the_midi(batching):
    assert fitted_rmse("dot", noise=False, batching=batching) < 1.0  # a constant has 2.0


def test_half_precision_loses_no_first_step(eagerly):
    """Loss scaling begins at 2^15, which overflows float16 here: left out, those steps cost a third of the loss."""
    midi, ratings = styles(noise=False)
    midi = midi[:, :5]

    def trained(policy):
        keras.config.set_dtype_policy(policy)
        with runtime.seeded(1):
            networks = Networks(Architecture(60, 5, "concat", "rnn", 8))
        keras.config.set_dtype_policy("float32")
        trainer = Trainer(networks.model, make_optimizer("adam", 1e-2, policy == "mixed_float16"), seed=1, jit=False)
        return trainer.fit(PairBatches(ratings, midi, 128, seed=1), 1, quiet=True).history[0]["loss"], trainer.optimizer

    exact, _ = trained("float32")
    half, scaled = trained("mixed_float16")
    assert int(scaled.inner_optimizer.iterations) == 24 and float(scaled.dynamic_scale) < 2**15
    assert half == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
def test_concat_cannot_as_it_has_no_interaction():
    assert 1.9 < fitted_rmse("concat", noise=False) < 2.3


@pytest.mark.slow
def test_noise_is_not_learnt():
    assert fitted_rmse("dot", noise=True) > 1.37  # the standard deviation of the ratings is 1.41


def test_block_predictor_pads_and_cuts():
    seer = Networks(Architecture(3, 6, latent_features=4))
    midi = np.random.default_rng(0).integers(0, 128, (7, 6, 32)).astype(np.uint8)
    np.testing.assert_allclose(BlockPredictor(seer.encoder, 3)(midi), BlockPredictor(seer.encoder, 7)(midi), atol=1e-6)
