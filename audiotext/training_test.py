"""Training: batches, early stopping, best and last epoch, resuming, released order, wrong rows, and that it learns."""

import keras
import numpy as np
import pytest
import scipy.sparse as sp

from audiotext import training
from audiotext.audio.scaler import Scaler
from audiotext.losses import half_cosine, unit_rows
from audiotext.model import build, embedding
from audiotext.rows import Patches, as_rows
from audiotext.training import EPSILON, FitOptions, Predictor, batch_rows, check_rows, fit, make_batches
from common.epochs import SPEED
from common.optimizers import make_optimizer
from common.options import UserError
from common.testing import history_of

OPTIONS = FitOptions(epochs=3, batch_size=16, seed=4, jit=False, quiet=True)
ITEMS = 90


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    text = sp.random_array((ITEMS, 30), density=0.2, rng=rng, format="csr")
    return {"text": text, "audio": rng.normal(size=(ITEMS, 8))}, rng.normal(size=(ITEMS, 5)).astype(np.float32)


def network(name="seed", **sizes):
    keras.utils.set_random_seed(3)
    return build(name, **({"factors": 5, "text": 30, "audio": 8, "text_units": (9, 9), "fusion_units": 9} | sizes))


TRAIN, VALIDATION = np.arange(70), np.arange(70, ITEMS)


def test_every_item_is_shown_once_an_epoch_in_an_order_of_its_own():
    orders = [np.concatenate(list(batch_rows(TRAIN, OPTIONS, epoch))) for epoch in (0, 1)]
    assert all(sorted(order) == TRAIN.tolist() for order in orders) and (orders[0] != orders[1]).any()
    assert [len(rows) for rows in batch_rows(TRAIN, OPTIONS, 0)] == [16, 16, 16, 16, 6]
    blocks = list(batch_rows(TRAIN, FitOptions(batch_size=8, block=30), 0))
    assert [len(rows) for rows in blocks] == [8] * 7  # 30, 30 and 10 items: what fills no batch is dropped
    assert (
        [int(rows.max()) // 30 for rows in blocks]
        == [int(rows.min()) // 30 for rows in blocks]
        == [0] * 3 + [1] * 3 + [2]
    )
    with pytest.raises(UserError, match="no batch is full"):
        fit(None, {}, np.zeros((9, 2)), np.arange(9), np.arange(0), FitOptions(batch_size=10, block=20))


def test_parts_of_a_batch_hold_its_rows_and_padding_of_weight_zero(data):
    inputs, targets = data
    batches = list(make_batches(check_rows(inputs, targets), targets, TRAIN, OPTIONS, parts=3)(0))
    assert len(batches) == 5
    for batch, rows in zip(batches, batch_rows(TRAIN, OPTIONS, 0), strict=True):
        assert [part.inputs["text"].shape for part in batch] == [(6, 30)] * 3
        kept = np.concatenate([part.targets[part.weights > 0] for part in batch])
        assert {tuple(row) for row in kept} == {tuple(targets[row]) for row in rows} and len(kept) == len(rows)


def test_stops_when_the_validation_loss_no_longer_falls_and_keeps_the_best(data, tmp_path, monkeypatch):
    inputs, targets = data
    planned = iter([0.5, 0.4, 0.45, 0.4, 0.41, 0.3])
    monkeypatch.setattr(training, "half_cosine", lambda y, p: np.full(len(y), next(planned)))
    kept = {}
    original = training.Trainer._epoch

    def epoch_of(self, *arguments):
        value = original(self, *arguments)
        kept[self.progress.epochs + 1] = np.array(model.get_layer("factors").kernel)
        return value

    monkeypatch.setattr(training.Trainer, "_epoch", epoch_of)
    model = network()
    options = FitOptions(epochs=9, batch_size=16, patience=3, jit=False, quiet=True)
    progress = fit(model, inputs, targets, TRAIN, VALIDATION, options, tmp_path)
    assert [row["val_loss"] for row in progress.history] == pytest.approx([0.5, 0.4, 0.45, 0.4, 0.41])
    assert progress.epochs == 5 and list(progress.history[0]) == ["epoch", "loss", SPEED, "val_loss", "val_mse"]
    assert progress.best_epoch == 2  # the first of equal ones
    np.testing.assert_array_equal(model.get_layer("factors").kernel, kept[progress.best_epoch])
    # A finished run that is resumed with more epochs allowed is still finished.
    again = network()
    resumed = fit(again, inputs, targets, TRAIN, VALIDATION, options, tmp_path, resume=True)
    assert resumed.epochs == 5
    np.testing.assert_array_equal(again.get_layer("factors").kernel, kept[progress.best_epoch])
    # Released: the last weights stay.
    planned = iter([0.5, 0.4, 0.45, 0.4, 0.41, 0.3])
    model = network()
    last = FitOptions(epochs=9, batch_size=16, patience=3, jit=False, quiet=True, restore_best=False)
    assert fit(model, inputs, targets, TRAIN, VALIDATION, last).epochs == 5
    np.testing.assert_array_equal(model.get_layer("factors").kernel, kept[5])


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed", "mm"])
def test_killed_and_resumed_equals_uninterrupted(name, data, tmp_path, monkeypatch):
    inputs, targets = data
    sizes = {}
    if name == "mm":
        patches = np.random.default_rng(1).normal(-40, 9, (ITEMS, 20, 6)).astype(np.float16)
        inputs = {"text": inputs["text"], "audio": Patches(patches, Scaler.fit(patches, TRAIN))}
        sizes = {"frames": 20, "bins": 6, "filters": (4, 4), "kernels": (4, 1), "pools": (2, 2)}
    whole = network(name, **sizes)
    expected = fit(whole, inputs, targets, TRAIN, VALIDATION, OPTIONS, tmp_path / "whole")
    take, calls = type(as_rows(inputs["text"])).take, iter(range(99))

    def deadly(self, rows):
        if next(calls) == 17:  # in the second epoch
            raise Killed
        return take(self, rows)

    with monkeypatch.context() as patch, pytest.raises(BaseException):  # noqa: B017
        patch.setattr(type(as_rows(inputs["text"])), "take", deadly)
        fit(network(name, **sizes), inputs, targets, TRAIN, VALIDATION, OPTIONS, tmp_path / "parts")
    model = network(name, **sizes)
    found = fit(model, inputs, targets, TRAIN, VALIDATION, OPTIONS, tmp_path / "parts", resume=True)
    assert found.best_epoch == expected.best_epoch
    for ours, theirs in zip(model.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert history_of(tmp_path / "parts") == history_of(tmp_path / "whole")


def test_a_target_of_zeros_moves_nothing(data):
    inputs, _ = data
    model = network("mm-lf-lin", fusion_units=0)
    before = model.get_weights()
    fit(model, inputs, np.zeros((ITEMS, 5), np.float32), TRAIN, VALIDATION, FitOptions(epochs=1, jit=False, quiet=True))
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_wrong_rows_and_factors_are_refused(data):
    inputs, targets = data
    with pytest.raises(UserError, match="the input text has 90 rows, the factors 89; both need one row per item"):
        fit(network(), inputs, targets[:-1], TRAIN, VALIDATION, OPTIONS)
    bad = targets.copy()
    bad[[7, 30], 1] = np.nan, np.inf
    with pytest.raises(UserError, match="the factors of 2 items are NaN or infinite, first in row 7"):
        fit(network(), inputs, bad, TRAIN, VALIDATION, OPTIONS)
    with pytest.raises(UserError, match="no item"):
        fit(network(), inputs, targets, TRAIN[:0], VALIDATION, OPTIONS)


def test_predictor_in_blocks_equals_one_call(data):
    inputs, _ = data
    model = network()
    whole = np.asarray(model({name: as_rows(source).take(np.arange(ITEMS)) for name, source in inputs.items()}))
    np.testing.assert_allclose(Predictor(model, 32, jit=False)(inputs), whole, atol=1e-6)
    np.testing.assert_allclose(Predictor(model, 32)(inputs, np.array([80, 3])), whole[[80, 3]], atol=1e-6)
    assert Predictor(model, 8, jit=False)(inputs, np.arange(0)).shape == (0, 5)


def test_adam_has_the_epsilon_of_tartarus(data, monkeypatch):
    made = []
    monkeypatch.setattr(training, "make_optimizer", lambda *options: made.append(make_optimizer(*options)) or made[0])
    inputs, targets = data
    fit(network(), inputs, targets, TRAIN, VALIDATION, OPTIONS)
    assert made[0].epsilon == EPSILON == 1e-8


@pytest.mark.slow
def test_a_text_learns_planted_words_and_nothing_from_noise():
    """Ten topics of five words each give the factors; a hundred other words say nothing."""
    rng = np.random.default_rng(5)
    topics, counts = rng.normal(size=(10, 8)), rng.dirichlet(np.full(10, 0.3), 600)
    words = np.concatenate([np.repeat(counts, 5, axis=1), rng.random((600, 100)) * 0.2], axis=1)
    words = sp.csr_matrix((words * (rng.random(words.shape) < 0.5)).astype(np.float32))
    targets = unit_rows(counts @ topics)
    options = FitOptions(epochs=30, batch_size=32, quiet=True)

    def loss_of(targets):
        keras.utils.set_random_seed(2)
        model = build("a-text", text=150, text_units=(64, 32), factors=8)
        fit(model, {"text": words}, targets, np.arange(400), np.arange(400, 500), options)
        held = np.arange(500, 600)
        return float(np.mean(half_cosine(targets[held], Predictor(model)({"text": words}, held)))), model

    mean = unit_rows(targets[:400].mean(axis=0, keepdims=True))
    chance = float(np.mean(half_cosine(targets[500:], np.repeat(mean, 100, axis=0))))
    learnt, model = loss_of(targets)
    assert learnt < 0.6 * chance
    assert Predictor(embedding(model, "text"))({"text": words}).shape == (600, 32)
    noise, _ = loss_of(unit_rows(rng.normal(size=targets.shape)))
    assert 0.42 < noise < 0.58


@pytest.mark.slow
def test_the_audio_network_tells_two_timbres_apart():
    """Octaves against odd harmonics (in semitones) above a random pitch, at random moments."""
    rng = np.random.default_rng(6)
    harmonics = np.array([[0, 12, 24, 36], [0, 19, 28, 34]])
    kind = rng.integers(0, 2, 240)
    patches = rng.normal(-60, 6, (240, 40, 48)).astype(np.float16)
    for patch, timbre in zip(patches, kind, strict=True):
        start, pitch = rng.integers(0, 20), rng.integers(0, 12)
        patch[start : start + 15, harmonics[timbre] + pitch] += 35
    directions = unit_rows(rng.normal(size=(2, 6)))
    keras.utils.set_random_seed(2)
    sizes = {"filters": (16, 24), "kernels": (4, 4), "pools": (4, 4), "frames": 40, "bins": 48, "factors": 6}
    model = build("audio", **sizes)
    train, validation, held = np.split(np.arange(240), [160, 200])
    rows = Patches(patches, Scaler.fit(patches, train))
    options = FitOptions(epochs=25, batch_size=16, patience=8, jit=False, quiet=True)
    fit(model, {"audio": rows}, directions[kind], train, validation, options)
    scores = Predictor(model)({"audio": rows}, held) @ directions.T
    assert (scores.argmax(axis=1) == kind[held]).mean() > 0.85
