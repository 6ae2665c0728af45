"""From the logs to training, validation and test sessions of a vocabulary; no more than one log is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.mssd.engines import check_distinct, open_logs
from common.mssd.files import FEATURES, NUMERIC_FEATURES, MssdFiles, read_features
from common.mssd.logs import LogPart
from common.mssd.tasks import Tally, Tasks, add_tallies, join_arrays, save_array
from common.mssd.track_numbers import number_tracks, track_numbers
from common.options import require
from common.row_counts import RowCounts
from session_transformers.data_options import DataOptions
from session_transformers.kinds import PAD
from session_transformers.sessions.halves import choose_sessions, to_halves

PARTS = ("train", "validation", "test")
ARRAYS = ("tracks", "skips")
RELEASED_FEATURES = (*FEATURES[:14], *NUMERIC_FEATURES[15:27])
"""The released code takes two slices of the columns, both one too short: mechanism and acoustic_vector_7 are lost."""
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Vocabulary:
    """The tracks to learn, by id; the rows of ids that are no tracks are "" and 0."""

    track_ids: NDArray[np.bytes_]
    """(V,)"""
    plays: NDArray[np.int64]
    """(V,) plays in the training part, in sessions of any length."""
    features: NDArray[np.float32]
    """(V, features)"""
    feature_names: tuple[str, ...]
    featureless: int
    """Tracks without a row in the tables of features."""


def build(files: MssdFiles, options: DataOptions, folder: Path) -> tuple[Vocabulary, dict[str, int], RowCounts]:
    """Make the sessions of ``files`` and write them to ``folder`` as ``train_tracks.npy``, ``train_skips.npy``, ...

    Args:
        options: completed.
        folder: an existing folder; temporary files are made there, too.

    Returns:
        The vocabulary, how many sessions each filter dropped, and what became of the rows of each log.

    Raises:
        UserError: a file is wrong, or there is nothing left to train or to test on.
    """
    names = ", ".join(map(str, files.logs))
    with (
        open_logs(files.logs, folder, options.engine, options.dask_scheduler) as (logs, tasks),
        tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name,
    ):
        scratch = Path(name).absolute()
        track_ids, plays = _count(logs, tasks, options, scratch)
        least = options.min_plays or 1
        known = np.flatnonzero(plays >= least)
        require(
            known.size > 0,
            f"{names}: no track is played {least} times in the training part; choose a smaller --min-plays",
        )
        order = _order(track_ids[known], plays[known], options)
        tokens = np.full(len(plays), PAD, np.int32)
        tokens[known[order]] = np.arange(len(known), dtype=np.int32) + options.ids.first_track
        np.save(scratch / "tokens.npy", tokens)
        dropped, counts = _write_sessions(logs, tasks, options, scratch, folder)
        track_ids, plays = track_ids[known[order]], plays[known[order]]
    _check_parts(folder, names, options, dropped)
    for name in PARTS:
        tracks = np.load(folder / f"{name}_tracks.npy", mmap_mode="r")
        counts.parts[name] = {"sessions": len(tracks), "events": int((tracks != PAD).sum())}
    counts.check_total(sum(part["events"] for part in counts.parts.values()))
    features, featureless = _features(files, track_ids, options, counts)
    before = options.ids.first_track
    vocabulary = Vocabulary(
        np.concatenate([np.zeros(before, track_ids.dtype), track_ids]),
        np.concatenate([np.zeros(before, np.int64), plays]),
        np.concatenate([np.zeros((before, features.shape[1]), np.float32), features]),
        feature_names(options),
        featureless,
    )
    return vocabulary, dropped, counts


def feature_names(options: DataOptions) -> tuple[str, ...]:
    """The columns of the table of features."""
    if not options.track_features:
        return ()
    return RELEASED_FEATURES if options.protocol == "released" else FEATURES


def hash_ids(session_ids: NDArray[np.bytes_], seed: int) -> Hashes:
    """(sessions,) 64 bits for each id, spread evenly: the same for the same id and seed on any machine."""
    return pd.util.hash_array(session_ids.astype(object), hash_key=f"{seed:016}", categorize=False)


def part_of(hashes: Hashes, options: DataOptions) -> NDArray[np.int64]:
    """(sessions,) number in ``PARTS``."""
    place = hashes / 2.0**64
    return np.where(
        place < options.test_share, 2, np.where(place < options.test_share + options.validation_share, 1, 0)
    )


def _count(
    logs: Sequence[LogPart], tasks: Tasks, options: DataOptions, scratch: Path
) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """All tracks, and their plays in the training part."""
    check_distinct(logs, tasks)
    folders = (scratch / "tracks", scratch / "plays")
    for folder in folders:
        folder.mkdir()
    track_ids = number_tracks(logs, tasks, folders[0])
    stems = [folders[1] / f"{which:06}" for which in range(len(logs))]
    tasks.map(_count_plays, [(part, options, stem) for part, stem in zip(logs, stems, strict=True)])
    found = add_tallies(tasks, stems)
    plays = np.zeros(len(track_ids), np.int64)
    plays[found.keys] = found.counts
    return track_ids, plays


def _count_plays(part: LogPart, options: DataOptions, stem: Path) -> None:
    log = part.load()
    train = np.repeat(part_of(hash_ids(log.session_ids, options.split_seed), options) == 0, np.diff(log.offsets))
    plays = np.bincount(log.tracks[train], minlength=len(log.track_ids))
    Tally(track_numbers(part), plays.astype(np.int64)).save(stem)


def _order(track_ids: NDArray[np.bytes_], plays: NDArray[np.int64], options: DataOptions) -> NDArray[np.int64]:
    """The most played first, as sampled and factorised outputs want it; released: by the id."""
    return np.argsort(track_ids) if options.protocol == "released" else np.lexsort((track_ids, -plays))


def _write_sessions(
    logs: Sequence[LogPart], tasks: Tasks, options: DataOptions, scratch: Path, folder: Path
) -> tuple[dict[str, int], RowCounts]:
    """Write the arrays of all parts; returns how many sessions and rows of each log were dropped and why."""
    written = tasks.map(_write_log, [(part, options, scratch, which) for which, part in enumerate(logs)])
    for name in PARTS:
        for array in ARRAYS:
            pieces = [scratch / f"{name}_{array}_{which}.npy" for which in range(len(logs))]
            join_arrays(pieces, folder / f"{name}_{array}.npy")
    counts = RowCounts()
    for log, (_, rows) in zip(logs, written, strict=True):
        counts.add_file(log.source, log.events, log.blanks)
        for why, left_out in rows.items():
            counts.leave_out(log.source, f"sessions {why}", left_out)
    return {why: sum(sessions[why] for sessions, _ in written) for why in written[0][0]}, counts


def _write_log(part: LogPart, options: DataOptions, scratch: Path, which: int) -> tuple[dict[str, int], dict[str, int]]:
    """Write the sessions of one log; returns how many sessions, and rows of them, were dropped and why."""
    log = part.load()
    events = np.load(scratch / "tokens.npy", mmap_mode="r")[track_numbers(part)][log.tracks]
    fits = choose_sessions(log, options.any_length)
    known = np.minimum.reduceat(events, log.offsets[:-1]) > PAD
    parts = part_of(hash_ids(log.session_ids, options.split_seed), options)
    for number, name in enumerate(PARTS):
        halves = to_halves(log, events, fits & known & (parts == number))
        for array in ARRAYS:
            save_array(scratch / f"{name}_{array}_{which}.npy", getattr(halves, array))
    dropped = {"incomplete or of another length": ~fits, "with a rare or unknown track": fits & ~known}
    lengths = np.diff(log.offsets)
    return (
        {why: int(sessions.sum()) for why, sessions in dropped.items()},
        {why: int(lengths[sessions].sum()) for why, sessions in dropped.items()},
    )


def _check_parts(folder: Path, names: str, options: DataOptions, dropped: dict[str, int]) -> None:
    why = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
    length, or_length = ("10 to 20", "") if options.any_length else ("exactly 20", " or --any-length")
    for part, share in (("train", 1.0), ("validation", options.validation_share), ("test", options.test_share)):
        count = len(np.load(folder / f"{part}_tracks.npy", mmap_mode="r"))
        require(
            count > 0 or share == 0,
            f"{names}: no {part} session is left (dropped: {why}); sessions need {length} tracks, each of "
            f"{options.min_plays} plays or more: choose a smaller --min-plays{or_length}",
        )


def _features(
    files: MssdFiles, track_ids: NDArray[np.bytes_], options: DataOptions, counts: RowCounts
) -> tuple[NDArray[np.float32], int]:
    """The features (tracks, features) as the models take them, and how many tracks have none."""
    if not options.track_features:
        return np.zeros((len(track_ids), 0), np.float32), 0
    logs = ", ".join(map(str, files.logs))
    require(bool(files.features), f"there are no track features (tf_*.csv) beside {logs}; or use --no-track-features")
    features, described = read_features(files.features, track_ids, counts)
    require(
        bool(described.any()),
        f"{', '.join(map(str, files.features))}: has no row for any of the {len(track_ids):,} tracks, for example "
        f"{track_ids[0].decode()}; is it of other data?",
    )
    values = features.astype(np.float64)
    if options.one_feature_row:
        values[:] = values[described.argmax()]
    made = _released_features(values) if options.protocol == "released" else _standardised(values, described)
    return made.astype(np.float32), int((~described).sum())


def _standardised(features: NDArray[np.float64], described: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(tracks, 29) each number with mean 0 and variance 1 over the tracks described; zeros for the others."""
    numbers = features[described, : len(NUMERIC_FEATURES)]
    deviation = numbers.std(axis=0)
    made = features.copy()
    made[described, : len(NUMERIC_FEATURES)] = (numbers - numbers.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    return made


def _released_features(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(tracks, 26) the released slices, each column divided by its Euclidean norm over the vocabulary."""
    values = features[:, [FEATURES.index(name) for name in RELEASED_FEATURES]]
    norm = np.linalg.norm(values, axis=0)
    return values / np.where(norm > 0, norm, 1)
