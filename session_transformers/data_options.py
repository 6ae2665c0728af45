"""Which sessions to learn from and which to test on: the options of the data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from common.mssd.engines import Engine
from common.options import OptionalInt, flag, require
from session_transformers.kinds import CORRECTED_IDS, RELEASED_IDS, Ids

ENGINE_OPTIONS = ("engine", "dask_scheduler")
"""Options that have no effect on the arrays."""
MIN_PLAYS = 150
"""Fewest plays of a track over 60 days of the full logs (Khan, Cui, Arora 2020): 103,908 of 3.6 million tracks are
left, which have 87 % of the plays."""
SYNTHETIC_MIN_PLAYS = 5
"""The sample has some 300 plays for each of its tracks, the rarest about 50: 5 drops none of them and still spares a
smaller sample those tracks of which nothing can be learned. 150 would leave few sessions without a rare track."""


@dataclass(frozen=True)
class DataOptions:
    """Which sessions to learn from and which to test on."""

    min_plays: OptionalInt = None
    """Fewest plays of a track in the training part; sessions with a rarer track are dropped. Default: 150, the
    paper's, or 5 on synthetic sessions."""
    any_length: bool = False
    """Also take the sessions of 10 to 19 tracks, halved as in the challenge: the smaller half first. The paper: only
    those of exactly 20."""
    validation_share: float = 0.1
    """Share of the sessions to choose the best epoch by; 0 is none."""
    test_share: float = 0.1
    """Share of the sessions to test on."""
    split_seed: int = 0
    """Which sessions fall into which part: this and a session's id alone decide it."""
    track_features: bool = True
    """Read the track features (tf_*.csv); without them, models have only the ids of the tracks to learn from."""
    one_feature_row: bool = False
    """With --protocol released: give every track the features of the first one that has any, as the released code does
    by mistake (the paper says that each has its own)."""
    engine: Engine = "auto"
    """What prepares the logs, with the same result: duckdb (and auto), on this machine within a fixed memory; dask
    (extra cluster), on several machines."""
    dask_scheduler: str = ""
    """dask: address of the cluster's scheduler, such as tcp://10.0.0.1:8786. Default: DASK_SCHEDULER_ADDRESS, else
    processes of this machine. All machines must see the logs and the folder data/ under the same paths."""
    protocol: Literal["corrected", "released"] = "corrected"
    """corrected: ids by popularity after pad, mask and skip, 28 standardised features and the mode; released: ids in
    the order of the track ids after pad and mask, 26 features of which only the columns are normalised."""

    def __post_init__(self) -> None:
        least = self.min_plays is None or self.min_plays >= 1
        require(least, f"--min-plays is {self.min_plays}; it must be 1 or more")
        for name in ("validation_share", "test_share"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{flag(name)} is {value}; it must be 0 or more and below 1")
        require(
            self.validation_share + self.test_share < 1,
            f"--validation-share and --test-share are {self.validation_share} and {self.test_share}; together they "
            "must be below 1",
        )
        require(self.test_share > 0, "--test-share is 0; there must be sessions to test on")
        require(0 <= self.split_seed < 2**31, f"--split-seed is {self.split_seed}; it must lie in 0..2147483647")
        require(
            not self.one_feature_row or (self.protocol == "released" and self.track_features),
            "--one-feature-row is a mistake of the released code; it needs --protocol released, and track features",
        )

    @property
    def ids(self) -> Ids:
        """The ids that are no tracks."""
        return RELEASED_IDS if self.protocol == "released" else CORRECTED_IDS

    def completed(self, synthetic: bool) -> DataOptions:
        """These options with the default of ``min_plays`` filled in."""
        if self.min_plays is not None:
            return self
        return replace(self, min_plays=SYNTHETIC_MIN_PLAYS if synthetic else MIN_PLAYS)
