"""The baselines by hand, against dense scores, and on the structured sample."""

import itertools
from collections import Counter

import numpy as np
import pytest

import common.session_baselines
from common.mssd.sample import SessionSampleOptions, write_sample
from common.session_baselines_test import Plainly
from session_transformers.baselines import of_skips, of_tracks
from session_transformers.baselines.ceiling import best_skip_chances, sample_world
from session_transformers.baselines.comparison import skip_results, track_results
from session_transformers.baselines.of_tracks import (
    BASELINES,
    NONE,
    VectorSum,
    forced_ranks,
    free_running,
    histories,
    known_before,
    sessions_of,
)
from session_transformers.data_options import DataOptions
from session_transformers.evaluation import skip_outcome
from session_transformers.kinds import CORRECTED_IDS, RELEASED_IDS
from session_transformers.preprocess import prepare
from session_transformers.reinforcement.environment import SessionEnvironment
from session_transformers.sessions.halves import Halves

TRACKS = 12


def made_up(count, seed, any_length=True):
    """Halves of random sessions, token ids from 3."""
    rng = np.random.default_rng(seed)
    tracks, skips = np.zeros((count, 20), np.int32), np.zeros((count, 20), np.uint8)
    for row in range(count):
        length = rng.integers(10, 21) if any_length else 20
        first = length // 2
        columns = np.r_[:first, 10 : 10 + length - first]
        tracks[row, columns] = 3 + (TRACKS * rng.random(length) ** 2).astype(int)
        skips[row, columns] = rng.integers(0, 2, length)
    return Halves(tracks, skips)


@pytest.fixture(params=[2**19, 8], ids=["one-block", "many-blocks"])
def setting(request, monkeypatch):
    monkeypatch.setattr(common.session_baselines, "PAIRS", request.param)
    monkeypatch.setattr(of_tracks, "SCORES", request.param)
    monkeypatch.setattr(of_tracks, "NEIGHBOURS", 5)
    train, test = made_up(12, 1), made_up(9, 2)
    return test, sessions_of(train, 3), histories(test, 3)


def sequence(halves, row):
    together = halves.tracks[row]
    return (together[together > 0] - 3).tolist()


def test_histories_join_the_halves():
    halves = made_up(5, 3)
    sessions = sessions_of(halves, 3)
    for row, history in enumerate(histories(halves, 3)):
        wanted = sequence(halves, row)
        first = int(halves.source_mask[row].sum())
        assert history[10 - first : 10 - first + len(wanted)].tolist() == wanted
        assert (history[: 10 - first] == NONE).all() and (history[10 - first + len(wanted) :] == NONE).all()
        assert sessions.items[sessions.offsets[row] : sessions.offsets[row + 1]].tolist() == wanted


VECTORS = np.random.default_rng(4).integers(-3, 4, (TRACKS, 3)).astype(np.float32)  # whole numbers: ties are ties


class Plain(Plainly):
    """The definitions that are this paper's own, and the names of all."""

    def repeat_last(self, so_far):
        return [(i == so_far[-1], self.plays[i]) for i in self.items]

    def sequential(self, so_far):
        places = [
            (session, place + 1)
            for session in self.train
            for place, track in enumerate(session[:-1])
            if track == so_far[-1]
        ]
        votes = Counter()
        for session, place in places[-5:]:
            votes[session[place]] += len(set(session) & set(so_far[-10:])) ** 5
        return [(votes[i], self.plays[i]) for i in self.items]

    def vectors(self, so_far):
        return [(float(VECTORS[i] @ sum(VECTORS[heard] for heard in so_far[-5:])), 0) for i in self.items]


PLAIN = {
    "most popular": Plain.most_popular,
    "session popular": Plain.session_popular,
    "repeat last track": Plain.repeat_last,
    "item-kNN": Plain.item_knn,
    "Markov": Plain.markov,
    "session-kNN": Plain.session_knn,
    "sequential session-kNN": Plain.sequential,
    "vectors": Plain.vectors,
}


def test_every_baseline_has_a_plain_definition():
    assert [kind.name for kind in BASELINES] == list(PLAIN)[:-1]


@pytest.mark.parametrize("name", PLAIN)
def test_next_tracks_and_ranks_against_plain_definitions(setting, name):
    test, learned, history = setting
    made = {kind.name: kind for kind in BASELINES}
    baseline = VectorSum(VECTORS, 5) if name == "vectors" else made[name](learned, TRACKS)
    plain = Plain(learned, TRACKS, common.session_baselines.NEIGHBOURS, common.session_baselines.SAMPLE)
    above, level = forced_ranks(baseline, history)
    running = free_running(baseline, history[:, :10])
    for row in range(len(test)):
        first, known = int(test.source_mask[row].sum()), sequence(test, row)
        for step in range(len(known) - first):
            scores = PLAIN[name](plain, known[: first + step])
            own = scores[known[first + step]]
            assert above[row, step] == sum(s > own for s in scores), (row, step)
            assert level[row, step] == sum(s == own for s in scores), (row, step)
            before, some = known_before(history, np.array([row]), np.array([10 + step])), np.array([[3, 7, 3, 11, 0]])
            told = baseline.scores(before, some)[0]
            wanted = [scores[track] for track in some[0]]
            for i, j in itertools.product(range(5), repeat=2):
                assert (told[i] > told[j], told[i] == told[j]) == (wanted[i] > wanted[j], wanted[i] == wanted[j])
        so_far = known[:first]
        for _ in range(10):
            scores = PLAIN[name](plain, so_far)
            so_far.append(scores.index(max(scores)))
        assert running[row].tolist() == so_far[first:]


def test_skips_by_hand():
    tracks = np.zeros((3, 20), np.int32)
    tracks[:, :4], tracks[:, 10:13] = [3, 4, 5, 6], [3, 3, 4]
    skips = np.zeros((3, 20), np.uint8)
    skips[0, :4], skips[1, :4], skips[2, :4] = [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]
    skips[0, 10:13] = [1, 1, 0]
    halves = Halves(tracks, skips)
    assert of_skips.all_skip(halves).all()
    assert of_skips.repeat_last_skip(halves)[:, 0].tolist() == [False, True, False]
    assert of_skips.session_majority(halves)[:, 0].tolist() == [True, True, False]  # ties: as the last one
    found = skip_results(halves, halves, 7)
    assert found["repeat last skip"].histogram().tolist()[:4] == pytest.approx([1 / 3, 1 / 3, 0, 1 / 3])
    assert found["all skip"].mask.sum() == 9 and found["all skip"].figures()["accuracy"] == pytest.approx(2 / 9)
    general = (skips.sum() + 1) / (21 + 2)  # track 3: 4 skips of 9 plays, and 10 more at the general rate
    rate = (2 + 2 + 10 * general) / (9 + 10)
    np.testing.assert_allclose(of_skips.track_rate(halves, halves, 7)[0, 0], rate)


def test_all_on_the_same_sessions_of_any_length_and_both_protocols():
    train, test = made_up(40, 5), made_up(20, 6)
    for outcome in skip_results(train, test, 3 + TRACKS).values():
        assert len(outcome) == 20 and (outcome.mask == test.target_mask).all()
    found = track_results(train, test, 3 + TRACKS, CORRECTED_IDS)
    shifted = [Halves(np.maximum(halves.tracks - 1, 0), halves.skips) for halves in (train, test)]
    released = track_results(*shifted, 2 + TRACKS, RELEASED_IDS)
    assert list(found) == [kind.name for kind in BASELINES]
    for name, result in found.items():
        assert result.forced.tracks == TRACKS and (result.free.mask == test.target_mask).all()
        assert all(key.startswith(("free_", "forced_")) for key in result.figures())
        assert released[name].figures() == result.figures()


def test_true_tracks_among_drawn_ones():
    """All rows rank the same candidates; by hand for the rule that knows plays alone."""
    train, test = made_up(60, 5), made_up(30, 6)
    found = track_results(train, test, 3 + TRACKS, CORRECTED_IDS, {"vectors": VectorSum(VECTORS, 5)}, candidates=3)
    assert "vectors" in found and found["vectors"].figures().keys() == found["Markov"].figures().keys()
    for result in found.values():
        hits = [result.figures()[f"hit@{k}_of_100"] for k in (1, 5, 10, 20)]
        assert hits == sorted(hits) and 0 < hits[0] < hits[-1] <= 1
    plays = np.bincount(train.tracks[train.tracks > 0], minlength=3 + TRACKS)
    walk = SessionEnvironment(test, "seq", (3, 3 + TRACKS), follow="recorded")
    walk.begin(np.arange(len(test)), np.random.default_rng((3, 0)))
    chances = []
    for place in range(10):
        seen, true = walk.observe(), test.target[:, place]
        for candidates, track in zip(seen.candidates, true, strict=True):
            if track:
                above, level = (plays[candidates] > plays[track]).sum(), (plays[candidates] == plays[track]).sum()
                chances.append(min(max((5 - above) / level, 0), 1))
        walk.step(np.zeros(len(test), int))
    assert found["most popular"].figures()["hit@5_of_100"] == pytest.approx(np.mean(chances))
    assert "hit@5_of_100" not in track_results(train, test, 3 + TRACKS, CORRECTED_IDS)["Markov"].figures()


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mssd")
    write_sample(folder / "sample", SessionSampleOptions(folder, sessions=3000, tracks=300, days=2, seed=7))
    return prepare(folder / "sample", folder / "prepared", DataOptions(test_share=0.3, validation_share=0))


def test_the_sample_makes_tracks_learnable(sample):
    found = track_results(sample.train, sample.test, sample.vocabulary_size, sample.ids)
    first = {name: result.forced.figures()["forced_recall@1"] for name, result in found.items()}
    assert first["sequential session-kNN"] > 1.25 * first["Markov"] > 3 * first["most popular"]
    maa = {name: result.free.figures()["free_maa"] for name, result in found.items()}
    assert maa["sequential session-kNN"] > maa["Markov"] > maa["repeat last track"] > maa["most popular"]


def test_the_sample_makes_skips_learnable_up_to_a_ceiling(sample):
    found = skip_results(sample.train, sample.test, sample.vocabulary_size)
    accuracy = {name: outcome.figures()["accuracy"] for name, outcome in found.items()}
    assert accuracy["logistic regression"] > accuracy["repeat last skip"] + 0.03
    world = sample_world(300, 7)
    chances = best_skip_chances(sample.test, sample.track_ids, world, draws=500)
    best = skip_outcome(chances, sample.test.target_skips)
    assert best.figures()["accuracy"] > accuracy["logistic regression"] > accuracy["session majority"]
    # The chances are true: among the skips of about the same chance that share happens.
    error = np.sqrt(0.25 / (len(sample.test)))
    assert chances.mean() == pytest.approx(sample.test.target_skips.mean(), abs=4 * error)
    assert best.figures()["accuracy"] == pytest.approx(np.maximum(chances, 1 - chances).mean(), abs=4 * error)
    with pytest.raises(ValueError, match="only whole sessions of tracks of this world"):
        best_skip_chances(sample.test, sample.track_ids, sample_world(300, 8))


def test_nothing_is_learned_from_noise():
    train, test = made_up(400, 7, any_length=False), made_up(400, 8, any_length=False)
    for name, outcome in skip_results(train, test, 3 + TRACKS).items():
        assert outcome.figures()["accuracy"] == pytest.approx(0.5, abs=0.04), name
    found = track_results(train, test, 3 + TRACKS, CORRECTED_IDS)
    popular, markov = (found[name].forced.figures()["forced_recall@1"] for name in ("most popular", "Markov"))
    assert markov <= popular + 0.03


def test_one_training_session_and_tracks_never_seen():
    train = Halves(np.full((1, 20), 3, np.int32), np.ones((1, 20), np.uint8))
    test = Halves(np.full((2, 20), 5, np.int32), np.zeros((2, 20), np.uint8))
    for result in track_results(train, test, 6, CORRECTED_IDS).values():
        assert set(result.figures()) and len(result.free) == 2
    for outcome in skip_results(train, test, 6).values():
        assert len(outcome) == 2
