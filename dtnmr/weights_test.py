from dataclasses import replace

import numpy as np
import pytest

from common.options import UserError
from dtnmr.model import Networks
from dtnmr.model_test import DATA, SMALL, batch
from dtnmr.weights import architecture_of, from_torch, load_released, save_released, to_torch

RELEASED = replace(SMALL, rating="linear", final_relu=True)


@pytest.fixture(scope="module")
def model():
    return Networks(RELEASED, seed=4)


def arrays_of(model):
    return to_torch(model.architecture, {name: np.asarray(variable) for name, variable in model.named.items()})


def test_to_a_file_and_back(model, tmp_path):
    save_released(tmp_path / "w.npz", model)
    for architecture in (RELEASED, None):
        again = load_released(tmp_path / "w.npz", architecture)
        for name, variable in model.named.items():
            np.testing.assert_array_equal(again.named[name], variable)
    np.testing.assert_array_equal(np.asarray(load_released(tmp_path / "w.npz", RELEASED)(batch())), model(batch()))
    assert architecture_of(arrays_of(model), 6, 3) == RELEASED
    assert DATA.song_width == RELEASED.song_width


def test_the_whole_network_equals_torch(model):
    torch = pytest.importorskip("torch")
    arrays = arrays_of(model)
    state = {name: torch.tensor(array.copy()) for name, array in arrays.items()}
    inputs = batch(5)
    songs = np.zeros((len(inputs.lengths), DATA.song_width + 1), np.float32)
    songs[:, 0] = inputs.lengths
    songs[inputs.song_rows, inputs.song_bits + 1] = 1.0
    persons = np.zeros((5, DATA.user_width + DATA.song_width), np.float32)
    persons[inputs.user_rows, inputs.user_bits] = 1.0

    def body(part, x):
        for number in (0, 2, 4):
            x = torch.relu(x @ state[f"{part}.body.{number}.weight"].T + state[f"{part}.body.{number}.bias"])
        return x

    lstm = torch.nn.LSTM(RELEASED.embedding + 2, RELEASED.lstm, 2, batch_first=True)
    lstm.load_state_dict({name.removeprefix("UDFC.lstm."): v for name, v in state.items() if "lstm" in name})
    vectors, user = body("MFC", torch.tensor(songs)), body("USFC", torch.tensor(persons))
    how = np.zeros((*inputs.behaviours.shape, 3), np.float32)
    np.put_along_axis(how, inputs.behaviours[..., None] % 3, 1.0, axis=2)  # -1 sets a column that is left out
    x = torch.cat([vectors[torch.tensor(inputs.history).long()], torch.tensor(how[..., :2])], dim=-1)
    for length, first in ((6, 0), (3, 3)):
        short = torch.tensor(inputs.live.sum(axis=1)).long().clamp(max=length)
        last = torch.stack([lstm(row[6 - int(n) :][None])[0][0, -1] for row, n in zip(x, short, strict=True)])
        assert first == 6 - length
        between = last @ state["UDFC.body.0.weight"].T + state["UDFC.body.0.bias"]
        user = user + torch.relu(between @ state["UDFC.body.2.weight"].T + state["UDFC.body.2.bias"])
    candidates = vectors[torch.tensor(inputs.candidates).long()]
    both = torch.cat([user[:, None].expand_as(candidates), candidates], dim=-1)
    scores = both @ state["RC.weight"].T + state["RC.bias"]
    np.testing.assert_allclose(np.asarray(model(inputs)), scores[..., 0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("RC.bias"), "RC.bias missing"),
        (lambda a: a.update({"more": np.zeros(2, np.float32)}), "more has no place"),
        (lambda a: a.update({"RC.weight": a["RC.weight"].T}), "RC.weight has shape .12, 1.; the model expects .1, 12."),
        (lambda a: a.update({"RC.bias": np.full(1, np.nan, np.float32)}), "RC.bias holds values"),
        (lambda a: a.update({"RC.bias": np.zeros(1, np.int64)}), "RC.bias holds values"),
    ],
)
def test_wrong_arrays_are_named(model, change, message):
    arrays = arrays_of(model)
    change(arrays)
    with pytest.raises(UserError, match=message):
        from_torch(RELEASED, arrays)


def test_wrong_files_and_architectures_are_refused(model, tmp_path):
    with pytest.raises(UserError, match="rating is linear, not dot"):
        to_torch(SMALL, {})
    with pytest.raises(UserError, match="ReLU after its last layers"):
        to_torch(replace(SMALL, rating="linear"), {})
    (tmp_path / "no.npz").write_bytes(b"no")
    with pytest.raises(UserError, match=r"no.npz: cannot be read as npz"):
        load_released(tmp_path / "no.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(UserError, match=r"other.npz: not weights of the released DTNMR"):
        load_released(tmp_path / "other.npz")
    save_released(tmp_path / "w.npz", model)
    with pytest.raises(UserError, match=r"w.npz: the state dict: USFC.body.0.weight has shape"):
        load_released(tmp_path / "w.npz", replace(RELEASED, song_width=4))
