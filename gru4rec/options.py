"""Options of GRU4Rec: of the sessions, of the network and its training; presets, defaults, and the architecture."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

import tyro

from common.mssd.engines import Engine
from common.mssd.files import find_mssd
from common.options import (
    OptionalFloat,
    OptionalInt,
    OptionalPath,
    TrainingOptions,
    UserError,
    choice,
    flag,
    require,
    require_between,
)
from common.presets import Presets
from common.rundir import read_run
from common.sources import find_file

InputKind = Literal["shared", "separate", "one-hot", "content", "content-mlp"]
GruKind = Literal["original", "cudnn"]
LossName = Literal["cross-entropy", "bpr-max", "top1-max", "bpr", "top1"]
Kind = Literal["mssd", "tsv", "rsc15"]
MLP_UNITS = 64
"""Of both layers over the features, with ``content-mlp``."""
MOST_UNITS, MOST_ITEMS = 8192, 10**9
ENGINE_OPTIONS = ("engine", "dask_scheduler")
"""Options that have no effect on the arrays."""
CLICKS = ("yoochoose-clicks.dat", "yoochoose-clicks.dat.gz")
ENDINGS = (".tsv", ".csv", ".parquet", ".jsonl")
PACKED = ("", ".gz", ".zst", ".zip")


@dataclass(frozen=True)
class Architecture:
    """What fixes the shapes and equations of a model.

    Raises:
        UserError: a value is none that it can have.
    """

    num_items: int
    layers: tuple[int, ...] = (100,)
    inputs: InputKind = "shared"
    embedding: int = 64
    """Size of the separate embedding; of no effect otherwise."""
    features: int = 29
    """Features of a track for the content inputs."""
    gru: GruKind = "original"

    def __post_init__(self) -> None:
        for name, words in (("inputs", InputKind), ("gru", GruKind)):
            value, allowed = getattr(self, name), get_args(words)
            require(value in allowed, f"{name} is {value!r:.60}; expected {', '.join(allowed)}")
        require(
            type(self.num_items) is int and 1 <= self.num_items <= MOST_ITEMS,
            f"num_items is {self.num_items!r:.60}; expected a whole number in 1..{MOST_ITEMS}",
        )
        require(bool(self.layers), "layers is empty; expected the units of each layer")
        for name, sizes in (("layers", self.layers), ("embedding", [self.embedding]), ("features", [self.features])):
            usable = all(type(size) is int and 1 <= size <= MOST_UNITS for size in sizes)  # true is an int, too
            require(usable, f"{name} is {getattr(self, name)!r:.60}; expected whole numbers in 1..{MOST_UNITS}")

    @classmethod
    def of_run(cls, folder: Path, items: int) -> Architecture:
        """That of the run in a folder, which ``options.json`` there tells, of a model of ``items``.

        Raises:
            UserError: it is missing, not of a training run of GRU4Rec, or of another number of items.
        """
        file, told = folder / "options.json", read_run(folder).get("architecture")
        try:
            described = dict(told or {})
            found = cls(**(described | {"layers": tuple(described.get("layers", ()))}))
        except (TypeError, ValueError) as error:  # a UserError is a ValueError
            raise UserError(f"{file}: not of a training run of gru4rec/train.py (architecture: {error})") from None
        require(
            found.num_items == items,
            f"{file}: its architecture has {found.num_items} items; the vocabulary has {items:,}",
        )
        return found

    @property
    def input_table(self) -> str | None:
        """Name of the table whose rows are the inputs; None for the content inputs."""
        return {"shared": "Wy", "separate": "E", "one-hot": "Wx0"}.get(self.inputs)

    @property
    def width(self) -> int:
        """Numbers in an input row: of the input table, or features."""
        widths = {"shared": self.layers[-1], "separate": self.embedding, "one-hot": 3 * self.layers[0]}
        return widths.get(self.inputs, self.features)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every weight; tables with a row per item are Wy, By, E and (one-hot) Wx0."""
        shapes: dict[str, tuple[int, ...]] = {"Wy": (self.num_items, self.layers[-1]), "By": (self.num_items, 1)}
        width = MLP_UNITS if self.inputs == "content-mlp" else self.width
        if self.inputs == "separate":
            shapes["E"] = (self.num_items, self.embedding)
        if self.inputs == "content-mlp":
            shapes |= {"D0": (self.features, MLP_UNITS), "d0": (MLP_UNITS,)}
            shapes |= {"D1": (MLP_UNITS, MLP_UNITS), "d1": (MLP_UNITS,)}
        for i, units in enumerate(self.layers):
            first = self.num_items if i == 0 and self.inputs == "one-hot" else width
            shapes |= {f"Wx{i}": (first, 3 * units), f"Bx{i}": (3 * units,)}
            if self.gru == "original":
                shapes |= {f"Wrz{i}": (units, 2 * units), f"Wh{i}": (units, units)}
            else:
                shapes |= {f"Wh{i}": (units, 3 * units), f"Bh{i}": (3 * units,)}
            width = units
        return shapes


@dataclass(frozen=True)
class DataOptions:
    """Which sessions to learn from and which to test on."""

    kind: Literal["auto", "mssd", "tsv", "rsc15"] = "auto"
    """mssd: logs of the Music Streaming Sessions Dataset; tsv: SessionId, ItemId, Time; rsc15: Yoochoose clicks;
    auto: what the folder holds."""
    train_file: str = "train.tsv"
    """tsv: file of the training sessions; packed (.gz, .zst, .zip) or as .csv, .parquet or .jsonl it is found, too."""
    test_file: str = "test.tsv"
    """tsv: file of the test sessions; if it is missing, they are split off the training file."""
    session_key: str = "SessionId"
    """tsv: column of session ids."""
    item_key: str = "ItemId"
    """tsv: column of item ids."""
    time_key: str = "Time"
    """tsv: column of times: seconds, smaller units (recognised by their size) or ISO 8601."""
    separator: Annotated[str | None, tyro.conf.arg(metavar="CHARACTER", help_behavior_hint="")] = None
    """tsv: what separates the values: one character, or the word tab. Default: what fits the header."""
    test_days: float = 1.0
    """Days at the end that are the test. mssd: calendar days that sessions start on; else the sessions whose last
    event is so close to the last one of all."""
    validation_days: OptionalFloat = None
    """Days before those that are the validation, which chooses the epoch; 0 is none. Default: 1 for mssd, else 0."""
    test_share: OptionalFloat = None
    """Instead of days: the share of the sessions, the newest, that is the test."""
    validation_share: OptionalFloat = None
    """Instead of days: the share of the other sessions, the newest, that is the validation; 0 is none."""
    min_support: OptionalInt = None
    """Fewest events of an item in the training sessions; rarer items are dropped. Default: 1; for rsc15 5, counted
    before the split as the official code does."""
    min_length: OptionalInt = None
    """Fewest events of a session; shorter ones are dropped. Default: 2, for tsv 1."""
    collapse_repeats: bool = False
    """Drop an event whose item is that of the event before."""
    drop_featureless: bool = False
    """mssd: drop tracks that have no features; else one such track is an error."""
    engine: Engine = "auto"
    """mssd: what prepares the logs, with the same result: duckdb (and auto), on this machine within a fixed memory;
    dask (extra cluster), on several machines."""
    dask_scheduler: str = ""
    """dask: address of the cluster's scheduler, such as tcp://10.0.0.1:8786. Default: DASK_SCHEDULER_ADDRESS, else
    processes of this machine. All machines must see the logs and the folder data/ under the same paths."""

    def __post_init__(self) -> None:
        for name, least, below in (
            *((name, 0, float("inf")) for name in ("test_days", "validation_days")),
            *((name, 0, 1) for name in ("test_share", "validation_share")),
            *((name, 1, float("inf")) for name in ("min_support", "min_length")),
        ):
            value = getattr(self, name)
            bounds = f"{least} or more" + ("" if below == float("inf") else f" and below {below}")
            message = f"{flag(name)} is {value}; it must be {bounds}"
            require(value is None or least <= value < below, message)
        keys = {"--session-key": self.session_key, "--item-key": self.item_key, "--time-key": self.time_key}
        require(
            len({*keys.values()} - {""}) == 3, f"{', '.join(keys)} are {', '.join(keys.values())}; name three columns"
        )
        if self.separator is not None:
            require(
                self.separator in ("tab", "\\t")
                or (
                    len(self.separator) == 1
                    and self.separator.isascii()
                    and not self.separator.isalnum()
                    and self.separator not in '"\n\r\x10\0'
                ),
                f"--separator is {self.separator!r}; it must be one character, or tab (but no letter, digit, quotation "
                "mark or line end)",
            )
        require(self.train_file != self.test_file, f"--train-file and --test-file are both {self.train_file}")

    @property
    def separating(self) -> str | None:
        """The character that separates the values; None if it is to be found out."""
        return "\t" if self.separator in ("tab", "\\t") else self.separator

    def completed_for(self, kind: Kind) -> DataOptions:
        """These options with the defaults of ``kind`` filled in; the shares stay open.

        Raises:
            UserError: an option does not fit ``kind``.
        """
        require(
            kind == "mssd" or not self.drop_featureless, f"--drop-featureless belongs to mssd, but the files are {kind}"
        )
        values = {
            "validation_days": 1.0 if kind == "mssd" else 0.0,
            "min_support": 5 if kind == "rsc15" else 1,
            "min_length": 1 if kind == "tsv" else 2,
        }
        given = {name: value for name, value in values.items() if getattr(self, name) is None}
        return replace(self, kind=kind, **given)  # type: ignore[arg-type]


@dataclass(frozen=True)
class SessionFiles:
    """The files of a dataset."""

    kind: Kind
    events: tuple[Path, ...]
    """Logs, the training file, or the clicks."""
    others: tuple[Path, ...] = ()
    """Tables of track features, or the test file, if any."""

    @property
    def names(self) -> str:
        """The files of events, for messages."""
        return ", ".join(str(path) for path in self.events)

    @property
    def other_names(self) -> str:
        """The other files, for messages."""
        return ", ".join(str(path) for path in self.others)


def find_session_files(folder: Path, options: DataOptions) -> SessionFiles | None:
    """The files in ``folder`` that ``options`` ask for; None if they are not there."""
    if options.kind in ("auto", "mssd"):
        files = find_mssd(folder)
        if files.logs:
            return SessionFiles("mssd", files.logs, files.features)
    if options.kind in ("auto", "tsv"):
        train = find_file(folder, *table_names(options.train_file))
        test = find_file(folder, *table_names(options.test_file))
        if train:
            return SessionFiles("tsv", (train,), (test,) if test else ())
    clicks = find_file(folder, *CLICKS) if options.kind in ("auto", "rsc15") else None
    return SessionFiles("rsc15", (clicks,)) if clicks else None


def expected_files(options: DataOptions) -> str:
    """The files that :func:`find_session_files` looks for, in words."""
    words = {"mssd": "log_*.csv (.csv.gz, .tar.gz)", "tsv": options.train_file, "rsc15": CLICKS[0]}
    return words.get(options.kind, " or ".join(words.values()))


def table_names(name: str) -> list[str]:
    """The names that the file ``train.tsv`` may have: packed, or of another format.

    >>> table_names("train.tsv")[:6]
    ['train.tsv', 'train.tsv.gz', 'train.tsv.zst', 'train.tsv.zip', 'train.csv', 'train.csv.gz']
    """
    stem = name.rsplit(".", 1)[0] if name.endswith(ENDINGS) else None
    names = [name] if stem is None else [name, *(stem + ending for ending in ENDINGS if stem + ending != name)]
    return [one + packed for one in names for packed in PACKED]


PRESETS: Presets = {
    # hidasib/GRU4Rec, README of the official code: best settings found for each dataset, 10 epochs each.
    "rsc15-xe": {
        "layers": (100,), "batch_size": 32, "dropout_input": 0.1, "learning_rate": 0.1, "alpha": 0.75, "logq": 1.0,
    },
    "yoochoose-xe": {
        "layers": (480,), "batch_size": 48, "dropout_hidden": 0.2, "learning_rate": 0.07, "alpha": 0.2, "logq": 1.0,
    },
    "rees46-xe": {
        "layers": (512,), "batch_size": 240, "dropout_input": 0.45, "learning_rate": 0.065, "alpha": 0.5, "logq": 1.0,
    },
    "coveo-bprmax": {
        "loss": "bpr-max", "elu": 1.0, "layers": (512,), "batch_size": 144, "dropout_input": 0.35,
        "learning_rate": 0.05, "momentum": 0.4, "alpha": 0.2, "bpreg": 1.85,
    },
    "retailrocket-bprmax": {
        "loss": "bpr-max", "elu": 0.5, "layers": (224,), "batch_size": 80, "dropout_input": 0.5, "dropout_hidden": 0.05,
        "learning_rate": 0.05, "momentum": 0.4, "alpha": 0.4, "bpreg": 1.95,
    },
    "diginetica-bprmax": {
        "loss": "bpr-max", "elu": 1.0, "layers": (512,), "batch_size": 128, "dropout_input": 0.5, "dropout_hidden": 0.3,
        "learning_rate": 0.05, "momentum": 0.15, "alpha": 0.3, "bpreg": 0.9,
    },
    # yoavnavon/GRU4REC-spotify: its run.py; bpr-max here is the right one, which the project's code is not.
    "spotify": {
        "loss": "bpr-max", "inputs": "content", "layers": (100,), "embedding": 64, "batch_size": 64,
        "dropout_hidden": 0.1, "optimizer": "adam", "learning_rate": 1e-3, "negatives": 0, "elu": 0.0, "gru": "cudnn",
    },
}  # fmt: skip
DEFAULTS: dict[str, Any] = {
    "epochs": 10, "batch_size": 32, "learning_rate": 0.1, "momentum": 0.0, "layers": (100,), "loss": "cross-entropy",
    "inputs": "shared", "embedding": 64, "gru": "original", "negatives": 2048, "alpha": 0.5, "logq": 0.0, "bpreg": 1.0,
    "elu": 0.5, "dropout_input": 0.0, "dropout_hidden": 0.0, "optimizer": "adagrad",
}  # fmt: skip
SAMPLE: dict[str, Any] = {"negatives": 512}


@dataclass(frozen=True)
class GruOptions(TrainingOptions, DataOptions):
    """Options of GRU4Rec. What is left open is taken from --preset, then from the defaults named here."""

    presets: ClassVar[Presets] = PRESETS

    data_dir: OptionalPath = None
    """Folder with session files: MSSD, SessionId/ItemId/Time tables, or Yoochoose clicks. Default: the released MSSD
    below data/mssd, else the synthetic sample, which is written on first use."""

    preset: Annotated[str | None, choice(*PRESETS, "FILE")] = None
    """Official best settings for a dataset, those of the Spotify project, or a JSON file such as the preset.json of a
    search; single options override them."""
    epochs: OptionalInt = None
    """Passes over the training sessions (official: 10)."""
    batch_size: OptionalInt = None
    """Sessions walked through side by side (official: 32 to 240). Default: 32."""
    learning_rate: OptionalFloat = None
    """Step size (official: 0.05 to 0.1). Default: 0.1."""
    momentum: OptionalFloat = None
    """Of Adagrad (official: 0 to 0.4). Default: 0."""
    optimizer: Annotated[Literal["adagrad", "adam"] | None, choice("adagrad", "adam")] = None
    """adagrad: the official one, which touches only the rows in use; adam: Keras's, which moves all rows. Default:
    adagrad."""
    layers: Annotated[tuple[int, ...], tyro.conf.arg(metavar="INT ...", help_behavior_hint="")] = ()
    """Units of each GRU layer (official: one layer of 100 to 512). Default: 100."""
    inputs: Annotated[InputKind | None, choice("shared", "separate", "one-hot", "content", "content-mlp")] = None
    """What the GRU reads of an item: shared, the row that it is scored by (official best); separate, an embedding of
    its own; one-hot; content and content-mlp, the track's features (Spotify project). Default: shared."""
    embedding: OptionalInt = None
    """Size of the separate embedding. Default: 64."""
    gru: Annotated[GruKind | None, choice("original", "cudnn")] = None
    """Reset gate before the recurrent product (Theano and TensorFlow code) or after it (PyTorch). Default: original."""
    loss: Annotated[LossName | None, choice("cross-entropy", "bpr-max", "top1-max", "bpr", "top1")] = None
    """Training loss (official best: cross-entropy or bpr-max). Default: cross-entropy."""
    bpreg: OptionalFloat = None
    """Regularisation of scores in bpr-max (official: 0.9 to 1.95). Default: 1."""
    elu: OptionalFloat = None
    """Scores below 0 become elu (e^x - 1) in the losses other than cross-entropy; 0 leaves them (official: 0.5 or 1).
    Default: 0.5."""
    negatives: OptionalInt = None
    """Negative items that a batch shares, besides its own targets (official: 2048; 0: the targets alone). Default:
    2048, on the sample 512."""
    alpha: OptionalFloat = None
    """They are drawn by popularity to this power, 0 to 1 (official: 0.2 to 0.75). Default: 0.5."""
    logq: OptionalFloat = None
    """Correction of cross-entropy for popular items being negatives more often, 0 to 1 (official best: 1). Default:
    0."""
    dropout_input: OptionalFloat = None
    """Share of the input embedding dropped (official: 0 to 0.5). Default: 0."""
    dropout_hidden: OptionalFloat = None
    """Share of each layer's output dropped (official: 0 to 0.3). Default: 0."""
    baselines: bool = True
    """Evaluate the baselines too."""

    def __post_init__(self) -> None:
        TrainingOptions.__post_init__(self)
        DataOptions.__post_init__(self)
        require(
            all(1 <= units <= MOST_UNITS for units in self.layers),
            f"--layers is {self.layers}; each must lie in 1..{MOST_UNITS}",
        )
        require_between(
            self,
            batch_size=(1, 16384),
            momentum=(0, 1),
            embedding=(1, MOST_UNITS),
            bpreg=(0, 1e6),
            elu=(0, 1e3),
            negatives=(0, 10**6),
            alpha=(0, 1),
            logq=(0, 1),
            dropout_input=(0, 0.99),
            dropout_hidden=(0, 0.99),
        )
        require(len(self.weights) <= 1, "--weights names several files; name one")
        require(self.protocol == "corrected", "--protocol released: GRU4Rec has one protocol, the official one")

    @property
    def of_data(self) -> DataOptions:
        """Those that choose the sessions."""
        return DataOptions(**{field.name: getattr(self, field.name) for field in fields(DataOptions)})

    def unvalidated(self) -> str:
        """See :meth:`common.options.TrainingOptions.unvalidated`; logs of MSSD alone have one by default."""
        if self.validation_share is not None:
            return "--validation-share is 0" if self.validation_share == 0 else ""
        folder = self.data_dir
        files = find_session_files(folder, self.of_data) if folder is not None and folder.is_dir() else None
        kind = "mssd" if files is None else files.kind
        if self.of_data.completed_for(kind).validation_days:
            return ""
        return (
            "--validation-days is 0" if self.validation_days == 0 else f"sessions of {kind} files have none by default"
        )

    def completed(self, synthetic: bool) -> GruOptions:
        """These options with everything filled in; what a preset says is among them since they were parsed.

        Raises:
            UserError: the whole does not fit together.
        """
        chosen = DEFAULTS | (SAMPLE if synthetic else {})
        open_fields = {f.name for f in fields(self) if getattr(self, f.name) in (None, ())}
        full = replace(self, **{name: value for name, value in chosen.items() if name in open_fields})
        require(
            full.logq == 0 or full.loss == "cross-entropy", f"--logq corrects cross-entropy, but --loss is {full.loss}"
        )
        require(
            full.momentum == 0 or full.optimizer == "adagrad", "--momentum belongs to --optimizer adagrad; leave it out"
        )
        if full.negatives == 0:
            require(
                (full.batch_size or 0) >= 2,
                "--negatives 0 needs --batch-size of 2 or more: the others are the negatives",
            )
        return full

    def architecture(self, items: int, features: int | None) -> Architecture:
        """What these options, once complete, describe.

        Args:
            items: of the training data.
            features: of a track, None where the data have none.

        Raises:
            UserError: a content input is asked for, but there are no features.
        """
        assert self.inputs and self.gru and self.embedding
        content = self.inputs.startswith("content")
        require(
            not content or features is not None,
            f"--inputs {self.inputs} reads the tracks' features, but this dataset has none; MSSD's tf_*.csv hold them",
        )
        sizes = {"features": features} if content and features is not None else {}
        return Architecture(items, tuple(self.layers), self.inputs, self.embedding, gru=self.gru, **sizes)
