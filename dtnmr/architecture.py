"""The sizes of a DTNMR network and what they imply: names and shapes of its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from common.options import require

Rating = Literal["linear", "dot", "mlp"]


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a model.

    Attributes:
        song_width: columns of a song's multi-hot blocks (its length comes in addition).
        user_width: columns of a user's one-hot blocks (``song_width`` columns of songs heard come in addition).
        behaviours: ways to come by a song, one-hot beside each song of the history.
        embedding: E, units of song, static and dynamic vectors.
        mlp: units of the hidden layers of both towers.
        lstm: H, units of each LSTM layer.
        lstm_layers: number of LSTM layers.
        dropout: rate between LSTM layers and within the head.
        rating: how user and song meet.
        final_relu: ReLU after the last layer of towers and head too (released). Then all E units of all songs can die,
            every score ties and nothing is learnt any more; and ``dot`` can tell dislike from indifference no more.
        long_length: L, songs of the long history.
        short_length: songs of the short one, the last of the long one.
    """

    song_width: int
    user_width: int
    behaviours: int
    embedding: int = 32
    mlp: tuple[int, ...] = (512, 64)
    lstm: int = 256
    lstm_layers: int = 2
    dropout: float = 0.3
    rating: Rating = "dot"
    final_relu: bool = False
    long_length: int = 20
    short_length: int = 10

    def __post_init__(self) -> None:
        sizes = {name: getattr(self, name) for name in ("song_width", "embedding", "lstm", "lstm_layers")}
        for name, size in sizes.items():
            require(size >= 1, f"{name} is {size}; it must be 1 or more")
        require(len(self.mlp) > 0 and min(self.mlp) >= 1, f"mlp is {self.mlp}; it must name layers of 1 unit or more")
        require(0 <= self.dropout < 1, f"dropout is {self.dropout}; it must lie in 0..1, 1 excluded")
        require(self.rating in get_args(Rating), f"rating is {self.rating}; expected {', '.join(get_args(Rating))}")
        require(
            1 <= self.short_length <= self.long_length,
            f"the short history has {self.short_length} songs, the long one {self.long_length}; "
            "it must have 1 or more, and not more than the long one",
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight."""
        e, h = self.embedding, self.lstm
        shapes: dict[str, tuple[int, ...]] = {"song.length": (1, self.mlp[0])}
        for name, width in (("user", self.user_width + self.song_width), ("song", self.song_width)):
            for i, (inputs, units) in enumerate(zip((width, *self.mlp), (*self.mlp, e), strict=True)):
                shapes |= {f"{name}.{i}.kernel": (inputs, units), f"{name}.{i}.bias": (units,)}
        for i in range(self.lstm_layers):
            inputs = h if i else e + self.behaviours
            shapes |= {f"lstm.{i}.input": (inputs, 4 * h), f"lstm.{i}.recurrent": (h, 4 * h)}
            # Two biases that are only ever added, as in PyTorch: their sum moves twice as far in a step as one would.
            shapes |= {f"lstm.{i}.input_bias": (4 * h,), f"lstm.{i}.recurrent_bias": (4 * h,)}
        shapes |= {"head.0.kernel": (h, h), "head.0.bias": (h,), "head.1.kernel": (h, e), "head.1.bias": (e,)}
        if self.rating == "dot":
            return shapes
        units = 1 if self.rating == "linear" else 2 * e
        shapes |= {"rating.user": (e, units), "rating.song": (e, units), "rating.bias": (units,)}
        return shapes if self.rating == "linear" else shapes | {"rating.kernel": (units, 1), "rating.out": (1,)}
