"""The sample has the released formats, is the same every time, and has something to learn."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.options import PROJECT, UserError
from seer.midi import midi_to_array, read_midi
from seer.sample import SONGS, STEPS, USERS, SampleOptions, main, write_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "new" / "sample"
    write_sample(folder)
    return folder


@pytest.fixture(scope="module")
def ratings(sample: Path) -> np.ndarray:
    return np.loadtxt(sample / "triplets.txt", dtype=np.int64)


@pytest.fixture(scope="module")
def steps(sample: Path) -> np.ndarray:
    return read_zip(sample / "midi_array.zip", "midi_array.txt").reshape(SONGS, STEPS, 32)


@pytest.fixture(scope="module")
def times(sample: Path) -> np.ndarray:
    return read_zip(sample / "Time_array.zip", "time_array.txt")


def read_zip(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [name]
        return np.array(json.loads(archive.read(name)))


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_same_seed_same_bytes(sample: Path, tmp_path: Path) -> None:
    command = [sys.executable, "seer/sample.py", "--out", str(tmp_path / "again"), "--seed", "7"]
    environment = {"PYTHONPATH": str(PROJECT), "PATH": "", "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    assert "synthetic" in done.stdout and not done.stderr
    assert content(sample) == content(tmp_path / "again")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again"]  # nothing left beside it


@pytest.mark.slow
def test_existing_folder(sample: Path, tmp_path: Path) -> None:
    """The same sample stays as it is; other content is the user's and stays too."""
    before = content(sample)
    write_sample(sample)
    assert content(sample) == before
    with pytest.raises(UserError, match="already there with other content"):
        write_sample(sample, seed=8)  # another seed gives another sample
    assert content(sample) == before
    assert [p.name for p in sample.parent.iterdir()] == ["sample"]
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="cannot write"):
        write_sample(tmp_path / "file" / "sample")
    assert content(tmp_path) == {"file": b"mine"}


def test_main(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()  # an empty folder is as good as none
    facts = main(SampleOptions(out=tmp_path / "out", seed=3))
    assert facts["users"] == USERS and facts["songs"] == SONGS
    rows = np.loadtxt(tmp_path / "out" / "triplets.txt", dtype=np.int64)
    assert facts["ratings"] == len(rows)
    assert np.unique(rows[:, 0]).tolist() == list(range(USERS))
    assert np.unique(rows[:, 1]).tolist() == list(range(SONGS))
    assert "synthetic" in capsys.readouterr().out
    with pytest.raises(UserError, match="--seed is -1"):
        SampleOptions(out=tmp_path, seed=-1)


def test_ratings(sample: Path, ratings: np.ndarray) -> None:
    text = (sample / "triplets.txt").read_text(encoding="utf-8")
    assert re.fullmatch(r"(\d+ \d+ [1-5]\n)+", text)
    assert np.unique(ratings[:, 0]).tolist() == list(range(USERS))
    assert np.unique(ratings[:, 1]).tolist() == list(range(SONGS))
    assert len(np.unique(ratings[:, :2], axis=0)) == len(ratings)
    assert 12_000 < len(ratings) < 16_000
    per_user = np.bincount(ratings[:, 0])
    assert per_user.min() >= 30 and per_user.max() <= 41
    assert (np.bincount(ratings[:, 2], minlength=6)[1:] > 0.02 * len(ratings)).all()
    assert (np.diff(ratings[:, 0]) < 0).any()  # not sorted by user


def test_songs_and_users(sample: Path) -> None:
    information = pd.read_csv(sample / "song_information.csv")
    assert information.columns.tolist() == [
        "Unnamed: 0", "song_id", "artist_name", "title", "release", "year", "duration",
    ]  # fmt: skip
    matching = pd.read_csv(sample / "song_to_number_matching.csv")
    assert matching.columns.tolist() == ["Unnamed: 0", "song_id", "number"]
    assert matching["number"].tolist() == matching["Unnamed: 0"].tolist() == list(range(SONGS))
    ids = matching["song_id"].tolist()
    assert ids == sorted(set(ids)) and sorted(information["song_id"]) == ids
    assert information["song_id"].tolist() != ids  # the row order is not the song number
    assert information["Unnamed: 0"].tolist() == list(range(SONGS))
    assert (information["year"] == 0).any() and information["duration"].between(50, 125).all()
    text = (sample / "song_information.csv").read_text(encoding="utf-8")
    assert '""' in text and "été" in text  # names that need CSV quotes and UTF-8
    users = pd.read_csv(sample / "user_to_number_matching.csv")
    assert users.columns.tolist() == ["Unnamed: 0", "user_id", "number"]
    assert users["number"].tolist() == users["Unnamed: 0"].tolist() == list(range(USERS))
    assert users["user_id"].str.fullmatch("[0-9a-f]{40}").all() and users["user_id"].is_unique


def test_arrays(sample: Path, steps: np.ndarray, times: np.ndarray) -> None:
    assert steps.dtype == np.int64 and times.shape == (SONGS, STEPS)
    assert steps.min() == 0 and 100 < steps.max() <= 127
    length = steps.any(axis=2).sum(axis=1)
    assert length.min() > 90 and (length == STEPS).any() and (length < STEPS).any()
    information = pd.read_csv(sample / "song_information.csv").set_index("song_id")["duration"]
    duration = information[pd.read_csv(sample / "song_to_number_matching.csv")["song_id"]].to_numpy()
    for song in range(SONGS):
        rows = int(length[song])
        assert not steps[song, rows:].any() and not times[song, rows:].any()
        assert (np.diff(times[song, :rows]) > 0).all()
        assert times[song, rows - 1] / 1e6 < duration[song]
        if rows < STEPS:
            assert times[song, rows - 1] / 1e6 > duration[song] - 3


def test_arrays_describe_the_midi_files(sample: Path, steps: np.ndarray, times: np.ndarray) -> None:
    assert len(list((sample / "midi").iterdir())) == SONGS
    for song in range(0, SONGS, 5):
        midi = read_midi(sample / "midi" / f"{song}.mid")
        rows, stamps = midi_to_array(midi)
        kept = min(len(rows), STEPS)
        np.testing.assert_array_equal(rows[:kept], steps[song, :kept])
        np.testing.assert_array_equal(np.round(stamps[:kept], 1), times[song, :kept])
        assert len(midi.instruments) >= 3
        for instrument in midi.instruments:
            assert all(note.end > note.start for note in instrument.notes)


def split(ratings: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    test = np.random.default_rng(seed).random(len(ratings)) < 0.2
    return ratings[~test], ratings[test]


def biases(train: np.ndarray) -> np.ndarray:
    """Mean + damped user and song biases: a prediction without personal taste; shape (users, songs)."""
    user, song, value = train.T
    mean = value.mean()
    of_song = np.bincount(song, value - mean, SONGS) / (np.bincount(song, minlength=SONGS) + 3)
    rest = value - mean - of_song[song]
    of_user = np.bincount(user, rest, USERS) / (np.bincount(user, minlength=USERS) + 3)
    return mean + of_user[:, None] + of_song


def factors(train: np.ndarray, size: int = 6, ridge: float = 4.0) -> np.ndarray:
    """The biases plus user · song, fitted by alternating least squares to what they leave."""
    base = biases(train)
    seen = np.zeros((USERS, SONGS))
    seen[train[:, 0], train[:, 1]] = 1
    rest = np.zeros((USERS, SONGS))
    rest[train[:, 0], train[:, 1]] = train[:, 2] - base[train[:, 0], train[:, 1]]
    rng = np.random.default_rng(0)
    left, right = np.zeros((USERS, size)), rng.standard_normal((SONGS, size))
    for _ in range(15):
        for a, b, mask, values in ((left, right, seen, rest), (right, left, seen.T, rest.T)):
            gram = np.einsum("ns,sd,se->nde", mask, b, b) + ridge * np.eye(size)
            a[:] = np.linalg.solve(gram, (values @ b)[..., None])[..., 0]
    return base + left @ right.T


def rmse(scores: np.ndarray, rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean((scores[rows[:, 0], rows[:, 1]] - rows[:, 2]) ** 2)))


def recall_at_10(scores: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Mean share of a user's held-out ratings >= 3 in the ten best of all songs the user has not rated."""
    scores = np.array(np.broadcast_to(scores, (USERS, SONGS)), dtype=np.float64)
    scores[train[:, 0], train[:, 1]] = -np.inf
    top = np.zeros(scores.shape, dtype=bool)
    np.put_along_axis(top, np.argsort(-scores, axis=1)[:, :10], True, axis=1)
    relevant = np.zeros_like(top)
    relevant[test[:, 0], test[:, 1]] = test[:, 2] >= 3
    count = relevant.sum(axis=1)
    return float(((top & relevant).sum(axis=1)[count > 0] / count[count > 0]).mean())


def test_popularity_beats_chance_and_taste_beats_popularity(ratings: np.ndarray) -> None:
    train, test = split(ratings)
    chance = recall_at_10(np.random.default_rng(1).random((USERS, SONGS)), train, test)
    popularity = recall_at_10(np.bincount(train[:, 1], minlength=SONGS), train, test)
    mean = recall_at_10(biases(train), train, test)
    personal = recall_at_10(factors(train), train, test)
    print(f"recall@10: {chance=:.3f} {popularity=:.3f} {mean=:.3f} {personal=:.3f}")
    assert popularity > 1.5 * chance
    assert personal > 1.15 * max(popularity, mean)


def test_taste_lowers_the_error(ratings: np.ndarray) -> None:
    train, test = split(ratings)
    constant = rmse(np.full((USERS, SONGS), train[:, 2].mean()), test)
    plain, personal = rmse(biases(train), test), rmse(factors(train), test)
    print(f"RMSE: constant {constant:.3f} biases {plain:.3f} factors {personal:.3f}")
    assert plain < 0.95 * constant
    assert personal < 0.85 * plain
    shuffled = train.copy()  # the same model finds nothing once the ratings are dealt out anew
    shuffled[:, 2] = np.random.default_rng(2).permutation(shuffled[:, 2])
    assert rmse(factors(shuffled), test) > 0.95 * constant


def content_scores(train: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """User mean, plus what the user and everyone thinks of songs with similar first 100 steps."""
    note, velocity = steps[:, :100, 0::2], steps[:, :100, 1::2]
    starts = (velocity > 0).sum(axis=1)
    heard = np.maximum(starts, 1)
    on = velocity > 0
    features = np.concatenate([starts, (note * on).sum(1) / heard, velocity.sum(1) / heard], axis=1)
    features = (features - features.mean(0)) / (features.std(0) + 1e-9)
    distance = ((features[:, None] - features) ** 2).sum(-1)
    near = np.exp(-distance / np.quantile(distance, 0.1))
    user, song, value = train.T
    mean = np.bincount(user, value, USERS) / np.bincount(user, minlength=USERS)
    rest, seen = np.zeros((USERS, SONGS)), np.zeros((USERS, SONGS))
    rest[user, song], seen[user, song] = value - mean[user], 1
    everyone = (rest.sum(0) @ near) / (seen.sum(0) @ near + 1)
    rest -= seen * everyone
    return mean[:, None] + everyone + (rest @ near) / (seen @ near + 1)


def test_loud_songs_please(sample: Path, ratings: np.ndarray, steps: np.ndarray) -> None:
    """Within a style, a song's energy is heard in its first steps and explains a part of its ratings."""
    titles = pd.read_csv(sample / "song_information.csv").set_index("song_id")["title"]
    style = titles[pd.read_csv(sample / "song_to_number_matching.csv")["song_id"]].str.split().str[0].to_numpy()
    velocity = steps[:, :50, 1::2]
    loudness = pd.Series(velocity.sum((1, 2)) / (velocity > 0).sum((1, 2)))
    song_mean = pd.Series(ratings[:, 2]).groupby(ratings[:, 1]).mean()
    heard = loudness - loudness.groupby(style).transform("mean")
    liked = song_mean - song_mean.groupby(style).transform("mean")
    correlation = np.corrcoef(heard, liked)[0, 1]
    print(f"{correlation=:.3f}")
    assert correlation > 0.5


def test_the_midi_tells_about_songs_without_ratings(ratings: np.ndarray, steps: np.ndarray) -> None:
    new = np.random.default_rng(3).permutation(SONGS)[: SONGS // 5]
    cold = np.isin(ratings[:, 1], new)
    train, test = ratings[~cold], ratings[cold]
    mean = np.bincount(train[:, 0], train[:, 2]) / np.bincount(train[:, 0])
    plain = rmse(np.repeat(mean[:, None], SONGS, axis=1), test)
    scores = content_scores(train, steps)
    by_content = rmse(scores, test)
    by_wrong_content = rmse(content_scores(train, np.random.default_rng(4).permutation(steps)), test)
    print(f"RMSE of new songs: user mean {plain:.3f} content {by_content:.3f} mixed up {by_wrong_content:.3f}")
    assert by_content < 0.85 * plain
    assert by_wrong_content > 0.97 * plain
    # Among the new songs alone, content also ranks: popularity knows nothing there.
    old = np.setdiff1d(np.arange(SONGS), new)
    scores[:, old] = -np.inf
    chance = np.random.default_rng(5).random((USERS, SONGS))
    chance[:, old] = -np.inf
    of_content, of_chance = recall_at_10(scores, train, test), recall_at_10(chance, train, test)
    print(f"recall@10 among {len(new)} new songs: chance {of_chance:.3f} content {of_content:.3f}")
    assert of_content > 1.3 * of_chance
