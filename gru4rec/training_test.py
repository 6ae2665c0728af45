"""Batches, draws, optimizers and the training loop beyond what the golden data cover."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from common.negatives import Inverse, Negatives, cumulative, invert
from common.optimizers import RowAdagrad, RowAdam
from common.sessions import Sessions
from gru4rec.batches import session_parallel
from gru4rec.losses import make_loss
from gru4rec.model import Architecture, Networks
from gru4rec.training import SessionTrainer, chunks

ITEMS = 12


def sessions_of(lengths, seed=0, items=ITEMS):
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    events = np.random.default_rng(seed).integers(0, items, offsets[-1]).astype(np.int32)
    return Sessions(events, offsets, np.arange(len(lengths), dtype=float))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=0, max_size=30), st.integers(1, 9))
def test_every_event_with_a_successor_is_an_input_once_and_states_follow_sessions(lengths, size):
    sessions = sessions_of(lengths)
    steps = session_parallel(sessions, size)
    there = steps.events >= 0
    expected = np.setdiff1d(np.arange(len(sessions.items)), sessions.offsets[1:] - 1)
    np.testing.assert_array_equal(np.sort(steps.events[there]), expected)
    assert (np.diff(steps.live) <= 0).all() and (there.sum(axis=1) == steps.live).all()
    before = np.full(size, -1)
    for t in range(len(steps)):
        for row in range(steps.live[t]):
            event, source = steps.events[t, row], steps.carry[t, row]
            begins = event in sessions.offsets[:-1]
            assert (source < 0) == begins
            assert begins or before[source] == event - 1
        before = steps.events[t]


def test_epoch_ends_with_the_last_pair_of_rows_if_rows_are_the_negatives():
    sessions = sessions_of([2, 2, 9])
    assert len(session_parallel(sessions, 2, least=2)) < len(session_parallel(sessions, 2))
    assert session_parallel(sessions, 2, least=2).live.min() == 2


def test_draws_follow_popularity_and_repeat_by_seed_and_epoch():
    support = np.array([1, 10, 100, 1000])
    negatives = Negatives(support, 0.5, 50, seed=3)
    epoch = negatives.epoch(0)
    drawn = np.concatenate([epoch.take(7), epoch.take(400)])
    np.testing.assert_array_equal(drawn, negatives.epoch(0).take(407))
    assert not np.array_equal(drawn, negatives.epoch(1).take(407))
    share = np.bincount(drawn.ravel(), minlength=4) / drawn.size
    np.testing.assert_allclose(share, np.sqrt(support) / np.sqrt(support).sum(), atol=0.02)
    assert Negatives(support, 0.5, 0, 1).epoch(0).take(3).shape == (3, 0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("items", [1, 7, 5000])
def test_draws_are_the_items_that_a_search_finds(alpha, items):
    rng = np.random.default_rng(items)
    function = cumulative(rng.integers(1, 10_000, items), alpha)
    near = np.concatenate([function[:-1], np.nextafter(function[:-1], 0), np.nextafter(function[:-1], 1)])
    uniform = np.concatenate([[0.0, np.nextafter(1, 0)], near, rng.random(4000)])
    np.testing.assert_array_equal(Inverse(function)(uniform[:, None])[:, 0], invert(function, uniform))


class Table:
    """A table and a dense weight under an optimizer, against the formula on the whole table."""

    def __init__(self, kind, **options):
        rng = np.random.default_rng(1)
        self.start = rng.normal(size=(6, 3)).astype(np.float32)
        self.variable = keras.Variable(self.start, name="t")
        self.optimizer = kind({"t": self.variable}, 0.1, **options)

    def run(self, steps):
        rng = np.random.default_rng(2)
        for _ in range(steps):
            rows = rng.choice(6, 2, replace=False)
            gradient = rng.normal(size=(2, 3)).astype(np.float32)
            yield rows, gradient
            self.optimizer.rows("t", rows.astype(np.int32), gradient)


@pytest.mark.parametrize("momentum", [0.0, 0.4])
def test_adagrad_touches_only_its_rows_and_follows_the_official_formula(momentum):
    table = Table(RowAdagrad, momentum=momentum)
    weight, total, move = table.start.astype(float), np.zeros((6, 3)), np.zeros((6, 3))
    for rows, gradient in table.run(8):
        total[rows] += gradient.astype(float) ** 2
        move[rows] = momentum * move[rows] - 0.1 * gradient / np.sqrt(total[rows] + 1e-6)
        weight[rows] += move[rows]
    np.testing.assert_allclose(np.asarray(table.variable), weight, atol=1e-6)


def test_adam_is_keras_adam_on_the_whole_table():
    table = Table(RowAdam)
    other = keras.Variable(table.start, name="o")
    adam = keras.optimizers.Adam(0.1)
    adam.build([other])
    for rows, gradient in table.run(8):
        whole = np.zeros((6, 3), np.float32)
        whole[rows] = gradient
        adam.apply([keras.ops.convert_to_tensor(whole)], [other])
    np.testing.assert_allclose(np.asarray(table.variable), np.asarray(other), atol=1e-6)


KINDS = ("shared", "separate", "one-hot", "content", "content-mlp")


def trainer(inputs="shared", gru="original", layers=(5,), momentum=0.0, dropout=0.0, seed=1, jit=False, negatives=4):
    features = np.random.default_rng(5).normal(size=(ITEMS, 7)).astype(np.float32)
    content = features if inputs.startswith("content") else None
    model = Networks(Architecture(ITEMS, layers, inputs, 6, 7, gru), content, seed)
    scaled = keras.config.dtype_policy().name == "mixed_float16"
    optimizer = RowAdagrad(model.named, 0.1, momentum, scaled)
    support = np.arange(1, ITEMS + 1)
    return SessionTrainer(
        model, optimizer, make_loss("cross-entropy"), 4, support, dropout_input=dropout, dropout_hidden=dropout,
        seed=seed, jit=jit,
    )  # fmt: skip


def train(one, sessions, epochs=1, size=128, count=4, first=0):
    negatives = Negatives(np.arange(1, ITEMS + 1), 0.5, count, 1)
    for epoch in range(first, first + epochs):
        losses, live = one.epoch(chunks(sessions, 4, negatives.epoch(epoch), size), epoch)
    return losses, live


def cycle():
    """Sessions in which item i is always followed by i + 1."""
    starts = np.random.default_rng(0).integers(0, ITEMS, 60)
    items = np.concatenate([(start + np.arange(6)) % ITEMS for start in starts]).astype(np.int32)
    return Sessions(items, np.arange(0, 361, 6), np.arange(60.0))


@pytest.mark.parametrize(("inputs", "gru"), [("shared", "cudnn"), *zip(KINDS, ("original", "cudnn") * 3, strict=False)])
def test_every_kind_learns_a_cycle_and_content_without_its_item_ids(inputs, gru):
    """Item i is always followed by i + 1: after training the model must say so."""
    sessions, one = cycle(), trainer(inputs, gru)
    before, _ = train(one, sessions)
    after, _ = train(one, sessions, epochs=12, first=1)
    assert after.mean() < 0.6 * before.mean()
    scores, _ = one.model(np.arange(ITEMS), one.model.start(ITEMS))
    assert (np.argmax(np.asarray(scores), axis=1) == (np.arange(ITEMS) + 1) % ITEMS).mean() > 0.7


@pytest.fixture
def policy():
    """Sets a dtype policy; float32 again afterwards."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


def learnt_cycle():
    """A trainer after some epochs, the losses of their steps, and for how many items it is right."""
    one = trainer(momentum=0.1, dropout=0.1)
    losses, _ = train(one, cycle(), epochs=8)
    scores, states = one.model(np.arange(ITEMS), one.model.start(ITEMS))
    right = np.argmax(np.asarray(scores), axis=1) == (np.arange(ITEMS) + 1) % ITEMS
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    assert keras.backend.standardize_dtype(states[0].dtype) == keras.config.dtype_policy().compute_dtype
    return one, losses, right.mean()


@pytest.fixture(scope="module")
def in_float32():
    return learnt_cycle()[1:]


@pytest.mark.parametrize("half", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_learns_as_float32_does_and_keeps_tables_in_float32(half, policy, in_float32):
    expected, best = in_float32
    policy(half)
    one, losses, right = learnt_cycle()
    assert np.isfinite(losses).all() and losses.mean() == pytest.approx(expected.mean(), rel=0.05)
    assert right >= best - 0.1
    kept = [*one.model.named.values(), *one.optimizer.state.values()]
    assert all(keras.backend.standardize_dtype(v.dtype) in ("float32", "int32") for v in kept)


def test_a_step_whose_gradients_overflow_is_left_out_and_halves_the_loss_scale(policy):
    policy("mixed_float16")
    one = trainer(momentum=0.5)
    scale = one.optimizer.scale
    scale.factor.assign(2.0**40)
    before = {name: np.asarray(variable).copy() for name, variable in one.model.named.items()}
    sessions = sessions_of([3, 3])  # two steps
    losses, _ = train(one, sessions)
    assert float(scale.factor) == 2.0 ** (40 - len(losses)) and np.isfinite(losses).all()
    for name, array in before.items():
        np.testing.assert_array_equal(np.asarray(one.model.named[name]), array, err_msg=name)
    scale.factor.assign(1024.0)
    train(one, sessions)
    assert float(scale.factor) == 1024 and np.abs(np.asarray(one.model.named["Wy"]) - before["Wy"]).max() > 0


def test_what_the_source_of_chunks_raises_is_raised_after_the_chunks_before_it():
    one, sessions = trainer(), sessions_of([9, 9, 9, 9])
    before = np.asarray(one.model.named["Wy"]).copy()

    def failing():
        yield from chunks(sessions, 4, Negatives(np.arange(1, ITEMS + 1), 0.5, 4, 1).epoch(0), 4)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        one.epoch(failing(), 0)
    assert np.abs(np.asarray(one.model.named["Wy"]) - before).max() > 0


def test_noise_is_not_learnt_beyond_popularity():
    losses, _ = train(trainer(), sessions_of([6] * 200), epochs=4)
    assert losses[-20:].mean() > np.log(4)  # eight columns, guessed at: log 8; remembering pairs cannot reach far


@pytest.mark.parametrize("inputs", KINDS)
def test_chunks_and_compilation_change_nothing(inputs, eagerly):
    sessions = sessions_of([5, 2, 7, 3, 6, 2, 4])
    weights = []
    for size, jit in ((128, False), (3, True)):
        tf.config.run_functions_eagerly(not jit)
        one = trainer(inputs, momentum=0.2, jit=jit)
        train(one, sessions, size=size)
        weights.append({name: np.asarray(variable) for name, variable in one.model.named.items()})
    for name, array in weights[0].items():
        np.testing.assert_allclose(array, weights[1][name], atol=2e-5, err_msg=name)


def test_dropout_follows_from_the_seed_and_epoch_and_matters(eagerly):
    sessions = sessions_of([5, 2, 7, 3, 6, 2, 4])

    def weights(**options):
        one = trainer(**options)
        train(one, sessions)
        return np.asarray(one.model.named["Wy"])

    np.testing.assert_array_equal(weights(dropout=0.3), weights(dropout=0.3))
    assert not np.allclose(weights(dropout=0.3), weights())


def test_a_row_that_is_gone_is_not_touched(eagerly):
    """Item 11 occurs only as the padding's stand-in would: momentum must not move an item that no live row uses."""
    sessions = Sessions(np.array([1, 2, 3, 4, 5, 6], np.int32), np.array([0, 2, 6]), np.arange(2.0))
    one = trainer("separate", momentum=0.5)
    before = {name: np.asarray(one.model.named[name]).copy() for name in ("E", "Wy", "By")}
    train(one, sessions, count=0)
    for name, array in before.items():
        moved = np.abs(np.asarray(one.model.named[name]) - array).max(axis=1) > 0
        assert not moved[0], name  # item 0 stands in for absent rows


def test_one_event_at_a_time_equals_the_scores_of_all_items():
    one = trainer("shared", layers=(5, 5))
    model = one.model
    hidden = model.start(2)
    for items in ([1, 2], [3, 4]):
        expected = model.core(np.asarray(model.source)[items], hidden)
        scores, hidden = model(np.array(items), hidden)
        np.testing.assert_allclose(hidden[-1], expected[-1], atol=1e-6)
    assert scores.shape == (2, ITEMS)
