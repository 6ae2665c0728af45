"""How good recommendations are: the paper's six figures over the full ranking, and the next song at every test point.

The paper (section 4) ranks the songs that a user has not heard: precision, recall, F-measure, MAP, user coverage, AUC.
Nothing is sampled here but the four songs of the released code's "accuracy of 5", which keeps a name of its own. Equal
scores count as the expectation over their orders (:mod:`common.metrics`), so a model that scores all songs alike is as
good as chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from common import metrics
from common.evaluation import Measured, Sample
from common.metrics import Ranking
from common.options import require
from common.ranking import catalogue_ranking
from dtnmr.batches import Examples, distinct
from dtnmr.dataset import Integers, KkboxData, Points, Queries, Rows, of_points, of_users, songs_to_come, take_rows
from dtnmr.model import Networks
from dtnmr.options import RELEASED_ACCURACY, RELEASED_CANDIDATES

Scores = Callable[[Queries], NDArray[Any]]
"""A recommender: n queries -> the score of every song for each of them (n, songs), higher is better."""
Values = Mapping[str, NDArray[np.float64]]
"""Name of a figure -> its value for each user (or test point), NaN where it is not defined."""
CUTOFFS = (5, 10, 20)
CELLS = 2**22
"""Scores held at a time (16 MiB as float32; comparing them takes some times that)."""
WARM, COLD = 1.0, 2.0
"""How a song that was played in training, and one that was not, is marked within a ranking."""


@dataclass(frozen=True)
class Task:
    """What every recommender is asked, the same for all: made once by :func:`make_task`.

    Attributes:
        songs: size of the catalogue.
        users: users with a test song that they have not heard, with their whole training playlist.
        relevant: places in ``users`` and the test songs that they have not heard, (m,) each.
        mark: (m,) :data:`WARM` or :data:`COLD` for the song of each pair.
        heard: places in ``users`` and songs of the training playlists.
        points: the history before each test point evaluated.
        labels: (p,) the song that comes next.
        negatives: (p, 4) the frozen other candidates of :data:`RELEASED_ACCURACY`.
        points_in_all: test points of the dataset, of which ``points`` may be a draw.
    """

    songs: int
    users: Queries
    relevant: tuple[Integers, Integers]
    mark: NDArray[np.float64]
    heard: tuple[Integers, Integers]
    points: Queries
    labels: Integers
    negatives: Integers
    points_in_all: int

    @property
    def known(self) -> NDArray[np.bool_]:
        """(users,) whether a user has a training playlist."""
        return self.users.histories.lengths > 0


def make_task(data: KkboxData, seed: int, most_points: int = 0, negatives: Integers | None = None) -> Task:
    """Collect the users and test points of a dataset.

    Args:
        data: the dataset.
        seed: of the draw of points and of the frozen candidates.
        most_points: evaluate that many test points, drawn at random; 0 for all.
        negatives: (test points, 4) songs to use instead of drawn ones, for all test points.
    """
    everybody, played = of_users(data), songs_to_come(data)
    user, song = (np.repeat(np.arange(data.users), played.lengths), played.values)
    heard = (np.repeat(np.arange(data.users), everybody.histories.lengths), everybody.histories.values)
    pairs = np.unique(user * data.songs + song)  # a song counts once, and not at all if it is no candidate
    pairs = np.setdiff1d(pairs, heard[0] * data.songs + heard[1], assume_unique=False)
    user, song = pairs // data.songs, pairs % data.songs
    if data.released:  # users whose playlist is too short or too long are left out
        used = np.isin(user, data.owners[data.test.playlists])
        user, song = user[used], song[used]
    evaluated = np.unique(user)
    keep = np.isin(heard[0], evaluated)

    rng = np.random.default_rng((seed, 0))
    drawn = np.arange(len(data.test))
    frozen = frozen_negatives(len(data.test), data.songs, seed) if negatives is None else negatives
    if most_points and most_points < len(drawn):
        drawn = np.sort(rng.choice(len(drawn), most_points, replace=False))
    points, labels = of_points(data, Points(data.test.playlists[drawn], data.test.positions[drawn]))
    return Task(
        data.songs,
        everybody.take(evaluated),
        (np.searchsorted(evaluated, user).astype(np.int32), song.astype(np.int32)),
        np.where(data.plays[song] > 0, WARM, COLD),
        (np.searchsorted(evaluated, heard[0][keep]).astype(np.int32), heard[1][keep]),
        points,
        labels,
        frozen[drawn],
        len(data.test),
    )


def frozen_negatives(points: int, songs: int, seed: int) -> Integers:
    """(points, 4) other candidates as the released code draws them, but once and for all.

    Uniform over all songs, distinct within a row; the label and heard songs are not left out.
    """
    count = min(RELEASED_CANDIDATES - 1, songs)
    return distinct(np.random.default_rng((seed, 1)), songs, points, count)


@dataclass(frozen=True)
class Outcome:
    """What a recommender achieved.

    Attributes:
        users: figures of the users with a training playlist, each of them (known users,).
        cold_songs: the same, of the users and test songs without a play in training alone.
        new_users: figures of users without a training playlist.
        points: figures of the test points.
    """

    users: Values
    cold_songs: Values
    new_users: Values
    points: Values
    owners: Integers
    """(points,) the user of each test point."""

    def measured(self) -> Measured:
        """The figures of the known users and of the test points, which are drawn by user."""
        return Measured([Sample(self.users, "users"), Sample(self.points, "users", self.owners)])

    def figures(self) -> dict[str, float]:
        """The means over the known users and over the test points; NaN where there is nobody."""
        return self.measured().figures

    def apart(self) -> dict[str, dict[str, float]]:
        """The means of the groups that are reported apart, with their sizes."""
        groups = {"cold_songs": self.cold_songs, "new_users": self.new_users}
        return {name: means(of) | {"users": float((~np.isnan(of["mrr"])).sum())} for name, of in groups.items()}


def evaluate(scores: Scores, task: Task, cutoffs: Sequence[int] = CUTOFFS) -> Outcome:
    """Rank the whole catalogue for every user and at every test point of ``task``."""
    ranking = rank_users(scores, task)
    known = of_group(ranking, task.known)
    return Outcome(
        user_values(known, cutoffs),
        user_values(marked(known, COLD), cutoffs),
        user_values(of_group(ranking, ~task.known), cutoffs),
        point_values(scores, task, cutoffs),
        task.points.users,
    )


def rank_users(scores: Scores, task: Task) -> Ranking:
    """Where the test songs of each user stand among all the songs not heard; gains are the marks of the songs."""
    user, song = task.relevant
    block = max(1, CELLS // task.songs)
    users = np.arange(len(task.users))
    relevant = (user, song, task.mark)
    return catalogue_ranking(lambda who: scores(task.users.take(who)), users, relevant, task.heard, task.songs, block)


def marked(ranking: Ranking, mark: float) -> Ranking:
    """``ranking`` with the relevant songs of one mark alone."""
    keep = ranking.gain == mark
    columns = {name: getattr(ranking, name)[keep] for name in ("user", "above", "tied", "gain")}
    return replace(ranking, **columns)


def of_group(ranking: Ranking, group: NDArray[np.bool_]) -> Ranking:
    """``ranking`` of the users that ``group`` (users,) is true for."""
    number, keep = np.cumsum(group) - 1, group[ranking.user]
    columns = {name: getattr(ranking, name)[keep] for name in ("above", "tied", "gain")}
    user, candidates = number[ranking.user[keep]], ranking.candidates[group]
    return replace(ranking, users=int(group.sum()), user=user, candidates=candidates, **columns)


def user_values(ranking: Ranking, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, NDArray[np.float64]]:
    """The paper's figures and NDCG, MRR for each user.

    With h hits in the top K and R relevant songs: precision h / K, recall h / R, F-measure their harmonic mean
    2 h / (K + R), user coverage 1 if h > 0, so its mean is the share of the users with a hit. ``map``, ``mrr`` and
    ``auc`` are over the whole ranking.
    """
    ranking = replace(ranking, gain=np.ones_like(ranking.gain))
    deepest = max(1, int(ranking.candidates.max(initial=0)))
    found: dict[str, Any] = {}
    for k in cutoffs:
        found[f"precision@{k}"] = metrics.precision_at(ranking, k, per_user=True)
        found[f"recall@{k}"] = metrics.recall_at(ranking, k, per_user=True)
        hits = found[f"precision@{k}"] * k
        found[f"f@{k}"] = 2 * hits / (k + ranking.relevant)  # NaN where nothing is relevant, as hits are
        found[f"user_coverage@{k}"] = metrics.hit_rate_at(ranking, k, per_user=True)
        found[f"ndcg@{k}"] = metrics.ndcg_at(ranking, k, per_user=True)
    found["map"] = metrics.average_precision_at(ranking, deepest, per_user=True)
    found["mrr"] = metrics.reciprocal_rank_at(ranking, deepest, per_user=True)
    found["auc"] = metrics.auc(ranking, per_user=True)
    return found


def point_values(scores: Scores, task: Task, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, NDArray[np.float64]]:
    """The next song at each test point, among all songs not in its history; and the released accuracy.

    :data:`RELEASED_ACCURACY`: whether the label scores above four random songs, a tie counting against it. (The
    released code counts ties, even all five scores being equal, as correct.)
    """
    count, labels = len(task.points), task.labels
    correct = np.zeros(count)

    def noting(rows: NDArray[np.int64]) -> NDArray[Any]:
        table = scores(task.points.take(rows))
        own = np.take_along_axis(table, labels[rows][:, None].astype(np.int64), axis=1)
        others = np.take_along_axis(table, task.negatives[rows].astype(np.int64), axis=1)
        correct[rows] = (own > others).all(axis=1)
        return table

    heard = (np.repeat(np.arange(count), task.points.histories.lengths), task.points.histories.values)
    points, block = np.arange(count), max(1, CELLS // task.songs)
    ranking = catalogue_ranking(noting, points, (points, labels, np.ones(count)), heard, task.songs, block)
    deepest = max(1, task.songs)
    found = {f"next_recall@{k}": metrics.recall_at(ranking, k, per_user=True) for k in cutoffs}
    found["next_mrr"] = metrics.reciprocal_rank_at(ranking, deepest, per_user=True)
    found["next_ties"] = (ranking.tied > 1).astype(np.float64)
    return found | {RELEASED_ACCURACY: correct}


def means(values: Values) -> dict[str, float]:
    """The mean of each figure, over those for whom it is defined; NaN for nobody."""
    return Sample(values, "users").figures()


Floats = NDArray[np.float32]
USERS, CACHED = 512, 1 << 17
"""Users encoded at once; scores held in the processor's cache while the units of the mlp are added up."""


class Scorer:
    """The scores of a model with the weights it has now.

    Args:
        model: the model; if it is trained further, make another scorer.
        data: the songs, which may be others than the model was trained on, of the same columns.

    Raises:
        UserError: the columns of the data are not those of the model.
    """

    def __init__(self, model: Networks, data: KkboxData) -> None:
        self.architecture = a = model.architecture
        widths = (data.song_width, data.user_width, len(data.values["behaviour"]))
        wanted = (a.song_width, a.user_width, a.behaviours)
        require(
            widths == wanted,
            f"the data have {widths} columns of songs and users and ways to come by a song, the model {wanted}: "
            "they are of another preparation than the run",
        )
        self.data = data
        self.model = model
        self._weights: dict[str, Any] = {name: np.asarray(variable) for name, variable in model.named.items()}
        product = _product(data.song_bits.values, data.song_bits.indptr, self._weights["song.0.kernel"])
        self._songs = _array(model.music(ops.convert_to_tensor(product), ops.convert_to_tensor(data.lengths)))

    def song_vectors(self) -> Floats:
        """(songs, E): MFC of every song."""
        return self._songs

    @property
    def dead(self) -> bool:
        """Whether the vectors of all songs are zero (deviation 6): then every score ties, and a ranking is chance."""
        return not self._songs.any()

    def user_vectors(self, histories: Rows, behaviours: Rows, user_bits: Rows) -> Floats:
        """(n, E): USFC + UDFC of users.

        Args:
            histories: songs heard, the oldest first; may be empty.
            behaviours: how each was come by, -1 for none; parallel to ``histories``.
            user_bits: columns of each user.
        """
        examples = Examples(self.architecture, self.data, histories, behaviours, user_bits)
        numbers = np.arange(len(histories), dtype=np.int32)
        parts = [
            self._user_vectors(examples, numbers[start : start + USERS], histories.lengths[start : start + USERS])
            for start in range(0, len(numbers), USERS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.architecture.embedding), np.float32)

    def _user_vectors(self, examples: Examples, playlists: Integers, positions: NDArray[np.int64]) -> Floats:
        bits, rows = examples.columns(playlists, positions)
        indptr = np.searchsorted(rows, np.arange(len(playlists) + 1))
        static = self.model.static(ops.convert_to_tensor(_product(bits, indptr, self._weights["user.0.kernel"])))
        songs, behaviours, live = examples.window(playlists, positions)
        heard, behaviours, live = (ops.convert_to_tensor(x) for x in (self._songs[songs], behaviours, live))
        return _array(static + self.model.dynamic(heard, behaviours, live))

    def scores(self, histories: Rows, behaviours: Rows, user_bits: Rows) -> Floats:
        """(n, songs): scores of all songs; see :meth:`user_vectors`."""
        return self.rate(self.user_vectors(histories, behaviours, user_bits))

    def rate(self, user_vectors: Floats) -> Floats:
        """(n, songs): scores of all songs for users of these vectors (n, E)."""
        a, weights = self.architecture, self._weights
        if a.rating == "dot":
            return user_vectors @ self._songs.T
        of_users = user_vectors @ weights["rating.user"] + weights["rating.bias"]  # (n, units)
        of_songs = self._songs @ weights["rating.song"]  # (songs, units)
        if a.rating == "linear":
            return of_users + of_songs.T
        return _relu_sum(of_users, of_songs, weights["rating.kernel"][:, 0]) + weights["rating.out"]


def recommender(scorer: Scorer) -> Scores:
    """A model's scores as those of a recommender."""

    def scores(queries: Queries) -> NDArray[Any]:
        return scorer.scores(queries.histories, queries.behaviours, take_rows(scorer.data.user_bits, queries.users))

    return scores


def _relu_sum(of_users: Floats, of_songs: Floats, kernel: Floats) -> Floats:
    """(n, songs): sum_k kernel_k relu(of_users_k + of_songs_k), unit by unit over blocks that stay in the cache."""
    # kernel_k relu(x) = sign(kernel_k) relu(|kernel_k| x)
    of_users, of_songs = of_users * np.abs(kernel), np.ascontiguousarray((of_songs * np.abs(kernel)).T)
    total = np.zeros((len(of_users), of_songs.shape[1]), np.float32)
    step = max(CACHED // max(of_songs.shape[1], 1), 1)
    buffer = np.empty((step, of_songs.shape[1]), np.float32)
    for start in range(0, len(total), step):
        block = total[start : start + step]
        some = buffer[: len(block)]
        for k, weight in enumerate(kernel):
            np.add(of_users[start : start + step, k : k + 1], of_songs[k], out=some)
            np.maximum(some, 0.0, out=some)
            (np.add if weight > 0 else np.subtract)(block, some, out=block)
    return total


def _product(bits: Integers, indptr: NDArray[np.integer], kernel: Floats) -> Floats:
    """(n, H): multi-hot vectors, given as CSR rows, times ``kernel``."""
    shape = (len(indptr) - 1, len(kernel))
    return np.asarray(csr_matrix((np.ones(len(bits), np.float32), bits, indptr), shape) @ kernel)


def _array(tensor: Any) -> Floats:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)
