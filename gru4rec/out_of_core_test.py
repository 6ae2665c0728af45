"""Sessions built part by part are those built in memory, bit for bit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from common.mssd import engines
from common.mssd.conversion import converted_logs
from common.mssd.files import read_features
from common.mssd.files_test import HEADER, row
from common.mssd.logs import join_logs
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import UserError
from common.row_counts import RowCounts
from gru4rec import out_of_core
from gru4rec.options import DataOptions, find_session_files
from gru4rec.out_of_core import NEVER, Edge, Starts, build_out_of_core, last_dates, last_share
from gru4rec.sessions import ARRAYS, FEATURELESS, PARTS, Parts, build_from, log_events, require_features


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mssd")
    write_sample(folder, SessionSampleOptions(folder, sessions=900, tracks=200, days=6))
    table = (folder / "tf_0.csv").read_text().splitlines(keepends=True)
    (folder / "tf_0.csv").write_text("".join(table[:150]))  # the others have no features
    return folder


def outcome(build, raw, folder, options):
    """All arrays, or the message of the mistake."""
    files = find_session_files(raw, options)
    folder.mkdir()
    try:
        built = build(files, options.completed_for("mssd"), folder)
    except UserError as error:
        return str(error)
    finally:
        assert all(path.suffix == ".npy" for path in folder.iterdir())
    arrays = {f"{part}_{name}": np.load(folder / f"{part}_{name}.npy") for part in PARTS for name in ARRAYS}
    arrays |= {name: getattr(built, name) for name in ("item_ids", "support", "features")}
    found = {name: (array.dtype, array.shape, array.tobytes()) for name, array in arrays.items() if array is not None}
    return found | {"dropped": list(built.dropped.items()), "rows": built.counts.as_json()}


def build_in_memory(files, options, folder):
    """The reference: all events at once."""
    require_features(files, options)
    with converted_logs(files.events, folder) as logs:
        log, sources = join_logs(logs), [(part.source, part.events, part.blanks) for part in logs]
    events = log_events(log, log.tracks)
    counts = RowCounts()
    features, described = read_features(files.others, log.track_ids, counts) if files.others else (None, None)
    parts = Parts(events, None, log.track_ids, sources, features, described)
    if options.drop_featureless:
        parts.train = parts.count(FEATURELESS, events, events.keep(described[events.items]))
    built = build_from(parts, files, options, folder)
    built.counts.append(counts)
    return built


OPTIONS = {
    "days": {},
    "rare items": {"min_support": 30, "min_length": 4},
    "repeats": {"collapse_repeats": True, "min_support": 30},
    "shares": {"test_share": 0.31, "validation_share": 0.17},
    "tiny shares": {"test_share": 0.002, "validation_share": 0.002},
    "no validation": {"validation_days": 0, "test_days": 2.5},
    "a share of none": {"validation_share": 0, "test_share": 0.4},
    "only a test by share": {"test_share": 0.999},
    "all in the test": {"test_days": 99},
    "no test": {"test_days": 0},
    "too rare": {"min_support": 10**6},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_as_in_memory(name, sample, tmp_path, monkeypatch):
    for module in (out_of_core, engines):
        monkeypatch.setattr(module, "BLOCK", 700)  # many ranges
    options = DataOptions(drop_featureless=True, **OPTIONS[name])
    expected = outcome(build_in_memory, sample, tmp_path / "memory", options)
    assert outcome(build_out_of_core, sample, tmp_path / "parts", options) == expected
    assert isinstance(expected, str) == (name in ("all in the test", "no test", "too rare", "only a test by share"))


def test_a_track_without_features_and_a_session_in_two_logs(sample, tmp_path):
    options = DataOptions()
    expected = outcome(build_in_memory, sample, tmp_path / "memory", options)
    assert "training tracks have no row" in expected
    assert outcome(build_out_of_core, sample, tmp_path / "parts", options) == expected
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(3):
        rows = "".join(row(f"s{session}", 1, "x") for session in range(5 - number, 9))
        (raw / f"log_{number}.csv").write_text(HEADER + rows)
    expected = outcome(build_in_memory, raw, tmp_path / "a", options)
    assert "session s4 is in" in expected
    assert outcome(build_out_of_core, raw, tmp_path / "b", options) == expected
    dropping = dataclasses.replace(options, drop_featureless=True)
    expected = outcome(build_in_memory, raw, tmp_path / "c", dropping)
    assert outcome(build_out_of_core, raw, tmp_path / "d", dropping) == expected


@pytest.mark.slow
def test_small_parts(sample, tmp_path, monkeypatch):
    options = DataOptions(min_support=20, collapse_repeats=True, test_share=0.2, drop_featureless=True)
    expected = outcome(build_in_memory, sample, tmp_path / "memory", options)
    monkeypatch.setattr("common.mssd.conversion.PART_SESSIONS", 13)
    assert isinstance(expected, dict) and outcome(build_out_of_core, sample, tmp_path / "disk", options) == expected


def test_edges():
    starts = Starts.of(np.array([7.0, 5.0, 7.0, 9.0]), np.array([2, 1, 1, 1]))
    assert starts.times.tolist() == [5, 7, 9] and starts.sessions.tolist() == [1, 3, 1]

    def ids_at(time):
        assert time == 7
        return np.array([b"b", b"a", b"c"])

    edge, rest = last_share(starts, 0.6, ids_at)
    assert edge == Edge(7.0, b"b") and rest.times.tolist() == [5, 7] and rest.sessions.tolist() == [1, 1]
    assert last_share(starts, 0.0, ids_at) == (NEVER, starts)
    edge, rest = last_dates(starts, 1)
    assert edge == Edge(5.0) and not len(rest.times)
    assert last_dates(rest, 1)[0] == NEVER
