"""The networks of all papers with a made-up batch each and what they learn from it, on any backend of Keras."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, get_args

import keras
import numpy as np
from keras import ops

from audiotext.architecture import MODELS, ModelName
from audiotext.architecture import architecture as audiotext_architecture
from audiotext.losses import half_cosine
from audiotext.model import network
from dtnmr import losses as dtnmr_losses
from dtnmr.model import Inputs
from dtnmr.model import Networks as DtnmrNetworks
from dtnmr.options import Architecture as DtnmrArchitecture
from dtnmr.options import Rating
from gru4rec.losses import make_loss
from gru4rec.model import Networks as Gru4RecNetworks
from gru4rec.model import score
from gru4rec.options import Architecture as Gru4RecArchitecture
from gru4rec.options import GruKind, LossName
from seer.model import Networks as SeerNetworks
from seer.options import Architecture as SeerArchitecture
from seer.options import Variant
from session_transformers.architecture import default_architecture
from session_transformers.autoencoder.model import AutoEncoder, encode, exact_loss, held_logits, once
from session_transformers.examples import examples
from session_transformers.kinds import HALF, Ids
from session_transformers.model import build_model
from session_transformers.recurrent.architecture import default_recurrent
from session_transformers.recurrent.model import RecurrentModel
from session_transformers.reinforcement.networks import Networks, expected_value
from session_transformers.reinforcement.options import Sizes
from session_transformers.softmax import cross_entropy

FEATURES = 29


class Task(NamedTuple):
    """A network to train."""

    model: keras.Model
    loss: Callable[[Any, dict[str, Any], bool], Any]
    """(model, batch, training) -> loss."""
    batch: dict[str, np.ndarray]


class Sized:
    """Numbers of the papers' sizes, by some scale, and what is drawn."""

    def __init__(self, scale: float, dropout: bool) -> None:
        self.scale, self.dropout, self.rng = scale, dropout, np.random.default_rng(1)

    def __call__(self, size: int) -> int:
        """A size, by the scale."""
        return max(int(size * self.scale), 8)

    def rate(self, rate: float) -> float:
        """A dropout rate, or 0 where none is wanted."""
        return rate if self.dropout else 0.0

    def ids(self, high: int, *shape: int, low: int = 0) -> np.ndarray:
        """Whole numbers from ``low`` to ``high`` - 1."""
        return self.rng.integers(low, high, shape).astype(np.int32)

    def normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers."""
        return self.rng.standard_normal(shape).astype(np.float32)


def seer(sized: Sized, variant: Variant) -> Task:
    """1,000 pairs over 64 songs of 500 steps."""
    users, pairs, songs, steps = sized(32_180), sized(1000), 64, sized(500)
    architecture = SeerArchitecture(users, steps, variant, dropout=sized.rate(0.2), midi_scale=1 / 127)
    batch = {
        "user_input": sized.ids(users, pairs),
        "song_input": sized.ids(songs, pairs),
        "song_feature_input": sized.ids(128, songs, steps, architecture.features).astype(np.float32),
        "rating": sized.ids(6, pairs, low=1).astype(np.float32),
    }

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        given = {name: batch[name] for name in batch if name != "rating"}
        return ops.mean(ops.square(ops.cast(model(given, training=training), "float32") - batch["rating"]))

    return Task(SeerNetworks(architecture).model, loss, batch)


def dtnmr(sized: Sized, rating: Rating) -> Task:
    """256 plays, each with 4 negatives, over 3,000 songs; this network has no dropout outside its own trainer."""
    rows, songs, width, user_width = sized(256), sized(3000), sized(9181), sized(60)
    architecture = DtnmrArchitecture(width, user_width, 8, rating=rating)
    bits = {
        "song": np.repeat(np.arange(songs, dtype=np.int32), 5),
        "user": np.repeat(np.arange(rows, dtype=np.int32), 9),
    }
    batch = Inputs(
        sized.ids(width, len(bits["song"])), bits["song"], sized.rng.random(songs).astype(np.float32),
        sized.ids(width + user_width, len(bits["user"])), bits["user"],
        sized.ids(songs, rows, 20), sized.ids(8, rows, 20), np.ones((rows, 20), np.float32), sized.ids(songs, rows, 5),
    )  # fmt: skip
    labels = np.zeros(rows, np.int32)

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        return ops.mean(dtnmr_losses.softmax(ops.cast(model(batch), "float32"), labels))

    return Task(DtnmrNetworks(architecture).whole, loss, batch._asdict())


def audiotext(sized: Sized, name: ModelName) -> Task:
    """Batches of 32 items."""
    sizes: dict[str, Any] = {"dropout": sized.rate(0.5), "fusion_dropout": sized.rate(0.7)}
    if sized.scale < 1:
        sizes |= {"filters": tuple(sized(n) for n in (256, 512, 1024, 1024)), "text_units": (sized(2048),) * 2}
    architecture = audiotext_architecture(name, **sizes)
    widths: dict[str, tuple[int, ...]] = {"text": (architecture.text,), "audio": (architecture.audio,)}
    if architecture.reads_patches:
        widths["audio"] = (architecture.frames, architecture.bins)
    batch = {branch: sized.normal(32, *widths[branch]) for branch in architecture.inputs}

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        given = {name: batch[name] for name in batch if name != "factors"}
        return ops.mean(half_cosine(batch["factors"], model(given, training=training)))

    return Task(network(architecture), loss, batch | {"factors": sized.normal(32, architecture.factors)})


def gru4rec(sized: Sized, kind: GruKind, name: LossName) -> Task:
    """A step of 128 sessions with 2,048 negatives at 37,483 items."""
    items, rows, negatives = sized(37_483), sized(128), sized(2048)
    architecture = Gru4RecArchitecture(items, gru=kind)
    batch = {
        "items": sized.ids(items, rows),
        "columns": sized.ids(items, rows + negatives),
        "hidden": np.tanh(sized.normal(rows, 100)),
    }
    networks, of_scores = Gru4RecNetworks(architecture), make_loss(name, bpreg=1.0, elu_param=0.5)

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        x = networks.inputs_of(batch["items"])
        masks = None
        if training and sized.dropout:
            masks = [1.0, keras.random.dropout(ops.ones((rows, 100), x.dtype), 0.3, seed=1)]
        hidden = networks.core(x, [batch["hidden"]], masks)[-1]
        wy, by = (ops.take(ops.convert_to_tensor(networks.named[n]), batch["columns"], axis=0) for n in ("Wy", "By"))
        return ops.sum(of_scores(score(hidden, wy, by), ops.ones(rows))) / rows

    return Task(networks.step, loss, batch)


def session_network(sized: Sized, name: Any, task: Any) -> Task:
    """128 sessions of 20 tracks, of 50,000."""
    tracks = sized(50_000)
    table = sized.normal(tracks, FEATURES)
    if name in ("lstm", "lstm-padding", "lstm-w2v", "bigru"):
        default = default_recurrent(name, task, tracks, FEATURES)
        recurrent = replace(default, dropout=sized.rate(default.dropout))
        model: Any = RecurrentModel(recurrent, table, sized.normal(tracks, max(recurrent.vectors, 1)))
        architecture: Any = recurrent
    else:
        rates: dict[str, Any] = {} if sized.dropout else {"dropout": 0.0}
        bert = default_architecture("bert", "seq", tracks, 0, Ids(), **rates) if name.startswith("bert-") else None
        still = rates | ({"dropnet": 0.0} if rates else {})
        architecture = default_architecture(name, task, tracks, FEATURES, Ids(), bert=bert, **still)
        model = build_model(architecture, None if architecture.is_bert else table)
    played = sized.ids(tracks, 128, 2 * HALF, low=3)
    inputs, labels, weights = examples(architecture, played, sized.ids(2, *played.shape), sized.rng)

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        given = {name: batch[name] for name in inputs}
        hidden = model.hidden(**given, training=training and sized.dropout)
        return cross_entropy(hidden, batch["labels"], batch["weights"], *model.head.weights_of()) / ops.sum(
            batch["weights"]
        )

    return Task(model, loss, inputs | {"labels": labels, "weights": weights})


def autoencoder(sized: Sized) -> Task:
    """64 sessions against all of 50,000 tracks."""
    tracks = sized(50_000)

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        weights = {name: ops.convert_to_tensor(variable) for name, variable in model.named.items()}
        counts = once(batch["tracks"])
        codes = encode(ops.take(weights["encoder"], batch["tracks"], axis=0), weights["code_bias"], counts)
        held = [ops.take(weights[name], batch["tracks"], axis=0) for name in ("decoder", "bias")]
        logits = ops.matmul(codes, ops.transpose(weights["decoder"])) + weights["bias"]
        possible = ops.ones(tracks)
        return exact_loss(held_logits(codes, *held), counts, ops.cast(logits, "float32"), possible) / 64

    return Task(AutoEncoder(tracks), loss, {"tracks": sized.ids(tracks, 64, 20, low=3)})


def ddpg(sized: Sized) -> Task:
    """What the critic and the actor learn from 256 transitions."""
    tracks, rows = sized(50_000), 256
    batch = {
        "source": sized.ids(tracks, rows, HALF, low=3), "skips": sized.ids(2, rows, HALF),
        "memory": sized.ids(tracks, rows, 5), "track": sized.ids(tracks, rows, low=3),
        "action": sized.normal(rows, 8), "reward": sized.ids(2, rows).astype(np.float32),
    }  # fmt: skip

    def loss(model: Any, batch: dict[str, Any], training: bool) -> Any:
        state = model.state(model.users(None, batch["source"], batch["skips"]), batch["memory"])
        compared = model.compared(state, batch["track"])
        wanted = expected_value(batch["reward"], 0.0, model.target_value(state, batch["track"]), 0.9)
        error = ops.stop_gradient(wanted) - model.value(model.critic, state, batch["action"], compared)
        return ops.mean(ops.square(error)) + model.policy_loss(state, compared)

    return Task(Networks(Sizes(tracks)), loss, batch)


SESSION_NETWORKS = {
    "seq": ("transformer", "bert", "bert-augmented", "bert-augmented-dropnet", "lstm", "lstm-w2v"),
    "skip": ("transformer", "bert-finetuned", "bert-augmented", "bert-augmented-dropnet",
             "lstm", "lstm-padding", "lstm-w2v", "bigru"),
}  # fmt: skip
TASKS: dict[str, Callable[[Sized], Task]] = {
    **{f"seer/{variant}": partial(seer, variant=variant) for variant in get_args(Variant)},
    **{f"dtnmr/{rating}": partial(dtnmr, rating=rating) for rating in get_args(Rating)},
    **{f"audiotext/{name}": partial(audiotext, name=name) for name in MODELS},
    **{f"gru4rec/{kind}, {loss}": partial(gru4rec, kind=kind, name=loss)
       for kind in get_args(GruKind) for loss in ("cross-entropy", "bpr-max")},
    **{f"session-transformers/{task}, {name}": partial(session_network, name=name, task=task)
       for task, names in SESSION_NETWORKS.items() for name in names},
    "session-transformers/autoencoder": autoencoder,
    "session-transformers/ddpg": ddpg,
}  # fmt: skip
FLOAT32_ONLY = ("session-transformers/autoencoder", "session-transformers/ddpg")
"""Networks that compute in float32 whatever they are asked to."""
