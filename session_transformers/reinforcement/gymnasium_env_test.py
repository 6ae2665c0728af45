import numpy as np
import pytest

gymnasium = pytest.importorskip("gymnasium", reason="Gymnasium is not installed (extra rl)")

from gymnasium.utils.env_checker import check_env  # noqa: E402

from session_transformers.reinforcement.environment import SessionEnvironment  # noqa: E402
from session_transformers.reinforcement.environment_test import TRACKS, sessions  # noqa: E402
from session_transformers.reinforcement.gymnasium_env import SessionEnv, SessionVectorEnv  # noqa: E402


@pytest.mark.parametrize("task", ["skip", "seq"])
@pytest.mark.filterwarnings("ignore:.*not having any :UserWarning")
def test_gymnasium_accepts_the_environment(task):
    check_env(SessionEnv(SessionEnvironment(sessions(), task, TRACKS)), skip_render_check=True)


def test_a_session_is_walked_to_its_end():
    halves = sessions()
    environment = SessionEnv(SessionEnvironment(halves, "skip", TRACKS))
    seen, info = environment.reset(seed=1, options={"row": 4})
    assert info == {"row": 4} and seen["source"].tolist() == halves.source[4].tolist()
    total = 0.0
    for place in range(10):
        assert seen["place"] == place and seen["candidates"] == [halves.target[4, place]]
        seen, reward, over, cut, _ = environment.step(int(halves.target_skips[4, place]))
        total += reward
        assert over == (place == 9) and not cut
    assert total == 10
    with pytest.raises(ValueError, match=r"sessions 0\.\.5"):
        environment.reset(options={"row": 6})


@pytest.mark.parametrize("task", ["skip", "seq"])
def test_many_sessions_are_walked_side_by_side(task):
    halves = sessions(count=9, short=[(row, 3 + row) for row in range(7)])
    walks = SessionVectorEnv(SessionEnvironment(halves, task, TRACKS), num_envs=4)
    seen, _ = walks.reset(seed=3)
    again, _ = walks.reset(seed=3)
    for name in seen:
        np.testing.assert_array_equal(seen[name], again[name])
    finished = 0
    walks.action_space.seed(1)
    for _ in range(60):
        assert walks.observation_space.contains(seen)
        seen, reward, over, cut, info = walks.step(walks.action_space.sample())
        assert reward.shape == over.shape == cut.shape == (4,) and not cut.any()
        finished += over.sum()
        assert (seen["place"][over] == 0).all()
        for walk in np.flatnonzero(over):
            final = info["final_obs"][walk]
            assert walks.single_observation_space.contains(final)
            assert final["place"] + 1 == (halves.target[(halves.source == final["source"]).all(axis=1)] != 0).sum()
    assert finished > 20
