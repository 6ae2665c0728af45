from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.epochs import SPEED
from common.negatives import Negatives
from common.training import padded
from session_transformers.architecture import CORRECTED, RELEASED, Architecture
from session_transformers.examples import examples
from session_transformers.fitting import Loss, fit, learning_rate, make_batches, trainer_of
from session_transformers.kinds import RELEASED_IDS
from session_transformers.model import build_model
from session_transformers.options import SessionOptions
from session_transformers.sessions.halves import Halves
from session_transformers.softmax import cross_entropy

SMALL = Architecture(
    "transformer", "seq", 30, width=12, features=4, encoder_layers=1, decoder_layers=1, feed_forward=8, dropout=0.0
)
SKIP = replace(SMALL, task="skip", skip_input="embedding")
BERT = replace(SMALL, model="bert", features=0)
EVERYWHERE = replace(CORRECTED, bert_loss_everywhere=True)
KINDS = {
    "seq": SMALL,
    "skip": SKIP,
    "bert": BERT,
    "bert for tracks": replace(BERT, model="bert-finetuned"),
    "bert for skips": replace(BERT, model="bert-finetuned", task="skip", skip_input="embedding"),
    "everywhere": replace(BERT, model="bert-finetuned", task="skip", switches=EVERYWHERE),
    "augmented": replace(SKIP, model="bert-augmented", bert=BERT),
    "drop-net": replace(SMALL, model="bert-augmented-dropnet", bert=BERT, dropnet=0.5),
    "released": replace(SMALL, ids=RELEASED_IDS, switches=RELEASED),
    "released skip": replace(SKIP, ids=RELEASED_IDS, switches=RELEASED, skip_input="token"),
}
PLAYS = np.array([0, 0, 0, *range(1, 28)], np.int64)


def sessions(count, seed=0):
    """The first has a half of five and one of six tracks."""
    rng = np.random.default_rng(seed)
    tracks = rng.integers(3, 30, (count, 20)).astype(np.int32)
    skips = rng.integers(0, 2, (count, 20)).astype(np.uint8)
    tracks[0, 5:10] = tracks[0, 16:] = skips[0, 5:10] = skips[0, 16:] = 0
    return Halves(tracks, skips)


def model_of(architecture, seed=3):
    features = np.random.default_rng(0).standard_normal((architecture.vocabulary, architecture.features))
    return build_model(architecture, features.astype(np.float32), seed)


def options_of(architecture=SMALL, **changes):
    settings = {"epochs": 1, "batch_size": 16, "learning_rate": 1e-3, "clip": 0.0, "deterministic": True} | changes
    return SessionOptions(task=architecture.task, model=architecture.model, **settings)


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def mean_loss(model, halves, rng=None):
    inputs, labels, weights = examples(model.architecture, halves.tracks, halves.skips, rng or np.random.default_rng(0))
    told = log_softmax(np.asarray(model(inputs)))
    return -(np.take_along_axis(told, labels[..., None], -1)[..., 0] * weights).sum() / weights.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_what_each_model_is_shown_and_asked(kind):
    architecture, halves = KINDS[kind], sessions(4)
    tracks, skips = halves.tracks.copy(), halves.skips.copy()
    inputs, labels, weights = examples(architecture, tracks, skips, np.random.default_rng(0))
    np.testing.assert_array_equal(tracks, halves.tracks)  # memory-mapped: it must stay as it is
    told = {"source_skips"} if architecture.skip_input != "none" else set()
    assert inputs.keys() == {"source", "target"} | told
    assert labels.dtype == np.int32 and weights.dtype == np.float32
    if architecture.model == "bert":
        seen = np.concatenate([inputs["source"], inputs["target"]], axis=1)
        np.testing.assert_array_equal(np.where(weights > 0, labels, seen), tracks)
        assert 0 < weights.sum() < (tracks > 0).sum() and not weights[tracks == 0].any()
        return
    np.testing.assert_array_equal(inputs["source"], halves.source)
    np.testing.assert_array_equal(inputs["target"], halves.target)
    if told:
        np.testing.assert_array_equal(inputs["source_skips"], halves.source_skips)
    if kind == "everywhere":
        expected, there = skips, tracks > 0
    else:
        expected, there = (halves.target_skips if architecture.task == "skip" else halves.target), halves.target > 0
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(weights, there)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_neither_loss_nor_gradients(kind):
    model, halves = model_of(KINDS[kind]), sessions(5)
    inputs, labels, weights = examples(model.architecture, halves.tracks, halves.skips, np.random.default_rng(0))

    def of(rows):
        given = {name: padded(array, rows) for name, array in inputs.items()}
        with tf.GradientTape() as tape:
            hidden = model.hidden(**given, training=False)
            found = cross_entropy(hidden, padded(labels, rows), padded(weights, rows), *model.head.weights_of())
        return found, [
            tf.convert_to_tensor(g) for g in tape.gradient(found, model.trainable_variables) if g is not None
        ]

    (value, gradients), (with_padding, theirs) = of(5), of(9)
    np.testing.assert_allclose(with_padding, value, rtol=1e-6)
    assert len(gradients) == len(theirs) > 10
    for ours, other in zip(gradients, theirs, strict=True):
        np.testing.assert_allclose(ours, other, atol=1e-5)
    expected = mean_loss(model, halves)
    np.testing.assert_allclose(value / weights.sum(), expected, rtol=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("batch_size", [6, 64])  # the second part of 32 rows has no session at all
def test_the_loss_of_a_step_is_the_mean_over_its_labels(batch_size):
    model, halves = model_of(SMALL), sessions(5)
    expected = mean_loss(model, halves)
    trainer, batches = trainer_of(model, options_of(batch_size=batch_size), halves, PLAYS, None, None)
    assert trainer.fit(batches, 1, quiet=True).batch_losses == pytest.approx([expected], rel=1e-5)
    assert mean_loss(model, halves) < expected


@pytest.mark.usefixtures("eagerly")
def test_position_by_position_is_the_same_training(monkeypatch):
    found = {}
    for large in (10**6, 1):
        monkeypatch.setattr("session_transformers.softmax.LOGITS", large)
        model = model_of(SMALL)
        trainer, batches = trainer_of(model, options_of(epochs=3), sessions(12), PLAYS, None, None)
        progress = trainer.fit(batches, 3, quiet=True)
        found[large] = [row["loss"] for row in progress.history], [np.array(v) for v in model.trainable_variables]
    np.testing.assert_allclose(found[1][0], found[10**6][0], rtol=1e-5)
    for ours, theirs in zip(found[1][1], found[10**6][1], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.usefixtures("eagerly")
def test_sampled_softmax_through_the_trainer():
    model, halves = model_of(SMALL), sessions(2)
    options = options_of(batch_size=2, negatives=7, alpha=0.5)  # two parts of one session, each with its negatives
    hidden = np.asarray(model.hidden(halves.source, halves.target))
    table, bias = (np.asarray(value, np.float64) for value in model.head.weights_of())
    sampler = Negatives(PLAYS[3:], 0.5, 7, options.seed)
    log_expected = np.log(np.diff(sampler.function, prepend=0.0) * 7)
    drawn, total, count = sampler.epoch(0), 0.0, 0
    for session in np.random.default_rng((options.seed, 0)).permutation(2):
        negatives = drawn.take(1)[0] + 3
        for state, label in zip(hidden[session], halves.target[session], strict=True):
            if label:
                others = table[negatives] @ state + bias[negatives] - log_expected[negatives - 3]
                own = table[label] @ state + bias[label]
                total += np.log(np.exp(own) + np.exp(others[negatives != label]).sum()) - own
                count += 1
    trainer, batches = trainer_of(model, options, halves, PLAYS, None, None)
    assert trainer.fit(batches, 1, quiet=True).batch_losses == pytest.approx([total / count], rel=1e-5)


def test_batches_follow_from_the_seed_and_the_epoch():
    for architecture, changes in ((BERT, {}), (SMALL, {"negatives": 5})):
        options = options_of(architecture, batch_size=6, **changes)

        def epoch(number, options=options, architecture=architecture):
            batches = make_batches(architecture, sessions(9), options, 2, PLAYS)(number)
            return [[*part.inputs.values(), part.targets, part.weights] for batch in batches for part in batch]

        one, again, other = epoch(0), epoch(0), epoch(1)
        assert len(one) == len(other) == 4  # two batches of two parts, the last one of padding only
        assert [array.shape for part in one for array in part] == [array.shape for part in other for array in part]
        for ours, theirs in zip(one, again, strict=True):
            for array, same in zip(ours, theirs, strict=True):
                np.testing.assert_array_equal(array, same)
        assert any(not np.array_equal(a, b) for a, b in zip(one[0], other[0], strict=True))


def test_all_sessions_are_in_every_epoch():
    halves = sessions(9)
    parts = [part for batch in make_batches(SMALL, halves, options_of(batch_size=4), 2, PLAYS)(5) for part in batch]
    seen = np.concatenate([part.inputs["source"] for part in parts])
    assert sorted(map(tuple, seen[seen[:, 0] > 0])) == sorted(map(tuple, halves.source))


def at(schedule, step):
    return float(schedule(step)) if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule) else schedule


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {0: 1.0, 50: 1.0, 100: 1.0}),
        ({"warmup": 0.2}, {0: 0.0, 10: 0.5, 20: 1.0, 21: 1.0, 100: 1.0}),
        ({"schedule": "cosine"}, {0: 1.0, 25: 0.5 + 0.5**1.5, 50: 0.5, 100: 0.0}),
        ({"schedule": "cosine", "warmup": 0.2}, {0: 0.0, 10: 0.5, 20: 1.0, 60: 0.5, 100: 0.0}),
        ({"schedule": "cosine", "warmup": 1.0}, {0: 0.0, 50: 0.5, 100: 1.0}),
        ({"warmup": 0.001}, {0: 1.0}),
    ],
)
def test_learning_rates(changes, expected):
    schedule = learning_rate(options_of(learning_rate=1.0, **changes), 100)
    assert {step: at(schedule, step) for step in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("eagerly")
def test_the_schedule_counts_the_steps_of_all_epochs():
    options = options_of(epochs=2, batch_size=4, schedule="cosine", learning_rate=0.1)
    trainer, batches = trainer_of(model_of(SMALL), options, sessions(5), PLAYS, None, None)
    trainer.fit(batches, 2, quiet=True)
    assert int(trainer.optimizer.iterations) == 4
    assert float(trainer.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-7)


def test_clipping_bounds_the_norm_of_all_gradients_together():
    trainer, _ = trainer_of(model_of(SMALL), options_of(clip=0.5), sessions(3), PLAYS, None, None)
    assert trainer.optimizer.global_clipnorm == 0.5
    trainer, _ = trainer_of(model_of(SMALL), options_of(), sessions(3), PLAYS, None, None)
    assert trainer.optimizer.global_clipnorm is None


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", ["seq", "skip", "bert", "everywhere"])
def test_the_mean_loss_over_blocks_is_exact(kind):
    model, halves = model_of(KINDS[kind]), sessions(7)
    expected = mean_loss(model, Halves(halves.tracks, halves.skips), np.random.default_rng((1, 2)))
    assert Loss(model, 16, jit=False)(halves, 1) == pytest.approx(expected, rel=1e-5)
    if kind != "bert":  # whose masks are drawn block by block
        assert Loss(model, 3, jit=False)(halves, 1) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("eagerly")
def test_the_epoch_of_the_lowest_validation_loss_stays(tmp_path):
    model, train, validation = model_of(SMALL), sessions(8), sessions(5, seed=9)
    options = options_of(epochs=4, batch_size=4, learning_rate=0.1)
    progress = fit(model, options, train, validation, PLAYS, tmp_path)
    losses = [row["val_loss"] for row in progress.history]
    assert progress.epochs == 4 and progress.best_epoch == int(np.argmin(losses)) + 1 < 4
    assert mean_loss(model, validation) == pytest.approx(min(losses), rel=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_without_validation_the_last_epoch_stays(tmp_path):
    model, none = model_of(SMALL), Halves(np.zeros((0, 20), np.int32), np.zeros((0, 20), np.uint8))
    progress = fit(model, options_of(epochs=2, batch_size=4), sessions(4), none, PLAYS, tmp_path)
    assert progress.best_epoch == 0 and list(progress.history[-1]) == ["epoch", "loss", SPEED]
    assert not any(name.startswith("best.") for name in np.load(tmp_path / "checkpoint.npz").files)
