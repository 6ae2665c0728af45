from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.sessions import (
    DAY,
    Events,
    drop_rare,
    drop_repeats,
    drop_short,
    first_appearance,
    group_events,
    newest_dates,
    newest_days,
    newest_share,
)


def make(rows: list[tuple[int, int, float]]) -> Events:
    """Events of rows (session id, item, time)."""
    ids = list(dict.fromkeys(row[0] for row in rows))
    return group_events(
        np.array([ids.index(row[0]) for row in rows]),
        np.array([row[1] for row in rows], dtype=np.int32),
        np.array([row[2] for row in rows], dtype=np.float64),
        np.array(ids),
    )


def told(events: Events) -> dict[int, list[int]]:
    return {
        int(key): events.items[events.offsets[i] : events.offsets[i + 1]].tolist() for i, key in enumerate(events.ids)
    }


ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 9).map(float)), min_size=1, max_size=40)


@given(ROWS)
def test_sessions_are_grouped_and_sorted_as_the_definition_says(rows):
    sessions = make(rows).sessions()
    groups: dict[int, list[tuple[float, int, int]]] = {}
    for place, (session, item, at) in enumerate(rows):
        groups.setdefault(session, []).append((at, place, item))
    expected = sorted(
        (min(events)[0], session, [item for _, _, item in sorted(events)]) for session, events in groups.items()
    )
    assert sessions.starts.tolist() == [start for start, _, _ in expected]
    parts = [sessions.items[a:b].tolist() for a, b in zip(sessions.offsets, sessions.offsets[1:], strict=False)]
    assert parts == [items for _, _, items in expected]
    assert sessions.items.dtype == np.int32 and sessions.offsets.dtype == np.int64 and len(sessions) == len(expected)


@given(ROWS, st.integers(1, 4), st.integers(1, 3))
def test_filters_do_what_the_official_ones_do(rows, min_support, min_length):
    expected = {key: items for key, items in told(make(rows)).items() if len(items) >= min_length}
    everything = [item for items in expected.values() for item in items]
    expected = {
        key: [item for item in items if everything.count(item) >= min_support] for key, items in expected.items()
    }
    expected = {key: items for key, items in expected.items() if len(items) >= min_length}
    assert told(drop_rare(make(rows), min_support, min_length)) == expected


@given(ROWS)
def test_repeats(rows):
    expected = {
        key: [item for place, item in enumerate(items) if place == 0 or items[place - 1] != item]
        for key, items in told(make(rows)).items()
    }
    assert told(drop_repeats(make(rows))) == expected


def test_dropping_everything_leaves_nothing():
    none = drop_short(make([(1, 1, 0.0)]), 2)
    assert len(none) == 0 and len(none.sessions()) == 0 and first_appearance(none).size == 0
    assert len(drop_rare(none, 5, 2)) == 0 and len(drop_repeats(none)) == 0
    assert newest_days(none, 1).size == newest_dates(none, 1).size == newest_share(none, 0.5).size == 0


def test_first_appearance_follows_the_rows_not_the_times():
    events = make([(1, 7, 5.0), (2, 3, 0.0), (1, 3, 1.0), (2, 9, 2.0)])
    assert first_appearance(events).tolist() == [7, 3, 9]
    assert first_appearance(events.keep(events.items != 7)).tolist() == [3, 9]


def test_newest_sessions():
    events = make([(1, 0, 0.0), (1, 0, 1.5 * DAY), (2, 0, 0.2 * DAY), (3, 0, 2.4 * DAY), (4, 0, 2.4 * DAY)])
    assert newest_days(events, 1).tolist() == [True, False, True, True]  # by the last event
    assert newest_dates(events, 1).tolist() == [False, False, True, True]  # by the date of the first
    assert newest_share(events, 0.25).tolist() == [False, False, False, True]  # ties by id
    assert newest_share(events, 0.75).tolist() == [False, True, True, True]


def test_ids_may_be_texts():
    events = group_events(np.array([0, 1]), np.array([5, 6], np.int32), np.array([1.0, 1.0]), np.array([b"b", b"a"]))
    assert events.sessions().items.tolist() == [6, 5]


@pytest.mark.parametrize("mask", [[True, False, False], [False, False, False], [True, True, True]])
def test_keep(mask):
    events = make([(1, 0, 0.0), (1, 1, 1.0), (2, 2, 0.0)])
    kept = events.keep(np.array(mask))
    assert kept.items.tolist() == [item for item, stays in enumerate(mask) if stays]
    assert kept.offsets.tolist() == sorted(set(kept.offsets.tolist()))
