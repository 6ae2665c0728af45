"""What a song's MIDI has to beat: constants, popularity, and matrix factorisation of the ratings alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from common.epochs import Monitor, epoch_order
from common.optimizers import make_optimizer
from common.ranking import Scores
from common.training import Batch, Trainer, padded
from seer.options import SeerOptions
from seer.preprocess import Ratings, SeerData

FEWEST_STEPS = 3000
"""Of the training of matrix factorisation."""


@dataclass(frozen=True)
class Rater:
    """Anything that rates pairs and scores catalogues.

    Attributes:
        rate: user ids (n,), songs (n,) -> predicted ratings or scores (n,).
        scores: user ids (u,) -> the same for all songs (u, songs).
        is_rating: whether they are on the scale of the ratings, so that an error can be taken.
    """

    rate: Callable[[np.ndarray, np.ndarray], np.ndarray]
    scores: Scores
    is_rating: bool = True


def constant(train: Ratings, songs: int) -> Rater:
    """The mean of all training ratings, for every pair."""
    mean = float(train.values.mean())
    return Rater(lambda users, items: np.full(len(users), mean), lambda users: np.full((len(users), songs), mean))


def song_mean(train: Ratings, songs: int) -> Rater:
    """The mean rating of each song in training; the mean of all ratings for a song without any."""
    count = np.bincount(train.songs, minlength=songs)
    total = np.bincount(train.songs, weights=train.values, minlength=songs)
    mean = np.where(count > 0, total / np.maximum(count, 1), train.values.mean())
    return Rater(lambda users, items: mean[items], lambda users: np.tile(mean, (len(users), 1)))


def popularity(train: Ratings, songs: int) -> Rater:
    """The number of ratings of each song in training (ItemPop of the paper); it rates nothing."""
    count = np.bincount(train.songs, minlength=songs).astype(np.float64)
    return Rater(lambda users, items: count[items], lambda users: np.tile(count, (len(users), 1)), False)


def random_scores(songs: int, seed: int) -> Rater:
    """A fixed random score for each pair; it rates nothing."""

    def scores(users: np.ndarray) -> np.ndarray:
        return np.stack([np.random.default_rng((seed, int(user))).random(songs) for user in users])

    def rate(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        distinct, place = np.unique(users, return_inverse=True)
        values = np.empty(len(users))
        for start in range(0, len(distinct), 1024):
            rows = (place >= start) & (place < start + 1024)
            values[rows] = scores(distinct[start : start + 1024])[place[rows] - start, items[rows]]
        return values

    return Rater(rate, scores, False)


def matrix_factorisation(
    train: Ratings,
    validation: Ratings,
    users: int,
    songs: int,
    factors: int,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    quiet: bool = False,
) -> Rater:
    """r(u, s) = p_u' q_s, fitted to the ratings by Adam on the squared error: the paper's MF, of the same latent size.

    The best epoch by RMSE on ``validation`` is kept, as for SeER.
    """
    normal = keras.initializers.RandomNormal(stddev=0.05, seed=seed)
    user, song = keras.Input((), dtype="int32", name="user"), keras.Input((), dtype="int32", name="song")
    p = layers.Embedding(users, factors, embeddings_initializer=normal, name="p")
    q = layers.Embedding(songs, factors, embeddings_initializer=normal.clone(), name="q")
    score = layers.Dot(axes=-1, dtype="float32")([p(user), q(song)])
    model = keras.Model({"user": user, "song": song}, keras.ops.reshape(score, (-1,)))

    def batches(epoch: int) -> Iterator[list[Batch]]:
        order = epoch_order(len(train), seed, epoch)
        for start in range(0, len(order), batch_size):
            rows = train[order[start : start + batch_size]]
            arrays = {"user": rows.users, "song": rows.songs}
            inputs = {name: padded(array.astype(np.int32), batch_size) for name, array in arrays.items()}
            weights = padded(np.ones(len(rows), np.float32), batch_size)
            yield [Batch(inputs, padded(rows.values.astype(np.float32), batch_size), weights)]

    def factors_of(layer: layers.Embedding) -> np.ndarray:
        return np.asarray(layer.embeddings, np.float32)

    def rate(users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nd->n", factors_of(p)[users], factors_of(q)[items])

    def evaluate(epoch: int) -> dict[str, float]:
        error = rate(validation.users, validation.songs) - validation.values
        return {"val_rmse": float(np.sqrt(np.mean(np.square(error, dtype=np.float64))))}

    trainer = Trainer(model, make_optimizer("adam", learning_rate), seed, monitor=Monitor("val_rmse"))
    trainer.fit(batches, epochs, evaluate, description="matrix factorisation, ", quiet=quiet)
    return Rater(rate, lambda users: factors_of(p)[users] @ factors_of(q).T)


def all_baselines(options: SeerOptions, data: SeerData) -> dict[str, Rater]:
    """The baselines by name; matrix factorisation is among them if the options tell how SeER was trained."""
    train, songs = data.split.train, data.num_songs
    found: dict[str, Rater] = {
        "random": random_scores(songs, options.seed),
        "mean of all ratings": constant(train, songs),
        "mean of the song": song_mean(train, songs),
        "popularity": popularity(train, songs),
    }
    if options.epochs and options.batch_size and options.learning_rate and options.latent_features:
        found[f"matrix factorisation ({options.latent_features})"] = factorised(options, data)
    return found


def factorised(options: SeerOptions, data: SeerData, quiet: bool = False) -> Rater:
    """Matrix factorisation with as many factors as SeER has latent features.

    It is trained as long as SeER, or longer where epochs are short.
    """
    assert options.epochs and options.batch_size and options.learning_rate and options.latent_features
    split = data.split
    size = options.batch_size if options.batching == "pairs" else 1000
    size = min(size, max(32, len(split.train) // 16))  # an epoch of few steps would be all overhead
    # A small dataset gives few steps per epoch; MF gets enough of them to converge, validation picks the best.
    steps = -(-len(split.train) // size)
    epochs = max(options.epochs, -(-FEWEST_STEPS // steps))
    sizes = (data.num_users, data.num_songs, options.latent_features, epochs, size)
    return matrix_factorisation(split.train, split.validation, *sizes, options.learning_rate, options.seed, quiet)
