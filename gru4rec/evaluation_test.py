"""Ranks and figures of next items: golden, planted, and the same however they are computed.

Compiled functions are tested against the official ranks, with and without ties, and against uncompiled ones; what does
not ask for them runs eagerly, as compiling takes longer than all else.
"""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest

import gru4rec.evaluation
from common.options import UserError
from common.sessions import Sessions
from gru4rec.batches import session_parallel
from gru4rec.evaluation import Evaluator, NextItemRanks, evaluate, seed_reciprocal_rank
from gru4rec.golden_test import FOLDER, TORCH, load, part, sessions_of
from gru4rec.model import Architecture, Networks
from gru4rec.weights import build, from_official


def made_up(count, items, seed=0, longest=9):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, longest + 1, count))])
    return Sessions(rng.integers(0, items, offsets[-1]).astype(np.int32), offsets, np.arange(count, dtype=float))


def model_of(items, units=(16,), **settings):
    """A model whose scores depend on what has happened."""
    architecture = Architecture(items, units, **settings)
    rng = np.random.default_rng(3)
    features = None
    if architecture.input_table is None:
        features = rng.normal(size=(items, architecture.features)).astype(np.float32)
    model = Networks(architecture, features)
    for variable in model.named.values():
        variable.assign(rng.normal(0, 0.5, variable.shape).astype(np.float32))
    return model


def counts_one_by_one(model, sessions):
    """Greater and equal counts with the model called an event at a time."""
    found = []
    for low, high in zip(sessions.offsets, sessions.offsets[1:], strict=False):
        hidden = model.start(1)
        for place in range(low, high - 1):
            scores, hidden = model(sessions.items[place : place + 1], hidden)
            scores = np.asarray(scores)[0]
            own = scores[sessions.items[place + 1]]
            found.append(((scores > own).sum(), (scores == own).sum()))
    return np.array(found).T


def assert_same(ranks, greater, equal):
    np.testing.assert_array_equal(ranks.greater, greater)
    np.testing.assert_array_equal(ranks.equal, equal)


@pytest.mark.golden
@pytest.mark.parametrize("setting", TORCH)
def test_ranks_and_figures_equal_the_official_ones(setting):
    """With the trained weights and with some that tie; the evaluator is compiled once for both."""
    trained, ties = (load(f"eval_{setting}{ending}") for ending in ("", "_ties"))
    model = build(*from_official(part(trained, "weights/")))
    evaluator = Evaluator(model)
    assert_official(setting, trained, evaluator)
    for name, weight in from_official(part(ties, "weights/"))[1].items():
        model.named[name].assign(weight)
    assert_official(f"{setting}_ties", ties, evaluator)


def assert_official(name, arrays, evaluator):
    sessions = sessions_of(load("batches_test_b32"))
    ours = evaluator(sessions)
    # Their order of events, and, without extra negatives, no batch of a single session: it is left out.
    steps = session_parallel(sessions, 32, least=2 if name.startswith("F") else 1)
    events = steps.events[steps.events >= 0]
    np.testing.assert_array_equal(np.stack([sessions.items[events], sessions.items[events + 1]], 1), arrays["events"])
    predicted = np.delete(np.arange(len(sessions.items)), sessions.offsets[1:] - 1)
    places = np.searchsorted(predicted, events)
    ours = replace(ours, session=ours.session[places], greater=ours.greater[places], equal=ours.equal[places])
    np.testing.assert_array_equal(1 + ours.greater, arrays["rank_standard"])
    np.testing.assert_array_equal(ours.greater + ours.equal, arrays["rank_conservative"])
    np.testing.assert_array_equal(2 * ours.greater + ours.equal + 1, arrays["rank_median_x2"])
    assert (ours.equal.max() > 1) == name.endswith("ties")
    golden = json.loads((FOLDER / "eval_metrics.json").read_text())[name]
    for ties in ("standard", "conservative", "median"):
        figures = ours.figures(ties=ties)
        for key, value in golden[f"ranks_{ties}"].items():
            assert figures[key] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"inputs": "shared"},
        {"inputs": "separate", "embedding": 7, "gru": "cudnn"},
        {"inputs": "one-hot", "units": (16, 8)},
        {"inputs": "content", "features": 5},
        {"inputs": "content-mlp", "features": 5, "gru": "cudnn", "units": (8, 16)},
    ],
    ids=lambda settings: settings["inputs"],
)
def test_ranks_are_those_of_the_model_one_event_at_a_time(settings, eagerly):
    model, sessions = model_of(90, **settings), made_up(12, 90)
    assert_same(evaluate(model, sessions), *counts_one_by_one(model, sessions))


@pytest.mark.parametrize("jit", [True, False])
def test_no_batch_size_changes_a_rank(jit):
    model, sessions = model_of(5000, (32,)), made_up(200, 5000)  # scores this dense differ by rounding alone
    expected = evaluate(model, sessions, 512, jit)
    for batch_size in (1, 31, 3000):
        assert_same(evaluate(model, sessions, batch_size, jit), expected.greater, expected.equal)


@pytest.mark.slow
def test_neither_slabs_nor_tiles_nor_blocks_change_a_rank(monkeypatch):
    model, sessions = model_of(700), made_up(120, 700)
    expected = evaluate(model, sessions)
    for name, value in (("SLAB", 13), ("TILE", 128), ("SCORES", 700 * 20), ("STEPS", 3)):
        monkeypatch.setattr(gru4rec.evaluation, name, value)
        assert_same(evaluate(model, sessions), expected.greater, expected.equal)
    assert Evaluator(model).tiles == 6 and Evaluator(model).rows == 16


@pytest.mark.parametrize("items", [1, 63, 64, 65, 32_704, 32_705, 70_000])
def test_copies_of_an_item_tie_wherever_they_stand(items, eagerly):
    model, sessions = model_of(items), made_up(20, items)
    rng = np.random.default_rng(5)
    of = rng.integers(0, -(-items // 7), items)  # which item each is a copy of
    for name in ("Wy", "By"):
        model.named[name].assign(np.asarray(model.named[name])[of])
    ranks = evaluate(model, sessions)
    targets = np.delete(sessions.items, sessions.offsets[:-1])
    np.testing.assert_array_equal(ranks.equal, np.bincount(of)[of[targets]])


def test_a_constant_model_scores_as_random_in_expectation(eagerly):
    items = 33_000
    model, sessions = Networks(Architecture(items, (8,))), made_up(30, items)
    for variable in model.named.values():
        variable.assign(np.zeros(variable.shape, np.float32))
    ranks = evaluate(model, sessions)
    assert_same(ranks, 0, items)
    figures = ranks.figures()
    assert figures["recall@20"] == pytest.approx(20 / items)
    for name in ("mrr@20", "mrr@20_session", "mrr@20_seed"):  # upside down or not: every rank is as likely as any other
        assert figures[name] == pytest.approx((1 / np.arange(1, 21)).sum() / items)
    assert ranks.figures(ties="standard")["recall@1"] == 1
    assert ranks.figures(ties="conservative")["recall@20"] == ranks.figures(ties="median")["recall@20"] == 0


def test_an_evaluator_uses_the_weights_of_the_moment():
    model, sessions = model_of(50), made_up(20, 50)
    evaluator = Evaluator(model)
    before = evaluator(sessions)
    model.named["Wy"].assign(-np.asarray(model.named["Wy"]))
    assert (evaluator(sessions).greater != before.greater).any()
    assert_same(evaluator(sessions), *counts_one_by_one(model, sessions))


def test_the_precision_of_the_layers_does_not_matter(eagerly):
    sessions = made_up(20, 50)
    expected = evaluate(model_of(50), sessions)
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_bfloat16")
        assert_same(evaluate(model_of(50), sessions), expected.greater, expected.equal)
    finally:
        keras.config.set_dtype_policy(before)


@pytest.mark.parametrize(("name", "value"), [("Wy", np.nan), ("Bx0", np.nan), ("By", -np.inf)])
def test_a_diverged_model_is_no_perfect_one(name, value, eagerly):
    model, sessions = model_of(50), made_up(20, 50)
    model.named[name].assign(np.full(model.named[name].shape, value, np.float32))
    with pytest.raises(UserError, match="diverged"):
        evaluate(model, sessions)


def test_sessions_without_a_next_event_give_no_ranks(eagerly):
    for sessions in (made_up(5, 50, longest=1), made_up(0, 50)):
        ranks = evaluate(model_of(50), sessions)
        assert len(ranks) == 0
        assert all(np.isnan(value) for value in ranks.figures().values())


def test_figures_of_planted_ranks_by_event_and_by_session():
    # Ranks 1, 3 | 2..3 | 21: the middle one is tied with one other item.
    ranks = NextItemRanks(np.array([0, 0, 2, 5]), np.array([0, 2, 1, 20]), np.array([1, 1, 2, 1]), 100)
    figures = ranks.figures((2, 20))
    assert figures["recall@2"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    assert figures["recall@2_session"] == pytest.approx((0.5 + 0.5 + 0) / 3)
    assert figures["mrr@20"] == pytest.approx((1 + 1 / 3 + (1 / 2 + 1 / 3) / 2 + 0) / 4)
    assert figures["mrr@20_session"] == pytest.approx(((1 + 1 / 3) / 2 + (1 / 2 + 1 / 3) / 2 + 0) / 3)
    assert figures["mrr@20_seed"] == pytest.approx((1 / 20 + 1 / 18 + (1 / 19 + 1 / 18) / 2 + 0) / 4)
    assert ranks.figures((2,), "standard")["recall@2"] == 0.5
    assert ranks.figures((2,), "median")["mrr@2"] == 0.25  # rank 2.5 is not in the top 2
    assert "mrr@2_seed" not in ranks.figures((2,), "median")


def test_the_seed_s_reciprocal_rank_is_upside_down():
    best, last, below = (seed_reciprocal_rank(np.array([above]), np.array([1]), 20)[0] for above in (0, 19, 20))
    assert (best, last, below) == (pytest.approx(0.05), 1.0, 0.0)
