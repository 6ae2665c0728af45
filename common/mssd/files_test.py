from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from common.mssd.conversion import read_logs
from common.mssd.files import (
    FEATURE_COLUMNS,
    FEATURES,
    LOG_COLUMNS,
    NUMERIC_FEATURES,
    find_mssd,
    find_released,
    read_features,
)
from common.mssd.logs import Log
from common.options import UserError
from common.row_counts import UNNEEDED, RowCounts


def row(session: str, position: int, track: str, skip: str = "False", hour: int = 6, date: str = "2018-07-15") -> str:
    flags = f"False,{skip},False,True,0,1,0,0,0,0,False"
    return f"{session},{position},20,{track},{flags},{hour},{date},True,radio,trackdone,fwdbtn\n"


HEADER = ",".join(LOG_COLUMNS) + "\n"
MONDAY = HEADER + row("b", 1, "x") + row("b", 2, "y", "True") + row("a", 1, "x", hour=5)
TUESDAY = HEADER + row("c", 3, "z", date="2018-07-16") + row("c", 2, "x", "true", date="2018-07-16")


def sessions(log: Log) -> dict[str, list[str]]:
    tracks = log.track_ids[log.tracks].astype(str).tolist()
    return {
        name.decode(): tracks[first:last]
        for name, first, last in zip(log.session_ids.tolist(), log.offsets[:-1], log.offsets[1:], strict=True)
    }


def archive(path: Path, members: dict[str, str]) -> None:
    with tarfile.open(path, "w:gz") as file:
        for name, text in members.items():
            content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def check_both_days(log: Log) -> None:
    assert sessions(log) == {"b": ["x", "y"], "a": ["x"], "c": ["x", "z"]}
    assert log.track_ids.tolist() == [b"x", b"y", b"z"]
    assert log.skipped.tolist() == [False, True, False, True, False]
    assert log.positions.tolist() == [1, 2, 1, 2, 3]
    assert log.starts.astype("datetime64[s]").astype(str).tolist() == [
        "2018-07-15T06:00:00",
        "2018-07-15T05:00:00",
        "2018-07-16T06:00:00",
    ]


def test_logs_are_read_in_the_order_of_their_dates(tmp_path):
    (tmp_path / "log_1.csv").write_text(MONDAY)
    (tmp_path / "log_0.csv.gz").write_bytes(gzip.compress(TUESDAY.encode()))
    files = find_mssd(tmp_path)
    assert [path.name for path in files.logs] == ["log_0.csv.gz", "log_1.csv"] and not files.features
    check_both_days(read_logs(files.logs, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log_0.csv.gz", "log_1.csv"]


def test_logs_inside_an_archive(tmp_path):
    archive(tmp_path / "set.tar.gz", {"t/log_0.csv": TUESDAY, "t/log_1.csv.gz": MONDAY, "t/log_input_0.csv": "no\n"})
    check_both_days(read_logs(find_mssd(tmp_path).logs, tmp_path))


def test_rows_in_any_order_and_sessions_in_pieces(tmp_path):
    (tmp_path / "log_0.csv").write_text(HEADER + row("b", 2, "y") + row("a", 1, "x") + row("b", 1, "x", hour=3))
    log = read_logs([tmp_path / "log_0.csv"], tmp_path)
    assert sessions(log) == {"b": ["x", "y"], "a": ["x"]}
    assert (log.starts % 86400 / 3600).tolist() == [3, 6]  # of the first position


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (row("a", 0, "x"), "line 2: session_position is '0'; expected an integer in 1..20"),
        (row("a", 21, "x"), "line 2: session_position is '21'"),
        (row("a", 1, ""), "line 2: track_id_clean is ''; expected an id"),
        (row("", 1, "x"), "line 2: session_id is ''"),
        (row("a", 1, "x", hour=24), "line 2: hour_of_day is '24'; expected an integer in 0..23"),
        (row("a", 1, "x", date="20180715"), "line 2: date is '20180715'; expected a date"),
        (row("a", 1, "x", skip="2"), "line 2: skip_2 is '2'; expected true or false"),
        (row("a", 1, "x").replace(",fwdbtn", ""), "line 2: has 20 values; expected 21"),
    ],
)
def test_wrong_rows_are_told_with_their_line(tmp_path, rows, told):
    path = tmp_path / "log_0.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(UserError) as caught:
        read_logs([path], tmp_path)
    assert str(caught.value).startswith(f"{path}, {told}")


def test_wrong_logs(tmp_path):
    path = tmp_path / "log_0.csv"
    path.write_text(HEADER.replace("skip_2,", "") + "x\n")
    with pytest.raises(UserError, match=r"log_0.csv, line 1: the column skip_2 is missing"):
        read_logs([path], tmp_path)
    path.write_text(HEADER)
    with pytest.raises(UserError, match=r"log_0.csv: holds no row"):
        read_logs([path], tmp_path)
    path.write_text(HEADER + row("a", 1, "x") + row("a", 1, "y"))
    with pytest.raises(UserError, match="session a has session_position 1 twice"):
        read_logs([path], tmp_path)
    path.write_text(HEADER + (row("a", 1, "x") + row("a", 11, "y")).replace(",20,", ",10,"))
    with pytest.raises(UserError, match="session a has session_position 11, but session_length 10; mend one"):
        read_logs([path], tmp_path)
    archive(tmp_path / "empty.tar.gz", {"readme.txt": "no"})
    with pytest.raises(UserError, match=r"empty.tar.gz: no log_\*.csv"):
        read_logs([tmp_path / "empty.tar.gz"], tmp_path)


def test_a_session_in_two_files(tmp_path):
    (tmp_path / "log_0.csv").write_text(MONDAY)
    (tmp_path / "log_0.csv.gz").write_bytes(gzip.compress(MONDAY.encode()))
    with pytest.raises(UserError, match=r"session a is in .*log_0.csv and in .*log_0.csv.gz; remove one"):
        read_logs(find_mssd(tmp_path).logs, tmp_path)


def features_row(track: str, value: float, mode: str = "major") -> str:
    return ",".join({"track_id": track, "mode": mode}.get(name, str(value)) for name in FEATURE_COLUMNS) + "\n"


FEATURES_HEADER = ",".join(FEATURE_COLUMNS) + "\n"


def test_features_of_the_tracks_asked_for(tmp_path):
    (tmp_path / "tf_0.csv").write_text(FEATURES_HEADER + features_row("x", 1.5) + features_row("other", 9))
    (tmp_path / "tf_1.csv.gz").write_bytes(gzip.compress((FEATURES_HEADER + features_row("z", 2, "minor")).encode()))
    files = find_mssd(tmp_path)
    values, found = read_features(files.features, np.array([b"z", b"y", b"x"]))
    assert found.tolist() == [True, False, True]
    assert values.tolist() == [[2.0] * 28 + [0.0], [0.0] * 29, [1.5] * 28 + [1.0]]
    assert len(FEATURE_COLUMNS) == 30 and len(NUMERIC_FEATURES) == 28 and FEATURES[-1] == "mode"


def test_wrong_features(tmp_path):
    path = tmp_path / "tf_0.csv"
    path.write_text(FEATURES_HEADER + features_row("x", 1) + features_row("y", float("nan")))
    with pytest.raises(UserError, match=r"tf_0.csv, line 3: duration is 'nan'; expected a number"):
        read_features([path], np.array([b"x"]))
    path.write_text(FEATURES_HEADER + features_row("x", 1, "1"))
    with pytest.raises(UserError, match=r"line 2: mode is '1'; expected major or minor"):
        read_features([path], np.array([b"x"]))
    path.write_text("track_id,duration\nx,1\n")
    with pytest.raises(UserError, match="line 1: the columns release_year, "):
        read_features([path], np.array([b"x"]))


def test_a_track_with_two_different_rows(tmp_path):
    same = features_row("x", 1)
    (tmp_path / "tf_0.csv").write_text(FEATURES_HEADER + same + same)
    (tmp_path / "tf_1.csv").write_text(FEATURES_HEADER + features_row("y", 2) + same)
    paths = [tmp_path / "tf_0.csv", tmp_path / "tf_1.csv"]
    assert read_features(paths, np.array([b"x", b"y"]))[1].all()
    counts = RowCounts()
    read_features(paths, np.array([b"x", b"z"]), counts)
    assert counts.rows == {"tf_0.csv": 2, "tf_1.csv": 2}
    assert counts.left_out == {"tf_0.csv": {"listed again": 1}, "tf_1.csv": {UNNEEDED: 1, "listed again": 1}}
    read_features(paths[1:], np.array([b"z"]), counts := RowCounts())
    assert counts.left_out == {"tf_1.csv": {UNNEEDED: 2}} and counts.warnings() == []
    for rows in (features_row("x", 3), features_row("y", 3) + features_row("y", 4)):
        (tmp_path / "tf_1.csv").write_text(FEATURES_HEADER + rows)
        with pytest.raises(UserError, match=r"tf_1.csv: the track . has two rows that differ"):
            read_features(paths, np.array([b"x", b"y"]))


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        (folder / name).touch()


def test_the_folders_of_the_projects_are_found(tmp_path: Path) -> None:
    """The Spotify project that GRU4Rec's content inputs come from, and the session project."""
    spotify = ("training/log_3.csv.gz", "track_features/tf_0.csv", "log_1.csv.gz")
    touch(tmp_path / "spotify", *spotify, "testing/log_1.csv.gz", "training_subsample_1.tar.gz", "other.tar.gz")
    sessions = ("training_set_0/log_0.csv", "training_set_9/log_9.csv", "track_features/tf_1.csv")
    touch(tmp_path / "sessions", *sessions, "training_sets/log_2.csv")
    for name, expected in (("spotify", spotify), ("sessions", sessions)):
        files = find_mssd(tmp_path / name)
        found = [str(path.relative_to(tmp_path / name)) for path in (*files.logs, *files.features)]
        assert sorted(found) == sorted(expected)


def test_where_released_logs_lie(tmp_path: Path) -> None:
    touch(tmp_path, "hetrec2011-lastfm-2k.zip", "log_0.csv", "training/readme.txt", "mssd/sample/log_0.csv")
    assert find_released(tmp_path) is None
    for name, place in (("training_set_0", ""), ("mssd/released", "mssd/released"), ("mssd/training", "mssd")):
        touch(tmp_path, f"{name}/log_0.csv")
        assert find_released(tmp_path) == tmp_path / place


def test_released_folders_and_archives_are_found(tmp_path):
    for name in ("training_set/log_0.csv", "track_features/tf_0.csv", "sample/log_0.csv", "log_input_0.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    files = find_mssd(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in (*files.logs, *files.features)] == [
        "training_set/log_0.csv",
        "track_features/tf_0.csv",
    ]
    for name in ("20181113_training_set.tar.gz", "20181120_track_features.tar.gz"):
        (tmp_path / "packed").mkdir(exist_ok=True)
        (tmp_path / "packed" / name).touch()
    files = find_mssd(tmp_path / "packed")
    assert [path.name for path in files.logs] == ["20181113_training_set.tar.gz"]
    assert [path.name for path in files.features] == ["20181120_track_features.tar.gz"]
    (tmp_path / "packed" / "20181120_track_features.tar.gz").unlink()
    assert find_mssd(tmp_path / "packed").features == ()  # the released training set has none
    (tmp_path / "packed" / "mini.tar.gz").touch()
    assert [path.name for path in find_mssd(tmp_path / "packed").features] == ["mini.tar.gz"]
    assert find_mssd(tmp_path / "nowhere").logs == ()
