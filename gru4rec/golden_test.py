"""Batches, draws, losses, gradients and weights against the official PyTorch and TensorFlow code."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.negatives import cumulative, invert
from common.optimizers import RowAdagrad
from common.sessions import Sessions
from conftest import GOLDEN
from gru4rec.batches import session_parallel
from gru4rec.losses import make_loss
from gru4rec.training import SessionTrainer, chunks
from gru4rec.weights import build, from_official, to_official

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "gru4rec"
TORCH = sorted(path.stem.removeprefix("train_") for path in FOLDER.glob("train_*.npz"))
TENSORFLOW = sorted(path.stem.removeprefix("tfofficial_") for path in FOLDER.glob("tfofficial_*.npz"))
(BATCH,) = (int(path.stem.removeprefix("batches_train_b")) for path in FOLDER.glob("batches_train_b*.npz"))
TF_SETTINGS = {"T1": "A", "T2": "B", "T3": "C", "T4": "E"}


def test_all_golden_files_are_there():
    assert [name[0] for name in TORCH] == list("ABCDEFG") and [name[:2] for name in TENSORFLOW] == [
        "T1",
        "T2",
        "T3",
        "T4",
    ]


def load(name):
    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def part(arrays, prefix):
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


@pytest.fixture(scope="module")
def batches():
    return load(f"batches_train_b{BATCH}")


def sessions_of(batches):
    """The sessions in the official order, as this project keeps them."""
    order, offsets = batches["session_order"], batches["offset_sessions"].astype(np.int64)
    lengths = np.diff(offsets)[order]
    places = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in order])
    return Sessions(
        batches["data_items"][places].astype(np.int32),
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.arange(len(order), dtype=float),
    )


@pytest.fixture(scope="module")
def sessions(batches):
    return sessions_of(batches)


@pytest.fixture(scope="module")
def support(batches):
    return np.bincount(batches["data_items"])


@pytest.mark.parametrize("name", ["train", "test"])
def test_batches_equal_the_official_ones_at_every_step(name):
    arrays = load(f"batches_{name}_b{BATCH}")
    sessions = sessions_of(arrays)
    steps = session_parallel(sessions, BATCH)
    there = steps.events >= 0
    items = np.where(there, sessions.items[steps.events], -1)
    targets = np.where(there, sessions.items[np.where(there, steps.events + 1, 0)], -1)
    np.testing.assert_array_equal(items, arrays["input_idx"])
    np.testing.assert_array_equal(targets, arrays["target_idx"])
    np.testing.assert_array_equal(steps.live, arrays["n_valid"])
    session = np.searchsorted(sessions.offsets, steps.events, side="right") - 1
    np.testing.assert_array_equal(np.where(there, arrays["session_order"][session], -1), arrays["session_pos"])
    # The state of a row is new exactly where a session begins, and belongs to the same session otherwise.
    begins = steps.events == sessions.offsets[session]
    np.testing.assert_array_equal((steps.carry < 0) & there, begins & there)
    for t in range(1, len(steps)):
        rows = np.flatnonzero(there[t] & ~begins[t])
        np.testing.assert_array_equal(session[t, rows], session[t - 1, steps.carry[t, rows]])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.75, 1.0])
def test_negatives_are_drawn_as_officially(alpha):
    arrays = load("sampler")
    function = cumulative(arrays["pop"], alpha)
    np.testing.assert_allclose(function, arrays[f"cdf_alpha{alpha}"], atol=2e-7)
    np.testing.assert_array_equal(invert(function, arrays["u"]), arrays[f"idx_alpha{alpha}"])


def settings(name):
    found = json.loads((FOLDER / "meta.json").read_text())
    configs = found["configs"]
    return next(value for key, value in configs.items() if key.startswith(name)), found["batch_size"]


def trainer(name, arrays, support, jit=True):
    config, batch_size = settings(name)
    model = build(*from_official(part(arrays, "init/")))
    optimizer = RowAdagrad(model.named, config["learning_rate"], config["momentum"])
    loss = make_loss(config["loss"], config.get("bpreg", 1.0), config.get("elu_param", 0.0))
    logq = config.get("logq", 0.0)
    return SessionTrainer(model, optimizer, loss, batch_size, support, logq=logq, alpha=config["sample_alpha"], jit=jit)


@pytest.fixture(scope="module")
def fresh(support):
    """Trainers as at their start, by setting; each is compiled once, which takes longest."""
    made = {}

    def of(name, arrays):
        if name not in made:
            one = trainer(name, arrays, support)
            variables = [*one.model.named.values(), *one.optimizer.state.values()]
            made[name] = one, [(variable, np.array(variable)) for variable in variables]
        one, start = made[name]
        for variable, value in start:
            variable.assign(value)
        return one

    return of


def assert_weights(model, expected, tolerance=5e-6):
    _, theirs = from_official(expected)
    for name, variable in model.named.items():
        np.testing.assert_allclose(np.asarray(variable), theirs[name], atol=tolerance, rtol=0, err_msg=name)


def of_one_shape(sessions, batch_size, negatives):
    """The chunks of an epoch, the places of repeated items padded to the most there can be: one program runs them."""
    for chunk in chunks(sessions, batch_size, negatives):
        most = 1 << (2 * batch_size + negatives.shape[1]).bit_length()
        missing = [(0, 0), (0, most - chunk.again.shape[1])]
        yield replace(chunk, again=np.pad(chunk.again, missing), first=np.pad(chunk.first, missing))


def drawn(arrays, name):
    """The negatives of a file; a setting without any has none."""
    return arrays.get(name, np.empty((1000, 0))).astype(np.int32)


@pytest.mark.parametrize("name", TORCH + TENSORFLOW)
def test_the_first_steps_equal_the_official_ones(name, sessions, support, fresh):
    """Those of PyTorch compiled, those of TensorFlow, whose settings are among them, not."""
    torch = name in TORCH
    arrays = load(f"train_{name}" if torch else f"tfofficial_{name}")
    ours = fresh(name, arrays) if torch else trainer(TF_SETTINGS[name[:2]], arrays, support, jit=False)
    negatives = drawn(arrays, "negatives")
    whole = next(of_one_shape(sessions, BATCH, np.resize(negatives, (1000, negatives.shape[1]))))
    count = len(arrays["loss"])

    start = [(v, np.array(v)) for v in [*ours.model.named.values(), *ours.optimizer.state.values()]]
    ours.epoch(iter([replace(whole, steps=1)]), 0)
    assert_weights(ours.model, part(arrays, "after1/"))
    for variable, value in start:
        variable.assign(value)
    losses, live = ours.epoch(iter([replace(whole, steps=count)]), 0)
    np.testing.assert_allclose(losses, arrays["loss"], rtol=1e-5)
    assert (live == BATCH).all()
    assert_weights(ours.model, part(arrays, f"after{count}/"))
    for layer, hidden in enumerate(ours.hidden):
        np.testing.assert_allclose(hidden, arrays[f"hidden_after{count}/{layer}"], atol=5e-6)


@pytest.mark.parametrize("name", TORCH)
def test_a_whole_epoch_equals_the_official_one_with_live_rows_counted(name, sessions, fresh):
    arrays = load(f"train_{name}")
    fixed = "epoch/loss_fixedM" if "epoch/loss_fixedM" in arrays else "epoch/loss"
    ours = fresh(name, arrays)
    losses, live = ours.epoch(of_one_shape(sessions, BATCH, drawn(arrays, "epoch/negatives")), 0)
    np.testing.assert_array_equal(live, arrays["epoch/n_valid"])
    np.testing.assert_allclose(losses, arrays[fixed], rtol=2e-5)
    after = "epoch/after_fixedM/" if fixed.endswith("M") else "epoch/after/"
    assert_weights(ours.model, part(arrays, after), 3e-5)


@pytest.mark.parametrize("name", TORCH + TENSORFLOW)
def test_weights_go_to_the_official_layout_and_back(name):
    arrays = part(load(f"train_{name}" if name in TORCH else f"tfofficial_{name}"), "init/")
    architecture, weights = from_official(arrays)
    again_architecture, again = from_official(to_official(architecture, weights))
    assert again_architecture == architecture
    assert again.keys() == weights.keys()
    for key, array in weights.items():
        np.testing.assert_array_equal(again[key], array)


def test_sessions_file_is_the_one_of_the_batches(batches):
    table = pd.read_csv(Path(FOLDER) / "train.tsv", sep="\t")
    assert len(table) == len(batches["data_items"])
