"""Options of DTNMR: of the data, of the network and of its training; what each protocol sets; the architecture."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal, get_args

import tyro

from common.options import (
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    TrainingOptions,
    choice,
    flag,
    require,
    require_between,
)
from dtnmr.encoding import LONGEST_NAME

Protocol = Literal["corrected", "released"]
MOST = 2**31 - 1
"""No length or number is larger: positions in a playlist are 32-bit integers."""


@dataclass(frozen=True)
class DataOptions:
    """Which plays to learn from and which to test on."""

    db: OptionalPath = None
    """Folder with train.csv, test.csv, songs.csv and members.csv of KKBOX (plain, .gz or .zip): the released code's
    name of --data-dir."""
    cache: OptionalPath = None
    """Folder for the prepared arrays, of their own. Arrays made from other files or with other options are refused
    there unless --reload is given. Default: below the dataset, where they are made anew whenever they must be."""
    reload: bool = False
    """Prepare the arrays anew even where they are up to date."""
    top: float = 0.001
    """Keep a song only if its plays in the training file are more than this share of those of the song played most."""
    min_playlist_len: int = 20
    """Users with a shorter playlist are left out (of training songs; of test songs if they have no others). The first
    songs, as many as this, are only history: examples begin with the song after them. Released protocol: playlists
    must be longer than this."""
    max_playlist_len: int = 200
    """Corrected protocol: only the last so many songs of a training playlist give examples, and a history has fewer
    songs than this. Released protocol: longer playlists, and those of just this length, are left out."""
    subset_size: int = 5
    """Candidates of an example: the song played and so many less one others, the negatives."""
    short_term_len: int = 10
    """Songs at the end of a history that are the short-term preference."""
    long_term_len: int = 20
    """Songs at the end of a history that are the long-term preference; a tested song needs as many before it."""
    max_song_seconds: float = 360.0
    """Songs of this length or longer are left out; 0 is no limit."""
    min_age: int = 16
    """The youngest age that is believed."""
    max_age: int = 59
    """The oldest age that is believed. Other ages are unknown, as is KKBOX's 0; unknown is a value like any age."""
    age_filter: bool = False
    """Corrected protocol: leave out users whose age is unknown. The released protocol always does."""
    name_filter: bool = False
    """Corrected protocol: drop songs of artists and composers whose names have no blank, more than --max-name-length
    characters, or Chinese, Japanese, Korean or Thai letters. The released protocol always does."""
    max_name_length: int = LONGEST_NAME
    """Characters of the longest name that --name-filter lets pass."""
    keep_new_songs: bool = True
    """Corrected protocol: keep songs that only the test file names, although --top could not let them pass, so that
    they can be recommended. The released protocol never does."""
    validation_share: float = 0.1
    """Corrected protocol: share of each user's examples, the last ones, to choose the best epoch by; 0 is none. The
    released protocol has none."""

    def __post_init__(self) -> None:
        require_between(
            self,
            min_playlist_len=(1, MOST),
            max_playlist_len=(2, MOST),
            subset_size=(2, MOST),
            short_term_len=(1, MOST),
            min_age=(0, MOST),
            max_age=(0, MOST),
            max_name_length=(1, MOST),
        )
        require(
            0 <= self.max_song_seconds < float("inf"),
            f"--max-song-seconds is {self.max_song_seconds}; it must be 0 or more",
        )
        for name in ("top", "validation_share"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{flag(name)} is {value}; it must be 0 or more and below 1")
        self._in_order("min_playlist_len", "max_playlist_len", below=True)
        self._in_order("short_term_len", "long_term_len")
        self._in_order("long_term_len", "min_playlist_len")
        self._in_order("min_age", "max_age")

    def _in_order(self, small: str, large: str, below: bool = False) -> None:
        first, second = getattr(self, small), getattr(self, large)
        require(
            first < second or (first == second and not below),
            f"{flag(small)} is {first} and {flag(large)} is {second}; the first must be "
            f"{'less than' if below else 'at most'} the second",
        )

    def shaping(self, protocol: Protocol) -> dict[str, Any]:
        """The options that the prepared arrays depend on."""
        names = ["top", "min_playlist_len", "max_playlist_len", "long_term_len", "max_song_seconds"]
        names += ["min_age", "max_age", "max_name_length"]
        if protocol == "corrected":
            names += ["age_filter", "name_filter", "keep_new_songs", "validation_share"]
        return {"protocol": protocol} | {name: getattr(self, name) for name in names}


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


Loss = Literal["softmax", "bpr", "full-softmax"]
Optimizer = Literal["sgd", "adam", "lazy-adam", "adagrad"]
NegativesKind = Literal["released", "uniform", "popularity"]

RELEASED_CANDIDATES = 5
"""Candidates of the released code's accuracy: the label and four others."""
RELEASED_ACCURACY = f"accuracy@{RELEASED_CANDIDATES}_released"
RELEASED: dict[str, Any] = {
    # wonjunior/DTNMR, run.py and model.py at 7b802f4; the paper's own values could not be found.
    "epochs": 1, "batch_size": 16, "learning_rate": 0.1, "optimizer": "sgd", "rating": "linear", "final_relu": "yes",
    "embedding": 32, "mlp": (512, 64), "lstm": 256, "lstm_layers": 2, "dropout": 0.3, "loss": "softmax",
    "negatives": "released", "negatives_power": 0.0,
}  # fmt: skip
CORRECTED: dict[str, Any] = RELEASED | {
    "epochs": 10, "batch_size": 256, "learning_rate": 1e-3, "optimizer": "adam", "rating": "dot", "final_relu": "no",
    "negatives": "uniform", "negatives_power": 0.75,
}  # fmt: skip
SAMPLE: dict[str, Any] = {"mlp": (64, 32), "lstm": 32, "dropout": 0.0, "learning_rate": 0.01}
"""On made-up data in the corrected protocol: smaller layers learn what they hold, in a tenth of the time."""


@dataclass(frozen=True)
class DtnmrOptions(TrainingOptions, DataOptions):
    """Options of DTNMR. What is left open depends on --protocol; "seed" is the released code, wonjunior/DTNMR."""

    data_dir: OptionalPath = None
    """Folder with train.csv, test.csv, songs.csv and members.csv as Kaggle ships them; the same as --db. Default: the
    released files below data/kkbox, else the synthetic sample, which is written on first use."""
    epochs: OptionalInt = None
    """Passes over the training examples; 0 evaluates the given weights (seed: 1; paper: not found). Default: 10,
    released: 1."""
    batch_size: OptionalInt = None
    """Examples in a batch (seed: 16). Default: 256, released: 16."""
    learning_rate: OptionalFloat = None
    """Step size (seed: 0.1). Default: 0.001, on synthetic data 0.01, released: 0.1."""
    optimizer: Annotated[Optimizer | None, choice("sgd", "adam", "lazy-adam", "adagrad")] = None
    """sgd (seed); adam, which moves all rows in every step; lazy-adam and adagrad leave rows alone that a batch does
    not touch. Default: adam, released: sgd."""
    rating: Annotated[Rating | None, choice("linear", "dot", "mlp")] = None
    """How user and song become a score: linear in both (seed: the user then cancels out of loss and ranking), dot
    product, or a perceptron (paper: not found). Default: dot, released: linear."""
    embedding: OptionalInt = None
    """Size of a song's and a user's vector (seed: 32). Default: 32."""
    mlp: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")] = ()
    """Sizes of the layers before it in the networks of songs and of users (seed: 512 64). Default: 512 64; on
    synthetic data 64 32."""
    lstm: OptionalInt = None
    """Units of each LSTM layer (seed: 256). Default: 256; on synthetic data 32."""
    lstm_layers: OptionalInt = None
    """LSTM layers (seed: 2). Default: 2."""
    dropout: OptionalFloat = None
    """Share dropped between and after the LSTM layers (seed: 0.3). Default: 0.3; on synthetic data 0."""
    final_relu: Annotated[Literal["yes", "no"] | None, choice("yes", "no")] = None
    """Whether a ReLU comes last in the networks of songs and users (seed: it does; outputs can die). Default: no,
    released: yes."""
    loss: Annotated[Loss | None, choice("softmax", "bpr", "full-softmax")] = None
    """softmax over the label and the negatives (seed); bpr: over pairs of them; full-softmax: over all songs played in
    training, which costs more the more there are. Default: softmax."""
    negatives: Annotated[NegativesKind | None, choice("released", "uniform", "popularity")] = None
    """The other --subset-size - 1 songs of an example, drawn anew in each epoch: released, from all songs (seed);
    uniform and popularity, not from the history or the label. Default: uniform, released: released."""
    negatives_power: OptionalFloat = None
    """Negatives by popularity are drawn in proportion to plays to this power, 0 to 1. Default: 0.75."""
    cutoffs: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...")] = (5, 10, 20)
    """Lengths K of the lists of recommendations that are judged (the paper's are not known)."""
    test_points: int = 20_000
    """Test examples at which the next song is ranked; of more, as many are drawn at random; 0 for all."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        require_between(
            self,
            batch_size=(1, 65536),
            embedding=(1, 4096),
            lstm=(1, 4096),
            lstm_layers=(1, 8),
            dropout=(0, 0.99),
            negatives_power=(0, 1),
            test_points=(0, 10**9),
        )
        require(all(1 <= size <= 65536 for size in self.mlp), f"--mlp is {self.mlp}; each must lie in 1..65536")
        ordered = tuple(sorted(set(self.cutoffs)))
        require(
            len(ordered) > 0 and ordered == self.cutoffs and ordered[0] >= 1 and ordered[-1] < 2**31,
            f"--cutoffs are {' '.join(map(str, self.cutoffs))}; name different numbers from 1 on in ascending order",
        )
        require(
            len(self.weights) <= 1 or self.epochs == 0,
            "--weights names several files, which can be compared (--epochs 0) but not trained on",
        )
        require(
            self.negatives is None or self.loss != "full-softmax",
            "--loss full-softmax compares with all songs and draws no --negatives; leave one of them out",
        )
        require(
            self.negatives_power is None or self.negatives == "popularity",
            "--negatives-power belongs to --negatives popularity; leave it out, or choose those",
        )

    @property
    def of_data(self) -> DataOptions:
        """Those that choose users, songs and examples."""
        return DataOptions(**{field.name: getattr(self, field.name) for field in fields(DataOptions)})

    def unvalidated(self) -> str:
        """See :meth:`common.options.TrainingOptions.unvalidated`."""
        if self.protocol == "released":
            return "--protocol released has none"
        return "--validation-share is 0" if self.validation_share == 0 else ""

    def completed(self, synthetic: bool) -> DtnmrOptions:
        """These options with everything filled in."""
        chosen = RELEASED if self.protocol == "released" else CORRECTED | (SAMPLE if synthetic else {})
        unused = {"negatives", "negatives_power"} if (self.loss or chosen["loss"]) == "full-softmax" else set()
        if (self.negatives or chosen["negatives"]) != "popularity":
            unused.add("negatives_power")
        open_fields = {field.name for field in fields(self) if getattr(self, field.name) in (None, ())} - unused
        return replace(self, **{name: value for name, value in chosen.items() if name in open_fields})
