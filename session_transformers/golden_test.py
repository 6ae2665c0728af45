"""The transformers against the released PyTorch code: every output, loss and gradient, and each named repair."""

from dataclasses import replace
from functools import cache

import keras
import numpy as np
import pytest
import tensorflow as tf

from common.metrics import mean_average_accuracy
from conftest import GOLDEN
from session_transformers.architecture import RELEASED
from session_transformers.decoding import Search, continue_sessions
from session_transformers.initial import slots
from session_transformers.kinds import RELEASED_IDS
from session_transformers.masking import mask_by, mask_second_half, next_tracks
from session_transformers.model import build_model, decoder_inputs
from session_transformers.released import architecture_of, from_torch, to_torch
from session_transformers.softmax import cross_entropy

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "session_transformers"
NAMES = (
    "seq_transformer",
    "skip_transformer",
    "bert",
    "bert_augmented_seq",
    "bert_augmented_skip",
    "bert_augmented_dropnet",
)
AUGMENTED = ("bert_augmented_seq", "bert_augmented_skip")


@cache
def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def part(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def released_model(arrays, weights=None, switches=RELEASED, **changes):
    weights = weights or part(arrays, "w__")
    heads = int(arrays["cfg_heads"])
    model = build_model(architecture_of(weights, heads, dropout=0.0, switches=switches, **changes))
    from_torch(model, weights)
    return model


def inputs(arrays):
    found = {"source": arrays["in_src"], "target": arrays["in_tgt"]}
    return found | ({"bert": arrays["in_bert_features"]} if "in_bert_features" in arrays else {})


def halves(tokens):
    half = tokens.shape[1] // 2
    return {"source": tokens[:, :half], "target": tokens[:, half:]}


def assert_close(ours, theirs, tolerance=1e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=tolerance * np.abs(theirs).max())


def mean_loss(model, hidden, labels, counts):
    weights = counts / counts.sum()
    return cross_entropy(hidden, labels, weights.astype(np.float32), *model.head.weights_of())


def assert_loss_and_gradients(model, arrays, given, labels, counts, loss):
    """Also that exactly the weights without a golden gradient have none here."""
    named = slots(model)
    with tf.GradientTape() as tape:
        value = mean_loss(model, model.hidden(**given), labels, counts)
    gradients = tape.gradient(value, [[v.value for v in slot.variables] for slot in named.values()])
    assert float(value) == pytest.approx(float(arrays[loss]), rel=1e-5)
    found = {}
    for (name, slot), parts in zip(named.items(), gradients, strict=True):
        if all(gradient is not None for gradient in parts):
            found[name] = slot.join([tf.convert_to_tensor(gradient) for gradient in parts])
    expected = part(arrays, "g__")
    assert found.keys() == expected.keys()
    # Relative to the largest gradient: some are zero but for rounding (a key's bias moves no softmax).
    largest = max(np.abs(array).max() for array in expected.values())
    for name, array in expected.items():
        own = max(np.abs(array).max(), 1e-2 * largest)
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-5 * own, err_msg=name)
    return found


def maa(tokens, truth):
    return mean_average_accuracy(truth, tokens)


@pytest.fixture(params=NAMES)
def file(request):
    return load(request.param)


def test_weights_go_to_torch_and_back(file):
    weights = part(file, "w__")
    model = released_model(file)
    exported = to_torch(model)
    dead = weights.keys() - exported.keys()
    assert dead <= {"feat_embed.weights", "skip_embed.weight"} and exported.keys() <= weights.keys()
    for name, array in exported.items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)
    architecture = model.architecture
    assert architecture.vocabulary == file["cfg_vocab"] and architecture.feed_forward == file["cfg_ff"]
    assert architecture.encoder_layers == file["cfg_layers"] and architecture.half == file["cfg_half"]


class TestSequence:
    @pytest.fixture
    def arrays(self):
        return load("seq_transformer")

    @pytest.fixture
    def model(self, arrays):
        return released_model(arrays)

    def test_every_stage(self, arrays, model):
        np.testing.assert_array_equal(decoder_inputs(arrays["in_src"], arrays["in_tgt"]), arrays["out_tgt_in"])
        assert_close(model.embed(arrays["in_src"]), arrays["out_embed_src"])
        assert_close(model.encode(arrays["in_src"]).states, arrays["out_encoder"])
        hidden = model.hidden(**inputs(arrays))
        assert_close(hidden, arrays["out_decoder"])
        assert_close(model.head(hidden), arrays["out_logits"])
        assert_close(model(inputs(arrays)), arrays["out_logits"])
        chosen = np.argmax(model(inputs(arrays)), axis=-1)
        assert maa(chosen, arrays["in_tgt"]) == pytest.approx(float(arrays["out_maa_teacher_forced"]), abs=1e-7)

    def test_loss_and_gradients(self, arrays, model):
        labels = arrays["in_tgt"]
        assert_loss_and_gradients(model, arrays, inputs(arrays), labels, labels != 0, "out_loss")

    def test_padded_targets_do_not_count(self, arrays, model):
        labels = arrays["in_tgt_padded"]
        hidden = model.hidden(arrays["in_src"], arrays["in_tgt"])
        assert float(mean_loss(model, hidden, labels, labels != 0)) == pytest.approx(
            float(arrays["out_loss_padded"]), rel=1e-5
        )

    def test_greedy_decoding(self, arrays, model):
        found = continue_sessions(Search(model), arrays["in_src"], with_hidden=True)
        tokens = found.tokens[:, 0]
        logits = np.asarray(model.head(found.hidden[:, 0]))
        np.testing.assert_array_equal(tokens, arrays["out_greedy_pred"])
        np.testing.assert_array_equal(decoder_inputs(arrays["in_src"], tokens), arrays["out_greedy_inputs"])
        assert_close(logits, arrays["out_greedy_logits"])
        assert maa(tokens, arrays["in_tgt"]) == pytest.approx(float(arrays["out_greedy_maa"]), abs=1e-7)
        loss = mean_loss(model, found.hidden[:, 0], arrays["in_tgt"], np.ones(tokens.shape))
        assert float(loss) == pytest.approx(float(arrays["out_greedy_loss"]), rel=1e-5)

    def test_skip_rows(self, arrays):
        told = released_model(arrays, skip_input="embedding")
        assert_close(told.embed(arrays["in_src"], arrays["in_src_skips"]), arrays["out_embed_src_with_skips"])

    def test_repair_of_the_feature_table(self, arrays):
        weights = part(arrays, "w__") | {"feat_embed.weight": arrays["fix_feat_table_normalised"]}
        assert_close(released_model(arrays, weights)(inputs(arrays)), arrays["fix_logits_feats_loaded"])


class TestSkips:
    @pytest.fixture
    def arrays(self):
        return load("skip_transformer")

    def test_logits_loss_and_gradients(self, arrays):
        model = released_model(arrays)
        logits = np.asarray(model(inputs(arrays)))
        assert_close(logits, arrays["out_logits"])
        assert maa(logits.argmax(-1), arrays["in_tgt_skips"]) == pytest.approx(float(arrays["out_maa"]), abs=1e-7)
        labels = arrays["in_tgt_skips"]
        assert_loss_and_gradients(model, arrays, inputs(arrays), labels, np.ones(labels.shape), "out_loss")

    def test_skipped_tracks_are_replaced_in_training_only_unless_repaired(self, arrays):
        told = inputs(arrays) | {"source_skips": arrays["in_src_skips"]}
        as_is = released_model(arrays)
        repaired = released_model(arrays, switches=replace(RELEASED, mask_skips_eval=True))
        np.testing.assert_array_equal(
            as_is.shown(arrays["in_src"], arrays["in_src_skips"], True), arrays["in_src_masked"]
        )
        assert_close(as_is(told, training=True), arrays["out_logits_masked"])
        assert_close(as_is(told, training=False), arrays["out_logits"])
        assert_close(repaired(told, training=False), arrays["out_logits_masked"])
        labels = arrays["in_tgt_skips"]
        loss = mean_loss(repaired, repaired.hidden(**told), labels, np.ones(labels.shape))
        assert float(loss) == pytest.approx(float(arrays["out_loss_masked"]), rel=1e-5)
        chosen = np.argmax(repaired(told), axis=-1)
        assert maa(chosen, labels) == pytest.approx(float(arrays["out_maa_masked"]), abs=1e-7)

    def test_padding_masks(self, arrays):
        model = released_model(arrays, switches=replace(RELEASED, padding_mask=True))
        padded = {"source": arrays["in_src_padded"], "target": arrays["in_tgt_padded"]}
        assert_close(model(padded), arrays["out_logits_padding"])


class TestBert:
    @pytest.fixture
    def arrays(self):
        return load("bert")

    @pytest.fixture
    def model(self, arrays):
        return released_model(arrays)

    def test_masks_from_given_draws(self, arrays):
        # The random ids came from another draw: they are what stands in the masked input.
        masked, labels = mask_by(arrays["in_full"], arrays["in_mask_uniform_draws"], arrays["in_masked"], RELEASED_IDS)
        np.testing.assert_array_equal(masked, arrays["in_masked"])
        np.testing.assert_array_equal(labels, arrays["in_mask_labels"])
        second, labels = mask_second_half(arrays["in_full"], RELEASED_IDS)
        np.testing.assert_array_equal(second, arrays["in_second_half_masked"])
        np.testing.assert_array_equal(labels[:, labels.shape[1] // 2 :], halves(arrays["in_full"])["target"])

    def test_logits_loss_gradients_and_their_norm(self, arrays, model):
        given, labels = halves(arrays["in_masked"]), arrays["in_mask_labels"]
        logits = np.asarray(model(given))
        assert_close(logits, arrays["out_logits"])
        right = (logits.argmax(-1) == labels)[labels != 0]
        assert right.mean() == pytest.approx(float(arrays["out_mlm_accuracy"]), abs=1e-7)
        found = assert_loss_and_gradients(model, arrays, given, labels, labels != 0, "out_loss")
        norm = np.sqrt(sum(np.square(array.astype(np.float64)).sum() for array in found.values()))
        assert norm == pytest.approx(float(arrays["out_grad_norm_before_clip"]), rel=1e-5)

    def test_fine_tuned_for_tracks(self, arrays, model):
        full = halves(arrays["in_full"])
        logits = np.asarray(model(halves(arrays["in_second_half_masked"])))
        assert_close(logits, arrays["out_logits_second_half_masked"])
        tuned = released_model(arrays, model="bert-finetuned")
        hidden = tuned.hidden(**full)
        half = full["target"].shape[1]
        assert_close(tuned.head(hidden), arrays["out_logits_second_half_masked"][:, half:])
        loss = mean_loss(tuned, hidden, full["target"], np.ones(full["target"].shape))
        assert float(loss) == pytest.approx(float(arrays["out_loss_second_half"]), rel=1e-5)
        found = continue_sessions(Search(tuned), full["source"])
        np.testing.assert_array_equal(found.tokens[:, 0], logits[:, half:].argmax(-1))
        assert maa(found.tokens[:, 0], full["target"]) == pytest.approx(float(arrays["out_maa_second_half"]), abs=1e-7)

    def test_the_leaky_next_track_form(self, arrays, model):
        tokens, _ = next_tracks(arrays["in_full"])
        assert_close(model.head(model.encode(tokens)), arrays[f"out_logits_next_token_{tokens.shape[1]}"])

    def test_features_for_augmented_models(self, arrays, model):
        assert_close(model.encode(arrays["in_src"]), arrays["out_features_half"])

    def test_fine_tuned_for_skips(self, arrays):
        weights = part(arrays, "w__") | {f"fc.{name}": a for name, a in part(arrays, "w_skiphead__").items()}
        model = released_model(arrays, weights)
        assert (model.architecture.model, model.architecture.task) == ("bert-finetuned", "skip")
        given, labels = halves(arrays["in_full"]), arrays["in_full_skips"]
        logits = np.asarray(model(given))
        assert_close(logits, arrays["out_skip_logits"])
        loss = mean_loss(model, model.hidden(**given), labels, np.ones(labels.shape))
        assert float(loss) == pytest.approx(float(arrays["out_skip_loss"]), rel=1e-5)
        half = labels.shape[1] // 2
        found = maa(logits.argmax(-1)[:, half:], labels[:, half:])
        assert found == pytest.approx(float(arrays["out_skip_maa_second_half"]), abs=1e-7)
        corrected = released_model(arrays, weights, switches=replace(RELEASED, bert_loss_everywhere=False))
        assert_close(corrected(given), arrays["out_skip_logits"][:, half:])


@pytest.mark.parametrize("name", AUGMENTED)
class TestAugmented:
    def test_logits_loss_and_gradients(self, name):
        arrays = load(name)
        model = released_model(arrays)
        given = inputs(arrays)
        logits = np.asarray(model(given))
        assert_close(model.encode(given["source"], bert=given["bert"]).states, arrays["out_encoder"])
        assert_close(logits, arrays["out_logits"])
        labels = arrays["in_tgt_skips" if name.endswith("skip") else "in_tgt"]
        assert maa(logits.argmax(-1), labels) == pytest.approx(float(arrays["out_maa_forward"]), abs=1e-7)
        assert_loss_and_gradients(model, arrays, given, labels, np.ones(labels.shape), "out_loss")

    def test_repair_of_the_residual(self, name):
        arrays = load(name)
        model = released_model(arrays, switches=replace(RELEASED, decoder_residual=True))
        assert_close(model(inputs(arrays)), arrays["fix_logits_decoder_residual"])
        if name.endswith("seq"):
            found = continue_sessions(
                Search(model), arrays["in_src"], bert=arrays["in_bert_features"], with_hidden=True
            )
            assert_close(model.head(found.hidden[:, 0]), arrays["fix_greedy_logits_decoder_residual"])


def test_augmented_greedy_decoding():
    arrays = load("bert_augmented_seq")
    model = released_model(arrays)
    found = continue_sessions(Search(model), arrays["in_src"], bert=arrays["in_bert_features"], with_hidden=True)
    tokens = found.tokens[:, 0]
    np.testing.assert_array_equal(tokens, arrays["out_greedy_pred"])
    np.testing.assert_array_equal(decoder_inputs(arrays["in_src"], tokens), arrays["out_greedy_inputs"])
    assert_close(model.head(found.hidden[:, 0]), arrays["out_greedy_logits"])
    assert maa(tokens, arrays["in_tgt"]) == pytest.approx(float(arrays["out_greedy_maa"]), abs=1e-7)


class TestDropNet:
    @pytest.fixture
    def arrays(self):
        return load("bert_augmented_dropnet")

    @pytest.fixture
    def model(self, arrays):
        return released_model(arrays, model="bert-augmented-dropnet", dropnet=float(arrays["cfg_p_net"]))

    def fix_draws(self, monkeypatch, u):
        monkeypatch.setattr(keras.random, "uniform", lambda shape, seed: tf.constant(u, tf.float32))

    @pytest.mark.parametrize(("u", "label"), [(0.0, "u000"), (0.5, "u050"), (0.999, "u099")])
    @pytest.mark.parametrize(("training", "flag"), [(True, "trainflag"), (False, "evalflag")])
    def test_draws(self, arrays, model, monkeypatch, u, label, training, flag):
        self.fix_draws(monkeypatch, u)
        assert_close(model(inputs(arrays), training=training), arrays[f"out_logits_{flag}_{label}"])

    def test_repaired_evaluation_draws_nothing(self, arrays, monkeypatch):
        changes = {"model": "bert-augmented-dropnet", "dropnet": float(arrays["cfg_p_net"])}
        model = released_model(arrays, switches=replace(RELEASED, dropnet_eval_random=False), **changes)
        monkeypatch.setattr(keras.random, "uniform", None)
        assert_close(model(inputs(arrays)), arrays["out_logits_evalflag_u050"])

    def test_loss_and_greedy_decoding(self, arrays, model, monkeypatch):
        self.fix_draws(monkeypatch, 0.5)
        labels = arrays["in_tgt"]
        loss = mean_loss(model, model.hidden(**inputs(arrays)), labels, np.ones(labels.shape))
        assert float(loss) == pytest.approx(float(arrays["out_loss_evalflag_u050"]), rel=1e-5)
        found = continue_sessions(Search(model), arrays["in_src"], bert=arrays["in_bert_features"], with_hidden=True)
        tokens = found.tokens[:, 0]
        np.testing.assert_array_equal(tokens, arrays["out_greedy_pred_u050"])
        np.testing.assert_array_equal(decoder_inputs(arrays["in_src"], tokens), arrays["out_greedy_inputs_u050"])
        assert_close(model.head(found.hidden[:, 0]), arrays["out_greedy_logits_u050"])
        assert maa(tokens, labels) == pytest.approx(float(arrays["out_greedy_maa_u050"]), abs=1e-7)
