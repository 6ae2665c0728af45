import json
import shutil
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from common.command import parse
from common.options import UserError
from common.testing import history_of
from session_transformers.baselines.of_skips import all_skip, session_majority
from session_transformers.evaluation import skip_outcome
from session_transformers.kinds import Ids
from session_transformers.options import SessionOptions
from session_transformers.reinforcement import learning
from session_transformers.reinforcement.agent import _known, build_agent, decisions
from session_transformers.reinforcement.figures import evaluate, predict_skips
from session_transformers.reinforcement.learning import Learner, architecture_of, first_vectors, learn
from session_transformers.reinforcement.networks import expected_value
from session_transformers.reinforcement.noise import strength
from session_transformers.reinforcement.options import (
    CORRECTED_DDPG,
    RELEASED_DDPG,
    DdpgOptions,
    agent_from_json,
    released_options,
)
from session_transformers.sessions.halves import Halves

TRACKS = (3, 15)
GROUPED = (3, 43)
FAST = DdpgOptions(
    rounds=2,
    round_steps=12_800,
    walks=64,
    batch_size=256,
    buffer=10_000,
    noise_decay=0.99,
    learning_rate=2e-2,
    actor_learning_rate=3e-3,
    seed=2,
)
TINY = replace(FAST, rounds=4, round_steps=640, walks=64, batch_size=64, buffer=512, jit=False)


def halves(count, seed, skip_chance):
    """Sessions of random tracks, each skipped by its own chance."""
    rng = np.random.default_rng(seed)
    tracks = rng.integers(*TRACKS, (count, 20)).astype(np.int32)
    return Halves(tracks, (rng.random(tracks.shape) < skip_chance[tracks]).astype(np.uint8))


def data(skip_chance, count=1500):
    parts = {name: halves(size, seed, skip_chance) for seed, (name, size) in enumerate(
        {"train": count, "validation": count // 5, "test": max(count // 2, 30)}.items()
    )}  # fmt: skip
    return SimpleNamespace(**parts, ids=Ids(), vocabulary_size=TRACKS[1])


def figures_of(result, of):
    """The figures of the test part."""
    learner = result.learner
    tracks = (of.ids.first_track, of.vocabulary_size)
    return evaluate(learner.agent, of.test, tracks, learner.options.seed)[1].figures


@pytest.fixture(scope="module")
def structured():
    """Half of the tracks are skipped by nearly everybody, the others by hardly anybody."""
    good = np.random.default_rng(9).random(TRACKS[1]) < 0.5
    return data(np.where(good, 0.1, 0.9))


@pytest.fixture(scope="module")
def small(structured):
    return SimpleNamespace(
        **(vars(structured) | {"train": Halves(structured.train.tracks[:90], structured.train.skips[:90])})
    )


@pytest.fixture(scope="module")
def taught(small, tmp_path_factory):
    """The folder of a tiny run and what it found; copy the folder before you change it."""
    folder = tmp_path_factory.mktemp("taught")
    return folder, learn(replace(TINY, rounds=2), small, folder)


@pytest.mark.slow
def test_it_learns_which_tracks_are_skipped(structured):
    result = learn(FAST, structured)
    test = structured.test
    baselines = {
        baseline.__name__: skip_outcome(baseline(test), test.target_skips).figures()["maa"]
        for baseline in (all_skip, session_majority)
    }
    figures = figures_of(result, structured)
    assert figures["maa"] > max(baselines.values()) + 0.15
    assert figures["accuracy"] > 0.7  # 0.9 is the most that can be reached
    rewards = [row["reward"] for row in result.progress.history]
    assert rewards[-1] > rewards[0] + 0.2


def test_vectors_of_skip_grams_are_held_fixed_and_noise_is_learned_from(small):
    """The critic's gradient would ruin vectors that know more of the tracks than one of 100 being right can tell."""
    for options, fixed in (
        (replace(TINY, task="seq"), True),
        (replace(TINY, task="seq", first_vectors="noise"), False),
    ):
        learner = Learner(options, small.train, TRACKS, first_vectors(options, small.train, TRACKS))
        state = learner.agent.networks.state
        before, weights = np.array(state.items), np.array(state.recency)
        learner.round(0)
        assert np.array_equal(before, state.items) == fixed and (weights != np.array(state.recency)).any()
        assert any(variable is state.items for variable in learner.agent.networks.trainable_weights) != fixed
    assert not TINY.skip_grams and replace(TINY, first_vectors="skip-gram").skip_grams


@pytest.mark.slow
def test_nothing_is_learned_from_coin_flips():
    flips = data(np.full(TRACKS[1], 0.5))
    result = learn(replace(FAST, rounds=1), flips)
    deviation = 0.5 / np.sqrt(flips.test.target.size)
    assert abs(figures_of(result, flips)["accuracy"] - 0.5) < 4 * deviation


@pytest.mark.slow
def test_it_finds_tracks_that_follow_one_another():
    """Each session stays within one of four groups of ten tracks: 10 of 40, so that hit@10 by chance is 0.1 of 100."""
    rng = np.random.default_rng(1)

    def part(count):
        groups = rng.integers(0, 4, (count, 1))
        tracks = GROUPED[0] + 10 * groups + rng.integers(0, 10, (count, 20))
        return Halves(tracks.astype(np.int32), np.zeros(tracks.shape, np.uint8))

    walks = SimpleNamespace(
        train=part(1000), validation=part(100), test=part(300), ids=Ids(), vocabulary_size=GROUPED[1]
    )
    result = learn(replace(FAST, task="seq", rounds=2), walks)
    figures = figures_of(result, walks)
    assert 0 <= figures["free_maa"] <= figures["free_accuracy"]
    assert figures["hit@10_of_100"] > 0.15  # a group fills 25 of the 100 candidates: 0.4 at best, 0.1 by chance
    assert figures["ndcg@10_of_100"] <= figures["hit@10_of_100"]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["skip", "seq"])
def test_a_resumed_run_equals_one_that_was_not_stopped(small, tmp_path, monkeypatch, task):
    options = replace(TINY, task=task, rounds=3)
    whole = learn(options, small, tmp_path / "whole")
    real, done = Learner.round, []

    def dies(self, number, *rest):
        done.append(number)
        if number == 1:
            raise KeyboardInterrupt
        return real(self, number, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Learner, "round", dies)
        learn(options, small, tmp_path / "killed")
    again = learn(options, small, tmp_path / "killed", resume=True)
    assert done == [0, 1] and figures_of(again, small) == figures_of(whole, small)
    for one, two in zip(*(run.learner.agent.networks.weights for run in (whole, again)), strict=True):
        np.testing.assert_array_equal(one, two)
    assert history_of(tmp_path / "killed") == history_of(tmp_path / "whole")


def test_resuming_another_run_is_refused(small, taught, tmp_path):
    shutil.copytree(taught[0], tmp_path, dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"checkpoint\.npz"):
        learn(replace(TINY, hidden=5), small, tmp_path, resume=True)
    with pytest.raises(UserError, match="--run-dir"):
        learn(TINY, small, resume=True)


def test_what_is_described_is_the_same_agent(small):
    """Its weights are tested with those of every other model, in ``recommender_test.py``."""
    architecture = architecture_of(replace(TINY, rounds=2), Ids(), TRACKS[1], 90)
    described = json.loads(json.dumps(asdict(architecture)))
    assert agent_from_json(described) == architecture
    one, other = build_agent(architecture), build_agent(agent_from_json(described))
    np.testing.assert_array_equal(predict_skips(one, small.test, TRACKS), predict_skips(other, small.test, TRACKS))
    for change in ({"options": {"colour": "red"}}, {"sizes": described["sizes"] | {"hidden": "3"}}, {"ids": None}):
        with pytest.raises(UserError, match="not the architecture of a reinforcement learner"):
            agent_from_json(described | change)


def test_evaluation_does_not_depend_on_blocks_and_knows_no_truth(small, taught, monkeypatch):
    agent = taught[1].learner.agent
    whole = predict_skips(agent, small.test, TRACKS)
    hidden = Halves(small.test.tracks, np.concatenate([small.test.source_skips, 1 - small.test.target_skips], axis=1))
    np.testing.assert_array_equal(predict_skips(agent, hidden, TRACKS), whole)
    monkeypatch.setattr("session_transformers.reinforcement.figures.BLOCK", 7)
    np.testing.assert_array_equal(predict_skips(agent, small.test, TRACKS), whole)


def test_validation_can_be_on_some_sessions(small):
    few = replace(TINY, rounds=1, validation_sessions=40)
    row = learn(few, small).progress.history[0]
    assert round(row["val_accuracy"] * 400, 6).is_integer()


def test_nothing_to_validate_by_keeps_the_last_round(small):
    without = SimpleNamespace(**(vars(small) | {"validation": Halves(*(a[:0] for a in vars(small.test).values()))}))
    result = learn(replace(TINY, rounds=2), without)
    assert result.progress.best_epoch == 0
    assert not any(name.startswith("val_") for name in result.progress.history[0])


def test_a_loss_that_is_not_finite_is_told(small):
    vectors = np.full((TRACKS[1], 8), 1e30, np.float32)
    with np.errstate(all="ignore"), pytest.raises(UserError, match="learning-rate"):
        learn(replace(TINY, rounds=1), small, item_vectors=vectors)


def test_vectors_of_another_shape_are_refused(small):
    with pytest.raises(UserError, match=r"expected \(15, 8\)"):
        learn(TINY, small, item_vectors=np.zeros((15, 7), np.float32))


class TestReleased:
    """Each mistake of B12 by its switch."""

    @staticmethod
    def learner(small, **switches):
        options = replace(TINY, rounds=1, switches=replace(CORRECTED_DDPG, **switches))
        learner = Learner(options, small.train, TRACKS)
        before = [np.array(v) for v in learner.agent.networks.target_actor.weights]
        learner.round(0)
        return learner, before

    def test_corrected(self, small):
        learner, before = self.learner(small)
        past, number = learner.replay.arrays, len(learner.replay)
        assert (past["memory"][:number] != past["next_memory"][:number]).any()
        assert set(past["done"][:number]) == {0.0, 1.0} and past["done"][:number].mean() == pytest.approx(0.1, abs=0.03)
        assert any((old != new).any() for old, new in zip(before, _arrays(learner.agent), strict=True))

    def test_both_states_are_the_same(self, small):
        past = self.learner(small, real_next_state=False)[0].replay.arrays
        np.testing.assert_array_equal(past["memory"], past["next_memory"])

    def test_done_is_the_reward(self, small):
        past = self.learner(small, done_at_end=False)[0].replay.arrays
        np.testing.assert_array_equal(past["done"], past["reward"])
        assert -1.0 in past["done"]

    def test_targets_stay(self, small):
        learner, before = self.learner(small, soft_updates=False)
        for old, new in zip(before, _arrays(learner.agent), strict=True):
            np.testing.assert_array_equal(old, new)

    def test_one_action_for_all(self, small):
        learner, _ = self.learner(small, own_actions=False)
        skips = predict_skips(learner.agent, small.test, TRACKS)
        by_track = {}
        for track, skipped in zip(small.test.target.ravel().tolist(), skips.ravel().tolist(), strict=True):
            by_track.setdefault(track, set()).add(skipped)
        assert all(len(said) == 1 for said in by_track.values())

    def test_the_state_takes_one_step_on_both_losses(self, small):
        """As one Adam step it moves each number by the step size at most, in the direction of the summed gradient."""
        moved = {}
        for name, alone in (("critic", True), ("both", False)):
            switches = replace(CORRECTED_DDPG, critic_alone_teaches_state=alone, judges_decision=False)
            options = replace(TINY, learning_rate=1e-3, actor_learning_rate=1e-3, switches=switches, spread=0.5)
            learner = Learner(options, small.train, TRACKS)
            agent, networks = learner.agent, learner.agent.networks
            rng = np.random.default_rng(0)
            past = {n: np.zeros((64, *shape), kind) for n, (shape, kind) in decisions(8, 5).items()}
            past |= {"rows": rng.integers(0, 90, 64), "action": rng.normal(size=(64, 8)).astype(np.float32)}
            for key in ("memory", "next_memory"):
                past[key] = rng.integers(*TRACKS, (64, 5)).astype(np.int32)
            past["reward"] = rng.choice([-1.0, 1.0], 64).astype(np.float32)
            before = np.array(networks.state.items)
            known = _known("skip", small.train, past["rows"], memory=past["memory"])
            with tf.GradientTape() as tape:
                state = networks.state(
                    networks.users(*(known[n] for n in ("numbers", "source", "skips"))), past["memory"]
                )
                ones = np.ones_like(past["action"])
                value = networks.value(networks.critic, state, past["action"], ones)
                later = networks.target_value(
                    networks.state(
                        networks.users(*(known[n] for n in ("numbers", "source", "skips"))), past["next_memory"]
                    ),
                    past["track"],
                )
                wanted = tf.stop_gradient(expected_value(past["reward"], past["done"], later, 0.9))
                loss = tf.reduce_mean((wanted - value) ** 2) + (0.0 if alone else networks.policy_loss(state, ones))
            gradient = np.asarray(tf.convert_to_tensor(tape.gradient(loss, networks.state.items)))
            agent.learn(small.train, past)
            moved[name] = np.array(networks.state.items) - before
            clear = np.abs(gradient) > 1e-5
            np.testing.assert_allclose(moved[name][clear], -1e-3 * np.sign(gradient)[clear], rtol=2e-2)
        assert (moved["critic"] != moved["both"]).any()

    def test_replay_is_uniform_and_unweighted(self, small):
        options = released_options(rounds=1, round_steps=640, walks=64, batch_size=64, buffer=512, jit=False)
        learner = Learner(options, small.train, TRACKS)
        learner.round(0)
        replay = learner.replay
        places, _, weights = replay.sample(512, 0.7, np.random.default_rng(1))
        assert (weights == 1).all() and sorted(places) == list(range(512))  # one from each equal slice

    def test_noise(self):
        """Of the notebook of skips; that of tracks has none."""
        skips, tracks = released_options(), released_options(task="seq")
        found = [strength(skips.noise_start, skips.noise_decay, skips.noise_floor, n) for n in range(4)]
        assert skips.noise == "bernoulli" and found == pytest.approx([0.9 * 0.5 * 0.9**n for n in range(4)])
        assert tracks.noise == "none" and released_options(task="seq", noise="bernoulli").noise == "bernoulli"

    def test_all_together(self, small):
        options = released_options(rounds=1, round_steps=640, walks=64, batch_size=64, buffer=512, jit=False)
        assert options.switches == RELEASED_DDPG
        result = learn(options, small)
        assert result.learner.sizes.users == len(small.train)
        figures = figures_of(result, small)
        assert 0 <= figures["maa"] <= figures["accuracy"] <= 1


def _arrays(agent):
    return [np.array(v) for v in agent.networks.target_actor.weights]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"walks": 0}, "--walks is 0"),
        ({"gamma": 1.5}, "--gamma is 1.5"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan"),
        ({"noise": "bernoulli", "noise_start": 1.5}, "--noise-start is 1.5"),
        ({"round_steps": 10}, "--ddpg.walks"),
        ({"buffer": 300}, "must hold a batch"),
        ({"seed": -1}, "--seed"),
    ],
)
def test_wrong_options_are_told(changes, message):
    with pytest.raises(UserError, match=message):
        DdpgOptions(**changes)


def test_what_is_given_wins_over_the_protocol_even_if_it_is_the_default():
    given = ("--ddpg.spread", "0.3", "--ddpg.noise", "ornstein-uhlenbeck", "--ddpg.priority", "0.6")
    options = ["--model", "ddpg", "--task", "skip", "--epochs", "1", "--protocol"]
    left, chosen = (parse(SessionOptions, [*options, "released", *more]).of_ddpg for more in ((), given))
    assert (left.spread, left.noise, left.priority, left.buffer) == (0.01, "bernoulli", 0.0, 10_000)
    assert (chosen.spread, chosen.noise, chosen.priority, chosen.buffer) == (0.3, "ornstein-uhlenbeck", 0.6, 10_000)
    corrected = parse(SessionOptions, [*options, "corrected"]).of_ddpg
    assert corrected == DdpgOptions(rounds=1) and corrected.first_vectors == "auto" and left.first_vectors == "noise"


def test_options_can_be_parsed():
    assert parse(DdpgOptions, ["--walks", "64"]).walks == 64
    assert learning.MONITORS.keys() == {"skip", "seq"}
