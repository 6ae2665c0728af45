from dataclasses import asdict, replace
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.options import UserError
from common.runtime import is_seed, reseed
from common.weights import load_own_weights, save_own_weights
from session_transformers.architecture import (
    CORRECTED,
    DEFAULTS,
    RELEASED,
    Architecture,
    default_architecture,
    default_skip_input,
    from_json,
)
from session_transformers.initial import slots
from session_transformers.kinds import CORRECTED_IDS, RELEASED_IDS
from session_transformers.layers import DropNet
from session_transformers.model import build_model, copy_pretrained, decoder_inputs, last_tracks
from session_transformers.softmax import cross_entropy

BERT = Architecture("bert", "seq", 30, width=12, features=0, encoder_layers=1, feed_forward=16, half=5, dropout=0.5)
SMALL = Architecture(
    "transformer", "seq", 30, width=12, features=4, encoder_layers=1, feed_forward=16, half=5, dropout=0.5
)
SKIP = replace(SMALL, task="skip", skip_input="embedding")
KINDS = {
    "seq": SMALL,
    "skip": SKIP,
    "skip by token": replace(SKIP, skip_input="token"),
    "bert": BERT,
    "bert for tracks": replace(BERT, model="bert-finetuned"),
    "bert for skips": replace(BERT, model="bert-finetuned", task="skip", skip_input="embedding"),
    "augmented": replace(SMALL, model="bert-augmented", bert=BERT),
    "augmented skip": replace(SKIP, model="bert-augmented", bert=BERT),
    "drop-net": replace(SMALL, model="bert-augmented-dropnet", bert=BERT, dropnet=0.8),
    "tied": replace(SMALL, tied=True),
    "released": replace(SMALL, ids=RELEASED_IDS, switches=RELEASED),
}
DECODERS = [name for name in KINDS if not name.startswith("bert")]


def table(architecture):
    shape = (architecture.vocabulary, architecture.features)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def model_of(name, seed=3):
    architecture = KINDS[name]
    return build_model(architecture, table(architecture), seed)


def sessions(rows=6, half=5):
    rng = np.random.default_rng(5)
    return {
        "source": rng.integers(3, 30, (rows, half)),
        "target": rng.integers(3, 30, (rows, half)),
        "source_skips": rng.integers(0, 2, (rows, half)),
    }


@cache
def unchanged(name):
    """A model for tests that change nothing in it."""
    return model_of(name)


@pytest.fixture(params=KINDS)
def model(request):
    return unchanged(request.param)


def assert_close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), np.asarray(theirs), atol=2e-5)


def test_shapes_and_weights_of_the_output_layer(model):
    architecture, given = model.architecture, sessions()
    hidden = model.hidden(**given)
    steps = 10 if architecture.model == "bert" else 5
    assert hidden.shape == (6, steps, 12)
    logits = model(given)
    assert logits.shape == (6, steps, architecture.classes) and logits.dtype == "float32"
    weights, bias = model.head.weights_of()
    assert_close(hidden @ tf.transpose(weights) + bias, logits)
    shares = np.asarray(tf.nn.softmax(logits))
    assert (shares[..., : architecture.impossible] == 0).all()


def test_weights_are_saved_and_loaded(model, tmp_path):
    path = tmp_path / "model.weights.h5"
    save_own_weights(path, model)
    other = build_model(model.architecture, table(model.architecture), seed=4)
    load_own_weights(other, path)
    np.testing.assert_array_equal(other(sessions()), model(sessions()))


@pytest.mark.parametrize("name", ["skip", "bert", "drop-net"])
def test_same_seed_same_weights_and_same_dropout(name):
    model = model_of(name)
    twin = build_model(model.architecture, table(model.architecture), seed=3)
    other = build_model(model.architecture, table(model.architecture), seed=4)
    for one, two in zip(model.weights, twin.weights, strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, two) for one, two in zip(model.weights, other.weights, strict=True))
    np.testing.assert_array_equal(model(sessions(), training=True), twin(sessions(), training=True))
    assert not np.allclose(model(sessions(), training=True), model(sessions(), training=True))
    for again in (model, twin):
        reseed(again, 1, 2)
    np.testing.assert_array_equal(model(sessions(), training=True), twin(sessions(), training=True))


def test_one_session_as_among_many(model):
    given = sessions()
    together = model(given)
    for row in (0, 4):
        assert_close(model({name: array[row : row + 1] for name, array in given.items()})[0], together[row])


@pytest.mark.parametrize("name", [name for name in KINDS if name != "released"])
def test_padding_changes_nothing(name):
    model = model_of(name)
    given = sessions()
    given["source"][:, -2:] = 0
    before = np.asarray(model(given))
    # What stands at padding must not be looked at: neither its embedding nor its skips.
    given["source_skips"][:, -2:] = 1 - given["source_skips"][:, -2:]
    for layer in (model, model.bert) if getattr(model, "bert", None) else (model,):
        values = np.array(layer.embedding.tracks)
        values[0] += 7
        layer.embedding.tracks.assign(values)
    after = np.asarray(model(given))
    there = np.ones(before.shape[1], bool)
    if model.architecture.model == "bert":
        there[3:5] = False  # the states of the padding itself
    assert_close(after[:, there], before[:, there])


@pytest.mark.parametrize("name", DECODERS)
def test_later_tracks_do_not_change_earlier_states(name):
    model, given = unchanged(name), sessions()
    before = np.asarray(model(given))
    for step in (1, 4):
        changed = given | {"target": given["target"].copy()}
        changed["target"][:, step] = (changed["target"][:, step] - 3 + 1) % 27 + 3
        after = np.asarray(model(changed))
        first = step + (model.architecture.task == "seq")  # the track itself is to be predicted
        np.testing.assert_array_equal(after[:, :first], before[:, :first])
        if first < 5:
            assert not np.allclose(after[:, first], before[:, first])


def test_a_bert_for_tracks_does_not_see_the_second_half():
    model, given = unchanged("bert for tracks"), sessions()
    np.testing.assert_array_equal(model(given), model(given | {"target": given["target"][::-1]}))


@pytest.mark.parametrize("name", ["skip", "skip by token", "bert for skips", "augmented skip"])
def test_skips_are_told_in_evaluation_too(name):
    model, given = unchanged(name), sessions()
    assert not np.allclose(model(given), model(given | {"source_skips": 1 - given["source_skips"]}))


def test_decoder_inputs_start_from_the_last_track_there_is():
    source = np.array([[3, 4, 5], [6, 7, 0], [8, 0, 0]])
    np.testing.assert_array_equal(last_tracks(source), [[5], [7], [8]])
    np.testing.assert_array_equal(decoder_inputs(source, source + 9), [[5, 12, 13], [7, 15, 16], [8, 17, 9]])


@pytest.mark.parametrize("train_mode", [False, True])
def test_the_bert_inside_is_frozen(train_mode):
    switches = replace(CORRECTED, bert_train_mode=train_mode)
    architecture = replace(SMALL, model="bert-augmented", bert=BERT, dropout=0.0, switches=switches)
    model = build_model(architecture, table(architecture))
    inside = {id(weight) for weight in model.bert.weights}
    assert inside and not inside & {id(weight) for weight in model.trainable_weights}
    given = sessions()
    with tf.GradientTape() as tape:
        tape.watch([weight.value for weight in model.bert.trainable_weights])
        value = tf.reduce_sum(tf.square(model(given, training=True)))
    found = tape.gradient(value, [weight.value for weight in model.bert.weights if not is_seed(weight)])
    assert all(gradient is None for gradient in found)
    same = np.array_equal(model(given, training=True), model(given, training=True))
    assert same != train_mode  # its dropout is the only one
    source = given["source"]
    known = np.asarray(model.features(source))
    np.testing.assert_array_equal(model(given | {"bert": known}), model(given))


def test_drop_net_draws_as_often_as_asked():
    layer = DropNet(0.8, False, seed=1)
    draws = np.array([layer(training=True) for _ in range(600)])
    np.testing.assert_allclose(draws.sum(1), 1)
    shares = [(draws[:, 0] == value).mean() for value in (1.0, 0.0, 0.5)]
    np.testing.assert_allclose(shares, [0.4, 0.4, 0.2], atol=0.06)
    assert layer(training=False) == (0.5, 0.5)
    assert DropNet(0.8, True, seed=1)(training=False) != (0.5, 0.5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("name", ["skip", "drop-net"])
def test_mixed_precision(name, policy):
    exact = unchanged(name)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = model_of(name)
        for from_, to in zip(exact.weights, model.weights, strict=True):
            to.assign(from_)
    finally:
        keras.config.set_dtype_policy(before)
    given = sessions()
    given["source"][:, -1] = 0
    assert model.head.weights_of()[0].dtype == "float32" and model(given).dtype == "float32"
    assert model.hidden(**given).dtype == policy.removeprefix("mixed_")
    np.testing.assert_allclose(model(given), exact(given), atol=0.1)
    with tf.GradientTape() as tape:
        hidden = model.hidden(**given, training=True)
        labels = np.ones(hidden.shape[:2], int) * (model.architecture.classes - 1)
        loss = cross_entropy(hidden, labels, np.ones(labels.shape), *model.head.weights_of())
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    assert np.isfinite(loss) and gradients[0] is not None
    assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)


def test_start_weights_are_torch_s():
    architecture = replace(SMALL, vocabulary=400, width=64, features=8, feed_forward=128)
    model = build_model(architecture, table(architecture))
    found = {name: slot.get() for name, slot in slots(model).items()}
    np.testing.assert_array_equal(found["feat_embed.weight"], table(architecture))
    assert found["track_embed.weight"].std() == pytest.approx(1, abs=0.02)
    layer = "transformer_decoder.layers.1"
    for name, bound in {
        f"{layer}.multihead_attn.in_proj_weight": (6 / (4 * 64)) ** 0.5,
        f"{layer}.self_attn.out_proj.weight": 1 / 8,
        f"{layer}.linear1.weight": 1 / 8,
        f"{layer}.linear1.bias": 1 / 8,
        f"{layer}.linear2.weight": 1 / 128**0.5,
        "fc.weight": 1 / 8,
    }.items():
        assert 0.95 * bound < np.abs(found[name]).max() <= bound, name
    for name in ("self_attn.in_proj_bias", "self_attn.out_proj.bias", "norm1.bias"):
        assert not found[f"{layer}.{name}"].any()
    assert (found[f"{layer}.norm3.weight"] == 1).all()
    small = build_model(architecture, table(architecture), scheme="normal")
    for name, slot in slots(small).items():
        if len(slot.shape()) > 1 and name != "feat_embed.weight":
            assert slot.get().std() == pytest.approx(0.02, rel=0.1), name


@pytest.mark.parametrize("equal", [False, True])
def test_layers_of_a_stack_start_different_unless_switched(equal):
    for name, whole in (("seq", False), ("skip", True)):
        switches = replace(CORRECTED, equal_layers=equal)
        architecture = replace(KINDS[name], switches=switches)
        model = build_model(architecture, table(architecture))
        first, second = (layer.inner.kernel for layer in model.decoder)
        assert np.array_equal(first, second) == (equal and not whole)  # nn.Transformer draws anew


def test_pretrained_weights_are_copied():
    pretrained = build_model(BERT, seed=8)
    given = sessions()
    tuned = model_of("bert for tracks")
    copy_pretrained(tuned, pretrained)
    masked = given | {"target": np.ones_like(given["target"])}
    np.testing.assert_array_equal(tuned(given), pretrained(masked)[:, 5:])
    augmented = model_of("augmented")
    copy_pretrained(augmented, pretrained)
    np.testing.assert_array_equal(augmented.features(given["source"]), pretrained.encode(given["source"]))
    for_skips = model_of("bert for skips")
    head = np.array(for_skips.head.kernel)
    copy_pretrained(for_skips, pretrained)
    tokens = np.concatenate([given["source"], given["target"]], axis=1)
    np.testing.assert_array_equal(for_skips.encode(tokens), pretrained.encode(tokens))
    np.testing.assert_array_equal(for_skips.head.kernel, head)
    with pytest.raises(UserError, match="no place for a pre-trained BERT"):
        copy_pretrained(model_of("seq"), pretrained)
    with pytest.raises(UserError, match=r"embed_src.weight has shape"):
        copy_pretrained(tuned, build_model(replace(BERT, vocabulary=31)))


@pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS)
def test_architectures_go_to_json_and_back(architecture):
    assert from_json(asdict(architecture)) == architecture


def test_sizes_that_do_not_go_together():
    with pytest.raises(UserError, match="width 12 cannot be split among 5 heads"):
        replace(SMALL, heads=5)
    with pytest.raises(UserError, match="width 4 holds the 4 features"):
        replace(SMALL, width=4)
    with pytest.raises(UserError, match="BERT is 14 wide, the model 12"):
        replace(SMALL, model="bert-augmented", bert=replace(BERT, width=14))
    with pytest.raises(UserError, match="BERT knows 31 ids, the data have 30"):
        replace(SMALL, model="bert-augmented", bert=replace(BERT, vocabulary=31))
    with pytest.raises(UserError, match="--model bert has no --task skip"):
        default_architecture("bert", "skip", 30, 4, CORRECTED_IDS)
    with pytest.raises(UserError, match="not the architecture"):
        from_json({"model": "bert"})
    with pytest.raises(UserError, match=r"shape \(30, 4\); found None"):
        build_model(SMALL)
    with pytest.raises(UserError, match="no BERT of its own"):
        build_model(replace(SMALL, model="bert-augmented"), table(SMALL))(sessions())


# Parameters of the released models with 103,910 ids, in millions. Among them are some that nothing uses: a second
# feature table, and the layers that the stacks are copied from.
MEASURED = {
    ("transformer", "seq"): 71.2,
    ("transformer", "skip"): 21.0,
    ("bert", "seq"): 59.9,
    ("bert-augmented", "seq"): 66.3,
    ("bert-augmented", "skip"): 39.6,
}


def count(model):
    return sum(np.prod(slot.shape()) for slot in slots(model).values())


@pytest.mark.parametrize(("model_name", "task"), MEASURED)
def test_parameters_of_the_released_models(model_name, task):
    switches = replace(RELEASED, load_features=False)
    architecture = default_architecture(model_name, task, 103_910, 26, RELEASED_IDS, switches)
    small = build_model(replace(architecture, vocabulary=10))
    tables = architecture.width + (0 if task == "skip" else architecture.width + 1)
    used = count(small) + (103_910 - 10) * tables
    layers = [small.encoder[0]] + ([] if model_name == "bert" else [small.decoder[0]])
    template = sum(weight.shape.num_elements() for layer in layers for weight in layer.trainable_weights)
    if architecture.whole:
        template = 0
    dead = 103_910 * architecture.features + template
    assert (used + dead) / 1e6 == pytest.approx(MEASURED[model_name, task], abs=0.06)


def test_every_default_makes_a_model():
    bert = default_architecture("bert", "seq", 40, 29, CORRECTED_IDS, heads=4, width=64)
    for (name, task), setting in DEFAULTS.items():
        for switches in (CORRECTED, RELEASED):
            ids = RELEASED_IDS if switches == RELEASED else CORRECTED_IDS
            pretrained = None if name in ("transformer", "bert") else bert
            found = default_architecture(name, task, 40, 29, ids, switches, pretrained, feed_forward=8)
            assert found.width == (64 if pretrained else setting.width)
            assert found.skip_input == default_skip_input(name, task, switches == RELEASED)


def test_the_output_layer_stays_exact_where_another_layer_reads_it():
    """As the trainer does: in float16 what cannot be would score -inf, and a weight of 0 would not undo it."""

    class Objective(keras.layers.Layer):
        def call(self, _):
            return model.head.weights_of()

    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = model_of("bert")
        weights = Objective()(np.zeros((1, 1), np.float32))
    finally:
        keras.config.set_dtype_policy("float32")
    assert [array.dtype for array in weights] == ["float32", "float32"] and np.isfinite(weights[1]).all()
