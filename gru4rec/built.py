"""What both ways of building sessions, in memory and out of core, have in common: names, checks, features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.mssd.files import FEATURES, NUMERIC_FEATURES
from common.mssd.logs import Log
from common.options import UserError, require
from common.row_counts import RowCounts
from common.sessions import Events
from gru4rec.data_options import DataOptions, SessionFiles

PARTS = ("train", "validation", "test")
ARRAYS = ("items", "offsets", "starts")
FEATURELESS, REPEATS, RARE = ("tracks without features", "repeats", "rare items and short sessions")


@dataclass(frozen=True)
class Built:
    """What is to be saved besides the sessions; see :class:`gru4rec.preprocess.SessionData`."""

    item_ids: NDArray[np.bytes_]
    support: NDArray[np.int64]
    features: NDArray[np.float32] | None
    dropped: dict[str, int]
    counts: RowCounts
    notes: tuple[str, ...] = ()


def unknown_items(part: str) -> str:
    """The name of the last filter of the sessions that are not trained on."""
    return f"{part}: items unknown in training, then short sessions"


def log_events(log: Log, items: NDArray[np.int32]) -> Events:
    """The events of a log, a second for each position; ``items`` (events,) are their tracks."""
    times = np.repeat(log.starts, np.diff(log.offsets)) + log.positions
    return Events(items, times, np.arange(len(items)), log.offsets, log.session_ids)


def require_features(files: SessionFiles, options: DataOptions) -> None:
    """Tracks without features can be dropped only where there are features."""
    require(
        bool(files.others) or not options.drop_featureless,
        f"--drop-featureless: there are no track features (tf_*.csv) beside {files.names}",
    )


def require_rest(left: bool, name: str, share: float | None, files: SessionFiles) -> None:
    """Sessions must be left once those of the part ``name`` are split off."""
    option = f"--{name}-share 0.1" if share is None else f"a smaller --{name}-share"
    require(left, f"{files.names}: all sessions fall into the {name} part, none is left to train on; try {option}")


def require_train(sessions: int, files: SessionFiles) -> None:
    """There must be sessions to train on."""
    require(sessions > 0, f"{files.names}: the filters leave no training session; relax them")


def require_test(sessions: int, events: int, files: SessionFiles, options: DataOptions) -> None:
    """There must be sessions to test on, of the ``events`` in the test part."""
    where = files.other_names if files.kind == "tsv" and files.others else files.names
    require(
        sessions > 0,
        f"{where}: no test session is left of {events:,} test events; sessions need {options.min_length} or more "
        "events of items that occur in training: choose another test file, --test-days or --test-share",
    )


def standardised(
    features: NDArray[np.float32], described: NDArray[np.bool_], item_ids: NDArray[np.bytes_], files: SessionFiles
) -> NDArray[np.float32]:
    """The features of the training tracks, (tracks, 29): each number with mean 0 and variance 1 over them.

    Args:
        features: (tracks, 29) as they stand in the files.
        described: (tracks,) which tracks are there.

    Raises:
        UserError: one is not.
    """
    missing = np.flatnonzero(~described)
    if missing.size:
        raise UserError(
            f"{files.other_names}: {missing.size:,} of {len(described):,} training tracks have no row, "
            f"for example {item_ids[missing[0]].decode()}; add their features or use --drop-featureless"
        )
    values = features.astype(np.float64)
    numbers = values[:, : len(NUMERIC_FEATURES)]
    deviation = numbers.std(axis=0)
    constant = deviation <= 1e-6 * np.abs(numbers).max(axis=0)  # what is left of it is rounding
    numbers -= numbers.mean(axis=0)
    numbers /= np.where(constant, 1.0, deviation)
    return values.astype(np.float32).reshape(-1, len(FEATURES))
