"""From the logs to training, validation and test sessions of a vocabulary; no more than one log is in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from common.mssd import FEATURES, NUMERIC_FEATURES, MssdFiles, read_features
from common.mssd_logs import LogPart, converted_logs
from common.options import UserError, require
from session_transformers.data_options import DataOptions
from session_transformers.halves import choose_sessions, to_halves
from session_transformers.kinds import HALF, PAD

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


def build(files: MssdFiles, options: DataOptions, folder: Path) -> tuple[Vocabulary, dict[str, int]]:
    """Make the sessions of ``files`` and write them to ``folder`` as ``train_tracks.npy``, ``train_skips.npy``, ...

    Args:
        options: completed.
        folder: an existing folder; temporary files are made there, too.

    Returns:
        The vocabulary, and how many sessions each filter dropped.

    Raises:
        UserError: a file is wrong, or there is nothing left to train or to test on.
    """
    names = ", ".join(map(str, files.logs))
    with converted_logs(files.logs, folder) as logs, tempfile.TemporaryDirectory(dir=folder) as scratch:
        hashes, track_ids, plays = _count(logs, options, Path(scratch))
        least = options.min_plays or 1
        known = np.flatnonzero(plays >= least)
        require(
            known.size > 0,
            f"{names}: no track is played {least} times in the training part; choose a smaller --min-plays",
        )
        order = _order(track_ids[known], plays[known], options)
        tokens = np.full(len(plays), PAD, np.int32)
        tokens[known[order]] = np.arange(len(known), dtype=np.int32) + options.ids.first_track
        dropped = _write_sessions(logs, hashes, tokens, options, Path(scratch), folder)
        track_ids, plays = track_ids[known[order]], plays[known[order]]
    _check_parts(folder, names, options, dropped)
    features, featureless = _features(files, track_ids, options)
    before = options.ids.first_track
    vocabulary = Vocabulary(
        np.concatenate([np.zeros(before, track_ids.dtype), track_ids]),
        np.concatenate([np.zeros(before, np.int64), plays]),
        np.concatenate([np.zeros((before, features.shape[1]), np.float32), features]),
        feature_names(options),
        featureless,
    )
    return vocabulary, dropped


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
    logs: Sequence[LogPart], options: DataOptions, scratch: Path
) -> tuple[list[Hashes], NDArray[np.bytes_], NDArray[np.int64]]:
    """The hashes of the sessions by log, all tracks, and their plays in the training part.

    The number of each log's tracks among all tracks is written to ``scratch``.
    """
    numbers: dict[bytes, int] = {}
    plays = np.zeros(0, np.int64)
    hashes: list[Hashes] = []
    for which, part in enumerate(logs):
        log = part.load()
        hashes.append(hash_ids(log.session_ids, options.split_seed))
        known = np.array([numbers.setdefault(name, len(numbers)) for name in log.track_ids.tolist()], np.int64)
        np.save(scratch / f"numbers_{which}.npy", known)
        train = np.repeat(part_of(hashes[-1], options) == 0, np.diff(log.offsets))
        plays = np.pad(plays, (0, len(numbers) - len(plays)))
        plays[known] += np.bincount(log.tracks[train], minlength=len(known))
    _check_distinct(logs, hashes)
    return hashes, np.array(list(numbers), dtype=np.bytes_), plays


def _check_distinct(logs: Sequence[LogPart], hashes: Sequence[Hashes]) -> None:
    """No session may be in two logs: it would be learned twice, and might count as another one in another part."""
    together = np.concatenate(hashes)
    ordered = np.sort(together)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    if not twice.size:  # equal ids have equal hashes; the reverse is left to the ids themselves
        return
    seen: dict[bytes, str] = {}
    for part, codes in zip(logs, hashes, strict=True):
        for name in part.load().session_ids[np.isin(codes, twice)].tolist():
            if name in seen:
                raise UserError(
                    f"session {name.decode()} is in {seen[name]} and in {part.source}; remove one of these files"
                )
            seen[name] = part.source


def _order(track_ids: NDArray[np.bytes_], plays: NDArray[np.int64], options: DataOptions) -> NDArray[np.int64]:
    """The most played first, as sampled and factorised outputs want it; released: by the id."""
    return np.argsort(track_ids) if options.protocol == "released" else np.lexsort((track_ids, -plays))


def _write_sessions(
    logs: Sequence[LogPart],
    hashes: Sequence[Hashes],
    tokens: NDArray[np.int32],
    options: DataOptions,
    scratch: Path,
    folder: Path,
) -> dict[str, int]:
    """Write the arrays of all parts; returns how many sessions were dropped and why."""
    length, unknown = ("incomplete or of another length", "with a rare or unknown track")
    dropped = {length: 0, unknown: 0}
    counts = np.zeros((len(logs), len(PARTS)), np.int64)
    for which, part in enumerate(logs):
        log = part.load()
        events = tokens[np.load(scratch / f"numbers_{which}.npy")][log.tracks]
        fits = choose_sessions(log, options.any_length)
        known = np.minimum.reduceat(events, log.offsets[:-1]) > PAD
        dropped[length] += int((~fits).sum())
        dropped[unknown] += int((fits & ~known).sum())
        parts = part_of(hashes[which], options)
        for number, name in enumerate(PARTS):
            halves = to_halves(log, events, fits & known & (parts == number))
            counts[which, number] = len(halves)
            for array in ARRAYS:
                np.save(scratch / f"{name}_{array}_{which}.npy", getattr(halves, array))
    for number, name in enumerate(PARTS):
        for array in ARRAYS:
            pieces = [scratch / f"{name}_{array}_{which}.npy" for which in range(len(logs))]
            _join(pieces, counts[:, number], folder / f"{name}_{array}.npy")
    return dropped


def _join(pieces: Sequence[Path], counts: NDArray[np.int64], path: Path) -> None:
    """One array of several, a piece at a time."""
    dtype = np.load(pieces[0], mmap_mode="r").dtype
    whole = np.lib.format.open_memmap(path, "w+", dtype, (int(counts.sum()), 2 * HALF))
    ends = np.cumsum(counts)
    for piece, count, end in zip(pieces, counts, ends, strict=True):
        whole[end - count : end] = np.load(piece)
    whole.flush()


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


def _features(files: MssdFiles, track_ids: NDArray[np.bytes_], options: DataOptions) -> tuple[NDArray[np.float32], int]:
    """The features (tracks, features) as the models take them, and how many tracks have none."""
    if not options.track_features:
        return np.zeros((len(track_ids), 0), np.float32), 0
    logs = ", ".join(map(str, files.logs))
    require(bool(files.features), f"there are no track features (tf_*.csv) beside {logs}; or use --no-track-features")
    features, described = read_features(files.features, track_ids)
    require(
        bool(described.any()),
        f"{', '.join(map(str, files.features))}: has no row for any of the {len(track_ids):,} tracks, for example "
        f"{track_ids[0].decode()}; is it of other data?",
    )
    values = features.astype(np.float64)
    if options.one_feature_row:
        values[:] = values[0]
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
