"""State, actor, critic, targets, losses and choice against the released PyTorch classes."""

import numpy as np
import pytest
from keras import ops

from common.options import UserError
from conftest import GOLDEN
from session_transformers.reinforcement.networks import Networks, expected_value
from session_transformers.reinforcement.released import from_torch, sizes_of

pytestmark = pytest.mark.golden
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN / "session_transformers" / "ddpg_nets.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def torch_arrays(golden):
    return {name[2:].replace("__", ".", 1): array for name, array in golden.items() if name.startswith("w_")}


@pytest.fixture(scope="module")
def networks(golden):
    arrays = torch_arrays(golden)
    built = Networks(sizes_of(arrays, golden["in_memory"].shape[1]), judged="action", unit_actions=False)
    from_torch(built, arrays)
    return built


def states(networks, golden, memory):
    return networks.state(networks.state.user_rows(golden["in_user"]), golden[memory])


def test_sizes(networks, golden):
    sizes = networks.sizes
    assert (sizes.users, sizes.vocabulary - 1) == (golden["cfg_users"], golden["cfg_items"])
    assert (sizes.embedding, sizes.hidden) == (golden["cfg_emb"], golden["cfg_hidden"])


def test_state_action_and_value(networks, golden):
    state = states(networks, golden, "in_memory")
    np.testing.assert_allclose(state, golden["out_state"], **CLOSE)
    action = networks.action(networks.actor, state)
    np.testing.assert_allclose(action, golden["out_action"], **CLOSE)
    value = networks.value(networks.critic, state, action, ops.ones_like(action))
    np.testing.assert_allclose(value, golden["out_q"][:, 0], **CLOSE)


def test_targets_and_losses(networks, golden):
    state, after = (states(networks, golden, name) for name in ("in_memory", "in_next_memory"))
    any_track = np.zeros(len(after), np.int32)
    target = networks.target_value(after, any_track)
    np.testing.assert_allclose(target, golden["out_target_q"][:, 0], **CLOSE)
    gamma = float(golden["cfg_gamma"])
    expected = expected_value(golden["in_reward"][:, 0], golden["in_done"][:, 0], target, gamma)
    np.testing.assert_allclose(expected, golden["out_expected_value"][:, 0], **CLOSE)
    np.testing.assert_allclose(np.mean((golden["out_q"][:, 0] - expected) ** 2), golden["out_value_loss"], **CLOSE)
    loss = networks.policy_loss(state, networks.compared(state, any_track))
    np.testing.assert_allclose(loss, golden["out_policy_loss"], **CLOSE)


def test_choice(networks, golden):
    candidates = golden["in_candidates"]
    action = networks.actor(states(networks, golden, "in_memory"))[:1]
    scores = np.asarray(networks.state.scores(action, candidates[None]))[0]
    np.testing.assert_allclose(scores, golden["out_scores_user0"], **CLOSE)
    assert candidates[scores.argmax()] == golden["out_choice_user0"]


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_wrong_weights_are_refused_and_change_nothing(networks, golden, change):
    arrays = torch_arrays(golden)
    if change == "missing":
        del arrays["critic.layers.0.weight"]
    elif change == "extra":
        arrays["critic.layers.4.weight"] = np.zeros((1, 1), np.float32)
    else:
        arrays["critic.layers.0.weight"] = arrays["critic.layers.0.weight"][:, 1:]
    arrays["actor.layers.0.bias"] = arrays["actor.layers.0.bias"] + 1
    before = [np.array(weight) for weight in networks.weights]
    with pytest.raises(UserError, match="critic"):
        from_torch(networks, arrays)
    for old, new in zip(before, networks.weights, strict=True):
        np.testing.assert_array_equal(old, new)
