from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gru4rec.preprocess as preprocess
from common.mssd.files import FEATURES, LOG_COLUMNS, NUMERIC_FEATURES
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import PROJECT, UserError
from common.sessions import Sessions
from gru4rec.options import DataOptions
from gru4rec.preprocess import load_dataset, prepare

GOLDEN = Path(os.environ.get("GOLDEN_DIR") or PROJECT / "tests" / "golden") / "gru4rec"


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mssd") / "sample"
    write_sample(folder, SessionSampleOptions(folder, sessions=600, tracks=150, days=4))
    return folder


def lists(sessions: Sessions) -> list[list[int]]:
    return [sessions.items[a:b].tolist() for a, b in zip(sessions.offsets, sessions.offsets[1:], strict=False)]


def write_tsv(path: Path, rows: list[tuple[object, object, object]]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("SessionId\tItemId\tTime\n" + "".join(f"{a}\t{b}\t{c}\n" for a, b, c in rows))


@pytest.mark.golden
def test_golden_items_and_order_of_sessions(tmp_path):
    data = prepare(GOLDEN, tmp_path / "prepared")
    items = pd.read_csv(GOLDEN / "itemmap.tsv", sep="\t", dtype={"ItemId": str})
    assert data.item_ids == items.sort_values("ItemIdx").ItemId.tolist()
    for part, name in ((data.train, "train"), (data.test, "test")):
        batches = np.load(GOLDEN / f"batches_{name}_b32.npz")
        order, offsets, expected = (batches[key] for key in ("session_order", "offset_sessions", "data_items"))
        assert lists(part) == [expected[offsets[s] : offsets[s + 1]].tolist() for s in order]
        assert (np.diff(part.starts) >= 0).all()
    assert len(data.validation) == 0 and data.features is None and data.kind == "tsv"
    assert (data.support == np.bincount(data.train.items)).all()
    frame = pd.read_csv(GOLDEN / "test.tsv", sep="\t", dtype={"ItemId": str})
    assert sum(data.dropped.values()) == int((~frame.ItemId.isin(items.ItemId)).sum())


def test_unknown_test_items_are_dropped_and_short_sessions_kept(tmp_path):
    write_tsv(tmp_path / "raw/train.tsv", [(2, "b", 5), (1, "a", 1), (1, "b", 2), (3, "c", 0)])
    write_tsv(tmp_path / "raw/test.tsv", [(9, "new", 0), (8, "a", 7), (8, "new", 8), (8, "b", 9), (7, "c", 7)])
    data = prepare(tmp_path / "raw", tmp_path / "prepared")
    assert data.item_ids == ["b", "a", "c"]
    assert lists(data.train) == [[2], [1, 0], [0]]
    assert lists(data.test) == [[2], [1, 0]]  # session 9 is gone; 7 comes before 8
    assert data.support.tolist() == [2, 1, 1]


def test_what_was_recognised_in_both_tables_is_said_once(tmp_path):
    for name, events in (("train", "1,a,10\n1,b,11\n"), ("test", "2,a,20\n2,b,21\n")):
        (tmp_path / f"{name}.csv").write_text(f"session_id,ItemId,Time\n{events}")
    notes = prepare(tmp_path, tmp_path / "prepared").notes
    assert [note for note in notes if "is read as" in note] == ["the column session_id is read as SessionId"]


def test_a_single_table_is_split_by_time(tmp_path):
    rows = [(s, i, 40_000 * s + i) for s in range(10) for i in range(3)]
    write_tsv(tmp_path / "raw/train.tsv", rows)
    data = prepare(tmp_path / "raw", tmp_path / "a", DataOptions(validation_days=1))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [4, 3, 3]
    data = prepare(tmp_path / "raw", tmp_path / "b", DataOptions(test_share=0.1, validation_share=0.2))
    assert [len(part) for part in (data.train, data.validation, data.test)] == [7, 2, 1]
    assert data.train.starts.max() < data.validation.starts.min() < data.test.starts.min()


def official_rsc15(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The filters as the text of the official preprocessing says them."""

    def long_enough(part: pd.DataFrame) -> pd.DataFrame:
        return part[part.groupby("s").i.transform("size") >= 2]

    frame = long_enough(frame)
    frame = long_enough(frame[frame.groupby("i").s.transform("size") >= 5])
    last = frame.groupby("s").t.transform("max") >= frame.t.max() - 86_400
    train, test = frame[~last], frame[last]
    return train, long_enough(test[test.i.isin(train.i)])


def test_rsc15_is_filtered_as_the_official_code_does(tmp_path):
    rng = np.random.default_rng(3)
    session = rng.integers(0, 250, 900)
    seconds = 1_396_867_869 + 2500 * session + np.arange(900)  # about a week
    frame = pd.DataFrame({"s": session, "i": (40 * rng.random(900) ** 2).astype(int), "t": seconds})
    frame = frame.sort_values(["s", "t"])
    stamps = pd.to_datetime(frame.t, unit="s").dt.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    (tmp_path / "raw").mkdir()
    lines = [f"{s},{stamp},{i},0\n" for s, i, stamp in zip(frame.s, frame.i, stamps, strict=True)]
    (tmp_path / "raw/yoochoose-clicks.dat").write_text("".join(lines))
    data = prepare(tmp_path / "raw", tmp_path / "prepared")
    train, test = official_rsc15(frame)
    assert len(test) > 50 and data.kind == "rsc15"
    assert data.item_ids == [str(i) for i in train.i.unique()]
    number = {item: place for place, item in enumerate(train.i.unique())}
    for part, expected in ((data.train, train), (data.test, test)):
        groups = sorted((group.t.min(), s, group.i.map(number).tolist()) for s, group in expected.groupby("s"))
        assert lists(part) == [items for _, _, items in groups]


def test_mssd_days_features_and_support(sample, tmp_path):
    data = prepare(sample, tmp_path / "prepared")
    assert data.kind == "mssd" and [len(p) for p in (data.train, data.validation, data.test)] == [300, 150, 150]
    assert data.train.starts.max() < data.validation.starts.min() < data.test.starts.min()
    log = pd.concat([pd.read_csv(path) for path in sorted(sample.glob("log_*.csv"))])
    train = log[log.date < "2018-07-17"]
    assert data.item_ids == train.track_id_clean.unique().tolist()
    assert data.support.tolist() == train.track_id_clean.value_counts()[data.item_ids].tolist()
    by_id = train.groupby("session_id").track_id_clean.apply(list)
    starts = train.groupby("session_id").apply(lambda g: (g.date.iloc[0], g.hour_of_day.iloc[0], g.name)).sort_values()
    names = np.array(data.item_ids)
    assert [names[items].tolist() for items in lists(data.train)] == by_id[starts.index].tolist()
    assert data.features is not None and data.feature_names == list(FEATURES)
    table = pd.read_csv(sample / "tf_0.csv").set_index("track_id").loc[data.item_ids]
    numbers = table[list(NUMERIC_FEATURES)]
    expected = (numbers - numbers.mean()) / numbers.std(ddof=0)
    np.testing.assert_allclose(data.features[:, :28], expected, atol=2e-5)
    assert data.features[:, 28].tolist() == (table["mode"] == "major").astype(float).tolist()


def test_arrays_are_kept_until_a_file_or_an_option_changes(sample, tmp_path, monkeypatch):
    first = prepare(sample, tmp_path / "prepared")
    calls = []
    build = preprocess.build
    monkeypatch.setattr(preprocess, "build", lambda *args: calls.append(args) or build(*args))
    again = prepare(sample, tmp_path / "prepared", DataOptions(kind="mssd", min_length=2))
    assert not calls and again.fingerprint == first.fingerprint and again.dropped == first.dropped
    assert isinstance(again.train.items, np.memmap) and not again.train.items.flags.writeable
    other = prepare(sample, tmp_path / "prepared", DataOptions(min_support=20, collapse_repeats=True))
    assert len(calls) == 1 and other.fingerprint != first.fingerprint
    assert other.support.max() < first.support.max() and len(other.item_ids) < len(first.item_ids)
    assert first.train.items[:3].tolist() == again.train.items[:3].tolist()  # the old maps stay readable
    assert prepare(sample, tmp_path / "prepared").fingerprint == first.fingerprint and len(calls) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
    os.utime(sample / "tf_0.csv", ns=(1, 1))  # of the same content
    prepare(sample, tmp_path / "prepared")
    assert len(calls) == 1 and len(list((tmp_path / "prepared").glob("gru4rec-*/meta.json"))) == 2


def test_other_features_are_other_data(sample, tmp_path):
    first, raw = prepare(sample, tmp_path / "prepared"), shutil.copytree(sample, tmp_path / "raw")
    lines = (raw / "tf_0.csv").read_text().splitlines(keepends=True)
    cells = lines[1].split(",")
    (raw / "tf_0.csv").write_text("".join([lines[0], ",".join([*cells[:3], "0.123", *cells[4:]]), *lines[2:]]))
    assert prepare(raw, tmp_path / "prepared").fingerprint != first.fingerprint


def test_damaged_arrays_are_made_anew(sample, tmp_path):
    first = prepare(sample, tmp_path / "prepared")
    next((tmp_path / "prepared").glob("*/test_items.npy")).write_bytes(b"")
    assert prepare(sample, tmp_path / "prepared").fingerprint == first.fingerprint


def test_tracks_without_features(sample, tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in sample.glob("log_*.csv"):
        (raw / path.name).write_bytes(path.read_bytes())
    plain = prepare(raw, tmp_path / "prepared")
    assert plain.features is None and plain.feature_names == []
    with pytest.raises(UserError, match="--drop-featureless: there are no track features"):
        prepare(raw, tmp_path / "prepared", DataOptions(drop_featureless=True))
    lines = (sample / "tf_0.csv").read_text().splitlines(keepends=True)
    gone = lines[1].split(",")[0]
    (raw / "tf_0.csv").write_text("".join([lines[0], *lines[2:]]))
    with pytest.raises(UserError, match=rf"tf_0.csv: 1 of \d+ training tracks have no row, for example {gone}; add"):
        prepare(raw, tmp_path / "prepared")
    dropped = prepare(raw, tmp_path / "prepared", DataOptions(drop_featureless=True))
    assert gone not in dropped.item_ids and dropped.dropped["tracks without features"] > 0
    assert set(dropped.item_ids) == set(plain.item_ids) - {gone}


def test_items_that_differ_in_the_form_of_accents_alone(tmp_path):
    write_tsv(tmp_path / "raw/train.tsv", [(1, "caf\u00e9", 1), (1, "b", 2)])
    write_tsv(tmp_path / "raw/test.tsv", [(2, "cafe\u0301", 1)])
    with pytest.raises(UserError, match="they differ in the form of their accents"):
        prepare(tmp_path / "raw", tmp_path / "prepared")


def test_nothing_left(tmp_path):
    write_tsv(tmp_path / "raw/train.tsv", [(1, "a", 1), (1, "b", 2)])
    write_tsv(tmp_path / "raw/test.tsv", [(2, "x", 1), (2, "y", 2)])
    with pytest.raises(
        UserError,
        match=r"test.tsv: none of its 2 items is in .*: the ids there are such as 'a', here",
    ):
        prepare(tmp_path / "raw", tmp_path / "prepared")
    write_tsv(tmp_path / "raw/test.tsv", [(2, "a", 1), (2, "y", 2)])
    with pytest.raises(UserError, match="the filters leave no training session"):
        prepare(tmp_path / "raw", tmp_path / "prepared", DataOptions(min_support=3))
    (tmp_path / "raw/test.tsv").unlink()
    with pytest.raises(
        UserError, match="all sessions fall into the test part, none is left to train on; try --test-sh"
    ):
        prepare(tmp_path / "raw", tmp_path / "prepared")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


HOSTILE = {
    "a gzip that ends early": ("log_0.csv.gz", lambda text: gzip.compress(text)[:-9], "the archive is damaged"),
    "a gzip with rubbish after it": ("log_0.csv.gz", lambda text: gzip.compress(text) + b"rubbish", "is damaged"),
    "a gzip that is none": ("log_0.csv.gz", lambda text: text, "the archive is damaged"),
    "a csv that is a gzip": (
        "log_0.csv",
        gzip.compress,
        "line 1: holds a NUL character",
    ),
    "a tar that ends early": ("set.tar.gz", lambda text: tarred({"log_0.csv": text * 9})[:900], "is damaged"),
    "a tar of links": ("set.tar", lambda text: tarred({"log_0.csv": None, "log_1.csv": None}), "no log_"),
    "UTF-16": ("log_0.csv", lambda text: text.decode().encode("utf-16"), "line 1: is UTF-16 text"),
    "Latin-1": ("log_0.csv", lambda text: text.replace(b",t_", b",\xe9", 1), "is not UTF-8"),
    "a NUL in an id": ("log_0.csv", lambda text: text.replace(b",t_", b",t\0_"), "line 2: holds a NUL"),
    "a NUL after an id": (
        "log_0.csv",
        lambda text: re.sub(rb"(,t_\d)", rb"\1\0", text),
        "line 2: holds a NUL",
    ),
    "an endless id": (
        "log_0.csv",
        lambda text: text.replace(b",t_", b",t_" + b"x" * 5000, 1),
        "is 't_xxx.*expected an id",
    ),
    "semicolons": ("log_0.csv", lambda text: text.replace(b",", b";"), "are missing among"),
    "an open quote": (
        "log_0.csv",
        lambda text: text.replace(b",t_", b',"t_', 1),
        "line 2: a quotation mark opens a value",
    ),
    "a row that ends early": ("log_0.csv", lambda text: text[:-30], "values; expected 21"),
    "a surrogate": ("log_0.csv", lambda text: text.replace(b",t_", b",\xed\xa0\x80", 1), "line 2: is not UTF-8"),
}
HARMLESS = {
    "a byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "empty lines": lambda text: text.replace(b"\n", b"\n\n"),
    "no last line end": lambda text: text.rstrip(b"\n"),
    "positions in disorder": lambda text: in_disorder(text),
}


def in_disorder(log: bytes) -> bytes:
    """The rows of each session, of which there are four, from the last to the first."""
    header, *rows = log.splitlines(keepends=True)
    return header + b"".join(b"".join(rows[first : first + 4][::-1]) for first in range(0, len(rows), 4))


def tarred(members: dict[str, bytes | None]) -> bytes:
    """A tar.gz; None is a link to a file outside."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(f"../../{name}")
            if text is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text))
    return content.getvalue()


def small_log() -> bytes:
    rest = "False,False,False,True,0,1,0,0,0,0,False,6,2018-07-{day},True,radio,trackdone,fwdbtn"
    rows = [
        f"s_{number:02},{position},4,t_{number * position % 7},{rest.format(day=15 + number % 4)}\n"
        for number in range(40)
        for position in range(1, 5)
    ]
    return (",".join(LOG_COLUMNS) + "\n" + "".join(rows)).encode()


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_logs_end_in_one_line_and_leave_nothing(case, tmp_path):
    name, damage, told = HOSTILE[case]
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / name).write_bytes(damage(small_log()))
    with pytest.raises(UserError, match=told) as caught:
        prepare(tmp_path / "raw", tmp_path / "out/prepared")
    assert len(str(caught.value)) < 900 and "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] in (
        ["raw", "out", name],
        ["raw", name, "out"],
        ["out", "raw", name],
    )


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless_oddities_of_logs_change_nothing(case, tmp_path):
    found = []
    for folder, text in (("plain", small_log()), ("odd", HARMLESS[case](small_log()))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "log_0.csv").write_bytes(text)
        found.append(prepare(tmp_path / folder, tmp_path / folder / "prepared").fingerprint)
    assert found[0] == found[1]


def test_hostile_archives_write_nothing_outside(tmp_path):
    (tmp_path / "a/b/raw").mkdir(parents=True)
    (tmp_path / "a/b/raw/set.tar.gz").write_bytes(tarred({"log_0.csv": small_log()}))
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(UserError, match="holds no track features"):
        prepare(tmp_path / "a/b/raw", tmp_path / "a/b/prepared")
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("value", ["nan", "inf", "1e300", "x"])
def test_features_that_are_no_usable_numbers(sample, tmp_path, value):
    for path in sample.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    lines = (tmp_path / "tf_0.csv").read_text().splitlines(keepends=True)
    cells = lines[3].split(",")
    lines[3] = ",".join([cells[0], value, *cells[2:]])
    (tmp_path / "tf_0.csv").write_text("".join(lines))
    with pytest.raises(UserError, match=rf"tf_0.csv, line 4: duration is '{value}'; expected a number"):
        prepare(tmp_path, tmp_path / "prepared")


def test_a_feature_that_never_varies_is_zero(sample, tmp_path):
    for path in sample.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    table = pd.read_csv(tmp_path / "tf_0.csv")
    table["duration"] = 0.1
    table.to_csv(tmp_path / "tf_0.csv", index=False)
    features = prepare(tmp_path, tmp_path / "prepared").features
    assert features is not None and np.abs(features[:, 0]).max() < 1e-6 and np.isfinite(features).all()


@pytest.mark.parametrize("content", [b"", b"[]", "half", None, "floats", "short"])
def test_arrays_damaged_in_any_way_are_made_anew(content, tmp_path):
    write_tsv(tmp_path / "raw/train.tsv", [(s, i, 40_000 * s + i) for s in range(10) for i in range(3)])
    first = prepare(tmp_path / "raw", tmp_path / "prepared").fingerprint
    for path in sorted((tmp_path / "prepared").glob("*/*")):
        whole = path.read_bytes()
        array = np.load(path) if path.suffix == ".npy" else None
        if content is None:
            path.unlink()
        elif content == "half":
            path.write_bytes(whole[: len(whole) // 2])
        elif content in ("floats", "short") and array is not None and array.dtype.kind != "S":
            np.save(path, array.astype(np.float32) if content == "floats" else array[:1])
        elif isinstance(content, bytes):
            path.write_bytes(content)
        assert prepare(tmp_path / "raw", tmp_path / "prepared").fingerprint == first
        if path.suffix == ".npy":
            assert path.read_bytes() == whole, path


def test_the_layout_of_the_spotify_project(sample, tmp_path, monkeypatch):
    """As --data-dir, and lying in data/."""
    data = tmp_path / "data"
    for name, place in (("log_*", "training"), ("tf_*", "track_features")):
        (data / place).mkdir(parents=True)
        for path in sample.glob(name):
            shutil.copy(path, data / place)
    monkeypatch.setenv("ENCORE_DATA", str(data))
    expected = prepare(sample, tmp_path / "prepared")
    for folder in (data, None):
        dataset, found = load_dataset(folder)
        assert not dataset.synthetic and dataset.name == "data" and dataset.raw == data
        assert found.item_ids == expected.item_ids and lists(found.test) == lists(expected.test)
        np.testing.assert_array_equal(found.features, expected.features)


def test_missing_files(tmp_path):
    with pytest.raises(UserError, match=r"holds no log_\*.csv .* or train.tsv or yoochoose-clicks.dat"):
        prepare(tmp_path, tmp_path / "prepared")
    with pytest.raises(UserError, match=r"holds no train.tsv; see"):
        load_dataset(tmp_path, DataOptions(kind="tsv"))
    with pytest.raises(UserError, match="no such folder"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match="--kind rsc15 needs --data-dir"):
        load_dataset(None, DataOptions(kind="rsc15"))


@pytest.mark.parametrize(
    "wrong", [{"test_days": -1}, {"test_share": 1.0}, {"validation_share": -0.1}, {"min_support": 0}, {"min_length": 0}]
)
def test_wrong_options(wrong):
    with pytest.raises(UserError, match=f"--{next(iter(wrong)).replace('_', '-')} is "):
        DataOptions(**wrong)


def test_the_command_uses_the_sample_without_data(tmp_path):
    environment = os.environ | {"ENCORE_DATA": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(PROJECT / "gru4rec/preprocess.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "the synthetic sample" in done.stderr and done.stdout.startswith("sample (synthetic): train 2,666 sessions")
    assert re.search(r"6 files log_\*: [\d,]+ rows = [\d,]+ used .*\n1 file tf_\*: [\d,]+ rows = ", done.stdout)
    assert list((tmp_path / "mssd/sample/prepared").glob("gru4rec-*/meta.json"))
    wrong = subprocess.run([*command, "--test-share", "2"], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr == "error: --test-share is 2.0; it must be 0 or more and below 1\n"


def test_json_is_one_object_in_which_rows_are_used_or_left_out(tmp_path, capsys):
    rows = [(s, i if s < 9 else "new", 40_000 * s + i) for s in range(10) for i in range(3)]
    write_tsv(tmp_path / "raw/train.tsv", rows)
    options = preprocess.PreprocessOptions(data_dir=tmp_path / "raw", test_share=0.3, json=True)
    preprocess.main(options)
    out, err = capsys.readouterr()
    found = json.loads(out)
    reason = "test: items unknown in training, then short sessions"
    assert found["files"] == {"train.tsv": {"rows": 30, "used": 27, "left_out": {reason: 3}}}
    assert found["parts"] == {
        "train": {"sessions": 7, "events": 21},
        "validation": {"sessions": 0, "events": 0},
        "test": {"sessions": 2, "events": 6},
    }
    assert "warning: only 4 test events: the figures say little" in err
    preprocess.main(preprocess.PreprocessOptions(data_dir=tmp_path / "raw", test_share=0.3))
    assert f"train.tsv: 30 rows = 27 used + 3 left out ({reason})" in capsys.readouterr().out


def test_tables_of_other_formats_and_separators(tmp_path):
    rows = [(s, i, 40_000 * s + i) for s in range(10) for i in range(3)]
    write_tsv(tmp_path / "a/train.tsv", rows)
    expected = prepare(tmp_path / "a", tmp_path / "prepared").fingerprint
    text = (tmp_path / "a/train.tsv").read_text()
    for name, content, options in (
        ("train.csv", text.replace("\t", ","), {}),
        ("train.tsv", text.replace("\t", "\x1f"), {"separator": "\x1f"}),
        ("train.csv.gz", gzip.compress(text.encode()), {"separator": "tab"}),
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        assert prepare(folder, tmp_path / f"{name}-prepared", DataOptions(**options)).fingerprint == expected
    with pytest.raises(UserError, match="--separator is 'xx'; it must be one character, or tab"):
        DataOptions(separator="xx")
    for separator in ('"', "\n", "\x10", "a", "0"):
        with pytest.raises(UserError, match="no letter, digit, quotation mark or line end"):
            DataOptions(separator=separator)
