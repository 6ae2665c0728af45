from dataclasses import replace

import numpy as np
import pytest

from session_transformers import testing
from session_transformers.architecture import RELEASED, Architecture
from session_transformers.decoding import Search, continue_sessions
from session_transformers.evaluation import CUTOFFS, TrackRanks
from session_transformers.kinds import RELEASED_IDS
from session_transformers.masking import mask_randomly
from session_transformers.model import build_model
from session_transformers.sessions.halves import Halves

SMALL = Architecture(
    "transformer", "seq", 30, width=12, features=4, encoder_layers=1, decoder_layers=1, feed_forward=8, dropout=0.5
)
SKIP = replace(SMALL, task="skip", skip_input="embedding")
BERT = replace(SMALL, model="bert", features=0)
FINETUNED = replace(BERT, model="bert-finetuned")
RELEASED_SEQ = replace(SMALL, ids=RELEASED_IDS, switches=RELEASED)
TRACK_KINDS = {
    "seq": SMALL,
    "told of skips": replace(SMALL, skip_input="embedding"),
    "tied": replace(SMALL, tied=True),
    "released": RELEASED_SEQ,
    "augmented": replace(SMALL, model="bert-augmented", bert=BERT),
    "bert for tracks": FINETUNED,
}
SKIP_KINDS = {
    "skip": SKIP,
    "released skip": replace(RELEASED_SEQ, task="skip", skip_input="token"),
    "bert for skips": replace(FINETUNED, task="skip", skip_input="embedding"),
    "everywhere": replace(FINETUNED, task="skip", ids=RELEASED_IDS, switches=RELEASED),
    "drop-net": replace(SKIP, model="bert-augmented-dropnet", bert=BERT, dropnet=0.8),
}


def model_of(architecture, seed=3):
    features = np.random.default_rng(0).standard_normal((architecture.vocabulary, architecture.features))
    model = build_model(architecture, features.astype(np.float32), seed)
    model.head.bias.assign(np.random.default_rng(1).standard_normal(architecture.classes))
    return model


@pytest.fixture(autouse=True)
def blocks_of_four(monkeypatch):
    monkeypatch.setattr("session_transformers.testing.BLOCK", 4)


@pytest.fixture
def halves():
    """Six sessions, of which one has halves of three and four tracks."""
    rng = np.random.default_rng(5)
    tracks = rng.integers(3, 30, (6, 20)).astype(np.int32)
    skips = rng.integers(0, 2, (6, 20)).astype(np.uint8)
    tracks[2, 3:10] = tracks[2, 14:] = skips[2, 3:10] = skips[2, 14:] = 0
    return Halves(tracks, skips)


def inputs_of(halves, target=None):
    return {
        "source": halves.source,
        "target": halves.target if target is None else target,
        "source_skips": halves.source_skips,
    }


def same_ranks(ours, theirs):
    np.testing.assert_array_equal(ours.mask, theirs.mask)
    assert (ours.tracks, ours.mode) == (theirs.tracks, theirs.mode)
    for name in ("greater", "equal"):
        np.testing.assert_array_equal(getattr(ours, name)[ours.mask], getattr(theirs, name)[ours.mask])


def log_chances(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", TRACK_KINDS)
def test_forced_ranks_are_those_of_the_logits(kind, halves):
    model = model_of(TRACK_KINDS[kind])
    first = model.architecture.ids.first_track
    expected = TrackRanks.from_scores(np.asarray(model(inputs_of(halves))), halves.target, first, "forced")
    same_ranks(testing.Tester(model, jit=False).forced(halves), expected)


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", TRACK_KINDS)
def test_free_running_ranks_equal_decoding_everything_anew(kind, halves):
    model = model_of(TRACK_KINDS[kind])
    told = np.zeros_like(halves.target)
    for step in range(10):
        logits = np.asarray(model(inputs_of(halves, told)))
        told[:, step] = logits[:, step].argmax(-1)
    outcome, ranks = testing.Tester(model, jit=False).free(halves)
    np.testing.assert_array_equal(outcome.right, (told == halves.target) & (halves.target > 0))
    assert outcome.mode == ranks.mode == "free"
    first, logits = model.architecture.ids.first_track, np.asarray(model(inputs_of(halves, told)))
    same_ranks(ranks, TrackRanks.from_scores(logits, halves.target, first, "free"))
    for session, position in zip(*np.nonzero(halves.target), strict=True):  # by sorting
        scores = logits[session, position, first:]
        place = np.argsort(-scores).tolist().index(halves.target[session, position] - first)
        assert ranks.greater[session, position] == place
    if kind == "bert for tracks":  # it does not look at the second half
        same_ranks(replace(testing.Tester(model, jit=False).forced(halves), mode="free"), ranks)


@pytest.mark.usefixtures("eagerly")
def test_beams_are_judged_by_their_best(halves):
    model = model_of(SMALL)
    outcome, ranks = testing.Tester(model, jit=False).free(halves, beam=3, forbid_repeats=True)
    search = Search(model, 3, forbid_repeats=True)
    search.compile(jit_compile=False)
    best = continue_sessions(search, halves.source).tokens[:, 0]
    np.testing.assert_array_equal(outcome.right, (best == halves.target) & (halves.target > 0))
    logits = np.asarray(model(inputs_of(halves, best)))
    same_ranks(ranks, TrackRanks.from_scores(logits, halves.target, 3, "free"))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("kind", SKIP_KINDS)
def test_skips_are_told_by_the_logits(kind, halves):
    model = model_of(SKIP_KINDS[kind])
    logits = log_chances(np.asarray(model(inputs_of(halves)))[:, -10:])
    outcome = testing.Tester(model, jit=False).skips(halves)
    mask = halves.target > 0
    np.testing.assert_array_equal(outcome.right, (logits.argmax(-1) == halves.target_skips) & mask)
    assert outcome.loss is not None
    expected = -np.take_along_axis(logits, halves.target_skips[..., None].astype(int), -1)[..., 0]
    np.testing.assert_allclose(outcome.loss, np.where(mask, expected, 0), atol=1e-5)


@pytest.mark.usefixtures("eagerly")
def test_equal_scores_share_their_rank(halves):
    model = model_of(SMALL)
    model.head.kernel.assign(np.zeros(model.head.kernel.shape))
    model.head.bias.assign(np.zeros(30))
    ranks = testing.Tester(model, jit=False).forced(halves)
    assert set(ranks.greater[ranks.mask]) == {0} and set(ranks.equal[ranks.mask]) == {27}


@pytest.mark.usefixtures("eagerly")
def test_masked_tracks_are_ranked_where_they_are_asked_for(halves):
    model, rng = model_of(BERT), np.random.default_rng((7, 2))
    blocks = [mask_randomly(halves.tracks[start : start + 4], rng, 30, BERT.ids) for start in (0, 4)]
    tracks, labels = (np.concatenate(part) for part in zip(*blocks, strict=True))
    logits = np.asarray(model({"source": tracks[:, :10], "target": tracks[:, 10:]}))
    expected = TrackRanks.from_scores(logits, labels, 3, "forced").figures(CUTOFFS)
    own = np.take_along_axis(log_chances(logits), labels[..., None], -1)[..., 0]
    expected["forced_loss"] = -own[labels > 0].mean()
    found = testing.Tester(model, jit=False).masked(halves, 7)
    assert found.figures == pytest.approx({name.replace("forced", "masked"): value for name, value in expected.items()})


def test_compiled_or_not_the_ranks_are_the_same(halves):
    model = model_of(SMALL)
    same_ranks(testing.Tester(model, jit=True).forced(halves), testing.Tester(model, jit=False).forced(halves))
