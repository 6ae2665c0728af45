from __future__ import annotations

import filecmp

import numpy as np
import pandas as pd
import pytest

from common.mssd.conversion import read_logs
from common.mssd.files import FEATURE_COLUMNS, LOG_COLUMNS, NUMERIC_FEATURES, find_mssd
from common.mssd.sample import MARGINS, SAMPLE_FILES, SessionSampleOptions, main, write_sample
from common.mssd.world import LENGTHS
from common.options import UserError
from common.sources import MARKER


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions") / "sample"
    write_sample(folder, SessionSampleOptions(folder, sessions=12_000, tracks=3000, days=3))
    return folder


@pytest.fixture(scope="module")
def log(folder):
    return pd.concat([pd.read_csv(path) for path in sorted(folder.glob("log_*.csv"))], ignore_index=True)


@pytest.fixture(scope="module")
def features(folder):
    return pd.read_csv(folder / "tf_0.csv").set_index("track_id")


def test_files_are_in_the_released_formats(folder, log, features, tmp_path):
    assert list(log.columns) == list(LOG_COLUMNS) and len(LOG_COLUMNS) == 21
    assert ["track_id", *features.columns] == list(FEATURE_COLUMNS)
    assert (folder / MARKER).is_file() and all((folder / name).is_file() for name in SAMPLE_FILES)
    assert log.date.unique().tolist() == ["2018-07-15", "2018-07-16", "2018-07-17"]
    assert not log.isna().any().any() and set(log.track_id_clean) <= set(features.index)
    sessions = log.groupby("session_id", sort=False)
    assert (
        sessions.session_position.apply(list) == sessions.session_length.first().apply(lambda n: [*range(1, n + 1)])
    ).all()
    assert (log.skip_1 <= log.skip_2).all() and (log.skip_2 <= log.skip_3).all()
    assert not (log.not_skipped & log.skip_3).any()
    read = read_logs(find_mssd(folder).logs, tmp_path)
    assert len(read) == 12_000 and read.skipped.tolist() == log.skip_2.tolist()
    assert read.session_ids.astype(str).tolist() == log.session_id.unique().tolist()


def test_lengths_follow_the_real_law(log):
    shares = np.bincount(log.groupby("session_id").size(), minlength=21)[10:] / 12_000
    assert np.abs(shares - LENGTHS).max() < 0.015


def test_plays_fall_as_in_a_zipf_law(log):
    plays = np.sort(log.track_id_clean.value_counts().to_numpy())[::-1]
    ranks = np.arange(100, 1500)
    slope = np.polyfit(np.log(ranks), np.log(plays[ranks - 1]), 1)[0]
    assert -1.05 < slope < -0.85
    assert plays[0] / plays[99] == pytest.approx(6.0, rel=0.4)  # 7.86 million against 1.31 million


def test_skips_persist_as_in_the_real_sessions(log):
    before = log.groupby("session_id").skip_2.shift()
    again = log[before.notna()].skip_2 == before.dropna().astype(bool)
    assert again.mean() == pytest.approx(0.712, abs=0.02)
    assert log.skip_2.mean() == pytest.approx(0.50, abs=0.03)


def test_shares_of_columns(log):
    assert log.hist_user_behavior_reason_end.value_counts(normalize=True)["fwdbtn"] == pytest.approx(0.49, abs=0.03)
    assert log.premium.mean() == pytest.approx(0.81, abs=0.02)
    assert log.context_type.value_counts(normalize=True)["user_collection"] == pytest.approx(0.402, abs=0.03)


def test_features_have_the_real_means_and_deviations(features):
    for name, (mean, deviation, low, high) in MARGINS.items():
        values = features[name]
        assert values.between(low, high).all()
        # The genres make the scores a mixture, so that the margins are a little off.
        assert values.mean() == pytest.approx(mean, abs=0.15 * deviation), name
        assert values.std() == pytest.approx(deviation, rel=0.15), name
    assert set(features["mode"]) == {"major", "minor"} and set(features["key"]) == set(range(12))


def standardised(features: pd.DataFrame) -> pd.DataFrame:
    numbers = features[list(NUMERIC_FEATURES)]
    return (numbers - numbers.mean()) / numbers.std()


def test_next_tracks_resemble_the_session_in_their_features(log, features):
    values = standardised(features).loc[log.track_id_clean].to_numpy()
    inside = (log.session_id == log.session_id.shift(-5)).to_numpy()[:-5]
    here, later = values[:-5][inside], values[5:][inside]
    other = np.random.default_rng(0).permutation(later)
    assert np.mean((here - later) ** 2) < 0.7 * np.mean((here - other) ** 2)


def test_playlists_make_next_tracks_predictable(log):
    """A table of successors from the first days foretells those of the last one far better than popularity."""
    following = log.track_id_clean.shift(-1).where(log.session_id == log.session_id.shift(-1))
    pairs = pd.DataFrame({"at": log.track_id_clean, "next": following, "date": log.date}).dropna()
    train, test = pairs[pairs.date < "2018-07-17"], pairs[pairs.date == "2018-07-17"]
    top = train[["at", "next"]].value_counts().reset_index().groupby("at").next.apply(lambda names: set(names[:20]))
    hits = [b in top[a] for a, b in zip(test["at"], test["next"], strict=True) if a in top]
    popular = set(train["next"].value_counts().index[:20])
    assert np.mean(hits) > 2.5 * test["next"].isin(popular).mean()


def test_skips_can_be_learned_from_features(log, features):
    numbers = standardised(features)
    design = np.column_stack([numbers.loc[log.track_id_clean].to_numpy(), np.ones(len(log))])
    train = (log.date < "2018-07-17").to_numpy()
    skipped = log.skip_2.to_numpy(float)
    weights = np.linalg.lstsq(design[train], skipped[train], rcond=None)[0]
    foretold = design[~train] @ weights
    assert np.corrcoef(foretold, skipped[~train])[0, 1] > 0.1


def test_same_seed_same_bytes(tmp_path):
    folders = [tmp_path / name for name in "abc"]
    for folder, seed in zip(folders, (1, 1, 2), strict=True):
        main(SessionSampleOptions(folder, sessions=30, tracks=100, days=2, seed=seed))
    names = sorted(path.name for path in folders[0].iterdir())
    assert len(names) == 4
    assert filecmp.cmpfiles(folders[0], folders[1], names, shallow=False)[0] == names
    assert filecmp.cmpfiles(folders[0], folders[2], names, shallow=False)[0] == [MARKER]


def test_wrong_options(tmp_path):
    for wrong in ({"sessions": 3}, {"tracks": 5}, {"days": 0}, {"seed": -1}):
        with pytest.raises(UserError, match=f"--{next(iter(wrong))}|--days"):
            SessionSampleOptions(tmp_path, **wrong)
