"""Tags of songs, and a classifier that hears them in a song or in a section of one (v2's second check)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from common.console import counted
from common.dropout import Dropout
from common.epochs import Monitor, epoch_order
from common.optimizers import make_optimizer
from common.options import require
from common.training import Batch, BlockPredictor, Trainer, padded
from seer.explain import song_length
from seer.layers import recurrent
from seer.preprocess import SeerData
from seer.tables import read_table

LAYERS, DROPOUT, HELD_OUT = 4, 0.2, 0.2
"""ReLU layers and dropout as in v2; the share of the tagged songs that chooses the epoch and measures accuracy."""
_BATCH = 32
_SHORTEST = 20  # steps of a part of a song


@dataclass(frozen=True)
class SongTags:
    """Which song has which tag."""

    names: list[str]
    """The tags, the most frequent first."""
    has: np.ndarray
    """(songs, tags) bool."""


def read_tags(path: Path, data: SeerData, min_songs: int) -> SongTags:
    """Read a CSV file with the columns song_id and tag; songs that the dataset lacks are ignored.

    Raises:
        UserError: the file is no such table, a field is empty, or no tag is on ``min_songs`` songs of the dataset.
    """
    table = read_table(path, "song_id", "tag")
    number = {song: row for row, song in enumerate(data.song_information["song_id"])}
    pairs = []
    for row, (song, tag) in enumerate(zip(table.ids("song_id"), table.columns["tag"], strict=True)):
        if not song or not tag.strip():
            raise table.error(row, "a field is empty; expected a song_id and a tag")
        if song in number:
            pairs.append((number[song], tag.strip()))
    require(bool(pairs), f"{path}: none of its song_ids is in the dataset; expected ids as in song_information.csv")
    return _frequent(pairs, data.num_songs, min_songs, str(path))


def tags_of_titles(data: SeerData, min_songs: int) -> SongTags:
    """Tags of the synthetic sample: its titles begin with the style in which the song was composed."""
    pairs = [(song, str(title).split()[0]) for song, title in enumerate(data.song_information["title"])]
    return _frequent(pairs, data.num_songs, min_songs, "the sample's titles")


def _frequent(pairs: list[tuple[int, str]], songs: int, min_songs: int, source: str) -> SongTags:
    names, column = np.unique([tag for _, tag in pairs], return_inverse=True)
    has = np.zeros((songs, len(names)), bool)
    has[[song for song, _ in pairs], column] = True
    count = has.sum(axis=0)
    order = np.argsort(-count, kind="stable")
    order = order[count[order] >= min_songs]
    require(
        len(order) > 0,
        f"{source}: no tag is on {counted(min_songs, 'song')} of the dataset (the most frequent is on {count.max()}); "
        "lower --min-songs",
    )
    return SongTags([str(names[i]) for i in order], has[:, order])


class TagClassifier:
    """An LSTM with dropout, four ReLU layers and a sigmoid for each tag, as in v2; steps of padding are masked.

    v2 trains it on songs. One that has heard nothing but songs takes sections for something else, so that explanations
    would match worse whatever they are; here it hears another part of each song in every epoch.

    Args:
        data: the songs.
        tags: their tags.
        units: of the LSTM and of each ReLU layer (paper: 300).
        steps: of a song that it reads; longer sections are cut.
        epochs: of training; the one with the smallest loss on held-out songs is kept.
        seed: of weights, held-out songs and order.
        jit: compile with XLA.
    """

    def __init__(
        self, data: SeerData, tags: SongTags, units: int, steps: int, epochs: int, seed: int, jit: bool
    ) -> None:
        self._midi, self._steps = data.midi, steps
        keras.utils.set_random_seed(seed)
        model, of_steps = _models(data.midi.shape[2], units, len(tags.names))
        self._predict = BlockPredictor(of_steps, 64, jit)
        lengths = np.array(
            [song_length(np.asarray(data.midi[song]), data.times[song]) for song in range(data.num_songs)]
        )
        tagged = np.flatnonzero(tags.has.any(axis=1))
        order = np.random.default_rng((seed, 2)).permutation(tagged)
        held_out = max(1, round(HELD_OUT * len(order)))
        require(len(order) > held_out, f"too few songs have a tag: {len(order)}; the classifier needs more")
        train, validation = order[held_out:], order[:held_out]

        def parts(songs: np.ndarray, random: np.random.Generator) -> list[tuple[int, int, int]]:
            length = random.integers(np.minimum(_SHORTEST, lengths[songs]), np.minimum(lengths[songs], steps) + 1)
            first = random.integers(0, lengths[songs] - length + 1)
            return list(zip(songs.tolist(), first.tolist(), (first + length).tolist(), strict=True))

        def batches(epoch: int) -> Iterator[list[Batch]]:
            shuffled, random = train[epoch_order(len(train), seed, epoch)], np.random.default_rng((seed, epoch, 3))
            for start in range(0, len(shuffled), _BATCH):
                songs = shuffled[start : start + _BATCH]
                targets = padded(tags.has[songs].astype(np.float32), _BATCH)
                inputs = {"steps": padded(self._sequences(parts(songs, random)), _BATCH)}
                yield [Batch(inputs, targets, padded(np.ones(len(songs), np.float32), _BATCH))]

        whole = [(int(song), 0, steps) for song in validation]
        some = parts(validation, np.random.default_rng((seed, 4)))
        true = tags.has[validation]

        def validate(epoch: int) -> dict[str, float]:
            p = np.clip(self.probabilities(whole + some), 1e-7, 1 - 1e-7)
            return {"val_loss": float(-np.log(np.where(np.tile(true, (2, 1)), p, 1 - p)).mean())}

        trainer = Trainer(
            model, make_optimizer("adam", 1e-3), seed, loss=_cross_entropy, jit=jit, monitor=Monitor("val_loss")
        )
        trainer.fit(batches, epochs, validate, description="tag classifier, ")
        self.accuracy = {
            name: _accuracy(self.probabilities(heard), true)
            for name, heard in (("whole songs", whole), ("parts of songs", some))
        }
        """Of the songs held out from training: of what is heard, figure by figure."""

    def probabilities(self, sections: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """(sections, tags) for sections (song, first step, step after the last)."""
        return self._predict(self._sequences(sections))

    def tags(self, sections: Sequence[tuple[int, int, int]]) -> np.ndarray:
        """(sections, tags) bool: the tags with a probability of 0.5 or more, or else the most probable one."""
        p = self.probabilities(sections)
        return (p >= 0.5) | (np.arange(p.shape[1]) == p.argmax(axis=1)[:, None]) & (p.max(axis=1) < 0.5)[:, None]

    def _sequences(self, sections: Sequence[tuple[int, int, int]]) -> np.ndarray:
        found = np.zeros((len(sections), self._steps, self._midi.shape[2]), np.float32)
        for row, (song, first, stop) in zip(found, sections, strict=True):
            part = self._midi[song, first : min(stop, first + self._steps)]
            row[: len(part)] = part
        return found


def _accuracy(p: np.ndarray, true: np.ndarray) -> dict[str, float]:
    best = np.argsort(-p, axis=1, kind="stable")
    hits = {k: np.take_along_axis(true, best[:, :k], 1).any(axis=1).mean() for k in (1, 2, 3)}
    return {"accuracy": float(((p >= 0.5) == true).mean())} | {f"top {k}": float(hit) for k, hit in hits.items()}


def _models(features: int, units: int, tags: int) -> tuple[keras.Model, keras.Model]:
    """The model to train, and the same one for a plain array."""
    steps = keras.Input((None, features), name="steps")
    hidden = recurrent("lstm", units, "hard_sigmoid")(layers.Masking(0.0)(steps))
    hidden = Dropout(DROPOUT)(hidden)
    for _ in range(LAYERS):
        hidden = layers.Dense(units, activation="relu")(hidden)
    p = layers.Dense(tags, activation="sigmoid", dtype="float32")(hidden)
    return keras.Model({"steps": steps}, p), keras.Model(steps, p)


def _cross_entropy(targets: object, predictions: object, weights: object) -> object:
    return ops.sum(weights * ops.mean(ops.binary_crossentropy(targets, predictions), axis=-1))
