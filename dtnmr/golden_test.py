"""The network, its gradients and its training against the released PyTorch code."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from conftest import GOLDEN
from dtnmr.batches import Batch, Batches, Negatives, touched
from dtnmr.dataset import SONG_FEATURES, USER_FEATURES
from dtnmr.losses import make_loss, softmax
from dtnmr.model import Inputs, Networks, summed_rows
from dtnmr.options import DataOptions
from dtnmr.preprocess import prepare
from dtnmr.training import Trainer, make_optimizer
from dtnmr.weights import architecture_of, build, from_torch, to_torch

pytestmark = pytest.mark.golden
FOLDER = GOLDEN / "dtnmr"


@pytest.fixture(scope="module")
def arrays():
    with np.load(FOLDER / "model_default.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def training():
    return json.loads((FOLDER / "training_default.json").read_text())


@pytest.fixture(scope="module")
def expected():
    return json.loads((FOLDER / "expected_default.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def torch_weights(arrays, training):
    """The initial weights, drawn as PyTorch does after ``manual_seed``: the file need not hold 4 MB of them."""
    songs, persons = (arrays[name].shape[-1] for name in ("in/candidates_CBD", "in/user"))
    embedding = arrays["mid/candidate_embedding_CBE"].shape[-1]
    hidden, behaviours = arrays["mid/long/h_n"].shape[-1], arrays["in/behaviors_LBD"].shape[-1]
    sizes = [arrays[f"mid/USFC/{i}_Linear"].shape[-1] for i in (0, 2, 4)]
    drawn = np.random.RandomState(training["init_seed"])  # the same generator, MT19937, seeded alike

    def uniform(shape, bound):
        bound = np.float32(bound)
        bits = drawn.randint(0, 2**32, int(np.prod(shape)), dtype=np.uint64) & 0xFFFFFF
        return (bits * 2.0**-24 * np.float64(bound + bound) - np.float64(bound)).astype(np.float32).reshape(shape)

    found = {}

    def linear(name, inputs, units):
        bound = 1.0 / math.sqrt(inputs)
        found.update({f"{name}.weight": uniform((units, inputs), bound), f"{name}.bias": uniform((units,), bound)})

    for part, width in (("USFC", persons), ("MFC", songs)):
        for i, (inputs, units) in enumerate(zip([width, *sizes], sizes, strict=False)):
            linear(f"{part}.body.{2 * i}", inputs, units)
    for layer, inputs in enumerate([embedding + behaviours, hidden]):
        for kind, shape in (("weight_ih", (4 * hidden, inputs)), ("weight_hh", (4 * hidden, hidden))):
            found[f"UDFC.lstm.{kind}_l{layer}"] = uniform(shape, 1.0 / math.sqrt(hidden))
        for kind in ("bias_ih", "bias_hh"):
            found[f"UDFC.lstm.{kind}_l{layer}"] = uniform((4 * hidden,), 1.0 / math.sqrt(hidden))
    linear("UDFC.body.0", hidden, hidden)
    linear("UDFC.body.2", hidden, embedding)
    linear("RC", 2 * embedding, 1)
    return found


def test_weights_drawn_are_those_in_the_file(arrays, torch_weights):
    for name, array in arrays.items():
        if name.startswith("w/"):
            np.testing.assert_array_equal(torch_weights[name.removeprefix("w/")], array)


@pytest.fixture(scope="module")
def architecture(arrays, torch_weights, expected):
    found = architecture_of(torch_weights, int(expected["options"]["lt"]), int(expected["options"]["st"]))
    assert found.long_length == len(arrays["in/playlist_LBD"])
    assert found.behaviours == arrays["in/behaviors_LBD"].shape[-1]
    return found


def model_of(architecture, torch_weights):
    return build(architecture, from_torch(architecture, torch_weights))


@pytest.fixture(scope="module")
def model(architecture, torch_weights):
    return model_of(architecture, torch_weights)


@pytest.fixture(scope="module")
def inputs(arrays):
    """The golden batch as lists of columns; the dense vectors' own columns are kept."""
    playlist, candidates = arrays["in/playlist_LBD"].transpose(1, 0, 2), arrays["in/candidates_CBD"].transpose(1, 0, 2)
    rows, length, width = playlist.shape
    dense = np.concatenate([playlist.reshape(-1, width), candidates.reshape(-1, width)])
    distinct, place = np.unique(dense, axis=0, return_inverse=True)
    song_rows, song_bits = np.nonzero(distinct[:, 1:])
    user_rows, user_bits = np.nonzero(arrays["in/user"])
    how = arrays["in/behaviors_LBD"].transpose(1, 0, 2)
    place = place.reshape(-1).astype(np.int32)
    return Inputs(
        song_bits.astype(np.int32), song_rows.astype(np.int32), distinct[:, 0].astype(np.float32),
        user_bits.astype(np.int32), user_rows.astype(np.int32),
        place[: rows * length].reshape(rows, length),
        np.where(how.any(axis=-1), how.argmax(axis=-1), -1).astype(np.int32),
        np.ones((rows, length), np.float32),
        place[rows * length :].reshape(rows, -1),
    )  # fmt: skip


def close(ours, theirs):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=1e-5)


def test_every_layer(arrays, architecture, model, inputs):
    kernel = np.asarray(model.named["user.0.kernel"])
    first = summed_rows(kernel, inputs.user_bits, inputs.user_rows, len(inputs.history))
    np.testing.assert_allclose(np.asarray(first), arrays["in/user"] @ kernel, rtol=0, atol=1e-6)
    layer = first
    for part, number in zip(model.tower["user"], (1, 3, 5), strict=True):
        layer = part(layer)
        close(layer, arrays[f"mid/USFC/{number}_ReLU"])
    songs = summed_rows(
        np.asarray(model.named["song.0.kernel"]), inputs.song_bits, inputs.song_rows, len(inputs.lengths)
    )
    vectors = model.music(songs, inputs.lengths)
    heard, candidates = (ops.take(vectors, places, axis=0) for places in (inputs.history, inputs.candidates))
    close(heard, arrays["mid/playlist_embedding_LBE"].transpose(1, 0, 2))
    close(candidates, arrays["mid/candidate_embedding_CBE"].transpose(1, 0, 2))
    x = np.concatenate([arrays["mid/playlist_embedding_LBE"], arrays["in/behaviors_LBD"]], axis=-1)
    dynamic = 0.0
    for name, length in (("long", architecture.long_length), ("short", architecture.short_length)):
        live = ops.ones((length, x.shape[1], 1))
        states = ops.convert_to_tensor(x[-length:])
        for layer, final in zip(model.lstm, arrays[f"mid/{name}/h_n"], strict=True):
            states = layer(states, live)
            close(states[-1], final)
        between = model.head[0](states[-1])
        preference = model.head[1](between)
        close(between, arrays[f"mid/{name}/head/0_Linear"])
        close(preference, arrays[f"mid/{name}/head/3_ReLU"])
        dynamic = dynamic + preference
    close(dynamic, arrays["mid/user_dynamic"])
    user = model.users(first, vectors, inputs)
    close(user, arrays["mid/user_feature"])
    scores = model.rating(user, candidates)
    close(scores, arrays["out/scores_BC1"][..., 0])
    close(model(inputs), arrays["out/scores_BC1"][..., 0])
    assert abs(float(np.mean(softmax(scores, np.zeros(len(user), np.int32)))) - arrays["out/loss"]) < 1e-6
    hits = np.mean(np.asarray(scores).argmax(axis=1) == 0)
    assert abs(hits - arrays["out/accuracy"]) < 1e-6


def test_gradients(arrays, architecture, model, inputs, training):
    variables = {name: variable.value for name, variable in model.named.items()}
    with tf.GradientTape() as tape:
        value = tf.reduce_mean(softmax(model(inputs), np.zeros(len(inputs.history), np.int32)))
    found = tape.gradient(value, variables)
    found = to_torch(architecture, {name: tf.convert_to_tensor(gradient).numpy() for name, gradient in found.items()})
    for name, gradient in found.items():
        norm, theirs = np.linalg.norm(gradient), training["grad_norms_first_batch"][name]
        # On the user's side there is only rounding noise: its norm is compared with the smallest real one.
        assert norm == pytest.approx(theirs, rel=1e-4, abs=1e-6), name
        if f"grad/{name}" in arrays:
            np.testing.assert_allclose(gradient, arrays[f"grad/{name}"], rtol=1e-4, atol=1e-7)


def trainer_of(model, user_side, rate=0.1):
    return Trainer(model, make_optimizer("sgd", model.named, rate), make_loss("softmax"), user_side=user_side)


def without_dropout(architecture, torch_weights):
    return model_of(replace(architecture, dropout=0.0), torch_weights)


@pytest.mark.slow
@pytest.mark.parametrize("user_side", [False, True])
def test_losses_of_the_first_steps_on_one_batch(architecture, torch_weights, inputs, training, user_side):
    (name,) = (name for name in training if name.startswith("fixed_batch_lr"))
    rate, losses = float(re.fullmatch(r"fixed_batch_lr([\d.]+)_\d+_steps", name)[1]), training[name][:50]
    model = without_dropout(architecture, torch_weights)
    before = {name: np.array(variable) for name, variable in model.named.items()}
    trainer = trainer_of(model, user_side, rate)
    weights = np.ones(len(inputs.history), np.float32)
    batch = Batch(inputs, touched(inputs.user_bits), touched(inputs.song_bits), weights)
    ours = [float(trainer.step(batch)[0]) for _ in losses]
    np.testing.assert_allclose(ours, losses, rtol=0, atol=1e-4)
    moved = {name: np.abs(np.asarray(variable) - before[name]).max() for name, variable in model.named.items()}
    for name, change in moved.items():
        of_user = name.startswith(("user.", "lstm.", "head."))
        assert change < 1e-6 if of_user else name in ("rating.user", "rating.bias") or change > 1e-3, name


def test_users_cancel_out_of_linear_only(architecture, torch_weights, inputs, training):
    model = model_of(architecture, torch_weights)
    other = np.roll(np.arange(len(inputs.history)), -1)  # each user takes the place of the next
    order = np.argsort(other[inputs.user_rows], kind="stable")
    swapped = inputs._replace(
        user_bits=inputs.user_bits[order], user_rows=other[inputs.user_rows][order].astype(np.int32),
        history=np.roll(inputs.history, 1, axis=0), behaviours=np.roll(inputs.behaviours, 1, axis=0),
    )  # fmt: skip

    def change(model):
        one, two = (np.asarray(model(x), np.float64) for x in (inputs, swapped))
        shares = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (one, two)]
        return np.abs(one - two).max(), np.abs(shares[0] - shares[1]).max()

    scores, shares = change(model)
    assert scores == pytest.approx(training["user_swap_max_abs_score_change"], rel=1e-3)
    assert shares < 1e-7
    for rating in ("dot", "mlp"):
        reacting = Networks(replace(architecture, rating=rating))
        for name, variable in reacting.named.items():
            if name in model.named and not name.startswith("rating."):
                variable.assign(model.named[name])
        assert change(reacting)[1] > 1e-6, rating


@pytest.fixture(scope="module")
def prepared(expected, tmp_path_factory):
    given = expected["options"]
    options = DataOptions(
        top=float(given["top"]), min_playlist_len=int(given["min_len"]), max_playlist_len=int(given["max_len"]),
        subset_size=int(given["subset"]), short_term_len=int(given["st"]), long_term_len=int(given["lt"]),
    )  # fmt: skip
    return prepare(FOLDER / "csv", tmp_path_factory.mktemp("golden") / "out", options, "released")


def in_our_order(weights, data, orders):
    """Torch weights with the columns of the inputs sorted as ours are."""

    def places(features):
        found, start = [], 0
        for feature in features:
            theirs = {value: start + number for number, value in enumerate(orders[feature])}
            found += [theirs[value] for value in data.values["behaviour" if feature == "behavior" else feature]]
            start += len(theirs)
        return np.array(found)

    songs, persons, how = places(SONG_FEATURES), places(USER_FEATURES), places(["behavior"])
    found = dict(weights)
    found["MFC.body.0.weight"] = weights["MFC.body.0.weight"][:, np.concatenate([[0], 1 + songs])]
    found["USFC.body.0.weight"] = weights["USFC.body.0.weight"][:, np.concatenate([persons, len(persons) + songs])]
    lstm = weights["UDFC.lstm.weight_ih_l0"]
    embedding = lstm.shape[1] - len(how)
    found["UDFC.lstm.weight_ih_l0"] = lstm[:, np.concatenate([np.arange(embedding), embedding + how])]
    return found


@pytest.mark.slow
def test_losses_of_20_batches_from_our_own_preparation(architecture, torch_weights, prepared, expected, training):
    batches, data = training["batches_of_16"], prepared
    model = without_dropout(architecture, in_our_order(torch_weights, data, expected["column_order_seed0"]))
    place = {row: number for number, row in enumerate(expected["kept_song_rows"])}
    points = expected["train"]["points"]
    user = {row: number for number, row in enumerate(expected["kept_user_rows"])}
    played = data.songs_played
    labels = played.values[played.indptr[data.train.playlists] + data.train.positions]
    ours = {(u, s): i for i, (u, s) in enumerate(zip(data.owners[data.train.playlists], labels, strict=True))}
    some = Negatives(data, "released", int(expected["options"]["subset"]) - 1)
    maker = Batches(model.architecture, data, data.train, some, len(batches["point_index"][0]), 1)
    trainer = trainer_of(model, True)
    losses = []
    for chosen, negatives in zip(batches["point_index"], batches["negative_song_rows"], strict=True):
        rows = np.array([ours[user[points[i][0]], place[points[i][1]]] for i in chosen])
        drawn = np.zeros((len(data.train), len(negatives[0])), np.int32)
        drawn[rows] = [[place[song] for song in some] for some in negatives]
        batch = maker.batch(rows, drawn)
        if not losses:
            close(model(batch.inputs), np.array(batches["first_batch_scores_at_init"]))
        losses.append(float(trainer.step(batch)[0]))
    np.testing.assert_allclose(losses, batches["losses_lr0_1"], rtol=0, atol=1e-4)


def test_dead_songs_give_the_loss_of_chance(architecture, torch_weights, inputs):
    edge = json.loads((FOLDER / "edge_cases.json").read_text("utf-8"))
    loss, accuracy = edge["all music embeddings zero (dead ReLU): loss, reported accuracy"]
    model = without_dropout(architecture, torch_weights)
    model.named["song.2.bias"].assign(np.full(architecture.embedding, -100.0))
    weights = np.ones(len(inputs.history), np.float32)
    batch = Batch(inputs, touched(inputs.user_bits), touched(inputs.song_bits), weights)
    value, hits, alive = trainer_of(model, False).step(batch)
    assert float(value) == pytest.approx(loss, abs=1e-6) and int(alive) == 0
    assert accuracy == 1.0 and float(hits) == 0.0  # ties count for the label there, against it here
