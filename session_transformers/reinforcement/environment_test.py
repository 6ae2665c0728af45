import numpy as np
import pytest

from common.options import UserError
from session_transformers.reinforcement.environment import Rows, SessionEnvironment
from session_transformers.sessions.halves import Halves

TRACKS = (3, 60)


def sessions(count=6, seed=0, short=()):
    rng = np.random.default_rng(seed)
    tracks = rng.integers(*TRACKS, (count, 20)).astype(np.int32)
    skips = rng.integers(0, 2, (count, 20)).astype(np.uint8)
    for row, length in short:
        tracks[row, 10 + length :] = 0
        tracks[row, length:10] = 0
        skips[row, 10 + length :] = 0
        skips[row, length:10] = 0
    return Halves(tracks, skips)


def begun(halves, task="skip", rows=None, **changes):
    environment = SessionEnvironment(halves, task, TRACKS, **changes)
    environment.begin(np.arange(len(halves)) if rows is None else np.array(rows), np.random.default_rng(1))
    return environment


def naive_memory(tracks, played, length):
    """The last ``length`` tracks that were played."""
    kept = [track for track, was in zip(tracks, played, strict=True) if was and track]
    return [0] * (length - len(kept[-length:])) + kept[-length:]


@pytest.mark.parametrize("length", [5, 12])
def test_skips_are_walked_as_a_loop_walks_them(length):
    halves = sessions(short=[(2, 7)])
    environment = begun(halves, memory=length)
    rng, over = np.random.default_rng(5), np.zeros(len(halves), bool)
    decided = [[] for _ in halves.tracks]
    for place in range(10):
        seen = environment.observe()
        choices = rng.integers(0, 2, len(halves))
        step = environment.step(choices)
        for row in np.flatnonzero(~over):
            assert seen.places[row] == place
            assert seen.candidates[row] == [halves.target[row, place]]
            played = [*(halves.source_skips[row] == 0), *decided[row]]
            heard = [*halves.source[row], *halves.target[row, :place]]
            assert seen.memory[row].tolist() == naive_memory(heard, played, length)
            assert step.reward[row] == (1 if choices[row] == halves.target_skips[row, place] else -1)
            decided[row].append(choices[row] == 0)
            heard = [*halves.source[row], *halves.target[row, : place + 1]]
            played = [*(halves.source_skips[row] == 0), *decided[row]]
            assert step.memory[row].tolist() == naive_memory(heard, played, length)
        np.testing.assert_array_equal(step.done[~over], place + 1 == np.where(np.arange(6) == 2, 7, 10)[~over])
        over |= step.done
    assert over.all()


def test_nothing_of_the_second_half_leaks_into_what_is_seen():
    one = sessions()
    two = Halves(one.tracks, np.concatenate([one.source_skips, 1 - one.target_skips], axis=1))
    walks = [begun(halves) for halves in (one, two)]
    for _ in range(10):
        first, second = (walk.observe() for walk in walks)
        np.testing.assert_array_equal(first.memory, second.memory)
        np.testing.assert_array_equal(first.candidates, second.candidates)
        rewards = [walk.step(np.zeros(6, np.int64)).reward for walk in walks]
        np.testing.assert_array_equal(rewards[0], -rewards[1])


def test_recorded_memory_takes_what_was_truly_played():
    halves = sessions()
    environment = begun(halves, follow="recorded")
    for place in range(10):
        step = environment.step(np.ones(6, np.int64))
        for row in range(6):
            heard, skips = halves.tracks[row, : 11 + place], halves.skips[row, : 11 + place]
            assert step.memory[row].tolist() == naive_memory(heard, skips == 0, 5)


@pytest.mark.parametrize("follow", ["choice", "recorded"])
def test_tracks_are_matched_among_one_true_and_99_drawn(follow):
    halves = sessions(count=200)
    environment = begun(halves, "seq", follow=follow)
    slots, rng = [], np.random.default_rng(3)
    for place in range(10):
        seen = environment.observe()
        true = halves.target[:, place]
        assert seen.candidates.shape == (200, 100)
        assert seen.candidates.min() >= TRACKS[0] and seen.candidates.max() < TRACKS[1]
        assert ((seen.candidates == true[:, None]).sum(axis=1) == 1).all()
        slots.append((seen.candidates == true[:, None]).argmax(axis=1))
        choices = np.where(rng.random(200) < 0.5, slots[-1], rng.integers(0, 100, 200))
        step = environment.step(choices)
        chosen = seen.candidates[np.arange(200), choices]
        np.testing.assert_array_equal(step.reward, chosen == true)
        np.testing.assert_array_equal(step.memory[:, -1], chosen if follow == "choice" else true)
        np.testing.assert_array_equal(step.memory[:, :-1], seen.memory[:, 1:])
    counts = np.bincount(np.concatenate(slots), minlength=100)
    assert counts.min() > 5 and counts.max() < 45  # 2000 true tracks in 100 places


def test_sessions_that_are_over_make_room_for_others():
    halves = sessions(count=8, short=[(1, 5)])
    environment = begun(halves, rows=[0, 1, 2])
    for _ in range(5):
        step = environment.step(np.zeros(3, np.int64))
    assert step.done.tolist() == [False, True, False]
    kept = environment.observe().memory[[0, 2]]
    environment.renew(step.done, np.array([6]))
    seen = environment.observe()
    assert seen.rows.tolist() == [0, 6, 2] and seen.places.tolist() == [5, 0, 5]
    assert seen.candidates[:, 0].tolist() == [halves.target[0, 5], halves.target[6, 0], halves.target[2, 5]]
    np.testing.assert_array_equal(seen.memory[[0, 2]], kept)
    assert seen.memory[1].tolist() == naive_memory(halves.source[6], halves.source_skips[6] == 0, 5)


def test_rows_give_every_session_before_one_comes_again():
    rows = Rows(7, np.random.default_rng(1))
    taken = np.concatenate([rows.take(count) for count in (3, 0, 9, 2)])
    assert sorted(taken[:7]) == list(range(7)) and sorted(taken[7:]) == list(range(7))


def test_no_sessions_and_no_choice_are_refused():
    empty = Halves(np.zeros((0, 20), np.int32), np.zeros((0, 20), np.uint8))
    with pytest.raises(UserError, match="no sessions"):
        SessionEnvironment(empty, "skip", TRACKS)
    with pytest.raises(UserError, match="two tracks"):
        SessionEnvironment(sessions(), "seq", (3, 4))
