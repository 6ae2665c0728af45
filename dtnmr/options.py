"""Options of DTNMR, and what each protocol sets where they are left open."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

import tyro

from common.options import OptionalFloat, OptionalInt, OptionalPath, TrainingOptions, choice, require, require_between
from dtnmr.data_options import DataOptions

Rating = Literal["linear", "dot", "mlp"]
Loss = Literal["softmax", "bpr", "full-softmax"]
Optimizer = Literal["sgd", "adam", "lazy-adam", "adagrad"]
NegativesKind = Literal["released", "uniform", "popularity"]

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
        require(len(self.weights) <= 1, "--weights names several files; name one")
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
