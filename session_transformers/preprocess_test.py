from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import session_transformers.preprocess as preprocess
from common.mssd.files import FEATURE_COLUMNS, FEATURES, LOG_COLUMNS, NUMERIC_FEATURES
from common.mssd.sample import SessionSampleOptions, write_sample
from common.options import PROJECT, UserError
from session_transformers.data_options import DataOptions
from session_transformers.preprocess import load_dataset, prepare
from session_transformers.sessions.building import RELEASED_FEATURES, hash_ids, part_of

HEADER, FEATURE_HEADER = ",".join(LOG_COLUMNS) + "\n", ",".join(FEATURE_COLUMNS) + "\n"
PARTS = ("train", "validation", "test")


def log_rows(
    session: str, tracks: list[str], skips: list[int] | None = None, length: int | None = None, first: int = 1
):
    skips = skips or [0] * len(tracks)
    return "".join(
        f"{session},{first + place},{length or len(tracks)},{track},False,{bool(skip)},False,True,0,1,0,0,0,0,False,6,"
        "2018-07-15,True,radio,trackdone,fwdbtn\n"
        for place, (track, skip) in enumerate(zip(tracks, skips, strict=True))
    )


def feature_rows(tracks: dict[str, float]) -> str:
    other = {"mode": "minor"}
    return "".join(
        ",".join({"track_id": track, **other}.get(name, str(value + FEATURES.index(name) if name in FEATURES else 0))
                 for name in FEATURE_COLUMNS) + "\n"
        for track, value in tracks.items()
    )  # fmt: skip


def sessions_of(part: str, count: int, options: DataOptions) -> list[str]:
    """Session ids that fall into ``part``."""
    names = np.array([f"s{number}".encode() for number in range(400)])
    parts = part_of(hash_ids(names, options.split_seed), options)
    return [name.decode() for name in names[parts == PARTS.index(part)][:count]]


HALF_EACH = DataOptions(min_plays=2, validation_share=0.3, test_share=0.3)
T = [f"t{number:02}" for number in range(40)]


@pytest.fixture
def raw(tmp_path) -> Path:
    """Two training sessions of t00..t19, of which the second half of the first is skipped; one each to test with."""
    folder = tmp_path / "raw"
    folder.mkdir()
    one, two = sessions_of("train", 2, HALF_EACH)
    (validation,), (test,) = sessions_of("validation", 1, HALF_EACH), sessions_of("test", 1, HALF_EACH)
    # t00 and t19 are played more often; t30 only once in training, but often in the test part
    monday = log_rows(one, T[:20], [0] * 10 + [1] * 10) + log_rows(validation, T[:20][::-1], [1] * 20)
    tuesday = log_rows(two, [T[19], *T[1:19], T[0]]) + log_rows(test, [T[0]] * 20)
    more = sessions_of("train", 6, HALF_EACH)[2:]
    tuesday += log_rows(more[0], [T[19], T[19], T[0], T[30]]) + log_rows(more[1], [*T[:19], T[30]])
    tuesday += log_rows(sessions_of("test", 2, HALF_EACH)[1], [T[30]] * 19 + [T[0]])
    (folder / "log_0.csv").write_text(HEADER + monday)
    (folder / "log_1.csv.gz").write_bytes(gzip.compress((HEADER + tuesday).encode()))
    (folder / "tf_0.csv").write_text(FEATURE_HEADER + feature_rows({track: float(i) for i, track in enumerate(T)}))
    return folder


@pytest.fixture(scope="module")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mssd") / "sample"
    write_sample(folder, SessionSampleOptions(folder, sessions=1500, tracks=120, days=3))
    return folder


def test_hand_made_sessions(raw, tmp_path):
    data = prepare(raw, tmp_path / "prepared", HALF_EACH)
    # Plays in training: t19 4, t00 4, t01..t18 3 each, t30 2 (those in the test part do not count).
    assert data.track_ids == ["", "", "", "t00", "t19", *T[1:19], "t30"]
    assert data.plays.tolist() == [0, 0, 0, 4, 4, *[3] * 18, 2]
    assert data.vocabulary_size == 24 and data.ids.first_track == 3
    number = {track: token for token, track in enumerate(data.track_ids)}
    assert [len(getattr(data, part)) for part in PARTS] == [3, 1, 2]
    assert data.train.tracks.tolist() == [
        [number[track] for track in tracks] for tracks in (T[:20], [T[19], *T[1:19], T[0]], [*T[:19], T[30]])
    ]
    assert data.train.skips.tolist() == [[0] * 10 + [1] * 10, [0] * 20, [0] * 20]
    assert data.validation.target.tolist() == [[number[track] for track in T[:10][::-1]]]
    assert data.validation.source_skips.all() and data.validation.target_mask.all()
    assert data.test.source.tolist() == [[3] * 10, [number["t30"]] * 10]
    assert data.train.tracks.dtype == np.int32 and data.train.skips.dtype == np.uint8
    assert data.dropped == {"incomplete or of another length": 1, "with a rare or unknown track": 0}
    assert data.featureless == 0 and data.feature_names == list(FEATURES)


def test_rare_tracks_of_training_take_their_sessions_along(raw, tmp_path):
    options = DataOptions(min_plays=3, validation_share=0.3, test_share=0.3)
    data = prepare(raw, tmp_path / "prepared", options)
    assert "t30" not in data.track_ids and [len(getattr(data, part)) for part in PARTS] == [2, 1, 1]
    assert data.dropped["with a rare or unknown track"] == 2


def test_features_are_standardised_over_the_training_vocabulary(raw, tmp_path):
    data = prepare(raw, tmp_path / "prepared", HALF_EACH)
    values = np.array([float(track[1:]) for track in data.track_ids[3:]])
    expected = (values - values.mean()) / values.std()  # every number of a track is its own number plus a constant
    np.testing.assert_allclose(data.features[3:, :28], np.repeat(expected[:, None], 28, axis=1), atol=1e-5)
    assert not data.features[:3].any() and not data.features[:, 28].any()
    # The same if tracks that only the test part has are far away.
    (raw / "tf_0.csv").write_text(
        FEATURE_HEADER + feature_rows({track: 1e6 if track > "t30" else float(i) for i, track in enumerate(T)})
    )
    again = prepare(raw, tmp_path / "prepared", HALF_EACH)
    np.testing.assert_array_equal(again.features, data.features)


def test_tracks_without_features_are_zero(raw, tmp_path):
    lines = (raw / "tf_0.csv").read_text().splitlines(keepends=True)
    (raw / "tf_0.csv").write_text("".join([lines[0], *lines[2:]]).replace("minor", "major"))
    data = prepare(raw, tmp_path / "prepared", HALF_EACH)
    assert data.featureless == 1 and data.track_ids[3] == "t00"
    assert not data.features[:4].any() and data.features[4:, 28].all()
    np.testing.assert_allclose(data.features[4:, :28].mean(axis=0), 0, atol=1e-6)


def test_the_released_protocol_keeps_ids_and_slices(raw, tmp_path):
    options = DataOptions(min_plays=2, validation_share=0.3, test_share=0.3, protocol="released")
    data = prepare(raw, tmp_path / "prepared", options)
    assert data.track_ids == ["", "", *T[:20], "t30"] and data.ids.first_track == 2 and data.ids.skip is None
    assert data.train.tracks[0].tolist() == list(range(2, 22))
    names = [name for name in FEATURE_COLUMNS[1:] if name not in ("mechanism", "mode", "acoustic_vector_7")]
    assert data.feature_names == names == list(RELEASED_FEATURES) and data.features.shape == (23, 26)
    table = pd.read_csv(raw / "tf_0.csv").set_index("track_id").loc[data.track_ids[2:], names].to_numpy()
    np.testing.assert_allclose(data.features[2:], table / np.sqrt((table**2).sum(axis=0)), rtol=1e-5)
    one = prepare(raw, tmp_path / "other", DataOptions(2, False, 0.3, 0.3, one_feature_row=True, protocol="released"))
    np.testing.assert_allclose(one.features[2:, 1:], 1 / np.sqrt(21), rtol=1e-5)  # as the notebook printed them
    lines = (raw / "tf_0.csv").read_text().splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(f"{data.track_ids[2]},")]
    assert len(kept) == len(lines) - 1
    for path in raw.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tf_0.csv").write_text("".join(kept))  # the first track has no row: the first that has one counts
    other = prepare(
        tmp_path, tmp_path / "third", DataOptions(2, False, 0.3, 0.3, one_feature_row=True, protocol="released")
    )
    np.testing.assert_allclose(other.features[2:, 1:], 1 / np.sqrt(21), rtol=1e-5)


def test_no_session_is_in_two_parts_and_none_is_lost(sample, tmp_path):
    options = DataOptions(min_plays=1)
    data = prepare(sample, tmp_path / "prepared", options)
    log = pd.concat([pd.read_csv(path) for path in sorted(sample.glob("log_*.csv"))])
    whole = log[log.session_length == 20]
    names = np.array(data.track_ids)
    found = {}
    for part in PARTS:
        halves = getattr(data, part)
        skips = halves.skips.astype(bool)
        found[part] = [
            (*names[tracks].tolist(), *flags.tolist()) for tracks, flags in zip(halves.tracks, skips, strict=True)
        ]
    together = [session for part in PARTS for session in found[part]]
    expected = whole.groupby("session_id", sort=False).apply(lambda g: (*g.track_id_clean, *g.skip_2))
    assert len(together) == len(set(together)) and set(together) == set(expected)
    ids = expected.index.to_numpy().astype(np.bytes_)
    parts = part_of(hash_ids(ids, 0), options)
    for number, part in enumerate(PARTS):
        assert found[part] == expected[parts == number].tolist()
    assert 0.05 < len(data.test) / len(expected) < 0.15 and 0.05 < len(data.validation) / len(expected) < 0.15
    train = log[np.isin(log.session_id, np.unique(log.session_id)[_train(np.unique(log.session_id), options)])]
    assert data.plays[3:].tolist() == train.track_id_clean.value_counts()[data.track_ids[3:]].tolist()
    numbers = pd.read_csv(sample / "tf_0.csv").set_index("track_id").loc[data.track_ids[3:], list(NUMERIC_FEATURES)]
    expected = (numbers - numbers.mean()) / numbers.std(ddof=0)
    np.testing.assert_allclose(data.features[3:, :28], expected, atol=2e-5)


def _train(names, options):
    return part_of(hash_ids(names.astype(np.bytes_), options.split_seed), options) == 0


def test_the_split_does_not_depend_on_the_machine_or_the_files():
    names = np.array([b"0_00006f66-33e5-4de7-a324-2d18e439fc1e", b"0_0000a72b-09ac-412f-b452-9b9e79bded8f"])
    assert hash_ids(names, 0).tolist() == [4679618662325226218, 5987387030941256274]
    assert hash_ids(names[::-1], 0).tolist() == hash_ids(names, 0)[::-1].tolist()
    assert (hash_ids(names, 0) != hash_ids(names, 1)).all()


def test_sessions_of_any_length(tmp_path):
    options = DataOptions(min_plays=1, any_length=True, validation_share=0, test_share=0.5)
    train, (test,) = sessions_of("train", 3, options), sessions_of("test", 1, options)
    rows = log_rows(train[0], T[:11], [1] * 11) + log_rows(train[1], T[:10]) + log_rows(test, T[:19])
    rows += log_rows(train[2], T[:19], length=20)  # its last row is missing
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/log_0.csv").write_text(HEADER + rows)
    options = DataOptions(1, True, 0, 0.5, track_features=False)
    data = prepare(tmp_path / "raw", tmp_path / "prepared", options)
    number = {track: token for token, track in enumerate(data.track_ids)}
    first = [number[track] for track in T[:11]]
    assert data.train.tracks[0].tolist() == first[:5] + [0] * 5 + first[5:] + [0] * 4  # 5 and 6
    assert data.train.skips[0].tolist() == [1] * 5 + [0] * 5 + [1] * 6 + [0] * 4
    assert data.train.tracks[1].tolist() == first[:5] + [0] * 5 + first[5:10] + [0] * 5
    assert data.train.source_mask.sum(axis=1).tolist() == [5, 5] and data.train.target_mask[0].sum() == 6
    assert len(data.validation) == 0 and data.dropped["incomplete or of another length"] == 1
    assert len(data.test) == 1 and data.test.target_mask.sum() == 10 and data.test.source_mask.sum() == 9
    assert data.features.shape == (data.vocabulary_size, 0) and data.feature_names == []


def test_arrays_are_kept_until_a_file_or_an_option_changes(sample, tmp_path, monkeypatch):
    first = prepare(sample, tmp_path / "prepared")
    calls = []
    build = preprocess.build
    monkeypatch.setattr(preprocess, "build", lambda *args: calls.append(args) or build(*args))
    again = prepare(sample, tmp_path / "prepared", DataOptions(min_plays=5))
    assert not calls and again.fingerprint == first.fingerprint and again.dropped == first.dropped
    assert isinstance(again.train.tracks, np.memmap) and not again.train.tracks.flags.writeable
    other = prepare(sample, tmp_path / "prepared", DataOptions(split_seed=1))
    assert len(calls) == 1 and other.fingerprint != first.fingerprint
    assert (first.train.tracks == again.train.tracks).all()  # the old maps stay readable
    assert prepare(sample, tmp_path / "prepared").fingerprint == first.fingerprint and len(calls) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prepared"]
    os.utime(sample / "tf_0.csv", ns=(1, 1))  # of the same content
    prepare(sample, tmp_path / "prepared")
    folders = [path.parent for path in (tmp_path / "prepared").glob("session_transformers-*/meta.json")]
    assert len(calls) == 1 and len(folders) == 2
    assert sorted(path.name for path in folders[0].iterdir()) == sorted(
        ["meta.json", "features.npy", "plays.npy", "track_ids.npy"]
        + [f"{part}_{array}.npy" for part in PARTS for array in ("tracks", "skips")]
    )
    for folder in folders:
        (folder / "test_tracks.npy").write_bytes(b"")
    assert prepare(sample, tmp_path / "prepared").fingerprint == first.fingerprint and len(calls) == 2


def test_packed_files_have_the_same_fingerprint(raw, tmp_path):
    first = prepare(raw, tmp_path / "prepared", HALF_EACH)
    (raw / "log_0.csv.gz").write_bytes(gzip.compress((raw / "log_0.csv").read_bytes()))
    (raw / "log_0.csv").unlink()
    assert prepare(raw, tmp_path / "prepared", HALF_EACH).fingerprint == first.fingerprint


def test_nothing_left(raw, tmp_path):
    with pytest.raises(UserError, match=r"no track is played 150 times in the training part; choose a smaller --min-"):
        prepare(raw, tmp_path / "prepared")
    with pytest.raises(
        UserError, match=r"no test session is left \(dropped: 1 incomplete .*, 2 with a rare .*--any-len"
    ):
        prepare(raw, tmp_path / "prepared", DataOptions(min_plays=4, validation_share=0.3, test_share=1e-9))
    (raw / "log_1.csv.gz").unlink()
    (raw / "log_0.csv").write_text(HEADER + log_rows("a", T[:12]) + log_rows("b", T[:19]))
    with pytest.raises(
        UserError, match=r"no train session is left .* sessions need exactly 20 tracks, each of 1 plays"
    ):
        prepare(raw, tmp_path / "prepared", DataOptions(min_plays=1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_session_in_two_logs(raw, tmp_path):
    (raw / "log_2.csv").write_bytes((raw / "log_0.csv").read_bytes())
    with pytest.raises(UserError, match=r"session s\d+ is in .*log_0.csv and in .*log_2.csv; remove one"):
        prepare(raw, tmp_path / "prepared", HALF_EACH)


def test_wrong_files(raw, tmp_path):
    (raw / "tf_0.csv").write_text(FEATURE_HEADER + feature_rows({"other": 1.0}))
    with pytest.raises(UserError, match=r"tf_0.csv: has no row for any of the 21 tracks, for example t00"):
        prepare(raw, tmp_path / "prepared", HALF_EACH)
    (raw / "tf_0.csv").write_text(FEATURE_HEADER + feature_rows({"t00": 1.0}).replace("t00,1.0,", "t00,long,"))
    with pytest.raises(UserError, match=r"tf_0.csv, line 2: duration is 'long'; expected a number"):
        prepare(raw, tmp_path / "prepared", HALF_EACH)
    (raw / "tf_0.csv").unlink()
    with pytest.raises(UserError, match=r"no track features \(tf_\*.csv\) beside .*log_0.csv.*--no-track-features"):
        prepare(raw, tmp_path / "prepared", HALF_EACH)
    (raw / "log_0.csv").write_text(HEADER + log_rows("a", T[:20]).replace("a,3,20,", "a,three,20,"))
    with pytest.raises(
        UserError, match=r"log_0.csv, line 4: session_position is 'three'; expected an integer in 1..20"
    ):
        prepare(raw, tmp_path / "prepared", HALF_EACH)
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        with pytest.raises(UserError, match=f"--data-dir .*{place}: (holds no log_|no such folder)"):
            load_dataset(tmp_path / place)
    with pytest.raises(UserError, match=r"empty: holds no log_\*.csv"):
        prepare(tmp_path / "empty", tmp_path / "prepared")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file"):
        prepare(raw, tmp_path / "file" / "prepared", HALF_EACH)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "raw"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"min_plays": 0}, "--min-plays is 0; it must be 1 or more"),
        ({"test_share": 1.0}, "--test-share is 1.0; it must be 0 or more and below 1"),
        ({"test_share": 0.0}, "--test-share is 0"),
        ({"validation_share": -0.1}, "--validation-share is -0.1"),
        ({"validation_share": 0.5, "test_share": 0.5}, "together they must be below 1"),
        ({"split_seed": -1}, "--split-seed is -1"),
        ({"one_feature_row": True}, "--one-feature-row is a mistake of the released code"),
    ],
)
def test_wrong_options(wrong, told):
    with pytest.raises(UserError, match=told):
        DataOptions(**wrong)


def test_the_command_uses_the_sample_without_data(tmp_path, monkeypatch):
    environment = os.environ | {"ENCORE_DATA": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, str(PROJECT / "session_transformers/preprocess.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "a synthetic sample is used" in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout.startswith("sample (synthetic): train 7,566 sessions, validation 949 sessions, test 1,016")
    assert list((tmp_path / "session_transformers/sample/prepared").glob("session_transformers-*/meta.json"))
    wrong = subprocess.run([*command, "--test-share", "2"], env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr == "error: --test-share is 2.0; it must be 0 or more and below 1\n"
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    dataset, data = load_dataset(None)
    assert dataset.synthetic and len(data.train) == 7566


def test_json_is_one_object_in_which_rows_are_used_or_left_out(raw, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ENCORE_DATA", str(tmp_path))
    preprocess.main(
        preprocess.PreprocessOptions(data_dir=raw, min_plays=2, validation_share=0.3, test_share=0.3, json=True)
    )
    found = json.loads(capsys.readouterr().out)
    for file in found["files"].values():
        assert file["rows"] == file["used"] + sum(file["left_out"].values())
    logs = [file for name, file in found["files"].items() if name.startswith("log_")]
    assert {name[:3] for name in found["files"]} == {"log", "tf_"}
    texts = [
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in raw.glob("log_*")
    ]
    assert sum(file["rows"] for file in logs) == sum(text.count(b"\n") - 1 for text in texts)
    assert sum(file["used"] for file in logs) == sum(part["events"] for part in found["parts"].values())
