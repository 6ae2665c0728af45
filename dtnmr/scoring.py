"""Scores of all songs for any users; every song and every user is encoded once."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from common.options import require
from dtnmr.batches import Examples
from dtnmr.dataset import Integers, KkboxData, Rows
from dtnmr.evaluation import Scores
from dtnmr.model import Networks
from dtnmr.queries import Queries, take_rows

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
