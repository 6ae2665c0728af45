from dataclasses import replace
from itertools import product

import keras
import numpy as np
import pytest

from common.options import UserError
from session_transformers.architecture import CORRECTED, RELEASED, Architecture
from session_transformers.decoding import Search, continue_sessions
from session_transformers.kinds import RELEASED_IDS
from session_transformers.model import build_model

BERT = Architecture("bert", "seq", 30, width=12, features=0, encoder_layers=1, feed_forward=16, half=4)
SMALL = Architecture("transformer", "seq", 30, width=12, features=4, encoder_layers=1, feed_forward=16, half=4)
KINDS = {
    "transformer": SMALL,
    "told of skips": replace(SMALL, skip_input="embedding"),
    "augmented": replace(SMALL, model="bert-augmented", bert=BERT),
    "released": replace(SMALL, model="bert-augmented", bert=BERT, ids=RELEASED_IDS, switches=RELEASED),
    "tied": replace(SMALL, tied=True),
}


def model_of(architecture, seed=3):
    features = np.random.default_rng(0).standard_normal((architecture.vocabulary, architecture.features))
    model = build_model(architecture, features.astype(np.float32), seed)
    model.head.bias.assign(np.random.default_rng(1).standard_normal(architecture.classes))
    return model


def sessions(architecture, rows=6):
    rng = np.random.default_rng(5)
    source = rng.integers(architecture.ids.first_track, architecture.vocabulary, (rows, architecture.half))
    source[0, -1] = source[1, 1:] = 0
    return source, rng.integers(0, 2, source.shape), rng.integers(3, architecture.vocabulary, source.shape)


def search(model, beams=1, forbid_repeats=False, jit=False):
    found = Search(model, beams, forbid_repeats)
    found.compile(jit_compile=jit)  # the default compiles with XLA, which takes longer than these small searches
    return found


def logits_of(model, source, skips, tokens):
    """Logits (B, N, V) by decoding everything anew, as if ``tokens`` were the truth."""
    return np.array(model({"source": source, "target": tokens, "source_skips": skips}))


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.parametrize("architecture", KINDS.values(), ids=KINDS)
def test_greedy_equals_decoding_everything_anew_at_each_step(architecture):
    model = model_of(architecture)
    source, skips, _ = sessions(architecture)
    tokens = np.zeros(source.shape, int)
    for step in range(architecture.half):  # later tokens are not looked at
        tokens[:, step] = logits_of(model, source, skips, tokens)[:, step].argmax(-1)
    logits = logits_of(model, source, skips, tokens)
    found = continue_sessions(search(model, jit=architecture.tied), source, skips, batch_size=4, with_hidden=True)
    np.testing.assert_array_equal(found.tokens[:, 0], tokens)
    ours = np.asarray(model.head(found.hidden[:, 0]))
    first = architecture.impossible
    np.testing.assert_allclose(ours[..., first:], logits[..., first:], atol=1e-5)
    expected = np.take_along_axis(log_softmax(logits), tokens[..., None], -1)[..., 0]
    np.testing.assert_allclose(found.log_probabilities[:, 0], expected, atol=1e-5)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(("steps", "beams"), [(2, 5), (4, 3)])
def test_beams_equal_brute_force(steps, beams):
    architecture = replace(SMALL, vocabulary=8, half=steps)  # five tracks
    model = model_of(architecture)
    source, _, _ = sessions(architecture, rows=3)
    every = np.array(list(product(range(3, 8), repeat=steps)))
    found = continue_sessions(search(model, beams), source)
    for row in range(3):
        logits = log_softmax(logits_of(model, np.repeat(source[row : row + 1], len(every), 0), None, every))
        terms = np.take_along_axis(logits, every[..., None], -1)[..., 0]
        kept = [()]
        for step in range(steps):
            longer = [(*start, track) for start in kept for track in range(3, 8)]
            totals = [terms[(every[:, : step + 1] == start).all(1)][0][: step + 1].sum() for start in longer]
            kept = [longer[i] for i in np.argsort(totals)[::-1][:beams]]
        np.testing.assert_array_equal(found.tokens[row], kept)
        places = [int(np.flatnonzero((every == tokens).all(1))[0]) for tokens in kept]
        np.testing.assert_allclose(found.log_probabilities[row], terms[places], atol=1e-5)
        assert (np.diff(terms[places].sum(-1)) <= 1e-6).all()  # best first
        if steps == 2 and beams == 5:  # nothing was lost on the way
            np.testing.assert_array_equal(places, np.argsort(-terms.sum(-1))[:beams])


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("beams", [1, 3])
def test_forbidden_repeats(beams):
    model = model_of(SMALL)
    source, skips, _ = sessions(SMALL)
    found = continue_sessions(search(model, beams, forbid_repeats=True), source)
    for row, track in np.ndindex(found.tokens.shape[:2]):
        tokens = found.tokens[row, track]
        assert len(set(tokens)) == len(tokens) and not np.isin(tokens, source[row]).any()
    if beams == 1:
        tokens = found.tokens[:, 0]
        logits = logits_of(model, source, skips, tokens)
        free = logits.argmax(-1)
        for row, step in np.ndindex(tokens.shape):
            logits[row, step, np.concatenate([source[row], tokens[row, :step]])] = -np.inf
        np.testing.assert_array_equal(tokens, logits.argmax(-1))
        assert (tokens != free).any()


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("allowed", [False, True])
def test_special_ids_are_predicted_only_if_switched_on(allowed):
    architecture = replace(SMALL, switches=replace(CORRECTED, predict_specials=allowed))
    model = model_of(architecture)
    model.head.bias.assign(np.where(np.arange(30) < 3, 50.0, 0.0))
    source, _, _ = sessions(architecture)
    assert (continue_sessions(search(model, 2), source).tokens < 3).any() == allowed


@pytest.mark.usefixtures("eagerly")
def test_a_fine_tuned_bert_is_searched():
    model = model_of(replace(BERT, model="bert-finetuned"))
    source, _, target = sessions(BERT)
    logits = logits_of(model, source, None, target)
    found = continue_sessions(search(model), source)
    np.testing.assert_array_equal(found.tokens[:, 0], logits.argmax(-1))
    free = continue_sessions(search(model, forbid_repeats=True), source).tokens[:, 0]
    assert all(len(set(row)) == len(row) for row in free)


@pytest.mark.usefixtures("eagerly")
def test_mixed_precision():
    exact = model_of(SMALL)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_of(SMALL)
        source, *_ = sessions(SMALL)
        found = continue_sessions(search(model), source, with_hidden=True)
    finally:
        keras.config.set_dtype_policy(before)
    logits = logits_of(exact, source, None, found.tokens[:, 0])
    expected = np.take_along_axis(log_softmax(logits), found.tokens[:, 0, :, None], -1)[..., 0]
    np.testing.assert_allclose(found.log_probabilities[:, 0], expected, atol=0.05)


def test_what_cannot_be_searched():
    model = model_of(SMALL)
    with pytest.raises(UserError, match="bert model for --task seq cannot continue"):
        Search(model_of(BERT))
    with pytest.raises(UserError, match="model for --task skip cannot continue"):
        Search(model_of(replace(SMALL, task="skip")))
    with pytest.raises(UserError, match="0 beams"):
        Search(model, 0)
    with pytest.raises(UserError, match="27 tracks is too small for 20 beams without repeats"):
        Search(model, 20, forbid_repeats=True)
    source, *_ = sessions(SMALL)
    with pytest.raises(UserError, match="no session"):
        continue_sessions(Search(model), source[:0])
