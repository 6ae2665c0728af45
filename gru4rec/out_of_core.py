"""Sessions from logs of MSSD larger than memory, out of core: the result equals the in-memory one bit for bit.

Each step is a map over the parts of the logs (:class:`common.mssd.logs.LogPart`) and a sum of small results:

1. the tracks are numbered, and it is counted how many sessions start when, which gives the edges of the parts;
2. the training events of each item are counted;
3. the items that are left are listed in the order of their first appearance, and counted;
4. the sessions of each part are written in the order of their starts, items numbered;
5. these are merged, all sessions of some range of starts in a task, and the ranges put one after the other.

A task has a part of the logs or a range of starts in memory (some four million events), and arrays over the tracks.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.mssd.engines import check_distinct, open_logs
from common.mssd.files import read_features
from common.mssd.logs import LogPart
from common.mssd.tasks import BLOCK, Tally, Tasks, add_tallies, join_arrays, join_offsets, save_array
from common.mssd.track_numbers import number_tracks, track_numbers
from common.row_counts import RowCounts
from common.sessions import DAY, Events, drop_repeats, drop_short, first_appearance
from gru4rec.options import DataOptions, SessionFiles
from gru4rec.sessions import (
    ARRAYS,
    FEATURELESS,
    PARTS,
    RARE,
    REPEATS,
    Built,
    log_events,
    require_features,
    require_rest,
    require_test,
    require_train,
    standardised,
    unknown_items,
)

# Where the newest sessions begin, found from how many start when: none need be in memory for it.


@dataclass(frozen=True)
class Edge:
    """The first of the newest sessions, in the order of (time of the first event, session id)."""

    start: float
    id: bytes = b""

    def newer(self, events: Events) -> NDArray[np.bool_]:
        """Mask (sessions,) of the sessions from this one on."""
        starts = events.starts
        return (starts > self.start) | ((starts == self.start) & (events.ids >= self.id))


NEVER = Edge(float("inf"))
"""No session is so new."""


@dataclass(frozen=True)
class Starts:
    """How many sessions start at each time."""

    times: NDArray[np.float64]
    """(times,) distinct, ascending, seconds."""
    sessions: NDArray[np.int64]
    """(times,)"""

    @classmethod
    def of(cls, times: NDArray[np.float64], sessions: NDArray[np.int64]) -> Starts:
        """From times in any order, a time perhaps more than once."""
        distinct, places = np.unique(times, return_inverse=True)
        counts = np.zeros(len(distinct), np.int64)
        np.add.at(counts, places, sessions)
        return cls(distinct, counts)

    def before(self, edge: Edge, at_edge: int) -> Starts:
        """Without the sessions from ``edge`` on, of which ``at_edge`` start at its very time."""
        older = self.times < edge.start
        counts = np.where(older, self.sessions, 0)
        counts[self.times == edge.start] = self.sessions[self.times == edge.start] - at_edge
        return Starts(self.times[counts > 0], counts[counts > 0])


def last_dates(starts: Starts, days: float) -> tuple[Edge, Starts]:
    """The edge of :func:`common.sessions.newest_dates`, and the sessions before it."""
    dates = np.floor(starts.times / DAY)
    newest = np.flatnonzero(dates > dates.max(initial=-np.inf) - days) if len(dates) else dates[:0]
    if not len(newest):
        return NEVER, starts
    edge = Edge(float(starts.times[newest[0]]))
    return edge, starts.before(edge, int(starts.sessions[newest[0]]))


def last_share(starts: Starts, share: float, ids_at: Callable[[float], NDArray[np.bytes_]]) -> tuple[Edge, Starts]:
    """The edge of :func:`common.sessions.newest_share`, and the sessions before it.

    Args:
        ids_at: the ids of the sessions of ``starts`` that start at a time.
    """
    count = round(share * int(starts.sessions.sum()))
    if not count:
        return NEVER, starts
    newer = np.cumsum(starts.sessions[::-1])[::-1]
    place = int(np.flatnonzero(newer >= count)[-1])
    at_edge = count - int(newer[place] - starts.sessions[place])
    time = float(starts.times[place])
    edge = Edge(time, np.sort(ids_at(time))[-at_edge])
    return edge, starts.before(edge, at_edge)


# The steps.


@dataclass(frozen=True)
class Plan:
    """What all tasks need to know."""

    folder: Path
    """Of temporary files."""
    options: DataOptions
    test: Edge = NEVER
    validation: Edge = NEVER

    @property
    def least(self) -> int:
        """Fewest events of a session."""
        return self.options.min_length or 1


def build_out_of_core(files: SessionFiles, options: DataOptions, folder: Path) -> Built:
    """As :func:`gru4rec.sessions.build_in_memory`, for logs of MSSD."""
    require_features(files, options)
    with (
        open_logs(files.events, folder, options.engine, options.dask_scheduler) as (parts, tasks),
        tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as name,
    ):
        scratch = Path(name).absolute()
        check_distinct(parts, tasks)
        track_ids = number_tracks(parts, tasks, _new(scratch / "tracks"))
        features, of_features = None, RowCounts()
        if files.others:
            features, described = read_features(files.others, track_ids, of_features)
            np.save(scratch / "described.npy", described)
        counts = RowCounts()
        for log in parts:
            counts.add_file(log.source, log.events, log.blanks)
        plan, dropped = _split(parts, tasks, Plan(scratch, options), files, counts)
        vocabulary = _choose_items(parts, tasks, plan, files, len(track_ids), dropped, counts)
        pieces = tasks.map(_write_pieces, [(part, plan, number) for number, part in enumerate(parts)])
        for place, part in ((2, "test"), (1, "validation")):
            before = sum(found[place].before for found in pieces)
            after = sum(int(found[place].events.sum()) for found in pieces)
            dropped[unknown_items(part)] = before - after
            for log, found in zip(parts, pieces, strict=True):
                left_out = found[place].before - int(found[place].events.sum())
                counts.leave_out(log.source, unknown_items(part), left_out)
            if part == "test":
                require_test(after, before, files, options)
        for place, part in enumerate(PARTS):
            merge([found[place] for found in pieces], tasks, _new(scratch / part), folder / part)
        for name in PARTS:
            offsets = np.load(folder / f"{name}_offsets.npy", mmap_mode="r")
            counts.parts[name] = {"sessions": len(offsets) - 1, "events": int(offsets[-1])}
        counts.check_total(sum(part["events"] for part in counts.parts.values()))
        counts.append(of_features)
        item_ids = track_ids[vocabulary.keys]
        if features is not None:
            features = standardised(features[vocabulary.keys], described[vocabulary.keys], item_ids, files)
    return Built(item_ids, vocabulary.counts, features, dropped, counts)


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _split(
    parts: Sequence[LogPart], tasks: Tasks, plan: Plan, files: SessionFiles, counts: RowCounts
) -> tuple[Plan, dict[str, int]]:
    """The plan with the edges of the test and validation part, and what was dropped before."""
    options = plan.options
    surveys = tasks.map(_survey, [(part, plan) for part in parts])
    dropped = {step: sum(survey[0][step] for survey in surveys) for step in surveys[0][0]}
    for part, survey in zip(parts, surveys, strict=True):
        for step, left_out in survey[0].items():
            counts.leave_out(part.source, step, left_out)
    starts = Starts.of(*(np.concatenate(column) for column in zip(*(survey[1:] for survey in surveys), strict=True)))

    def ids_at(time: float) -> NDArray[np.bytes_]:
        return np.concatenate(tasks.map(_ids_at, [(part, plan, time) for part in parts]))

    for name, days, share in (
        ("test", options.test_days, options.test_share),
        ("validation", options.validation_days or 0.0, options.validation_share),
    ):
        edge, rest = last_dates(starts, days) if share is None else last_share(starts, share, ids_at)
        require_rest(len(rest.times) > 0 or not len(starts.times), name, share, files)
        plan, starts = replace(plan, test=edge) if name == "test" else replace(plan, validation=edge), rest
    return plan, dropped


def _choose_items(
    parts: Sequence[LogPart],
    tasks: Tasks,
    plan: Plan,
    files: SessionFiles,
    tracks: int,
    dropped: dict[str, int],
    counts: RowCounts,
) -> Tally:
    """The training items, by number of the track, in the order of their first appearance, and their events."""
    support = _new(plan.folder / "support")
    stems = [support / f"{number:06}" for number in range(len(parts))]
    tasks.map(_count_support, [(part, plan, stem) for part, stem in zip(parts, stems, strict=True)])
    found = add_tallies(tasks, stems)
    frequent = np.zeros(tracks, np.bool_)
    frequent[found.keys] = found.counts >= (plan.options.min_support or 1)
    np.save(plan.folder / "frequent.npy", frequent)
    listed = _new(plan.folder / "items")
    stems = [listed / stem.name for stem in stems]
    left_out = tasks.map(_list_items, [(part, plan, stem) for part, stem in zip(parts, stems, strict=True)])
    vocabulary = add_tallies(tasks, stems)
    dropped[RARE] = sum(left_out)
    for part, rows in zip(parts, left_out, strict=True):
        counts.leave_out(part.source, RARE, rows)
    require_train(len(vocabulary.keys), files)
    numbers = np.full(tracks, -1, np.int32)
    numbers[vocabulary.keys] = np.arange(len(vocabulary.keys), dtype=np.int32)
    np.save(plan.folder / "numbers.npy", numbers)
    return vocabulary


# The tasks.


def _events(part: LogPart, plan: Plan) -> tuple[Events, dict[str, int]]:
    """The events that the options want at all, items by number of the track, and how many each step dropped."""
    log = part.load()
    events = log_events(log, track_numbers(part)[log.tracks])
    dropped = {}
    if plan.options.drop_featureless:
        left = events.keep(np.load(plan.folder / "described.npy", mmap_mode="r")[events.items])
        dropped[FEATURELESS], events = len(events.items) - len(left.items), left
    if plan.options.collapse_repeats:
        left = drop_repeats(events)
        dropped[REPEATS], events = len(events.items) - len(left.items), left
    return events, dropped


def _three(part: LogPart, plan: Plan) -> tuple[Events, Events, Events]:
    """The training, validation and test events."""
    events, _ = _events(part, plan)
    test, validation = plan.test.newer(events), plan.validation.newer(events)
    return (
        events.keep_sessions(~test & ~validation),
        events.keep_sessions(~test & validation),
        events.keep_sessions(test),
    )


def _filtered(train: Events, plan: Plan) -> Events:
    """See :func:`common.sessions.drop_rare`; the support is that of all parts."""
    train = drop_short(train, plan.least)
    frequent = np.load(plan.folder / "frequent.npy", mmap_mode="r")
    return drop_short(train.keep(frequent[train.items]), plan.least)


def _survey(part: LogPart, plan: Plan) -> tuple[dict[str, int], NDArray[np.float64], NDArray[np.int64]]:
    events, dropped = _events(part, plan)
    return dropped, *np.unique(events.starts, return_counts=True)


def _ids_at(part: LogPart, plan: Plan, time: float) -> NDArray[np.bytes_]:
    events, _ = _events(part, plan)
    return events.ids[(events.starts == time) & ~plan.test.newer(events)]


def _count_support(part: LogPart, plan: Plan, stem: Path) -> None:
    train = drop_short(_three(part, plan)[0], plan.least)
    Tally(*np.unique(train.items, return_counts=True)).save(stem)


def _list_items(part: LogPart, plan: Plan, stem: Path) -> int:
    """Returns the training events that the filters leave out."""
    train = _three(part, plan)[0]
    left = _filtered(train, plan)
    items = first_appearance(left)
    Tally(items, np.bincount(left.items)[items].astype(np.int64)).save(stem)
    return len(train.items) - len(left.items)


def _write_pieces(part: LogPart, plan: Plan, number: int) -> tuple[Piece, ...]:
    numbers = np.load(plan.folder / "numbers.npy", mmap_mode="r")
    train, *others = _three(part, plan)
    left = [(0, _filtered(train, plan))]
    for events in others:
        known = events.keep(numbers[events.items] >= 0)
        left.append((len(events.items), drop_short(known, plan.least)))
    return tuple(
        write_piece(events.renumbered(numbers), before, plan.folder / f"{name}_{number:06}")
        for name, (before, events) in zip(PARTS, left, strict=True)
    )


# Merging: sessions written piece by piece, each in order, are brought into one order by ranges of their starts.


@dataclass(frozen=True)
class Piece:
    """The sessions of one part of the logs that belong to train, validation or test, written in order."""

    stem: Path
    before: int
    """Events before the items unknown in training and the sessions too short were dropped."""
    starts: NDArray[np.float64]
    """(times,) distinct, ascending."""
    events: NDArray[np.int64]
    """(times,) of the sessions that start then."""


def write_piece(events: Events, before: int, stem: Path) -> Piece:
    """Write the sessions in the order of (start, session id) to files whose names begin with ``stem``.

    Args:
        before: see :class:`Piece`.
    """
    save_array(_array(stem, "ids"), events.ids[np.lexsort((events.ids, events.starts))])
    sessions = events.sessions()
    for array in ARRAYS:
        save_array(_array(stem, array), getattr(sessions, array))
    times, places = np.unique(events.starts, return_inverse=True)
    return Piece(stem, before, times, np.bincount(places, events.lengths).astype(np.int64))


def merge(pieces: Sequence[Piece], tasks: Tasks, scratch: Path, out: Path) -> None:
    """Write the sessions of all ``pieces`` in their order to files whose names begin with ``out``.

    Args:
        scratch: an empty folder for the sessions of each range of starts.
    """
    events = Starts.of(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in ("starts", "events")))
    ranges = np.cumsum(events.sessions) // BLOCK
    edges = np.flatnonzero(np.diff(ranges, prepend=-1, append=-1)) if len(ranges) else np.array([0, 0])
    jobs: list[tuple[list[Path], float, float, Path]] = []
    for first, last in pairwise(edges):
        times = events.times[first:last]
        stems = [
            piece.stem
            for piece in pieces
            if not len(times) or (len(piece.starts) and piece.starts[0] <= times[-1] and piece.starts[-1] >= times[0])
        ]
        bounds = (times[0], times[-1]) if len(times) else (0.0, 0.0)
        jobs.append((stems, *bounds, scratch / f"{len(jobs):06}"))
    tasks.map(_merge_range, jobs)
    for array in ARRAYS:
        join = join_offsets if array == "offsets" else join_arrays
        join([_array(job[3], array) for job in jobs], _array(out, array))


def _array(stem: Path, name: str) -> Path:
    return stem.with_name(f"{stem.name}_{name}.npy")


def _merge_range(stems: Sequence[Path], low: float, high: float, out: Path) -> None:
    """All sessions that start in ``low..high``, in order; the lengths of the sessions in place of the offsets."""
    items, lengths, starts, ids = [], [], [], []
    for stem in stems:
        times = np.load(_array(stem, "starts"), mmap_mode="r")
        first, last = np.searchsorted(times, low, "left"), np.searchsorted(times, high, "right")
        offsets = np.load(_array(stem, "offsets"), mmap_mode="r")[first : last + 1]
        items.append(np.load(_array(stem, "items"), mmap_mode="r")[offsets[0] : offsets[-1]])
        lengths.append(np.diff(offsets))
        starts.append(times[first:last])
        ids.append(np.load(_array(stem, "ids"), mmap_mode="r")[first:last])
    counts = np.concatenate(lengths)
    together = np.concatenate(items)
    times = np.repeat(np.concatenate(starts), counts)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    sessions = Events(together, times, np.zeros(0, np.int64), offsets, np.concatenate(ids)).sessions()
    for name, array in (("items", sessions.items), ("offsets", np.diff(sessions.offsets)), ("starts", sessions.starts)):
        save_array(_array(out, name), array)
