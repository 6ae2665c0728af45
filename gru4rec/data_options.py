"""Which sessions to learn from: the options of the data, and the files that they ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.mssd.engines import Engine
from common.mssd.files import find_mssd
from common.options import OptionalFloat, OptionalInt, flag, require
from common.sources import find_file
from gru4rec.tables import table_names

ENGINE_OPTIONS = ("engine", "dask_scheduler")
"""Options that have no effect on the arrays."""
Kind = Literal["mssd", "tsv", "rsc15"]
CLICKS = ("yoochoose-clicks.dat", "yoochoose-clicks.dat.gz")


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
