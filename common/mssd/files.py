"""Files and track features of the Music Streaming Sessions Dataset (Brost et al., WWW 2019; arXiv 1901.09851)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.options import UserError, require
from common.row_counts import UNNEEDED, RowCounts
from common.table_sources import is_archive, open_sources
from common.tables import Column, open_table

LOG_COLUMNS = (
    *("session_id", "session_position", "session_length", "track_id_clean", "skip_1", "skip_2", "skip_3"),
    *("not_skipped", "context_switch", "no_pause_before_play", "short_pause_before_play", "long_pause_before_play"),
    *("hist_user_behavior_n_seekfwd", "hist_user_behavior_n_seekback", "hist_user_behavior_is_shuffle"),
    *("hour_of_day", "date", "premium", "context_type"),
    *("hist_user_behavior_reason_start", "hist_user_behavior_reason_end"),
)
"""The 21 columns of a log."""
NUMERIC_FEATURES = (
    *("duration", "release_year", "us_popularity_estimate", "acousticness", "beat_strength", "bounciness"),
    *("danceability", "dyn_range_mean", "energy", "flatness", "instrumentalness", "key", "liveness", "loudness"),
    *("mechanism", "organism", "speechiness", "tempo", "time_signature", "valence"),
    *(f"acoustic_vector_{i}" for i in range(8)),
)
"""The 28 columns of numbers in the table of track features."""
FEATURES = (*NUMERIC_FEATURES, "mode")
"""Names of the columns that :func:`read_features` makes: the numbers, and last mode as 0 (minor) or 1 (major)."""
FEATURE_COLUMNS = ("track_id", *FEATURES[:15], "mode", *NUMERIC_FEATURES[15:])
"""The 30 columns of a table of track features, in the released order."""
SINGLE = (-1e30, 1e30)
"""Features that single precision holds with room for their squares' sum in double."""
_training_name = re.compile(r"training|training_set(_[0-9])?")
LOG_PATTERNS = ("log_*.csv", "log_*.csv.gz")
FEATURE_PATTERNS = ("tf_*.csv", "tf_*.csv.gz")


@dataclass(frozen=True)
class MssdFiles:
    """Where the logs and the track features are."""

    logs: tuple[Path, ...]
    features: tuple[Path, ...]
    """May be empty."""


def find_released(root: Path) -> Path | None:
    """The folder with logs below the data root: ``mssd``, ``mssd/released``, or the root itself.

    The root itself must have logs in ``training`` or ``training_set`` (0 to 9), where the two projects that these
    models come from put them.
    """
    home = root / "mssd"
    found = [place for place in (home, home / "released") if find_mssd(place).logs]
    if not found and any(_matches(path, LOG_PATTERNS) for place in _training(root) for path in place.iterdir()):
        found = [root]
    return found[0] if found else None


def _training(folder: Path) -> list[Path]:
    """The folders of training logs in ``folder``: of the release, and of the projects that were made with it."""
    return sorted(path for path in folder.glob("training*") if _training_name.fullmatch(path.name) and path.is_dir())


def find_mssd(folder: Path) -> MssdFiles:
    """The released files in ``folder`` and in its folders ``training_set`` and ``track_features``, if any.

    The logs may lie in ``training`` (the Spotify project that GRU4Rec's content inputs come from) or ``training_set_0``
    to ``training_set_9`` (the session project), too. Where there is ``training``, archives beside it are not read: it
    was unpacked from them; nor is ``testing``, which has parts of the logs a second time.

    An archive whose name has ``track_features`` holds the features; other archives hold logs, and the features
    too if there are none besides (the released mini set), but for those called ``training_set``, which have none.
    ``log_input_*`` (second halves without what the listener did) is left out.
    """
    paths = sorted(
        path
        for place in (folder, *_training(folder), folder / "track_features")
        if place.is_dir()
        for path in place.iterdir()
        if path.is_file()
    )
    unpacked = (folder / "training").is_dir()
    archives = [path for path in paths if is_archive(path) and not (unpacked and path.parent == folder)]
    logs = [path for path in paths if _matches(path, LOG_PATTERNS) and not path.name.startswith("log_input_")]
    logs += [path for path in archives if "track_features" not in path.name]
    features = [path for path in paths if _matches(path, FEATURE_PATTERNS)]
    features += [path for path in archives if "track_features" in path.name]
    mini = [path for path in archives if "training_set" not in path.name]
    return MssdFiles(tuple(logs), tuple(features or mini))


def _matches(path: Path, patterns: Iterable[str]) -> bool:
    return any(fnmatch(path.name.lower(), pattern) for pattern in patterns)


def read_features(
    paths: Sequence[Path], track_ids: NDArray[np.bytes_], counts: RowCounts | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The features of the tracks ``track_ids``.

    Args:
        paths: tables of track features (30 columns, ``tf_*.csv``) and archives of them.
        counts: is told what becomes of their rows.

    Returns:
        The features (tracks, 29) in the order of :data:`FEATURES`, as they stand in the files, zeros for a track
        that is in none of them; and which tracks are there (tracks,).

    Raises:
        UserError: no table is found, or a table is wrong (the message names the file, the line and what was expected).
    """
    columns = {"track_id": Column("id"), **{name: Column("number", *SINGLE) for name in NUMERIC_FEATURES}}
    columns["mode"] = Column("text", choices=("major", "minor"))
    values = np.zeros((len(track_ids), len(FEATURES)), dtype=np.float32)
    found = np.zeros(len(track_ids), dtype=bool)
    wanted = pd.Index(track_ids.astype(object)).map(bytes.decode)
    tables = 0
    for path in paths:
        for source, stream in open_sources(path, *FEATURE_PATTERNS):
            tables += 1
            with open_table(source, columns, separator=",", stream=stream) as table:
                used = wanted_rows = 0
                for rows in table.chunks(100_000):
                    place = wanted.get_indexer(pd.Index(rows["track_id"]))
                    here = place >= 0
                    place, rows = place[here], rows[here]
                    new = np.column_stack([rows[list(NUMERIC_FEATURES)].to_numpy(np.float32), rows["mode"] == "major"])
                    old = np.where(found[place, None], values[place], new)
                    values[place] = new
                    before = int(found.sum())
                    found[place] = True
                    used += int(found.sum()) - before
                    wanted_rows += len(place)
                    # Twice in two tables, or in this.
                    twice = np.flatnonzero((old != new).any(1) | (values[place] != new).any(1))
                    if twice.size:
                        track = rows["track_id"].iloc[twice[0]]
                        raise UserError(f"{source}: the track {track} has two rows that differ; remove one of them")
            if counts is not None:
                counts.add(table)
                counts.leave_out(table.files[0].name, UNNEEDED, table.rows - wanted_rows)
                counts.leave_out(table.files[0].name, "listed again", wanted_rows - used)
    require(tables > 0, f"{', '.join(map(str, paths))}: holds no track features; expected files named tf_*.csv")
    return values, found
