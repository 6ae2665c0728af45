"""How fast DTNMR trains and scores, against a dense PyTorch loop in the same run (extra ``bench``).

Made-up data of KKBOX's size after the released filters: 9,180 columns for songs (and their length), 67 more for users,
12,000 songs with 6 columns each, histories of 20 to 76 songs. The PyTorch network is written as the released one is:
dense multi-hot vectors, one call of the song's tower for each of the 20 steps and 5 candidates. ``at once`` calls it
once for all of them. Its dense inputs are made beforehand and cost it nothing here; ours are made within the time.
Both sides get the same number of threads, SGD 0.1 and dropout 0.3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_args

from measuring import measure, recording, show, threads_given

from common.command import run_script
from common.options import require

THREADS = threads_given()  # before the libraries that read it are imported

import common.runtime  # noqa: F401, E402  # isort: skip
import numpy as np  # noqa: E402

from dtnmr.batches import (  # noqa: E402
    Batch,
    Batches,
    Negatives,
)
from dtnmr.dataset import KkboxData, Points, Rows  # noqa: E402
from dtnmr.evaluation import Scorer  # noqa: E402
from dtnmr.losses import make_loss  # noqa: E402
from dtnmr.model import Inputs, Networks  # noqa: E402
from dtnmr.options import Architecture, Rating  # noqa: E402
from dtnmr.training import Trainer, make_optimizer  # noqa: E402

WIDTHS = {"genre": 180, "artist": 4_500, "composer": 4_450, "language": 50, "age": 44, "gender": 3, "city": 20}
SONGS, USERS = 12_000, 2_000


@dataclass(frozen=True)
class Options:
    """Options of this benchmark."""

    threads: int = 2
    """Threads of each side."""
    batch_sizes: tuple[int, ...] = (16, 256)
    """Examples of a batch."""
    points: int = 1024
    """Examples of each side's pass, at least one batch; the fastest of three passes counts."""
    users: int = 10_000
    """Users to score all songs for."""


def made_up(points: int) -> KkboxData:
    """Songs with two artists, a composer or two, a genre and a language each; users with playlists by a Zipf law."""
    rng = np.random.default_rng(1)
    starts = np.cumsum([0, *list(WIDTHS.values())[:3]])
    counts = dict(zip(("genre", "artist", "composer", "language"), (1, 2, 2, 1), strict=True))
    bits = [
        start + rng.integers(0, WIDTHS[name], (SONGS, count))
        for start, (name, count) in zip(starts, counts.items(), strict=True)
    ]
    of_songs = np.sort(np.concatenate(bits, axis=1), axis=1).astype(np.int32)
    weights = 1.0 / np.arange(1, SONGS + 1) ** 0.8
    lengths = rng.integers(21, 78, USERS)
    played = np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(lengths.sum())).astype(np.int32)
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    playlists = rng.integers(0, USERS, points).astype(np.int32)
    positions = lengths[playlists].astype(np.int32) - 1
    own = np.stack([rng.integers(0, 44, USERS), 44 + rng.integers(0, 3, USERS), 47 + rng.integers(0, 20, USERS)], 1)
    nothing = Points(np.empty(0, np.int32), np.empty(0, np.int32))
    names = {name: [str(i) for i in range(width)] for name, width in WIDTHS.items()}
    return KkboxData(
        [str(i) for i in range(SONGS)], [str(i) for i in range(USERS)], rng.random(SONGS).astype(np.float32),
        _rows(of_songs), _rows(own.astype(np.int32)), names | {"behaviour": [str(i) for i in range(8)]},
        Rows(indptr, played), Rows(indptr, rng.integers(-1, 8, len(played)).astype(np.int32)),
        np.arange(USERS, dtype=np.int32), lengths.astype(np.int32), Points(playlists, positions), nothing, nothing,
        np.bincount(played, minlength=SONGS), 359.0, True, "made up",
    )  # fmt: skip


def _rows(table: np.ndarray) -> Rows:
    return Rows(np.arange(len(table) + 1) * table.shape[1], table.ravel())


def architecture_of(data: KkboxData, rating: Rating) -> Architecture:
    """The released sizes."""
    return Architecture(data.song_width, data.user_width, 8, rating=rating, final_relu=rating == "linear")


def of_keras(
    data: KkboxData, rating: Rating, batch: int, optimizer: str = "sgd", user_side: bool | None = None
) -> float:
    """Examples per second of this project's training, negatives and batches included."""
    model = Networks(architecture_of(data, rating))
    rate = {"sgd": 0.1}.get(optimizer, 1e-3)
    kind: Any = optimizer
    trainer = Trainer(model, make_optimizer(kind, model.named, rate), make_loss("softmax"), user_side=user_side)
    batches = Batches(model.architecture, data, data.train, Negatives(data, "released", 4), batch, 1)
    trainer.step(next(batches.epoch(0)))
    return len(data.train) / best(lambda: trainer.epoch(batches.epoch(1), 1))


def of_torch(data: KkboxData, batch: int, at_once: bool) -> tuple[float, float]:
    """Examples per second of dense PyTorch, training and scoring their candidates."""
    import torch
    from torch import nn

    torch.set_num_threads(THREADS)
    torch.manual_seed(1)
    songs = data.song_width + 1

    def tower(width: int) -> Any:
        return nn.Sequential(
            nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU()
        )

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.usfc, self.mfc = tower(data.user_width + data.song_width), tower(songs)
            self.lstm = nn.LSTM(40, 256, 2, dropout=0.3)
            self.head = nn.Sequential(nn.Linear(256, 256), nn.Dropout(0.3), nn.Linear(256, 32), nn.ReLU())
            self.rc = nn.Linear(64, 1)

        def encode(self, vectors: Any) -> Any:  # (T, B, columns) -> (T, B, 32)
            return self.mfc(vectors) if at_once else torch.stack([self.mfc(step) for step in vectors])

        def forward(self, user: Any, playlist: Any, how: Any, candidates: Any) -> Any:
            if at_once:
                heard, asked = self.encode(torch.cat([playlist, candidates])).split([20, 5])
            else:
                heard, asked = self.encode(playlist), self.encode(candidates)
            x = torch.cat([heard, how], -1)
            both = self.usfc(user) + self.head(self.lstm(x)[0][-1]) + self.head(self.lstm(x[-10:])[0][-1])
            return self.rc(torch.cat([both.expand_as(asked), asked], -1))[..., 0].T

    network = Network()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    work = [dense(data, made.inputs) for made in _some(data, batch, 4 if batch < 64 else 1)]
    tensors = [tuple(torch.tensor(array) for array in arrays) for arrays in work]
    labels = torch.zeros(batch, dtype=torch.long)

    def train() -> None:
        network.train()
        for arrays in tensors:
            loss = nn.functional.cross_entropy(network(*arrays), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def score() -> None:
        network.eval()
        with torch.no_grad():
            for arrays in tensors:
                network(*arrays)

    examples = batch * len(tensors)
    return examples / best(train), examples / best(score)


def dense(data: KkboxData, inputs: Inputs) -> tuple[np.ndarray, ...]:
    """The released code's inputs: user (B, columns), songs, behaviours (L, B, columns), candidates (C, B, columns)."""
    rows, width = len(inputs.history), data.song_width
    songs = np.zeros((len(inputs.lengths), 1 + width), np.float32)
    songs[:, 0] = inputs.lengths
    songs[inputs.song_rows, 1 + inputs.song_bits] = 1.0
    user = np.zeros((rows, data.user_width + width), np.float32)
    user[inputs.user_rows, inputs.user_bits] = 1.0
    how = np.eye(9, dtype=np.float32)[inputs.behaviours][..., :8]  # -1, none, is the column left out
    return user, songs[inputs.history.T], how.transpose(1, 0, 2), songs[inputs.candidates.T]


def _some(data: KkboxData, batch: int, count: int) -> list[Batch]:
    negatives = Negatives(data, "released", 4)
    batches = Batches(architecture_of(data, "linear"), data, data.train, negatives, batch, 1).epoch(0)
    return [next(batches) for _ in range(count)]


def scoring(data: KkboxData, rating: Rating, users: int) -> float:
    """Seconds to score all songs for ``users``, in blocks of 1,000, from their histories on."""
    model = Networks(architecture_of(data, rating))

    def score() -> None:
        scorer, played = Scorer(model, data), data.songs_played
        for _ in range(0, users, 1000):
            indptr = played.indptr[:1001]
            histories, how = (Rows(indptr, rows.values[: indptr[-1]]) for rows in (played, data.behaviours))
            scorer.scores(histories, how, Rows(data.user_bits.indptr[:1001], data.user_bits.values[:3000]))

    return measure(score).best


def best(call: Callable[[], object]) -> float:
    """Wall seconds of the fastest of three calls, after one that does not count."""
    return measure(call, 3, warm=1).best


def main(options: Options) -> dict[str, float]:
    """Time training and scoring of DTNMR and of a dense PyTorch network."""
    require(options.threads == THREADS, "--threads must be given as two words: --threads 2")
    require(options.users % 1000 == 0, f"--users is {options.users}; it must be a multiple of 1000")
    result: dict[str, float] = {}
    for batch in options.batch_sizes:
        data = made_up(max(options.points, batch) // batch * batch)
        name = f"batch {batch}"
        result[f"{name}: mean history"] = float(data.train.positions.mean())
        theirs, scored = of_torch(data, batch, at_once=False)
        result |= {f"{name}: PyTorch, training points/s": theirs, f"{name}: PyTorch, scored points/s": scored}
        result[f"{name}: PyTorch at once, training points/s"] = of_torch(data, batch, at_once=True)[0]
        cases: list[tuple[Rating, str]] = [("linear", "sgd"), ("dot", "sgd"), ("dot", "lazy-adam"), ("dot", "adam")]
        for rating, optimizer in cases:
            ours = of_keras(data, rating, batch, optimizer)
            result[f"{name}: {rating}, {optimizer}, training points/s"] = ours
            if optimizer == "sgd":
                result[f"{name}: {rating}, {optimizer}, ratio to PyTorch"] = ours / theirs
        ours = of_keras(data, "linear", batch, user_side=True)
        result[f"{name}: linear, sgd, with the user's side all the same, training points/s"] = ours
    data = made_up(1024)
    for rating in get_args(Rating):
        seconds = scoring(data, rating, options.users)
        result[f"{rating}: seconds to score {SONGS} songs for {options.users} users"] = seconds
        result[f"{rating}: users/s"] = options.users / seconds
    return show(result)


if __name__ == "__main__":
    run_script(recording(main, __file__), Options)
